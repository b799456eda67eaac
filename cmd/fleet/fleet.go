package main

// The simulation owns the world around the policy: tasks that start together, an API with a token bucket, an outage, three
// days. When to renew and how long to wait after a failure are asked of internal/refresh, of the code that is shipped. It is
// pure: the same World has the same Result. One event per call, no goroutine, no clock.

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
)

// What the API is like.
const (
	Quota = 500 // calls per second in an account and region
	burst = 500 // what an idle bucket holds; AWS documents the rate alone

	life      = 12 * time.Hour
	success   = 50 * time.Millisecond // until a token is there
	refusal   = 20 * time.Millisecond // until a throttled call is answered, and a failed one
	noAnswer  = 10 * time.Second      // until a call that is not answered is given up: the default of --timeout
	hungShare = 0.5                   // of the calls in an outage: the rest is answered with a server error
)

// World is what happens to a fleet.
type World struct {
	Tasks  int
	Within time.Duration // the tasks start during this time, uniformly
	Outage Outage
	Span   time.Duration // how long the fleet is watched
	Seed   uint64

	// What each task does, by default what is shipped.
	Policy  refresh.Policy
	Backoff func(f refresh.Failure, u float64) time.Duration
}

// Outage is a time in which no call succeeds in the region; none where For is zero.
type Outage struct{ From, For time.Duration }

func (o Outage) end() time.Duration { return o.From + o.For }

func (o Outage) at(t time.Duration) bool { return o.From <= t && t < o.end() }

// Result is what the API and the tasks have seen, second by second.
type Result struct {
	World    World
	Offered  []int32       // calls made
	Accepted []int32       // calls answered with a token
	Waiting  []int32       // at the end of the second: tasks whose last call failed
	First    int           // tasks that have had a token
	Last     time.Duration // when the last of these had its first one
	Expired  int           // tasks whose token once was not valid any more before its successor came
}

// Run simulates a world.
func Run(w World) Result {
	if w.Policy == (refresh.Policy{}) {
		w.Policy = refresh.DefaultPolicy()
	}
	if w.Backoff == nil {
		w.Backoff = refresh.Backoff
	}
	s := &simulation{
		world: w, random: rand.New(rand.NewPCG(w.Seed, uint64(w.Tasks))), //nolint:gosec // G404: chance that can be repeated
		bucket: bucket{saved: burst * price}, calendar: newCalendar(w.Tasks, w.Span), tasks: make([]task, w.Tasks),
	}
	seconds := s.calendar.slots()
	s.result = Result{World: w, Offered: make([]int32, seconds), Accepted: make([]int32, seconds), Waiting: make([]int32, seconds)}
	for i := range s.tasks {
		s.tasks[i].started = s.upTo(w.Within)
		s.calendar.put(i, s.tasks[i].started)
	}
	for second := range seconds {
		for _, e := range s.calendar.open(second) {
			s.result.Offered[second]++
			s.call(&s.tasks[e.task], e, second)
		}
		s.result.Waiting[second] = s.waiting
	}
	return s.result
}

type simulation struct {
	world    World
	random   *rand.Rand
	bucket   bucket
	calendar *calendar
	tasks    []task
	waiting  int32
	result   Result
}

// task is what a refresher with one scope knows.
type task struct {
	started  time.Duration
	issued   time.Duration // of the token in hand
	failures int32
	held     bool
	expired  bool
}

// call is one call of a task, its answer, and what the task makes of it. As the loop does, it waits from the answer on, and
// never calls again within the minimum interval.
func (s *simulation) call(t *task, e event, second int) {
	var next time.Duration
	if class, took := s.answer(e.at); class == "" {
		next = s.succeeded(t, e.at+took)
		s.result.Accepted[second]++
	} else {
		next = s.failed(t, e.at+took, class)
	}
	s.calendar.put(e.task, max(next, e.at+refresh.MinInterval))
}

