package refresh

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/token"
)

// One scope hangs, one is denied, one is throttled: the other seven do not notice.
func TestIsolation(t *testing.T) {
	const bad = 3
	bubble(t, many(10), func(r *rig) {
		r.retrySlowly()
		r.source.takes = 20 * time.Millisecond
		r.source.set(func(ctx context.Context, s token.Scope, _ int) (token.Token, error) {
			switch nth(s) {
			case 0:
				return hang(ctx)
			case 1:
				return token.Token{}, broken(fault.AccessDenied)
			case 2:
				return token.Token{}, broken(fault.Throttled)
			}
			return r.source.good(s), nil
		})
	}, func(r *rig) {
		r.pass(20*time.Millisecond + batchQuiet)
		for i := range 10 {
			r.wantEntry(0, i, i >= bad)
		}
		r.pass(24 * time.Hour)
		for i, at := range r.source.perScope() {
			if i < bad {
				if len(at) < 24*11 {
					t.Errorf("scope %d was asked %d times", i, len(at))
				}
				continue
			}
			if len(at) != 5 {
				t.Fatalf("scope %d was asked at %v", i, at)
			}
			for n := range 4 {
				if gap := at[n+1] - at[n]; gap < 6*time.Hour-2*time.Second || gap > 6*time.Hour {
					t.Errorf("scope %d was renewed after %s", i, gap)
				}
			}
		}
		for i := range 10 {
			r.wantEntry(0, i, i >= bad)
		}
		if n := len(r.files[0].writes()); n < 5 || n > 10 {
			t.Errorf("%d writes", n)
		}
		if o := r.loop.View().Outputs[0]; o.Repairs != 0 {
			t.Errorf("%d repairs of a file that nobody changed", o.Repairs)
		}
	})
}

// Scopes that hang hold their places until their deadline, and every other scope gets its first token through the last one.
func TestParallelIsBoundedAndHungScopesStarveNobody(t *testing.T) {
	bubble(t, many(100), func(r *rig) {
		r.retrySlowly()
		r.cfg.Parallel = 4
		r.source.takes = 20 * time.Millisecond
		r.source.set(func(ctx context.Context, s token.Scope, _ int) (token.Token, error) {
			if nth(s) < 3 {
				return hang(ctx)
			}
			return r.source.good(s), nil
		})
	}, func(r *rig) {
		r.pass(97*20*time.Millisecond + batchQuiet)
		for i := range 100 {
			r.wantEntry(0, i, i >= 3)
		}
		if most := r.source.atOnce(); most != 4 {
			t.Errorf("%d calls at once", most)
		}
		if n := len(r.files[0].writes()); n > 3 {
			t.Errorf("%d writes", n)
		}
		r.pass(7 * time.Hour)
		for i := range 100 {
			r.wantEntry(0, i, i >= 3)
		}
		if most := r.source.atOnce(); most != 4 {
			t.Errorf("%d calls at once", most)
		}
	})
}

// As many hang as may be under way: the others wait for the first deadline, and then come before the retries.
func TestFirstCallsComeBeforeRetries(t *testing.T) {
	bubble(t, many(20), func(r *rig) {
		r.cfg.Parallel = 4
		r.source.set(func(ctx context.Context, s token.Scope, _ int) (token.Token, error) {
			if nth(s) < 4 {
				return hang(ctx)
			}
			return r.source.good(s), nil
		})
	}, func(r *rig) {
		r.pass(10*time.Second + batchMost)
		for i := range 20 {
			r.wantEntry(0, i, i >= 4)
		}
	})
}

func TestRenewalsAreNotStarvedByRetries(t *testing.T) {
	bubble(t, many(20), func(r *rig) {
		r.retrySlowly()
		r.cfg.Parallel = 4
		r.source.set(func(ctx context.Context, s token.Scope, n int) (token.Token, error) {
			if nth(s) < 8 && n > 20 {
				return hang(ctx)
			}
			return r.source.good(s), nil
		})
	}, func(r *rig) {
		r.pass(13 * time.Hour)
		for i := range 20 {
			r.wantEntry(0, i, i >= 8)
		}
		for i, at := range r.source.perScope() {
			for n := 1; i >= 8 && n < len(at); n++ {
				if gap := at[n] - at[n-1]; gap > 6*time.Hour+time.Minute {
					t.Errorf("scope %d was renewed after %s", i, gap)
				}
			}
		}
	})
}

