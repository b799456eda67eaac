package refresh

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/token"
)

// Whatever the loop is at when it is asked to stop, it returns at once and leaves the file. The bubble fails the test for a
// goroutine that stays.
func TestStop(t *testing.T) {
	hung := func(ctx context.Context, _ token.Scope, _ int) (token.Token, error) { return hang(ctx) }
	for _, c := range []struct {
		name   string
		setup  func(r *rig)
		before func(r *rig) // brings the loop into the phase
		calls  int
		writes int
		within time.Duration
	}{
		{"idle", nil, func(r *rig) { r.pass(time.Hour) }, 1, 1, 0},
		{"in the first call", func(r *rig) { r.source.set(hung) }, func(r *rig) { r.pass(time.Second) }, 1, 0, 0},
		{"in a call", nil, func(r *rig) { r.source.set(hung); r.pass(6*time.Hour + time.Second) }, 2, 1, 0},
		{"in back-off", func(r *rig) { r.source.fail(fault.AccessDenied) }, func(r *rig) { r.pass(time.Second) }, 1, 0, 0},
		{"in a write", func(r *rig) { r.files[0].takes = time.Second }, func(r *rig) { r.pass(time.Millisecond) }, 1, 1, time.Second},
		{"in the back-off of a write", func(r *rig) { r.files[0].err = broken(fault.OutputFull) }, func(r *rig) { r.pass(time.Millisecond) }, 1, 0, 0},
		{"while a registry is asked", func(r *rig) {
			r.cfg.Verifier = r.verifier
			r.verifier.set(func(ctx context.Context, _ string, _ secret.Secret) error { <-ctx.Done(); return ctx.Err() })
		}, func(r *rig) { r.pass(time.Second) }, 1, 1, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			if c.setup != nil {
				c.setup(r)
			}
			r.start()
			c.before(r)
			asked := time.Now()
			r.stop()
			if err := <-r.ended; err != nil {
				t.Errorf("%s: Run returned %v", c.name, err)
			}
			if took := time.Since(asked); took > c.within {
				t.Errorf("%s: stopped after %s, want %s", c.name, took, c.within)
			}
			r.wantCalls(c.calls)
			if n := len(r.files[0].writes()); n != c.writes {
				t.Errorf("%s: written %d times", c.name, n)
			}
			if r.seen.attempted("") > 1 {
				t.Errorf("%s: an answer after the stop was taken in", c.name)
			}
			if n := r.seen.attempted(fault.BadRequest) + r.seen.attempted(fault.Timeout); n != 0 {
				t.Errorf("%s: the stop counted as a failure", c.name)
			}
		})
	}
}

func TestStopBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 20 { // a select picks among what is ready
			if err := New(r.cfg).Run(ctx); err != nil {
				t.Errorf("Run returned %v", err)
			}
		}
		r.wantCalls(0)
		if exists, _ := r.files[0].content(); exists {
			t.Error("the file was written")
		}
	})
}

// A file system that does not answer cannot be interrupted, and must not hold up the stop until ECS kills.
func TestStopWithAHungFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		block := make(chan struct{})
		r.start()
		r.files[0].edit(func(f *fakeFile) { f.block = block })
		r.pass(Tick)
		asked := time.Now()
		r.stop()
		<-r.ended
		if took := time.Since(asked); took != landMost {
			t.Errorf("stopped after %s", took)
		}
		r.wantLines("stopped without waiting any longer for a file system that does not answer", 1)
		close(block)
	})
}

func TestRenewStorm(t *testing.T) {
	bubble(t, []string{hostA, hostC}, nil, func(r *rig) {
		r.pass(time.Hour)
		for range 1000 {
			r.loop.Renew()
		}
		r.pass(10 * time.Second)
		if n := len(r.source.times("")); n < 4 || n > 6 { // the last of the storm may come after one call, or after both: one more each
			t.Errorf("%d calls", n)
		}
		for range 1000 {
			r.loop.Renew()
			time.Sleep(10 * time.Millisecond)
		}
		r.pass(2 * time.Second)
		for _, region := range []string{"us-west-2", "eu-west-1"} { // the fake fails the test for calls less than a second apart
			if n := len(r.source.times(region)); n < 12 || n > 14 {
				t.Errorf("%s: %d calls", region, n)
			}
		}
		r.wantEntry(0, 0, true)
		before := len(r.source.times(""))
		r.pass(5 * time.Hour)
		r.wantCalls(before)
	})
}

// A call that is under way when everything is to be renewed counts. The fake fails the test for two at once.
func TestRenewDuringACall(t *testing.T) {
	bubble(t, nil, func(r *rig) { r.source.takes = 5 * time.Second }, func(r *rig) {
		for range 4 {
			r.pass(time.Second)
			r.loop.Renew()
		}
		r.pass(time.Hour)
		r.wantCalls(1)
		r.wantEntry(0, 0, true)
	})
}

func TestAnyGoroutineMayAsk(t *testing.T) {
	bubble(t, []string{hostA, hostC}, func(r *rig) { r.addOutput() }, func(r *rig) {
		var askers sync.WaitGroup
		for i := range 8 {
			askers.Go(func() {
				for n := range 200 {
					time.Sleep(time.Duration(i+1) * time.Second / 4)
					if v := r.loop.View(); !v.Entry(i%2, n%2).Valid || v.Late > 0 || r.loop.Late() > 0 {
						t.Errorf("at %s: %s", r.clock.since(), v.Entry(i%2, n%2).Why)
					}
					if n%10 == 0 {
						r.loop.Renew()
					}
				}
			})
		}
		askers.Wait()
	})
}

func TestRenewEndsABackOff(t *testing.T) {
	bubble(t, nil, func(r *rig) { r.source.fail(fault.AccessDenied); r.cfg.Rand = func() float64 { return almost } }, func(r *rig) {
		r.pass(10 * time.Minute)
		r.source.fail("")
		r.loop.Renew()
		r.pass(MinInterval)
		r.wantEntry(0, 0, true)
	})
}

// The end of an attempt's time is a timeout for whoever looks at the cause of a context.
func TestDeadlineIsATimeout(t *testing.T) {
	var timeout net.Error
	if !errors.As(errDeadline, &timeout) || !timeout.Timeout() {
		t.Errorf("%#v is not a timeout", errDeadline)
	}
}
