package refresh

import (
	"slices"

	"go.uber.org/zap"

	"ecr-refresher/internal/writer"
)

// The fixes of an output, for those who report about it.
const (
	BrokenCure    = writer.BrokenCure
	ContestedCure = writer.ContestedCure
)

// obstacles is what the log has reported of the obstacles in one output. Only the loop's goroutine touches it.
type obstacles struct {
	broken  []writer.Obstacle
	similar []writer.Obstacle
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
