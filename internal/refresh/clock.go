package refresh

import "time"

// Clock is how the loop learns the time. Two readings are needed, as neither is true alone: the wall clock can be stepped,
// and the elapsed one does not know the date.
type Clock struct {
	Wall    func() time.Time     // default [time.Now]
	Elapsed func() time.Duration // since any fixed moment; goes on during suspend, is never stepped; default CLOCK_BOOTTIME on Linux
}

func (c Clock) orDefault() Clock {
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Elapsed == nil {
		c.Elapsed = elapsed()
	}
	return c
}

// anchor ties elapsed time to true time: AWS's where it has answered, the wall clock's before. Immutable.
type anchor struct {
	clock   Clock
	byAWS   bool          // told by a server
	custom  bool          // which is not AWS itself
	date    time.Time     // true time
	elapsed time.Duration // at that reading
}

// now is the best estimate of true time. Once AWS has answered, no step of the local clock changes it.
func (a anchor) now() time.Time {
	if !a.byAWS { // mutant: the local clock once AWS has answered
		return a.clock.Wall()
	}
	return a.date.Add(a.clock.Elapsed() - a.elapsed)
}

// skew is how far the wall clock is ahead of true time; 0 while AWS has not told.
func (a anchor) skew() time.Duration {
	if !a.byAWS {
		return 0
	}
	return a.clock.Wall().Sub(a.now())
}

// stepAlarm is the least difference between the two clocks' progress that counts as a step: more than NTP slews away.
const stepAlarm = 30 * time.Second

// stepDetector notices that the wall clock was stepped, or that the machine was paused without its elapsed clock noticing.
type stepDetector struct {
	wall    time.Time
	elapsed time.Duration
}

// check returns by how much the wall clock was stepped since the last call, 0 if it was not.
func (d *stepDetector) check(c Clock) time.Duration {
	wall, elapsed := c.Wall().Round(0), c.Elapsed() // Round strips the monotonic reading: it would hide the step
	step := wall.Sub(d.wall) - (elapsed - d.elapsed)
	first := d.wall.IsZero()
	d.wall, d.elapsed = wall, elapsed
	if first || step.Abs() < stepAlarm {
		return 0
	}
	return step
}
