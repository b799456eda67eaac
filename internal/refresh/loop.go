// Package refresh owns the question when: when a token is renewed, when a file is repaired, how long to wait after a failure.
//
// One goroutine, the loop, wakes for a reason (something is due, a file changed, an answer came, a slow tick), looks at the
// clocks, compares what is with what shall be, and starts what is missing. It never blocks on AWS or on a file: each call and
// each write runs in a flight of its own, which hands its end back to the loop. After each turn that changed something the
// loop publishes an immutable [Snapshot].
//
// It refuses to know how a token is obtained, what a docker config looks like, and who reads the snapshot.
package refresh

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

// Source obtains tokens, one attempt a call. Its errors are of package fault. A call ends when ctx does.
type Source interface {
	Token(ctx context.Context, s token.Scope) (token.Token, error)
}

// Verifier asks a registry whether it accepts a token: nil, class token_rejected, or any other error for "could not ask".
type Verifier interface {
	Accepts(ctx context.Context, host string, auth secret.Secret) error
}

// File is a shared docker config: [writer.File], or a fake.
type File interface {
	Sync(want []writer.Want) (writer.Result, error)
	Look() (writer.View, error)
	Recall() map[string]writer.Grant
}

// Output is a file, and how its changes are noticed.
type Output struct {
	Name  string
	File  File
	Watch func(ctx context.Context, notify func()) // blocks until ctx ends; nil: the file is looked at every Tick only
}

// Observer is told of events, by the loop's goroutine: it must not block.
type Observer interface {
	// Attempted tells of an attempt to renew the token of some registries; the class is empty for a success.
	Attempted(registries []string, took time.Duration, class fault.Class)
	// Rejected tells that a registry does not accept a token that was just issued.
	Rejected(registry string)
	// Written tells of a write; repair is set where it put back what somebody else had changed.
	Written(output string, repair bool, err error)
}

// Config is what a [Loop] is made of. Source, Registries and Outputs are required; everything else has a default.
type Config struct {
	Registries []registry.Spec // resolved: no "default" without a host
	Source     Source
	Outputs    []Output // the first is the primary, of which health speaks

	Verifier     Verifier // nil: registries are not asked
	VerifyHourly bool     // ask every hour too, not only after each issue

	Policy     Policy              // zero: DefaultPolicy
	Timeout    time.Duration       // of one attempt; default 10 s
	Parallel   int                 // attempts at the same time; default 64
	Observer   Observer            // default: nobody
	Log        *zap.Logger         // default: silent
	Clock      Clock               // default: the machine's
	Rand       func() float64      // uniform in [0, 1); default math/rand/v2
	OnSnapshot func(*Snapshot)     // called by the loop's goroutine with each new snapshot; must not block
	OnLate     func(time.Duration) // called once at most, by another goroutine, if the loop is later than Patience for a turn
}

// Loop keeps tokens in files. Make one with [New], run it once with [Loop.Run]; the other methods are for any goroutine.
type Loop struct {
	cfg   Config
	log   *zap.Logger
	clock Clock

	snapshot atomic.Pointer[Snapshot]
	born     time.Time
	promised atomic.Int64 // when the next one is due, since born: see promise
	events   chan func()  // what flights hand back
	renew    chan struct{}
	doubt    chan struct{}   // a view has found a file to be different
	doubts   []atomic.Bool   // by output: which
	looking  []chan struct{} // by output, one place each: who looks at the file for a view

	// What follows belongs to the loop's goroutine.
	flights    sync.WaitGroup
	scopes     []*scope
	registries []RegistryState
	outputs    []*output
	anchor     anchor
	steps      stepDetector
	begun      time.Time
	started    time.Duration
	looked     time.Duration // when the files were looked at last, for the slow look
	dirty      bool          // the snapshot is out of date
	doubted    []recalled    // what the files held at the start, until AWS tells the time by which to judge it

	toldAt time.Duration // when the log told last of a written token
	untold int           // writes since then

	fetching              int
	published, flushed    int // publications: counted up by new tokens, taken over by writes
	batchFirst, batchLast time.Duration
	unverified            []int  // registries to ask, by index
	rejecting             []bool // by registry: the log has told that it rejects the token
	verifying             int
	verifiedAt            time.Duration
}

