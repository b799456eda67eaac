package sim

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

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

	calls    []*calls
	answered []answered       // by site
	anchored time.Duration    // when AWS told the time last; -1: never
	oriented time.Duration    // and first
	pausedAt int              // world.pauses when it was anchored last
	wrote    []map[string]int // by output and host: the token that this process put there
	unread   []bool           // by output: the disk kept the process from what an earlier one left
	met      [][]error        // by output: what the write under way met
	synced   []time.Time      // by output: when the write under way began, true time; zero where the process could not know it
	outErr   []time.Duration  // by output: when a write failed last
	repairs  [][]time.Duration
	linesW   [][]time.Duration // of the log, by output

	dealt, told       map[fault.Class]int // attempts, by registry
	failedW, toldW    map[fault.Class]int // writes
	unsaid            []fault.Class       // by site: a class that a log line is due for
	streak            []fault.Class
	asked             []bool // by site: SIGHUP wants to hear how it went
	good, lapses      []int  // by site
	unsaidW, streakW  []fault.Class
	recovered, unrecW []bool
}

type answered struct {
	at   time.Duration
	date time.Time
	life time.Duration
}

func (w *world) start() {
	p := &process{
		w: w, n: w.processes, born: w.elapsed(), at: w.mono(), gone: make(chan struct{}), finished: make(chan error, 1), anchored: -1,
		answered: make([]answered, len(w.sites)), outErr: make([]time.Duration, len(w.volumes)),
		met: make([][]error, len(w.volumes)), unread: make([]bool, len(w.volumes)), synced: make([]time.Time, len(w.volumes)), repairs: make([][]time.Duration, len(w.volumes)), linesW: make([][]time.Duration, len(w.volumes)),
		dealt: map[fault.Class]int{}, told: map[fault.Class]int{}, failedW: map[fault.Class]int{}, toldW: map[fault.Class]int{},
		unsaid: make([]fault.Class, len(w.sites)), streak: make([]fault.Class, len(w.sites)), asked: make([]bool, len(w.sites)), good: make([]int, len(w.sites)), lapses: make([]int, len(w.sites)),
		unsaidW: make([]fault.Class, len(w.volumes)), streakW: make([]fault.Class, len(w.volumes)),
		recovered: make([]bool, len(w.sites)), unrecW: make([]bool, len(w.volumes)),
	}
	w.processes++
	for range w.sites {
		p.calls = append(p.calls, &calls{})
	}
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
		p.wrote = append(p.wrote, map[string]int{})
		p.outErr[v.n] = -time.Hour
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
		if p.unsaid[i] != "" || p.recovered[i] {
			w.breach("process %d: no line tells of %q of site %d, or of its end", p.n, p.unsaid[i], i)
		}
	}
	for i := range w.volumes {
		if p.unsaidW[i] != "" || p.unrecW[i] {
			w.breach("process %d: no line tells of %q of output %d, or of its end", p.n, p.unsaidW[i], i)
		}
	}
}

// ended notes a failure that the process was dealt. Called with the lock held.
func (p *process) ended(st *site, class fault.Class) {
	p.w.stats.failures++
	p.w.event("failed", st.n, class)
	st.since = p.w.mono()
	p.calls[st.n].failure(p.w, p, st, class)
	p.count(st, class)
}

func (p *process) count(st *site, class fault.Class) { p.dealt[class] += st.registers }

// left is whether a token is held, the share of its life that is left, and whether the process must see it the same.
func (p *process) left(w *world, st *site) (held bool, share float64, known bool) {
	if p.last == nil || p.last.Scopes[st.n].Expires.IsZero() {
		return false, 1, true
	}
	s := p.last.Scopes[st.n]
	life := s.Expires.Sub(s.Issued)
	left := s.Expires.Sub(w.trueNow())
	share = left.Seconds() / life.Seconds()
	return true, share, p.sure(w) && (left-life/20).Abs() > 2*w.tolerance(p)
}

// sure is whether the process can know the time.
func (p *process) sure(w *world) bool {
	if p.anchored >= 0 {
		return p.pausedAt == w.pausesOnly
	}
	return w.wall().Sub(w.trueNow()).Abs() < time.Second
}

// Attempted implements refresh.Observer.
func (p *process) Attempted(registries []string, _ time.Duration, class fault.Class) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead || p.stopping {
		return
	}
	p.told[class] += len(registries)
	i := w.siteOf[registries[0]].n
	if p.unsaid[i] != "" || p.recovered[i] {
		w.breach("site %d failed with %q, and no line of the log told so", i, p.unsaid[i])
	}
	if class == "" {
		p.recovered[i] = p.streak[i] != ""
		p.good[i]++
		p.pausedAt = w.pausesOnly
	} else if class != p.streak[i] {
		p.unsaid[i] = class
	}
	p.streak[i] = class
}

// Rejected implements refresh.Observer.
func (p *process) Rejected(string) {}

