package sim

import (
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/health"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

// Everybody who waits has a slot of his own in each 256 ns, so that no two wake at once: what runs first would be the
// scheduler's choice, and no world could be replayed.
const (
	slots     = 256
	slotWorld = 0
	slotSite  = 8
	slotDisk  = 32
	slotRead  = 36
	slotHung  = 40
	slotWatch = 44
	slotHost  = 64
)

const (
	watchEvents = iota
	watchPoll
	watchNone
)

// settings are what a seed makes of a world before it begins.
type settings struct {
	seed   uint64
	long   bool          // a task-year
	life   time.Duration // of most tokens
	lasts  time.Duration // the world, without its end
	specs  []registry.Spec
	mode   fs.FileMode
	watch  []int // by output
	verify bool

	rejects   float64 // share of the tokens that a registry does not accept
	noise     float64 // share of the calls that fail for no reason at all
	fsTick    time.Duration
	fsSkew    time.Duration
	drift     float64 // of AWS's clock against ours
	wallDrift float64
	rate      map[string]float64 // how often accidents happen, as a multiple
}

func settle(seed uint64) settings {
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(ds ...time.Duration) time.Duration { return ds[rng.IntN(len(ds))] }
	c := settings{seed: seed, long: seed>>32 > 0, mode: []fs.FileMode{0o600, 0o644, 0o640}[rng.IntN(3)]}
	const m = time.Minute
	c.life = pick(5*m, 5*m, 5*m, 6*m, 8*m, 10*m, 15*m, 20*m)
	if rng.IntN(25) == 0 {
		c.life = pick(time.Hour, 3*time.Hour, 12*time.Hour)
	}
	c.lasts = 60 * c.life
	if c.long {
		c.life, c.lasts = 12*time.Hour, 365*24*time.Hour
	}
	scopes := 1 + rng.IntN(8)
	hosts := scopes
	if !c.long {
		hosts += rng.IntN([]int{1, 5, 43}[rng.IntN(3)])
	} else {
		scopes = 1 + rng.IntN(2)
		hosts = scopes
	}
	regions := []string{"us-east-1", "us-west-2", "eu-west-1", "ap-south-1"}
	for i := range hosts {
		n := i % scopes
		spec := fmt.Sprintf("%012d.dkr.ecr.%s.amazonaws.com", i+1, regions[n%len(regions)])
		var options []string
		if n >= len(regions) {
			options = append(options, fmt.Sprintf("role_arn=arn:aws:iam::%012d:role/pull", n))
		}
		if rng.IntN(10) == 0 {
			options = append(options, fmt.Sprintf("alias=mirror%d.example.com:5000", i))
		}
		if rng.IntN(10) == 0 && i > 0 {
			options = append(options, "optional")
		}
		if len(options) > 0 {
			spec += "?" + strings.Join(options, "&")
		}
		s, err := registry.ParseSpec(spec)
		if err != nil {
			panic(err)
		}
		c.specs = append(c.specs, s)
	}
	for range 1 + rng.IntN(2) {
		kind := []int{watchEvents, watchEvents, watchPoll, watchNone}[rng.IntN(4)]
		if kind == watchPoll && c.life > 20*m {
			kind = watchEvents // the same, with a million times more to do
		}
		c.watch = append(c.watch, kind)
	}
	c.verify = rng.IntN(4) == 0
	if c.verify && rng.IntN(2) == 0 {
		c.rejects = 0.02
	}
	if rng.IntN(3) == 0 {
		c.noise = rng.Float64() * 0.2
	}
	c.fsTick = pick(1, 1, 4*time.Millisecond, time.Second, 2*time.Second)
	if c.fsTick == 1 && rng.IntN(4) == 0 {
		c.fsSkew = pick(-time.Hour, time.Hour, -5*time.Second, 5*time.Second)
	}
	c.drift = (rng.Float64()*2 - 1) * 200e-6
	c.wallDrift = (rng.Float64()*2 - 1) * 200e-6
	c.rate = map[string]float64{}
	for _, a := range accidents {
		c.rate[a.name] = []float64{0, 0.3, 1, 1, 3}[rng.IntN(5)]
	}
	return c
}

// plant is a bug: what is put in the place of a part that works.
type plant struct {
	layer  func(writer.Layer) writer.Layer
	output func(refresh.Output) refresh.Output
	config func(*world, *refresh.Config)
}

// tally is what happened.
type tally struct {
	worlds, renewals, calls, failures, writes, failedWrites, diskErrors, repairs, racesLost, foreign      int
	kills, restarts, steps, suspends, hups, rejections, reads, promised, probes, judged, lines, powercuts int
	simulated                                                                                             time.Duration
}

// faults are the events that the refresher has to live through.
func (t *tally) faults() int {
	return t.failures + t.diskErrors + t.foreign + t.kills + t.steps + t.suspends + t.rejections
}

func (t *tally) add(o tally) {
	sum := func(a *int, b int) { *a += b }
	for _, x := range []struct {
		a *int
		b int
	}{{&t.worlds, o.worlds}, {&t.renewals, o.renewals}, {&t.calls, o.calls}, {&t.failures, o.failures}, {&t.writes, o.writes}, {&t.failedWrites, o.failedWrites},
		{&t.diskErrors, o.diskErrors}, {&t.repairs, o.repairs}, {&t.racesLost, o.racesLost}, {&t.foreign, o.foreign}, {&t.kills, o.kills}, {&t.restarts, o.restarts},
		{&t.steps, o.steps}, {&t.suspends, o.suspends}, {&t.hups, o.hups}, {&t.rejections, o.rejections}, {&t.reads, o.reads}, {&t.promised, o.promised},
		{&t.probes, o.probes}, {&t.judged, o.judged}, {&t.lines, o.lines}, {&t.powercuts, o.powercuts}} {
		sum(x.a, x.b)
	}
	t.simulated += o.simulated
}

func (t *tally) String() string {
	return fmt.Sprintf("%d worlds, %.1f years: %d renewals in %d calls; %d faults (%d failed calls, %d disk errors in %d failed writes, %d foreign changes, %d kills of which %d power cuts, %d clock steps, %d suspends, %d rejections), %d restarts, %d SIGHUPs; %d writes, %d repairs, %d races lost; %d reads by consumers of which %d must succeed, %d health probes of which %d count, %d log lines",
		t.worlds, t.simulated.Hours()/24/365, t.renewals, t.calls, t.faults(), t.failures, t.diskErrors, t.failedWrites, t.foreign, t.kills, t.powercuts, t.steps, t.suspends, t.rejections,
		t.restarts, t.hups, t.writes, t.repairs, t.racesLost, t.reads, t.promised, t.probes, t.judged, t.lines)
}

// world is one run. What is not said to be the driver's own is guarded by mu.
type world struct {
	cfg   settings
	plant plant
	trace func(format string, args ...any) // nil: silent
	epoch time.Time

	mu         sync.Mutex
	offset     time.Duration // of the wall clock
	suspended  time.Duration
	lost       time.Duration // true time that no clock but the wall's knows of
	pauses     int           // suspends, steps and pauses
	pausesOnly int           // pauses that the elapsed clock did not see
	pausedAt   time.Duration // the last suspend or pause

	sites     []*site
	byScope   map[token.Scope]*site
	siteOf    map[string]*site // by host
	number    map[string]int   // of a registry, by host
	verdicts  []*rand.Rand
	hosts     []string
	ours      map[string]bool
	issued    map[string]*issue // by auth
	sums      map[writer.Sum]*issue
	volumes   []*volume
	processes int
	p         *process // nil while none runs
	died      chan *process
	kicked    bool

	digest   uint64
	breaches []string
	stats    tally

	rng *rand.Rand // the driver's own

	planning sync.Mutex
	planned  chan struct{}
	queue    queue
	order    int
}

func newWorld(cfg settings, pl plant) *world {
	w := &world{cfg: cfg, plant: pl, epoch: time.Now(), byScope: map[token.Scope]*site{}, siteOf: map[string]*site{}, number: map[string]int{}, ours: map[string]bool{},
		issued: map[string]*issue{}, sums: map[writer.Sum]*issue{}, died: make(chan *process, 1), planned: make(chan struct{}, 1)}
	w.rng = w.stream(2)
	for i, s := range cfg.specs {
		key := token.ScopeOf(s)
		st := w.byScope[key]
		if st == nil {
			st = &site{n: len(w.sites), scope: key, life: cfg.life, rng: w.stream(50 + uint64(len(w.sites)))}
			if !cfg.long && w.rng.IntN(4) == 0 {
				st.life = cfg.life + time.Duration(w.rng.Int64N(int64(cfg.life)))
			}
			st.life = min(st.life, 12*time.Hour)
			w.sites = append(w.sites, st)
			w.byScope[key] = st
		}
		st.registers++
		for _, h := range s.Hosts() {
			w.siteOf[h], w.ours[h], w.number[h] = st, true, i
			w.hosts = append(w.hosts, h)
		}
		w.verdicts = append(w.verdicts, w.stream(1000+uint64(i)))
	}
	for n := range cfg.watch {
		w.volumes = append(w.volumes, newVolume(w, n))
	}
	return w
}

func (w *world) stream(n uint64) *rand.Rand { return rand.New(rand.NewPCG(w.cfg.seed, n)) }

// The clocks. The bubble's own is the machine's monotonic one. These need no lock that the caller holds: they take none.
func (w *world) mono() time.Duration { return time.Since(w.epoch) }

func (w *world) elapsed() time.Duration { return w.mono() + w.susp() }

func (w *world) susp() time.Duration { return time.Duration(load(&w.suspended)) }

func (w *world) wall() time.Time {
	m := w.mono()
	return w.epoch.Add(m + time.Duration(float64(m)*w.cfg.wallDrift) + w.susp() + time.Duration(load(&w.offset)))
}

func (w *world) trueNow() time.Time {
	m := w.mono()
	return w.epoch.Add(m + time.Duration(float64(m)*w.cfg.drift) + w.susp() + time.Duration(load(&w.lost)))
}

// tolerance is how far a process's idea of the true time may be off.
func (w *world) tolerance(p *process) time.Duration {
	return 1500*time.Millisecond + time.Duration(math.Abs(w.cfg.drift)*float64(w.mono()-max(p.anchored, 0)))
}

// until is a wait that ends in a slot.
func (w *world) until(slot int, d time.Duration) time.Duration {
	end := int64(w.mono() + d)
	end += (int64(slot) - end%slots + slots) % slots
	return time.Duration(end) - w.mono()
}

func (w *world) nap(slot int, d time.Duration) { time.Sleep(w.until(slot, d)) }

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

func (w *world) failed() bool { return len(w.breaches) > 0 }

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

// kick asks for a probe soon: something has changed that health should know of.
func (w *world) kick() { w.kicked = true }

// appointment is something that the driver does at a moment.
type appointment struct {
	at    time.Duration
	order int
	do    func()
}

type queue []appointment

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].at, q[j].at), cmp.Compare(q[i].order, q[j].order)) < 0
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(appointment)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

