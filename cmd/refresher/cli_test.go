package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"ecr-refresher/internal/cli"
)

// optionsOf are those of the command with this name.
func optionsOf(name string) []cli.Option {
	c, _ := commandLine().Named(name)
	if c.Options == nil {
		return nil
	}
	return c.Options(new(parsed))
}

func TestParseCommand(t *testing.T) {
	for _, tt := range []struct {
		line, want, file string
		environ          []string
	}{
		{line: "", want: "run"},
		{line: "run", want: "run"},
		{line: "--timeout=1s --parallel 2", want: "run"},
		{line: "run --timeout 1s --allow-instance-role --verify=off", want: "run"},
		{line: "once --deadline 5s", want: "once"},
		{line: "version", want: "version"},
		{line: "--version", want: "version"},
		{line: "-v", want: "version"},
		{line: "inject", want: "inject"},
		{line: "inject -", want: "inject", file: "-"},
		{line: "inject a.json --image x", want: "inject", file: "a.json"},
		{line: "inject --image x a.json --init", want: "inject", file: "a.json"},
		{line: "inject --check -- --odd", want: "inject", file: "--odd"},
		{line: "healthcheck", want: "healthcheck", environ: []string{"REFRESHER_REGISTRIS=x"}}, // the daemon tells
		{line: "version", want: "version", environ: []string{"REFRESHER_REGISTRIS=x", "REFRESHER_TIMEOUT=never"}},
		{line: "run", want: "run", environ: []string{"REFRESHER_FORMAT=json", "REFRESHER_DEADLINE=never"}}, // known, and another command's
	} {
		p, c, err := parse(invocation{args: strings.Fields(tt.line), environ: tt.environ, out: io.Discard})
		if err != nil || c.Name != tt.want || p.inject.file != tt.file {
			t.Errorf("%s: %s, %v", tt.line, c.Name, err)
		}
	}
}

func TestParseProblems(t *testing.T) {
	const once = "; the command comes first"
	for _, tt := range []struct {
		line    string
		environ []string
		want    []string
	}{
		{"runn", nil, []string{`unknown command "runn"; did you mean run?`}},
		{"start --timeout 0s", nil, []string{`unknown command "start"`}},
		{"help runn", nil, []string{`unknown command "runn"; did you mean run?`}},
		{"run x y", nil, []string{`unexpected argument "x"`, `unexpected argument "y"`}},
		{"--region=us-west-2 once", nil, []string{`unexpected argument "once"` + once}},
		{"inject a b", nil, []string{`unexpected argument "b"`}},
		{"inject --imag=x --chek FILE", nil, []string{"unknown flag --imag; did you mean --image?", "unknown flag --chek; did you mean --check?"}},
		{"run --tiemout 3s -x ---jitter --=1 -", nil, []string{"unknown flag --tiemout; did you mean --timeout?", "unknown flag -x", "unknown flag ---jitter; did you mean --jitter?", "unknown flag --", `unexpected argument "-"`}},
		{"run -timeout 3s", nil, []string{"unknown flag -timeout; did you mean --timeout?"}}, // GNU style
		{"run --timeout", nil, []string{"--timeout (REFRESHER_TIMEOUT): its value is missing: --timeout=DURATION"}},
		{"inject --image --check", nil, []string{"--image: its value is missing: --image=NAME:TAG"}},
		{"run --deadline=3s", nil, []string{"unknown flag --deadline"}}, // of another command
		{"version --x", nil, []string{"unknown flag --x"}},
		{"run --timeout=1h --timeout=0s", nil, []string{`--timeout (REFRESHER_TIMEOUT): "0s" is not a duration from 100ms to 1m0s, such as 30s`}},
		{"run --parallel=1", []string{"REFRESHER_PARALLEL=0", "REFRESHER_VERIFY=x"}, []string{`--verify (REFRESHER_VERIFY): "x" is not one of issue, hourly, off`}},
		{"run", []string{"REFRESHER_IMAGE=x", "REFRESHER_OUTPUT=/x"}, []string{
			"REFRESHER_IMAGE: unknown setting; see 'refresher run --help' for all of them",
			"REFRESHER_OUTPUT: unknown setting; did you mean REFRESHER_OUTPUTS?",
		}},
		{"once", []string{"REFRESHER_OUTPUT=/x"}, []string{"REFRESHER_OUTPUT: unknown setting; did you mean REFRESHER_OUTPUTS?"}},
		{"doctor --bad", []string{"REFRESHER_TIMEOUT=0s"}, []string{"unknown flag --bad", `--timeout (REFRESHER_TIMEOUT): "0s" is not a duration from 100ms to 1m0s, such as 30s`}},
	} {
		_, _, err := parse(invocation{args: strings.Fields(tt.line), environ: tt.environ, out: io.Discard})
		var wrong *cli.UsageError
		if !errors.As(err, &wrong) || !slices.Equal(wrong.Problems, tt.want) {
			t.Errorf("%s:\n%v\nnot\n%s", tt.line, err, strings.Join(tt.want, "\n"))
		}
	}
}

