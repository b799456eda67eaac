package statuspage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ecr-refresher/internal/health"
)

func writeRegistries(b *strings.Builder, s health.Status) {
	type row struct {
		health.RegistryStatus
		tone   tone
		hidden bool
	}
	out := map[string]bool{}
	for _, o := range s.Outputs {
		for _, h := range o.Hidden {
			out[h.Registry] = out[h.Registry] || o.Primary
		}
	}
	var rows []row
	count := map[tone]int{}
	for _, r := range s.Registries {
		w := row{r, toneOf(r), out[r.Name]}
		if w.hidden && w.tone == good {
			w.tone = warn
		}
		count[w.tone]++
		rows = append(rows, w)
	}
	slices.SortStableFunc(rows, func(x, y row) int { return cmp.Compare(x.tone.rank(), y.tone.rank()) })
	b.WriteString("<h2>Registries")
	if len(rows) > 1 {
		var parts []string
		for _, t := range []struct {
			tone tone
			word string
		}{{bad, "without a valid token"}, {warn, "in trouble"}, {idle, "waiting"}, {good, "good"}} {
			if n := count[t.tone]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, t.word))
			}
		}
		fmt.Fprintf(b, " <small>%s</small>", strings.Join(parts, ", "))
	}
	if count[good] > 0 {
		b.WriteString(" <small>(a token is renewed when its bar has shrunk to the notch)</small>")
	}
	b.WriteString("</h2>\n<ul class=\"rows\">\n")
	for _, r := range rows {
		writeRegistry(b, s.Now, r.RegistryStatus, r.tone, r.hidden)
	}
	b.WriteString("</ul>\n")
}

func toneOf(r health.RegistryStatus) tone {
	switch {
	case waiting(r):
		return idle
	case !r.Valid && !r.Optional:
		return bad
	case !r.Valid, r.Error != nil, r.Accepted == "no":
		return warn
	}
	return good
}

func writeRegistry(b *strings.Builder, now time.Time, r health.RegistryStatus, how tone, hidden bool) {
	fmt.Fprintf(b, `<li class="%s"><div><p class="name"><span class="mark">%s</span>%s`, how, how.mark(), esc(r.Name))
	if r.Optional {
		b.WriteString(` <span class="tag">optional</span>`)
	}
	b.WriteString("</p>")
	if r.Host != r.Name {
		small(b, esc(r.Host))
	}
	for _, a := range r.Aliases {
		small(b, "also as "+esc(a))
	}
	if r.Identity != "task" {
		small(b, "as "+esc(r.Identity))
	}
	b.WriteString("</div>\n<div>")
	writeLife(b, now, r)
	b.WriteString("</div>\n<div>")
	if hidden {
		b.WriteString(`<p class="said">hidden from docker</p>`)
	}
	writeNext(b, now, r)
	b.WriteString("</div></li>\n")
}

func small(b *strings.Builder, escaped string) { b.WriteString(`<p class="soft">` + escaped + "</p>") }

// writeLife shows what is left of a token as a bar, with a notch at which it is to be renewed, and in words.
func writeLife(b *strings.Builder, now time.Time, r health.RegistryStatus) {
	words, at, left, notch := r.Why, "until ", 0.0, -1.0
	if r.Expires != nil && r.Issued != nil {
		life := r.Expires.Sub(*r.Issued).Seconds()
		left = clamp(r.Expires.Sub(now).Seconds() / life)
		if r.NextRefresh != nil && r.Failures == 0 {
			notch = clamp(r.Expires.Sub(*r.NextRefresh).Seconds() / life)
		}
		switch rest := r.Expires.Sub(now); {
		case r.Valid:
			words = long(rest) + " left"
		case rest > 0:
			words = "about to expire: " + long(rest) + " left"
		default:
			words, at = "expired "+long(-rest)+" ago", "at "
		}
	}
	if waiting(r) {
		words = "waiting for the first token"
	}
	fmt.Fprintf(b, `<div class="bar" role="img" aria-label="%.0f %% of the token's life left"><i style="width:%.1f%%"></i>`, 100*left, 100*left)
	if notch > 0 && notch < 1 {
		fmt.Fprintf(b, `<b style="left:%.1f%%"></b>`, 100*notch)
	}
	fmt.Fprintf(b, `</div><p class="said">%s</p>`, esc(words))
	if r.Expires != nil {
		small(b, at+moment(*r.Expires))
	}
}

