package sim

import (
	"math/rand/v2"
	"sync"
	"time"

	"ecr-refresher/internal/health"
)

// world is one run. mu guards all that is not said to have another guard.
type world struct {
	cfg   settings
	plant plant
	rng   *rand.Rand // the driver's own

	mu sync.Mutex
	record
	clocks   // need no lock
	schedule // has a lock of its own
	aws
	volumes   []*volume
	processes int      // that were started
	p         *process // nil while none runs
	died      chan *process
	kicked    bool
}

func newWorld(cfg settings, pl plant) *world {
	w := &world{cfg: cfg, plant: pl, died: make(chan *process, 1)}
	w.rng = w.stream(2)
	w.clocks = clocks{epoch: time.Now(), drift: cfg.drift, wallDrift: cfg.wallDrift}
	w.planned = make(chan struct{}, 1)
	w.aws = newAWS(cfg, w.rng, w.stream)
	for n := range cfg.watch {
		w.volumes = append(w.volumes, newVolume(w, n))
	}
	return w
}

func (w *world) stream(n uint64) *rand.Rand { return rand.New(rand.NewPCG(w.cfg.seed, n)) }

// kick asks for a probe soon: something has changed that health should know of.
func (w *world) kick() { w.kicked = true }

// run is the world's life: the accidents for as long as it lasts, then a time without any, then its end.
func (w *world) run() {
	end := w.cfg.lasts
	w.seedNoise()
	w.start()
	over := false
	for _, a := range accidents {
		rate := w.cfg.rate[a.name]
		if rate == 0 {
			continue
		}
		mean := time.Duration(a.every * float64(w.cfg.life) / rate)
		var again func()
		again = func() {
			if over {
				return
			}
			a.do(w)
			w.in(w.exp(mean), again)
		}
		w.in(w.exp(mean), again)
	}
	reads := w.cfg.life / 12
	w.repeat(reads, func() { w.consume(false) })
	w.repeat(w.cfg.life/6, w.probe)
	w.turn(end)
	over = true
	if !w.failed() {
		w.peace()
	}
	w.mu.Lock()
	w.stats.worlds++
	w.stats.simulated += w.elapsed()
	w.mu.Unlock()
	w.bury()
}

// turn keeps the appointments until a moment, or until something is wrong.
func (w *world) turn(end time.Duration) {
	for {
		w.mu.Lock()
		failed := w.failed()
		kicked := w.kicked
		w.kicked = false
		w.mu.Unlock()
		if failed || w.mono() >= end {
			return
		}
		if kicked {
			w.in(2*time.Second+time.Duration(w.rng.Int64N(int64(time.Second))), w.probe)
		}
		do, at := w.next(w.mono())
		if do != nil {
			do()
			continue
		}
		timer := time.NewTimer(w.until(slotWorld, min(at, end)-w.mono()))
		select {
		case p := <-w.died:
			w.reap(p)
		case <-w.planned:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// reap waits for the end of a killed process, and starts its successor after a while.
func (w *world) reap(p *process) {
	<-p.finished
	w.mu.Lock()
	w.stats.kills++
	w.event("killed", p.n)
	w.p = nil
	w.mu.Unlock()
	pause := w.between(10*time.Millisecond, time.Minute)
	w.in(pause, func() {
		if w.p == nil {
			w.start()
		}
	})
}

// stop ends the process as SIGTERM does, and says whether there was one.
func (w *world) stop() bool {
	w.mu.Lock()
	p := w.p
	if p == nil || p.dead {
		w.mu.Unlock()
		return false
	}
	p.audit()
	p.stopping = true
	w.event("stop", p.n)
	w.mu.Unlock()
	asked := w.mono()
	p.cancel()
	err := <-p.finished
	w.mu.Lock()
	most := time.Second
	for _, v := range w.volumes {
		if v.fault.hang || w.mono()-v.blind < 10*time.Second {
			most = 5 * time.Second // a disk that hangs is left behind
		}
	}
	if took := w.mono() - asked; err != nil || took > most {
		w.breach("stopped after %s with %v", took, err)
	}
	if !p.dead { // its last breath, where a disk hangs
		p.die()
	}
	w.p = nil
	w.mu.Unlock()
	select { // it was reaped here
	case <-w.died:
	default:
	}
	return true
}

// peace ends every trouble and waits until all must be well.
func (w *world) peace() {
	w.mu.Lock()
	for _, s := range w.sites {
		if s.trouble.kind != "" {
			s.trouble, s.since = trouble{}, w.mono()
		}
	}
	w.cfg.noise, w.cfg.rejects = 0, 0
	for _, v := range w.volumes {
		v.setFault(outFault{})
		v.armed = nil
		if d := v.parsed(v.config()); d != nil && !d.ok {
			v.edit("cleared away", func() { v.remove(config) })
		}
	}
	w.mu.Unlock()
	w.turn(w.mono() + 25*time.Minute + w.cfg.life)
	if w.failed() {
		return
	}
	w.consume(true)
	view := w.p.loop.View()
	if v := health.Ready(view); !v.OK && w.cfg.rejects == 0 {
		w.mu.Lock()
		w.breach("not ready in peace: %v", v.Reasons)
		w.mu.Unlock()
	}
	for range 40 { // a write that is under way ends
		w.mu.Lock()
		busy := 0
		for _, v := range w.volumes {
			busy += v.open[w.p]
		}
		w.mu.Unlock()
		if busy == 0 {
			break
		}
		w.nap(slotWorld, 5*time.Millisecond)
	}
	w.mu.Lock()
	for _, v := range w.volumes {
		for _, name := range v.disk.Files() {
			if name != config && name != state {
				w.breach("output %d: %s is left behind", v.n, kindOf(name))
			}
		}
		for p, n := range v.open {
			if n != 0 {
				w.breach("output %d: process %d has %d descriptors open", v.n, p.n, n)
			}
		}
	}
	w.mu.Unlock()
	if !w.failed() {
		w.stop()
	}
}

// bury makes sure that nothing is left that could keep the bubble from ending.
func (w *world) bury() {
	w.mu.Lock()
	p := w.p
	if p != nil {
		p.stopping = true
		p.die()
	}
	for _, v := range w.volumes {
		v.setFault(outFault{})
	}
	w.mu.Unlock()
	if p != nil {
		<-p.finished
	}
}
