package refresh

import (
	"context"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"

	"ecr-refresher/internal/writer"
)

// The fixes of an output, for those who report about it.
const (
	BrokenCure    = writer.BrokenCure
	ContestedCure = writer.ContestedCure
)

// obstacles is what the log has reported of the obstacles in one output. Only the loop's goroutine touches it, inFlight aside.
type obstacles struct {
	look     bool        // the file may have changed since the last look
	inFlight atomic.Bool // at most one look at a time
	broken   []writer.Obstacle
	similar  []writer.Obstacle
}

// startLooks looks for what is in the way of the readers of each file that may have changed, after the write that it may need. It
// does not wait for a token: the obstacle may have been there before, and keeps the next token from being used.
func (l *Loop) startLooks(ctx context.Context) {
	for _, o := range l.outputs {
		s := &o.obstacles
		if !s.look || s.inFlight.Load() || o.inFlight {
			continue
		}
		s.look = false
		s.inFlight.Store(true)
		broken, similar := s.broken, s.similar
		l.flights.Go(func() {
			defer s.inFlight.Store(false)
			view, err := o.cfg.File.Look()
			now := view.Obstacles
			if err != nil || slices.Equal(broken, now.Broken) && slices.Equal(similar, now.Similar) {
				return // what cannot be read is reported by the write, which fails as well; for nothing new the loop is not woken
			}
			l.send(ctx, func() { l.reportObstacles(o, now) })
		})
	}
}

// reportObstacles writes a line for each kind of which something has come or gone since its last line. What finds no line left is
// reported by a later look, if it is still so.
func (l *Loop) reportObstacles(o *output, now writer.Obstacles) {
	s, at := &o.obstacles, l.clock.Elapsed()
	switch broken := now.Broken; {
	case slices.Equal(s.broken, broken) || o.lines.full(at):
	case len(broken) == 0:
		s.broken = nil
		l.say(o, zap.InfoLevel, "no entry keeps programs from reading the file any more")
	default:
		s.broken = broken
		l.say(o, zap.WarnLevel, "entries that are not ours keep programs from reading the file", zap.Int("count", now.BrokenCount),
			zap.Strings("entries", inWords(broken)), zap.String("cure", writer.BrokenCure))
	}
	switch similar := now.Similar; {
	case slices.Equal(s.similar, similar) || o.lines.full(at):
	case len(similar) == 0:
		s.similar = nil
		l.say(o, zap.InfoLevel, "no other login for our registries is in the file any more")
	default:
		s.similar = similar
		l.say(o, zap.WarnLevel, "other logins for our registries are in the file", zap.Int("count", now.SimilarCount), zap.Strings("entries", inWords(similar)))
	}
}

func inWords(found []writer.Obstacle) []string {
	words := make([]string, len(found))
	for i, f := range found {
		words[i] = f.String()
	}
	return words
}