// Written implements refresh.Observer.
func (p *process) Written(output string, repair bool, err error) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead || p.stopping {
		return
	}
	i := int(output[len(output)-1] - '0')
	class := refresh.Class(err)
	if err == nil {
		if repair {
			w.stats.repairs++
			p.repairs[i] = append(p.repairs[i], w.elapsed())
		}
		return
	}
	p.toldW[class]++
	if class == fault.OutputInvalid && p.streakW[i] == "" {
		p.repairs[i] = append(p.repairs[i], w.elapsed()) // not a repair, but a damage that counts as one
	}
	if p.unsaidW[i] != "" {
		w.breach("output %d failed with %q, and no line of the log told so", i, p.unsaidW[i])
	}
	if class != p.streakW[i] && !p.quiet(i) {
		p.unsaidW[i] = class
	}
	p.streakW[i] = class
}

// denied reports whether AWS has denied a token since one was adopted.
func (p *process) denied() bool {
	return p.last != nil && slices.ContainsFunc(p.last.Scopes, func(s refresh.ScopeState) bool { return s.Adopted && s.Failures > 0 })
}

// quiet reports whether the log may leave out a line about an output: of a fight it has one, and of everything thirty an hour.
func (p *process) quiet(output int) bool {
	hour := p.w.elapsed() - time.Hour
	p.linesW[output] = slices.DeleteFunc(p.linesW[output], func(at time.Duration) bool { return at <= hour })
	return len(p.linesW[output]) >= 29 || p.last != nil && p.last.Outputs[output].Contested
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
		if s.Outputs[o].Contested && len(p.repairs[o]) < 5 {
			w.breach("output %d counts as contested after %d repairs", o, len(p.repairs[o]))
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
	p.synced[g.n] = time.Time{}
	if p.sure(w) {
		p.synced[g.n] = w.trueNow()
	}
	w.mu.Unlock()
	g.write <- struct{}{}
	defer func() { <-g.write }()
	w.mu.Lock()
	p.met[g.n] = nil
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
		if len(want) > 0 && !r.Kept && v.lacking != nil && v.lacking == v.names[config] {
			w.breach("output %d: said to be written, and the directory is not synced: a power cut could undo it", g.n)
		}
		if p.streakW[g.n] != "" {
			p.unrecW[g.n], p.streakW[g.n] = !p.quiet(g.n), ""
		}
		return r, nil
	}
	p.outErr[g.n] = w.mono()
	p.failedW[class]++
	w.stats.failedWrites++
	w.event("not written", g.n, class)
	reason := func(errs ...error) bool {
		for _, met := range p.met[g.n] {
			for _, e := range errs {
				if errors.Is(met, e) {
					return true
				}
			}
		}
		return false
	}
	d := v.parsed(v.names[config])
	ok := map[fault.Class]bool{
		fault.OutputFull: reason(syscall.ENOSPC, syscall.EDQUOT), fault.OutputDenied: reason(syscall.EROFS, syscall.EACCES),
		fault.OutputOther:   reason(syscall.EIO) || w.mono()-v.foreign < time.Second,
		fault.OutputInvalid: d != nil && !d.ok || w.mono()-v.foreign < time.Second,
	}[class]
	if !ok {
		w.breach("output %d: class %q for %v, which met %v", g.n, class, err, p.met[g.n])
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
	p.unread[g.n] = true
	if v.noState || v.fault.reads {
		v.disown()
	}
	w.mu.Unlock()
	found := g.file.Recall()
	w.mu.Lock()
	if p.unread[g.n] = v.blind >= began; p.unread[g.n] {
		v.disown()
	}
	w.mu.Unlock()
	return found
}

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
			p.linesW[int(f.String[len(f.String)-1]-'0')] = append(p.linesW[int(f.String[len(f.String)-1]-'0')], w.elapsed())
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
		case class != string(p.streak[site]):
			w.breach("site %d failed with %q, the log says %q", site, p.streak[site], class)
		case p.unsaid[site] != "" || refresh.PowerOfTen(int(failures)):
		case p.asked[site]: // by SIGHUP, which is answered
		case e.Level >= zapcore.ErrorLevel && p.lapses[site] < p.good[site]+1: // a token that has expired without a successor is told of once
			p.lapses[site]++
		default:
			w.breach("site %d: failure %d of class %q is told again", site, failures, class)
		}
		p.unsaid[site], p.asked[site] = "", false
	case "renewal works again":
		if !p.recovered[site] {
			w.breach("site %d works again, and had not failed", site)
		}
		p.recovered[site] = false
	case "output not written":
		if p.unsaidW[out] == "" && !refresh.PowerOfTen(int(failures)) && !p.quiet(out) || class != string(p.streakW[out]) {
			w.breach("output %d: failure %d of class %q is told again, or is %q", out, failures, class, p.streakW[out])
		}
		p.unsaidW[out] = ""
	case "output works again":
		p.unrecW[out] = false
	case "output contested: another program changes our entries again and again":
		p.unsaidW[out], p.unrecW[out] = "", false
	}
	return nil
}
