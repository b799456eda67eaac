package refresh

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/secret"
)

// rejecting answers of a verifier: these hosts reject every token.
func rejecting(hosts ...string) func(context.Context, string, secret.Secret) error {
	return func(_ context.Context, host string, _ secret.Secret) error {
		if slices.Contains(hosts, host) {
			return broken(fault.TokenRejected)
		}
		return nil
	}
}

func (r *rig) wantAccepted(want ...Acceptance) {
	r.Helper()
	v := r.loop.View()
	for i, w := range want {
		if got := v.Registries[i].Accepted; got != w {
			r.Errorf("at %s: registry %d: %d, want %d (%v)", r.clock.since(), i, got, w, v.Registries[i].Err)
		}
	}
}

func TestAccepted(t *testing.T) {
	bubble(t, []string{hostA, hostB, hostC}, func(r *rig) { r.cfg.Verifier = r.verifier }, func(r *rig) {
		r.wantAccepted(Accepted, Accepted, Accepted)
		r.pass(6 * time.Hour)
		r.wantAccepted(Accepted, Accepted, Accepted)
		if n := len(r.verifier.times()); n != 6 {
			t.Errorf("asked %d times for two issues of three registries", n)
		}
		r.wantCalls(4)
	})
}

func TestNobodyIsAskedBeforeTheFileIsWritten(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		r.cfg.Verifier = r.verifier
		r.files[0].err = broken(fault.OutputFull)
	}, func(r *rig) {
		r.pass(time.Hour)
		if n := len(r.verifier.times()); n != 0 {
			t.Errorf("asked %d times", n)
		}
		r.files[0].edit(func(f *fakeFile) { f.err = nil })
		r.pass(30 * time.Second)
		r.wantAccepted(Accepted)
	})
}

func TestRejectedByAll(t *testing.T) {
	bubble(t, []string{hostA, hostB}, func(r *rig) {
		r.cfg.Verifier = r.verifier
		r.verifier.set(rejecting(hostA, hostB))
	}, func(r *rig) {
		r.pass(2 * time.Hour)
		// One renewal at once; then 30 s, the least of a permanent class, as Rand is 0.
		at := r.source.times("")
		for i, want := range []time.Duration{0, time.Second, 31 * time.Second, 61 * time.Second} {
			if at[i] != want {
				t.Errorf("call %d at %s, want %s", i, at[i], want)
			}
		}
		for i := 3; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < 30*time.Second {
				t.Errorf("call %d came after %s", i, gap)
			}
		}
		r.wantAccepted(Rejected, Rejected)
		r.wantEntry(0, 0, true) // no part of health
		if n := r.seen.rejections(); n != 2*len(at) {
			t.Errorf("%d rejections told of %d tokens", n, len(at))
		}
		for _, l := range r.wantLines("registry rejects the token", 2) { // not again with every token
			if l["class"] != string(fault.TokenRejected) || l["cure"] != "mend it" || l["retry_in"] != time.Second {
				t.Errorf("logged %v", l)
			}
		}
		r.verifier.set(nil)
		r.pass(time.Minute)
		r.wantAccepted(Accepted, Accepted)
		r.wantLines("registry accepts the token again", 2)
		before := len(r.source.times(""))
		r.pass(5 * time.Hour)
		r.wantCalls(before)
		if n := r.loop.View().Scopes[0].Failures; n != 0 {
			t.Errorf("%d failures to renew", n)
		}
		r.verifier.set(rejecting(hostA, hostB)) // again: the first renewal is at once again
		r.loop.Renew()
		r.pass(2 * time.Second)
		r.wantCalls(before + 2)
	})
}

// The back-off grows with each token that is rejected, not with each registry that rejects it.
func TestRejectedByAllBacksOff(t *testing.T) {
	bubble(t, []string{hostA, hostB}, func(r *rig) {
		r.retrySlowly()
		r.cfg.Verifier = r.verifier
		r.verifier.set(rejecting(hostA, hostB))
	}, func(r *rig) {
		r.pass(time.Hour)
		at := r.source.times("")
		for i, want := range []time.Duration{time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
			if gap := at[i+1] - at[i]; gap < want-time.Microsecond || gap > want {
				t.Errorf("renewal %d after %s, want %s", i+1, gap, want)
			}
		}
	})
}

