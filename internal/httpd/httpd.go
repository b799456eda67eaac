// Package httpd is the HTTP server of the process: listen, serve, stop.
//
// It owns the socket, the timeouts, the limit of connections and the rules that hold for every path: GET
// and HEAD only, no body, no caching. It refuses to know what is served: paths, health and metrics are the
// handler's. No TLS and no HTTP/2: probes and scrapers inside a task's network need neither.
package httpd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// maxRunning is how many handlers run at a time. Closing a connection does not end its handler, so the
// limit of connections is not enough: 400 clients that ask for everything took 140 MiB without this limit,
// and take 30 MiB with it.
const maxRunning = 16

// drain is how long requests may still run after a stop was asked for. The process has a second to end after
// SIGTERM.
const drain = 400 * time.Millisecond

// Server is a bound socket. [Server.Serve] serves on it.
type Server struct {
	http     http.Server
	listener *listener
}

// Listen binds addr at once, so that a port that is in use is an error at the start. addr is host:port; an
// empty host means every interface, port 0 a free port. handler only gets GET and HEAD requests. errorLog
// receives what net/http logs, such as a panic of the handler.
func Listen(ctx context.Context, addr string, handler http.Handler, errorLog *log.Logger) (*Server, error) {
	inner, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another process listens on %s; choose another with --listen: %w", addr, err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("no permission to listen on %s; choose a port above 1023 with --listen: %w", addr, err)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %q; --listen takes host:port, with an address of this host or none: %w", addr, err)
	}
	return newServer(inner, handler, errorLog), nil
}

func newServer(inner net.Listener, handler http.Handler, errorLog *log.Logger) *Server {
	l := &listener{Listener: inner, max: maxConns, turns: make(chan struct{}, maxRunning), closed: make(chan struct{})}
	return &Server{
		listener: l,
		http: http.Server{
			Handler:           guard(handler, l),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       5 * time.Second,
			WriteTimeout:      10 * time.Second,
			IdleTimeout:       60 * time.Second, // a scrape comes every 15 to 60 s, best on the same connection
			MaxHeaderBytes:    4 * maxHeader,    // conn refuses it before
			ErrorLog:          errorLog,
			// OPTIONS * gets the answer that every other method gets.
			DisableGeneralOptionsHandler: true,
		},
	}
}

// Addr is the address that is bound, with the real port.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve serves until ctx ends. Then it accepts no new connection, closes those that wait for a request, and
// gives requests that are running 400 ms to end before it closes their connections too. It returns nil
// after a stop that was asked for. Call it once.
func (s *Server) Serve(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		_ = s.http.Close()
		return fmt.Errorf("serving on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if s.http.Shutdown(draining) != nil {
		_ = s.http.Close()
	}
	<-served //nolint:errcheck // it is http.ErrServerClosed
	return nil
}

// guard lets only GET and HEAD through, never reads a body, and adds the headers that every answer carries.
// A handler runs while it has one of the turns.
func guard(next http.Handler, l *listener) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if l.oldestAtLimit() != nil { // others wait for a place: each connection gets one answer
			h.Set("Connection", "close")
		}
		if r.ContentLength != 0 {
			// By itself, net/http waits up to 5 s for a body before it sends the answer, to keep the
			// connection.
			h.Set("Connection", "close")
			_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
			r.Body = http.NoBody
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
			return
		}
		a := answer{header: h}
		select {
		case l.turns <- struct{}{}:
			func() {
				defer func() { <-l.turns }()
				next.ServeHTTP(&a, r)
			}()
		case <-r.Context().Done(): // the connection was closed
			return
		}
		h.Set("Content-Length", strconv.Itoa(a.body.Len()))
		w.WriteHeader(cmp.Or(a.status, http.StatusOK))
		_, _ = a.body.WriteTo(w)
	})
}

// answer is an [http.ResponseWriter] that keeps an answer until the handler has returned, so that a client
// that does not read keeps no handler running.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = cmp.Or(a.status, status) }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