// New makes a loop. It starts nothing.
func New(cfg Config) *Loop {
	if cfg.Policy == (Policy{}) {
		cfg.Policy = DefaultPolicy()
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 64
	}
	if cfg.Observer == nil {
		cfg.Observer = nobody{}
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	l := &Loop{cfg: cfg, log: cfg.Log, clock: cfg.Clock.orDefault(), events: make(chan func()), renew: make(chan struct{}, 1), doubt: make(chan struct{}, 1),
		doubts: make([]atomic.Bool, len(cfg.Outputs))}
	l.anchor = anchor{clock: l.clock}
	l.born, l.begun, l.started = time.Now(), l.clock.Wall(), l.clock.Elapsed()
	l.verifiedAt = l.started
	l.rejecting = make([]bool, len(cfg.Registries))
	byScope := map[token.Scope]int{}
	for i, spec := range cfg.Registries {
		key := token.ScopeOf(spec)
		n, ok := byScope[key]
		if !ok {
			n = len(l.scopes)
			byScope[key] = n
			l.scopes = append(l.scopes, &scope{state: ScopeState{Scope: key}, due: l.started})
		}
		l.scopes[n].registries = append(l.scopes[n].registries, i)
		l.registries = append(l.registries, RegistryState{Spec: &cfg.Registries[i], Scope: n})
	}
	for _, o := range cfg.Outputs {
		l.outputs = append(l.outputs, &output{cfg: o, state: OutputState{Name: o.Name}})
		l.looking = append(l.looking, make(chan struct{}, 1))
	}
	l.snapshot.Store(l.takeSnapshot())
	return l
}

// Run turns until ctx ends, and returns when everything that it started has ended: nil after a stop. The files stay.
func (l *Loop) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer l.land()
	defer cancel()
	alarm := l.watchLateness(ctx)
	defer alarm.Stop()
	l.recall(ctx)
	l.lookAtAll()
	for i, o := range l.outputs {
		if o.cfg.Watch != nil {
			l.flights.Go(func() {
				o.cfg.Watch(ctx, func() { l.send(ctx, func() { l.noticed(l.outputs[i]) }) })
			})
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var heard func()
		select {
		case <-ctx.Done():
			return nil
		case heard = <-l.events:
		case <-l.renew:
			heard = l.renewAsked
		case <-l.doubt:
			heard = l.takeDoubts
		case <-timer.C:
		}
		l.promise(alarm, 0)
		if heard != nil {
			heard()
			l.drain()
		}
		if ctx.Err() != nil {
			return nil
		}
		next := l.turn(ctx)
		timer.Reset(next)
		l.promise(alarm, next)
	}
}

// turn compares what is with what shall be, starts what is missing, and returns how long nothing more is due.
func (l *Loop) turn(ctx context.Context) time.Duration {
	if step := l.steps.check(l.clock); step != 0 { // mutant: clock steps are not noticed
		l.log.Warn("the clock was stepped, or the machine paused: every token is renewed, as AWS tells the true time", zap.Duration("step", step.Round(time.Second)))
		l.dirty = true
		l.renewAll()
	}
	if l.clock.Elapsed()-l.looked >= Tick {
		l.lookAtAll()
	}
	l.startDue(ctx)
	l.tellLapses()
	l.settle()
	if l.dirty {
		l.publishSnapshot() // before the files are written: no view finds a token there that its snapshot does not know
	}
	l.startSyncs(ctx)
	l.verifyHourly(ctx)
	return l.untilNext()
}

// lookAtAll marks every file as perhaps changed, for the changes of which no event comes.
func (l *Loop) lookAtAll() {
	l.looked = l.clock.Elapsed()
	for _, o := range l.outputs {
		o.changed = true // mutant: no slow look
	}
}

// untilNext is how long to sleep: never longer than a Tick.
func (l *Loop) untilNext() time.Duration {
	now := l.clock.Elapsed()
	next := l.looked + Tick - now
	for _, s := range l.scopes {
		if !s.inFlight && (l.fetching < l.cfg.Parallel || s.due > now) {
			next = min(next, s.due-now)
		}
		if s.grant != nil && s.lapsed != s.grant {
			next = min(next, s.grant.Expires.Sub(l.now()))
		}
	}
	if wait := l.batchReady(); wait > 0 {
		next = min(next, wait)
	}
	for _, o := range l.outputs {
		if !o.inFlight && now < o.notYet && (o.changed || o.written < l.flushed) {
			next = min(next, o.notYet-now)
		}
	}
	return max(next, 0)
}

// drain takes in every end that is waiting, so that one turn serves them all.
func (l *Loop) drain() {
	for {
		select {
		case f := <-l.events:
			f()
		default:
			return
		}
	}
}

// send hands a flight's end to the loop; it is dropped where the loop is stopping.
func (l *Loop) send(ctx context.Context, f func()) {
	select {
	case l.events <- f:
	case <-ctx.Done(): // mutant: an answer waits for a loop that left
	}
}

// land waits for what was started. Calls end with their context; a file system that hangs does not, and is left behind.
func (l *Loop) land() {
	landed := make(chan struct{})
	go func() { l.flights.Wait(); close(landed) }()
	select {
	case <-landed:
	case <-time.After(landMost):
		l.log.Warn("stopped without waiting any longer for a file system that does not answer")
	}
}

// landMost is how long a stop waits: well within the 30 s after which ECS kills.
const landMost = 5 * time.Second

func (l *Loop) now() time.Time { return l.anchor.now() }

func (l *Loop) takeSnapshot() *Snapshot {
	s := &Snapshot{Started: l.begun, anchor: l.anchor, Registries: append([]RegistryState(nil), l.registries...)}
	for _, sc := range l.scopes {
		s.Scopes = append(s.Scopes, sc.state)
	}
	for _, o := range l.outputs {
		s.Outputs = append(s.Outputs, o.state)
	}
	return s
}

func (l *Loop) publishSnapshot() {
	s := l.takeSnapshot()
	l.dirty = false
	l.snapshot.Store(s)
	if l.cfg.OnSnapshot != nil {
		l.cfg.OnSnapshot(s)
	}
}

// Renew makes everything due now: SIGHUP. Calls while one is pending count as one.
func (l *Loop) Renew() {
	select {
	case l.renew <- struct{}{}:
	default:
	}
}

func (l *Loop) renewAsked() {
	l.log.Info("asked to renew everything now")
	for _, s := range l.scopes {
		s.tell = true
	}
	l.renewAll()
}

func (l *Loop) namesOf(s *scope) []string {
	names := make([]string, len(s.registries))
	for i, r := range s.registries {
		names[i] = l.registries[r].Spec.Name
	}
	return names
}

func (l *Loop) namesField(s *scope) zap.Field { return namesField(l.namesOf(s)) }

// namesField names the registries, the first ten where there are more: a line is for a person.
func namesField(names []string) zap.Field {
	if len(names) > 10 {
		names = append(names[:10:10], "…")
	}
	return zap.Strings("registries", names)
}

type nobody struct{}

func (nobody) Attempted([]string, time.Duration, fault.Class) {}
func (nobody) Rejected(string)                                {}
func (nobody) Written(string, bool, error)                    {}
