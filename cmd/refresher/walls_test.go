package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "ecr-refresher/"

// walls says of each of our packages which others of ours it may import, without its tests. Arrows point down and never back;
// fault, plain, secret and suggest, which all may share, may be added to any row but the last ones, which import nothing of ours.
var walls = map[string][]string{
	"cmd/refresher": {"internal/doctor", "internal/taskdef", "internal/iam", "internal/health", "internal/statuspage", "internal/healthcheck", "internal/metrics", "internal/httpd",
		"internal/refresh", "internal/token", "internal/writer", "internal/ecs", "internal/registry", "internal/fault", "internal/cli",
		"internal/signals"},
	"cmd/sandbox": {"internal/cli", "internal/sandbox"},
	"cmd/fleet":   {"internal/cli", "internal/refresh", "internal/fault"},

	"cmd/healthcheck": {"internal/healthcheck"},

	"internal/doctor":            {"internal/iam", "internal/token", "internal/writer", "internal/registry", "internal/fault", "internal/plain", "internal/textfile"},
	"internal/health":            {"internal/refresh", "internal/fault", "internal/plain"},
	"internal/health/healthtest": {"internal/refresh", "internal/token", "internal/writer", "internal/registry", "internal/fault"}, // for tests
	"internal/statuspage":        {"internal/health", "internal/refresh"},
	"internal/metrics":           {"internal/refresh", "internal/fault"},
	"internal/refresh":           {"internal/token", "internal/writer", "internal/registry", "internal/fault", "internal/plain", "internal/secret"},
	"internal/token":             {"internal/registry", "internal/fault", "internal/plain", "internal/secret", "internal/trust"},
	"internal/writer":            {"internal/fault", "internal/plain", "internal/secret", "internal/textfile"},
	"internal/taskdef":           {"internal/registry", "internal/textfile"},
	"internal/iam":               {"internal/registry"},

	"internal/sim": {}, // tests, and its package comment
	"deploy":       {}, // tests

	"internal/writer/disktest": {"internal/writer"}, // for tests

	"internal/cli":         {"internal/suggest"},
	"internal/ecs":         {"internal/plain", "internal/fault"},
	"internal/httpd":       {},
	"internal/healthcheck": {},
	"internal/registry":    {"internal/suggest"},
	"internal/fault":       {"internal/plain"},
	"internal/plain":       {},
	"internal/secret":      {},
	"internal/signals":     {},
	"internal/suggest":     {},
	"internal/textfile":    {},
	"internal/trust":       {},
	"internal/sandbox":     {}, // nor is it imported by anybody but its command
}

// foreign says which of our packages may import what of others, by the beginning of its path. What is not listed is free.
var foreign = map[string][]string{
	"github.com/aws/":                         {"internal/token", "internal/sandbox"}, // token classifies what comes back
	"github.com/prometheus/":                  {"internal/metrics"},
	"github.com/spf13/pflag":                  {"internal/cli"},
	"github.com/fsnotify/fsnotify":            {"internal/writer"},
	"github.com/google/go-containerregistry/": {"internal/sandbox", "cmd/sandbox"}, // the refresher asks a registry for /v2/ only
}

// pure are packages that ask neither the network nor the system.
var pure = []string{"internal/registry", "internal/secret", "internal/fault", "internal/plain", "internal/textfile", "internal/suggest"}

// unshipped never reaches the binary that tasks run, by the beginning of the path.
var unshipped = []string{
	module + "internal/writer/disktest",
	module + "internal/sandbox", module + "cmd/sandbox", module + "cmd/fleet", module + "internal/health/healthtest", "github.com/google/go-containerregistry", "github.com/docker/cli",
	"testing", "net/http/httptest", "net/http/pprof", "github.com/google/go-cmp", "github.com/rogpeppe/go-internal",
	"github.com/prometheus/client_golang/prometheus/testutil",
	// These call methods by a name that the linker cannot know: it would keep every method of every type, 3 MB of them.
	"text/template", "html/template",
}

// listed is a package as go list describes it. Imports are those of the package without its tests.
type listed struct {
	ImportPath string
	Imports    []string
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-json=ImportPath,Imports"}, args...)...)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = "../..", &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.Bytes())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// watchSources makes the go command run this package's tests again, rather than show a cached pass, when a source file has
// changed that this test binary is not built from: it remembers which directories a test reads.
func watchSources(t testing.TB) {
	t.Helper()
	for _, dir := range []string{"../../cmd", "../../internal"} {
		if err := filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWalls(t *testing.T) {
	watchSources(t)
	var ours int
	for _, p := range goList(t, "./...") {
		from, ok := strings.CutPrefix(p.ImportPath, module)
		if !ok {
			continue
		}
		ours++
		allowed, known := walls[from]
		if !known {
			t.Errorf("%s is not in the table of walls: say there what it may import", from)
			continue
		}
		for _, path := range p.Imports {
			if to, ok := strings.CutPrefix(path, module); ok && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: it may import %v", from, to, allowed)
			}
			if slices.Contains(pure, from) && slices.Contains([]string{"os", "net/http"}, path) {
				t.Errorf("%s imports %s: it is pure", from, path)
			}
			for prefix, users := range foreign {
				if strings.HasPrefix(path, prefix) && !slices.Contains(users, from) {
					t.Errorf("%s imports %s: only %v may", from, path, users)
				}
			}
		}
	}
	if ours < 10 {
		t.Errorf("only %d packages of ours were listed", ours)
	}
}

// The table itself has no way back: whoever may import a package is not, by any path, importable from it.
func TestWallsHaveNoCircle(t *testing.T) {
	var visit func(path []string, name string)
	visit = func(path []string, name string) {
		if slices.Contains(path, name) {
			t.Fatalf("a circle: %v", append(path, name))
		}
		for _, to := range walls[name] {
			if _, ok := walls[to]; !ok {
				t.Errorf("%s may import %s, of which the table knows nothing", name, to)
			}
			visit(append(path, name), to)
		}
	}
	for name := range walls {
		visit(nil, name)
	}
}

func TestShippedBinaryHoldsNothingOfTests(t *testing.T) {
	watchSources(t)
	deps := goList(t, "./cmd/refresher", "./cmd/healthcheck")
	for _, p := range deps {
		for _, no := range unshipped {
			if p.ImportPath == no || strings.HasPrefix(p.ImportPath, no+"/") {
				t.Errorf("%s is in the shipped binary, by way of %v", p.ImportPath, importers(deps, p.ImportPath))
			}
		}
	}
	if !slices.ContainsFunc(deps, func(p listed) bool { return p.ImportPath == module+"internal/refresh" }) {
		t.Error("the loop is not in the list of the binary's packages: this test overlooks something")
	}
}

func importers(all []listed, path string) []string {
	var by []string
	for _, p := range all {
		if slices.Contains(p.Imports, path) {
			by = append(by, p.ImportPath)
		}
	}
	return by
}

// ECS starts the health check every few seconds for ever: what takes time to start has no place in it.
func TestHealthcheckIsSmall(t *testing.T) {
	watchSources(t)
	for _, p := range goList(t, "./cmd/healthcheck") {
		for _, no := range []string{"net/http", "crypto/tls", "encoding/json", "fmt", "go.uber.org", "github.com"} {
			if p.ImportPath == no || strings.HasPrefix(p.ImportPath, no+"/") {
				t.Errorf("%s is in the health check", p.ImportPath)
			}
		}
	}
}
