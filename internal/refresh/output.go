package refresh

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/writer"
)

// output is the loop's own record of one output. Only the loop's goroutine touches it.
type output struct {
	state OutputState
	cfg   Output

	written  int           // the publication that the file holds
	standing int           // the one that stands in it, be it not durable
	changed  bool          // the file may have changed
	inFlight bool          // at most one write at a time
	failed   time.Duration // when the last write did
	notYet   time.Duration // not before this, on the elapsed clock: back-off of a failure or of a contested file

	damages []time.Duration // when somebody else had damaged the file, on the elapsed clock: the last ones
	fought  int             // how often while contested
	lines   lines

	obstacles obstacles
}

const (
	// A batch of tokens is written at once: when no call is under way any more, when no answer came for batchQuiet, or
	// batchMost after its first answer at the latest. A single registry's token is written at once.
	batchQuiet = 50 * time.Millisecond
	batchMost  = time.Second
)

// publish says that there is something new to write.
func (l *Loop) publish() {
	now := l.clock.Elapsed()
	if l.published == l.flushed {
		l.batchFirst = now
	}
	l.batchLast = now
	l.published++
	l.dirty = true
}

// batchReady returns 0 where what was published may be written now, or how long to wait.
func (l *Loop) batchReady() time.Duration {
	if l.published == l.flushed || l.fetching == 0 {
		return 0
	}
	now := l.clock.Elapsed()
	return max(0, min(l.batchLast+batchQuiet-now, l.batchFirst+batchMost-now))
}

// wants is what every output shall hold: the tokens in hand that have not expired. An expired one is never put back.
func (l *Loop) wants() []writer.Want {
	now := l.now()
	var want []writer.Want
	for i := range l.registries {
		r := &l.registries[i]
		if g := l.scopes[r.Scope].grant; g != nil &&
			now.Before(g.Expires) { // mutant: an expired token is put back
			for _, h := range r.Spec.Hosts() {
				want = append(want, writer.Want{Host: h, Grant: g})
			}
		}
	}
	return want
}

// startSyncs brings the outputs that need it up to date, each in a goroutine of its own: a file system that hangs or refuses
// harms neither the other outputs nor the renewal.
func (l *Loop) startSyncs(ctx context.Context) {
	now := l.clock.Elapsed()
	ready := l.batchReady() == 0
	if ready {
		l.flushed = l.published
	}
	want := sync.OnceValue(l.wants) // a list of a thousand, which mostly nobody needs
	for i, o := range l.outputs {
		fresh := o.written < l.flushed
		held := now < o.notYet && (o.state.Err != nil || !fresh) // a contested file still gets new tokens at once
		if o.inFlight || held || !fresh && !o.changed {
			continue
		}
		want := want()
		if len(want) == 0 && l.fetching > 0 { // the first token is on its way
			o.changed = false
			continue
		}
		o.inFlight, o.changed = true, false
		publication := l.published // of an open batch too: what was put there is no repair later
		l.flights.Go(func() {
			r, err := o.cfg.File.Sync(want)
			l.send(ctx, func() { l.synced(ctx, i, publication, want, r, err) })
		})
	}
}

// synced takes in the end of a write.
func (l *Loop) synced(ctx context.Context, i, publication int, want []writer.Want, r writer.Result, err error) {
	o := l.outputs[i]
	o.inFlight = false
	if r.Obstacles != nil {
		l.reportObstacles(o, *r.Obstacles)
	}
	if len(r.Peers) > 0 {
		l.adopt(o, r.Peers)
	}
	before := o.written
	fresh := before < publication
	if err == nil && !r.Kept || r.Wrote { // a failure too may have put it there
		o.standing = max(o.standing, publication)
	}
	if err != nil {
		l.writeFailed(o, asFault(err, fault.OutputOther, "write "+o.state.Name))
		return
	}
	if o.state.Err != nil && !o.state.Contested {
		l.say(o, zap.InfoLevel, "output works again", zap.Int("failures", o.state.Failures))
	}
	l.dirty = l.dirty || fresh || r.Wrote || o.state.Err != nil
	o.state.Err, o.state.Failures = nil, 0
	if r.Kept {
		o.changed = true // then it is as wanted, or is repaired
		return
	}
	if fresh || r.Wrote || o.state.holds == nil {
		o.state.holds = make(map[string]writer.Sum, len(want))
		for _, w := range want {
			o.state.holds[w.Host] = w.Grant.Sum
		}
		l.dirty = true
	}
	o.written = max(o.written, publication)
	switch {
	case fresh && r.Wrote:
		l.cfg.Observer.Written(o.state.Name, false, nil)
		if i == 0 {
			l.logWritten(o, before)
		}
	case r.Wrote:
		l.cfg.Observer.Written(o.state.Name, true, nil)
		o.state.Repairs++
		o.state.Found = r.Found
		if !l.damaged(o, r.Found) {
			l.say(o, zap.WarnLevel, "output repaired", zap.String("found", r.Found))
		}
	}
	if i == 0 {
		l.startVerify(ctx)
	}
}

