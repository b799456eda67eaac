package refresh

import (
	"math"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
)

const almost = 1 - 0x1p-53 // the greatest that Rand returns

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestDue(t *testing.T) {
	day := Policy{RenewAt: 0.5, Jitter: 0.2, MaxAge: 6 * time.Hour}
	for _, c := range []struct {
		name   string
		policy Policy
		life   time.Duration
		u      float64
		want   time.Duration // after issue
	}{
		{"no jitter: half of the life", DefaultPolicy(), fullLife, 0, 6 * time.Hour},
		{"most jitter: a fifth earlier", DefaultPolicy(), fullLife, almost, 4*time.Hour + 48*time.Minute},
		{"half of the jitter", DefaultPolicy(), fullLife, 0.5, 5*time.Hour + 24*time.Minute},
		{"jitter off", Policy{RenewAt: 0.5, MaxAge: fullLife}, fullLife, almost, 6 * time.Hour},
		{"half of the life is below the greatest age", day, 12*time.Hour - 2, 0, 6*time.Hour - 1},
		{"half of the life is the greatest age", day, 12 * time.Hour, 0, 6 * time.Hour},
		{"half of the life is above the greatest age", day, 12*time.Hour + 2, 0, 6 * time.Hour},
		{"the greatest age has jitter too", Policy{RenewAt: 0.5, Jitter: 0.2, MaxAge: time.Hour}, fullLife, almost, 48 * time.Minute},
		{"a second", DefaultPolicy(), time.Second, 0, 500 * time.Millisecond},
		{"two nanoseconds", DefaultPolicy(), 2, 0, 1},
		{"one nanosecond", DefaultPolicy(), 1, almost, 0},
		{"born expired", DefaultPolicy(), 0, almost, 0},
		{"expired before it was born", DefaultPolicy(), -fullLife, almost, 0},
	} {
		// One nanosecond is what a float of u may round away.
		if got := c.policy.Due(noon, noon.Add(c.life), c.u).Sub(noon); (got - c.want).Abs() > 1 {
			t.Errorf("%s: due after %s, want %s", c.name, got, c.want)
		}
	}
}

func TestDueIsNeverLate(t *testing.T) {
	for _, life := range []time.Duration{-1, 0, 1, time.Second, time.Minute, time.Hour, fullLife, 13 * time.Hour} {
		for _, u := range []float64{0, 0.001, 0.5, 0.999, almost} {
			for _, p := range []Policy{DefaultPolicy(), {RenewAt: 0.99, Jitter: 0.99, MaxAge: time.Minute}, {RenewAt: 0.01, MaxAge: 1}} {
				got := p.Due(noon, noon.Add(life), u).Sub(noon)
				if got < 0 || got > max(0, min(p.MaxAge, time.Duration(p.RenewAt*float64(life)))) {
					t.Errorf("%+v, life %s, u %v: due after %s", p, life, u, got)
				}
			}
		}
	}
}

func TestValid(t *testing.T) {
	for _, c := range []struct {
		name         string
		life, margin time.Duration // valid until margin before the end, and not then
	}{
		{"12 hours", fullLife, time.Minute},
		{"just above ten minutes", 10*time.Minute + 10, time.Minute},
		{"ten minutes", 10 * time.Minute, time.Minute},
		{"just below ten minutes", 10*time.Minute - 10, time.Minute - 1},
		{"a minute", time.Minute, 6 * time.Second},
		{"a second", time.Second, 100 * time.Millisecond},
		{"ten nanoseconds", 10, 1},
		{"nothing", 0, 0},
	} {
		expires := noon.Add(c.life)
		end := expires.Add(-c.margin)
		for now, want := range map[time.Time]bool{noon: c.life > 0, end.Add(-1): true, end: false, end.Add(1): false, expires: false, expires.Add(1): false} {
			if got := Valid(now, noon, expires); got != want {
				t.Errorf("%s: valid is %t at %s before the end, want %t", c.name, got, expires.Sub(now), want)
			}
		}
	}
}