// in makes an appointment. What is done runs in the driver, without the lock.
func (w *world) in(d time.Duration, do func()) {
	w.planning.Lock()
	w.order++
	heap.Push(&w.queue, appointment{w.mono() + d, w.order, do})
	w.planning.Unlock()
	select {
	case w.planned <- struct{}{}: // not only the driver makes them
	default:
	}
}

// next is what is due by a moment, nil where nothing is, and how long until the first that is not.
func (w *world) next(by time.Duration) (do func(), at time.Duration) {
	w.planning.Lock()
	defer w.planning.Unlock()
	if len(w.queue) == 0 {
		return nil, math.MaxInt64
	}
	if w.queue[0].at <= by {
		return heap.Pop(&w.queue).(appointment).do, by
	}
	return nil, w.queue[0].at
}

// exp is a wait with a mean.
func (w *world) exp(mean time.Duration) time.Duration {
	return min(time.Duration(w.rng.ExpFloat64()*float64(mean)), 20*mean)
}

// between is a duration whose logarithm is uniform.
func (w *world) between(lo, hi time.Duration) time.Duration {
	return time.Duration(float64(lo) * math.Pow(float64(hi)/float64(lo), w.rng.Float64()))
}

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
	w.stats.simulated += w.mono() + w.susp()
	w.mu.Unlock()
	w.bury()
}

