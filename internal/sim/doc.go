// Package sim is a world in which the refresher lives for years within minutes: the real loop, writer and verdicts under a false
// clock, with an AWS, a disk, other writers, consumers and accidents that a seed decides. It is made of tests only.
//
// It owns what must hold at every step whatever happens, and the proof that a breach would be seen: bugs are planted, and each
// has to be caught. It refuses to know how the code under test does its work: it sees what the code asks of AWS and of the
// disk, what it tells, and what a reader finds.
//
//	go test ./internal/sim -run TestWorld -seed N    one world again, exactly
//	make sim                                         a million renewals, and twenty years of a task
package sim