func TestBatches(t *testing.T) {
	const ms = time.Millisecond
	takes := func(took ...time.Duration) func(r *rig) { // the calls of the scopes, in order
		return func(r *rig) {
			r.source.set(func(_ context.Context, s token.Scope, _ int) (token.Token, error) {
				time.Sleep(took[nth(s)%len(took)])
				return r.source.good(s), nil
			})
		}
	}
	for _, c := range []struct {
		name   string
		scopes int
		setup  func(r *rig)
		want   []time.Duration // the writes
	}{
		{"one", 1, takes(20 * ms), []time.Duration{20 * ms}},
		{"a hundred, in two rounds", 100, takes(20 * ms), []time.Duration{40 * ms}},
		{"a hundred, four at a time", 100, func(r *rig) { r.cfg.Parallel = 4; takes(20 * ms)(r) }, []time.Duration{500 * ms}},
		{"the last one is not waited for when all are there", 3, takes(0, 10*ms, 20*ms), []time.Duration{20 * ms}},
		{"a slow one is waited for shortly", 2, takes(0, 49*ms), []time.Duration{49 * ms}},
		{"and not longer", 2, takes(0, 200*ms), []time.Duration{batchQuiet, 200 * ms}},
		{"a trickle is written after a second", 30, takes(trickle(30, 39*ms)...), []time.Duration{batchMost, 29 * 39 * ms}},
	} {
		bubble(t, many(c.scopes), c.setup, func(r *rig) {
			r.pass(time.Minute + time.Second)
			if got := r.files[0].writes(); !slices.Equal(got, c.want) {
				t.Errorf("%s: written at %v, want %v", c.name, got, c.want)
			}
			if n := r.seen.writes(written{"out0", false, ""}); n != len(c.want) {
				t.Errorf("%s: %d writes told", c.name, n)
			}
			r.wantLines("output repaired", 0)
			for i := range c.scopes {
				r.wantEntry(0, i, true)
			}
			names := 0
			for _, l := range r.wantLines("token written", len(c.want)) {
				names += len(l["registries"].([]any))
			}
			if want := c.scopes; names != want && want <= 10 {
				t.Errorf("%s: the log names %d registries", c.name, names)
			}
		})
	}
}

func trickle(n int, gap time.Duration) []time.Duration {
	took := make([]time.Duration, n)
	for i := range took {
		took[i] = time.Duration(i) * gap
	}
	return took
}

// What was put in with a repair while its batch was open is a new token, not a repair.
func TestRepairDuringABatch(t *testing.T) {
	bubble(t, many(3), func(r *rig) {
		r.source.set(func(ctx context.Context, s token.Scope, _ int) (token.Token, error) {
			switch nth(s) {
			case 1:
				time.Sleep(100 * time.Millisecond)
			case 2:
				return hang(ctx)
			}
			return r.source.good(s), nil
		})
	}, func(r *rig) {
		r.pass(110 * time.Millisecond) // the first is written, the second waits for the end of its batch
		r.files[0].edit(func(*fakeFile) {})
		r.pass(time.Second)
		r.wantEntry(0, 1, true)
		if o := r.loop.View().Outputs[0]; o.Repairs != 0 || r.seen.writes(written{"out0", true, ""}) != 0 {
			t.Errorf("%d repairs of a file that nobody changed", o.Repairs)
		}
		r.wantLines("token written", 2)
	})
}

// A token that comes while the file is being written is in the line of its own write.
func TestTokenDuringAWrite(t *testing.T) {
	bubble(t, many(2), func(r *rig) {
		r.files[0].takes = time.Second
		r.source.set(func(_ context.Context, s token.Scope, _ int) (token.Token, error) {
			if nth(s) == 1 {
				time.Sleep(500 * time.Millisecond)
			}
			return r.source.good(s), nil
		})
	}, func(r *rig) {
		r.pass(10 * time.Second)
		for i, line := range r.wantLines("token written", 2) {
			if names := line["registries"].([]any); len(names) != 1 || names[0] != r.cfg.Registries[i].Name {
				t.Errorf("line %d names %v", i, names)
			}
		}
	})
}

// A quiet day is at most ten lines at the default level, whatever the number of tokens; each scope's first one is told.
func TestQuietDay(t *testing.T) {
	for _, scopes := range []int{1, 2, 50} {
		bubble(t, many(scopes), func(r *rig) { r.cfg.Rand = rand.New(rand.NewPCG(1, 2)).Float64 }, func(r *rig) {
			r.pass(time.Minute)
			start := len(r.logs.FilterLevelExact(zapcore.InfoLevel).All())
			for day := range 5 {
				r.pass(24 * time.Hour)
				now := len(r.logs.FilterLevelExact(zapcore.InfoLevel).All())
				if n := now - start; n > 10 || n < 3 {
					t.Errorf("%d scopes, day %d: %d lines", scopes, day, n)
				}
				start = now
			}
		})
	}
}
