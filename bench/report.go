package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// comparison is a row: a quantity of ours beside that of another program, or beside a bound.
type comparison struct {
	what             string
	program, against string // against is empty where only the bound matters
	quantity         string
	unit             func(float64) string
	target           float64 // the greatest ratio, or without against the greatest value; 0: none was set
}

// section is a table.
type section struct {
	title, stage string
	rows         []comparison
}

// allowed is what a start may take on the clock beyond an empty program and the calls that it cannot do without.
const allowed = 0.009

// imageExtra is what an image may weigh beyond the programs in it: most of it is the bundle of roots.
const imageExtra = 300e3

// derive adds the samples that are made of others.
func derive(f *figures) {
	trips := f.of("start", "round trips", "wall")
	for i, empty := range f.of("start", "empty", "wall") {
		f.add("start", leastStart, "wall", empty+trips[i]+allowed)
	}
	if size := f.median("size", "image", "binaries"); size > 0 {
		f.add("size", leastImage, "bytes", size+imageExtra)
	}
	if small := f.median("size", check, "bytes"); small > 0 {
		f.add("size", both, "bytes", small+f.median("size", ours, "bytes"))
	}
}

const (
	leastStart = "empty Go program + 2 round trips + 9 ms"
	leastImage = "binaries + 300 KB"
	both       = "refresher and healthcheck"
)

func sections() []section {
	return []section{
		{"Start to a usable config.json", "start", []comparison{
			{"CPU", ours, naive, "cpu", ms, 0.50},
			{"CPU", ours, coldCache, "cpu", ms, 0.60},
			{"CPU", ours, warmCache, "cpu", ms, 0},
			{"CPU", ours, awsCLI, "cpu", ms, 0.03},
			{"wall", ours, leastStart, "wall", ms, 1},
			{"wall", ours, "empty", "wall", ms, 0},
			{"wall", ours, naive, "wall", ms, 0},
			{"wall", ours, coldCache, "wall", ms, 0},
			{"wall", ours, awsCLI, "wall", ms, 0},
		}},
		{"The same with 0.25 CPU", "held", []comparison{{"wall", ours, naive, "wall", ms, 0.40}, {"CPU", ours, naive, "cpu", ms, 0}}},
		{"Memory and idling", "idle", []comparison{
			{"peak RSS at start", ours, naive, "peak", mib, 0.85},
			{"idle RSS", ours, naive, "rss", mib, 0.88},
			{"idle anonymous memory", ours, naive, "anonymous", mib, 0.65},
			{"idle RSS", ours, "bare", "rss", mib, 0},
			{"CPU of the start and all that follows it", ours, naive, "settled", ms, 0},
			{"wake-ups a minute", ours, "", "wake-ups", count, 4},
			{"wake-ups a minute", ours, naive, "wake-ups", count, 0},
			{"wake-ups a minute", ours, "bare", "wake-ups", count, 0},
			{"CPU an hour", ours, "bare", "cpu", ms, 2},
			{"CPU an hour", ours, naive, "cpu", ms, 0},
		}},
		{"Health check, the process that ECS starts", "check", []comparison{
			{"CPU of `refresher healthcheck`", ours, naive, "cpu", ms, 0.35},
			{"CPU of `refresher healthcheck`", ours, "empty", "cpu", ms, 2},
			{"CPU of `refresher healthcheck`", ours, "curl -f", "cpu", ms, 0},
			{"peak RSS of `refresher healthcheck`", ours, "", "rss", mib, 5 << 20},
			{"CPU of `healthcheck`", check, naive, "cpu", ms, 0.35},
			{"CPU of `healthcheck`", check, "empty", "cpu", ms, 2},
			{"CPU of `healthcheck`", check, "curl -f", "cpu", ms, 0},
			{"peak RSS of `healthcheck`", check, "", "rss", mib, 5 << 20},
			{"peak RSS of `healthcheck`", check, naive, "rss", mib, 0},
		}},
		{"Scrape, 1 registry: the server's CPU", "scrape 1", []comparison{
			{"as Prometheus asks, gzip", ours, naive, asPrometheus, µs, 0.25},
			{"as Prometheus asks, gzip", ours, "promhttp", asPrometheus, µs, 0},
			{"as Prometheus asks, gzip", ours, nodeExporter, asPrometheus, µs, 0},
			{"as Prometheus asks, gzip", ours, blackbox, asPrometheus, µs, 0},
			{"plain text", ours, naive, asText, µs, 0},
			{"plain text", ours, "promhttp", asText, µs, 0},
			{"size, plain text", ours, naive, "size " + asText, kb, 0},
			{"size, gzip", ours, naive, "size " + asPrometheus, kb, 0},
		}},
		{"Scrape, 1,000 registries: the server's CPU", "scrape 1,000", []comparison{
			{"as Prometheus asks, gzip", ours, naive, asPrometheus, ms, 0},
			{"as Prometheus asks, gzip", ours, "promhttp", asPrometheus, ms, 0.5},
			{"plain text", ours, naive, asText, ms, 0},
			{"plain text", ours, "promhttp", asText, ms, 0},
			{"size, plain text", ours, naive, "size " + asText, kb, 0},
			{"size, gzip", ours, naive, "size " + asPrometheus, kb, 0},
		}},
		{"100 roles at 20 ms a call", "roles", []comparison{
			{"wall", ours, sequential, "wall", ms, 1.0 / 30},
			{"wall", ours, atOnce, "wall", ms, 0},
			{"peak RSS", ours, atOnce, "rss", mib, 0.6},
			{"CPU", ours, atOnce, "cpu", ms, 0},
			{"calls for credentials", ours, "", "credential calls", count, 1},
			{"calls for credentials", ours, atOnce, "credential calls", count, 0},
			{"writes", ours, "", "writes", count, 1},
		}},
		{"Publish 1 entry", "publish 1", publishRows()},
		{"Publish 100 entries", "publish 100", publishRows()},
		{"Publish 1,000 entries", "publish 1000", publishRows()},
		{"What is shipped", "size", []comparison{
			{"binary", ours, naive, "bytes", mb, 0.97},
			{"binary", ours, helper, "bytes", mb, 0},
			{"binary", check, naive, "bytes", mb, 0},
			{"binaries", both, naive, "bytes", mb, 0},
			{"image", "image", leastImage, "bytes", mb, 1},
		}},
	}
}

