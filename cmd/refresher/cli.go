package main

import (
	"context"
	"fmt"

	"ecr-refresher/internal/cli"
)

// commandLine describes the commands. It is a function, because inject reads command lines with it.
func commandLine() cli.Program[parsed] {
	return cli.Program[parsed]{Name: "refresher", Prefix: "REFRESHER_", About: []string{
		"Keeps the other containers of an Amazon ECS task logged in to ECR: obtains tokens with the task role, keeps them in a docker config.json on a shared volume, renews them long before they expire.",
		"In a task nothing needs to be set. Every flag has a variable; the flag wins.",
	}, Commands: []cli.Command[parsed]{{
		Name: "run", Strict: true,
		Summary: "Keep the shared config.json good until SIGTERM; SIGHUP renews everything now. The default.",
		Options: func(p *parsed) []cli.Option { return p.settings.table() },
		Run:     func(ctx context.Context, p *parsed) int { return daemon(ctx, p.inv, *p) },
	}, {
		Name: "once", Strict: true,
		Summary: "Write the shared config.json once and end: for an init container.",
		Options: func(p *parsed) []cli.Option { return append(p.settings.ofOnce(), p.settings.table()...) },
		Run:     func(ctx context.Context, p *parsed) int { return once(ctx, p.inv, *p) },
	}, {
		Name:    "healthcheck", // not strict: the daemon reports what else is wrong with the environment
		Summary: "Exit 0 where a consumer finds valid tokens, 1 and the reason where it does not: for the health check of ECS.",
		Options: func(p *parsed) []cli.Option { return p.settings.ofHealthcheck() },
		Run:     func(_ context.Context, p *parsed) int { return checkHealth(p.inv, p.settings.listen) },
	}, {
		Name: "doctor", Strict: true,
		Summary:  "Look at everything that goes wrong in the field, and say what was seen and the cure; exit 1 where something fails.",
		Options:  func(p *parsed) []cli.Option { return append(p.doctor.table(), p.settings.table()...) },
		Tolerate: func(p *parsed, problems []string) { p.doctor.problems = problems }, // they are its first finding
		Run:      func(ctx context.Context, p *parsed) int { return examine(ctx, p.printing(), *p) },
	}, {
		Name:     "inject",
		Summary:  "Add the sidecar to a task definition, or check one that has it; nothing is called.",
		FileHelp: "The task definition, plain or as 'aws ecs describe-task-definition' prints it. Default: standard input.",
		File:     func(p *parsed, path string) { p.inject.file = path },
		Options:  func(p *parsed) []cli.Option { return p.inject.table() },
		Check:    func(p *parsed, _ bool) []string { return p.inject.conflicts() },
		Run:      func(_ context.Context, p *parsed) int { return inject(p.printing(), p.inject) },
	}, {
		Name:    "policy",
		Summary: "Print the least-privilege IAM policies for some registries; nothing is called.",
		Options: func(p *parsed) []cli.Option { return p.policy.table() },
		Check:   func(p *parsed, sound bool) []string { return p.policy.resolve(sound) },
		Run:     func(_ context.Context, p *parsed) int { return policy(p.printing(), p.policy) },
	}, {
		Name:    "version",
		Summary: "Print the version.",
		Run: func(_ context.Context, p *parsed) int {
			fmt.Fprintln(p.product, buildInfo())
			return exitOK
		},
	}}}
}

// parsed is a valid call.
type parsed struct {
	inv     invocation
	product *product // standard output of the commands whose result is what they print

	settings settings
	doctor   doctorSettings
	inject   injectSettings
	policy   policySettings
}

// printing is the invocation of a command whose result is what it prints.
func (p *parsed) printing() invocation {
	inv := p.inv
	inv.out = p.product
	return inv
}

// parse reads the command line and the environment.
func parse(inv invocation) (*parsed, cli.Command[parsed], error) {
	return commandLine().Parse(inv.args, inv.environ, inv.out)
}
