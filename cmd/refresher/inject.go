package main

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ecr-refresher/internal/cli"
	"ecr-refresher/internal/taskdef"
)

type injectSettings struct {
	file    string // empty: standard input
	check   bool
	options taskdef.Options
}

// table describes the flags of inject. They have no variables: this is a command for people and pipelines, not for a task.
func (s *injectSettings) table() []cli.Option {
	o := &s.options
	return []cli.Option{{
		Name: "image", Value: "NAME:TAG",
		Take: cli.Last(&o.Image, cli.Text),
		Help: "The refresher's image. Default: the one of a sidecar that is there.",
	}, {
		Name: "container", Value: "NAME",
		Take: cli.All(&o.Containers),
		Help: "A container that gets the login. Repeat it for several. Default: all others.",
	}, {
		Name: "registry", Value: "HOST[?OPTION…]",
		Take: cli.All(&o.Registries),
		Help: "A registry to stay logged in to, as 'refresher run' takes it. Repeat it for several. Default: what is there, else the task's own.",
	}, {
		Name: "path", Value: "DIRECTORY",
		Take: cli.Last(&o.Path, cli.Text),
		Help: "Where the containers see the login. Default: where they do, else /run/ecr.",
	}, {
		Name: "port", Value: "PORT",
		Take: cli.Last(&o.Port, parsePort),
		Help: "Where the sidecar serves its metrics; needed on the host's network. Default: 9327.",
	}, {
		Name: "task-role", Value: "ARN",
		Take: cli.Last(&o.TaskRole, cli.Text),
		Help: "Set the task role. Default: what is there.",
	}, {
		Name: "execution-role", Value: "ARN",
		Take: cli.Last(&o.ExecutionRole, cli.Text),
		Help: "Set the execution role. Default: what is there.",
	}, {
		Name: "writable",
		Take: cli.Last(&o.Writable, cli.Toggle),
		Help: "Let the containers write to the volume. Default: they read only.",
	}, {
		Name: "init",
		Take: cli.Last(&o.Init, parseChoice),
		Help: "Add an init container that writes the login once: the containers start some 10 s earlier; --init=false takes it away. Default: what is there, else none.",
	}, {
		Name: "essential",
		Take: cli.Last(&o.Essential, parseChoice),
		Help: "End the task when the sidecar ends for good. Default: what is there, else false.",
	}, {
		Name: "check",
		Take: cli.Last(&s.check, cli.Toggle),
		Help: "Change nothing: print what is wrong with a definition that has the sidecar; exit 1 where it would not work.",
	}}
}

func parsePort(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port, such as 9327", s)
	}
	return int(n), nil
}

// parseChoice tells a flag that is not given from one that is false.
func parseChoice(s string) (*bool, error) {
	if s == "" {
		return nil, nil
	}
	yes, err := cli.Toggle(s)
	return &yes, err
}

func (s *injectSettings) conflicts() []string {
	if s.check && fmt.Sprint(s.options) != fmt.Sprint(taskdef.Options{}) {
		return []string{"--check: it changes nothing; leave the other flags off"}
	}
	return nil
}

