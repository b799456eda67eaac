package refresh

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/token"
)

const (
	hostA = "111111111111.dkr.ecr.us-west-2.amazonaws.com"
	hostB = "222222222222.dkr.ecr.us-west-2.amazonaws.com" // of the same scope as hostA
	hostC = "333333333333.dkr.ecr.eu-west-1.amazonaws.com" // of another one

	fullLife = 12 * time.Hour
)

// rig is a loop with every seam filled by a fake that works, so that a test breaks one thing. It lives in a bubble.
type rig struct {
	*testing.T
	cfg      Config
	clock    *fakeClock
	source   *fakeSource
	verifier *fakeVerifier // in use where a test sets cfg.Verifier
	files    []*fakeFile
	seen     *recorder
	logs     *observer.ObservedLogs
	loop     *Loop
	stop     func()
	ended    chan error
}

// bubble makes a rig, lets setup change it before the loop is made, starts the loop, and stops it after the test.
func bubble(t *testing.T, registries []string, setup, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, registries...)
		if setup != nil {
			setup(r)
		}
		r.start()
		test(r)
		r.stop()
		if err := <-r.ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func newRig(t *testing.T, registries ...string) *rig {
	r := &rig{T: t, clock: &fakeClock{epoch: time.Now()}, seen: &recorder{}, ended: make(chan error, 1)}
	r.source = &fakeSource{t: t, clock: r.clock, life: fullLife, flying: map[token.Scope]bool{}, last: map[token.Scope]time.Duration{}}
	r.verifier = &fakeVerifier{clock: r.clock}
	if len(registries) == 0 {
		registries = []string{hostA}
	}
	for _, s := range registries {
		spec, err := registry.ParseSpec(s)
		if err != nil {
			t.Fatal(err)
		}
		r.cfg.Registries = append(r.cfg.Registries, spec)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	r.logs = logs
	r.cfg.Log, r.cfg.Source, r.cfg.Observer, r.cfg.Rand = zap.New(core), r.source, r.seen, func() float64 { return 0 }
	r.cfg.Clock = Clock{Wall: r.clock.Wall, Elapsed: r.clock.Elapsed}
	r.addOutput()
	return r
}

func (r *rig) addOutput() *fakeFile {
	f := &fakeFile{t: r.T, clock: r.clock, events: make(chan struct{}, 1)}
	r.cfg.Outputs = append(r.cfg.Outputs, Output{Name: fmt.Sprintf("out%d", len(r.files)), File: f, Watch: f.watch})
	r.files = append(r.files, f)
	return f
}

// retrySlowly makes back-offs long and leaves renewals at half of a life.
func (r *rig) retrySlowly() {
	r.cfg.Rand = func() float64 { return almost }
	r.cfg.Policy = Policy{RenewAt: 0.5, MaxAge: fullLife}
}

func (r *rig) start() {
	ctx, cancel := context.WithCancel(r.Context())
	r.stop, r.loop = cancel, New(r.cfg)
	go func() { r.ended <- r.loop.Run(ctx) }()
	synctest.Wait()
}

// pass lets time pass, and the loop come to rest.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) wantEntry(output, reg int, valid bool) Entry {
	r.Helper()
	e := r.loop.View().Entry(output, reg)
	if e.Valid != valid {
		r.Errorf("at %s: entry %d of output %d: valid is %t (%s), want %t", r.clock.since(), reg, output, e.Valid, e.Why, valid)
	}
	return e
}

func (r *rig) wantCalls(n int) {
	r.Helper()
	if got := len(r.source.times("")); got != n {
		r.Errorf("at %s: %d calls, want %d", r.clock.since(), got, n)
	}
}

// lines are the log's lines of one message, each with its fields.
func (r *rig) lines(message string) []map[string]any {
	var fields []map[string]any
	for _, e := range r.logs.FilterMessage(message).All() {
		fields = append(fields, e.ContextMap())
	}
	return fields
}

func (r *rig) wantLines(message string, n int) []map[string]any {
	r.Helper()
	got := r.lines(message)
	if len(got) != n {
		r.Fatalf("at %s: %d log lines %q, want %d: %v", r.clock.since(), len(got), message, n, got)
	}
	return got
}

// many are n registries, each a scope of its own.
func many(n int) []string {
	specs := make([]string, n)
	for i := range specs {
		specs[i] = fmt.Sprintf("%012d.dkr.ecr.us-east-1.amazonaws.com?role_arn=arn:aws:iam::%012d:role/pull", i+1, i+1)
	}
	return specs
}

// nth is the number of a scope of many, from 0; -1 for another one.
func nth(s token.Scope) int {
	var n int
	if _, err := fmt.Sscanf(strings.TrimPrefix(s.Roles, "arn:aws:iam::"), "%d:role/pull", &n); err != nil {
		return -1
	}
	return n - 1
}

// fakeClock is a machine whose wall clock can be wrong and which can be suspended. True time is AWS's.
type fakeClock struct {
	mu        sync.Mutex
	epoch     time.Time
	offset    time.Duration // of the wall clock
	suspended time.Duration
	lost      time.Duration // true time that only the wall clock knows of
	turns     int           // readings of the wall clock: one a turn, once AWS has answered
}

func (c *fakeClock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turns++
	return time.Now().Add(c.suspended + c.offset)
}

func (c *fakeClock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.epoch) + c.suspended
}

// aws is the true time.
func (c *fakeClock) aws() time.Time {
	elapsed := c.Elapsed()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch.Add(elapsed + c.lost)
}

func (c *fakeClock) since() time.Duration { return c.Elapsed() }
func (c *fakeClock) step(d time.Duration) { c.mu.Lock(); c.offset += d; c.mu.Unlock() }
func (c *fakeClock) sleep(d time.Duration) {
	c.mu.Lock()
	c.suspended += d
	c.mu.Unlock()
}

func (c *fakeClock) pause(d time.Duration) {
	c.mu.Lock()
	c.offset, c.lost = c.offset+d, c.lost+d
	c.mu.Unlock()
}

func (c *fakeClock) turned() int { c.mu.Lock(); defer c.mu.Unlock(); return c.turns }
