package main

import (
	"errors"
	"fmt"
	"strings"
)

// command is one of the program's commands.
type command struct {
	name     string
	help     string
	argument string                   // the help of the FILE that it may be given; empty: it takes none
	inTask   bool                     // a task's environment is its own: a REFRESHER_ variable that nobody knows is a mistake there
	options  func(p *parsed) []option // which put what they are given into p

	// check returns what is wrong between the options; sound says that each by itself is right. Nil: nothing can be.
	check func(p *parsed, sound bool) []string
}

// commands are all of them. The first is the default.
var commands = []command{{
	name: "run", inTask: true,
	help:    "Keep the shared config.json good until SIGTERM; SIGHUP renews everything now. The default.",
	options: func(p *parsed) []option { return p.settings.table() },
}, {
	name: "once", inTask: true,
	help:    "Write the shared config.json once and end: for an init container.",
	options: func(p *parsed) []option { return append(p.settings.ofOnce(), p.settings.table()...) },
}, {
	name:    "healthcheck", // the daemon tells what else is wrong with the environment
	help:    "Exit 0 where a consumer finds valid tokens, 1 and the reason where it does not: for the health check of ECS.",
	options: func(p *parsed) []option { return p.settings.ofHealthcheck() },
}, {
	name: "doctor", inTask: true,
	help:    "Look at everything that goes wrong in the field, and say what was seen and the cure; exit 1 where something fails.",
	options: func(p *parsed) []option { return append(p.doctor.table(), p.settings.table()...) },
}, {
	name:     "inject",
	help:     "Add the sidecar to a task definition, or check one that has it; nothing is called.",
	argument: "The task definition, plain or as 'aws ecs describe-task-definition' prints it. Default: standard input.",
	options:  func(p *parsed) []option { return p.inject.table() },
	check:    func(p *parsed, _ bool) []string { return p.inject.conflicts() },
}, {
	name:    "policy",
	help:    "Print the least-privilege IAM policies for some registries; nothing is called.",
	options: func(p *parsed) []option { return p.policy.table() },
	check:   func(p *parsed, sound bool) []string { return p.policy.resolve(sound) },
}, {
	name:    "version",
	help:    "Print the version.",
	options: func(*parsed) []option { return nil },
}}

func commandNamed(name string) *command {
	for i := range commands {
		if commands[i].name == name {
			return &commands[i]
		}
	}
	return nil
}

// parsed is a valid call.
type parsed struct {
	settings settings
	doctor   doctorSettings
	inject   injectSettings
	policy   policySettings
}

// usageError is a wrong call: every problem, each naming its flag or variable.
type usageError struct{ problems []string }

func (e *usageError) Error() string { return strings.Join(e.problems, "\n") }

// errHelped says that the help was printed, and that this was all.
var errHelped = errors.New("helped")

// parse reads the command line and the environment: flag beats variable beats default.
func parse(inv invocation) (p parsed, name string, err error) {
	c, words, err := chosen(inv)
	if err != nil {
		return p, "", err
	}
	options := c.options(&p)
	arguments, typed, err := read(options, words)
	if err != nil { // help was asked for
		c.writeHelp(inv.out)
		return p, c.name, err
	}
	if c.argument != "" && len(arguments) > 0 {
		p.inject.file, arguments = arguments[0], arguments[1:]
	}
	for _, a := range arguments {
		hint := ""
		if commandNamed(a) != nil {
			hint = "; the command comes first"
		}
		typed = append(typed, fmt.Sprintf("unexpected argument %q%s", a, hint))
	}
	more, inherited := settle(options, inv)
	typed = append(typed, more...)
	if c.inTask {
		inherited = append(inherited, unknownVariables(options, inv.environ)...)
	}
	if c.check != nil {
		typed = append(typed, c.check(&p, len(typed)+len(inherited) == 0)...)
	}
	if c.name == "doctor" && len(typed) == 0 { // to which a wrong environment is the first finding
		p.doctor.problems, inherited = append(inherited, wrongElsewhere(options, inv)...), nil
	}
	if problems := append(typed, inherited...); len(problems) > 0 {
		return parsed{}, c.name, &usageError{problems}
	}
	return p, c.name, nil
}

// chosen is the command that the first word names, and the words behind it; it takes the ways in which people ask for help and
// for the version.
func chosen(inv invocation) (c *command, words []string, err error) {
	words = inv.args
	if len(words) == 0 {
		return &commands[0], nil, nil
	}
	switch words[0] {
	case "help", "--help", "-help", "-h":
		if len(words) > 1 && commandNamed(words[1]) != nil {
			return commandNamed(words[1]), []string{"--help"}, nil
		}
		if len(words) > 1 && words[0] == "help" {
			return nil, nil, unknownCommand(words[1])
		}
		writeProgramHelp(inv.out)
		return nil, nil, errHelped
	case "--version", "-version", "-v", "-V":
		return commandNamed("version"), words[1:], nil
	}
	if strings.HasPrefix(words[0], "-") {
		return &commands[0], words, nil
	}
	if c = commandNamed(words[0]); c == nil {
		return nil, nil, unknownCommand(words[0])
	}
	return c, words[1:], nil
}

func unknownCommand(name string) error {
	var known []string
	for _, c := range commands {
		known = append(known, c.name)
	}
	return &usageError{[]string{fmt.Sprintf("unknown command %q%s", name, meant(name, known, 2))}}
}
