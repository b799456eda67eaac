package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"ecr-refresher/internal/suggest"
)

// grammar is the command line as it is written: every value still text, so that all problems can be told at once. Each flag
// has a twin in the environment, REFRESHER_ and its name in capitals; the tag twin names those that differ.
type grammar struct {
	Run struct {
		flags
	} `cmd:"" default:"withargs" help:"Keep the shared config.json good until SIGTERM; SIGHUP renews everything now. The default."`
	Once struct {
		flags
		Deadline string `default:"${deadline}" placeholder:"DURATION" help:"Give up after this time, with exit status 1."`
	} `cmd:"" help:"Write the shared config.json once and end: for an init container."`
	Healthcheck struct {
		Listen string `default:":9327" placeholder:"[HOST]:PORT" help:"Where the refresher serves."`
	} `cmd:"" help:"Exit 0 where a consumer finds valid tokens, 1 and the reason where it does not: for the health check of ECS."`
	Doctor struct {
		flags
		Format      string `default:"table" placeholder:"FORMAT" help:"'table' for people, or 'json'."`
		ConsumerUID string `name:"consumer-uid" placeholder:"UID" help:"The user that a consumer runs as, to see whether it can read the file. Default: any."`
	} `cmd:"" help:"Look at everything that goes wrong in the field, and say what was seen and the cure; exit 1 where something fails."`
	Inject  injectFlags `cmd:"" help:"Add the sidecar to a task definition, or check one that has it; nothing is called."`
	Policy  policyFlags `cmd:"" help:"Print the least-privilege IAM policies for some registries; nothing is called."`
	Version struct{}    `cmd:"" help:"Print the version."`
}

// flags are the settings of a refresher.
type flags struct {
	Registry          []string `sep:"none" twin:"REFRESHER_REGISTRIES" placeholder:"HOST[?OPTION…]" help:"A registry to stay logged in to: its host, 'default' for the task's own, with options such as role_arn, alias, endpoint and optional (see docs/registries.md). Repeat it for several; the variable separates them by white space or commas. Default: the task's own account in the task's region."`
	Output            []string `sep:"none" twin:"REFRESHER_OUTPUTS" placeholder:"PATH[?mode=MODE]" help:"A config.json to keep. Repeat it for several; the variable separates them by white space or commas; the first is the one that health speaks of. Default: /run/ecr/config.json."`
	OutputMode        string   `default:"0600" placeholder:"MODE" help:"Permissions of an output that names none itself. The image sets 0644, as consumers run under other users there."`
	Region            string   `placeholder:"REGION" help:"The task's region. Default: AWS_REGION, AWS_DEFAULT_REGION, else what the task metadata says."`
	RenewAt           string   `default:"0.5" placeholder:"SHARE" help:"Renew a token after this share of its life."`
	Jitter            string   `default:"0.2" placeholder:"SHARE" help:"Renew up to this share of that time earlier, at random, so that tasks started together spread."`
	MaxAge            string   `default:"12h" placeholder:"DURATION" help:"Renew a token at this age at the latest."`
	Timeout           string   `default:"10s" placeholder:"DURATION" help:"Give up one attempt to renew after this time; the next follows by back-off."`
	Parallel          string   `default:"64" placeholder:"N" help:"Attempts that may run at the same time."`
	Verify            string   `default:"issue" placeholder:"WHEN" help:"Ask each registry whether it accepts the token: 'issue' (after each renewal), 'hourly' (also every hour) or 'off'. Never part of health."`
	Listen            string   `default:":9327" placeholder:"[HOST]:PORT" help:"Where to serve /metrics, /healthz, /readyz, /livez, /status and the page at /."`
	AllowInstanceRole toggle   `help:"Use the EC2 instance's role where the task has no role of its own."`
	LogLevel          string   `default:"info" placeholder:"LEVEL" help:"'debug', 'info', 'warn' or 'error'."`
	LogFormat         string   `default:"json" placeholder:"FORMAT" help:"'json', or 'console' for people."`
}

// toggle is a flag without a value that keeps the text of one given all the same.
type toggle string

// IsBool implements kong.BoolMapperValue.
func (toggle) IsBool() bool { return true }

// Decode implements kong.MapperValue.
func (t *toggle) Decode(ctx *kong.DecodeContext) error { //nolint:unparam // the interface's
	*t = "true"
	if ctx.Scan.Peek().Type == kong.FlagValueToken {
		*t = toggle(fmt.Sprint(ctx.Scan.Pop().Value))
	}
	return nil
}

const prefix = "REFRESHER_"

// usageError is a wrong call: every problem, each naming its flag or variable.
type usageError struct{ problems []string }

func (e *usageError) Error() string { return strings.Join(e.problems, "\n") }

// errHelped says that the help was printed, and that this was all.
var errHelped = errors.New("helped")

// parsed is a valid call.
type parsed struct {
	settings settings
	doctor   doctorSettings
	inject   injectSettings
	policy   policySettings
}

