package refresh

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/token"
)

func TestWallClockStep(t *testing.T) {
	for _, step := range []time.Duration{14 * time.Hour, -14 * time.Hour} {
		bubble(t, []string{hostA, hostC}, nil, func(r *rig) {
			r.pass(time.Hour)
			r.clock.step(step)
			for i := range 2 { // judged by AWS's clock
				if e := r.wantEntry(0, i, true); !e.Issued.Equal(r.clock.epoch) {
					t.Errorf("the entry was issued at %s", e.Issued)
				}
			}
			if skew := r.loop.View().Skew; (skew - step).Abs() > time.Second {
				t.Errorf("skew is %s, want %s", skew, step)
			}
			r.pass(Tick)
			r.wantCalls(4)
			line := r.wantLines("the clock was stepped, or the machine paused: every token is renewed, as AWS tells the true time", 1)[0]
			if line["step"] != step {
				t.Errorf("logged %v", line)
			}
			if skew := r.loop.View().Skew; (skew - step).Abs() > time.Second {
				t.Errorf("skew is %s after the renewal, want %s", skew, step)
			}
			r.pass(6*time.Hour - 2*Tick)
			r.wantCalls(4)
			r.pass(2 * Tick)
			r.wantCalls(6)
			r.wantEntry(0, 0, true)
		})
	}
}

func TestWallClockWrongFromTheStart(t *testing.T) {
	for _, offset := range []time.Duration{14 * time.Hour, -14 * time.Hour} {
		bubble(t, nil, func(r *rig) { r.clock.step(offset) }, func(r *rig) {
			r.wantEntry(0, 0, true)
			if skew := r.loop.View().Skew; (skew - offset).Abs() > time.Second {
				t.Errorf("skew is %s, want %s", skew, offset)
			}
			r.pass(24 * time.Hour)
			r.wantCalls(5)
			r.wantEntry(0, 0, true)
		})
	}
}

func TestSuspend(t *testing.T) {
	bubble(t, nil, nil, func(r *rig) {
		r.pass(time.Hour)
		r.clock.sleep(13 * time.Hour)
		r.wantEntry(0, 0, false)
		if late := r.loop.Late(); late > 0 {
			t.Errorf("the loop seems late by %s: it slept as the machine did", late)
		}
		r.pass(Tick)
		r.wantCalls(2)
		r.wantEntry(0, 0, true)
		r.wantLines("the clock was stepped, or the machine paused: every token is renewed, as AWS tells the true time", 0)
		if s := r.loop.View(); s.Skew.Abs() > time.Second {
			t.Errorf("skew is %s", s.Skew)
		}
	})
}

// Where the elapsed clock stands still too, as on a paused virtual machine, the pause looks like a step.
func TestPauseThatOnlyTheDateTells(t *testing.T) {
	bubble(t, nil, nil, func(r *rig) {
		r.pass(time.Hour)
		r.clock.pause(13 * time.Hour)
		r.pass(Tick)
		r.wantCalls(2)
		if e := r.wantEntry(0, 0, true); e.Expires.Before(r.clock.aws().Add(fullLife - Tick)) {
			t.Errorf("the entry expires at %s, now is %s", e.Expires, r.clock.aws())
		}
		if v := r.loop.View(); v.Now.Sub(r.clock.aws()).Abs() > time.Second || v.Skew.Abs() > time.Second {
			t.Errorf("now is %s, not %s; skew %s", v.Now, r.clock.aws(), v.Skew)
		}
	})
}

func TestLate(t *testing.T) {
	for name, c := range map[string]struct {
		blocked []time.Duration // the loop, after how long and again
		alarms  int
	}{
		"never":            {nil, 0},
		"not long enough":  {[]time.Duration{Patience - 1}, 0},
		"paused for long":  {[]time.Duration{Patience + lateGrace - 1}, 0},
		"long enough":      {[]time.Duration{Patience + lateGrace + time.Second}, 1},
		"twice, told once": {[]time.Duration{2 * Patience, 2 * Patience}, 1},
	} {
		var mu sync.Mutex
		var alarms []time.Duration
		bubble(t, nil, func(r *rig) {
			blocked := c.blocked
			r.cfg.OnSnapshot = func(*Snapshot) { // the loop's goroutine alone
				if time.Since(r.clock.epoch) >= time.Hour && len(blocked) > 0 {
					d := blocked[0]
					blocked = blocked[1:]
					time.Sleep(d)
				}
			}
			r.cfg.OnLate = func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				alarms = append(alarms, r.clock.since())
				if d != Patience+lateGrace {
					t.Errorf("%s: late by %s", name, d)
				}
			}
		}, func(r *rig) {
			r.pass(time.Hour)
			r.loop.Renew()       // something new to publish
			r.pass(Patience + 1) // before the grace is over
			if late := r.loop.Late(); len(c.blocked) > 0 && c.blocked[0] > Patience && late <= Patience {
				t.Errorf("%s: the loop seems to be %s late", name, late)
			}
			r.pass(24 * time.Hour)
			mu.Lock()
			defer mu.Unlock()
			if len(alarms) != c.alarms || c.alarms > 0 && alarms[0] != time.Hour+Patience+lateGrace {
				t.Errorf("%s: alarms at %v", name, alarms)
			}
			if late := r.loop.Late(); late > 0 {
				t.Errorf("%s: the loop is %s late", name, late)
			}
		})
	}
}

