package main

import (
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/metrics"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/writer"
)

var update = flag.Bool("update", false, "write the tables of README.md anew")

// TestReadme holds the tables of the README against the program.
func TestReadme(t *testing.T) {
	const file = "../../README.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, table := range map[string]string{"flags": flagsTable(), "metrics": metricsTable(t)} {
		section := regexp.MustCompile(`(?s)(<!-- ` + name + `: [^\n]* -->\n).*?(<!-- end -->)`)
		m := section.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("README.md has no section %s", name)
		}
		want := m[1] + table + m[2]
		if !*update && m[0] != want {
			t.Errorf("the table of %s is out of date; go test ./cmd/refresher -run TestReadme -update writes it:\n%s", name, table)
		}
		text = strings.Replace(text, m[0], want, 1)
	}
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// flagsTable has the flags of run, and those that once and doctor have besides.
func flagsTable() string {
	var b strings.Builder
	b.WriteString("| flag | variable | default | what it does |\n|---|---|---|---|\n")
	told := map[string]bool{}
	for _, command := range []string{"run", "once", "doctor"} {
		for _, o := range optionsOf(command) {
			if told[o.Name] {
				continue
			}
			told[o.Name] = true
			preset, help := o.Default, o.Help
			if command != "run" {
				help = "`" + command + "` only. " + help
			}
			if preset != "" {
				preset = "`" + preset + "`"
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", o.Usage(), o.Variable, preset, strings.ReplaceAll(help, "|", `\|`))
		}
	}
	return b.String()
}

// still is a view that does not change.
type still struct{ view refresh.View }

func (s still) View() refresh.View { return s.view }

func metricsTable(t *testing.T) string {
	spec, err := registry.ParseSpec("123456789012.dkr.ecr.us-west-2.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	view := refresh.View{
		Snapshot: &refresh.Snapshot{
			Started: time.Unix(0, 0), Scopes: make([]refresh.ScopeState, 1), Outputs: []refresh.OutputState{{Name: "o"}},
			Registries: []refresh.RegistryState{{Spec: &spec, Accepted: refresh.Accepted}},
		},
		OnDisk: []refresh.OnDisk{{View: writer.View{}}},
	}
	m := metrics.New(metrics.Build{}, metrics.Task{}, []string{"r"}, []string{"o"})
	w := httptest.NewRecorder()
	m.Handler(still{view}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	help, kind, labels := map[string]string{}, map[string]string{}, map[string][]string{}
	series := regexp.MustCompile(`^(\w+?)(_bucket|_sum|_count)?(?:\{(.*)\})? `)
	for l := range strings.Lines(w.Body.String()) {
		l = strings.TrimSpace(l)
		if rest, ok := strings.CutPrefix(l, "# HELP "); ok {
			name, text, _ := strings.Cut(rest, " ")
			help[name] = text
			continue
		}
		if rest, ok := strings.CutPrefix(l, "# TYPE "); ok {
			name, text, _ := strings.Cut(rest, " ")
			kind[name] = text
			continue
		}
		p := series.FindStringSubmatch(l)
		for _, label := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(p[3], -1) {
			if name := p[1]; label[1] != "le" && !slices.Contains(labels[name], label[1]) {
				labels[name] = append(labels[name], label[1])
			}
		}
	}
	var names []string
	for name := range help {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range names {
		ls := labels[name]
		for i := range ls {
			ls[i] = "`" + ls[i] + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, kind[name], strings.Join(ls, ", "), help[name])
	}
	return b.String()
}