// writeNext tells what happens next, what went wrong, and what the registry says.
func writeNext(b *strings.Builder, now time.Time, r health.RegistryStatus) {
	verb := "renewal"
	if r.Failures > 0 || waiting(r) {
		verb = "next attempt"
	}
	switch {
	case r.NextRefresh == nil && waiting(r):
		b.WriteString("<p>asking for it</p>")
	case r.NextRefresh == nil:
	case !r.NextRefresh.After(now):
		fmt.Fprintf(b, "<p>%s now</p>", verb)
	default:
		fmt.Fprintf(b, "<p>%s in %s</p>", verb, long(r.NextRefresh.Sub(now)))
	}
	if r.Error != nil {
		fmt.Fprintf(b, `<p class="said">%s`, esc(string(r.Error.Class)))
		if r.Failures > 1 {
			fmt.Fprintf(b, ", %d times in a row", r.Failures)
		}
		b.WriteString("</p>")
	}
	switch {
	case r.Accepted == "yes" && r.Valid:
		small(b, "the registry accepts it")
	case r.Accepted == "no":
		small(b, "the registry rejects it")
	}
	switch {
	case r.Adopted:
		small(b, "found in the file at the start")
	case r.LastSuccess != nil:
		small(b, "last renewed "+long(now.Sub(*r.LastSuccess))+" ago")
	}
}

func writeOutputs(b *strings.Builder, s health.Status) {
	b.WriteString("<h2>Outputs</h2>\n<ul class=\"rows\">\n")
	for _, o := range s.Outputs {
		how, state := outputState(s, o)
		fmt.Fprintf(b, `<li class="%s"><div><p class="name"><span class="mark">%s</span>%s</p></div><div><p class="said">%s</p></div><div>`, how, how.mark(), esc(o.Path), esc(state))
		if o.Primary && len(s.Outputs) > 1 {
			small(b, "the one that health speaks of")
		}
		if o.Mode != "" {
			small(b, esc(o.Mode))
		}
		switch o.Repairs {
		case 0:
		case 1:
			small(b, "repaired once")
		default:
			small(b, fmt.Sprintf("repaired %d times", o.Repairs))
		}
		for _, e := range o.Similar {
			small(b, esc(e.Key+": "+e.Problem+"; "+e.Readers))
		}
		if n := o.SimilarCount - len(o.Similar); n > 0 {
			small(b, counted(n, "more such login", "more such logins"))
		}
		b.WriteString("</div></li>\n")
	}
	b.WriteString("</ul>\n")
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func outputState(s health.Status, o health.OutputStatus) (how tone, state string) {
	how = warn
	if o.Primary && !s.Healthy {
		how = bad
	}
	switch {
	case !o.Exists && o.Error != nil: // there may be a file that cannot be read
		return how, "not usable: " + string(o.Error.Class)
	case !o.Exists && starting(s):
		return idle, "not written yet"
	case !o.Exists:
		return how, "missing"
	case o.Error != nil:
		return how, "not written: " + string(o.Error.Class)
	case o.Contested:
		return warn, "contested"
	case o.BrokenCount > 0:
		return warn, fmt.Sprintf("not read by some programs: %s", counted(o.BrokenCount, "entry", "entries"))
	case len(o.Hidden) > 0:
		return warn, fmt.Sprintf("hidden from docker for %d of %d registries", len(o.Hidden), len(s.Registries))
	}
	return good, "in place"
}

// writeChecks tells what the doctor found: what is not well with its cure, what is well by its name.
func writeChecks(b *strings.Builder, checks []health.Check) {
	if len(checks) == 0 {
		return
	}
	var ill []health.Check
	var well, skipped []string
	for _, c := range checks {
		switch {
		case c.Status == "ok" && !slices.Contains(well, c.ID):
			well = append(well, c.ID)
		case c.Status == "ok":
		case c.Status == "skip" && !slices.Contains(skipped, c.ID):
			skipped = append(skipped, c.ID)
		case c.Status == "skip":
		default:
			ill = append(ill, c)
		}
	}
	b.WriteString("<h2>Checks <small>as in refresher doctor; no part of health</small></h2>\n<ul class=\"rows checks\">\n")
	for _, c := range ill[:min(len(ill), mostChecks)] {
		how := warn
		if c.Status == "fail" {
			how = bad
		}
		fmt.Fprintf(b, `<li class="%s"><div><p class="name"><span class="mark">%s</span>%s <span class="said">%s</span></p>`, how, how.mark(), esc(c.ID), esc(c.Status))
		if c.Of != "" {
			small(b, esc(c.Of))
		}
		fmt.Fprintf(b, `</div><div><p>%s</p>`, esc(c.Seen))
		if c.Cure != "" {
			fmt.Fprintf(b, `<p class="cure">%s</p>`, esc(c.Cure))
		}
		b.WriteString("</div></li>\n")
	}
	if n := len(ill) - mostChecks; n > 0 {
		fmt.Fprintf(b, "<li><p>%s</p></li>\n", strings.TrimSpace(more(n, `, in <a href="/status">/status</a>`)))
	}
	line := func(how tone, what string, ids []string) {
		if len(ids) > 0 {
			fmt.Fprintf(b, "<li class=\"%s\"><div><p><span class=\"mark\">%s</span>%s</p></div><div>", how, how.mark(), what)
			small(b, esc(strings.Join(ids, ", ")))
			b.WriteString("</div></li>\n")
		}
	}
	line(good, "well", well)
	line(idle, "not looked at", skipped)
	b.WriteString("</ul>\n")
}