// An idle sidecar of which nobody asks anything wakes every minute, and once more for each file to hear that it is as it was.
func TestIdleCost(t *testing.T) {
	bubble(t, []string{hostA, hostC}, func(r *rig) { r.addOutput() }, func(r *rig) {
		r.pass(time.Minute)
		turns, looks := r.clock.turned(), r.files[0].looks()
		r.pass(4 * time.Hour)
		const minutes = 4 * 60
		if got := r.clock.turned() - turns; got > 3*minutes {
			t.Errorf("%d turns in 4 hours", got)
		}
		if got := r.files[0].looks() - looks; got != minutes {
			t.Errorf("%d looks at the file in 4 hours", got)
		}
		r.pass(20 * time.Hour)
		if got := r.clock.turned() - turns; got > 3*6*minutes+4*20 { // a renewal: due, two answers, writes, watch events
			t.Errorf("%d turns in a day", got)
		}
	})
}

func TestSnapshots(t *testing.T) {
	var mu sync.Mutex
	snapshots := 0
	bubble(t, nil, func(r *rig) {
		r.cfg.OnSnapshot = func(s *Snapshot) {
			mu.Lock()
			defer mu.Unlock()
			snapshots++
			if s.Scopes[0].Failures > 0 && Class(s.Scopes[0].Err) != fault.Network {
				t.Errorf("a failure without its error: %+v", s.Scopes[0])
			}
		}
		if New(r.cfg); snapshots != 0 {
			t.Error("New called OnSnapshot: there is no loop yet")
		}
	}, func(r *rig) {
		v := r.loop.View()
		r.pass(time.Hour)
		mu.Lock()
		if snapshots == 0 || snapshots > 4 {
			t.Errorf("%d snapshots for one token", snapshots)
		}
		mu.Unlock()
		r.source.fail(fault.Network)
		r.loop.Renew()
		synctest.Wait()
		if v.Scopes[0].Failures != 0 || r.loop.View().Scopes[0].Failures != 1 {
			t.Error("a snapshot changed, or did not follow")
		}
		if v.Late != 0 || !v.Started.Equal(r.clock.epoch) {
			t.Errorf("late by %s, started %s", v.Late, v.Started)
		}
	})
}

// A custom endpoint with a wrong clock tells the time to nobody once AWS has: neither do the others' tokens seem expired, nor
// does its own seem to live longer than it does.
func TestCustomEndpointWithAWrongClock(t *testing.T) {
	// It is named by the registry, or by AWS_ENDPOINT_URL_ECR and its like, which a scope knows nothing of.
	for _, custom := range []string{hostC + "?endpoint=http://127.0.0.1:1&optional", hostC + "?optional"} {
		for _, ahead := range []time.Duration{fullLife - 30*time.Second, -fullLife, 0} {
			bubble(t, []string{hostA, custom}, func(r *rig) {
				r.source.answer = func(_ context.Context, s token.Scope, _ int) (token.Token, error) {
					now, emulated := r.clock.aws(), s.Region != "us-west-2"
					if emulated {
						time.Sleep(time.Second) // AWS is first
						now = r.clock.aws().Add(ahead)
					}
					return token.Token{
						Auth: secret.New(s.Region + now.String()), Issued: now, Expires: now.Add(fullLife), CustomEndpoint: emulated,
					}, nil
				}
			}, func(r *rig) {
				for range 40 {
					r.pass(time.Hour)
					r.wantEntry(0, 0, true)
					if e := r.wantEntry(0, 1, true); e.Expires.After(r.clock.aws().Add(fullLife)) {
						t.Errorf("%s ahead: expires in %s", ahead, e.Expires.Sub(r.clock.aws()))
					}
					if skew := r.loop.View().Skew; skew.Abs() > time.Second {
						t.Errorf("%s ahead: skew %s", ahead, skew)
					}
				}
			})
		}
	}
}

// The credential endpoint of a task that has just started answers 503 for a while: whenever it recovers within the first minute,
// the first token is in the file within 2 s, however the back-off's dice fall.
func TestFirstTokenFollowsTheEndpointsRecovery(t *testing.T) {
	for _, recovery := range []time.Duration{time.Second / 2, 3 * time.Second, 10 * time.Second, 31 * time.Second, 58 * time.Second} {
		for _, dice := range []float64{0, 0.5, almost} {
			bubble(t, nil, func(r *rig) {
				r.cfg.Rand = func() float64 { return dice }
				r.source.fail(fault.CredentialsUnavailable)
			}, func(r *rig) {
				r.pass(recovery)
				r.wantEntry(0, 0, false)
				r.source.fail("")
				r.pass(2 * time.Second)
				if !r.wantEntry(0, 0, true).Valid {
					t.Errorf("recovery at %s, dice %.1f: calls at %v", recovery, dice, r.source.times(""))
				}
			})
		}
	}
}
