package sandbox

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// Transport is for Go registry clients: it trusts the sandbox alone and dials it whatever the host; port 80 is the plain listener,
// all others are the TLS listener. Each call returns a new one; Close closes their idle connections.
func (s *Sandbox) Transport() *http.Transport {
	t := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: s.ca.pool(), MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to := s.TLSAddr()
			if _, port, err := net.SplitHostPort(addr); err == nil && port == "80" {
				to = s.plain.Addr().String()
			}
			var d net.Dialer
			return d.DialContext(ctx, network, to)
		},
	}
	s.transports.add(t)
	return t
}

// transportList remembers what Transport gave out.
type transportList struct {
	mu   sync.Mutex
	list []*http.Transport
}

func (l *transportList) add(t *http.Transport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, t)
}

func (l *transportList) closeIdle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.list {
		t.CloseIdleConnections()
	}
}
