// Package statuspage shows a [health.Status] to a person, as the page at /.
//
// It owns the words, the order and the look. It refuses to judge: it shows what the fields of the status say.
package statuspage

import (
	"cmp"
	_ "embed" // the style sheet
	"fmt"
	"html"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"ecr-refresher/internal/health"
	"ecr-refresher/internal/refresh"
)

// Handler answers with the page. It asks for a status once in each request.
func Handler(status func() health.Status) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		_, _ = io.WriteString(w, page(status()))
	})
}

// page is the status for a person who looks at the task with a browser, perhaps through a port forward and on a phone: one
// document that needs no script and nothing from elsewhere, and that loads itself anew. It is written by hand rather than by
// a template package, which would be a tenth of the program; every value passes through esc. It is XML too, so that a test
// can read it.
//
// It says first how things stand, then what to do, then everything else, what is worst first. No state is told by colour alone.
func page(s health.Status) string {
	var b strings.Builder
	b.Grow(8<<10 + len(s.Registries)*(1<<10))
	how, title, text := headline(s)
	b.WriteString(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width,initial-scale=1"/><meta http-equiv="refresh" content="5"/>
`)
	fmt.Fprintf(&b, "<title>%s %s: ecr-refresher</title>\n<style>\n%s</style></head>\n<body>\n", how.mark(), esc(title), style)
	fmt.Fprintf(&b, `<header class="%s"><span class="mark">%s</span><div><h1>%s</h1><p>%s</p><p class="probes soft">`+
		`<a href="/healthz">/healthz</a> says %s, <a href="/readyz">/readyz</a> %s</p></div></header>`+"\n",
		how, how.mark(), esc(title), esc(text), said(s.Healthy, "healthy"), said(s.Ready, "ready"))
	writeTodo(&b, troubles(s))
	writeRegistries(&b, s)
	writeOutputs(&b, s)
	writeChecks(&b, s.Checks)
	writeReasons(&b, s.Reasons)
	writeFacts(&b, s)
	b.WriteString("</body></html>\n")
	return b.String()
}

//go:embed page.css
var style string

// tone is how bad something is, and a class of the style sheet.
type tone string

const (
	bad  tone = "bad"  // a consumer fails now
	warn tone = "warn" // it will, or something is in the way
	idle tone = "idle" // nothing is known yet
	good tone = "good"
)

// mark tells a tone without colour.
func (t tone) mark() string {
	return map[tone]string{bad: "✕", warn: "▲", idle: "◌", good: "✓"}[t]
}

func (t tone) rank() int { return slices.Index([]tone{bad, warn, idle, good}, t) }

func said(yes bool, word string) string {
	if yes {
		return word
	}
	return "not " + word
}

// headline is how things stand, for who reads one line.
func headline(s health.Status) (how tone, title, text string) {
	var without, required int
	var failing, rejected bool
	for _, r := range s.Registries {
		if !r.Optional {
			required++
			if !r.Valid {
				without++
			}
		}
		failing = failing || r.Failures > 0
		rejected = rejected || r.Accepted == "no"
	}
	switch {
	case s.Healthy && !s.Ready:
		return warn, "Logged in, but not all is well", inTheWay(s)
	case s.Healthy && failing:
		return warn, "Logged in; a renewal fails", "The tokens in the file work until they expire. Renewal is tried again for ever."
	case s.Healthy && rejected:
		return warn, "Logged in, but a registry rejects the token", "The token has not expired, and the registry refuses it all the same."
	case s.Healthy:
		return good, "Logged in", "Consumers find valid tokens, which are renewed in time."
	case without == 0: // the files are good, and nobody watches over them
		return bad, "The refresher hangs", s.Stuck
	case starting(s):
		return idle, "Starting", "Tokens are being asked for; no answer yet."
	}
	return bad, "Not logged in", fmt.Sprintf("Consumers fail now: the file holds no valid token for %s.", share(without, required))
}

// inTheWay says what is wrong where the first output holds valid tokens.
func inTheWay(s health.Status) string {
	has := func(what func(health.OutputStatus) bool) bool { return slices.ContainsFunc(s.Outputs, what) }
	switch {
	case has(func(o health.OutputStatus) bool { return len(o.Hidden) > 0 }):
		return "The file holds valid tokens, and a credential helper hides them from docker."
	case has(func(o health.OutputStatus) bool { return o.BrokenCount > 0 }):
		return "The file holds valid tokens, and an entry of another program keeps programs from reading it."
	case has(func(o health.OutputStatus) bool { return o.Contested }):
		return "The file holds valid tokens, and another program keeps changing it."
	case has(func(o health.OutputStatus) bool { return o.Error != nil }):
		return "The first output holds valid tokens, and an output cannot be written."
	}
	return "The first output holds valid tokens, and another output does not."
}

// starting reports whether nothing has gone wrong yet, only that nothing has come.
func starting(s health.Status) bool {
	return !slices.ContainsFunc(s.Registries, func(r health.RegistryStatus) bool {
		return !r.Valid && !r.Optional && !waiting(r)
	}) && !slices.ContainsFunc(s.Outputs, func(o health.OutputStatus) bool { return o.Error != nil })
}

// waiting reports whether the first answer for a registry is still to come.
func waiting(r health.RegistryStatus) bool {
	return !r.Valid && r.Error == nil && r.Expires == nil && r.LastSuccess == nil && !r.Adopted
}

func share(n, of int) string {
	switch {
	case of == 1:
		return "the registry"
	case n == of:
		return fmt.Sprintf("any of the %d required registries", of)
	}
	return fmt.Sprintf("%d of the %d required registries", n, of)
}

// trouble is something to do, told once however many registries it keeps from their work.
type trouble struct {
	tone                 tone
	title, message, cure string
	where                []string
}

// troubles are the different things to do, the worst first.
func troubles(s health.Status) []trouble {
	var found []trouble
	index := map[[3]string]int{}
	add := func(how tone, title, message, cure, where string) {
		key := [3]string{title, message, cure}
		i, ok := index[key]
		if !ok {
			i, index[key] = len(found), len(found)
			found = append(found, trouble{how, title, message, cure, nil})
		}
		t := &found[i]
		t.where = append(t.where, where)
		if how.rank() < t.tone.rank() {
			t.tone = how
		}
	}
	for _, r := range s.Registries {
		if r.Error != nil {
			how := warn
			if !r.Valid && !r.Optional {
				how = bad
			}
			add(how, string(r.Error.Class), r.Error.Message, r.Error.Cure, r.Name)
		}
	}
	for _, o := range s.Outputs {
		how := warn
		if o.Primary && !s.Healthy {
			how = bad
		}
		if o.Error != nil {
			add(how, string(o.Error.Class), o.Error.Message, o.Error.Cure, o.Path)
		}
		if o.Contested {
			add(warn, "contested", "another program changes our entries again and again", refresh.ContestedCure, o.Path)
		}
		for _, e := range o.Broken {
			add(warn, "entry that breaks the file", e.Key+": "+e.Problem+"; "+e.Readers, refresh.BrokenCure, o.Path)
		}
		for _, by := range hiders(o) {
			var names, hosts []string
			for _, h := range o.Hidden {
				if h.By == by {
					names, hosts = append(names, h.Registry), append(hosts, h.Hosts...)
				}
			}
			cure := health.HiddenCure(hosts, mostHosts)
			for _, name := range names {
				add(warn, "hidden", o.Path+": "+by, cure, name)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b trouble) int { return cmp.Compare(a.tone.rank(), b.tone.rank()) })
	return found
}

// hiders are the different ways in which an output hides registries from docker.
func hiders(o health.OutputStatus) (all []string) {
	for _, h := range o.Hidden {
		if !slices.Contains(all, h.By) {
			all = append(all, h.By)
		}
	}
	return all
}

// What is listed at most: a page is for reading, /status has everything.
const (
	mostTroubles = 12
	mostWhere    = 8
	mostReasons  = 10
	mostHosts    = 4
	mostChecks   = 12
)

func writeTodo(b *strings.Builder, all []trouble) {
	if len(all) == 0 {
		return
	}
	b.WriteString("<h2>What to do</h2>\n<ul class=\"todo\">\n")
	for _, t := range all[:min(len(all), mostTroubles)] {
		fmt.Fprintf(b, `<li class="%s"><h3><span class="mark">%s</span>%s</h3><p>%s</p>`, t.tone, t.tone.mark(), esc(t.title), esc(t.message))
		if t.cure != "" {
			fmt.Fprintf(b, `<p class="cure">%s</p>`, esc(t.cure))
		}
		where := t.where[:min(len(t.where), mostWhere)]
		fmt.Fprintf(b, "<p class=\"soft\">%s%s</p></li>\n", esc(strings.Join(where, ", ")), more(len(t.where)-len(where), ""))
	}
	if n := len(all) - mostTroubles; n > 0 {
		fmt.Fprintf(b, "<li>%s</li>\n", strings.TrimSpace(more(n, `, in <a href="/status">/status</a>`)))
	}
	b.WriteString("</ul>\n")
}

func more(n int, where string) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more%s", n, where)
}

// writeReasons repeats the words of /readyz, which are those of the health check: who searches for them shall find them here.
func writeReasons(b *strings.Builder, reasons []string) {
	if len(reasons) == 0 {
		return
	}
	b.WriteString("<h2>What /readyz says</h2>\n<ul class=\"verbatim\">\n")
	for _, r := range reasons[:min(len(reasons), mostReasons)] {
		fmt.Fprintf(b, "<li>%s</li>\n", esc(r))
	}
	if n := len(reasons) - mostReasons; n > 0 {
		fmt.Fprintf(b, "<li>%s</li>\n", strings.TrimSpace(more(n, `, in <a href="/readyz">/readyz</a>`)))
	}
	b.WriteString("</ul>\n")
}

func writeFacts(b *strings.Builder, s health.Status) {
	b.WriteString("<h2>This refresher</h2>\n<dl class=\"facts\">")
	fact := func(name, escaped string) { fmt.Fprintf(b, "<dt>%s</dt><dd>%s</dd>\n", name, escaped) }
	fact("version", esc(s.Version))
	if s.Task != "" {
		fact("task", esc(s.Task))
	}
	fact("up", long(time.Duration(s.Uptime*float64(time.Second))))
	fact("local clock", clockWords(s.ClockSkew))
	fact("seen", moment(s.Now)+", again every 5 s")
	fact("more", `<a href="/status">/status</a>, <a href="/metrics">/metrics</a>`)
	b.WriteString("</dl>\n")
}

// clockWords says how the local clock stands to AWS's.
func clockWords(skew float64) string {
	d := time.Duration(skew * float64(time.Second))
	switch {
	case d.Abs() < time.Second:
		return "right"
	case d > 0:
		return long(d) + " ahead of AWS's"
	}
	return long(-d) + " behind AWS's"
}

func clamp(share float64) float64 {
	if !(share > 0) { // nor is NaN
		return 0
	}
	return min(share, 1)
}

// long is a time to read: two units at most, never a fraction.
func long(d time.Duration) string {
	d = max(d, 0)
	switch s := int(d.Round(time.Second).Seconds()); {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 600:
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	case s < 3600:
		return fmt.Sprintf("%d min", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%d h %02d min", s/3600, s/60%60)
	default:
		return fmt.Sprintf("%d days %d h", s/86400, s/3600%24)
	}
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

func esc(s string) string { return html.EscapeString(s) }
