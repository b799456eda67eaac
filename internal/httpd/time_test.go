package httpd

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener without sockets, so that a server can run in a bubble, where its time is exact and where the test fails
// if a goroutine outlives it.
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

// bubble runs test against a server of cfg in a bubble. stop stops the server and says how long Serve took to return, and what.
func bubble(t *testing.T, cfg Config, test func(t *testing.T, p *pipes, stop func() (time.Duration, error))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := newServer(cfg, p)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx) }()
		test(t, p, func() (time.Duration, error) {
			synctest.Wait()
			began := time.Now()
			cancel()
			err := <-served
			return time.Since(began), err
		})
	})
}

func send(t *testing.T, c io.Writer, raw string) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
}

// nothing answers 200 and no body.
var nothing = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func TestStop(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler func(deaf <-chan struct{}) http.HandlerFunc
		request string
		unread  bool // the client does not read the answer
		took    time.Duration
		err     string
	}{
		{"nothing open", nil, "", false, 0, ""},
		{"a connection without a request", nil, "GET", false, 0, ""},
		{"a request that ends in time", func(<-chan struct{}) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(300 * time.Millisecond):
				case <-r.Context().Done():
				}
			}
		}, get, false, 300 * time.Millisecond, ""},
		{"a hanging request", func(<-chan struct{}) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		}, get, false, 400 * time.Millisecond, ""},
		{"an answer nobody reads", func(<-chan struct{}) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1<<20)) }
		}, get, true, 400 * time.Millisecond, ""},
		{"a handler deaf to its context", func(deaf <-chan struct{}) http.HandlerFunc {
			return func(http.ResponseWriter, *http.Request) { <-deaf }
		}, get, false, 500 * time.Millisecond, "1 request(s) still running 500ms after the stop"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var handler http.HandlerFunc
			bubble(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler(w, r) })}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
				deaf := make(chan struct{}) // of the bubble, so that the time of the bubble passes while it is waited for
				defer close(deaf)
				if test.handler != nil {
					handler = test.handler(deaf)
				}
				if test.request != "" {
					c := p.dial()
					defer c.Close()
					send(t, c, test.request)
					if !test.unread {
						go io.Copy(io.Discard, c)
					}
				}
				took, err := stop()
				if took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
					t.Errorf("error %v, want %q", err, test.err)
				}
			})
		})
	}
}

func TestRequestInFlightIsAnsweredDuringTheStop(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(100 * time.Millisecond)
		_, _ = io.WriteString(w, "whole")
	})
	bubble(t, Config{Handler: handler}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
		c := p.dial()
		defer c.Close()
		send(t, c, get)
		body := make(chan string)
		go func() {
			_, s := answer(t, bufio.NewReader(c), "GET")
			body <- s
		}()
		type result struct {
			err  error
			took time.Duration
		}
		stopped := make(chan result)
		go func() { took, err := stop(); stopped <- result{err, took} }()
		if got := <-body; got != "whole" {
			t.Errorf("body %q", got)
		}
		if r := <-stopped; r.err != nil || r.took != 100*time.Millisecond {
			t.Errorf("stop: %v after %v, want 100ms", r.err, r.took)
		}
	})
}

func TestKeptConnectionIsClosedByTheStop(t *testing.T) {
	bubble(t, Config{Handler: nothing}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
		c := p.dial()
		send(t, c, get)
		answer(t, bufio.NewReader(c), "GET")
		if took, err := stop(); err != nil || took != 0 {
			t.Errorf("stop: %v after %v, want at once", err, took)
		}
	})
}

// A client that is refused may finish sending for half a second; the stop does not wait for that.
func TestStopDuringARefusal(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
		c := p.dial()
		defer c.Close()
		go io.Copy(io.Discard, c)
		send(t, c, hugeHead[:maxHeader])
		if took, err := stop(); err != nil || took != 0 {
			t.Errorf("stop: %v after %v, want at once", err, took)
		}
	})
}

var hugeHead = "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 6*maxHeader)

