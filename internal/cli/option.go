package cli

import (
	"cmp"
	"errors"
	"strings"

	"github.com/spf13/pflag"
)

// Option describes one setting once. Its text stays text until all of it has been read, so that all problems are reported at once.
type Option struct {
	Name     string // of the flag, without dashes
	Variable string // the environment variable; empty: it has none
	Value    string // what stands for the value in the help; empty: a toggle, which needs no value
	Default  string // the text that is taken where none is given
	Help     string

	// Take checks and keeps what was given, in order: several texts where the flag is repeated, none where there is no default
	// either. Each line of its error is a problem of its own.
	Take func(texts []string) error

	given []string // on the command line
}

// Usage is the flag as it is typed.
func (o *Option) Usage() string {
	if o.Value == "" {
		return "--" + o.Name
	}
	return "--" + o.Name + "=" + o.Value
}

// label names the option where something is wrong with it.
func (o *Option) label() string {
	if o.Variable == "" {
		return "--" + o.Name
	}
	return "--" + o.Name + " (" + o.Variable + ")"
}

// flag is the pflag.Value of an option: it collects texts, and leaves their meaning to Take.
type flag struct{ *Option }

func (f flag) String() string { return f.Default }

func (f flag) Type() string { return f.Value }

var errEmpty = errors.New("its value is empty; leave the flag out for the default")

func (f flag) Set(text string) error {
	if text == "" && f.Value != "" {
		return errEmpty
	}
	f.given = append(f.given, text)
	return nil
}

// read takes a command's words: flags and arguments in any order, and after "--" arguments alone. It leaves the texts in the
// options, and returns ErrHelp where the help is asked for.
//
// pflag stops at the first problem. It gets one word at a time, and the value after it, so that a problem ends one word and
// not the reading.
func read(options []Option, words []string) (arguments, problems []string, err error) {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.Usage = func() {}
	for i := range options {
		f := set.VarPF(flag{&options[i]}, options[i].Name, "", options[i].Help)
		if options[i].Value == "" {
			f.NoOptDefVal = "true"
		}
	}
	for len(words) > 0 {
		word := words[0]
		if word == "--" {
			return append(arguments, words[1:]...), problems, nil
		}
		n := 1
		err := set.Parse(words[:1])
		var noValue *pflag.ValueRequiredError
		if errors.As(err, &noValue) && len(words) > 1 && !strings.HasPrefix(words[1], "--") {
			n = 2
			err = set.Parse(words[:2])
		}
		words = words[n:]
		var wrong *pflag.InvalidValueError
		switch {
		case errors.Is(err, ErrHelp):
			return nil, nil, ErrHelp
		case errors.As(err, &noValue):
			o := noValue.GetFlag().Value.(flag)
			problems = append(problems, o.label()+": its value is missing: "+o.Usage())
		case errors.As(err, &wrong):
			problems = append(problems, wrong.GetFlag().Value.(flag).label()+": "+wrong.Unwrap().Error())
		case err != nil || strings.HasPrefix(word, "-test."): // which pflag ignores, for the flags of go test
			typed, _, hasText := strings.Cut(word, "=")
			problems = append(problems, "unknown flag "+typed+meant("--"+strings.TrimLeft(typed, "-"), flagsOf(options), 2))
			if !hasText && len(words) > 0 && !isFlag(words[0]) {
				words = words[1:] // its value, very likely
			}
		default:
			arguments = append(arguments, set.Args()...)
		}
	}
	return arguments, problems, nil
}

// isFlag tells flags from arguments; "-" is an argument.
func isFlag(word string) bool { return len(word) > 1 && word[0] == '-' }

func flagsOf(options []Option) (flags []string) {
	for _, o := range options {
		flags = append(flags, "--"+o.Name)
	}
	return flags
}

// settle lets every option take its text: the flag wins over the variable, the variable over the default. It returns what is
// wrong with the texts that were typed, and with those that were not.
func settle(options []Option, environ []string) (typed, inherited []string) {
	for _, o := range options {
		texts, problems := o.given, &typed
		if len(texts) == 0 {
			problems = &inherited
			text := o.Default
			if o.Variable != "" {
				text = cmp.Or(Getenv(environ, o.Variable), o.Default)
			}
			if text != "" {
				texts = []string{text}
			}
		}
		if err := o.Take(texts); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				*problems = append(*problems, o.label()+": "+line)
			}
		}
	}
	return typed, inherited
}
