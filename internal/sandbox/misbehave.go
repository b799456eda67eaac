package sandbox

import (
	"io"
	"net"
	"net/http"
	"time"
)

// defaultSlow is what a Slow fault without latency takes: longer than a person finds normal, shorter than any deadline.
const defaultSlow = 2 * time.Second

// misbehave applies the faults that need no authentication. It returns the kind that the caller has to put in its own words, "" when
// the request goes on, and done when there is nothing left to answer.
func (x *exchange) misbehave(t target, latency time.Duration) (kind Kind, done bool) {
	for _, f := range x.s.faults.take(t, beside) {
		switch {
		case f.Kind == NoDate:
			x.w.noDate = true
		case f.Latency == 0:
			latency += defaultSlow
		default:
			latency += f.Latency
		}
	}
	x.wait(latency)
	for _, f := range x.s.faults.take(t, onArrival) {
		kind = f.Kind
	}
	switch kind {
	case Hang:
		_, _ = io.Copy(io.Discard, x.r.Body) // before that net/http does not notice that the client went away
		select {
		case <-x.r.Context().Done():
		case <-x.s.closing:
		}
		panic(http.ErrAbortHandler) // net/http's way to end the connection without an answer
	case Refused:
		panic(http.ErrAbortHandler)
	case Reset:
		x.reset()
		return kind, true
	case Garbage:
		x.w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(x.w, "<!doctype html><html><head><title>Sign in</title></head><body><h1>Welcome to the airport Wi-Fi</h1></body></html>\n")
		return kind, true
	}
	return kind, false
}

// wait is cut short when the client goes away or the sandbox closes: there is nobody to answer then. A registry's upload is still
// unread here, and its client's leaving therefore unnoticed.
func (x *exchange) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.r.Context().Done():
		panic(http.ErrAbortHandler)
	case <-x.s.closing:
		panic(http.ErrAbortHandler)
	}
}

// reset makes the kernel send RST instead of FIN.
func (x *exchange) reset() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	raw := conn
	for {
		inner, ok := raw.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		raw = inner.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}
