package main

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// logQueue writes lines beside those who log them: a log driver that takes nothing, as awslogs does while CloudWatch is out of reach,
// must keep nobody from renewing a token. Lines for which there is no room are dropped, and their number is told in their
// place.
type logQueue struct {
	lines   chan []byte
	dropped atomic.Int64
	ending  chan struct{} // closed by end
	ended   chan struct{} // closed when the last line is written
}

// mostLines is many days of a quiet sidecar, and some 100 KB.
const mostLines = 256

// newLogQueue writes to out; lost tells there how many lines were dropped, and is called by the queue's goroutine, which ends after
// end was called.
func newLogQueue(out io.Writer, lost func(lines int64)) *logQueue {
	q := &logQueue{lines: make(chan []byte, mostLines), ending: make(chan struct{}), ended: make(chan struct{})}
	write := func(line []byte) {
		_, _ = out.Write(line) // nobody is left to hear of an error
		if len(q.lines) > 0 {
			return // those that wait are older than the lost ones
		}
		if n := q.dropped.Swap(0); n > 0 {
			lost(n)
		}
	}
	go func() {
		defer close(q.ended)
		for {
			select {
			case line := <-q.lines:
				write(line)
				continue
			case <-q.ending:
			}
			for len(q.lines) > 0 {
				write(<-q.lines)
			}
			return
		}
	}()
	return q
}

// Write takes a copy of a line and never blocks. It implements io.Writer.
func (q *logQueue) Write(line []byte) (int, error) {
	select {
	case q.lines <- bytes.Clone(line):
	default:
		q.dropped.Add(1)
	}
	return len(line), nil
}

// end waits until the last line is written, or for so long: a log driver that blocks must not keep the process from ending. Call
// it once; what is logged later is lost.
func (q *logQueue) end(most time.Duration) {
	close(q.ending)
	late := time.NewTimer(most)
	defer late.Stop()
	select {
	case <-q.ended:
	case <-late.C:
	}
}
