package refresh

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"ecr-refresher/internal/fault"
)

// verifyMost bounds the questions at the same time: nobody waits for their answers, and each is a TLS connection of its own.
const verifyMost = 8

// startVerify asks the registries whether they accept the tokens that were just written. It waits for the primary output, so
// that the question never delays a consumer.
func (l *Loop) startVerify(ctx context.Context) {
	if l.cfg.Verifier == nil {
		l.unverified = nil
		return
	}
	for len(l.unverified) > 0 && l.verifying < min(l.cfg.Parallel, verifyMost) {
		i := l.unverified[0]
		l.unverified = l.unverified[1:]
		r := &l.registries[i]
		s := l.scopes[r.Scope]
		g := s.grant
		if g == nil {
			continue
		}
		l.verifying++
		s.verifying++
		l.flights.Go(func() {
			attempt, cancel := context.WithTimeoutCause(ctx, l.cfg.Timeout, errDeadline)
			defer cancel()
			err := l.cfg.Verifier.Accepts(attempt, r.Spec.Host.Name, g.Auth)
			l.send(ctx, func() {
				l.verifying--
				if s.grant == g { // else the answer is about an older token
					l.verified(i, asFault(err, fault.Network, "ask "+r.Spec.Host.Name))
				}
				l.startVerify(ctx)
			})
		})
	}
}

// verified takes in what a registry said.
func (l *Loop) verified(i int, err error) {
	r := &l.registries[i]
	r.Err = err
	l.dirty = true
	switch Class(err) {
	case "":
		r.Accepted = Accepted
	case fault.TokenRejected:
		r.Accepted = Rejected
		l.cfg.Observer.Rejected(r.Spec.Name)
	default: // not asked: the registry may be out of the refresher's reach, and in that of the consumers
		r.Accepted = Unknown
		l.log.Debug("registry not asked whether it accepts the token", zap.String("registry", r.Spec.Name), zap.Error(err))
	}
	s := l.scopes[r.Scope]
	s.verifying--
	if s.verifying > 0 || slices.ContainsFunc(l.unverified, func(u int) bool { return l.registries[u].Scope == r.Scope }) {
		return
	}
	l.judge(s)
}

// judge draws the conclusion once all registries of a scope have spoken. Where nobody accepts the token, perhaps it was
// revoked: one renewal at once, then as slowly as after a permanent failure. Where somebody does, a rejection elsewhere is
// about permissions, which a renewal does not change.
func (l *Loop) judge(s *scope) {
	says := func(a Acceptance) bool {
		return slices.ContainsFunc(s.registries, func(i int) bool { return l.registries[i].Accepted == a })
	}
	if says(Accepted) {
		s.rejected = 0
	} else if says(Rejected) {
		var retry time.Duration
		if s.rejected++; s.rejected > 1 {
			retry = Backoff(Failure{Class: fault.NoCredentials, Count: s.rejected - 1, Held: true, Left: 1}, l.cfg.Rand())
		}
		if !s.inFlight && l.clock.Elapsed()+retry < s.due {
			l.schedule(s, retry)
		}
	}
	for _, i := range s.registries {
		switch r := &l.registries[i]; {
		case r.Accepted == Rejected && !l.rejecting[i]:
			l.rejecting[i] = true
			l.log.Warn("registry rejects the token", zap.String("registry", r.Spec.Name), zap.String("class", string(fault.TokenRejected)),
				zap.Error(r.Err), zap.String("cure", fault.CureOf(r.Err)), zap.Duration("retry_in", max(s.due-l.clock.Elapsed(), 0).Round(time.Millisecond)))
		case r.Accepted == Accepted && l.rejecting[i]:
			l.rejecting[i] = false
			l.log.Info("registry accepts the token again", zap.String("registry", r.Spec.Name))
		}
	}
}

// verifyHourly puts every registry on the list once an hour.
func (l *Loop) verifyHourly(ctx context.Context) {
	if !l.cfg.VerifyHourly || l.clock.Elapsed()-l.verifiedAt < time.Hour {
		return
	}
	l.verifiedAt = l.clock.Elapsed()
	l.unverified = l.unverified[:0]
	for i := range l.registries {
		l.unverified = append(l.unverified, i)
	}
	l.startVerify(ctx)
}
