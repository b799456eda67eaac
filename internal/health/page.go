package health

import (
	"fmt"
	"html"
	"strings"
	"time"
)

// page is the status for a person who looks at the task with a browser. It is written by hand rather than by a template
// package, which would be a tenth of the program; every value passes through esc.
func page(s Status) string {
	var b strings.Builder
	b.WriteString(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5"><title>ecr-refresher</title><style>
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884;vertical-align:top}
.ok{color:#2a2}.bad{color:#d33}small{opacity:.7}</style>
`)
	state, class := "healthy and ready", "ok"
	switch {
	case !s.Healthy:
		state, class = "not healthy", "bad"
	case !s.Ready:
		state, class = "healthy, not ready", "bad"
	}
	fmt.Fprintf(&b, "<h1>ecr-refresher: <span class=%s>%s</span></h1>\n", class, state)
	for _, r := range s.Reasons {
		fmt.Fprintf(&b, "<p class=bad>%s</p>\n", esc(r))
	}
	b.WriteString("<h2>Registries</h2><table><tr><th>registry<th>token<th>next renewal<th>accepted<th>last error</tr>\n")
	for _, r := range s.Registries {
		fmt.Fprintf(&b, "<tr><td>%s<br><small>%s</small><td>%s<td>%s<td>%s<td>%s</tr>\n",
			esc(r.Name), esc(r.Host), tokenCell(s, r), until(s.Now, r.NextRefresh), esc(r.Accepted), problemCell(r.Error))
	}
	b.WriteString("</table><h2>Outputs</h2><table><tr><th>file<th>state<th>repairs<th>last error</tr>\n")
	for _, o := range s.Outputs {
		fmt.Fprintf(&b, "<tr><td>%s<td>%s<td>%d<td>%s</tr>\n", esc(o.Path), outputCell(o), o.Repairs, problemCell(o.Error))
	}
	fmt.Fprintf(&b, "</table><p><small>version %s, up %s, local clock %+.0fs off AWS's; task %s; see also <a href=/status>/status</a> and <a href=/metrics>/metrics</a></small></p></html>\n",
		esc(s.Version), time.Duration(s.Uptime)*time.Second, s.ClockSkew, esc(s.Task))
	return b.String()
}

func tokenCell(s Status, r RegistryStatus) string {
	if !r.Valid {
		return "<span class=bad>" + esc(r.Why) + "</span>"
	}
	return "<span class=ok>valid</span>, expires " + until(s.Now, r.Expires)
}

func outputCell(o OutputStatus) string {
	switch {
	case !o.Exists && o.Error != nil: // there may be a file that cannot be read
		return "<span class=bad>not usable</span>"
	case !o.Exists:
		return "<span class=bad>missing</span>"
	case o.Contested:
		return "<span class=bad>contested</span>"
	case len(o.Shadowed) > 0:
		return "<span class=bad>hidden: " + esc(strings.Join(o.Shadowed, "; ")) + "</span>"
	}
	return "<span class=ok>" + esc(o.Mode) + "</span>"
}

func problemCell(p *Problem) string {
	if p == nil {
		return "none"
	}
	return fmt.Sprintf("<b>%s</b> %s<br><small>%s</small>", esc(string(p.Class)), esc(p.Message), esc(p.Cure))
}

func until(now time.Time, t *time.Time) string {
	if t == nil {
		return ""
	}
	d := t.Sub(now).Round(time.Second)
	if d < 0 {
		return "now"
	}
	return "in " + d.String()
}

func esc(s string) string { return html.EscapeString(s) }
