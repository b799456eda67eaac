package sandbox

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Transport is for Go registry clients: it trusts the sandbox alone and dials it whatever the host; port 80 is the plain listener,
// all others are the TLS listener. Each call returns a new one; its connections end with the sandbox.
func (s *Sandbox) Transport() *http.Transport {
	return &http.Transport{
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
}
