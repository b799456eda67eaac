package sim

import (
	"time"

	"ecr-refresher/internal/fault"
)

// calls is an account of one scope's calls by one process, kept beside a second reading of the policy.
type calls struct {
	asked    bool
	skewTold bool          // AWS has refused a call because of the date: the SDK knows the difference
	last     time.Duration // the start of the last call, on the elapsed clock
	end      time.Duration // and its end
	lo, hi   time.Duration // the next call is due so long after the end; hi 0: unknown
	sure     bool          // lo and hi are exact
	free     bool          // somebody asked for a call out of turn
	paused   int           // world.pauses at the end of the last call
	failed   int
	class    fault.Class
	gap      float64 // seconds that were waited less than the mean, in sum
	spread   float64 // the variance of that
	samples  int
	hour     []time.Duration // starts within an hour
	extra    int             // out of turn, since the process started
}

// trigger says that the next call may come out of turn.
func (c *calls) trigger(*world) { c.free = true; c.extra++ }

func (c *calls) start(w *world, p *process, st *site) {
	now := w.elapsed()
	w.event("call", st.n, p.n)
	w.stats.calls++
	if c.asked {
		gap := now - c.end
		switch {
		case now-c.last < time.Second:
			w.breach("site %d is asked at %s and at %s, less than a second apart", st.n, c.last, now)
		case c.free || c.hi == 0:
		case gap < c.lo-time.Millisecond:
			w.breach("site %d is asked again after %s, and %s at the least is the policy (after %q, %d in a row)", st.n, gap, c.lo, c.class, c.failed)
		case gap > c.hi+2*time.Second && c.paused == w.pauses:
			w.breach("site %d is asked again after %s, and %s at the most is the policy (after %q, %d in a row)", st.n, gap, c.hi, c.class, c.failed)
		case c.sure && c.failed > 0 && c.hi > c.lo && c.paused == w.pauses:
			c.samples++
			c.gap += (gap - (c.lo+c.hi)/2).Seconds()
			d := (c.hi - c.lo).Seconds()
			c.spread += d * d / 12
			if c.gap < 0 && c.gap*c.gap > 36*c.spread && c.samples > 10 {
				w.breach("site %d is hammered: %d retries came %.0f s sooner than a full jitter has them come", st.n, c.samples, -c.gap)
			}
		}
	}
	for len(c.hour) > 0 && now-c.hour[0] > time.Hour {
		c.hour = c.hour[1:]
	}
	c.hour = append(c.hour, now)
	// 20 s at the most, 10.5 on average, near the end of a token; a renewal at 0.4 of its life at the earliest.
	if most := 450 + 60 + int(time.Hour/(st.life*2/5)) + c.extra; len(c.hour) > most {
		w.breach("site %d is asked %d times within an hour: %d is the bound", st.n, len(c.hour), most)
	}
	c.asked, c.free, c.last = true, false, now
}

func (c *calls) success(w *world, life time.Duration) {
	c.end, c.failed, c.class, c.paused = w.elapsed(), 0, "", w.pauses
	c.lo, c.hi, c.sure = max(life*4/10-time.Second, 0), max(life/2, time.Second), false
}

// failure notes what the policy says of the next call.
func (c *calls) failure(w *world, p *process, st *site, class fault.Class) {
	c.failed++
	c.class, c.end, c.paused = class, w.elapsed(), w.pauses
	held, left, known := p.left(w, st)
	limits := func(urgent bool) (lo, hi time.Duration) {
		lo, hi = time.Second, time.Second
		if permanent[class] {
			lo = 5 * time.Second
			if held {
				lo = 30 * time.Second
			}
			hi = lo
		}
		for range min(c.failed-1, 12) {
			hi = min(2*hi, 5*time.Minute)
		}
		if class == fault.Throttled { // its waits are make fleet's to judge
			return time.Second, 5 * time.Minute
		}
		if held && urgent {
			hi = min(hi, 20*time.Second)
		}
		if class == fault.CredentialsUnavailable && w.elapsed()-p.born < time.Minute {
			hi = min(hi, 2*time.Second)
		}
		return min(lo, hi), hi
	}
	c.lo, c.hi = limits(left < 0.05)
	c.sure = known && class != fault.Throttled
	if !known {
		lo, hi := limits(left >= 0.05)
		c.lo, c.hi = min(c.lo, lo), max(c.hi, hi)
	}
}

// permanent are the classes that stay until somebody changes something.
var permanent = map[fault.Class]bool{fault.NoCredentials: true, fault.AccessDenied: true, fault.AssumeRole: true, fault.TLS: true, fault.BadRequest: true}
