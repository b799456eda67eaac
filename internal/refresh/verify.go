package refresh

import (
	"context"
	"time"

	"go.uber.org/zap"

	"ecr-refresher/internal/fault"
)

// startVerify asks the registries whether they accept the tokens that were just written. It waits for the primary output, so
// that the question never delays a consumer.
func (l *Loop) startVerify(ctx context.Context) {
	if l.cfg.Verifier == nil {
		l.unverified = nil
		return
	}
	for len(l.unverified) > 0 && l.verifying < l.cfg.Parallel {
		i := l.unverified[0]
		l.unverified = l.unverified[1:]
		r := &l.registries[i]
		g := l.scopes[r.Scope].grant
		if g == nil {
			continue
		}
		l.verifying++
		l.flights.Go(func() {
			attempt, cancel := context.WithTimeoutCause(ctx, l.cfg.Timeout, errDeadline)
			defer cancel()
			err := l.cfg.Verifier.Accepts(attempt, r.Spec.Host.Name, g.Auth)
			l.send(ctx, func() {
				l.verifying--
				if l.scopes[r.Scope].grant == g { // else the answer is about an older token
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
	before := r.Accepted
	r.Err = err
	l.dirty = true
	switch Class(err) {
	case "":
		r.Accepted = Accepted
	case fault.TokenRejected:
		r.Accepted = Rejected
	default: // not asked: the registry may be out of the refresher's reach, and in that of the consumers
		r.Accepted = Unknown
		l.log.Debug("registry not asked whether it accepts the token", zap.String("registry", r.Spec.Name), zap.Error(err))
	}
	s := l.scopes[r.Scope]
	if r.Accepted != Rejected {
		if r.Accepted == Accepted {
			s.rejected = 0
		}
		if before == Rejected {
			l.log.Info("registry accepts the token again", zap.String("registry", r.Spec.Name))
		}
		return
	}
	var retry time.Duration
	if !l.anyAccepts(s) {
		// Nobody of the scope takes it: perhaps it was revoked. One renewal at once, then slower and slower.
		s.rejected++
		if s.rejected > 1 {
			retry = Backoff(Failure{Class: fault.NoCredentials, Count: s.rejected - 1, Held: true, Left: 1}, l.cfg.Rand())
		}
		if at := l.clock.Elapsed() + retry; !s.inFlight && at < s.due {
			l.schedule(s, retry)
		}
	}
	l.cfg.Observer.Rejected(r.Spec.Name)
	if before != Rejected {
		l.log.Warn("registry rejects the token", zap.String("registry", r.Spec.Name), zap.String("class", string(fault.TokenRejected)),
			zap.Error(err), zap.String("cure", fault.CureOf(err)), zap.Duration("retry_in", (s.due-l.clock.Elapsed()).Round(time.Millisecond)))
	}
}

// anyAccepts reports whether a registry of the scope accepts the token in hand. Then a rejection elsewhere is about
// permissions, which a renewal does not change.
func (l *Loop) anyAccepts(s *scope) bool {
	for _, r := range s.registries {
		if l.registries[r].Accepted == Accepted {
			return true
		}
	}
	return false
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
