package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// state holds the settings of the programs of these tests.
type state struct {
	wait     time.Duration
	names    []string
	loud     bool
	file     string
	format   string
	problems []string
}

// takeNames refuses the name bad, each time by itself.
func takeNames(s *state) func([]string) error {
	return func(texts []string) error {
		var errs []error
		for i, text := range texts {
			if text == "bad" {
				errs = append(errs, fmt.Errorf("name %d is bad", i+1))
			}
		}
		return errors.Join(append(errs, All(&s.names)(texts))...)
	}
}

// shop is a program with a command of each kind.
func shop() Program[state] {
	open := func(s *state) []Option {
		return []Option{
			{Name: "wait", Variable: "SHOP_WAIT", Value: "DURATION", Default: "5s", Help: "How long.", Take: Last(&s.wait, Duration(time.Second, time.Minute))},
			{Name: "name", Variable: "SHOP_NAMES", Value: "NAME-OR-NAMES…", Help: strings.Repeat("A name that is long. ", 8) + "Repeat it.", Take: takeNames(s)},
			{Name: "loud", Value: "", Help: "Say more.", Take: Last(&s.loud, Toggle)},
		}
	}
	return Program[state]{Name: "shop", Prefix: "SHOP_", About: []string{"Sells things.", "Day and night."}, Commands: []Command[state]{
		{Name: "open", Summary: "Open the shop.", Strict: true, Options: open, Check: func(s *state, sound bool) []string {
			if sound && s.loud && s.wait > 30*time.Second {
				return []string{"--loud: not for so long"}
			}
			return nil
		}},
		{Name: "sort", Summary: "Sort a file.", FileHelp: "What to sort.", File: func(s *state, path string) { s.file = path }, Options: func(s *state) []Option {
			return []Option{{Name: "format", Variable: "SHOP_FORMAT", Value: "FORMAT", Default: "text", Help: "How.", Take: Last(&s.format, OneOf("text", "json"))}}
		}},
		{Name: "look", Summary: "Look for problems.", Strict: true, Options: open, Tolerate: func(s *state, problems []string) { s.problems = problems }},
		{Name: "version", Summary: "Print the version."},
	}}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		line, environ, command string
		want                   state
	}{
		{line: "", command: "open", want: state{wait: 5 * time.Second}},
		{line: "--wait 7s", command: "open", want: state{wait: 7 * time.Second}},
		{line: "open --loud --wait=7s --name a --name=b,c --name=-- --name -x", command: "open", want: state{wait: 7 * time.Second, loud: true, names: []string{"a", "b,c", "--", "-x"}}},
		{line: "open --wait=0s --wait=8s", command: "open", want: state{wait: 8 * time.Second}}, // the last one counts
		{line: "open --loud=false", command: "open", want: state{wait: 5 * time.Second}},
		{line: "open", environ: "SHOP_WAIT=9s SHOP_NAMES=a,b SHOP_WAIT=0s", command: "open", want: state{wait: 9 * time.Second, names: []string{"a,b"}}},
		{line: "open --wait 7s", environ: "SHOP_WAIT=never", command: "open", want: state{wait: 7 * time.Second}}, // the flag wins
		{line: "open", environ: "SHOP_WAIT= SHOP_FORMAT=x OTHER_X=1", command: "open", want: state{wait: 5 * time.Second}},
		{line: "sort", environ: "SHOP_X=1", command: "sort", want: state{format: "text"}},
		{line: "sort a.json --format json", command: "sort", want: state{format: "json", file: "a.json"}},
		{line: "sort --format=json -", command: "sort", want: state{format: "json", file: "-"}},
		{line: "sort -- --odd", command: "sort", want: state{format: "text", file: "--odd"}},
		{line: "version", environ: "SHOP_X=1", command: "version"},
		{line: "--version", command: "version"},
		{line: "-v", command: "version"},
		{line: "look", environ: "SHOP_WAIT=never SHOP_FORMAT=x SHOP_X=1", command: "look", want: state{problems: []string{
			`--wait (SHOP_WAIT): "never" is not a duration from 1s to 1m0s, such as 30s`,
			"SHOP_X: unknown setting; see 'shop open --help' for all of them",
			`--format (SHOP_FORMAT): "x" is not one of text, json`,
		}}},
	} {
		s, c, err := shop().Parse(strings.Fields(tt.line), strings.Fields(tt.environ), io.Discard)
		if err != nil || c.Name != tt.command {
			t.Errorf("%s %s: %s, %v", tt.environ, tt.line, c.Name, err)
			continue
		}
		if s.wait != tt.want.wait || s.loud != tt.want.loud || s.file != tt.want.file || s.format != tt.want.format ||
			!slices.Equal(s.names, tt.want.names) || !slices.Equal(s.problems, tt.want.problems) {
			t.Errorf("%s %s: %+v", tt.environ, tt.line, *s)
		}
	}
}

