// Package httpd is the one HTTP server of the process: listen, timeouts, serve, drain.
//
// It owns the socket, every limit that keeps a hostile client from costing more than a few MB or from shutting others out
// (see conns.go), and an end within a bounded time. It refuses to know what is served: paths, health and metrics are the
// handler's, and so is the decision when to stop. No TLS and no HTTP/2: probes and scrapers inside a task's network need
// neither.
package httpd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// defaultMaxConns is far above what asks (one probe, one or two Prometheus servers, a person) and keeps the buffers and
	// stacks of all connections near 5 MB.
	defaultMaxConns = 256
	// defaultDrain leaves the process half of the second in which it must be gone after SIGTERM.
	defaultDrain = 500 * time.Millisecond
	// maxHeader: a scraper's header is under 1 KB. What is beyond it is read until the 4 KB are full that it began in.
	maxHeader = 8 << 10
	// maxRunning is how many handlers run at a time, each of which takes some 100 KB while it does, as long as none hangs: see patience.
	maxRunning = 4
	// patience is how long a request waits for those before it: then they hang, such as on a file system, and it may not. The
	// health check has 4 s.
	patience = 2 * time.Second
)

// Config says what to serve where. The zero value of every field but Addr is usable.
type Config struct {
	// Addr is host:port; an empty host is every interface, port 0 a free one.
	Addr string
	// Handler sees only GET and HEAD. Nil answers 404.
	Handler http.Handler
	// MaxConns is how many connections are open at most, 256 by default. One more closes one that waits.
	MaxConns int
	// DrainTimeout is all the time a stop may take, 500 ms by default: four fifths for requests in flight to end by
	// themselves, the rest for those cut off then to notice.
	DrainTimeout time.Duration
	// ErrorLog takes what net/http has to say (a panic of the handler, a failing accept); nil discards it.
	ErrorLog *log.Logger
}

// Server is a bound socket, and serves once [Server.Serve] is called.
type Server struct {
	http     http.Server
	listener net.Listener
	conns    *conns
	drain    time.Duration
	gate     chan struct{} // holds one for each handler that runs
	running  atomic.Int64  // requests whose handler has not returned
}

// Listen binds at once, so that a taken port is an error of the start, with its cure in the text. It starts nothing.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another process listens on %s; choose another with --listen: %w", cfg.Addr, err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("no permission to listen on %s; choose a port above 1023 with --listen: %w", cfg.Addr, err)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %q; --listen takes host:port, with an address of this host or none: %w", cfg.Addr, err)
	}
	return newServer(cfg, listener), nil
}

func newServer(cfg Config, listener net.Listener) *Server {
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = defaultMaxConns
	}
	if cfg.DrainTimeout <= 0 {
		cfg.DrainTimeout = defaultDrain
	}
	if cfg.Handler == nil {
		cfg.Handler = http.NotFoundHandler() // net/http would serve its global mux
	}
	s := &Server{listener: listener, conns: newConns(cfg.MaxConns), drain: cfg.DrainTimeout, gate: make(chan struct{}, maxRunning)}
	s.http = http.Server{
		Handler:           s.guard(cfg.Handler),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       60 * time.Second, // a scrape comes every 15 to 60 s, best on the same connection
		MaxHeaderBytes:    4 * maxHeader,    // head comes first
		Protocols:         new(http.Protocols),
		ConnState:         s.conns.changed,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, ofConn{}, c) },
		ErrorLog:          cmp.Or(cfg.ErrorLog, log.New(io.Discard, "", 0)),
		// OPTIONS * too gets the answer that every other method gets.
		DisableGeneralOptionsHandler: true,
	}
	s.http.Protocols.SetHTTP1(true)
	return s
}

// Addr is the address bound, with the real port.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve serves until ctx ends, then stops: no new connection, idle ones closed at once, requests in flight given their time,
// what is left cut off. It returns when all that it started has ended, after DrainTimeout at the latest; nil after a stop
// that was asked for. Call it once.
func (s *Server) Serve(ctx context.Context) error {
	// Requests outlive ctx, for the drain, and end with this one.
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	s.http.BaseContext = func(net.Listener) context.Context { return requests }
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(listener{s.listener, s.conns}) }()
	var failed error
	select {
	case <-ctx.Done():
		s.stopAccepting(ctx)
		<-served //nolint:errcheck // the listener was closed: it says so
	case err := <-served:
		failed = fmt.Errorf("serving on %s: %w", s.Addr(), err)
		s.stopAccepting(ctx)
	}
	// A connection without a request would be waited for, up to 5 s: it may be about to send one, as may any client that comes
	// a moment later.
	s.conns.closeNew()

	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drain)
	defer cancel()
	grace, cancel := context.WithTimeout(drain, s.drain*4/5)
	defer cancel()
	ended := s.conns.ended()
	select {
	case <-ended:
		return failed
	case <-grace.Done():
	}
	cut()
	_ = s.http.Close() // the listener's error is of no interest any more
	select {
	case <-ended:
	case <-drain.Done():
		// What remains of a connection may be a goroutine of net/http that waits half a second after a malformed request. Only
		// a handler is ours to complain of.
		if n := s.running.Load(); n > 0 {
			failed = errors.Join(failed, fmt.Errorf("%d request(s) still running %v after the stop: a handler ignores the end of its context", n, s.drain))
		}
	}
	return failed
}

// stopAccepting closes the listener and the idle connections, and ends keep-alive. The context given to Shutdown has ended,
// so that it does not wait: it polls, up to 500 ms apart, where conns knows the moment.
func (s *Server) stopAccepting(ctx context.Context) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_ = s.http.Shutdown(ended)
}

// guard lets only GET and HEAD through, never reads a body, and adds the headers that every answer carries: what we say is
// true for this moment only, and is of the type we say.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.running.Add(1)
		defer s.running.Add(-1)
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.ContentLength != 0 {
			// net/http would read up to 256 KB of it after the answer, for up to 5 s, to keep the connection.
			h.Set("Connection", "close")
			_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
			r.Body = http.NoBody // or, of a larger one, sleep for 500 ms before it closes the connection
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
			return
		}
		a := held{header: h}
		if !s.run(next, &a, r) {
			return
		}
		h.Set("Content-Length", strconv.Itoa(a.body.Len()))
		if c, ok := r.Context().Value(ofConn{}).(net.Conn); ok {
			s.conns.writing(c, a.body.Len())
		}
		w.WriteHeader(cmp.Or(a.status, http.StatusOK))
		_, _ = w.Write(a.body.Bytes())
	})
}

// ofConn is the key of the connection in a request's context.
type ofConn struct{}

// run has a handler write its answer as soon as fewer than maxRunning others do, or its patience ends; false where the client is
// gone before.
func (s *Server) run(next http.Handler, a *held, r *http.Request) bool {
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case s.gate <- struct{}{}:
		defer func() { <-s.gate }()
	case <-wait.C:
	case <-r.Context().Done():
		return false
	}
	next.ServeHTTP(a, r)
	return true
}

// held is an answer that is kept until it is whole: a client that does not read it keeps no handler running.
type held struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *held) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *held) WriteHeader(status int) { a.status = cmp.Or(a.status, status) }

// Write implements http.ResponseWriter.
func (a *held) Write(p []byte) (int, error) { return a.body.Write(p) }
