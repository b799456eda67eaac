package sim

import (
	"go.uber.org/zap/zapcore"

	"ecr-refresher/internal/refresh"
)

// tongue is the log: it hears which failures are told.
type tongue struct{ p *process }

func (tongue) Enabled(l zapcore.Level) bool        { return l >= zapcore.InfoLevel }
func (t tongue) With([]zapcore.Field) zapcore.Core { return t }
func (tongue) Sync() error                         { return nil }
func (t tongue) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if t.Enabled(e.Level) {
		return c.AddCore(e, t)
	}
	return c
}

func (t tongue) Write(e zapcore.Entry, fields []zapcore.Field) error {
	p, w := t.p, t.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead || p.stopping {
		return nil
	}
	w.stats.lines++
	for _, f := range fields {
		if f.Key == "output" {
			out := &p.outs[int(f.String[len(f.String)-1]-'0')]
			out.lines = append(out.lines, w.elapsed())
		}
	}
	if w.trace != nil {
		m := zapcore.NewMapObjectEncoder()
		for _, f := range fields {
			f.AddTo(m)
		}
		w.trace("log: %s %v", e.Message, m.Fields)
	}
	switch e.Message {
	case "renewal failed", "renewal works again", "output not written", "output works again",
		"output contested: another program changes our entries again and again":
	default:
		return nil
	}
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	class, _ := m.Fields["class"].(string)
	failures, _ := m.Fields["failures"].(int64)
	site, out := 0, 0
	if names, ok := m.Fields["registries"].([]any); ok {
		site = w.siteOf[names[0].(string)].n
	}
	if name, ok := m.Fields["output"].(string); ok {
		out = int(name[len(name)-1] - '0')
	}
	switch e.Message {
	case "renewal failed":
		switch {
		case class != string(p.sites[site].streak):
			w.breach("site %d failed with %q, the log says %q", site, p.sites[site].streak, class)
		case p.sites[site].unsaid != "" || refresh.PowerOfTen(int(failures)):
		case p.sites[site].asked: // by SIGHUP, which is answered
		case e.Level >= zapcore.ErrorLevel && p.sites[site].lapses < p.sites[site].good+1: // a token that has expired without a successor is told of once
			p.sites[site].lapses++
		default:
			w.breach("site %d: failure %d of class %q is told again", site, failures, class)
		}
		p.sites[site].unsaid, p.sites[site].asked = "", false
	case "renewal works again":
		if !p.sites[site].recovered {
			w.breach("site %d works again, and had not failed", site)
		}
		p.sites[site].recovered = false
	case "output not written":
		if p.outs[out].unsaid == "" && !refresh.PowerOfTen(int(failures)) && !p.quiet(out) || class != string(p.outs[out].streak) {
			w.breach("output %d: failure %d of class %q is told again, or is %q", out, failures, class, p.outs[out].streak)
		}
		p.outs[out].unsaid = ""
	case "output works again":
		p.outs[out].recovered = false
	case "output contested: another program changes our entries again and again":
		p.outs[out].unsaid, p.outs[out].recovered = "", false
	}
	return nil
}