// Every problem is reported at once, with its flag and its variable.
func TestParseProblems(t *testing.T) {
	const wait = "--wait (SHOP_WAIT): "
	for _, tt := range []struct {
		line, environ string
		want          []string
	}{
		{"opn", "", []string{`unknown command "opn"; did you mean open?`}},
		{"help opn", "", []string{`unknown command "opn"; did you mean open?`}},
		{"--loud sort", "", []string{`unexpected argument "sort"; the command comes first`}},
		{"open x y", "", []string{`unexpected argument "x"`, `unexpected argument "y"`}},
		{"sort x y", "", []string{`unexpected argument "y"`}},
		{"open --wiat 3s --lout=x --format=json", "", []string{"unknown flag --wiat; did you mean --wait?", "unknown flag --lout; did you mean --loud?", "unknown flag --format"}},
		{"open -x ---loud --=1 -loud -wait=3s -test.v -lh", "", []string{"unknown flag -x", "unknown flag ---loud; did you mean --loud?", "unknown flag --",
			"unknown flag -loud; did you mean --loud?", "unknown flag -wait; did you mean --wait?", "unknown flag -test.v", "unknown flag -lh"}},
		{"open -x y --zzzzz", "", []string{"unknown flag -x", "unknown flag --zzzzz"}}, // y is its value, very likely
		{"open --wait", "", []string{wait + "its value is missing: --wait=DURATION"}},
		{"open --wait --loud=x", "", []string{wait + "its value is missing: --wait=DURATION", `--loud: "x" is neither true nor false`}},
		{"open --wait= --name=", "", []string{wait + "its value is empty; leave the flag out for the default", "--name (SHOP_NAMES): its value is empty; leave the flag out for the default"}},
		{"open --wait=5s --wait 0s", "", []string{wait + `"0s" is not a duration from 1s to 1m0s, such as 30s`}},
		{"open --zzzzz", "SHOP_WAIT=x SHOP_FORMAT=x SHOP_NAME=a SHOP_=", []string{"unknown flag --zzzzz", wait + `"x" is not a duration from 1s to 1m0s, such as 30s`,
			"SHOP_: unknown setting; see 'shop open --help' for all of them", "SHOP_NAME: unknown setting; did you mean SHOP_NAMES?"}},
		{"open --name bad --name=good --name=bad", "", []string{"--name (SHOP_NAMES): name 1 is bad", "--name (SHOP_NAMES): name 3 is bad"}},
		{"open --loud --wait=40s", "", []string{"--loud: not for so long"}},
		{"open --loud --wait=40s --zzzzz", "", []string{"unknown flag --zzzzz"}}, // Check is called with sound false
		{"look --zzzzz", "SHOP_WAIT=x", []string{"unknown flag --zzzzz", wait + `"x" is not a duration from 1s to 1m0s, such as 30s`}},
	} {
		_, _, err := shop().Parse(strings.Fields(tt.line), strings.Fields(tt.environ), io.Discard)
		var wrong *UsageError
		if !errors.As(err, &wrong) || !slices.Equal(wrong.Problems, tt.want) {
			t.Errorf("%s %s:\n%v\nnot\n%s", tt.environ, tt.line, err, strings.Join(tt.want, "\n"))
		}
	}
}

// An empty value that is a word of its own is empty too.
func TestParseEmptyWord(t *testing.T) {
	_, _, err := shop().Parse([]string{"open", "--wait", "", ""}, nil, io.Discard)
	want := "--wait (SHOP_WAIT): its value is empty; leave the flag out for the default\nunexpected argument \"\""
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestExplain(t *testing.T) {
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"open --x y --zzzzz": {2, "shop: unknown flag --x\nshop: unknown flag --zzzzz\nshop: see 'shop open --help'\n"},
		"opn":                {2, "shop: unknown command \"opn\"; did you mean open?\nshop: see 'shop --help'\n"},
		"--help":             {0, ""},
	} {
		var out bytes.Buffer
		_, _, err := shop().Parse(strings.Fields(line), nil, io.Discard)
		if code := Explain(&out, err); code != want.code || out.String() != want.text {
			t.Errorf("%s: %d %s", line, code, out.String())
		}
	}
}

