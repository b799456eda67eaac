package refresh

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

// scope is the loop's own record of one scope. Only the loop's goroutine touches it.
type scope struct {
	state      ScopeState
	registries []int

	grant       *writer.Grant // the token in hand; nil where there is none
	told        bool          // the log has told of a token of this scope
	tell        bool          // the next failure is logged whatever it is: somebody asked
	lapsed      *writer.Grant // the token of whose end the log has told
	publication int           // of the token in hand
	due         time.Duration // of the next call, on the elapsed clock
	called      time.Duration // of the last call
	asked       bool          // at least once
	inFlight    bool
	failing     time.Duration // since when, while state.Failures > 0
	verifying   int           // registries that have not said yet whether they accept the token in hand
	rejected    int           // tokens in a row that no registry accepted
}

// dateRounding is what a Date header lacks on average: it is cut to whole seconds.
const dateRounding = 500 * time.Millisecond

// errDeadline is the cause of an attempt's end when its own time is up, as opposed to the process being stopped.
var errDeadline error = deadline{}

// deadline is a net.Error that says that time is up, as context.DeadlineExceeded is.
type deadline struct{}

func (deadline) Error() string   { return "no answer in time" }
func (deadline) Timeout() bool   { return true }
func (deadline) Temporary() bool { return true }

// startFetch asks for a scope's token in a goroutine of its own, so that a scope which hangs harms no other.
func (l *Loop) startFetch(ctx context.Context, s *scope) {
	s.inFlight, s.asked = true, true
	s.called = l.clock.Elapsed()
	s.state.LastAttempt = l.now()
	l.dirty = true
	l.fetching++
	l.flights.Go(func() {
		attempt, cancel := context.WithTimeoutCause(ctx, l.cfg.Timeout, errDeadline)
		defer cancel()
		start := time.Now()
		t, err := l.cfg.Source.Token(attempt, s.state.Scope)
		if err != nil && errors.Is(context.Cause(attempt), errDeadline) {
			err = asFault(err, fault.Timeout, "get a token for "+s.state.Scope.String())
		}
		took, at := time.Since(start), l.clock.Elapsed()
		l.send(ctx, func() { l.fetched(s, t, err, took, at) })
	})
}

// fetched takes in the end of an attempt.
func (l *Loop) fetched(s *scope, t token.Token, err error, took, at time.Duration) {
	s.inFlight = false
	l.fetching--
	l.dirty = true
	if err == nil {
		a := anchor{clock: l.clock, byAWS: true, date: t.Issued.Add(dateRounding), elapsed: at}
		if Valid(a.now(), t.Issued, t.Expires) {
			t = l.agree(a, t)
		} else { // nor is its date believed
			err = &fault.Error{Class: fault.InvalidResponse, Op: "get a token for " + s.state.Scope.String(),
				Err: errors.New("the token was born expired"), Cure: "see whether a proxy or a custom endpoint answers in place of AWS"}
		}
	}
	err = asFault(err, fault.BadRequest, "get a token for "+s.state.Scope.String())
	l.cfg.Observer.Attempted(l.namesOf(s), took, Class(err))
	if err != nil {
		l.failed(s, err)
		return
	}
	l.succeeded(s, t)
	if l.doubted != nil {
		l.adoptAgain()
	}
}

// adoptAgain judges what the files held at the start by the time that AWS has now told: a local clock that is ahead had condemned
// good tokens, which a scope that fails may need, and one that is behind has put off the renewal of the adopted ones.
func (l *Loop) adoptAgain() {
	for _, r := range l.doubted {
		l.adopt(r.from, r.grants)
	}
	l.doubted = nil
	for _, s := range l.scopes {
		if s.grant != nil && !s.asked { // mutant: adopted tokens keep a wrong clock's due
			due := l.cfg.Policy.Due(s.grant.Issued, s.grant.Expires, l.cfg.Rand()).Sub(l.now())
			l.schedule(s, min(due, s.due-l.clock.Elapsed()))
		}
	}
}

// agree lets an answer tell the time, and returns its token dated by the clock that all tokens are judged by. A custom endpoint,
// such as an emulator, tells the time only until AWS itself has: a wrong clock there must not condemn the others' tokens.
func (l *Loop) agree(a anchor, t token.Token) token.Token {
	a.custom = t.CustomEndpoint
	if !a.custom || l.anchor.custom || !l.anchor.byAWS {
		l.anchor = a
		for _, s := range l.scopes { // what is planned was dated by the clock before
			s.state.Due = l.now().Add(s.due - l.clock.Elapsed())
		}
		return t
	}
	ahead := a.now().Sub(l.now())
	t.Issued, t.Expires = t.Issued.Add(-ahead), t.Expires.Add(-ahead)
	return t
}

