package sim

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var mutate = flag.Duration("mutants", 0, "TestMutants: how long each mutant's worlds may take to see it; 0: not at all")

// mutants are bugs that no seam reaches. Each has a place in the code under test, which a comment at the end of a line marks with
// "mutant: NAME", and a change of the syntax on that line. Neither depends on what things are called or in which file they are.
var mutants = map[string]mutation{
	"an expired token is put back":            always,
	"the back-off does not grow":              deleted,
	"no least interval":                       deleted,
	"a failed write waits for the tick":       deleted,
	"clock steps are not noticed":             never,
	"the local clock once AWS has answered":   always,
	"no slow look":                            deleted,
	"adopted whatever the scope":              never,
	"adopted whatever the expiry":             never,
	"what seemed expired is never looked at":  deleted,
	"adopted tokens keep a wrong clock's due": never,
	"the oldest known token is forgotten":     never,
	"the other output's token is unknown":     deleted,
	"valid to the last second":                never,
	"a race is not noticed":                   never,
	"the state is written last":               deleted,
	"what failed to be durable stays so":      always,
	"nothing is tidied":                       never,
	"a wrong mode is left":                    always,
	"an answer waits for a loop that left":    deleted,
	"another task's state is believed":        never,
}

// mutation is a change of the piece of syntax that starts on the marked line.
type mutation struct {
	of      string // what it changes, for an error
	pick    func(n ast.Node) []ast.Node
	replace func(n ast.Node, source string) string
}

var (
	// deleted is a statement, or a case of a select, that is never reached.
	deleted = mutation{"a statement", statements, func(n ast.Node, source string) string {
		if _, ok := n.(*ast.CommClause); ok {
			return ""
		}
		return "if false {\n" + source + "\n}" // its variables count as used
	}}
	// always and never change a condition: of an if or a case, a part of one that has a line of its own, or what is returned.
	always = mutation{"a condition", conditions, func(_ ast.Node, source string) string { return "(" + source + " || true)" }}
	never  = mutation{"a condition", conditions, func(_ ast.Node, source string) string { return "((" + source + ") && false)" }}
)

func statements(n ast.Node) []ast.Node {
	switch n.(type) {
	case *ast.BlockStmt:
	case ast.Stmt:
		return []ast.Node{n}
	}
	return nil
}

func conditions(n ast.Node) (found []ast.Node) {
	switch n := n.(type) {
	case *ast.IfStmt:
		found = append(found, n.Cond)
	case *ast.CaseClause:
		for _, e := range n.List {
			found = append(found, e)
		}
	case *ast.ReturnStmt:
		for _, e := range n.Results {
			found = append(found, e)
		}
	case *ast.BinaryExpr:
		if n.Op == token.LAND || n.Op == token.LOR {
			found = append(found, n.X, n.Y)
		}
	}
	return found
}

// apply returns a file's source with the mutation on a line.
func (m mutation) apply(source []byte, line int) ([]byte, error) {
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []ast.Node // the outermost ones on the line
	ast.Inspect(tree, func(n ast.Node) bool {
		for _, c := range m.pick(n) {
			inside := len(found) > 0 && c.Pos() >= found[len(found)-1].Pos() && c.End() <= found[len(found)-1].End()
			if files.Position(c.Pos()).Line == line && !inside {
				found = append(found, c)
			}
		}
		return true
	})
	if len(found) != 1 {
		return nil, fmt.Errorf("%d times %s starts on the marked line, and it must be once: put what the mutant changes on a line of its own", len(found), m.of)
	}
	from, to := files.Position(found[0].Pos()).Offset, files.Position(found[0].End()).Offset
	mutant := string(source[:from]) + m.replace(found[0], string(source[from:to])) + string(source[to:])
	if _, err := parser.ParseFile(token.NewFileSet(), "", mutant, 0); err != nil {
		return nil, fmt.Errorf("the mutant does not parse: %w", err)
	}
	return []byte(mutant), nil
}

// place is a marked line.
type place struct {
	path   string
	line   int
	source []byte
}

var marker = regexp.MustCompile(`//.*\bmutant: (.+)$`)

// marked finds the marked lines of the module's packages.
func marked(t *testing.T) map[string][]place {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	places := map[string][]place{}
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		n := 0
		for line := range strings.Lines(string(source)) {
			n++
			if m := marker.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				places[m[1]] = append(places[m[1]], place{path, n, source})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return places
}

// plantAt makes the mutant of that name.
func plantAt(places map[string][]place, name string) (path string, mutant []byte, err error) {
	switch at := places[name]; len(at) {
	case 1:
		if mutant, err = mutants[name].apply(at[0].source, at[0].line); err != nil {
			return "", nil, fmt.Errorf("%s:%d: %w", at[0].path, at[0].line, err)
		}
		return at[0].path, mutant, nil
	case 0:
		return "", nil, errors.New(`no line is marked with "// mutant: ` + name + `": mark the place in the code where this bug can be made now`)
	default:
		return "", nil, fmt.Errorf("marked in %s and in %s", at[0].path, at[1].path)
	}
}

// Each mutant has its place, and each marked place its mutant.
func TestMutantsHavePlaces(t *testing.T) {
	places := marked(t)
	for name := range mutants {
		if _, _, err := plantAt(places, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, at := range places {
		if _, ok := mutants[name]; !ok {
			t.Errorf("%s:%d: the list of mutants has no %q", at[0].path, at[0].line, name)
		}
	}
}

// TestMutants compiles the code anew for each mutant, by go test -overlay, and wants its worlds to see it. The tree is not touched.
func TestMutants(t *testing.T) {
	if *mutate == 0 {
		t.Skip("-mutants 1m")
	}
	places := marked(t)
	for name := range mutants {
		t.Run(name, func(t *testing.T) {
			path, source, err := plantAt(places, name)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			mutant, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
			replace, _ := json.Marshal(map[string]any{"Replace": map[string]string{path: mutant}})
			for file, content := range map[string][]byte{mutant: source, overlay: replace} {
				if err := os.WriteFile(file, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-timeout", "5m", "-overlay", overlay,
				".", "-run", "TestWorld", "-budget", mutate.String())
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