func TestHelp(t *testing.T) {
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	defer func(old *os.File) { os.Stderr = old }(os.Stderr)
	os.Stderr = stderr // where pflag would write a help of its own
	defer func() {
		if info, err := stderr.Stat(); err != nil || info.Size() > 0 {
			t.Errorf("pflag wrote to standard error: %v", err)
		}
	}()
	for line, want := range map[string]string{
		"--help":          "Usage: shop [COMMAND] [FLAG…]\n\nSells things.\n\nDay and night.\n\nCommands:\n  open     Open the shop.\n  sort     Sort a file.\n",
		"help":            "Commands:\n",
		"-h":              "Commands:\n",
		"--help open":     "Usage: shop open [FLAG…]\n\nOpen the shop.\n",
		"open -h --zzzzz": "\nFlags:\n  --wait=DURATION        How long. Default: 5s. ($SHOP_WAIT)\n  --name=NAME-OR-NAMES…  A name ",
		"--loud --help":   "  --loud                 Say more.\n  -h, --help             Show this help.\n",
		"help sort":       "Usage: shop sort [FILE] [FLAG…]\n\nSort a file.\n\nArgument:\n  FILE  What to sort.\n",
		"version --help":  "Usage: shop version\n\nPrint the version.\n",
	} {
		var out bytes.Buffer
		if _, _, err := shop().Parse(strings.Fields(line), nil, &out); !errors.Is(err, ErrHelp) || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v\n%s", line, err, out.String())
		}
		for l := range strings.Lines(out.String()) {
			if utf8.RuneCountInString(strings.TrimRight(l, "\n")) > HelpWidth || strings.HasSuffix(l, " \n") {
				t.Errorf("%s: %q", line, l)
			}
		}
	}
}

// A program with one command without a name takes every word as it is.
func TestOneCommand(t *testing.T) {
	p := Program[state]{Name: "tool", Commands: []Command[state]{{Summary: "Do it.", FileHelp: "To what.", File: func(s *state, path string) { s.file = path }}}}
	if s, _, err := p.Parse([]string{"help"}, []string{"X=1"}, io.Discard); err != nil || s.file != "help" {
		t.Errorf("%+v, %v", s, err)
	}
	var out bytes.Buffer
	if _, _, err := p.Parse([]string{"--help"}, nil, &out); !errors.Is(err, ErrHelp) || !strings.HasPrefix(out.String(), "Usage: tool [FILE]\n\nDo it.\n") {
		t.Errorf("%v: %s", err, out.String())
	}
	_, _, err := p.Parse([]string{"a", "b"}, nil, io.Discard)
	out.Reset()
	if code := Explain(&out, err); code != 2 || out.String() != "tool: unexpected argument \"b\"\ntool: see 'tool --help'\n" {
		t.Errorf("%d: %s", code, out.String())
	}
}

func TestParsers(t *testing.T) {
	number, whole, times, words := Number(0.5, 2), Int(1, 3), Duration(time.Second, time.Minute), OneOf("a", "b")
	for _, tt := range []struct {
		err  func(string) error
		good string
		bad  string
	}{
		{func(s string) error { _, err := number(s); return err }, "0.5 2 1e0", "0.49 2.01 NaN +Inf x 1,5"},
		{func(s string) error { _, err := whole(s); return err }, "1 3", "0 4 -1 1.0 0x1 99999999999999999999"},
		{func(s string) error { _, err := times(s); return err }, "1s 1m 1m0s", "999ms 61s 5 -1s never"},
		{func(s string) error { _, err := words(s); return err }, "a b", "A c ab"},
		{func(s string) error { _, err := Toggle(s); return err }, "true false 1 0", "yes no 2"},
	} {
		for _, s := range strings.Fields(tt.good) {
			if err := tt.err(s); err != nil {
				t.Error(err)
			}
		}
		for _, s := range strings.Fields(tt.bad) {
			if err := tt.err(s); err == nil || !strings.Contains(err.Error(), `"`+s+`"`) {
				t.Errorf("%s: %v", s, err)
			}
		}
	}
}
