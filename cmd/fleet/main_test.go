package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ecr-refresher/internal/fleet"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	page, marked := filepath.Join(dir, "page.md"), filepath.Join(dir, "marked.md")
	empty, err := os.ReadFile("../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{page: "no markers", marked: strings.Replace(string(empty), fleet.Generated(string(empty)), "", 1)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args   []string
		code   int
		errors string // in what it says of them
	}{
		{[]string{marked, page}, 2, "usage"},
		{[]string{filepath.Join(dir, "none.md")}, 1, "none.md"},
		{[]string{page}, 1, "make fleet writes from here"},
		{[]string{marked}, 0, ""},
	} {
		var out, errOut bytes.Buffer
		if code := run(c.args, []int{1000}, &out, &errOut); code != c.code || !strings.Contains(errOut.String(), c.errors) {
			t.Errorf("%q: code %d, %q", c.args, code, errOut.String())
		}
		if table := strings.Contains(out.String(), "| 1,000 | a minute |"); table != (c.code == 0) {
			t.Errorf("%q prints %q", c.args, out.String())
		}
		if c.code == 0 {
			if got, err := os.ReadFile(marked); err != nil || strings.Trim(fleet.Generated(string(got)), "\n") != strings.Trim(out.String(), "\n") {
				t.Errorf("the page has %q, %v", got, err)
			}
		}
	}
}