// parse reads the command line and the environment: flag beats variable beats default.
func parse(inv invocation) (p parsed, command string, err error) {
	defer func() {
		if r := recover(); r != nil {
			if r != errHelped { //nolint:errorlint // the very value that Exit throws
				panic(r)
			}
			err = errHelped
		}
	}()
	var problems []string
	args := spelled(inv.args)
	g, command, app, err := read(inv, args)
	for range inv.args { // kong stops at the first problem: take its argument away, and tell the others in the same breath
		if err == nil {
			break
		}
		problems = append(problems, err.Error())
		if args, err = without(args, err); err != nil {
			args = []string{"run"} // then what else is wrong is in the environment
		}
		g, command, app, err = read(inv, args)
	}
	if err != nil {
		return parsed{}, "", err
	}
	switch command {
	case "version":
		return parsed{}, command, nil
	case "inject":
		p.inject, err = g.Inject.settings()
		return p, command, err
	case "policy":
		p.policy, err = g.Policy.settings()
		return p, command, err
	case "healthcheck":
		// The one setting that matters here; the daemon tells what else is wrong.
		if p.settings.listen, err = parseListen(g.Healthcheck.Listen); err != nil {
			return parsed{}, command, &usageError{[]string{"--listen (" + prefix + "LISTEN): " + err.Error()}}
		}
		return p, command, nil
	}
	raw, deadline := g.Run.flags, defaultDeadline
	if command == "once" {
		raw, deadline = g.Once.flags, g.Once.Deadline
	}
	problems = append(problems, unknownVariables(app, inv.environ)...)
	if command == "doctor" {
		return parseDoctor(inv, g, problems)
	}
	var more []string
	p.settings, more = raw.settings(deadline)
	if problems = append(problems, more...); len(problems) > 0 {
		return parsed{}, command, &usageError{problems}
	}
	return p, command, nil
}

// spelled takes the ways in which people ask for help and for the version.
func spelled(args []string) []string {
	if len(args) == 1 {
		switch args[0] {
		case "help":
			return []string{"--help"}
		case "--version", "-v", "-V":
			return []string{"version"}
		}
	}
	return args
}

// without drops the argument that kong does not know, or says that the problem is another one.
func without(args []string, problem error) ([]string, error) {
	name, ok := strings.CutPrefix(problem.Error(), "unknown flag ")
	name, _, _ = strings.Cut(name, ",") // ", did you mean …"
	for i, a := range args {
		if flag, _, _ := strings.Cut(a, "="); ok && flag == name {
			return slices.Delete(slices.Clone(args), i, i+1), nil
		}
	}
	return nil, problem
}

// read takes the text of every setting from some arguments and the environment.
func read(inv invocation, args []string) (g grammar, command string, app *kong.Application, err error) {
	parser, err := kong.New(&g,
		kong.Name("refresher"),
		kong.Description("Keeps the other containers of an Amazon ECS task logged in to ECR: obtains tokens with the task role, keeps them in a docker config.json on a shared volume, renews them long before they expire.\n\nIn a task nothing needs to be set. Every flag has a variable; the flag wins."),
		kong.Writers(inv.out, inv.err),
		kong.Exit(func(int) { panic(errHelped) }),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 110, NoExpandSubcommands: true}),
		kong.ValueFormatter(helpText),
		kong.Resolvers(fromEnviron(inv.environ)),
		kong.Vars{"deadline": defaultDeadline},
	)
	if err != nil {
		return g, "", nil, fmt.Errorf("the command line's grammar: %w", err)
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return g, "", parser.Model, err
	}
	command, _, _ = strings.Cut(ctx.Command(), " ") // without the arguments' names
	return g, command, parser.Model, nil
}

const defaultDeadline = "60s"

// twin is the environment variable of a flag; the tag "-" says that it has none.
func twin(f *kong.Flag) string {
	if t := f.Tag.Get("twin"); t != "" {
		return strings.TrimPrefix(t, "-")
	}
	return prefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// helpText adds the default and the variable to a flag's help.
func helpText(v *kong.Value) string {
	if v.Flag == nil || v.Name == "help" {
		return v.Help
	}
	text := v.Help
	if v.HasDefault {
		text += " Default: " + v.Default + "."
	}
	if twin(v.Flag) == "" {
		return text
	}
	return text + " ($" + twin(v.Flag) + ")"
}

// fromEnviron gives kong the variables of an environment that is not necessarily the process's.
func fromEnviron(environ []string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
		if f.Name == "help" {
			return nil, nil
		}
		name := twin(f)
		for _, kv := range environ {
			if k, v, _ := strings.Cut(kv, "="); k == name && v != "" {
				return v, nil
			}
		}
		return nil, nil
	})
}

// unknownVariables reports every REFRESHER_ variable that no command knows: a misspelled setting must not be silent.
func unknownVariables(app *kong.Application, environ []string) []string {
	var known []string
	for _, c := range app.Leaves(true) {
		for _, group := range c.AllFlags(true) {
			for _, f := range group {
				if f.Name != "help" {
					known = append(known, twin(f))
				}
			}
		}
	}
	var problems []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, prefix) && !slices.Contains(known, name) {
			problems = append(problems, fmt.Sprintf("%s: there is no such setting%s", name, nearest(name, known)))
		}
	}
	slices.Sort(problems)
	return problems
}

// nearest suggests the known name that a misspelled one stands for.
func nearest(name string, known []string) string {
	if best := suggest.Nearest(name, known, 3); best != "" {
		return "; did you mean " + best + "?"
	}
	return "; see 'refresher run --help' for all of them"
}
