package refresh

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/token"
)

func TestFirstToken(t *testing.T) {
	bubble(t, nil, nil, func(r *rig) {
		r.wantCalls(1)
		if got := r.files[0].writes(); !slices.Equal(got, []time.Duration{0}) {
			t.Errorf("written at %v, want at once", got)
		}
		e := r.wantEntry(0, 0, true)
		s := r.loop.View().Scopes[0]
		if !e.Expires.Equal(r.clock.epoch.Add(fullLife)) || !e.Issued.Equal(r.clock.epoch) || s.Expires != e.Expires || s.Issued != e.Issued {
			t.Errorf("entry %+v, scope %+v", e, s)
		}
		if want := r.clock.epoch.Add(6 * time.Hour); !s.Due.Equal(want) || s.Failures != 0 || s.Err != nil || s.Adopted {
			t.Errorf("scope %+v, want it due at %s", s, want)
		}
		if got := s.LastSuccess.Sub(r.clock.epoch); got.Abs() > time.Second || s.LastAttempt.Sub(r.clock.epoch).Abs() > time.Second {
			t.Errorf("last success %s, last attempt %s", s.LastSuccess, s.LastAttempt)
		}
		if r.seen.attempted("") != 1 || r.seen.writes(written{"out0", false, ""}) != 1 || len(r.seen.written) != 1 {
			t.Errorf("observed %+v", r.seen)
		}
		line := r.wantLines("token written", 1)[0]
		if line["renew_in"] != 6*time.Hour-500*time.Millisecond && line["renew_in"] != 6*time.Hour || line["output"] != "out0" {
			t.Errorf("logged %v", line)
		}
		for _, e := range r.logs.All() {
			for k, v := range e.ContextMap() {
				if text, ok := v.(string); ok && strings.Contains(text, "sesame") {
					t.Errorf("the token is in the log: %s: %s", k, text)
				}
			}
		}
	})
}

func TestOneCallServesAllHostsOfAScope(t *testing.T) {
	bubble(t, []string{hostA + "?alias=a.example.com", hostB, hostC}, nil, func(r *rig) {
		r.wantCalls(2)
		_, sums := r.files[0].content()
		if len(sums) != 4 || sums[hostA] != sums[hostB] || sums[hostA] != sums["a.example.com"] || sums[hostA] == sums[hostC] {
			t.Errorf("the file holds %d entries", len(sums))
		}
		if r.seen.attempted("") != 3 {
			t.Errorf("%d attempts told, want one for each registry", r.seen.attempted(""))
		}
		for i := range 3 {
			r.wantEntry(0, i, true)
		}
	})
}

// A token is renewed from when it was issued, which the Date header tells to the second: on average 0.5 s late.
func TestRenewalTimes(t *testing.T) {
	for _, c := range []struct {
		u     float64
		every time.Duration
		calls int
	}{
		{0, 6*time.Hour - 500*time.Millisecond, 9},
		{0.999, 17284320*time.Millisecond - 500*time.Millisecond, 10},
	} {
		bubble(t, nil, func(r *rig) { r.cfg.Rand = func() float64 { return c.u } }, func(r *rig) {
			r.pass(48 * time.Hour)
			got := r.source.times("")
			if len(got) != c.calls {
				t.Fatalf("u %v: %d calls, want %d", c.u, len(got), c.calls)
			}
			for n, at := range got {
				// Each date is cut to the second, so an interval is off by a second at most, and the errors do not add up.
				if want := time.Duration(n) * c.every; (at - want).Abs() > time.Second*time.Duration(max(n, 1)) {
					t.Errorf("u %v: call %d at %s, want %s", c.u, n, at, want)
				}
			}
			if writes := r.files[0].writes(); !slices.Equal(writes, got) {
				t.Errorf("u %v: written at %v", c.u, writes)
			}
			r.wantEntry(0, 0, true)
		})
	}
}