// A registry that rejects what another of its scope accepts is a matter of permissions: a renewal changes nothing. Nor may
// the order of the answers matter.
func TestRejectedByOneOfTwo(t *testing.T) {
	for _, bad := range []string{hostA, hostB} {
		for _, slow := range []string{hostA, hostB} {
			bubble(t, []string{hostA, hostB}, func(r *rig) {
				r.cfg.Verifier = r.verifier
				r.verifier.set(func(ctx context.Context, host string, auth secret.Secret) error {
					if host == slow {
						time.Sleep(5 * time.Second)
					}
					return rejecting(bad)(ctx, host, auth)
				})
			}, func(r *rig) {
				r.pass(5 * time.Hour)
				r.wantCalls(1)
				if bad == hostA {
					r.wantAccepted(Rejected, Accepted)
				} else {
					r.wantAccepted(Accepted, Rejected)
				}
				line := r.wantLines("registry rejects the token", 1)[0]
				if line["registry"] != bad || line["retry_in"].(time.Duration) < 5*time.Hour {
					t.Errorf("logged %v", line)
				}
			})
		}
	}
}

// The same where the other registry has to wait for its turn to be asked.
func TestRejectedByOneOfTwoInTurn(t *testing.T) {
	bubble(t, []string{hostA, hostB}, func(r *rig) {
		r.cfg.Parallel = 1
		r.cfg.Verifier = r.verifier
		r.verifier.set(rejecting(hostA))
	}, func(r *rig) {
		r.pass(time.Hour)
		r.wantCalls(1)
		r.wantAccepted(Rejected, Accepted)
	})
}

func TestNotReachable(t *testing.T) {
	bubble(t, []string{hostA, hostC}, func(r *rig) {
		r.cfg.Verifier = r.verifier
		r.verifier.set(func(ctx context.Context, host string, _ secret.Secret) error {
			if host == hostA {
				return errors.New("no route to host")
			}
			<-ctx.Done()
			return ctx.Err()
		})
	}, func(r *rig) {
		r.pass(5 * time.Hour)
		r.wantAccepted(Unknown, Unknown)
		if err := r.loop.View().Registries[0].Err; Class(err) != fault.Network {
			t.Errorf("told as %v", err)
		}
		r.wantCalls(2)
		if r.seen.rejections() != 0 || len(r.lines("registry rejects the token")) != 0 {
			t.Error("told as a rejection")
		}
	})
}

func TestAnswerAboutAnOlderToken(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		r.cfg.Verifier = r.verifier
		first := true
		r.verifier.set(func(context.Context, string, secret.Secret) error {
			r.verifier.mu.Lock()
			slow := first
			first = false
			r.verifier.mu.Unlock()
			if slow {
				time.Sleep(8 * time.Second)
				return broken(fault.TokenRejected)
			}
			return nil
		})
	}, func(r *rig) {
		r.pass(2 * time.Second)
		r.loop.Renew()
		r.pass(0)
		r.wantAccepted(Accepted)
		r.pass(time.Hour)
		r.wantAccepted(Accepted)
		r.wantCalls(2)
		if r.seen.rejections() != 0 {
			t.Error("the answer was taken for one about the newer token")
		}
		r.verifier.set(rejecting(hostA))
		r.loop.Renew()
		r.pass(2 * time.Second)
		r.wantAccepted(Rejected)
		r.wantCalls(4) // nor does the loop wait for it when it judges the next one
	})
}

func TestHourly(t *testing.T) {
	for _, hourly := range []bool{true, false} {
		bubble(t, []string{hostA, hostC}, func(r *rig) {
			r.cfg.Verifier, r.cfg.VerifyHourly = r.verifier, hourly
		}, func(r *rig) {
			r.pass(5*time.Hour + 10*time.Minute)
			want := 2
			if hourly {
				want += 2 * 5
			}
			if at := r.verifier.times(); len(at) != want {
				t.Errorf("hourly is %t: asked at %v", hourly, at)
			}
			if !hourly {
				return
			}
			r.verifier.set(rejecting(hostA)) // revoked
			r.pass(time.Hour)
			r.wantAccepted(Rejected, Accepted)
			if n := len(r.source.times("us-west-2")); n < 2 {
				t.Errorf("%d calls: a revoked token is renewed", n)
			}
		})
	}
}

func TestManyRegistriesThatHang(t *testing.T) {
	bubble(t, many(20), func(r *rig) {
		r.cfg.Parallel = 4
		r.cfg.Verifier = r.verifier
		r.verifier.set(func(ctx context.Context, _ string, _ secret.Secret) error { <-ctx.Done(); return ctx.Err() })
	}, func(r *rig) {
		r.pass(time.Minute)
		at := r.verifier.times()
		if len(at) != 20 {
			t.Fatalf("%d were asked", len(at))
		}
		for i, at := range at { // four at a time
			if want := time.Duration(i/4) * 10 * time.Second; at != want {
				t.Errorf("question %d at %s, want %s", i, at, want)
			}
		}
		r.wantCalls(20)
		r.wantEntry(0, 19, true)
	})
}
