package main

import (
	"fmt"
	"strings"
)

// What the fleet is assumed to be. The table says so, too.
const (
	tasks       = 10_000
	month       = 730.0 // hours
	checkEvery  = 10.0  // seconds, as in deploy/taskdef.json
	scrapeEvery = 30.0  // seconds
	// renewEvery is the mean of the defaults: half of 12 hours, up to a fifth earlier.
	renewEvery = 12 * 0.5 * (1 - 0.2/2)
	loopEvery  = 11.0 // hours between two runs of the AWS CLI: less than a token's life, with an hour to try again
	// usesAnHour is how often the task's containers pull from or push to a registry; each use asks the helper once.
	usesAnHour = 10.0
	// helperKeeps is how long the helper's cache is used: half of a token's life, in hours.
	helperKeeps = 6.0
)

// bill is what a way of keeping a task logged in costs for each task and month.
type bill struct {
	name   string
	cpu    float64 // seconds
	memory float64 // bytes, all the time
	peak   float64 // bytes, at times
	calls  float64 // of GetAuthorizationToken
	parts  string
}

// fleet computes what the ways cost for 10,000 tasks in a month, from the figures of this run alone.
func fleet(f *figures) string {
	var bills []bill
	probe := check
	if f.median("check", check, "cpu") == 0 {
		probe = ours
	}
	checks := month * 3600 / checkEvery * f.median("check", probe, "cpu")
	scrapes := month * 3600 / scrapeEvery * f.median("scrape 1", ours, asPrometheus)
	idle := month * f.median("idle", ours, "cpu")
	renewals := month / renewEvery * f.median("idle", ours, "renewal")
	start := f.median("start", ours, "cpu")
	bills = append(bills, bill{
		name: "refresher", cpu: start + renewals + idle + checks + scrapes,
		memory: f.median("idle", ours, "rss"), peak: f.median("idle", ours, "peak"), calls: 1 + month/renewEvery,
		parts: fmt.Sprintf("health checks %.0f %%, scrapes %.0f %%, idling %.0f %%, start and renewals %.1f %%",
			share(checks, start, renewals, idle, scrapes), share(scrapes, start, renewals, idle, checks), share(idle, start, renewals, scrapes, checks),
			share(start+renewals, idle, scrapes, checks)),
	})
	bills = append(bills, bill{
		name: "the same without health checks and scrapes", cpu: start + renewals + idle,
		memory: f.median("idle", ours, "rss"), peak: f.median("idle", ours, "peak"), calls: 1 + month/renewEvery,
		parts: "to compare with the rows below, which have neither",
	})
	if cli := f.median("start", awsCLI, "cpu"); cli > 0 {
		runs := 1 + month/loopEvery
		waiting := f.median("idle", shell, "rss") + f.median("idle", shellSleeps, "rss")
		bills = append(bills, bill{
			name: "a shell loop around the AWS CLI", cpu: runs * cli, memory: waiting, peak: waiting + f.median("start", awsCLI, "rss"), calls: runs,
			parts: "while it waits it is a shell and its sleep",
		})
	} else {
		bills = append(bills, bill{name: "a shell loop around the AWS CLI", parts: "not measured here: " + f.Notes["start/"+awsCLI]})
	}
	uses := month * usesAnHour
	bills = append(bills,
		bill{
			name: "ecr-login, its cache kept", cpu: uses * f.median("start", warmCache, "cpu"), peak: f.median("start", coldCache, "rss"), calls: month / helperKeeps,
			parts: "needs a directory that outlives the container, and the helper in each image",
		},
		bill{
			name: "ecr-login, no cache", cpu: uses * f.median("start", coldCache, "cpu"), peak: f.median("start", coldCache, "rss"), calls: uses,
			parts: "as in a container for each build",
		})

	var b strings.Builder
	fmt.Fprintf(&b, "\n### A fleet of 10,000 tasks in a month of 730 hours\n\n"+
		"Computed from the medians above. Assumed: a health check every %.0f s and a scrape every %.0f s; a renewal every %.1f h (the defaults' mean); "+
		"the AWS CLI every %.0f h; %.0f pulls or pushes an hour and task, each of which asks the helper once. API calls are of GetAuthorizationToken.\n\n"+
		"| | CPU-hours | GB-months held | GB at the peak of each | API calls | |\n|---|--:|--:|--:|--:|---|\n", checkEvery, scrapeEvery, renewEvery, loopEvery, usesAnHour)
	for _, x := range bills {
		if x.cpu == 0 {
			fmt.Fprintf(&b, "| %s | | | | | %s |\n", x.name, x.parts)
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", x.name, digits(tasks*x.cpu/3600), digits(tasks*x.memory/1e9), digits(tasks*x.peak/1e9),
			millions(tasks*x.calls), x.parts)
	}
	return b.String()
}

// share of the first in the sum of all, in percent.
func share(part float64, others ...float64) float64 {
	sum := part
	for _, o := range others {
		sum += o
	}
	return 100 * part / sum
}

func millions(n float64) string { return fmt.Sprintf("%.2f M", n/1e6) }
