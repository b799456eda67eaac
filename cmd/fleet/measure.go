package main

import "time"

// window is what a peak is the mean of: a second of random arrivals says more about chance than about a herd.
const window = 10

// Drained is when, after a start and an outage, nobody waited any more; the end of the time watched where somebody always did.
func (r Result) Drained() time.Duration {
	for second := index(max(r.World.Within, r.World.Outage.end())); second < len(r.Waiting); second++ {
		if r.Waiting[second] == 0 {
			return time.Duration(second+1) * time.Second
		}
	}
	return r.World.Span
}

// Used is the share of the quota that gave tokens from a moment on, in the seconds which began with a second's work waiting or more.
// There may have been none.
func (r Result) Used(from time.Duration) (share float64, waits bool) {
	var accepted, seconds float64
	for second := max(index(from), 1); second < len(r.Waiting); second++ {
		if r.Waiting[second-1] >= Quota {
			accepted += float64(r.Accepted[second])
			seconds++
		}
	}
	if seconds == 0 {
		return 0, false
	}
	return accepted / seconds / Quota, true
}

// Mean is the rate of calls between two moments.
func Mean(calls []int32, from, to time.Duration) float64 {
	span := clip(calls, from, to)
	var sum float64
	for _, n := range span {
		sum += float64(n)
	}
	return sum / float64(max(len(span), 1))
}

// Peak is the greatest rate of calls over 10 seconds between two moments.
func Peak(calls []int32, from, to time.Duration) float64 {
	var sum, most int32
	span := clip(calls, from, to)
	for i, n := range span {
		sum += n
		if i >= window {
			sum -= span[i-window]
		}
		most = max(most, sum)
	}
	return float64(most) / window
}

// clip is the seconds between two moments, those that have begun included.
func clip(calls []int32, from, to time.Duration) []int32 {
	end := min(index(to+time.Second-1), len(calls))
	return calls[min(index(from), end):end]
}

func index(t time.Duration) int { return int(t / time.Second) }
