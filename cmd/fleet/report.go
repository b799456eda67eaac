package main

import (
	"fmt"
	"strings"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
)

// Sizes are the fleets that docs/scale.md tells of.
func Sizes() []int { return []int{1_000, 10_000, 100_000, 1_000_000} }

const (
	seed    = 1
	watched = 3 * 24 * time.Hour

	// wave is the least time between two tokens of a task that nothing disturbs: 0.8 · 0.5 · 12 h.
	wave = 288 * time.Minute
)

var (
	starts  = []time.Duration{time.Minute, time.Second}
	outages = []Outage{{}, {For: time.Hour}, {From: 5 * time.Hour, For: time.Hour}} // the last one falls on the first renewals
)

// Textbook is the back-off that the refresher does not use when it is throttled, to compare with: full jitter over a ceiling
// that doubles from 1 s to 5 min, as after any other transient failure.
func Textbook(f refresh.Failure, u float64) time.Duration {
	if f.Class == fault.Throttled {
		f.Class = fault.ServerError
	}
	return refresh.Backoff(f, u)
}

// Report is the generated part of docs/scale.md, for fleets of these sizes. run gives a result per world, in their order.
func Report(sizes []int, run func([]World) []Result) string {
	var worlds []World
	for _, tasks := range sizes {
		for _, within := range starts {
			for _, o := range outages {
				worlds = append(worlds, World{Tasks: tasks, Within: within, Outage: o, Span: watched, Seed: seed})
			}
		}
	}
	shown := World{Tasks: 100_000, Within: time.Minute, Span: 10 * time.Minute, Seed: seed}
	textbook, outage := shown, shown
	textbook.Backoff = Textbook
	outage.Outage = outages[1]
	outage.Span += outages[1].For

	results := run(append(worlds, shown, textbook, outage))
	all, series := results[:len(worlds)], results[len(worlds):]
	var b strings.Builder
	reportStarts(&b, all)
	reportSeries(&b, series[0], series[1], series[2])
	reportOutages(&b, all)
	reportWaves(&b, all)
	return b.String()
}

func reportStarts(b *strings.Builder, all []Result) {
	b.WriteString("### The first token\n\n" +
		"| tasks | started within | last first token | as a multiple of tasks ÷ 500/s | quota used while work waits | offered ÷ quota until then | at the peak |\n" +
		"|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range all {
		if r.World.Outage.For > 0 {
			continue
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %.2f | %.1f |\n", thousands(r.World.Tasks), span(r.World.Within), last(r), multiple(r), used(r, 0), Mean(r.Offered, 0, r.Last)/Quota, Peak(r.Offered, 0, r.Last)/Quota)
	}
}

func reportSeries(b *strings.Builder, shipped, textbook, outage Result) {
	b.WriteString("\n### Calls per second over time, for 100,000 tasks that start within a minute\n\n" +
		"Each cell: offered · accepted · tasks that wait at its end.\n\n" +
		"| seconds | after the start | the same with textbook back-off | after an outage of the first hour |\n" +
		"|--:|--:|--:|--:|\n")
	edges := []int{0, 10, 20, 30, 40, 50, 60, 90, 120, 150, 180, 210, 240, 270, 300, 360, 420, 480}
	for i, to := range edges[1:] {
		fmt.Fprintf(b, "| %d–%d |", edges[i], to)
		for _, r := range []Result{shipped, textbook, outage} {
			from := r.World.Outage.end() + time.Duration(edges[i])*time.Second
			end := r.World.Outage.end() + time.Duration(to)*time.Second
			fmt.Fprintf(b, " %s · %s · %s |", rate(Mean(r.Offered, from, end)), rate(Mean(r.Accepted, from, end)), thousands(int(r.Waiting[index(end)-1])))
		}
		b.WriteString("\n")
	}
}

func reportOutages(b *strings.Builder, all []Result) {
	b.WriteString("\n### An hour without the region\n\n" +
		"| tasks | started within | outage | offered ÷ quota in it, at the peak | after it, at the peak | nobody waits after | quota used while work waits | tokens that ended before the next came |\n" +
		"|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range all {
		o := r.World.Outage
		if o.For == 0 {
			continue
		}
		fmt.Fprintf(b, "| %s | %s | %s | %.1f | %.1f | %s | %s | %s |\n", thousands(r.World.Tasks), span(r.World.Within), o,
			Peak(r.Offered, o.From, o.end())/Quota, Peak(r.Offered, o.end(), r.Drained())/Quota, (r.Drained() - o.end()).Round(time.Second),
			used(r, o.end()), thousands(r.Expired))
	}
}

func reportWaves(b *strings.Builder, all []Result) {
	waves := []int{1, 2, 3, 5, 10, 14}
	b.WriteString("\n### Renewals, for three days\n\nThe greatest rate over 10 s, in calls/s. Where less was accepted, that stands in brackets.\n\n" +
		"| tasks | started within | outage |")
	for _, n := range waves {
		fmt.Fprintf(b, " wave %d |", n)
	}
	b.WriteString(" tokens that ended before the next came |\n|--:|--:|--:|" + strings.Repeat("--:|", len(waves)+1) + "\n")
	for _, r := range all {
		var begin time.Duration // of the fleet's tokens
		if o := r.World.Outage; o.From == 0 {
			begin = o.end()
		}
		fmt.Fprintf(b, "| %s | %s | %s |", thousands(r.World.Tasks), span(r.World.Within), r.World.Outage)
		for _, n := range waves {
			from, to := begin+time.Duration(n)*wave, begin+time.Duration(n+1)*wave
			offered, accepted := rate(Peak(r.Offered, from, to)), rate(Peak(r.Accepted, from, to))
			if offered == accepted {
				fmt.Fprintf(b, " %s |", offered)
			} else {
				fmt.Fprintf(b, " %s (%s) |", offered, accepted)
			}
		}
		fmt.Fprintf(b, " %s |\n", thousands(r.Expired))
	}
}

// String is how the tables name an outage.
func (o Outage) String() string {
	switch {
	case o.For == 0:
		return "none"
	case o.From == 0:
		return "the first hour"
	}
	return fmt.Sprintf("hours %.0f to %.0f", o.From.Hours(), o.end().Hours())
}

func last(r Result) string {
	if r.First < r.World.Tasks {
		return "never"
	}
	return r.Last.Round(time.Second).String()
}

// multiple compares the last first token with what the quota allows. Where nobody has to wait, there is nothing to compare.
func multiple(r Result) string {
	if r.Last < r.World.Within+time.Second {
		return "as they start"
	}
	return fmt.Sprintf("%.2f", r.Last.Seconds()*Quota/float64(r.World.Tasks))
}

func used(r Result, from time.Duration) string {
	share, waits := r.Used(from)
	if !waits {
		return "none waits"
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

func span(d time.Duration) string {
	if d == time.Minute {
		return "a minute"
	}
	return "a second"
}

func rate(r float64) string {
	if r < 10 {
		return fmt.Sprintf("%.1f", r)
	}
	return thousands(int(r + 0.5))
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// The generated part of a page lies between these.
const (
	beginMark = "<!-- make fleet writes from here -->\n"
	endMark   = "<!-- to here -->\n"
)

// Splice is a page with its generated part replaced.
func Splice(page, report string) (string, error) {
	before, rest, ok := strings.Cut(page, beginMark)
	_, after, ended := strings.Cut(rest, endMark)
	if !ok || !ended {
		return "", fmt.Errorf("no %q before %q on the page", strings.TrimSpace(beginMark), strings.TrimSpace(endMark))
	}
	return before + beginMark + "\n" + report + "\n" + endMark + after, nil
}
