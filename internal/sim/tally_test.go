package sim

import (
	"fmt"
	"time"
)

// tally is what happened.
type tally struct {
	worlds, renewals, calls, failures, writes, failedWrites, diskErrors, repairs, racesLost, foreign      int
	kills, restarts, steps, suspends, hups, rejections, reads, promised, probes, judged, lines, powercuts int
	simulated                                                                                             time.Duration
}

// faults are the events that the refresher has to live through.
func (t *tally) faults() int {
	return t.failures + t.diskErrors + t.foreign + t.kills + t.steps + t.suspends + t.rejections
}

func (t *tally) add(o tally) {
	sum := func(a *int, b int) { *a += b }
	for _, x := range []struct {
		a *int
		b int
	}{{&t.worlds, o.worlds}, {&t.renewals, o.renewals}, {&t.calls, o.calls}, {&t.failures, o.failures}, {&t.writes, o.writes}, {&t.failedWrites, o.failedWrites},
		{&t.diskErrors, o.diskErrors}, {&t.repairs, o.repairs}, {&t.racesLost, o.racesLost}, {&t.foreign, o.foreign}, {&t.kills, o.kills}, {&t.restarts, o.restarts},
		{&t.steps, o.steps}, {&t.suspends, o.suspends}, {&t.hups, o.hups}, {&t.rejections, o.rejections}, {&t.reads, o.reads}, {&t.promised, o.promised},
		{&t.probes, o.probes}, {&t.judged, o.judged}, {&t.lines, o.lines}, {&t.powercuts, o.powercuts}} {
		sum(x.a, x.b)
	}
	t.simulated += o.simulated
}

func (t *tally) String() string {
	return fmt.Sprintf("%d worlds, %.1f years: %d renewals in %d calls; %d faults (%d failed calls, %d disk errors in %d failed writes, %d foreign changes, %d kills of which %d power cuts, %d clock steps, %d suspends, %d rejections), %d restarts, %d SIGHUPs; %d writes, %d repairs, %d races lost; %d reads by consumers of which %d must succeed, %d health probes of which %d count, %d log lines",
		t.worlds, t.simulated.Hours()/24/365, t.renewals, t.calls, t.faults(), t.failures, t.diskErrors, t.failedWrites, t.foreign, t.kills, t.powercuts, t.steps, t.suspends, t.rejections,
		t.restarts, t.hups, t.writes, t.repairs, t.racesLost, t.reads, t.promised, t.probes, t.judged, t.lines)
}
