package sim

import (
	"cmp"
	"container/heap"
	"math"
	"sync"
	"time"
)

// appointment is something that the driver does at a moment.
type appointment struct {
	at    time.Duration
	order int
	do    func()
}

type queue []appointment

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].at, q[j].at), cmp.Compare(q[i].order, q[j].order)) < 0
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(appointment)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

// schedule is what the driver is to do.
type schedule struct {
	planning sync.Mutex
	planned  chan struct{} // there is something new
	queue    queue
	order    int // appointments that were made
}

// in makes an appointment. What is done runs in the driver, without the lock.
func (w *world) in(d time.Duration, do func()) {
	w.planning.Lock()
	w.order++
	heap.Push(&w.queue, appointment{w.mono() + d, w.order, do})
	w.planning.Unlock()
	select {
	case w.planned <- struct{}{}: // not only the driver makes them
	default:
	}
}

// next is what is due by a moment, nil where nothing is, and how long until the first that is not.
func (w *world) next(by time.Duration) (do func(), at time.Duration) {
	w.planning.Lock()
	defer w.planning.Unlock()
	if len(w.queue) == 0 {
		return nil, math.MaxInt64
	}
	if w.queue[0].at <= by {
		return heap.Pop(&w.queue).(appointment).do, by
	}
	return nil, w.queue[0].at
}

// exp is a wait with a mean.
func (w *world) exp(mean time.Duration) time.Duration {
	return min(time.Duration(w.rng.ExpFloat64()*float64(mean)), 20*mean)
}

// between is a duration whose logarithm is uniform.
func (w *world) between(lo, hi time.Duration) time.Duration {
	return time.Duration(float64(lo) * math.Pow(float64(hi)/float64(lo), w.rng.Float64()))
}

func (w *world) repeat(mean time.Duration, do func()) {
	var again func()
	again = func() { do(); w.in(w.exp(mean), again) }
	w.in(w.exp(mean), again)
}
