// Package sim is a world in which the refresher lives for years within minutes: the real loop, writer and verdicts under a false
// clock, with an AWS, a disk, other writers, consumers and accidents that a seed decides. It is made of tests only.
//
// A file holds one idea: clock, schedule, aws, calls (of AWS), disk, mount (a disk as a process sees it), document, programs (others that
// write), consumers, accidents, invariants, process and account (what a process was dealt, and what it told).
//
// It owns what must hold at every step whatever happens, and the proof that a breach would be seen: bugs are planted, and each
// has to be caught. It refuses to know how the code under test does its work: it sees what the code asks of AWS and of the
// disk, what it tells, and what a reader finds.
//
//	go test ./internal/sim -run TestWorld -seed N    one world again, exactly
//	make sim                                         a million renewals, and twenty years of a task
package sim
