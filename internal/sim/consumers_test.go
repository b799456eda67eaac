package sim

import (
	"time"

	"ecr-refresher/internal/health"
	"ecr-refresher/internal/refresh"
)

// consume reads every output as its consumers do. strict: whatever happened, all must be well.
func (w *world) consume(strict bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, mono, p := w.trueNow(), w.mono(), w.p
	for _, v := range w.volumes {
		w.stats.reads++
		doc := v.parsed(v.config())
		repair := 2 * time.Second
		if w.cfg.watch[v.n] == watchNone {
			repair = 63 * time.Second // the tick
		}
		writable := p != nil && !p.dead && v.fault.err == nil && !v.fault.hang && mono-v.foreign > repair && mono-p.at > repair && mono-v.spoiled > 33*time.Second && mono-p.outs[v.n].failed > 33*time.Second &&
			p.last != nil && !p.last.Outputs[v.n].Contested && mono-w.pausedAt > refresh.Tick+15*time.Second
		if strict && !writable {
			w.breach("output %d is not writable in peace: contested %t", v.n, p != nil && p.last != nil && p.last.Outputs[v.n].Contested)
		}
		if !writable {
			continue
		}
		for _, s := range w.cfg.specs {
			st := w.siteOf[s.Hosts()[0]]
			a := p.sites[st.n].answered
			fresh := a.life > 0 && now.Sub(a.date) < a.life/2 && mono-a.at > 2*time.Second
			reachable := st.trouble.kind == "" && mono-st.since > 330*time.Second && mono-p.at > 330*time.Second &&
				(p.anchored < 0 && p.sure(w) || p.anchored >= 0 && mono-p.oriented > 15*time.Second) // a clock that is wrong, and no word of AWS: nobody can know
			if !fresh && !reachable {
				continue
			}
			w.stats.promised++
			for _, h := range s.Hosts() {
				var t *issue
				if doc != nil {
					t = w.issued[doc.auths[h]]
				}
				switch {
				case t == nil:
					w.breach("a consumer of output %d finds no token for %s", v.n, h)
				case !t.valid(now.Add(-w.tolerance(p))):
					w.breach("a consumer of output %d finds a token for %s that is about to expire, in %s", v.n, h, t.expires.Sub(now))
				}
				if w.failed() {
					return
				}
			}
			if n := v.config(); n.Mode != w.cfg.mode {
				w.breach("output %d has mode %#o", v.n, n.Mode)
			}
		}
	}
}

// truth is whether a consumer of the primary output could use every registry that counts, at a moment.
func (w *world) truth(now time.Time) (good, byUs bool) {
	v := w.volumes[0]
	doc := v.parsed(v.config())
	if doc == nil || !doc.ok {
		return false, false
	}
	byUs = true
	for _, s := range w.cfg.specs {
		if s.Optional {
			continue
		}
		for _, h := range s.Hosts() {
			t := w.issued[doc.auths[h]]
			if t == nil || !t.valid(now) {
				return false, false
			}
			byUs = byUs && doc.origin[h]
		}
	}
	return true, byUs
}

// probe asks for health as ECS does, and holds the answer against the truth, where that has been the same for 2 s.
func (w *world) probe() {
	w.mu.Lock()
	p := w.p
	if p == nil || p.dead {
		w.mu.Unlock()
		return
	}
	w.stats.probes++
	w.mu.Unlock()
	view := p.loop.View()
	verdict := health.Healthy(view)
	w.mu.Lock()
	defer w.mu.Unlock()
	v, mono, now := w.volumes[0], w.mono(), w.trueNow()
	if w.p != p || p.dead || mono-p.at < 2*time.Second || mono-v.changed < 2*time.Second || mono-v.blind < 2500*time.Millisecond || v.fault.reads || !p.sure(w) {
		return
	}
	tol := w.tolerance(p)
	good, byUs := w.truth(now)
	before, _ := w.truth(now.Add(-2*time.Second - tol))
	after, _ := w.truth(now.Add(tol))
	if before != good || after != good {
		return
	}
	w.stats.judged++
	switch {
	case verdict.OK && !good:
		w.breach("health says OK, and a consumer finds no valid token")
	case !verdict.OK && good && byUs && p.denied():
		// An adopted token counts only until AWS denies another one.
	case !verdict.OK && good && byUs:
		w.breach("health says no, and every token on disk is valid: %v", verdict.Reasons)
	}
}
