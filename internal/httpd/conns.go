package httpd

import (
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"
)

// conns keeps the number of open connections at a maximum: one more connection closes the one that most likely nobody misses.
// The accept loop waits for nobody but requests that are about to be answered, and not long for those. Who is closed depends on
// no clock and no address: all clients of a probe come from 127.0.0.1, the hostile one too.
type conns struct {
	max int

	mu    sync.Mutex
	open  map[net.Conn]*conn
	cut   map[net.Conn]bool // closed by us, their goroutine not yet ended
	turns uint64            // counts changes of state: the order in which connections came to theirs
	empty chan struct{}     // closed when no connection is left; nil until asked for
	busy  int               // how many are in StateActive
	held  int               // bytes of the answers that are yet to be taken
	eased chan struct{}     // told when there are fewer
}

type conn struct {
	state http.ConnState // StateNew until a request has been read whole: a slow-loris stays new
	since uint64         // the turn in which it came to that state
	held  int            // bytes of its answer, in stateWriting
}

func newConns(limit int) *conns {
	return &conns{max: limit, open: make(map[net.Conn]*conn), cut: make(map[net.Conn]bool), eased: make(chan struct{}, 1)}
}

// stateWriting is our own: the answer is ready, and the client has yet to take it. In StateActive it is the client that waits.
const stateWriting = http.StateClosed + 1

// maxCut times max connections that we closed may still have a goroutine, of some 10 KB each. They end at once, but for those
// that a handler holds.
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
		t.remove(closing)
		t.cut[closing] = true
	}
	t.turns++
	t.open[c] = &conn{state: http.StateNew, since: t.turns}
	return closing
}

// remove takes c out of those that are open.
func (t *conns) remove(c net.Conn) {
	if is := t.open[c]; is != nil {
		if is.state == http.StateActive {
			t.eases()
		}
		t.held -= is.held
	}
	delete(t.open, c)
}

func (t *conns) eases() {
	t.busy--
	select {
	case t.eased <- struct{}{}:
	default:
	}
}

// crowded reports whether there is no place left, as requests in flight take more than three quarters of them.
func (t *conns) crowded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open) >= t.max && 4*t.busy > 3*t.max
}

// victim is the oldest of the largest group among those that wait: those that never sent a request (first, if groups are
// equal), those idle after one, and those that do not take their answer. The largest group, not always the first: else 255
// clients that once sent a request would leave all others a single place. Requests in flight are left alone unless they take
// more than three quarters of the places although they were waited for: handlers that hang come to that. So a newcomer has
// time for its request until at least max/12 others have come after it.
func (t *conns) victim() net.Conn {
	var (
		count  [stateWriting + 1]int
		oldest [stateWriting + 1]net.Conn
	)
	for c, is := range t.open {
		count[is.state]++
		if o := oldest[is.state]; o == nil || is.since < t.open[o].since {
			oldest[is.state] = c
		}
	}
	if 4*t.busy > 3*t.max {
		return oldest[http.StateActive]
	}
	largest := http.StateNew
	for _, state := range []http.ConnState{http.StateIdle, stateWriting} {
		if count[state] > count[largest] {
			largest = state
		}
	}
	return oldest[largest]
}

// changed is the server's ConnState hook.
func (t *conns) changed(c net.Conn, state http.ConnState) {
	if h, ok := c.(*head); ok {
		h.changed(state)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch state {
	case http.StateActive, http.StateIdle, stateWriting:
		if is := t.open[c]; is != nil { // nil: cut already
			if is.state == http.StateActive {
				t.eases()
			}
			if state == http.StateActive {
				t.busy++
			}
			t.turns++
			t.held -= is.held
			is.state, is.since, is.held = state, t.turns, 0
		}
	case http.StateClosed, http.StateHijacked:
		t.remove(c)
		delete(t.cut, c)
		if t.empty != nil && len(t.open)+len(t.cut) == 0 {
			close(t.empty)
		}
	case http.StateNew: // admitted already
	}
}

// mostHeld is how many bytes of answers wait at most for clients to take them, beside the newest answer: a page of a thousand
// registries, or hundreds of a few.
const mostHeld = 6 << 20

// How much of an answer the kernel holds for one client; by itself it would take up to 4 MB. Over loopback, whose packets have 64 KB, a
// page of megabytes takes 2 s with the small one, as every piece waits for an acknowledgement, and 30 ms with the large. So those who
// come while few are connected get the large one: a scraper does, and a crowd does not.
const (
	largeSendBuffer = 64 << 10
	smallSendBuffer = 16 << 10
	fewShare        = 16 // few: less than a sixteenth of all that there may be, 16 of 256
)

// sendBuffer is the size for a connection that comes now.
func (t *conns) sendBuffer() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) < t.max/fewShare {
		return largeSendBuffer
	}
	return smallSendBuffer
}

// writing hears that an answer of n bytes is ready for c. Where too much waits already, those that have waited longest are closed.
func (t *conns) writing(c net.Conn, n int) {
	t.changed(c, stateWriting)
	var closing []net.Conn
	t.mu.Lock()
	if is := t.open[c]; is != nil {
		is.held = n
		t.held += n
	}
	for t.held > mostHeld {
		var oldest net.Conn
		for o, is := range t.open {
			if o != c && is.held > 0 && (oldest == nil || is.since < t.open[oldest].since) {
				oldest = o
			}
		}
		if oldest == nil {
			break
		}
		t.remove(oldest)
		t.cut[oldest] = true
		closing = append(closing, oldest)
	}
	t.mu.Unlock()
	for _, c := range closing {
		_ = c.Close()
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

// mostWait is how long newcomers wait, one here and the others in the kernel's queue, while requests in flight take all the places.
const mostWait = 100 * time.Millisecond

// ease waits while there is no place but that of a request in flight.
func (t *conns) ease() {
	if !t.crowded() {
		return
	}
	wait := time.NewTimer(mostWait)
	defer wait.Stop()
	for t.crowded() {
		select {
		case <-t.eased:
		case <-wait.C:
			return
		}
	}
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
		if c, ok := c.(*net.TCPConn); ok {
			_ = c.SetWriteBuffer(l.conns.sendBuffer())
		}
		c = &head{Conn: c}
		l.conns.ease()
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