func TestFailureAndRecovery(t *testing.T) {
	bubble(t, nil, nil, func(r *rig) {
		r.source.fail(fault.Network)
		r.pass(6*time.Hour + 3*time.Minute) // Rand is 0: an attempt each second
		r.source.fail(fault.Timeout)
		r.pass(2 * time.Second)
		failures := r.loop.View().Scopes[0].Failures
		if failures < 150 || failures != r.seen.attempted(fault.Network)+r.seen.attempted(fault.Timeout) {
			t.Errorf("%d failures", failures)
		}
		r.wantEntry(0, 0, true)
		r.source.fail("")
		r.pass(2 * time.Second)

		lines := r.wantLines("renewal failed", 4)
		for i, want := range []struct {
			class    fault.Class
			failures int64
		}{{fault.Network, 1}, {fault.Network, 10}, {fault.Network, 100}, {fault.Timeout, int64(r.seen.attempted(fault.Network)) + 1}} {
			l := lines[i]
			if l["class"] != string(want.class) || l["failures"] != want.failures || l["cure"] != "mend it" || l["retry_in"] != time.Second ||
				l["error"] != "do it: broken: "+string(want.class) || l["valid_for"].(time.Duration) < 5*time.Hour {
				t.Errorf("line %d is %v, want %+v", i, l, want)
			}
		}
		again := r.wantLines("renewal works again", 1)[0]
		if took := again["after"].(time.Duration); again["failures"].(int64) < 150 || took < 3*time.Minute || took > 4*time.Minute {
			t.Errorf("recovery is logged as %v", again)
		}
		if s := r.loop.View().Scopes[0]; s.Failures != 0 || s.Err != nil {
			t.Errorf("after recovery: %+v", s)
		}
		if len(r.files[0].writes()) != 2 {
			t.Errorf("written at %v", r.files[0].writes())
		}
	})
}

// Whatever the class, the process stays, the token in the file stays, and the calls keep their distance.
func TestEveryClassOfFailure(t *testing.T) {
	for _, class := range fault.Classes() {
		if class.OfOutput() {
			continue
		}
		rng := rand.New(rand.NewPCG(1, 2))
		bubble(t, nil, func(r *rig) { r.cfg.Rand = rng.Float64 }, func(r *rig) {
			_, before := r.files[0].content()
			r.source.fail(class)
			r.pass(fullLife - time.Minute - time.Second)
			r.wantEntry(0, 0, true)
			r.pass(2 * time.Second)
			r.wantEntry(0, 0, false)
			r.pass(2 * time.Hour)
			if _, after := r.files[0].content(); after[hostA] != before[hostA] || len(r.files[0].writes()) != 1 {
				t.Errorf("%s: the file was touched", class)
			}
			at := r.source.times("")
			if n := r.seen.attempted(class); n != len(at)-1 || n < 50 || r.loop.View().Scopes[0].Failures != n {
				t.Errorf("%s: %d failures told of %d calls", class, n, len(at))
			}
			for n := 2; n < len(at); n++ {
				lo, hi := MinInterval, min(time.Second<<min(n-2, 20), 5*time.Minute)
				if class.Permanent() {
					lo, hi = 30*time.Second, min(30*time.Second<<min(n-2, 20), 5*time.Minute)
				}
				if class == fault.Throttled {
					hi = min(time.Duration(5+20*(n-2))*time.Second, 5*time.Minute)
					lo = hi / 4
				}
				if urgent := at[n-1] > fullLife*19/20+time.Second; urgent && class != fault.Throttled {
					lo, hi = min(lo, 20*time.Second), min(hi, 20*time.Second)
				}
				if gap := at[n] - at[n-1]; gap < lo || gap > hi {
					t.Errorf("%s: attempt %d came %s after the one before, want %s to %s", class, n, gap, lo, hi)
				}
			}
			if line := r.lines("renewal failed")[0]; line["class"] != string(class) || line["cure"] != "mend it" || line["retry_in"] == nil {
				t.Errorf("%s: logged %v", class, line)
			}
			ended := r.logs.FilterMessage("the token has expired: pulls and pushes fail until it is renewed").All()
			if len(ended) != 1 || ended[0].Time.Sub(r.clock.epoch) < fullLife-time.Second || ended[0].Time.Sub(r.clock.epoch) > fullLife+time.Second ||
				ended[0].ContextMap()["class"] != string(class) || ended[0].ContextMap()["cure"] != "mend it" {
				t.Errorf("%s: the end of the token was not told once, and at that moment: %v", class, ended)
			}
		})
	}
}