// answer is what the API says, and how long that takes. The quota counts what is accepted.
func (s *simulation) answer(at time.Duration) (fault.Class, time.Duration) {
	switch {
	case s.world.Outage.at(at) && s.random.Float64() < hungShare:
		return fault.Timeout, noAnswer
	case s.world.Outage.at(at):
		return fault.ServerError, refusal
	case !s.bucket.take(at):
		return fault.Throttled, refusal
	}
	return "", success
}

// epoch is when the first tasks may start. The policy speaks of wall time.
var epoch = time.Unix(0, 0).UTC()

func (s *simulation) succeeded(t *task, now time.Duration) (next time.Duration) {
	if t.held {
		s.lapse(t, now)
	} else {
		s.result.First++
		s.result.Last = max(s.result.Last, now)
	}
	if t.failures > 0 {
		s.waiting--
	}
	t.held, t.issued, t.failures = true, now, 0
	return s.world.Policy.Due(epoch.Add(now), epoch.Add(now+life), s.random.Float64()).Sub(epoch)
}

func (s *simulation) failed(t *task, now time.Duration, class fault.Class) (next time.Duration) {
	if t.failures == 0 {
		s.waiting++
	}
	t.failures++
	f := refresh.Failure{Class: class, Count: int(t.failures), Age: now - t.started, Held: t.held}
	if t.held {
		s.lapse(t, now)
		f.Left = (t.issued + life - now).Seconds() / life.Seconds()
	}
	return now + s.world.Backoff(f, s.random.Float64())
}

// lapse notes, once for each task, that its token has ceased to be valid.
func (s *simulation) lapse(t *task, now time.Duration) {
	if !t.expired && !refresh.Valid(epoch.Add(now), epoch.Add(t.issued), epoch.Add(t.issued+life)) {
		t.expired = true
		s.result.Expired++
	}
}

func (s *simulation) upTo(d time.Duration) time.Duration {
	return time.Duration(s.random.Float64() * float64(d))
}

// bucket is the quota, as the time that it has saved up: a call costs its share of a second. Whole nanoseconds, so that every
// machine has the same answer.
type bucket struct{ saved, seen time.Duration }

const price = time.Second / Quota

func (b *bucket) take(now time.Duration) bool {
	b.saved = min(b.saved+now-b.seen, burst*price)
	b.seen = now
	if b.saved < price {
		return false
	}
	b.saved -= price
	return true
}

// calendar is the queue of events, in slots of the minimum interval. As each task has one event, the slots are lists through one
// array; and as no call leads to another within the interval, a slot that is open never grows.
type calendar struct {
	first []int32 // task of each slot; none ends a list
	entry []entry // of each task
	slot  []event // the open slot, in order
}

type entry struct {
	at   time.Duration
	next int32
}

type event struct {
	at   time.Duration
	task int
}

const none = -1

func newCalendar(tasks int, span time.Duration) *calendar {
	slots := (span + refresh.MinInterval - 1) / refresh.MinInterval
	return &calendar{first: slices.Repeat([]int32{none}, int(slots)), entry: make([]entry, tasks)}
}

func (c *calendar) slots() int { return len(c.first) }

// put plans a task's next event. What lies beyond the end does not happen.
func (c *calendar) put(task int, at time.Duration) {
	slot := int(at / refresh.MinInterval)
	if slot >= len(c.first) {
		return
	}
	c.entry[task] = entry{at, c.first[slot]}
	c.first[slot] = int32(task)
}

// open gives the events of a slot in the order of time. They are the caller's until the next call.
func (c *calendar) open(slot int) []event {
	c.slot = c.slot[:0]
	for i := c.first[slot]; i != none; i = c.entry[i].next {
		c.slot = append(c.slot, event{c.entry[i].at, int(i)})
	}
	slices.SortFunc(c.slot, func(a, b event) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		return cmp.Compare(a.task, b.task)
	})
	return c.slot
}