func (l *Loop) writeFailed(o *output, err error) {
	l.dirty = true
	o.changed = true // mutant: a failed write waits for the tick
	before := Class(o.state.Err)
	o.state.Err = err
	o.state.Failures++
	retry := outputBackoff(o.state.Failures)
	o.failed = l.clock.Elapsed()
	o.notYet = o.failed + retry
	l.cfg.Observer.Written(o.state.Name, false, err)
	class := Class(err)
	if class == fault.OutputInvalid && before == "" && l.damaged(o, "the file could not be read") {
		return
	}
	if class != before || PowerOfTen(o.state.Failures) {
		l.say(o, zap.ErrorLevel, "output not written", zap.String("class", string(class)), zap.Error(err),
			zap.String("cure", fault.CureOf(err)), zap.Int("failures", o.state.Failures), zap.Duration("retry_in", retry))
	}
}

// noticed hears that a file has changed. One that could not be read may have been corrected, or deleted as its fix says: that is
// looked at soon, unless the output is contested. Other failures wait as long as they would have, for a write that fails changes the directory
// itself.
func (l *Loop) noticed(o *output) {
	o.changed = true
	if Class(o.state.Err) == fault.OutputInvalid && !o.state.Contested {
		o.notYet = min(o.notYet, max(l.clock.Elapsed(), o.failed+MinInterval))
	}
}

// damaged counts that somebody else had changed or removed our entries, or put something there that cannot be read. It notices when
// that has become a fight, and reports whether it is one: then the log has one line for all of it.
func (l *Loop) damaged(o *output, found string) (contested bool) {
	now := l.clock.Elapsed()
	o.damages = append(o.damages, now)
	for o.damages[0] < now-contestedWithin {
		o.damages = o.damages[1:]
	}
	was := o.state.Contested
	if o.state.Contested = was || len(o.damages) >= contestedDamages; !o.state.Contested {
		return false
	}
	o.fought++
	wait := contestedBackoff(o.fought)
	o.notYet = now + wait
	if !was {
		l.say(o, zap.WarnLevel, "output contested: another program changes our entries again and again",
			zap.String("found", found), zap.Int("times", len(o.damages)), zap.Duration("next_repair_in", wait),
			zap.String("cure", writer.ContestedCure))
	}
	return true
}

// settle ends a contest when nothing has been damaged for as long as it takes to call one.
func (l *Loop) settle() {
	for _, o := range l.outputs {
		if o.state.Contested && len(o.damages) > 0 && l.clock.Elapsed()-o.damages[len(o.damages)-1] > contestedWithin {
			o.state.Contested, o.fought, o.damages = false, 0, nil
			l.dirty = true
			l.say(o, zap.InfoLevel, "output no longer contested")
		}
	}
}

// say logs a line about an output, unless there were linesPerHour of them within the hour. The next line says how many are missing.
func (l *Loop) say(o *output, level zapcore.Level, message string, fields ...zap.Field) {
	n, now := &o.lines, l.clock.Elapsed()
	if n.full(now) {
		n.dropped++
		return
	}
	n.at = append(n.at, now)
	fields = append([]zap.Field{zap.String("output", o.state.Name)}, fields...)
	if n.dropped > 0 {
		fields = append(fields, zap.Int("lines_dropped", n.dropped))
		n.dropped = 0
	}
	l.log.Log(level, message, fields...)
}

// lines are the log lines that others can cause by what they do to a file.
type lines struct {
	at      []time.Duration // when, on the elapsed clock: those of the last hour
	dropped int             // since the last one
}

func (n *lines) full(now time.Duration) bool {
	for len(n.at) > 0 && n.at[0] <= now-time.Hour {
		n.at = n.at[1:]
	}
	return len(n.at) >= linesPerHour
}

// logWritten tells of the tokens in the primary output that came after a publication: the one line of a renewal. Where many
// tokens are renewed all day long, one line in a third of a token's life stands for those that came since the last one, so that
// a quiet day is a few lines however many there are. A scope's first token is always told.
func (l *Loop) logWritten(o *output, after int) {
	var names []string
	var expires time.Time
	var life time.Duration
	next, first := time.Duration(-1), false
	for _, s := range l.scopes {
		if s.publication <= after || s.publication > o.written {
			continue
		}
		first = first || !s.told
		s.told = true
		names = append(names, l.namesOf(s)...)
		life = max(life, s.grant.Expires.Sub(s.grant.Issued))
		if expires.IsZero() || s.grant.Expires.Before(expires) {
			expires = s.grant.Expires
		}
		if in := s.due - l.clock.Elapsed(); next < 0 || in < next {
			next = in
		}
	}
	if len(names) == 0 {
		return // newer ones came during the write: their own follows
	}
	if !first && l.clock.Elapsed()-l.toldAt < life/3 {
		l.untold++
		return
	}
	fields := []zap.Field{zap.String("output", o.state.Name), namesField(names),
		zap.Time("expires", expires.UTC()), zap.Duration("renew_in", next.Round(time.Second))}
	if l.untold > 0 {
		fields = append(fields, zap.Int("writes_since_last_line", l.untold))
	}
	l.log.Info("token written", fields...)
	l.toldAt, l.untold = l.clock.Elapsed(), 0
}
