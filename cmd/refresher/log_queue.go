package main

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// logQueue writes lines in a goroutine of its own: a log driver that takes nothing, as awslogs does while CloudWatch cannot be
// reached, must not keep a token from being renewed. Lines that do not fit, and lines whose write fails, as when the reader
// of a pipe has gone, are lost and counted. A write is never tried again.
type logQueue struct {
	lines  chan []byte
	lost   atomic.Int64  // all so far
	ending chan struct{} // closed by end
	ended  chan struct{} // closed when the last line is written
}

// mostLines is many days of a quiet sidecar, and some 100 KB.
const mostLines = 256

// newLogQueue writes to out. Once lines can be written again, report writes there how many were lost since the last report. It is
// called by the queue's goroutine, which ends after end was called.
func newLogQueue(out io.Writer, report func(lines int64)) *logQueue {
	q := &logQueue{lines: make(chan []byte, mostLines), ending: make(chan struct{}), ended: make(chan struct{})}
	reported := int64(0)
	write := func(line []byte) {
		if _, err := out.Write(line); err != nil {
			q.lost.Add(1)
			return
		}
		if len(q.lines) > 0 {
			return // these lines are older than the ones that did not fit
		}
		if n := q.lost.Load() - reported; n > 0 {
			reported += n
			report(n)
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
		q.lost.Add(1)
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
