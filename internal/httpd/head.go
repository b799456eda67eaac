package httpd

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// head is a connection that refuses a header that is too large by itself. net/http does so too, but then sleeps for 500 ms in a
// goroutine that nothing wakes: above 2,000 such clients a second those goroutines either take the memory or shut others out.
// This one waits in a read, which the closing of the connection ends.
type head struct {
	net.Conn
	read int // bytes since the last request; a body is never read
}

const tooLarge = "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n431 Request Header Fields Too Large"

// linger is how long a client that is refused may go on sending: a close with something unread would be a reset, which
// takes from the client the answer that it has not read yet.
const linger = 500 * time.Millisecond

var errTooLarge = &net.OpError{Op: "read", Err: errors.New("the header is too large")} // net/http answers no error of a read

// Read implements net.Conn. net/http never has two under way.
func (h *head) Read(p []byte) (int, error) {
	if h.read >= maxHeader {
		h.refuse()
		return 0, errTooLarge
	}
	n, err := h.Conn.Read(p)
	h.read += n
	return n, err
}

func (h *head) refuse() {
	_ = h.SetDeadline(time.Now().Add(linger))
	if _, err := io.WriteString(h.Conn, tooLarge); err != nil {
		return
	}
	if c, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, h.Conn, 2*maxHeader) // more is no mistake
}

// changed hears of the connection's state whenever that is decided by the goroutine that reads, and nobody is reading.
func (h *head) changed(state http.ConnState) {
	if state == http.StateActive || state == http.StateIdle {
		h.read = 0
	}
}