// A header that is too large is answered before all of it was sent, the rest is read for a while so that the answer arrives, and
// none of it holds a place: whoever comes has that of the refused one, at once.
func TestRefusal(t *testing.T) {
	for _, test := range []struct {
		name string
		sent int
		more bool // more of it comes whenever it can be sent
		ends time.Duration
	}{
		{"all is sent", 2 * maxHeader, false, linger},
		{"it never ends", 6 * maxHeader, true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, Config{Handler: nothing}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
				c := p.dial()
				defer c.Close()
				go func() {
					_, err := io.WriteString(c, hugeHead[:test.sent])
					for test.more && err == nil {
						_, err = io.WriteString(c, "xxxxxxxx")
					}
				}()
				began := time.Now()
				got, _ := io.ReadAll(c)
				if string(got) != tooLarge {
					t.Errorf("answer %q", got)
				}
				if took := time.Since(began); took != test.ends {
					t.Errorf("closed after %v, want %v", took, test.ends)
				}
				if _, err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestRefusedClientGivesItsPlaceAway(t *testing.T) {
	bubble(t, Config{Handler: nothing, MaxConns: 1}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
		refused := p.dial()
		defer refused.Close()
		go io.WriteString(refused, hugeHead[:2*maxHeader])
		r := bufio.NewReader(refused)
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 431 {
			t.Fatal(resp, err)
		}
		began := time.Now()
		next := p.dial()
		defer next.Close()
		send(t, next, get)
		answer(t, bufio.NewReader(next), "GET")
		if took := time.Since(began); took != 0 {
			t.Errorf("the next one waited for %v", took)
		}
		if _, err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// The limit is of each header, not of all that a connection ever carries, and a body is no header.
func TestHeadersAreCountedOneByOne(t *testing.T) {
	bubble(t, Config{Handler: nothing}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
		c := p.dial()
		defer c.Close()
		r := bufio.NewReader(c)
		for range 5 {
			send(t, c, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", maxHeader*3/4)+"\r\n\r\n")
			if resp, _ := answer(t, r, "GET"); resp.StatusCode != 200 {
				t.Fatalf("status %d", resp.StatusCode)
			}
		}
		go io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"+strings.Repeat("x", 4*maxHeader))
		began := time.Now()
		if resp, _ := answer(t, r, "POST"); resp.StatusCode != 405 {
			t.Errorf("status %d", resp.StatusCode)
		}
		_, _ = io.Copy(io.Discard, r)
		if took := time.Since(began); took != 0 {
			t.Errorf("a large body kept the connection for %v", took)
		}
		if _, err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Few handlers run at a time, the others wait for their turn; but not for handlers that hang.
func TestHandlersTakeTurns(t *testing.T) {
	for _, test := range []struct {
		name string
		each time.Duration
		all  time.Duration // until the last of three times maxRunning requests is answered
		most int           // at the same time
	}{
		{"in turn", 100 * time.Millisecond, 300 * time.Millisecond, maxRunning},
		{"hanging", time.Minute, patience + time.Minute, 3 * maxRunning},
	} {
		t.Run(test.name, func(t *testing.T) {
			var mu sync.Mutex
			var now, most int
			count := func(n int) {
				mu.Lock()
				defer mu.Unlock()
				now += n
				most = max(most, now)
			}
			handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				count(1)
				time.Sleep(test.each)
				count(-1)
			})
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				s := newServer(Config{Handler: handler}, p)
				s.http.WriteTimeout = 0
				ctx, cancel := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- s.Serve(ctx) }()
				began := time.Now()
				var asking sync.WaitGroup
				for range 3 * maxRunning {
					asking.Go(func() {
						c := p.dial()
						defer c.Close()
						send(t, c, get)
						answer(t, bufio.NewReader(c), "GET")
					})
				}
				asking.Wait()
				if took := time.Since(began); took != test.all {
					t.Errorf("took %v, want %v", took, test.all)
				}
				if most != test.most {
					t.Errorf("%d at the same time, want %d", most, test.most)
				}
				cancel()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Clients that do not take their answers are nobody to wait for, however many they are.
func TestUnreadAnswersMakeNobodyWait(t *testing.T) {
	bubble(t, Config{Handler: nothing, MaxConns: 4}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
		for range 4 {
			c := p.dial()
			defer c.Close()
			send(t, c, get)
			synctest.Wait()
		}
		began := time.Now()
		c := p.dial()
		defer c.Close()
		send(t, c, get)
		answer(t, bufio.NewReader(c), "GET")
		if took := time.Since(began); took != 0 {
			t.Errorf("waited for %v", took)
		}
		if _, err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// What unread answers hold in memory has a bound, however large each of them is; the newest one is always given.
func TestUnreadAnswersAreBounded(t *testing.T) {
	page := make([]byte, 1<<20)
	big := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })
	bubble(t, Config{Handler: big}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
		var all []net.Conn
		for range 40 {
			c := p.dial()
			defer c.Close()
			send(t, c, get)
			synctest.Wait()
			all = append(all, c)
		}
		whole := 0
		for _, c := range all {
			if n, _ := io.Copy(io.Discard, io.LimitReader(c, int64(len(page)))); n == int64(len(page)) {
				whole++
			}
		}
		if want := mostHeld / len(page); whole != want {
			t.Errorf("%d answers were kept for their clients, want %d", whole, want)
		}
		if _, err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Requests in flight that take all their places are waited for, and none is cut; but not for long where they hang.
func TestNewcomersWaitForRequestsInFlight(t *testing.T) {
	for _, test := range []struct {
		name string
		each time.Duration
		cut  int
	}{
		{"they end", mostWait / 2, 0},
		{"they hang", time.Hour, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var cut atomic.Int64
			handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(test.each):
				case <-r.Context().Done():
					cut.Add(1)
				}
			})
			bubble(t, Config{Handler: handler, MaxConns: maxRunning}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
				var asking sync.WaitGroup
				var last atomic.Int64 // when the server read the latest request
				ask := func() {
					c := p.dial()
					asking.Go(func() {
						defer c.Close()
						send(t, c, get)
						last.Store(time.Now().UnixNano())
						_, _ = io.ReadAll(io.LimitReader(c, 12))
					})
					synctest.Wait()
				}
				for range maxRunning {
					ask()
				}
				began := time.Now()
				ask()
				time.Sleep(time.Second)
				if took, want := time.Duration(last.Load()-began.UnixNano()), min(test.each, mostWait); took != want {
					t.Errorf("waited for %v, want %v", took, want)
				}
				if int(cut.Load()) != test.cut {
					t.Errorf("%d were cut, want %d", cut.Load(), test.cut)
				}
				if _, err := stop(); err != nil {
					t.Error(err)
				}
				asking.Wait()
			})
		})
	}
}

func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := newServer(Config{}, p)
		served := make(chan error, 1)
		go func() { served <- s.Serve(t.Context()) }()
		c := p.dial()
		defer c.Close()
		_ = p.Close() // behind the server's back
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
			bubble(t, Config{Handler: nothing}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
				c := p.dial()
				defer c.Close()
				r := bufio.NewReader(c)
				send(t, c, test.first)
				began := time.Now()
				if test.answer {
					answer(t, r, "GET")
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
				if _, err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A client that does not read its answer holds its connection for the write timeout, no longer, and a handler not at all.
func TestAnswerNotReadIsCut(t *testing.T) {
	returned := false
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
		returned = true
	})
	bubble(t, Config{Handler: handler}, func(t *testing.T, p *pipes, stop func() (time.Duration, error)) {
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
		if _, err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Sixteen clients fill a server of sixteen places with connections that asked once. A newcomer that takes its time is
// answered although eight more come meanwhile.
func TestNewcomerHasTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := newServer(Config{MaxConns: 16}, p)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx) }()
		var all []net.Conn
		dial := func() net.Conn {
			c := p.dial()
			all = append(all, c)
			synctest.Wait()
			return c
		}
		for range 16 {
			c := dial()
			send(t, c, get)
			answer(t, bufio.NewReader(c), "GET")
		}
		slow := dial()
		if _, err := all[0].Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the connection it took the place of: %v, want EOF", err)
		}
		send(t, slow, "GET / HT")
		for range 7 {
			dial()
		}
		send(t, slow, "TP/1.1\r\nHost: x\r\n\r\n")
		if resp, _ := answer(t, bufio.NewReader(slow), "GET"); resp.StatusCode != 404 {
			t.Errorf("status %d", resp.StatusCode)
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		for _, c := range all {
			c.Close()
		}
	})
}
