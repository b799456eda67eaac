package httpd

import (
	"net"
	"net/http"
	"runtime"
	"sync"
)

// conns keeps the number of open connections at a maximum without ever making the accept loop wait: one more connection
// closes the one that most likely nobody misses. Nothing here looks at a clock or an address: all clients of a probe come
// from 127.0.0.1, the hostile one too.
type conns struct {
	max int

	mu    sync.Mutex
	open  map[net.Conn]*conn
	cut   map[net.Conn]bool // closed by us, their goroutine not yet ended
	turns uint64            // counts changes of state: the order in which connections came to theirs
	empty chan struct{}     // closed when no connection is left; nil until asked for
}

type conn struct {
	state http.ConnState // StateNew until a request has been read whole: a slow-loris stays new
	since uint64         // the turn in which it came to that state
}

func newConns(limit int) *conns {
	return &conns{max: limit, open: make(map[net.Conn]*conn), cut: make(map[net.Conn]bool)}
}

// maxCut times max connections that we closed may still have a goroutine. net/http lets one sleep for 500 ms after a header
// that is too large, holding some 10 KB: without a bound, 10,000 of them a second would be 50 MB.
const maxCut = 4

// admit takes c in. The connection to close for it, if any, is c itself when too many are still ending.
func (t *conns) admit(c net.Conn) (closing net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) >= t.max {
		if len(t.cut) >= maxCut*t.max {
			return c
		}
		closing = t.victim()
		delete(t.open, closing)
		t.cut[closing] = true
	}
	t.turns++
	t.open[c] = &conn{http.StateNew, t.turns}
	return closing
}

// victim is the oldest of the larger group among those that wait: those that never sent a request (first, if the groups are
// equal) and those idle after one. The larger group, not always the first: else 255 clients that once sent a request would
// leave all others a single place. Requests in flight are left alone unless they take more than three quarters of the places:
// only clients that do not read their answers come to that. So a newcomer has time for its request until at least max/8
// others have come after it.
func (t *conns) victim() net.Conn {
	var (
		count  [http.StateIdle + 1]int
		oldest [http.StateIdle + 1]net.Conn
	)
	for c, is := range t.open {
		count[is.state]++
		if o := oldest[is.state]; o == nil || is.since < t.open[o].since {
			oldest[is.state] = c
		}
	}
	switch {
	case 4*count[http.StateActive] > 3*t.max:
		return oldest[http.StateActive]
	case count[http.StateIdle] > count[http.StateNew]:
		return oldest[http.StateIdle]
	default:
		return oldest[http.StateNew]
	}
}

// changed is the server's ConnState hook.
func (t *conns) changed(c net.Conn, state http.ConnState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch state {
	case http.StateActive, http.StateIdle:
		if is := t.open[c]; is != nil { // nil: cut already
			t.turns++
			is.state, is.since = state, t.turns
		}
	case http.StateClosed, http.StateHijacked:
		delete(t.open, c)
		delete(t.cut, c)
		if t.empty != nil && len(t.open)+len(t.cut) == 0 {
			close(t.empty)
		}
	case http.StateNew: // admitted already
	}
}

// closeNew closes the connections without a request.
func (t *conns) closeNew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c, is := range t.open {
		if is.state == http.StateNew {
			_ = c.Close() // its goroutine takes it out
		}
	}
}

// ended is closed when the last connection has ended. Ask once, when no more are accepted.
func (t *conns) ended() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.empty = make(chan struct{})
	if len(t.open)+len(t.cut) == 0 {
		close(t.empty)
	}
	return t.empty
}

// listener accepts for conns.
type listener struct {
	net.Listener
	conns *conns
}

func (l listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		closing := l.conns.admit(c)
		if closing != nil {
			_ = closing.Close()
		}
		if closing == c {
			continue
		}
		if closing != nil {
			// Let its goroutine end before the next one begins. In a flood of 8,000 connections this loop else runs 1,024
			// ahead, and then turns newcomers away; so it stays under 200.
			runtime.Gosched()
		}
		return c, nil
	}
}
