package sim

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"strings"
	"syscall"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/writer"
	"ecr-refresher/internal/writer/disktest"
)

// record is what a world has seen.
type record struct {
	trace    func(format string, args ...any) // nil: silent
	digest   uint64
	breaches []string
	stats    tally
}

// event goes into the digest: two runs of a seed have the same. Events are added up, as what happens at once has no order.
func (w *world) event(kind string, details ...any) {
	h := fnv.New64a()
	fmt.Fprint(h, int64(w.mono()), kind, details)
	w.digest += h.Sum64()
	if w.trace != nil {
		w.trace("%s %v", kind, details)
	}
}

func (w *world) breach(format string, args ...any) {
	if w.trace != nil {
		w.trace("BREACH "+format, args...)
	}
	if len(w.breaches) < 5 {
		w.breaches = append(w.breaches, fmt.Sprintf("at %s, process %d: ", w.mono(), w.processes-1)+fmt.Sprintf(format, args...))
	}
}

func (r *record) failed() bool { return len(r.breaches) > 0 }

func (w *world) serials(d *document) string {
	var b strings.Builder
	for _, h := range w.hosts {
		if t := w.issued[d.auths[h]]; t != nil {
			fmt.Fprintf(&b, "%d,", t.serial)
		} else {
			b.WriteString("-,")
		}
	}
	return b.String()
}

// published is our process putting a new config under the name: what must hold of every one. Called with the lock held.
func (w *world) published(h *handle, old, n *disktest.File) {
	v := h.v
	w.stats.writes++
	at, oldDoc, doc := 0, v.parsed(old), v.parsed(n)
	if old != nil {
		at = old.Version
	}
	w.event("publish", v.n, w.serials(doc))
	switch {
	case !doc.ok:
		w.breach("output %d: what we write does not parse: %q", v.n, n.Content)
		return
	case !n.Durable():
		w.breach("output %d: renamed before its content and mode are on disk: a power cut could empty the file", v.n)
	case n.Mode != w.cfg.mode:
		w.breach("output %d: mode %#o, not %#o", v.n, n.Mode, w.cfg.mode)
	case !h.looked || !h.tempClosed:
		w.breach("output %d: renamed without a look at what stands there now", v.n)
	case h.readBad:
		w.breach("output %d: a document that does not parse is overwritten", v.n)
	case doc.rest != h.readDoc:
		w.breach("output %d: foreign content was\n%swhen it was read, and is written as\n%s", v.n, h.readDoc, doc.rest)
	}
	if at != h.readAt {
		if h.lookStamp == h.readStamp { // between the look and the rename, or nothing that a disk tells sets the two apart: documented
			w.stats.racesLost++
		} else {
			w.breach("output %d: version %d was read, %d was seen just now, and it is replaced all the same", v.n, h.readAt, h.lookedAt)
		}
	}
	if w.failed() {
		return
	}
	now := h.p.outs[v.n].synced // when the write began: a disk may hang for hours in the middle of it
	for host, auth := range doc.auths {
		var before string
		if oldDoc != nil {
			before = oldDoc.auths[host]
		}
		if before == auth {
			doc.origin[host] = oldDoc.origin[host] || doc.origin[host]
			continue
		}
		if h.readAuths[host] == auth {
			continue // carried over, and a race is lost
		}
		doc.origin[host] = true
		t := w.issued[auth]
		switch prior := w.issued[before]; {
		case t == nil:
			w.breach("output %d: %s gets a token that AWS never issued", v.n, host)
		case t.site != w.siteOf[host]:
			w.breach("output %d: %s gets a token of another scope", v.n, host)
		case prior != nil && oldDoc.origin[host] && t.serial < prior.serial && at == h.readAt && !h.p.outs[v.n].unread && !v.noState && h.p.sure(w):
			w.breach("output %d: %s has token %d and gets the older %d", v.n, host, prior.serial, t.serial)
		case t.serial < h.p.outs[v.n].wrote[host]:
			w.breach("output %d: %s gets token %d, after %d was written", v.n, host, t.serial, h.p.outs[v.n].wrote[host])
		case now.Add(-w.tolerance(h.p)).After(t.expires):
			w.breach("output %d: %s gets a token that expired %s ago", v.n, host, now.Sub(t.expires))
		}
		if t != nil {
			h.p.outs[v.n].wrote[host] = t.serial
		}
	}
	for host := range w.ours { // nothing of ours is taken away
		if oldDoc != nil && oldDoc.auths[host] != "" && doc.auths[host] == "" && at == h.readAt {
			w.breach("output %d: the entry of %s is gone", v.n, host)
		}
	}
}

