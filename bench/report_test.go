package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRatioIsPaired(t *testing.T) {
	// The machine became three times slower after the first round; one program is always half of the other.
	if got, ok := ratio([]float64{1, 3, 3}, []float64{2, 6, 6}); !ok || got != 0.5 {
		t.Errorf("ratio %v, %v; want 0.5", got, ok)
	}
	if _, ok := ratio(nil, []float64{1}); ok {
		t.Error("a ratio of nothing")
	}
}

func TestReport(t *testing.T) {
	f := newFigures()
	for _, v := range []float64{0.010, 0.012, 0.011} {
		f.add("start", ours, "cpu", v)
		f.add("start", naive, "cpu", 2*v)
		f.add("start", coldCache, "cpu", v)
	}
	f.add("idle", ours, "wake-ups", 5)
	f.note("start", awsCLI, "does not run:\na | in its error")
	f.note("held", ours, "not measured here: no cgroup")
	got := report(f, "the machine\n")
	for _, want := range []string{
		"| CPU | 11 ms (10–12) | naive | 22 ms (20–24) | 0.50× | ≤ 0.50× | yes |",
		"| CPU | 11 ms (10–12) | ecr-login, cold cache | 11 ms (10–12) | 1.00× | ≤ 0.60× | **no** |",
		"| CPU | 11 ms (10–12) | AWS CLI | does not run: a / in its error |  |  |  |",
		"| wake-ups a minute | 5 |  |  |  | ≤ 4 | **no** |",
		"| not measured here: no cgroup | | | | | | |",
		"| a shell loop around the AWS CLI | | | | | not measured here: does not run: a / in its error |",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no line %s in\n%s", want, got)
		}
	}
}

func TestSplice(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	write := func(text string) {
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n")
	if splice(page, "") == nil {
		t.Error("a page without marks is taken")
	}
	write("before\n" + beginMark + "old\n" + endMark + "after\n")
	if err := splice(page, "new\n"); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(page)
	if want := "before\n" + beginMark + "\nnew\n\n" + endMark + "after\n"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCountNames(t *testing.T) {
	event := func(name string) []byte {
		padded := append([]byte(name), make([]byte, 16-len(name)%16)...)
		return append(append(make([]byte, 12), byte(len(padded)), 0, 0, 0), padded...)
	}
	events := append(append(event(configFile), event(".config.json.state")...), event(configFile)...)
	if got := countNames(events, configFile); got != 2 {
		t.Errorf("%d events, want 2", got)
	}
}
