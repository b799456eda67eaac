package sim

import (
	"context"
	"strconv"
	"time"

	"go.uber.org/zap"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/writer"
)

// process is one life of the refresher, from its start to its end, and the account of what it was dealt and what it told.
type process struct {
	w    *world
	n    int
	born time.Duration // on the elapsed clock
	at   time.Duration // the same on the world's
	loop *refresh.Loop
	last *refresh.Snapshot

	cancel   context.CancelFunc
	finished chan error
	dead     bool          // nothing that it does has an effect any more
	stopping bool          // asked to stop: answers are not taken in
	gone     chan struct{} // closed at death

	sites    []siteAccount
	outs     []outAccount
	anchored time.Duration // when AWS told the time last; -1: never
	oriented time.Duration // and first
	pausedAt int           // world.pauses when it was anchored last

	dealt, told    map[fault.Class]int // attempts, by registry
	failedW, toldW map[fault.Class]int // writes
}

func (w *world) start() {
	p := &process{
		w: w, n: w.processes, born: w.elapsed(), at: w.mono(), gone: make(chan struct{}), finished: make(chan error, 1), anchored: -1,
		sites: make([]siteAccount, len(w.sites)), outs: make([]outAccount, len(w.volumes)),
		dealt: map[fault.Class]int{}, told: map[fault.Class]int{}, failedW: map[fault.Class]int{}, toldW: map[fault.Class]int{},
	}
	w.processes++
	rng := w.stream(10_000 + uint64(p.n))
	cfg := refresh.Config{
		Registries: w.cfg.specs, Source: source{w, p}, Observer: p, Log: zap.New(tongue{p}), Rand: rng.Float64,
		Clock:      refresh.Clock{Wall: w.wall, Elapsed: w.elapsed},
		OnSnapshot: p.snapshot,
		OnLate: func(time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if !p.dead {
				w.breach("the loop is silent")
			}
		},
	}
	if w.cfg.verify {
		cfg.Verifier = source{w, p}
	}
	for _, v := range w.volumes {
		p.outs[v.n] = outAccount{wrote: map[string]int{}, failed: -time.Hour}
		var layer writer.Layer = &mount{v, p}
		if w.plant.layer != nil {
			layer = w.plant.layer(layer)
		}
		f := &guarded{
			file: writer.New(writer.Options{Path: "/run/" + strconv.Itoa(v.n) + "/" + config, Mode: w.cfg.mode, Hosts: w.hosts, Task: "arn:task", Layer: layer}),
			p:    p, n: v.n, write: make(chan struct{}, 1), read: make(chan struct{}, 1),
		}
		o := refresh.Output{Name: "out" + strconv.Itoa(v.n), File: f, Watch: w.watch(p, v)}
		if w.plant.output != nil {
			o = w.plant.output(o)
		}
		cfg.Outputs = append(cfg.Outputs, o)
	}
	if w.plant.config != nil {
		w.plant.config(w, &cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.loop = cancel, refresh.New(cfg)
	w.mu.Lock()
	w.p = p
	w.event("start", p.n)
	w.mu.Unlock()
	go func() { p.finished <- p.loop.Run(ctx) }()
}

// watch is how changes of a volume reach the loop: at once as by inotify, by a poll, or not at all.
func (w *world) watch(p *process, v *volume) func(ctx context.Context, notify func()) {
	switch w.cfg.watch[v.n] {
	case watchNone:
		return nil
	case watchPoll:
		return func(ctx context.Context, notify func()) {
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(w.until(slotWatch+v.n, 1500*time.Millisecond)):
					notify()
				}
			}
		}
	}
	return func(ctx context.Context, notify func()) {
		ch := make(chan struct{}, 1)
		w.mu.Lock()
		v.watchers[ch] = true
		w.mu.Unlock()
		defer func() { w.mu.Lock(); delete(v.watchers, ch); w.mu.Unlock() }()
		late := w.stream(20_000 + uint64(2*p.n+v.n))
		w.nap(slotWatch+v.n, 50*time.Microsecond)
		notify()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ch:
			}
			d := 100 * time.Microsecond
			if late.IntN(20) == 0 {
				d = 1500 * time.Millisecond // the queue ran over, and the watch is set up again
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(w.until(slotWatch+v.n, d)):
				notify()
			}
		}
	}
}

// die ends the process between two steps: kill -9. Called with the lock held.
func (p *process) die() {
	if p.dead {
		return
	}
	p.dead = true
	close(p.gone)
	p.cancel()
	for _, v := range p.w.volumes {
		delete(v.open, p) // the kernel closes them
	}
	select {
	case p.w.died <- p:
	default:
	}
}