// To the doctor, what the environment gets wrong is a finding.
func TestParseDoctorTakesAWrongEnvironment(t *testing.T) {
	p, _, err := parse(invocation{args: []string{"doctor"}, environ: []string{"REFRESHER_TIMEOUT=0s", "REFRESHER_FORMAT=x", "REFRESHER_X=1"}})
	if err != nil || len(p.doctor.problems) != 3 {
		t.Errorf("%q, %v", p.doctor.problems, err)
	}
}

// Every setting of a task can be given as a variable, which is named after the flag; inject and policy are for people.
func TestVariables(t *testing.T) {
	for _, c := range commandLine().Commands {
		for _, o := range optionsOf(c.Name) {
			name := "REFRESHER_" + strings.ToUpper(strings.ReplaceAll(o.Name, "-", "_"))
			switch o.Name {
			case "registry":
				name = "REFRESHER_REGISTRIES"
			case "output":
				name = "REFRESHER_OUTPUTS"
			}
			forPeople := c.Name == "inject" || c.Name == "policy"
			if o.Variable != name && (o.Variable != "" || !forPeople) {
				t.Errorf("%s --%s has the variable %q", c.Name, o.Name, o.Variable)
			}
		}
	}
}

// Every help fits a terminal, and tells of every flag its variable and its default.
func TestHelp(t *testing.T) {
	for _, c := range commandLine().Commands {
		for _, line := range []string{c.Name + " --help", c.Name + " -h --no-such", "help " + c.Name, "--help " + c.Name} {
			var out bytes.Buffer
			if _, _, err := parse(invocation{args: strings.Fields(line), out: &out}); !errors.Is(err, cli.ErrHelp) {
				t.Fatalf("%s: %v", line, err)
			}
			text := out.String()
			for l := range strings.Lines(text) {
				if utf8.RuneCountInString(strings.TrimRight(l, "\n")) > cli.HelpWidth || strings.HasSuffix(l, " \n") {
					t.Errorf("%s: %q", line, l)
				}
			}
			joined := strings.Join(strings.Fields(text), " ")
			for _, o := range optionsOf(c.Name) {
				all := o.Usage() + " " + o.Help
				if o.Default != "" {
					all += " Default: " + o.Default + "."
				}
				if o.Variable != "" {
					all += " ($" + o.Variable + ")"
				}
				if !strings.Contains(joined, all) {
					t.Errorf("%s does not say %q", line, all)
				}
			}
		}
	}
	for _, line := range []string{"help", "--help", "-h"} {
		var out bytes.Buffer
		_, _, err := parse(invocation{args: strings.Fields(line), out: &out})
		for _, c := range commandLine().Commands {
			if !errors.Is(err, cli.ErrHelp) || !strings.Contains(out.String(), "\n  "+c.Name+" ") {
				t.Errorf("%s says nothing of %s: %v", line, c.Name, err)
			}
		}
	}
}

// A start makes the table of its own command, and little else.
func TestParseIsCheap(t *testing.T) {
	inv := invocation{args: []string{"run"}, environ: []string{"PATH=/bin", "REFRESHER_REGISTRIES=default", "REFRESHER_OUTPUT_MODE=0644"}}
	allocs := testing.AllocsPerRun(100, func() {
		if _, _, err := parse(inv); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 150 {
		t.Errorf("%v allocations", allocs)
	}
}

// FuzzParse: no command line and no environment is too odd to be understood or refused, and every refusal says why.
func FuzzParse(f *testing.F) {
	for _, line := range []string{"run --timeout 1s", "inject - --image=x", "policy --registry=default --account=1", "doctor --format json -- x", "---x --= -- -", "--help", "once\x00\x00--deadline", "healthcheck --listen"} {
		f.Add(strings.ReplaceAll(line, " ", "\x00"), "REFRESHER_TIMEOUT=1s\x00REFRESHER_X\x00=\x00REFRESHER_")
	}
	f.Fuzz(func(t *testing.T, line, environ string) {
		var out bytes.Buffer
		_, c, err := parse(invocation{args: strings.Split(line, "\x00"), environ: strings.Split(environ, "\x00"), out: &out})
		var wrong *cli.UsageError
		switch {
		case errors.Is(err, cli.ErrHelp):
			if out.Len() == 0 {
				t.Error("no help")
			}
		case errors.As(err, &wrong):
			if len(wrong.Problems) == 0 || slices.Contains(wrong.Problems, "") {
				t.Errorf("%q", wrong.Problems)
			}
		case err != nil || c.Run == nil:
			t.Errorf("%q, %v", c.Name, err)
		}
	})
}
