package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	page, marked := filepath.Join(dir, "page.md"), filepath.Join(dir, "marked.md")
	empty, err := Splice("# Title\n<!-- make fleet writes from here -->\n<!-- to here -->\nend\n", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{page: "no markers", marked: empty} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args   []string
		code   int
		errors string // in what it says of them
	}{
		{[]string{marked, page}, 2, "unexpected argument"},
		{[]string{"--bogus"}, 2, "unknown flag --bogus"},
		{[]string{filepath.Join(dir, "none.md")}, 1, "none.md"},
		{[]string{page}, 1, "make fleet writes from here"},
		{nil, 0, ""},
		{[]string{marked}, 0, ""},
	} {
		var simulated bool
		tables := func() string { simulated = true; return "| 1 |\n" }
		var out, errOut bytes.Buffer
		if code := run(c.args, tables, &out, &errOut); code != c.code || !strings.Contains(errOut.String(), c.errors) || (errOut.Len() == 0) != (c.code == 0) {
			t.Errorf("%q: code %d, %q", c.args, code, errOut.String())
		}
		if simulated != (c.code == 0) || simulated && out.String() != "| 1 |\n" {
			t.Errorf("%q: simulated is %t, printed %q", c.args, simulated, out.String())
		}
	}
	want, err := Splice(empty, "| 1 |\n")
	if got, _ := os.ReadFile(marked); err != nil || string(got) != want || !strings.HasPrefix(want, "# Title\n") || !strings.HasSuffix(want, "\nend\n") {
		t.Errorf("the page is %q, %v", got, err)
	}
}

func TestRunAll(t *testing.T) {
	var worlds []World
	for n := range 20 {
		worlds = append(worlds, World{Tasks: n + 1, Within: time.Second, Span: time.Minute})
	}
	for n, r := range runAll(worlds) {
		if r.First != n+1 {
			t.Errorf("world %d has %d tasks", n, r.First)
		}
	}
}
