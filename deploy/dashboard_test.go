// Package deploy_test holds what an operator installs or reads against the program: the dashboard, the CloudFormation template,
// the runbook.
package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// readmeMetrics is the README's table, which cmd/refresher holds against the program: the labels of each metric, by name.
func readmeMetrics(t *testing.T) map[string][]string {
	t.Helper()
	metrics := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(ecr_refresher_\\w+)` \\| (\\w+) \\| (.*?) \\|").FindAllStringSubmatch(read(t, "../README.md"), -1) {
		var labels []string
		for _, l := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, l[1])
		}
		metrics[row[1]] = labels
		if row[2] == "histogram" {
			metrics[row[1]+"_bucket"] = append([]string{"le"}, labels...)
			metrics[row[1]+"_sum"], metrics[row[1]+"_count"] = labels, labels
		}
	}
	if len(metrics) < 20 {
		t.Fatalf("only %d metrics in the README", len(metrics))
	}
	return metrics
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []struct{ RefID, Expr, LegendFormat string }
}

type dashboard struct {
	Templating struct {
		List []struct{ Name, Definition string }
	}
	Panels []panel
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "grafana/dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

var (
	metricName = regexp.MustCompile(`ecr_refresher_\w+`)
	selector   = regexp.MustCompile(`(ecr_refresher_\w+)(?:\{([^}]*)\})?`)
	grouping   = regexp.MustCompile(`\b(?:by|on|group_left) \(([^)]*)\)`)
	matcher    = regexp.MustCompile(`(\w+)(?:=~|!~|!=|=)"`)
	legend     = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

// Every query asks for metrics that the program has, by labels that these have; job and instance come from the scrape.
func TestDashboardAsksForWhatThereIs(t *testing.T) {
	metrics, d := readmeMetrics(t), readDashboard(t)
	known := func(where, label string, of ...string) {
		ok := label == "job" || label == "instance"
		for _, m := range of {
			ok = ok || slices.Contains(metrics[m], label)
		}
		if !ok {
			t.Errorf("%s: no label %s in %s", where, label, of)
		}
	}
	used := map[string]bool{}
	check := func(where, query, legends string) {
		asked := metricName.FindAllString(query, -1)
		if len(asked) == 0 {
			t.Errorf("%s: no metric in %q", where, query)
		}
		for _, m := range asked {
			used[m] = true
			if _, ok := metrics[m]; !ok {
				t.Errorf("%s: the README knows no %s", where, m)
			}
		}
		for _, s := range selector.FindAllStringSubmatch(query, -1) {
			for _, l := range matcher.FindAllStringSubmatch(s[2], -1) {
				known(where, l[1], s[1])
			}
		}
		var by []string
		for _, g := range grouping.FindAllStringSubmatch(query, -1) {
			for l := range strings.SplitSeq(g[1], ",") {
				l = strings.TrimSpace(l)
				known(where, l, asked...)
				by = append(by, l)
			}
		}
		for _, l := range legend.FindAllStringSubmatch(legends, -1) {
			if known(where, l[1], asked...); len(by) > 0 && !slices.Contains(by, l[1]) {
				t.Errorf("%s: the legend names %s, and the query drops it", where, l[1])
			}
		}
	}
	for _, v := range d.Templating.List {
		if v.Name == "datasource" {
			continue
		}
		p := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if p == nil {
			t.Fatalf("variable %s: %q", v.Name, v.Definition)
		}
		check("variable "+v.Name, p[1], "{{"+p[2]+"}}")
	}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			check(p.Title, q.Expr, q.LegendFormat)
		}
	}
	for _, m := range []string{
		"token_expiry_timestamp_seconds", "token_valid", "token_accepted", "refresh_errors_total", "refresh_total", "refresh_duration_seconds_bucket",
		"output_repairs_total", "output_contested", "output_shadowed", "output_broken_entries", "output_errors_total", "clock_skew_seconds", "next_refresh_timestamp_seconds", "consecutive_failures",
	} {
		if !used["ecr_refresher_"+m] {
			t.Errorf("nothing shows %s", m)
		}
	}
}

// Every panel says what it shows and stands alone in its place.
func TestDashboardShape(t *testing.T) {
	d := readDashboard(t)
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	if want := []string{"datasource", "job", "registry"}; !slices.Equal(variables, want) {
		t.Errorf("variables %v, want %v", variables, want)
	}
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%s: the id %d is there twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("%s: no description or no query", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s overlaps %q or the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// Prometheus's own parser reads every query, where promtool is installed.
func TestDashboardIsPromQL(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool here")
	}
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$registry", ".*").Replace(q.Expr)
			fmt.Fprintf(&rules, "  - record: p%d_%s\n    expr: %q\n", p.ID, strings.ToLower(q.RefID), expr)
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
