// Package cli reads a command line and its environment. A program is a table of commands, a command has a table of options; from
// them come the settings, the help and the errors.
//
// It owns the order (a flag wins over its variable, the variable over the default), the reporting of every problem at once,
// and the texts of the help. The grammar of flags is that of github.com/spf13/pflag: GNU style and nothing else. It refuses to
// know what the settings mean and what a command does.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"ecr-refresher/internal/suggest"
)

// Program is a program with its commands. S holds the settings of all of them.
type Program[S any] struct {
	Name     string
	About    []string     // the paragraphs at the top of the program's help
	Prefix   string       // with which every variable of the program begins; empty: it has none
	Commands []Command[S] // The first is the default. One without a name is the only one, and gets all words.
}

// Command is one command of a program.
type Command[S any] struct {
	Name    string
	Summary string // what it does, for the help

	// Options describes its settings, which go into s.
	Options func(s *S) []Option

	// File takes the command's one argument. It is not called where none is given. Nil: the command takes no argument.
	File     func(s *S, path string)
	FileHelp string

	// Check returns what is wrong between the options; sound says that each of them is right by itself. Nil: nothing can be wrong.
	Check func(s *S, sound bool) []string

	// Strict makes a variable with the program's prefix that no command knows a problem.
	Strict bool

	// Tolerate takes what is wrong with the environment, also with the variables of the other commands, instead of a usage error.
	// Nil: a wrong environment is a usage error.
	Tolerate func(s *S, problems []string)

	// Run does the work and returns the exit status. Parse does not call it: a program of one command may leave it nil.
	Run func(ctx context.Context, s *S) int
}

// UsageError is a wrong call.
type UsageError struct {
	Call     string   // the program and the command
	Problems []string // all of them, each with its flag or variable
}

// Error implements error.
func (e *UsageError) Error() string { return strings.Join(e.Problems, "\n") }

// ErrHelp says that the help was asked for and has been printed.
var ErrHelp = pflag.ErrHelp

// Explain prints why Parse refused a call, and returns the exit status: 0 after the help, 2 for a wrong call.
func Explain(w io.Writer, err error) int {
	var wrong *UsageError
	if errors.As(err, &wrong) {
		program, _, _ := strings.Cut(wrong.Call, " ")
		for _, p := range wrong.Problems {
			fmt.Fprintf(w, "%s: %s\n", program, p)
		}
		fmt.Fprintf(w, "%s: see '%s --help'\n", program, wrong.Call)
		return 2
	}
	return 0
}

// Parse reads the command line and the environment. The error is ErrHelp, or a *UsageError with everything that is wrong.
func (p Program[S]) Parse(args, environ []string, help io.Writer) (s *S, c Command[S], err error) {
	c, words, err := p.choose(args, help)
	if err != nil {
		return nil, c, err
	}
	s = new(S)
	options := c.options(s)
	arguments, typed, err := read(options, words)
	if err != nil {
		p.writeCommandHelp(help, c)
		return nil, c, err
	}
	if c.File != nil && len(arguments) > 0 {
		c.File(s, arguments[0])
		arguments = arguments[1:]
	}
	for _, a := range arguments {
		hint := ""
		if _, ok := p.Named(a); ok {
			hint = "; the command comes first"
		}
		typed = append(typed, fmt.Sprintf("unexpected argument %q%s", a, hint))
	}
	more, inherited := settle(options, environ)
	typed = append(typed, more...)
	if c.Strict {
		inherited = append(inherited, p.unknownVariables(options, environ)...)
	}
	if c.Check != nil {
		typed = append(typed, c.Check(s, len(typed)+len(inherited) == 0)...)
	}
	if c.Tolerate != nil && len(typed) == 0 {
		c.Tolerate(s, append(inherited, p.wrongElsewhere(options, environ)...))
		inherited = nil
	}
	if problems := append(typed, inherited...); len(problems) > 0 {
		return nil, c, &UsageError{p.call(c), problems}
	}
	return s, c, nil
}

// Named returns the command with this name.
func (p Program[S]) Named(name string) (Command[S], bool) {
	for _, c := range p.Commands {
		if c.Name == name && name != "" {
			return c, true
		}
	}
	return Command[S]{}, false
}

// choose returns the command that the first word names, and the words after it. It knows the usual ways to ask for the help and
// the version.
func (p Program[S]) choose(words []string, help io.Writer) (c Command[S], rest []string, err error) {
	if len(words) == 0 || p.Commands[0].Name == "" {
		return p.Commands[0], words, nil
	}
	switch words[0] {
	case "help", "--help", "-h":
		if len(words) > 1 {
			if c, ok := p.Named(words[1]); ok {
				return c, []string{"--help"}, nil
			}
			if words[0] == "help" {
				return c, nil, p.unknownCommand(words[1])
			}
		}
		p.writeHelp(help)
		return c, nil, ErrHelp
	case "--version", "-v", "-V":
		if c, ok := p.Named("version"); ok {
			return c, words[1:], nil
		}
	}
	if strings.HasPrefix(words[0], "-") {
		return p.Commands[0], words, nil
	}
	c, ok := p.Named(words[0])
	if !ok {
		return c, nil, p.unknownCommand(words[0])
	}
	return c, words[1:], nil
}

func (p Program[S]) unknownCommand(name string) error {
	var known []string
	for _, c := range p.Commands {
		known = append(known, c.Name)
	}
	return &UsageError{p.Name, []string{fmt.Sprintf("unknown command %q%s", name, meant(name, known, 2))}}
}

// call is how the command is called.
func (p Program[S]) call(c Command[S]) string { return strings.TrimSpace(p.Name + " " + c.Name) }

func (c Command[S]) options(s *S) []Option {
	if c.Options == nil {
		return nil
	}
	return c.Options(s)
}

// meant suggests the known name that a misspelled one stands for; most is how many letters may be wrong.
func meant(name string, known []string, most int) string {
	if best := suggest.Nearest(name, known, most); best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}
