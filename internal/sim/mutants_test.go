package sim

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var mutate = flag.Duration("mutants", 0, "TestMutants: how long each mutant's worlds may take to see it; 0: not at all")

// mutants are bugs that no seam reaches: a piece of the code under test, and what stands in its place. The code is compiled anew
// for each by go test -overlay; the tree is not touched.
var mutants = map[string]struct{ file, from, to string }{
	"an expired token is put back":            {"refresh/output.go", "g != nil && now.Before(g.Expires) {", "g != nil {\n_ = now"},
	"the back-off does not grow":              {"refresh/policy.go", "ceiling = doubled(ceiling, mostBackoff, f.Count)", ""},
	"no least interval":                       {"refresh/scope.go", "s.due = max(s.due, s.called+MinInterval)", ""},
	"a failed write waits for the tick":       {"refresh/output.go", "\to.changed = true\n\tbefore := Class", "\tbefore := Class"},
	"clock steps are not noticed":             {"refresh/loop.go", "step != 0 {", "step != 0 && false {"},
	"the local clock once AWS has answered":   {"refresh/clock.go", "return a.date.Add(a.clock.Elapsed() - a.elapsed)", "return a.clock.Wall()"},
	"no slow look":                            {"refresh/loop.go", "range l.outputs {\n\t\to.changed = true", "range l.outputs {\n\t\t_ = o"},
	"adopted whatever the scope":              {"refresh/scope.go", "g.Scope != s.state.Scope.String() ||", ""},
	"adopted whatever the expiry":             {"refresh/scope.go", "g.Expires.After(now.Add(adoptLife)) ||", ""},
	"what seemed expired is never looked at":  {"refresh/scope.go", "l.doubted = append(l.doubted, recalled)", ""},
	"adopted tokens keep a wrong clock's due": {"refresh/scope.go", "if s.grant != nil && !s.asked {", "if false {"},
	"the oldest known token is forgotten":     {"refresh/scope.go", "func(k Known) bool { return !l.stands(k, known) }", "func(k Known) bool { return true }"},
	"the other output's token is unknown":     {"refresh/scope.go", "l.know(s, &g, 0) // in", "// in"},
	"valid to the last second":                {"refresh/snapshot.go", "case !Valid(now, k.Issued, k.Expires):", "case false:"},
	"a race is not noticed":                   {"writer/replace.go", "case now != old:", "case now != old && false:"},
	"the state is written last":               {"writer/file.go", "func() { f.saveState(d, want) }", "func() {}"},
	"what failed to be durable stays so":      {"writer/file.go", "if f.durable || !f.seen.exists {", "if true {"},
	"nothing is tidied":                       {"writer/file.go", "if !f.tidy && len(want) > 0 {", "if false {"},
	"a wrong mode is left":                    {"writer/file.go", "if !changed && f.seen.stamp.mode.Perm() == f.mode {", "if !changed {"},
	"an answer waits for a loop that left":    {"refresh/loop.go", "case l.events <- f:\n\tcase <-ctx.Done():\n\t}", "case l.events <- f:\n\t}"},
	"another task's state is believed":        {"writer/state.go", " || s.Task != task", " || task == \"\""},
}

func TestMutants(t *testing.T) {
	if *mutate == 0 {
		t.Skip("-mutants 1m")
	}
	for name, m := range mutants {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, err := filepath.Abs("../" + m.file)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(b), m.from); n != 1 {
				t.Fatalf("%q stands %d times in %s: the mutant needs another place", m.from, n, path)
			}
			mutant := filepath.Join(dir, "mutant.go")
			overlay, _ := json.Marshal(map[string]any{"Replace": map[string]string{path: mutant}})
			for file, content := range map[string]string{mutant: strings.Replace(string(b), m.from, m.to, 1), filepath.Join(dir, "overlay.json"): string(overlay)} {
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-timeout", "5m", "-overlay", filepath.Join(dir, "overlay.json"), ".", "-run", "TestWorld", "-budget", mutate.String())
			out, err := cmd.CombinedOutput()
			_, seen, _ := strings.Cut(string(out), ": at ")
			switch {
			case err == nil:
				t.Errorf("not seen within %s", *mutate)
			case strings.Contains(string(out), "blocked goroutines remain"):
				t.Log("seen: a goroutine leaks")
			case seen == "":
				t.Errorf("%.2000s", out)
			default:
				t.Logf("seen: at %.150s", seen)
			}
		})
	}
}