func (w *world) repeat(mean time.Duration, do func()) {
	var again func()
	again = func() { do(); w.in(w.exp(mean), again) }
	w.in(w.exp(mean), again)
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
		if d := v.parsed(v.names[config]); d != nil && !d.ok {
			v.edit("cleared away", func() { v.link(config, nil) })
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
		for name := range v.names {
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

// seedNoise makes sites fail now and then throughout.
func (w *world) seedNoise() {
	for _, s := range w.sites {
		w.calm(s)
	}
}

// calm is a site's state without a trouble.
func (w *world) calm(s *site) {
	s.trouble = trouble{}
	if w.cfg.noise > 0 {
		s.trouble = trouble{kind: string(fault.ServerError), share: w.cfg.noise}
	}
	s.since = w.mono()
}

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

func (w *world) awsTrouble() {
	kinds := []trouble{
		{"hang", 1, 0}, {"hang", 0.5, 0}, {"slow", 1, 9 * time.Second}, {"expired", 1, 0}, {"expired", 0.3, 0},
		{string(fault.Network), 1, 0}, {string(fault.ServerError), 1, 0}, {string(fault.Throttled), 1, 0}, {string(fault.Throttled), 0.8, 0},
		{string(fault.AccessDenied), 1, 0}, {string(fault.AssumeRole), 1, 0}, {string(fault.CredentialsUnavailable), 1, 0}, {string(fault.CredentialsUnavailable), 0.5, 0},
		{string(fault.NoCredentials), 1, 0}, {string(fault.TLS), 1, 0}, {string(fault.BadRequest), 1, 0}, {string(fault.Network), 0.5, 0}, {string(fault.Timeout), 1, 0},
	}
	t := kinds[w.rng.IntN(len(kinds))]
	hit := w.sites
	if w.rng.IntN(2) == 0 {
		hit = w.sites[w.rng.IntN(len(w.sites)):][:1]
	}
	lasts := w.between(3*time.Second, w.cfg.life*5/2)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event("trouble", t.kind, len(hit), lasts)
	for _, s := range hit {
		s.trouble = t
	}
	w.in(lasts, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, s := range hit {
			w.calm(s)
		}
	})
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

func (w *world) writerNow() {
	v, kind, n := w.anyVolume(), w.rng.IntN(100), w.rng.Uint64()
	w.mu.Lock()
	slow := w.disturb(v, kind, n)
	w.mu.Unlock()
	if slow != nil { // it takes its time between its read and its write
		w.in(w.between(time.Millisecond, time.Second), func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			slow()
		})
	}
}

// writerRaces lets another program write at a step of our next write.
func (w *world) writerRaces() {
	v, kind, n, steps := w.anyVolume(), w.rng.IntN(100), w.rng.Uint64(), 1+w.rng.IntN(16)
	w.mu.Lock()
	defer w.mu.Unlock()
	v.armed = append(v.armed, armed{steps, func(*process) {
		if slow := w.disturb(v, kind, n); slow != nil {
			slow()
		}
	}})
}

// fight is a program that puts its own entry in place of ours again and again.
func (w *world) fight() {
	v, times, gap, n := w.anyVolume(), 2+w.rng.IntN(30), w.between(time.Second, time.Minute), w.rng.Uint64()
	var again func()
	again = func() {
		w.mu.Lock()
		w.disturb(v, 60, n)
		w.mu.Unlock()
		if times--; times > 0 {
			w.in(gap, again)
		}
	}
	again()
}

// disturb is what other programs do to a config. Called with the lock held. What it returns is the second half of it.
func (w *world) disturb(v *volume, kind int, n uint64) (later func()) {
	old := v.names[config]
	doc := map[string]any{}
	auths := map[string]any{}
	if d := v.parsed(old); d != nil && d.ok && len(old.content) > 0 {
		_ = json.Unmarshal(old.content, &doc)
		if a, ok := doc["auths"].(map[string]any); ok {
			auths = a
		}
	} else if d != nil && !d.ok && kind < 70 {
		kind = 99 // docker would fail too; somebody deletes the file
	}
	write := func() string {
		doc["auths"] = auths
		b, _ := json.MarshalIndent(doc, "", "\t")
		return string(b)
	}
	login := func(host string) {
		auths[host] = map[string]any{"auth": base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "somebody:%d", n%1000))}
	}
	our := w.hosts[int(n%uint64(len(w.hosts)))]
	switch {
	case kind < 40: // docker login somewhere else
		login(fmt.Sprintf("registry%d.example.com", n%5))
		s := write()
		return func() { v.edit("docker login", func() { v.swapIn(s) }) }
	case kind < 50: // docker logout there, and a setting
		delete(auths, fmt.Sprintf("registry%d.example.com", n%5))
		doc["HttpHeaders"] = map[string]any{"X-N": fmt.Sprint(n % 100)}
		doc["psFormat"] = "{{.Names}} <&>\u2028"
		s := write()
		return func() { v.edit("docker logout", func() { v.swapIn(s) }) }
	case kind < 55: // a whole file of one's own, over what stands there
		s := fmt.Sprintf(`{"auths":{"mine%d.example.com":{"auth":"bTpt"}},"n":%d.0e0}`, n%10, n%100)
		v.edit("overwrite", func() { v.overwrite(s) })
	case kind < 58: // of the same length as before
		if d := v.parsed(old); d != nil && d.ok && len(old.content) > 20 {
			s := strings.Replace(string(old.content), `"QVdT`, `"QVdU`, 1) // AWS: becomes AWT:
			v.edit("same length", func() { v.overwrite(s) })
		}
	case kind < 70: // docker login to ours, as somebody else
		login(our)
		v.edit("login to ours", func() { v.swapIn(write()) })
	case kind < 75: // docker logout of ours
		delete(auths, our)
		v.edit("logout of ours", func() { v.swapIn(write()) })
	case kind < 80:
		v.edit("delete", func() { v.link(config, nil) })
	case kind < 84: // with everything beside it
		v.edit("delete all", func() { v.link(config, nil); delete(v.names, state); v.noState = true })
	case kind < 88:
		v.edit("empty", func() { v.overwrite("") })
	case kind < 91: // cut in the middle, then repaired or not
		if old != nil && len(old.content) > 2 {
			whole, half := string(old.content), string(old.content[:1+int(n%uint64(len(old.content)-1))])
			v.edit("cut", func() { v.overwrite(half) })
			w.mendLater(v, n, whole)
		}
	case kind < 96:
		if old != nil {
			v.edit("chmod", func() {
				old.mode = []fs.FileMode{0, 0o400, 0o666}[n%3]
				v.count++
				old.version = v.count
				old.ctime = v.clock()
				v.configChanged()
			})
			if d := old.doc; d != nil {
				d.version = old.version
			}
		}
	default:
		v.edit("delete", func() { v.link(config, nil) })
	}
	return nil
}

