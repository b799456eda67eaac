package main

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"ecr-refresher/internal/cli"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/taskdef"
	"ecr-refresher/internal/token"
)

// wrongSettings says which refreshers of a definition would not start, or not stay: their command lines and environments are
// read as the program itself reads them.
func wrongSettings(doc []byte) (findings []taskdef.Finding) {
	for _, r := range taskdef.Refreshers(doc) {
		partition := taskdef.Partition(doc)
		if roleHidden(r.Environment) || slices.ContainsFunc(token.HidesTaskRole(), func(name string) bool { return slices.Contains(r.Secrets, name) }) {
			partition = "" // the role that asks is another one
		}
		words, strange := wordsOf(r)
		if strange != nil {
			findings = append(findings, *strange)
			continue
		}
		var told []string
		for _, s := range sourcesOf(r) {
			for _, problem := range problemsOf(words, s.environ, partition) {
				if !slices.Contains(told, problem) {
					told = append(told, problem)
					findings = append(findings, findingOf(r.Where+s.key, problem))
				}
			}
		}
		findings = append(findings, wrongSDKSettings(r)...)
	}
	return findings
}

// wrongSDKSettings says which variables of the AWS SDK in a refresher's environment have a value that the SDK refuses. Those that
// the refresher uses keep it from starting; it ignores the others. Of a secret the value is not known. No value is repeated.
func wrongSDKSettings(r taskdef.Refresher) (findings []taskdef.Finding) {
	env := map[string]string{}
	for _, pair := range r.Environment {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	has := func(name string) bool {
		_, there := env[name]
		return there || slices.Contains(r.Secrets, name)
	}
	add := func(level, what, cure string) {
		findings = append(findings, taskdef.Finding{Level: level, Where: r.Where + ".environment", What: what, Cure: cure})
	}
	for _, s := range token.RefusedSettings(func(name string) string { return env[name] }) {
		if s.Used {
			add(taskdef.Fail, s.Variable+": must be "+s.Allowed, "Correct it: with a wrong setting it does not start.")
			continue
		}
		add(taskdef.Warn, s.Variable+": the refresher does not use it and ignores the value, which must be "+s.Allowed, "Remove it.")
	}
	const enough = "Remove it: the task role is enough."
	if has("AWS_WEB_IDENTITY_TOKEN_FILE") && !has("AWS_ROLE_ARN") && !has("AWS_ACCESS_KEY_ID") { // keys come before it
		add(taskdef.Fail, "AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN, which the SDK refuses", enough)
	}
	if has("AWS_PROFILE") && !has("AWS_CONFIG_FILE") && !has("AWS_SHARED_CREDENTIALS_FILE") {
		add(taskdef.Fail, "AWS_PROFILE names a profile, and the image has no file with profiles: the SDK refuses that", enough)
	}
	return findings
}

// source is a key of a container, and the environment that its value makes of the one before.
type source struct {
	key     string
	environ []string
}

// sourcesOf has the command first, by itself: what is wrong with it is not wrong with the environment. Of a secret only the name
// can be judged, and to the parser a variable that is empty is one that is not set.
func sourcesOf(r taskdef.Refresher) []source {
	all := slices.Clone(r.Environment)
	for _, name := range r.Secrets {
		all = append(all, name+"=")
	}
	return []source{{".command", nil}, {".environment", r.Environment}, {".secrets", all}}
}

// wordsOf are the words behind the program's name; where the entry point is another program, there is a finding instead.
func wordsOf(r taskdef.Refresher) (words []string, strange *taskdef.Finding) {
	if len(r.EntryPoint) == 0 {
		return r.Command, nil
	}
	f := taskdef.Finding{Level: taskdef.Warn, Where: r.Where + ".entryPoint", Cure: "Leave entryPoint off."}
	switch program := r.EntryPoint[0]; path.Base(program) {
	case "refresher":
		return slices.Concat(r.EntryPoint[1:], r.Command), nil
	case "sh", "ash", "bash", "dash":
		f.Level, f.What = taskdef.Fail, "the image has no shell"
	default:
		f.What = fmt.Sprintf("the image's program is /refresher, and not %q, whose settings are not checked", program)
	}
	return nil, &f
}

// problemsOf are those that a container is told when it starts, in a task of this partition.
func problemsOf(words, environ []string, partition string) []string {
	inv := invocation{args: words, environ: environ, out: io.Discard, err: io.Discard}
	p, c, err := parse(inv)
	var wrong *cli.UsageError
	switch {
	case errors.As(err, &wrong):
		return wrong.Problems
	case err != nil || c.Name != "run" && c.Name != "once": // the help was asked for, or another command
		return []string{fmt.Sprintf("%q keeps no login; did you mean run?", strings.Join(words, " "))}
	}
	specs := slices.Clone(p.settings.registries)
	if len(specs) == 0 {
		specs = []registry.Spec{{Name: registry.DefaultName}}
	}
	for i, s := range specs {
		if s.Name == registry.DefaultName { // its account is not known here, its region may be
			specs[i].Host.Partition = registry.PartitionOf(namedRegion(inv, p.settings))
		}
	}
	if err := registry.CheckPartition(specs, partition); err != nil {
		return strings.Split(err.Error(), "\n")
	}
	return nil
}

func findingOf(where, problem string) taskdef.Finding {
	f := taskdef.Finding{Level: taskdef.Fail, Where: where, What: problem, Cure: "Correct it: with a wrong setting it does not start."}
	if what, name, ok := strings.Cut(problem, "; did you mean "); ok {
		f.What, f.Cure = what, "Write "+strings.TrimSuffix(name, "?")+", if that is meant."
	}
	return f
}
