package sim

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/token"
)

// site is one scope as AWS sees it.
type site struct {
	n         int
	scope     token.Scope
	registers int // registries in it
	life      time.Duration
	rng       *rand.Rand
	serial    int
	trouble   trouble
	since     time.Duration // free of trouble since then
	renewals  int
}

// trouble is what a site's callers meet.
type trouble struct {
	kind  string        // "": none; slow, hang, expired; else a class
	share float64       // of the calls that meet it
	slow  time.Duration // for slow: at most
}

// issue is a token that AWS gave.
type issue struct {
	site            *site
	serial          int
	issued, expires time.Time // as the answer says
}

func (t *issue) valid(now time.Time) bool {
	margin := min(time.Minute, t.expires.Sub(t.issued)/10)
	return now.Add(margin).Before(t.expires)
}

// source is AWS as one process meets it.
type source struct {
	w *world
	p *process
}

func (s source) Token(ctx context.Context, sc token.Scope) (token.Token, error) {
	w, p := s.w, s.p
	w.mu.Lock()
	st := w.byScope[sc]
	if p.dead {
		w.mu.Unlock()
		return token.Token{}, errDead
	}
	p.calls[st.n].start(w, p, st)
	kind := ""
	if st.trouble.kind != "" && st.rng.Float64() < st.trouble.share {
		kind = st.trouble.kind
	}
	takes := time.Duration(20+st.rng.IntN(280)) * time.Millisecond
	if kind == "slow" {
		takes += time.Duration(st.rng.Int64N(int64(st.trouble.slow)))
	}
	if skew := w.wall().Sub(w.trueNow()); kind == "" && skew.Abs() > 5*time.Minute && !p.calls[st.n].skewTold {
		kind, p.calls[st.n].skewTold = string(fault.ClockSkew), true // the SDK learns the difference from the refusal
	}
	transit := time.Duration(st.rng.Int64N(int64(min(takes, 800*time.Millisecond)))) // how old the answer is when it arrives
	if kind == "hang" {
		takes = time.Hour
	}
	w.mu.Unlock()

	wait := time.NewTimer(w.until(slotSite+st.n, takes))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		w.nap(slotSite+st.n, time.Microsecond) // those that were asked at once run out of time at once
	case <-p.gone:
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case p.dead || p.stopping:
		return token.Token{}, errDead
	case ctx.Err() != nil:
		p.ended(st, fault.Timeout)
		return token.Token{}, ctx.Err()
	}
	now := w.trueNow().Add(-transit)
	t := token.Token{Issued: now.Truncate(time.Second), Expires: now.Add(st.life)}
	switch kind {
	case "", "slow":
	case "expired":
		t.Auth, t.Expires = secret.New("expired"), now.Add(-time.Second)
		p.ended(st, fault.InvalidResponse)
		return t, nil
	default:
		p.ended(st, fault.Class(kind))
		return token.Token{}, &fault.Error{Class: fault.Class(kind), Op: "get a token", Err: errors.New("injected: " + kind), Cure: "wait"}
	}
	st.serial++
	st.renewals++
	w.stats.renewals++
	auth := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "AWS:seed%d-site%d-%08d", w.cfg.seed, st.n, st.serial))
	w.issued[auth] = &issue{st, st.serial, t.Issued, t.Expires}
	t.Auth = secret.New(auth)
	w.sums[t.Auth.Sum()] = w.issued[auth]
	p.answered[st.n] = answered{w.mono(), w.trueNow(), t.Expires.Sub(t.Issued)}
	if p.anchored < 0 {
		p.oriented = w.mono()
	}
	p.anchored = w.mono()
	w.event("issued", st.n, st.serial)
	p.calls[st.n].success(w, t.Expires.Sub(t.Issued))
	p.count(st, "")
	w.kick()
	return t, nil
}

// Accepts is the registry's side: in some worlds it rejects a token now and then.
func (s source) Accepts(ctx context.Context, host string, auth secret.Secret) error {
	w, p := s.w, s.p
	w.mu.Lock()
	n := w.number[host]
	takes := time.Duration(10+w.verdicts[n].IntN(500)) * time.Millisecond
	reject := w.verdicts[n].Float64() < w.cfg.rejects
	w.mu.Unlock()
	wait := time.NewTimer(w.until(slotHost+n, takes))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		w.nap(slotHost+n, time.Microsecond)
		return ctx.Err()
	case <-p.gone:
		return errDead
	}
	if !reject {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.issued[auth.Reveal()] == nil {
		w.breach("%s is asked about a token that AWS never issued", host)
	}
	st := w.siteOf[host]
	p.calls[st.n].trigger(w)
	w.stats.rejections++
	return &fault.Error{Class: fault.TokenRejected, Op: "ask " + host, Err: errors.New("401")}
}

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