// audit holds what the process told against what it was dealt. Called with the lock held, while no call is coming to its end.
func (p *process) audit() {
	w := p.w
	if !maps.Equal(p.dealt, p.told) {
		w.breach("process %d was dealt the attempts %v and told of %v", p.n, p.dealt, p.told)
	}
	if !maps.Equal(p.failedW, p.toldW) {
		w.breach("process %d had the failed writes %v and told of %v", p.n, p.failedW, p.toldW)
	}
	for i := range w.sites {
		if p.sites[i].unsaid != "" || p.sites[i].recovered {
			w.breach("process %d: no line tells of %q of site %d, or of its end", p.n, p.sites[i].unsaid, i)
		}
	}
	for i := range w.volumes {
		if p.outs[i].unsaid != "" || p.outs[i].recovered {
			w.breach("process %d: no line tells of %q of output %d, or of its end", p.n, p.outs[i].unsaid, i)
		}
	}
}

// snapshot sees every state that the loop publishes.
func (p *process) snapshot(s *refresh.Snapshot) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return
	}
	p.last = s
	for i := range s.Scopes {
		for _, k := range s.Scopes[i].Known {
			t := w.sums[k.Sum]
			switch {
			case t == nil:
				w.breach("the loop believes in a token for site %d that AWS never issued", i)
			case t.site != w.sites[i]:
				w.breach("the loop believes that a token of site %d is good for site %d", t.site.n, i)
			}
		}
	}
	for i, sc := range s.Scopes {
		if in := sc.Due.Sub(w.trueNow()); p.sure(w) && sc.Adopted && sc.Failures == 0 && in > refresh.AdoptedWithin+w.tolerance(p) {
			w.breach("the adopted token of site %d is renewed only in %s", i, in)
		}
	}
	for o := range s.Outputs {
		if s.Outputs[o].Contested && len(p.outs[o].repairs) < 5 {
			w.breach("output %d counts as contested after %d repairs", o, len(p.outs[o].repairs))
		}
	}
}

// guarded is the writer's file. It takes the place of the writer's own locks, on which no false clock can turn: at most one
// write and one look at a time.
type guarded struct {
	file        *writer.File
	p           *process
	n           int
	write, read chan struct{}
}

func (g *guarded) Sync(want []writer.Want) (writer.Result, error) {
	w, p := g.p.w, g.p
	w.mu.Lock()
	p.outs[g.n].synced = time.Time{}
	if p.sure(w) {
		p.outs[g.n].synced = w.trueNow()
	}
	w.mu.Unlock()
	g.write <- struct{}{}
	defer func() { <-g.write }()
	w.mu.Lock()
	p.outs[g.n].met = nil
	w.mu.Unlock()
	r, err := g.file.Sync(want)
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead || p.stopping {
		return r, err
	}
	v := w.volumes[g.n]
	class := refresh.Class(err)
	if err == nil {
		if len(want) > 0 && !r.Kept && !v.disk.Durable(config) {
			w.breach("output %d: said to be written, and the directory is not synced: a power cut could undo it", g.n)
		}
		if p.outs[g.n].streak != "" {
			p.outs[g.n].recovered, p.outs[g.n].streak = !p.quiet(g.n), ""
		}
		return r, nil
	}
	p.outs[g.n].failed = w.mono()
	p.failedW[class]++
	w.stats.failedWrites++
	w.event("not written", g.n, class)
	reason := func(errs ...error) bool {
		for _, met := range p.outs[g.n].met {
			for _, e := range errs {
				if errors.Is(met, e) {
					return true
				}
			}
		}
		return false
	}
	d := v.parsed(v.config())
	ok := map[fault.Class]bool{
		fault.OutputFull: reason(syscall.ENOSPC, syscall.EDQUOT), fault.OutputDenied: reason(syscall.EROFS, syscall.EACCES),
		fault.OutputOther:   reason(syscall.EIO) || w.mono()-v.foreign < time.Second,
		fault.OutputInvalid: d != nil && !d.ok || w.mono()-v.foreign < time.Second,
	}[class]
	if !ok {
		w.breach("output %d: class %q for %v, which met %v", g.n, class, err, p.outs[g.n].met)
	}
	return r, err
}

func (g *guarded) Look() (writer.View, error) {
	g.read <- struct{}{}
	defer func() { <-g.read }()
	return g.file.Look()
}

func (g *guarded) Recall() map[string]writer.Grant {
	g.write <- struct{}{}
	defer func() { <-g.write }()
	w, p, v := g.p.w, g.p, g.p.w.volumes[g.n]
	w.mu.Lock()
	began := w.mono()
	p.outs[g.n].unread = true
	if v.noState || v.fault.reads {
		v.disown()
	}
	w.mu.Unlock()
	found := g.file.Recall()
	w.mu.Lock()
	if p.outs[g.n].unread = v.blind >= began; p.outs[g.n].unread {
		v.disown()
	}
	w.mu.Unlock()
	return found
}
