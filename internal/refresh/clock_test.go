package refresh

import (
	"testing"
	"time"
)

// handClock is read where a test has set it.
type handClock struct {
	wall    time.Time
	elapsed time.Duration
}

func (h *handClock) clock() Clock {
	return Clock{Wall: func() time.Time { return h.wall }, Elapsed: func() time.Duration { return h.elapsed }}
}

func TestStepDetector(t *testing.T) {
	for _, c := range []struct {
		name          string
		wall, elapsed time.Duration // since the last check
		want          time.Duration
	}{
		{"both go on", time.Minute, time.Minute, 0},
		{"both went on during suspend", 13 * time.Hour, 13 * time.Hour, 0},
		{"nothing moved", 0, 0, 0},
		{"slewed forward", time.Minute + stepAlarm - 1, time.Minute, 0},
		{"stepped forward", time.Minute + stepAlarm, time.Minute, stepAlarm},
		{"slewed back", time.Minute - stepAlarm + 1, time.Minute, 0},
		{"stepped back", time.Minute - stepAlarm, time.Minute, -stepAlarm},
		{"stepped behind the last reading", -14 * time.Hour, time.Minute, -14*time.Hour - time.Minute},
		{"paused without the elapsed clock", time.Hour, time.Second, time.Hour - time.Second},
	} {
		h := &handClock{wall: noon, elapsed: time.Hour}
		var d stepDetector
		if got := d.check(h.clock()); got != 0 {
			t.Errorf("%s: the first check found %s", c.name, got)
		}
		h.wall, h.elapsed = h.wall.Add(c.wall), h.elapsed+c.elapsed
		if got := d.check(h.clock()); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		h.wall, h.elapsed = h.wall.Add(time.Minute), h.elapsed+time.Minute
		if got := d.check(h.clock()); got != 0 {
			t.Errorf("%s: told again: %s", c.name, got)
		}
	}
}

// A reading of time.Now carries a monotonic clock, which Sub prefers where both have it, and which knows of no step.
func TestStepDetectorIgnoresTheMonotonicReading(t *testing.T) {
	h := &handClock{wall: time.Now()}
	var d stepDetector
	d.check(h.clock())
	if d.wall != h.wall.Round(0) || d.wall == h.wall {
		t.Errorf("%s is kept of %s", d.wall, h.wall)
	}
}

func TestAnchor(t *testing.T) {
	h := &handClock{wall: noon, elapsed: time.Hour}
	a := anchor{clock: h.clock()}
	if !a.now().Equal(noon) || a.skew() != 0 {
		t.Errorf("before AWS has answered: %s, %s ahead", a.now(), a.skew())
	}
	h.wall = noon.Add(time.Hour)
	if !a.now().Equal(noon.Add(time.Hour)) || a.skew() != 0 {
		t.Errorf("before AWS has answered there is the wall clock alone: %s, %s ahead", a.now(), a.skew())
	}

	h.wall = noon
	a = anchor{clock: h.clock(), byAWS: true, date: noon.Add(-time.Minute), elapsed: h.elapsed}
	if !a.now().Equal(noon.Add(-time.Minute)) || a.skew() != time.Minute {
		t.Errorf("a wall clock that is ahead: %s, %s ahead", a.now(), a.skew())
	}
	h.wall, h.elapsed = h.wall.Add(time.Second), h.elapsed+time.Second
	if !a.now().Equal(noon.Add(-59*time.Second)) || a.skew() != time.Minute {
		t.Errorf("a second later: %s, %s ahead", a.now(), a.skew())
	}
	h.wall = h.wall.Add(-14 * time.Hour)
	if !a.now().Equal(noon.Add(-59*time.Second)) || a.skew() != time.Minute-14*time.Hour {
		t.Errorf("after a step: %s, %s ahead", a.now(), a.skew())
	}
	h.elapsed += 13 * time.Hour
	if !a.now().Equal(noon.Add(13*time.Hour - 59*time.Second)) {
		t.Errorf("after a suspend: %s", a.now())
	}
}

func TestElapsedGoesOn(t *testing.T) {
	c := Clock{}.orDefault()
	a := c.Elapsed()
	for range 1000 {
		b := c.Elapsed()
		if b < a {
			t.Fatalf("%s after %s", b, a)
		}
		a = b
	}
	if c.Wall == nil || c.Wall().IsZero() {
		t.Error("no wall clock")
	}
}
