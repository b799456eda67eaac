package sandbox

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// connect answers CONNECT host:443 by being that host: it takes the connection over, speaks TLS with a certificate for the host, and
// serves the same handler inside.
func (s *Sandbox) connect(x *exchange) {
	host, port, err := net.SplitHostPort(x.r.Host)
	switch {
	case x.r.TLS != nil:
		http.Error(x.w, "sandbox: CONNECT is for the plain listener only", http.StatusMethodNotAllowed)
		return
	case err != nil || port != "443":
		http.Error(x.w, "sandbox: CONNECT is for port 443 only", http.StatusForbidden)
		return
	}
	conn, buf, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		http.Error(x.w, "sandbox: "+err.Error(), http.StatusInternalServerError)
		return
	}
	x.w.status = http.StatusOK
	if _, err := conn.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		_ = conn.Close()
		return
	}
	s.tunnels.give(tls.Server(prefixed{conn, buf.Reader}, s.ca.tlsConfig(host)))
}

// prefixed reads first what the HTTP server had buffered of the connection.
type prefixed struct {
	net.Conn
	r *bufio.Reader
}

func (p prefixed) Read(b []byte) (int, error) { return p.r.Read(b) }

// NetConn is the connection beneath, as of tls.Conn.
func (p prefixed) NetConn() net.Conn { return p.Conn }

// tunnelListener hands connections that are already open to an http.Server.
type tunnelListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newTunnelListener() *tunnelListener {
	return &tunnelListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// give passes the connection on, or closes it when nobody listens any more.
func (l *tunnelListener) give(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

// Accept waits for the next tunnel.
func (l *tunnelListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close makes Accept fail.
func (l *tunnelListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr has no meaning: tunnels arrive through the plain listener.
func (l *tunnelListener) Addr() net.Addr { return &net.TCPAddr{} }