func TestBackoff(t *testing.T) {
	const s, m = time.Second, time.Minute
	held := func(c fault.Class, count int, left float64) Failure {
		return Failure{Class: c, Count: count, Age: time.Hour, Held: true, Left: left}
	}
	for _, c := range []struct {
		name   string
		f      Failure
		lo, hi time.Duration // for u = 0 and u → 1
	}{
		{"transient, first", held(fault.Network, 1, 0.5), s, s},
		{"transient, second", held(fault.Network, 2, 0.5), s, 2 * s},
		{"transient, third", held(fault.Timeout, 3, 0.5), s, 4 * s},
		{"transient, ninth", held(fault.ServerError, 9, 0.5), s, 256 * s},
		{"transient, tenth", held(fault.ServerError, 10, 0.5), s, 5 * m},
		{"transient, eleventh", held(fault.ServerError, 11, 0.5), s, 5 * m},
		{"transient, the greatest count", held(fault.ServerError, math.MaxInt, 0.5), s, 5 * m},
		{"no count", held(fault.Network, 0, 0.5), s, s},
		{"a count below none", held(fault.Network, math.MinInt+1, 0.5), s, s},

		{"throttled, first: perhaps the only one", held(fault.Throttled, 1, 0.5), 1250 * time.Millisecond, 5 * s},
		{"throttled, second", held(fault.Throttled, 2, 0.5), 6250 * time.Millisecond, 25 * s},
		{"throttled, third", held(fault.Throttled, 3, 0.5), 11250 * time.Millisecond, 45 * s},
		{"throttled, fifteenth", held(fault.Throttled, 15, 0.5), 71250 * time.Millisecond, 285 * s},
		{"throttled, sixteenth", held(fault.Throttled, 16, 0.5), 75 * s, 5 * m},
		{"throttled, the greatest count", held(fault.Throttled, math.MaxInt, 0.5), 75 * s, 5 * m},
		{"throttled, no count", held(fault.Throttled, 0, 0.5), 1250 * time.Millisecond, 5 * s},
		{"throttled, a count below none", held(fault.Throttled, math.MinInt+1, 0.5), 1250 * time.Millisecond, 5 * s},
		{"throttled, nothing held", Failure{Class: fault.Throttled, Count: 2}, 6250 * time.Millisecond, 25 * s},

		{"skewed clock: at once, as the SDK has learnt the time", held(fault.ClockSkew, 1, 0.5), s, s},
		{"no class", Failure{Count: 2}, s, 2 * s},

		{"permanent before the first token, first", Failure{Class: fault.AccessDenied, Count: 1}, 5 * s, 5 * s},
		{"permanent before the first token, second", Failure{Class: fault.AccessDenied, Count: 2}, 5 * s, 10 * s},
		{"permanent before the first token, seventh", Failure{Class: fault.NoCredentials, Count: 7}, 5 * s, 5 * m},
		{"permanent before the first token, the greatest count", Failure{Class: fault.NoCredentials, Count: math.MaxInt}, 5 * s, 5 * m},
		{"permanent with a token, first", held(fault.AccessDenied, 1, 0.5), 30 * s, 30 * s},
		{"permanent with a token, second", held(fault.AccessDenied, 2, 0.5), 30 * s, m},
		{"permanent with a token, fourth", held(fault.AssumeRole, 4, 0.5), 30 * s, 4 * m},
		{"permanent with a token, fifth", held(fault.AssumeRole, 5, 0.5), 30 * s, 5 * m},

		{"a twentieth left is not yet urgent", held(fault.Network, 20, 0.05), s, 5 * m},
		{"less than a twentieth is", held(fault.Network, 20, 0.0499), s, 20 * s},
		{"urgent does not slow the first down", held(fault.Network, 1, 0.0499), s, s},
		{"expired", held(fault.Network, 20, 0), s, 20 * s},
		{"long expired", held(fault.Network, 20, -100), s, 20 * s},
		{"urgent and permanent", held(fault.AccessDenied, 20, 0.01), 20 * s, 20 * s},
		{"urgent and throttled: slowly all the same", held(fault.Throttled, 20, 0.01), 75 * s, 5 * m},
		{"nothing held is not urgent", Failure{Class: fault.Network, Count: 20}, s, 5 * m},

		{"agent starting", Failure{Class: fault.CredentialsUnavailable, Count: 20}, s, 2 * s},
		{"agent starting, first", Failure{Class: fault.CredentialsUnavailable, Count: 1}, s, s},
		{"agent starting, last moment", Failure{Class: fault.CredentialsUnavailable, Count: 20, Age: m - 1}, s, 2 * s},
		{"agent not starting any more", Failure{Class: fault.CredentialsUnavailable, Count: 20, Age: m}, s, 5 * m},
		{"agent starting is about its class alone", Failure{Class: fault.ServerError, Count: 20}, s, 5 * m},
		{"agent starting, token expired", Failure{Class: fault.CredentialsUnavailable, Count: 20, Held: true}, s, 2 * s},
	} {
		if lo := Backoff(c.f, 0); lo != c.lo {
			t.Errorf("%s: at least %s, want %s", c.name, lo, c.lo)
		}
		if hi := Backoff(c.f, almost); hi > c.hi || hi < c.hi-time.Microsecond {
			t.Errorf("%s: at most %s, want %s", c.name, hi, c.hi)
		}
	}
}

