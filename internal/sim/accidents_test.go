package sim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// accidents are all that happens of itself. every is the mean wait, in lives of a token.
var accidents = []struct {
	name  string
	every float64
	do    func(*world)
}{
	{"aws", 3, (*world).awsTrouble},
	{"disk", 4, (*world).diskTrouble},
	{"writer", 0.7, (*world).writerNow},
	{"race", 1.5, (*world).writerRaces},
	{"fight", 25, (*world).fight},
	{"kill", 4, (*world).killNow},
	{"killstep", 2, (*world).killAtStep},
	{"restart", 12, (*world).restart},
	{"power", 20, (*world).powerCut},
	{"hup", 6, (*world).hup},
	{"step", 10, (*world).stepClock},
	{"suspend", 15, (*world).suspend},
	{"pause", 25, (*world).pause},
	{"forge", 15, (*world).forge},
	{"wake", 10, (*world).wakeWrong},
}

func (w *world) diskTrouble() {
	kinds := []outFault{
		{err: syscall.ENOSPC, share: 1}, {err: syscall.EROFS, share: 1}, {err: syscall.EIO, share: 0.3}, {err: syscall.EIO, share: 0.2, reads: true},
		{err: syscall.EACCES, share: 1}, {err: syscall.EACCES, share: 1, reads: true}, {err: syscall.EDQUOT, share: 0.5}, {hang: true}, {hang: true, reads: true},
	}
	f := kinds[w.rng.IntN(len(kinds))]
	v := w.anyVolume()
	lasts := w.between(time.Second, w.cfg.life)
	if w.rng.IntN(8) == 0 { // somebody sees that the file does not change, and does not see why
		w.in(lasts/4, func() { w.storm(20, max(lasts/40, time.Second)) })
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event("disk", v.n, f.err, f.hang, f.reads, lasts)
	v.setFault(f)
	v.spoiled = w.mono()
	w.in(lasts, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		v.spoiled = w.mono()
		if v.fault.reads {
			v.blind = w.mono()
		}
		v.setFault(outFault{})
	})
}

func (w *world) anyVolume() *volume { return w.volumes[w.rng.IntN(len(w.volumes))] }

func (w *world) killNow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.p != nil && !w.p.dead {
		w.p.audit()
		w.p.die()
	}
}

// killAtStep ends the process just before one of the next steps that change a disk.
func (w *world) killAtStep() {
	v, steps := w.anyVolume(), 1+w.rng.IntN(24)
	w.mu.Lock()
	defer w.mu.Unlock()
	v.armed = append(v.armed, armed{steps, func(p *process) { p.die() }})
}

func (w *world) restart() {
	if w.stop() {
		w.mu.Lock()
		w.stats.restarts++
		w.mu.Unlock()
		w.in(w.between(time.Millisecond, 30*time.Second), func() {
			if w.p == nil {
				w.start()
			}
		})
	}
}

// powerCut takes what was not made durable, in any selection: renames, temporary files, and the content of a hint.
func (w *world) powerCut() {
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.p == nil || w.p.dead {
		return
	}
	w.p.audit()
	w.p.die()
	w.stats.powercuts++
	w.event("power cut", w.p.n)
	for _, v := range w.volumes {
		was := v.config()
		v.noState = v.noState || v.disk.File(state) != nil
		v.disk.CutPower(rng.IntN)
		if v.config() != was { // an older one is back
			v.disown()
			v.configChanged()
		}
	}
}

func (w *world) hup() {
	times, gap := 1, time.Duration(0)
	if w.rng.IntN(2) == 0 {
		times, gap = 1+w.rng.IntN(30), w.between(time.Millisecond, 3*time.Second)
	}
	w.storm(times, gap)
}

// storm is somebody who wants new tokens now.
func (w *world) storm(times int, gap time.Duration) {
	var again func()
	again = func() {
		w.mu.Lock()
		p := w.p
		if p == nil || p.dead {
			w.mu.Unlock()
			return
		}
		w.stats.hups++
		w.outOfTurn()
		for i := range p.sites {
			p.sites[i].asked = true
		}
		w.event("hup")
		w.mu.Unlock()
		p.loop.Renew()
		if times--; times > 0 {
			w.in(gap, again)
		}
	}
	again()
}

// outOfTurn says that every site may be asked out of turn.
func (w *world) outOfTurn() {
	if w.p != nil {
		for i := range w.p.sites {
			w.p.sites[i].calls.trigger(w)
		}
	}
}

// forge kills the process, puts an entry under one of our hosts that AWS never issued, and a state file that vouches for it in a
// way that must not be believed.
func (w *world) forge() {
	way, v := w.rng.IntN(4), w.anyVolume()
	host := w.hosts[w.rng.IntN(len(w.hosts))]
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.p == nil || w.p.dead {
		return
	}
	w.p.audit()
	w.p.die()
	auth := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "AWS:forged%d", w.order))
	wall := w.wall()
	scope, task, issued, expires := w.siteOf[host].scope.String(), "arn:task", wall.Add(-time.Minute), wall.Add(11*time.Hour)
	switch way {
	case 0:
		task = "arn:other"
	case 1:
		scope = "ecr mars-1"
	case 2:
		expires = wall.Add(60 * time.Hour) // whatever clock it is judged by
	case 3:
		issued, expires = wall.Add(-60*time.Hour), wall.Add(-50*time.Hour)
	}
	sum := sumOf(auth)
	v.edit("forge", func() {
		v.swapIn(fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth))
		b, _ := json.Marshal(map[string]any{"version": 2, "task": task, "tokens": []any{map[string]any{"scope": scope, "issued": issued, "expires": expires, "sha256": sum}}})
		b = fmt.Appendf(b, "\n\"%x\"\n", sha256.Sum256(b))
		v.disk.Put(state, 0o600, b)
		v.noState = true
	})
}
