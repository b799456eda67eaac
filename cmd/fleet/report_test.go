package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func each(worlds []World) []Result {
	results := make([]Result, len(worlds))
	for i, w := range worlds {
		results[i] = Run(w)
	}
	return results
}

// The tables of the page are what the code says today: for the small fleets and over time. The large ones would take a minute.
func TestPageIsTrue(t *testing.T) {
	page, err := os.ReadFile("../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	large := func(line string) bool {
		return strings.HasPrefix(line, "| 100,000 ") || strings.HasPrefix(line, "| 1,000,000 ")
	}
	lines := strings.Split(strings.Trim(generated(string(page)), "\n"), "\n")
	told := slices.DeleteFunc(slices.Clone(lines), large)
	if got := len(lines) - len(told); got != 2*(2+4+6) {
		t.Errorf("%d rows about large fleets", got)
	}
	want := strings.Split(strings.Trim(Report(Sizes()[:2], each), "\n"), "\n")
	for i, line := range want {
		if i >= len(told) || told[i] != line {
			t.Fatalf("docs/scale.md does not say\n%s\nRun make fleet, and read what has changed.", line)
		}
	}
	if len(told) != len(want) {
		t.Errorf("docs/scale.md has %d lines more", len(told)-len(want))
	}
}

func TestSplice(t *testing.T) {
	page := "before\n" + beginMark + "old\n" + endMark + "after\n"
	once, err := Splice(page, "| new |\n")
	if want := "before\n" + beginMark + "\n| new |\n\n" + endMark + "after\n"; err != nil || once != want {
		t.Errorf("%q, %v", once, err)
	}
	if twice, err := Splice(once, "| new |\n"); err != nil || twice != once {
		t.Errorf("again: %q, %v", twice, err)
	}
	if got := generated(once); got != "\n| new |\n\n" {
		t.Errorf("generated: %q", got)
	}
	for _, no := range []string{"", beginMark, endMark, endMark + beginMark} {
		if got, err := Splice(no, "x"); err == nil {
			t.Errorf("%q became %q", no, got)
		}
	}
}

func TestMeasures(t *testing.T) {
	calls := make([]int32, 30)
	for i := range calls {
		calls[i] = int32(i + 1)
	}
	const s = time.Second
	for _, c := range []struct {
		from, to   time.Duration
		mean, peak float64
	}{
		{0, 30 * s, 15.5, 25.5}, {0, 10 * s, 5.5, 5.5}, {0, 11 * s, 6, 6.5}, {5 * s, 7*s + 1, 7, 2.1}, {25 * s, time.Hour, 28, 14}, {time.Hour, 2 * time.Hour, 0, 0}, {9 * s, 9 * s, 0, 0},
	} {
		if got := Mean(calls, c.from, c.to); got != c.mean {
			t.Errorf("%s to %s: mean %v, want %v", c.from, c.to, got, c.mean)
		}
		if got := Peak(calls, c.from, c.to); got != c.peak {
			t.Errorf("%s to %s: peak %v, want %v", c.from, c.to, got, c.peak)
		}
	}

	r := Result{
		World:    World{Within: 2 * s, Span: 60 * s},
		Waiting:  []int32{0, 500, 499, 500, 7, 0},
		Accepted: []int32{9, 9, 250, 9, 500, 9},
	}
	if got, waits := r.Used(0); got != 0.75 || !waits {
		t.Errorf("used: %v, %v", got, waits)
	}
	if got, waits := r.Used(4 * s); got != 1 || !waits {
		t.Errorf("used from 4 s on: %v, %v", got, waits)
	}
	if _, waits := r.Used(5 * s); waits {
		t.Error("somebody waits at the end")
	}
	if got := r.Drained(); got != 6*s {
		t.Errorf("drained after %s", got)
	}
	r.Waiting[5] = 1
	if got := r.Drained(); got != 60*s {
		t.Errorf("never drained, and yet after %s", got)
	}
	r.World.Within = 0
	if got := r.Drained(); got != s {
		t.Errorf("at once drained, and yet after %s", got)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 1000000: "1,000,000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
}

// generated is the part of a page that Splice has put there.
func generated(page string) string {
	_, rest, _ := strings.Cut(page, beginMark)
	part, _, _ := strings.Cut(rest, endMark)
	return part
}
