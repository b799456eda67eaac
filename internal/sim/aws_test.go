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
	"ecr-refresher/internal/writer"
)

// aws is what is true of the scopes, the registries and their tokens.
type aws struct {
	sites    []*site
	byScope  map[token.Scope]*site
	siteOf   map[string]*site // by host
	number   map[string]int   // of a registry, by host
	verdicts []*rand.Rand     // by registry: whether it accepts a token
	hosts    []string
	ours     map[string]bool   // hosts
	issued   map[string]*issue // by auth
	sums     map[writer.Sum]*issue
}

func newAWS(cfg settings, rng *rand.Rand, stream func(n uint64) *rand.Rand) aws {
	a := aws{
		byScope: map[token.Scope]*site{}, siteOf: map[string]*site{}, number: map[string]int{}, ours: map[string]bool{},
		issued: map[string]*issue{}, sums: map[writer.Sum]*issue{},
	}
	for i, s := range cfg.specs {
		key := token.ScopeOf(s)
		st := a.byScope[key]
		if st == nil {
			st = &site{n: len(a.sites), scope: key, life: cfg.life, rng: stream(50 + uint64(len(a.sites)))}
			if !cfg.long && rng.IntN(4) == 0 {
				st.life = cfg.life + time.Duration(rng.Int64N(int64(cfg.life)))
			}
			st.life = min(st.life, 12*time.Hour)
			a.sites = append(a.sites, st)
			a.byScope[key] = st
		}
		st.registers++
		for _, h := range s.Hosts() {
			a.siteOf[h], a.ours[h], a.number[h] = st, true, i
			a.hosts = append(a.hosts, h)
		}
		a.verdicts = append(a.verdicts, stream(1000+uint64(i)))
	}
	return a
}

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
	p.sites[st.n].calls.start(w, p, st)
	kind := ""
	if st.trouble.kind != "" && st.rng.Float64() < st.trouble.share {
		kind = st.trouble.kind
	}
	takes := time.Duration(20+st.rng.IntN(280)) * time.Millisecond
	if kind == "slow" {
		takes += time.Duration(st.rng.Int64N(int64(st.trouble.slow)))
	}
	if skew := w.wall().Sub(w.trueNow()); kind == "" && skew.Abs() > 5*time.Minute && !p.sites[st.n].calls.skewTold {
		kind, p.sites[st.n].calls.skewTold = string(fault.ClockSkew), true // the SDK learns the difference from the refusal
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
	p.sites[st.n].answered = answered{w.mono(), w.trueNow(), t.Expires.Sub(t.Issued)}
	if p.anchored < 0 {
		p.oriented = w.mono()
	}
	p.anchored = w.mono()
	w.event("issued", st.n, st.serial)
	p.sites[st.n].calls.success(w, t.Expires.Sub(t.Issued))
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
	p.sites[st.n].calls.trigger(w)
	w.stats.rejections++
	return &fault.Error{Class: fault.TokenRejected, Op: "ask " + host, Err: errors.New("401")}
}

// seedNoise makes sites fail now and then throughout.
func (w *world) seedNoise() {
	for _, s := range w.sites {
		w.calm(s)
	}
}

// calm is a site's state without a trouble.
func (w *world) calm(s *site) {
	s.trouble = trouble{}
	if w.cfg.noise > 0 {
		s.trouble = trouble{kind: string(fault.ServerError), share: w.cfg.noise}
	}
	s.since = w.mono()
}

func (w *world) awsTrouble() {
	kinds := []trouble{
		{"hang", 1, 0}, {"hang", 0.5, 0}, {"slow", 1, 9 * time.Second}, {"expired", 1, 0}, {"expired", 0.3, 0},
		{string(fault.Network), 1, 0}, {string(fault.ServerError), 1, 0}, {string(fault.Throttled), 1, 0}, {string(fault.Throttled), 0.8, 0},
		{string(fault.AccessDenied), 1, 0}, {string(fault.AssumeRole), 1, 0}, {string(fault.CredentialsUnavailable), 1, 0}, {string(fault.CredentialsUnavailable), 0.5, 0},
		{string(fault.NoCredentials), 1, 0}, {string(fault.TLS), 1, 0}, {string(fault.BadRequest), 1, 0}, {string(fault.Network), 0.5, 0}, {string(fault.Timeout), 1, 0},
	}
	t := kinds[w.rng.IntN(len(kinds))]
	hit := w.sites
	if w.rng.IntN(2) == 0 {
		hit = w.sites[w.rng.IntN(len(w.sites)):][:1]
	}
	lasts := w.between(3*time.Second, w.cfg.life*5/2)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event("trouble", t.kind, len(hit), lasts)
	for _, s := range hit {
		s.trouble = t
	}
	w.in(lasts, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, s := range hit {
			w.calm(s)
		}
	})
}