func TestBornExpired(t *testing.T) {
	for name, spoil := range map[string]func(*token.Token){
		"no life":          func(b *token.Token) { b.Expires = b.Issued },
		"less than none":   func(b *token.Token) { b.Expires = b.Issued.Add(-time.Hour) },
		"gone on arrival":  func(b *token.Token) { b.Expires = b.Issued.Add(dateRounding) },
		"of another epoch": func(b *token.Token) { b.Issued = time.Unix(0, 0); b.Expires = b.Issued },
	} {
		bubble(t, nil, nil, func(r *rig) {
			r.source.set(func(_ context.Context, s token.Scope, _ int) (token.Token, error) {
				bad := r.source.good(s)
				spoil(&bad)
				return bad, nil
			})
			r.pass(6*time.Hour + time.Minute) // the fake fails the test for calls less than a second apart
			if n := r.seen.attempted(fault.InvalidResponse); n < 50 {
				t.Errorf("%s: %d failures told", name, n)
			}
			if v := r.loop.View(); v.Skew.Abs() > time.Second || Class(v.Scopes[0].Err) != fault.InvalidResponse || fault.CureOf(v.Scopes[0].Err) == "" {
				t.Errorf("%s: skew %s, error %v", name, v.Skew, v.Scopes[0].Err)
			}
			r.wantEntry(0, 0, true)
			if len(r.files[0].writes()) != 1 {
				t.Errorf("%s: the file was touched", name)
			}
		})
	}
}

func TestShortLivedTokens(t *testing.T) {
	for _, life := range []time.Duration{time.Second, 2 * time.Second, time.Minute} {
		bubble(t, nil, func(r *rig) { r.source.life = life }, func(r *rig) {
			r.pass(time.Minute) // the fake fails the test for calls less than a second apart
			if n := len(r.source.times("")); n < 2 || n > 61 {
				t.Errorf("life %s: %d calls in a minute", life, n)
			}
		})
	}
}

func TestHungCall(t *testing.T) {
	bubble(t, []string{hostA, hostC}, func(r *rig) {
		r.source.set(func(ctx context.Context, s token.Scope, n int) (token.Token, error) {
			if s.Region == "us-west-2" && n <= 2 {
				return hang(ctx)
			}
			return r.source.good(s), nil
		})
	}, func(r *rig) {
		r.pass(batchMost)
		r.wantEntry(0, 0, false)
		r.wantEntry(0, 1, true)
		r.pass(9 * time.Second)
		if err := r.loop.View().Scopes[0].Err; Class(err) != fault.Timeout {
			t.Errorf("a hung call ends as %v", err)
		}
		r.pass(time.Second)
		r.wantEntry(0, 0, true)
		if got := r.source.times("us-west-2"); !slices.Equal(got, []time.Duration{0, 11 * time.Second}) {
			t.Errorf("asked at %v", got)
		}
	})
}

func TestSourceThatIgnoresItsDeadline(t *testing.T) {
	bubble(t, []string{hostA, hostC}, func(r *rig) {
		r.source.set(func(_ context.Context, s token.Scope, _ int) (token.Token, error) {
			if s.Region == "us-west-2" {
				time.Sleep(7 * time.Hour)
			}
			return r.source.good(s), nil
		})
	}, func(r *rig) {
		r.pass(6*time.Hour + time.Second)
		r.wantEntry(0, 1, true)
		if n := len(r.source.times("eu-west-1")); n != 2 {
			t.Errorf("the other scope was asked %d times", n)
		}
		r.pass(time.Hour)
		r.wantEntry(0, 0, true) // late, and good
		if n := len(r.source.times("us-west-2")); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}
