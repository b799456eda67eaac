package main

import (
	"slices"
	"strings"

	"ecr-refresher/internal/suggest"
)

// option describes one setting once: from it the command line and the environment are read, and the help, the README and the
// errors are made. Its text stays text until all of it has been read, so that all problems can be told at once.
type option struct {
	name   string // its flag
	twin   string // its variable: empty where that is REFRESHER_ and the name in capitals, "-" where there is none
	value  string // what stands for the value in the help; empty: a toggle, which needs none
	preset string // the text that is taken where none is given
	help   string

	// take checks and keeps what was given, in order: several texts where the flag is repeated, none where there is no preset either.
	take func(texts []string) error

	given []string // on the command line
}

const prefix = "REFRESHER_"

// variable is the option's environment variable, empty where it has none.
func (o *option) variable() string {
	switch o.twin {
	case "":
		return prefix + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))
	case "-":
		return ""
	}
	return o.twin
}

// label names the option where something is wrong with it.
func (o *option) label() string {
	if v := o.variable(); v != "" {
		return "--" + o.name + " (" + v + ")"
	}
	return "--" + o.name
}

// read takes a command's words: flags and arguments in any order, and behind "--" arguments alone. It leaves the texts in the
// options, goes on behind a word that is wrong, and returns errHelped where help is asked for. (Package flag stops at the first
// problem and at the first argument: the loop around it was longer than this one.)
func read(options []option, words []string) (arguments, problems []string, err error) {
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word == "--" {
			return append(arguments, words...), problems, nil
		}
		if !isFlag(word) {
			arguments = append(arguments, word)
			continue
		}
		typed, text, hasText := strings.Cut(word, "=")
		name := strings.TrimPrefix(strings.TrimPrefix(typed, "-"), "-")
		i := slices.IndexFunc(options, func(o option) bool { return o.name == name })
		switch {
		case name == "help" || name == "h":
			return nil, nil, errHelped
		case i < 0:
			problems = append(problems, "unknown flag "+typed+meant("--"+name, flagsOf(options), 2))
			if !hasText && len(words) > 0 && !isFlag(words[0]) {
				words = words[1:] // its value, in all likelihood
			}
		case hasText && text == "" && options[i].value != "":
			problems = append(problems, options[i].label()+": its value is empty; leave the flag out for the default")
		case hasText:
			options[i].given = append(options[i].given, text)
		case options[i].value == "":
			options[i].given = append(options[i].given, "true")
		case len(words) == 0 || strings.HasPrefix(words[0], "--"):
			problems = append(problems, options[i].label()+": its value is missing: "+options[i].usage())
		default:
			options[i].given = append(options[i].given, words[0])
			words = words[1:]
		}
	}
	return arguments, problems, nil
}

// isFlag tells flags from arguments, of which "-" is one.
func isFlag(word string) bool { return len(word) > 1 && word[0] == '-' }

func flagsOf(options []option) (flags []string) {
	for _, o := range options {
		flags = append(flags, "--"+o.name)
	}
	return flags
}

// meant suggests the known name that a misspelled one stands for; most is how many letters may be wrong.
func meant(name string, known []string, most int) string {
	if best := suggest.Nearest(name, known, most); best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}

// settle lets every option take its text: flag beats variable beats preset. It returns what is wrong with those that were
// typed and with those that were not.
func settle(options []option, inv invocation) (typed, inherited []string) {
	for _, o := range options {
		texts, problems := o.given, &typed
		if len(texts) == 0 {
			problems = &inherited
			if text := o.untyped(inv); text != "" {
				texts = []string{text}
			}
		}
		if err := o.take(texts); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				*problems = append(*problems, o.label()+": "+line)
			}
		}
	}
	return typed, inherited
}

// untyped is the text of an option whose flag is not given.
func (o *option) untyped(inv invocation) string {
	if name := o.variable(); name != "" {
		if text := inv.getenv(name); text != "" {
			return text
		}
	}
	return o.preset
}

// unknownVariables reports every REFRESHER_ variable that no command knows: a misspelled setting must not be silent. The tables
// of the other commands are made only where the one at hand does not know a variable.
func unknownVariables(own []option, environ []string) []string {
	strange := map[string]bool{}
	for _, kv := range environ {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, prefix) {
			strange[name] = true
		}
	}
	for _, o := range own {
		delete(strange, o.variable())
	}
	if len(strange) == 0 {
		return nil
	}
	var known, problems []string
	for _, c := range commands {
		for _, o := range c.options(new(parsed)) {
			known = append(known, o.variable())
			delete(strange, o.variable())
		}
	}
	for name := range strange {
		suggestion := meant(name, known, 3)
		if suggestion == "" {
			suggestion = "; see 'refresher run --help' for all of them"
		}
		problems = append(problems, name+": there is no such setting"+suggestion)
	}
	slices.Sort(problems)
	return problems
}

// wrongElsewhere says what is wrong with the variables of other commands.
func wrongElsewhere(own []option, inv invocation) (problems []string) {
	seen := map[string]bool{"": true}
	for _, o := range own {
		seen[o.variable()] = true
	}
	for _, c := range commands {
		others := slices.DeleteFunc(c.options(new(parsed)), func(o option) bool { return seen[o.variable()] })
		for _, o := range others {
			seen[o.variable()] = true
		}
		_, wrong := settle(others, inv)
		problems = append(problems, wrong...)
	}
	return problems
}

// into keeps what parse makes of the last text that is given, and of "" where none is.
func into[T any](to *T, parse func(string) (T, error)) func([]string) error {
	return func(texts []string) (err error) {
		last := ""
		if len(texts) > 0 {
			last = texts[len(texts)-1]
		}
		*to, err = parse(last)
		return err
	}
}

// asIs is for into: it takes every text as it is.
func asIs(text string) (string, error) { return text, nil }

// list keeps all texts as they are.
func list(to *[]string) func([]string) error {
	return func(texts []string) error {
		*to = texts
		return nil
	}
}
