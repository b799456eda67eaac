package main

import (
	"fmt"
	"strings"
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
