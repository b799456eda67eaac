package httpd

import (
	"container/list"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
)

const (
	// maxConns is how many connections are open at most. Each may hold a page that its client does not
	// read: with 50 registries, all of them together take 7 MiB.
	maxConns = 128
	// maxHeader is the largest header that is read: a scraper's is under 1 KB.
	maxHeader = 8 << 10
)

// listener keeps the number of open connections at a maximum: one more closes the oldest. So a flood never
// keeps a new client out.
type listener struct {
	net.Listener
	max    int
	turns  chan struct{} // see guard
	closed chan struct{}

	mu   sync.Mutex
	open list.List // of *conn, the oldest first
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if l.oldestAtLimit() != nil {
		// Wait in line with the requests that have been read, and then let the goroutines of connections
		// run. Otherwise, most requests are cut off before their answer, and their clients come again.
		select {
		case l.turns <- struct{}{}:
			<-l.turns
		case <-l.closed:
			_ = c.Close()
			return nil, net.ErrClosed
		}
		runtime.Gosched()
	}
	if oldest := l.oldestAtLimit(); oldest != nil {
		_ = oldest.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	added := &conn{Conn: c, from: l}
	added.place = l.open.PushBack(added)
	return added, nil
}

// Close implements net.Listener. net/http calls it once.
func (l *listener) Close() error {
	close(l.closed)
	return l.Listener.Close()
}

// oldestAtLimit returns the connection to close before another one is added, or nil.
func (l *listener) oldestAtLimit() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open.Len() < l.max {
		return nil
	}
	return l.open.Front().Value.(*conn)
}

// conn is an open connection of a listener.
type conn struct {
	net.Conn
	from  *listener
	place *list.Element
	read  atomic.Int64 // bytes since the last answer
}

// Close implements net.Conn. It may be called more than once.
func (c *conn) Close() error {
	c.from.mu.Lock()
	c.from.open.Remove(c.place)
	c.from.mu.Unlock()
	return c.Conn.Close()
}

const tooLarge = "HTTP/1.1 431 Request Header Fields Too Large\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n431 Request Header Fields Too Large"

// Read implements net.Conn. It refuses a header that is too large. net/http does so too, but then sleeps
// for 500 ms, and closing the connection does not end that: 6,000 such clients a second took 66 MiB, and
// take 28 MiB with this.
func (c *conn) Read(p []byte) (int, error) {
	if c.read.Load() >= maxHeader {
		_, _ = io.WriteString(c.Conn, tooLarge)
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		// If the rest stayed unread, the kernel would reset the connection, and the client might lose the
		// answer.
		_, _ = io.CopyN(io.Discard, c.Conn, 4*maxHeader)
		// net/http does not answer an error of this type.
		return 0, &net.OpError{Op: "read", Err: errors.New("the header is too large")}
	}
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.read.Store(0)
	return c.Conn.Write(p)
}
