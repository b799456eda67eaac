package sim

import (
	"math"
	"sync/atomic"
	"time"
)

// Everybody who waits has a slot of his own in each 256 ns, so that no two wake at once: what runs first would be the
// scheduler's choice, and no world could be replayed.
const (
	slots     = 256
	slotWorld = 0
	slotSite  = 8
	slotDisk  = 32
	slotRead  = 36
	slotHung  = 40
	slotWatch = 44
	slotHost  = 64
)

// clocks are those of the machine and of AWS. The bubble's own is the machine's monotonic one. Reading one takes no lock.
type clocks struct {
	epoch     time.Time
	drift     float64      // of AWS's clock against ours
	wallDrift float64      // of the wall clock
	offset    atomic.Int64 // of the wall clock
	suspended atomic.Int64
	lost      atomic.Int64 // true time that no clock but the wall's knows of

	// These are guarded by world.mu.
	pauses     int           // suspends, steps and pauses
	pausesOnly int           // pauses that the elapsed clock did not see
	pausedAt   time.Duration // the last suspend or pause
}

func (c *clocks) mono() time.Duration { return time.Since(c.epoch) }

func (c *clocks) elapsed() time.Duration { return c.mono() + time.Duration(c.suspended.Load()) }

func (c *clocks) wall() time.Time { return c.read(c.wallDrift, &c.offset) }

func (c *clocks) trueNow() time.Time { return c.read(c.drift, &c.lost) }

func (c *clocks) read(drift float64, offset *atomic.Int64) time.Time {
	m := c.mono()
	return c.epoch.Add(m + time.Duration(float64(m)*drift) + time.Duration(c.suspended.Load()+offset.Load()))
}

// right is the offset at which the wall clock is right.
func (c *clocks) right() int64 { return c.offset.Load() - int64(c.wall().Sub(c.trueNow())) }

// tolerance is how far a process's idea of the true time may be off.
func (c *clocks) tolerance(p *process) time.Duration {
	return 1500*time.Millisecond + time.Duration(math.Abs(c.drift)*float64(c.mono()-max(p.anchored, 0)))
}

// until is a wait that ends in a slot.
func (c *clocks) until(slot int, d time.Duration) time.Duration {
	end := int64(c.mono() + d)
	end += (int64(slot) - end%slots + slots) % slots
	return time.Duration(end) - c.mono()
}

func (c *clocks) nap(slot int, d time.Duration) { time.Sleep(c.until(slot, d)) }

func (w *world) stepClock() {
	d := w.between(time.Second, 14*time.Hour)
	if w.rng.IntN(2) == 0 {
		d = -d
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.steps++
	at := w.wall().Sub(w.trueNow())
	if (at + d).Abs() > 14*time.Hour {
		d = -at
	}
	w.event("step", d)
	w.offset.Add(int64(d))
	w.pauses++
	w.outOfTurn()
}

// wakeWrong starts the process again with another date.
func (w *world) wakeWrong() {
	d := time.Duration((w.rng.Float64()*2 - 1) * float64(w.cfg.life))
	w.killNow()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.steps++
	w.event("step", d)
	w.offset.Store(w.right() + int64(d))
	w.pauses++
	w.outOfTurn()
}

func (w *world) suspend() {
	d := w.between(time.Second, w.cfg.life*13/12)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.suspends++
	w.event("suspend", d)
	w.suspended.Add(int64(d))
	w.pauses++
	w.pausedAt = w.mono()
}

// pause is a suspend of a virtual machine, of which only the date tells.
func (w *world) pause() {
	d := w.between(time.Minute, w.cfg.life*13/12)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.suspends++
	w.event("pause", d)
	w.offset.Add(int64(d))
	w.lost.Add(int64(d))
	w.pauses++
	w.pausesOnly++
	w.pausedAt = w.mono()
	w.outOfTurn()
}
