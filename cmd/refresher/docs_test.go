package main

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The documents of these commands have every flag and no other, and the calls in them are right.
func TestDocsOfCommands(t *testing.T) {
	for _, name := range []string{"inject", "policy"} {
		b, err := os.ReadFile("../../docs/" + name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		var want, got []string
		for _, o := range optionsOf(name) {
			want = append(want, o.Name)
		}
		for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)").FindAllStringSubmatch(text, -1) {
			got = append(got, m[1])
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("docs/%s.md has the flags %v, the command has %v", name, got, want)
		}
		calls := regexp.MustCompile(`(?m)^\$ refresher (`+name+` .*?)( > \S+)?$`).FindAllStringSubmatch(text, -1)
		for _, call := range calls {
			args := strings.Fields(strings.ReplaceAll(call[1], "'", ""))
			if _, c, err := parse(invocation{args: args, out: io.Discard, err: io.Discard}); err != nil || c.Name != name {
				t.Errorf("docs/%s.md: %s: %v", name, call[0], err)
			}
		}
		if len(calls) < 3 {
			t.Errorf("docs/%s.md: only %d calls were found", name, len(calls))
		}
	}
}