// mendLater is the other half of a careless write.
func (w *world) mendLater(v *volume, n uint64, whole string) {
	in := time.Duration(n%uint64(w.cfg.life/4)) + time.Millisecond
	if n%2 == 0 {
		in = time.Duration(n % uint64(20*time.Millisecond))
	}
	w.in(in, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if d := v.parsed(v.names[config]); d != nil && !d.ok {
			v.edit("completed", func() { v.overwrite(whole) })
		}
	})
}

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

// powerCut takes what was not made durable, in any selection: a rename, and the content of a hint.
func (w *world) powerCut() {
	choice := w.rng.Uint64()
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
		if v.lacking != nil && v.lacking == v.names[config] && choice&1 == 0 {
			v.link(config, v.before)
			if v.before != nil {
				v.parsed(v.before).origin = map[string]bool{}
			}
		}
		v.lacking, v.before = nil, nil
		if n := v.names[state]; n != nil {
			switch choice >> 1 % 6 {
			case 0:
				delete(v.names, state)
			case 1:
				n.content = nil
			case 2:
				n.content = make([]byte, len(n.content))
			case 3:
				n.content = n.content[:len(n.content)/2]
			case 4:
				n.content = n.before
			case 5:
				half := min(len(n.content), len(n.before)) / 2
				n.content = slices.Concat(n.content[:half], n.before[half:])
			}
			v.noState = true
		}
		choice >>= 4
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
		for i := range p.asked {
			p.asked[i] = true
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
		for _, c := range w.p.calls {
			c.trigger(w)
		}
	}
}