func publishRows() []comparison {
	return []comparison{{"wall", ours, "bare write", "wall", ms, 1.3}}
}

// report is the generated part of docs/benchmarks.md.
func report(f *figures, machine string) string {
	derive(f)
	var b strings.Builder
	b.WriteString(machine)
	for _, s := range sections() {
		fmt.Fprintf(&b, "\n### %s\n\n| | refresher | beside it | | ratio | target | met |\n|---|--:|---|--:|--:|--:|---|\n", s.title)
		if why := f.Notes[s.stage+"/"+ours]; why != "" {
			fmt.Fprintf(&b, "| %s | | | | | | |\n", why)
			continue
		}
		for _, r := range s.rows {
			b.WriteString(line(f, s.stage, r))
		}
	}
	b.WriteString(fleet(f))
	return b.String()
}

func line(f *figures, stage string, r comparison) string {
	mine := f.of(stage, r.program, r.quantity)
	if len(mine) == 0 {
		if why := f.Notes[stage+"/"+r.program]; why != "" {
			return fmt.Sprintf("| %s | %s | | | | | |\n", r.what, why)
		}
		return "" // a program that this checkout does not have
	}
	cells := []string{r.what, spread(mine, r.unit), r.against, "", "", "", ""}
	switch theirs := f.of(stage, r.against, r.quantity); {
	case r.against == "":
		cells[5], cells[6] = "≤ "+r.unit(r.target), verdict(median(mine) <= r.target)
	case len(theirs) == 0:
		cells[3] = f.Notes[stage+"/"+r.against]
	default:
		cells[3] = spread(theirs, r.unit)
		got, ok := ratio(mine, theirs)
		if !ok {
			break
		}
		cells[4] = times(got)
		if r.target > 0 {
			cells[5], cells[6] = "≤ "+times(r.target), verdict(got <= r.target)
		}
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

func verdict(met bool) string {
	if met {
		return "yes"
	}
	return "**no**"
}

// spread is the median, with the least and the greatest where they differ.
func spread(sample []float64, unit func(float64) string) string {
	low, high := unit(slices.Min(sample)), unit(slices.Max(sample))
	if low == high {
		return low
	}
	return fmt.Sprintf("%s (%s–%s)", unit(median(sample)), strings.Fields(low)[0], strings.Fields(high)[0])
}

func ms(v float64) string    { return digits(v*1e3) + " ms" }
func µs(v float64) string    { return digits(v*1e6) + " µs" }
func mib(v float64) string   { return digits(v/(1<<20)) + " MiB" }
func mb(v float64) string    { return fmt.Sprintf("%.2f MB", v/1e6) }
func kb(v float64) string    { return digits(v/1e3) + " KB" }
func count(v float64) string { return digits(v) }
func times(v float64) string { return fmt.Sprintf("%.*f×", decimals(v), v) }

// digits is a number with about three digits that mean something.
func digits(v float64) string {
	if v == float64(int(v)) {
		return fmt.Sprint(int(v))
	}
	switch {
	case v < 1:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func decimals(ratio float64) int {
	if ratio < 0.1 {
		return 3
	}
	return 2
}

// The generated part of the page lies between these.
const (
	beginMark = "<!-- make bench writes from here -->\n"
	endMark   = "<!-- to here -->\n"
)

// splice replaces the generated part of a page; an empty text only checks that there is one.
func splice(path, text string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), beginMark)
	_, after, ended := strings.Cut(rest, endMark)
	if !ok || !ended {
		return fmt.Errorf("%s: no %q before %q on the page", path, strings.TrimSpace(beginMark), strings.TrimSpace(endMark))
	}
	if text == "" {
		return nil
	}
	return os.WriteFile(path, []byte(before+beginMark+"\n"+text+"\n"+endMark+after), 0o644)
}