func TestBackoffStaysWithinItsBounds(t *testing.T) {
	classes := append(fault.Classes(), "", "unheard_of")
	for _, class := range classes {
		for _, count := range []int{math.MinInt + 1, -1, 0, 1, 2, 3, 8, 9, 10, 17, 18, 64, 65, 1 << 40, math.MaxInt} {
			for _, age := range []time.Duration{-time.Hour, 0, time.Minute - 1, time.Minute, math.MaxInt64} {
				for _, left := range []float64{math.Inf(-1), -1, 0, 0.05, 0.051, 1, math.NaN()} {
					for _, isHeld := range []bool{false, true} {
						f := Failure{class, count, age, isHeld, left}
						before := time.Duration(0)
						for _, u := range []float64{0, 0.25, 0.5, 0.75, almost} {
							d := Backoff(f, u)
							if d < MinInterval || d > 5*time.Minute || d < before {
								t.Fatalf("%+v, u %v: %s after %s", f, u, d, before)
							}
							before = d
						}
					}
				}
			}
		}
	}
}

func TestFileBackoffs(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name  string
		after func(int) time.Duration
		want  []time.Duration // for 0, 1, 2, …; the last one for ever
	}{
		{"output", outputBackoff, []time.Duration{s, s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s}},
		{"contested", contestedBackoff, []time.Duration{10 * s, 10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 300 * s, 300 * s}},
	} {
		for n, want := range c.want {
			if got := c.after(n); got != want {
				t.Errorf("%s: %s after %d, want %s", c.name, got, n, want)
			}
		}
		for _, n := range []int{10, 1000, math.MaxInt} {
			if got, want := c.after(n), c.want[len(c.want)-1]; got != want {
				t.Errorf("%s: %s after %d, want %s", c.name, got, n, want)
			}
		}
	}
}

func TestPowerOfTen(t *testing.T) {
	for n, want := range map[int]bool{
		-10: false, -1: false, 0: false, 1: true, 2: false, 9: false, 10: true, 11: false, 20: false, 99: false, 100: true, 101: false,
		110: false, 1000: true, 1e18: true, math.MaxInt: false, math.MinInt: false,
	} {
		if got := PowerOfTen(n); got != want {
			t.Errorf("PowerOfTen(%d) is %t", n, got)
		}
	}
}