func (w *world) stepClock() {
	d := w.between(time.Second, 14*time.Hour)
	if w.rng.IntN(2) == 0 {
		d = -d
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.steps++
	at := w.wall().Sub(w.trueNow())
	if (at + d).Abs() > 14*time.Hour {
		d = -at
	}
	w.event("step", d)
	store(&w.offset, w.offset+d)
	w.pauses++
	w.outOfTurn()
}

// wakeWrong starts the process again with another date.
func (w *world) wakeWrong() {
	d := time.Duration((w.rng.Float64()*2 - 1) * float64(w.cfg.life))
	w.killNow()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.steps++
	w.event("step", d)
	store(&w.offset, right(w)+d)
	w.pauses++
	w.outOfTurn()
}

// right is the offset at which the wall clock is right.
func right(w *world) time.Duration {
	return time.Duration(load(&w.offset)) - w.wall().Sub(w.trueNow())
}

func (w *world) suspend() {
	d := w.between(time.Second, w.cfg.life*13/12)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.suspends++
	w.event("suspend", d)
	store(&w.suspended, w.suspended+d)
	w.pauses++
	w.pausedAt = w.mono()
}

// pause is a suspend of a virtual machine, of which only the date tells.
func (w *world) pause() {
	d := w.between(time.Minute, w.cfg.life*13/12)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.suspends++
	w.event("pause", d)
	store(&w.offset, w.offset+d)
	store(&w.lost, w.lost+d)
	w.pauses++
	w.pausesOnly++
	w.pausedAt = w.mono()
	w.outOfTurn()
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
		n := v.newNode(0o600)
		n.content = b
		v.link(state, n)
		v.noState = true
	})
}

