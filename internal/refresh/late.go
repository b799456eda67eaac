package refresh

import (
	"context"
	"sync"
	"time"
)

// Patience is how late the loop may be for its next turn, and how long a turn may take, before it counts as dead: a starved host may
// need as long.
const Patience = 30 * time.Second

// promise says in how long the next turn begins, and has the alarm ring if it is later than Patience. A turn that has begun promises
// 0: so what it takes counts as well. Go's clock is used, which stands still while the machine sleeps, as the loop's timer does.
func (l *Loop) promise(alarm *time.Timer, next time.Duration) {
	l.promised.Store(int64(time.Since(l.born) + next))
	alarm.Reset(next + Patience)
}

// Late is how long ago the loop should have turned, or how long its turn takes already; zero while it sleeps as it should. Until its
// first turn that is the time since New. It never blocks.
func (l *Loop) Late() time.Duration {
	return max(0, time.Since(l.born)-time.Duration(l.promised.Load()))
}

// watchLateness makes the alarm that each turn puts off. A process that was paused finds its alarm overdue together with the turn
// that would have put it off: so the alarm looks once more a moment later.
func (l *Loop) watchLateness(ctx context.Context) *time.Timer {
	var once sync.Once
	return time.AfterFunc(Patience, func() {
		again := time.NewTimer(lateGrace)
		defer again.Stop()
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		if late := l.Late(); late > Patience && l.cfg.OnLate != nil {
			once.Do(func() { l.cfg.OnLate(late) })
		}
	})
}

const lateGrace = 5 * time.Second
