package httpd

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener without sockets, so that a server can run in a bubble, where its time is exact and
// where the test fails if a goroutine outlives it.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// bubble runs test against a server of handler in a bubble. stop stops the server and returns how long
// Serve took to return.
func bubble(t *testing.T, handler http.HandlerFunc, test func(t *testing.T, p *pipes, stop func() time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := newServer(p, handler, log.New(t.Output(), "", 0))
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx) }()
		test(t, p, func() time.Duration {
			synctest.Wait()
			began := time.Now()
			cancel()
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
			return time.Since(began)
		})
	})
}

func send(t *testing.T, c io.Writer, raw string) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
}

func nothing(http.ResponseWriter, *http.Request) {}

func largeAnswer(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) }

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// A stop waits for requests that are running, for the time of drain at most.
func TestStop(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		request string
		read    bool // the client reads the answer
		least   time.Duration
		most    time.Duration
	}{
		{"nothing open", nothing, "", false, 0, 0},
		{"an idle connection", nothing, get, true, 0, 0},
		{"a connection without a request", nothing, "GET", false, 0, drain},
		{"a request that ends in time", func(http.ResponseWriter, *http.Request) { time.Sleep(drain / 2) }, get, true, drain / 2, drain},
		{"a request that ends with its context", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, get, true, drain, drain},
		{"a request that hangs", func(http.ResponseWriter, *http.Request) { time.Sleep(time.Hour) }, get, true, drain, drain},
		{"an answer that is not read", largeAnswer, get, false, drain, drain},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, test.handler, func(t *testing.T, p *pipes, stop func() time.Duration) {
				if test.request != "" {
					c := p.dial()
					defer c.Close()
					send(t, c, test.request)
					if test.read {
						go io.Copy(io.Discard, c)
					}
				}
				if took := stop(); took < test.least || took > test.most {
					t.Errorf("took %v, want %v to %v", took, test.least, test.most)
				}
				time.Sleep(time.Hour) // what hangs ends before the bubble
			})
		})
	}
}

func TestRequestInFlightIsAnsweredDuringTheStop(t *testing.T) {
	handler := func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(drain / 2)
		_, _ = io.WriteString(w, "whole")
	}
	bubble(t, handler, func(t *testing.T, p *pipes, stop func() time.Duration) {
		c := p.dial()
		defer c.Close()
		send(t, c, get)
		body := make(chan string, 1)
		go func() {
			_, s := readAnswer(t, bufio.NewReader(c), "GET")
			body <- s
		}()
		stop()
		if got := <-body; got != "whole" {
			t.Errorf("body %q", got)
		}
	})
}

func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := newServer(p, http.HandlerFunc(nothing), log.New(t.Output(), "", 0))
		served := make(chan error, 1)
		go func() { served <- s.Serve(t.Context()) }()
		c := p.dial()
		defer c.Close()
		_ = p.Close() // the server did not ask for it
		if err := <-served; err == nil || !strings.Contains(err.Error(), "serving on pipe: ") {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestSlowClientsAreCut(t *testing.T) {
	for _, test := range []struct {
		name   string
		first  string
		answer bool
		drip   string
		cut    time.Duration // after the first bytes, or after the answer to them
	}{
		{"says nothing", "", false, "", 5 * time.Second},
		{"a byte of a header each second", "GET / HTTP/1.1\r\nX: ", false, "x", 5 * time.Second},
		{"nothing after a request", get, true, "", 60 * time.Second},
		{"a body that does not come", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", true, "", 0},
		{"a body that does not come, of a GET", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", true, "", 0},
		{"chunks that do not come", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", true, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, nothing, func(t *testing.T, p *pipes, stop func() time.Duration) {
				c := p.dial()
				defer c.Close()
				r := bufio.NewReader(c)
				send(t, c, test.first)
				began := time.Now()
				if test.answer {
					readAnswer(t, r, "GET")
				}
				var dripping sync.WaitGroup
				if test.drip != "" {
					dripping.Go(func() {
						for _, err := io.WriteString(c, test.drip); err == nil; _, err = io.WriteString(c, test.drip) {
							time.Sleep(time.Second)
						}
					})
				}
				_, _ = io.Copy(io.Discard, r)
				if took := time.Since(began); took != test.cut {
					t.Errorf("cut after %v, want %v", took, test.cut)
				}
				dripping.Wait()
				stop()
			})
		})
	}
}

// The limit is of each header, not of all that a connection ever carries.
func TestHeadersAreCountedOneByOne(t *testing.T) {
	bubble(t, nothing, func(t *testing.T, p *pipes, stop func() time.Duration) {
		c := p.dial()
		defer c.Close()
		r := bufio.NewReader(c)
		for range 5 {
			send(t, c, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", maxHeader*3/4)+"\r\n\r\n")
			if res, _ := readAnswer(t, r, "GET"); res.StatusCode != http.StatusOK {
				t.Fatalf("status %d", res.StatusCode)
			}
		}
		stop()
	})
}

// After a header that is too large was refused, the rest of it is still read, so that the answer arrives. A
// header without an end is read for 5 s at most.
func TestRestOfARefusedHeaderIsRead(t *testing.T) {
	for _, test := range []struct {
		name string
		end  bool
		held time.Duration
	}{{"it ends", true, 0}, {"it does not end", false, 5 * time.Second}} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, nothing, func(t *testing.T, p *pipes, stop func() time.Duration) {
				c := p.dial()
				began := time.Now()
				got := make(chan string, 1)
				go func() { b, _ := io.ReadAll(c); got <- string(b) }()
				send(t, c, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 4*maxHeader))
				if test.end {
					_ = c.Close()
				}
				if answer := <-got; answer != tooLarge {
					t.Errorf("answer %q", answer)
				}
				if held := time.Since(began); held != test.held {
					t.Errorf("held for %v, want %v", held, test.held)
				}
				stop()
			})
		})
	}
}

// A client that does not read its answer holds its connection for the write timeout, no longer, and the
// handler not at all.
func TestAnswerNotReadIsCut(t *testing.T) {
	returned := false
	handler := func(w http.ResponseWriter, r *http.Request) {
		largeAnswer(w, r)
		returned = true
	}
	bubble(t, handler, func(t *testing.T, p *pipes, stop func() time.Duration) {
		c := p.dial()
		defer c.Close()
		send(t, c, get)
		synctest.Wait()
		if !returned {
			t.Error("the handler waits for the client")
		}
		began := time.Now()
		for _, err := io.WriteString(c, "x"); err == nil; { // the second byte is never read
			_, err = io.WriteString(c, "x")
		}
		if held := time.Since(began); held != 10*time.Second {
			t.Errorf("held for %v, want 10s", held)
		}
		stop()
	})
}