func (l *Loop) succeeded(s *scope, t token.Token) {
	now := l.now()
	if s.state.Failures > 0 {
		l.log.Info("renewal works again", l.namesField(s), zap.Int("failures", s.state.Failures),
			zap.Duration("after", (l.clock.Elapsed()-s.failing).Round(time.Second)))
	}
	g := &writer.Grant{Auth: t.Auth, Sum: t.Auth.Sum(), Scope: s.state.Scope.Key(), Issued: t.Issued, Expires: t.Expires}
	l.hold(s, g)
	s.state.LastSuccess, s.state.Failures, s.state.Err, s.state.Adopted = now, 0, nil, false
	if now.Before(s.state.LastAttempt) { // that was dated by a clock which this answer has set back
		s.state.LastAttempt = now
	}
	s.state.CredentialsExpire = t.CredentialsExpire
	due := l.cfg.Policy.Due(t.Issued, t.Expires, l.cfg.Rand())
	l.schedule(s, due.Sub(now))
	s.verifying = 0
	for _, r := range s.registries {
		l.registries[r].Accepted, l.registries[r].Err = Unknown, nil
	}
	l.unverified = append(l.unverified, s.registries...)
}

func (l *Loop) failed(s *scope, err error) {
	now := l.now()
	if s.state.Failures == 0 {
		s.failing = l.clock.Elapsed()
	}
	class, before := Class(err), Class(s.state.Err)
	if s.state.Adopted && (class == fault.AccessDenied || class == fault.AssumeRole) {
		s.denyAdopted()
	}
	s.state.Failures++
	s.state.Err = err
	f := Failure{Class: class, Count: s.state.Failures, Age: l.clock.Elapsed() - l.started}
	var validFor time.Duration
	if s.grant != nil {
		f.Held = true
		validFor = s.grant.Expires.Sub(now)
		f.Left = validFor.Seconds() / s.grant.Expires.Sub(s.grant.Issued).Seconds()
	}
	retry := Backoff(f, l.cfg.Rand())
	l.schedule(s, retry)
	if class == before && !PowerOfTen(s.state.Failures) && !s.tell {
		return
	}
	s.tell = false
	say := l.log.Warn
	if validFor <= 0 {
		say = l.log.Error
	}
	say("renewal failed", l.namesField(s), zap.String("class", string(class)), zap.Error(err), zap.String("cure", fault.CureOf(err)),
		zap.Int("failures", s.state.Failures), zap.Duration("retry_in", retry.Round(time.Millisecond)),
		zap.Duration("valid_for", max(validFor, 0).Round(time.Second)))
}

// denyAdopted has the tokens that were found in a file count no longer: AWS has answered their renewal, and not with a token. Whoever
// can write the volume could have put them there. They stay in the file, where they may work all the same.
func (s *scope) denyAdopted() {
	known := slices.Clone(s.state.Known)
	for i := range known {
		known[i].denied = known[i].publication == 0
	}
	s.state.Known = known
}

// tellLapses says when a token has run out and no attempt has brought another, at that moment: the next attempt, whose failure would
// say so, may be minutes away.
func (l *Loop) tellLapses() {
	for _, s := range l.scopes {
		if s.grant == nil || s.lapsed == s.grant || l.now().Before(s.grant.Expires) {
			continue
		}
		s.lapsed = s.grant
		l.log.Error("the token has expired: pulls and pushes fail until it is renewed", l.namesField(s),
			zap.Time("expired", s.grant.Expires.UTC()), zap.Int("failures", s.state.Failures), zap.String("class", string(Class(s.state.Err))),
			zap.NamedError("last_error", s.state.Err), zap.String("cure", fault.CureOf(s.state.Err)),
			zap.Duration("retry_in", max(s.due-l.clock.Elapsed(), 0).Round(time.Millisecond)))
	}
}

// hold makes a token the one in hand and has it written.
func (l *Loop) hold(s *scope, g *writer.Grant) {
	s.grant, s.state.Issued, s.state.Expires = g, g.Issued, g.Expires
	l.publish()
	s.publication = l.published
	l.know(s, g, l.published)
}

// know makes a token one that is recognised in a file, where it stands from a publication on; 0: already. Of too many, those are
// forgotten first that stand in no file, or are soon to be replaced there.
func (l *Loop) know(s *scope, g *writer.Grant, publication int) {
	now := l.now()
	known := slices.DeleteFunc(slices.Clone(s.state.Known), func(k Known) bool { return k.Sum == g.Sum || !now.Before(k.Expires) })
	known = append(known, Known{Sum: g.Sum, Issued: g.Issued, Expires: g.Expires, publication: publication})
	for len(known) > maxKnown {
		i := slices.IndexFunc(known[:maxKnown], func(k Known) bool { return !l.stands(k, known) })
		known = slices.Delete(known, max(i, 0), max(i, 0)+1)
	}
	s.state.Known = known
	l.dirty = true
}

