package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// driver is a log driver that takes nothing before it is open.
type driver struct {
	open chan struct{}
	text strings.Builder
}

func (d *driver) Write(p []byte) (int, error) {
	<-d.open
	return d.text.Write(p)
}

func TestLogQueue(t *testing.T) {
	for name, test := range map[string]struct {
		lines, lost int
	}{
		"none":          {0, 0},
		"some":          {mostLines, 0},
		"as many":       {mostLines + 1, 0}, // one is on its way to the driver
		"one too many":  {mostLines + 2, 1},
		"far too many":  {3 * mostLines, 2*mostLines - 1},
		"one, unharmed": {1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &driver{open: make(chan struct{})}
				lost := int64(0)
				q := newLogQueue(d, func(n int64) { lost += n })
				var want strings.Builder
				for i := range test.lines {
					line := fmt.Sprintf("line %d\n", i)
					if i < test.lines-test.lost {
						want.WriteString(line)
					}
					b := []byte(line)
					if n, err := q.Write(b); n != len(b) || err != nil {
						t.Errorf("%d, %v", n, err)
					}
					clear(b) // the caller's again
					synctest.Wait()
				}
				close(d.open)
				q.end(time.Second)
				<-q.ended
				if d.text.String() != want.String() || lost != int64(test.lost) {
					t.Errorf("%d lines came, %d lost", strings.Count(d.text.String(), "\n"), lost)
				}
			})
		})
	}
}

// flaky is a reader that goes away and comes back: a write of a line fails while it is away.
type flaky struct {
	away  bool
	text  strings.Builder
	asked int
}

func (f *flaky) Write(p []byte) (int, error) {
	f.asked++
	if f.away {
		return 0, syscall.EPIPE
	}
	return f.text.Write(p)
}

// Lines whose write fails are lost, counted and not tried again; their number is reported once there is a reader, and each once.
func TestLogQueueReaderGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{}
		q := newLogQueue(f, func(n int64) { fmt.Fprintf(f, "%d lost\n", n) })
		say := func(line string) {
			_, _ = q.Write([]byte(line + "\n"))
			synctest.Wait()
		}
		say("one")
		f.away = true
		say("two")
		say("three")
		time.Sleep(time.Hour)
		if f.asked != 3 {
			t.Errorf("%d writes for three lines", f.asked)
		}
		if n := q.lost.Load(); n != 2 {
			t.Errorf("%d lost while nobody reads", n)
		}
		f.away = false
		say("four")
		say("five")
		f.away = true
		say("six")
		f.away = false
		say("seven")
		q.end(time.Second)
		if got, want := f.text.String(), "one\nfour\n2 lost\nfive\nseven\n1 lost\n"; got != want {
			t.Errorf("got %q", got)
		}
		if n := q.lost.Load(); n != 3 {
			t.Errorf("%d lost", n)
		}
	})
}

// A driver that takes nothing for ever does not keep the process.
func TestLogQueueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &driver{open: make(chan struct{})}
		q := newLogQueue(d, func(int64) {})
		_, _ = q.Write([]byte("last words\n"))
		before := time.Now()
		q.end(time.Second)
		if took := time.Since(before); took != time.Second {
			t.Errorf("it took %s", took)
		}
		close(d.open)
		<-q.ended
	})
}
