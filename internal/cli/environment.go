package cli

import (
	"slices"
	"strings"
)

// Getenv returns the value of a variable in an environment, empty where it is not set. As with os.Getenv, the first of two
// values counts.
func Getenv(environ []string, name string) string {
	for _, kv := range environ {
		if k, value, ok := strings.Cut(kv, "="); ok && k == name {
			return value
		}
	}
	return ""
}

// unknownVariables reports every variable with the program's prefix that no command knows: a misspelled setting must not be
// ignored. The tables of the other commands are made only where the one at hand does not know a variable.
func (p Program[S]) unknownVariables(own []Option, environ []string) []string {
	strange := map[string]bool{}
	for _, kv := range environ {
		if name, _, _ := strings.Cut(kv, "="); p.Prefix != "" && strings.HasPrefix(name, p.Prefix) {
			strange[name] = true
		}
	}
	for _, o := range own {
		delete(strange, o.Variable)
	}
	if len(strange) == 0 {
		return nil
	}
	var known, problems []string
	for _, c := range p.Commands {
		for _, o := range c.options(new(S)) {
			known = append(known, o.Variable)
			delete(strange, o.Variable)
		}
	}
	for name := range strange {
		suggestion := meant(name, known, 3)
		if suggestion == "" {
			suggestion = "; see '" + p.call(p.Commands[0]) + " --help' for all of them"
		}
		problems = append(problems, name+": unknown setting"+suggestion)
	}
	slices.Sort(problems)
	return problems
}

// wrongElsewhere returns what is wrong with the variables of the other commands.
func (p Program[S]) wrongElsewhere(own []Option, environ []string) (problems []string) {
	seen := map[string]bool{"": true}
	for _, o := range own {
		seen[o.Variable] = true
	}
	for _, c := range p.Commands {
		others := slices.DeleteFunc(c.options(new(S)), func(o Option) bool { return seen[o.Variable] })
		for _, o := range others {
			seen[o.Variable] = true
		}
		_, wrong := settle(others, environ)
		problems = append(problems, wrong...)
	}
	return problems
}