// consume reads every output as its consumers do. strict: whatever happened, all must be well.
func (w *world) consume(strict bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, mono, p := w.trueNow(), w.mono(), w.p
	for _, v := range w.volumes {
		w.stats.reads++
		doc := v.parsed(v.names[config])
		repair := 2 * time.Second
		if w.cfg.watch[v.n] == watchNone {
			repair = 63 * time.Second // the tick
		}
		writable := p != nil && !p.dead && v.fault.err == nil && !v.fault.hang && mono-v.foreign > repair && mono-p.at > repair && mono-v.spoiled > 33*time.Second && mono-p.outErr[v.n] > 33*time.Second &&
			p.last != nil && !p.last.Outputs[v.n].Contested && mono-w.pausedAt > refresh.Tick+15*time.Second
		if strict && !writable {
			w.breach("output %d is not writable in peace: contested %t", v.n, p != nil && p.last != nil && p.last.Outputs[v.n].Contested)
		}
		if !writable {
			continue
		}
		for _, s := range w.cfg.specs {
			st := w.siteOf[s.Hosts()[0]]
			a := p.answered[st.n]
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
			if n := v.names[config]; n.mode != w.cfg.mode {
				w.breach("output %d has mode %#o", v.n, n.mode)
			}
		}
	}
}

// truth is whether a consumer of the primary output could use every registry that counts, at a moment.
func (w *world) truth(now time.Time) (good, byUs bool) {
	v := w.volumes[0]
	doc := v.parsed(v.names[config])
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