// inject prints a task definition with the sidecar in it; what it did, and what to do next, goes to standard error.
func inject(inv invocation, s injectSettings) int {
	doc, err := readInput(inv, s.file)
	if err == nil && s.check {
		return checkDefinition(inv, doc)
	}
	var r taskdef.Result
	if err == nil {
		r, err = injected(doc, s.options)
	}
	var refused taskdef.Refusal
	switch {
	case errors.As(err, &refused):
		fmt.Fprintln(inv.err, "refresher: the definition stays as it is:")
		for line := range strings.SplitSeq(refused.Error(), "\n") {
			fmt.Fprintln(inv.err, "refresher: -", line)
		}
		return exitFailed
	case err != nil:
		fmt.Fprintln(inv.err, "refresher:", err)
		return exitFailed
	}
	if _, err := inv.out.Write(r.Document); err != nil { // run reports it
		return exitFailed
	}
	if len(r.Changes) == 0 {
		fmt.Fprintln(inv.err, "refresher: everything was there already")
	}
	for _, c := range r.Changes {
		fmt.Fprintln(inv.err, "refresher:", c)
	}
	failed := false
	for _, f := range r.Findings {
		fmt.Fprintf(inv.err, "refresher: %s: %s: %s. %s\n", f.Level, place(f), f.What, f.Cure)
		failed = failed || f.Level == taskdef.Fail
	}
	if len(r.Changes) > 0 {
		fmt.Fprintln(inv.err, "refresher: next: the task role needs what this prints, where NAME is a repository, and with --access=push if it is pushed to:", policyCommand(r))
	}
	switch {
	case failed:
		fmt.Fprintln(inv.err, "refresher: then: correct the failures above before you register it")
	case len(r.Changes) > 0 && r.Volume != "":
		fmt.Fprintf(inv.err, "refresher: then: put this list where the old one was, and add to the definition around it the volume %q and a task role\n", r.Volume)
	case len(r.Changes) > 0:
		fmt.Fprintln(inv.err, "refresher: then: aws ecs register-task-definition --cli-input-json file://FILE, where FILE is this output")
	}
	return exitOK
}

// injected is a definition with the sidecar in it. Settings with which that would not start are refused, unless it had them before.
func injected(doc []byte, o taskdef.Options) (taskdef.Result, error) {
	r, err := taskdef.Inject(doc, o)
	if err != nil {
		return r, err
	}
	before := wrongSettings(doc)
	var refused taskdef.Refusal
	for _, f := range wrongSettings(r.Document) {
		if f.Level == taskdef.Fail && !f.In(before) {
			refused = append(refused, taskdef.Reason{What: f.Where + ": " + f.What, Cure: f.Cure})
		}
		r.Findings = append(r.Findings, f)
	}
	if len(refused) > 0 {
		return taskdef.Result{}, refused
	}
	return r, nil
}

// policyCommand is the call of refresher policy that fits a definition.
func policyCommand(r taskdef.Result) string {
	words := []string{"refresher policy --access=pull --repository=NAME --region=" + cmp.Or(r.Region, "REGION")}
	chain := false
	for _, reg := range r.Registries {
		chain = chain || strings.Contains(reg, "role_arn=")
		if reg != "default" || len(r.Registries) > 1 {
			words = append(words, "--registry='"+reg+"'")
		}
	}
	switch {
	case r.TaskRole != "":
		words = append(words, "--task-role="+r.TaskRole)
	case chain: // whose trust policy names it
		words = append(words, "--task-role=ARN")
	default:
		words = append(words, "--account=ACCOUNT")
	}
	return strings.Join(words, " ")
}

// place says where a finding is. The path "." is all of a bare list of containers: only there is nothing above them.
func place(f taskdef.Finding) string {
	if f.Where == "." {
		return "the list"
	}
	return f.Where
}

// checkDefinition prints what is wrong, for people.
func checkDefinition(inv invocation, doc []byte) int {
	plain, err := taskdef.Plain(doc) // what describe-task-definition adds is not wrong with the definition
	var findings []taskdef.Finding
	if err == nil {
		findings, err = taskdef.Check(plain)
		findings = append(findings, wrongSettings(plain)...)
	}
	if err != nil {
		fmt.Fprintln(inv.err, "refresher:", err)
		return exitFailed
	}
	if len(findings) == 0 {
		fmt.Fprintln(inv.out, "ok    nothing is wrong")
	}
	code, wide := exitOK, 0
	for _, f := range findings {
		wide = max(wide, len(place(f)))
	}
	for _, f := range findings {
		fmt.Fprintf(inv.out, "%-5s %-*s %s. %s\n", f.Level, wide, place(f), f.What, f.Cure)
		if f.Level == taskdef.Fail {
			code = exitFailed
		}
	}
	return code
}