// stands reports whether a token is the last that came into some output.
func (l *Loop) stands(k Known, known []Known) bool {
	return slices.ContainsFunc(l.outputs, func(o *output) bool { // mutant: the oldest known token is forgotten
		return k.publication <= o.standing && !slices.ContainsFunc(known, func(n Known) bool {
			return k.publication < n.publication && n.publication <= o.standing
		})
	})
}

// maxKnown bounds the tokens that are recognised in a file: one that could not be written for days, beside newer ones.
const maxKnown = 8

// schedule sets a scope's next call, not sooner than the minimum interval allows.
func (l *Loop) schedule(s *scope, in time.Duration) {
	now := l.clock.Elapsed()
	s.due = now + in
	if s.asked {
		s.due = max(s.due, s.called+MinInterval) // mutant: no least interval
	}
	s.state.Due = l.now().Add(s.due - now)
	l.dirty = true
}

// startDue starts the calls that are due, the one that has waited longest first, so that scopes which hang never starve the
// others.
func (l *Loop) startDue(ctx context.Context) {
	now := l.clock.Elapsed()
	var due []*scope
	for _, s := range l.scopes {
		if !s.inFlight && s.due <= now {
			due = append(due, s)
		}
	}
	slices.SortStableFunc(due, func(a, b *scope) int { return cmp.Compare(a.due, b.due) })
	for _, s := range due[:min(len(due), max(0, l.cfg.Parallel-l.fetching))] {
		l.startFetch(ctx, s)
	}
}

// renewAll makes every scope due now. One that is due already keeps its place.
func (l *Loop) renewAll() {
	now := l.clock.Elapsed()
	for _, s := range l.scopes {
		if !s.inFlight && s.due > now {
			l.schedule(s, 0)
		}
	}
}

// recalled is what an output held at the start.
type recalled struct {
	from   *output
	grants map[string]writer.Grant
}

// recall adopts what the files hold. It waits for them, but not for one that hangs.
func (l *Loop) recall(ctx context.Context) {
	found := make(chan recalled, len(l.outputs))
	for _, o := range l.outputs {
		l.flights.Go(func() { found <- recalled{o, o.cfg.File.Recall()} })
	}
	late := time.NewTimer(lookMost)
	defer late.Stop()
	for range l.outputs {
		select {
		case r := <-found:
			l.adopt(r.from, r.grants)
			l.doubted = append(l.doubted, r) // mutant: what seemed expired is never looked at
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// adopt takes over tokens that another process of this task has put into a file, without a call. What the state file says is a hint
// that anybody with the volume can write: a token of another scope, or one that lives longer than a token can, is not believed, and
// every other one counts until its recorded date, and is renewed within [AdoptedWithin].
func (l *Loop) adopt(o *output, recalled map[string]writer.Grant) {
	now := l.now()
	for _, s := range l.scopes {
		news := false
		for _, r := range s.registries {
			g, ok := recalled[l.registries[r].Spec.Host.Name]
			if !ok ||
				g.Scope != s.state.Scope.Key() || // mutant: adopted whatever the scope
				!Valid(now, g.Issued, g.Expires) ||
				g.Expires.After(now.Add(adoptLife)) || // mutant: adopted whatever the expiry
				g.Issued.After(now.Add(time.Minute)) || !g.Expires.After(g.Issued) {
				continue
			}
			if s.grant != nil && !g.Expires.After(s.grant.Expires) {
				l.know(s, &g, 0) // in another file, which may stay as it is; mutant: the other output's token is unknown
				continue
			}
			due := l.cfg.Policy.DueAdopted(now, g.Issued, g.Expires, l.cfg.Rand()).Sub(now)
			switch next := s.due - l.clock.Elapsed(); {
			case s.state.Failures > 0:
				due = next // the back-off's choice
			case s.state.Adopted: // the moment has been drawn
				due = min(next, l.cfg.Policy.Due(g.Issued, g.Expires, l.cfg.Rand()).Sub(now))
			case s.grant != nil || s.asked:
				due = min(due, next)
			}
			l.hold(s, &g)
			l.know(s, &g, 0)
			s.state.Adopted = true
			l.schedule(s, due)
			news = true
		}
		if news {
			l.unverified = append(l.unverified, s.registries...)
			l.say(o, zap.InfoLevel, "token adopted from the file", l.namesField(s), zap.Time("expires", s.grant.Expires.UTC()),
				zap.Duration("renew_in", (s.due-l.clock.Elapsed()).Round(time.Second)))
		}
	}
}

// adoptLife is the most that a token in a file can have left: ECR's 12 hours, and a minute for a clock that is behind.
const adoptLife = 12*time.Hour + time.Minute

// PowerOfTen reports whether the nth failure in a row is worth a line: the first, the tenth, the hundredth.
func PowerOfTen(n int) bool {
	for n >= 10 && n%10 == 0 {
		n /= 10
	}
	return n == 1
}
