package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"ecr-refresher/internal/taskdef"
)

// injectFlags are the flags of inject. They have no variables: this is a command for people and pipelines, not for a task.
type injectFlags struct {
	File          string   `arg:"" optional:"" help:"The task definition, plain or as 'aws ecs describe-task-definition' prints it. Default: standard input."`
	Image         string   `twin:"-" placeholder:"NAME:TAG" help:"The refresher's image. Default: the one of a sidecar that is there."`
	Container     []string `twin:"-" sep:"none" placeholder:"NAME" help:"A container that gets the login. Repeat it for several. Default: all others."`
	Registry      []string `twin:"-" sep:"none" placeholder:"HOST[?OPTION…]" help:"A registry to stay logged in to, as 'refresher run' takes it. Repeat it for several. Default: what is there, else the task's own."`
	Path          string   `twin:"-" placeholder:"DIRECTORY" help:"Where the containers see the login. Default: where they do, else /run/ecr."`
	Port          string   `twin:"-" placeholder:"PORT" help:"Where the sidecar serves its metrics; needed on the host's network. Default: 9327."`
	TaskRole      string   `twin:"-" placeholder:"ARN" help:"Set the task role. Default: what is there."`
	ExecutionRole string   `twin:"-" placeholder:"ARN" help:"Set the execution role. Default: what is there."`
	Writable      bool     `twin:"-" help:"Let the containers write to the volume."`
	Init          bool     `twin:"-" help:"Add an init container that writes the login once: the containers start some 10 s earlier."`
	Essential     toggle   `twin:"-" help:"End the task when the sidecar ends for good. Default: what is there, else false."`
	Check         bool     `twin:"-" help:"Change nothing: print what is wrong with a definition that has the sidecar; exit 1 where it would not work."`
}

type injectSettings struct {
	file    string
	check   bool
	options taskdef.Options
}

func (f injectFlags) settings() (injectSettings, error) {
	s := injectSettings{file: f.File, check: f.Check, options: taskdef.Options{
		Image: f.Image, Containers: f.Container, Registries: f.Registry, Path: f.Path,
		TaskRole: f.TaskRole, ExecutionRole: f.ExecutionRole, Writable: f.Writable, Init: f.Init,
	}}
	var problems []string
	if f.Essential != "" {
		yes, err := parseToggle(f.Essential)
		if err != nil {
			problems = append(problems, "--essential: "+err.Error())
		}
		s.options.Essential = &yes
	}
	if f.Port != "" {
		n, err := strconv.ParseUint(f.Port, 10, 16)
		if err != nil || n == 0 {
			problems = append(problems, fmt.Sprintf("--port: %q is no port, such as 9327", f.Port))
		}
		s.options.Port = int(n)
	}
	rest := f
	rest.File, rest.Check, rest.Container, rest.Registry = "", false, nil, nil
	if f.Check && (len(f.Container) > 0 || len(f.Registry) > 0 || fmt.Sprint(rest) != fmt.Sprint(injectFlags{})) {
		problems = append(problems, "--check: it changes nothing; leave the other flags off")
	}
	if len(problems) > 0 {
		return injectSettings{}, &usageError{problems}
	}
	return s, nil
}

// inject prints a task definition with the sidecar in it; what it did, and what to do next, goes to standard error.
func inject(inv invocation, s injectSettings) int {
	doc, err := readInput(inv, s.file)
	if err == nil && s.check {
		return checkDefinition(inv, doc)
	}
	var r taskdef.Result
	if err == nil {
		r, err = taskdef.Inject(doc, s.options)
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
	if _, err := inv.out.Write(r.Document); err != nil {
		fmt.Fprintln(inv.err, "refresher:", err)
		return exitFailed
	}
	if len(r.Changes) == 0 {
		fmt.Fprintln(inv.err, "refresher: everything was there already")
	}
	for _, c := range r.Changes {
		fmt.Fprintln(inv.err, "refresher:", c)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(inv.err, "refresher: %s: %s: %s. %s\n", f.Level, f.Where, f.What, f.Cure)
	}
	fmt.Fprintln(inv.err, "refresher: next: aws ecs register-task-definition --cli-input-json file://FILE, where FILE is this output")
	fmt.Fprintln(inv.err, "refresher: next: the task role needs what this prints:", policyCommand(r))
	return exitOK
}

// policyCommand is the call of refresher policy that fits a definition.
func policyCommand(r taskdef.Result) string {
	var d struct{ TaskRoleArn string }
	_ = json.Unmarshal(r.Document, &d)
	command := "refresher policy --access=pull|push --repository=NAME --region=REGION --task-role=" + d.TaskRoleArn
	for _, reg := range r.Registries {
		if reg != "default" || len(r.Registries) > 1 {
			command += " --registry='" + reg + "'"
		}
	}
	return command
}

// mostInput is far more than the 64 KiB that ECS takes.
const mostInput = 4 << 20

func readInput(inv invocation, file string) ([]byte, error) {
	in := inv.in
	if file != "" && file != "-" {
		f, err := os.Open(file) //nolint:gosec // the file that the user names
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	doc, err := io.ReadAll(io.LimitReader(in, mostInput+1))
	if err != nil {
		return nil, fmt.Errorf("reading the task definition: %w", err)
	}
	if len(doc) > mostInput {
		return nil, errors.New("this is no task definition: it has more than 4 MiB")
	}
	return doc, nil
}

// checkDefinition prints what is wrong, for people.
func checkDefinition(inv invocation, doc []byte) int {
	plain, err := taskdef.Plain(doc) // what describe-task-definition adds is not wrong with the definition
	var findings []taskdef.Finding
	if err == nil {
		findings, err = taskdef.Check(plain)
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
		wide = max(wide, len(f.Where))
	}
	for _, f := range findings {
		fmt.Fprintf(inv.out, "%-5s %-*s %s. %s\n", f.Level, wide, f.Where, f.What, f.Cure)
		if f.Level == taskdef.Fail {
			code = exitFailed
		}
	}
	return code
}
