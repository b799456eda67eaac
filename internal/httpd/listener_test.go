package httpd

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// recorded is a connection that records that it was closed.
type recorded struct {
	net.Conn
	closed bool
}

func (r *recorded) Close() error { r.closed = true; return r.Conn.Close() }

// Each step is a connection that comes, or as a negative number one that the server closes.
func TestOldestIsClosed(t *testing.T) {
	for _, test := range []struct {
		name  string
		max   int
		steps []int
		open  []int // in the end
	}{
		{"room for all", 3, []int{1, 2, 3}, []int{1, 2, 3}},
		{"one more", 3, []int{1, 2, 3, 4}, []int{2, 3, 4}},
		{"many more", 2, []int{1, 2, 3, 4, 5}, []int{4, 5}},
		{"one that ended makes room", 2, []int{1, 2, -2, 3}, []int{1, 3}},
		{"the oldest ended", 2, []int{1, 2, -1, 3, 4}, []int{3, 4}},
		{"closed twice makes room once", 2, []int{1, 2, -1, -1, 3, 4}, []int{3, 4}},
		{"closed by the listener, then by the server", 2, []int{1, 2, 3, -1, 4}, []int{3, 4}},
		{"a single place", 1, []int{1, 2, 3}, []int{3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPipes()
			l := &listener{Listener: p, max: test.max, turns: make(chan struct{}, 1)}
			all, accepted := map[int]*recorded{}, map[int]net.Conn{}
			for _, n := range test.steps {
				if n < 0 {
					_ = accepted[-n].Close()
					continue
				}
				_, server := net.Pipe()
				all[n] = &recorded{Conn: server}
				go func() { p.conns <- all[n] }()
				c, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				accepted[n] = c
			}
			var open []int
			for n, c := range all {
				if !c.closed {
					open = append(open, n)
				}
			}
			slices.Sort(open)
			if !slices.Equal(open, test.open) {
				t.Errorf("open are %v, want %v", open, test.open)
			}
		})
	}
}

// More clients than there may be connections, none of which sends a whole request or reads an answer, keep
// nobody waiting.
func TestFloodKeepsNobodyWaiting(t *testing.T) {
	for name, request := range map[string]string{"silent": "", "half a header": "GET / HTTP/1.1\r\nX: ", "no reader": get} {
		t.Run(name, func(t *testing.T) {
			bubble(t, largeAnswer, func(t *testing.T, p *pipes, stop func() time.Duration) {
				began := time.Now()
				var clients sync.WaitGroup
				for range 3 * maxConns {
					c := p.dial()
					clients.Go(func() {
						defer c.Close()
						_, _ = io.WriteString(c, request)
						time.Sleep(time.Second)
					})
					synctest.Wait()
				}
				c := p.dial()
				defer c.Close()
				send(t, c, get)
				if res, body := readAnswer(t, bufio.NewReader(c), "GET"); res.StatusCode != http.StatusOK || len(body) != 1<<20 {
					t.Errorf("%s, %d bytes", res.Status, len(body))
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("waited for %v", took)
				}
				clients.Wait()
				stop()
			})
		})
	}
}

// More clients than there may be connections ask at the same time: few handlers run, and the others wait;
// nobody is cut off.
func TestHandlersTakeTurns(t *testing.T) {
	var running, most atomic.Int64
	handler := func(http.ResponseWriter, *http.Request) {
		most.Store(max(most.Load(), running.Add(1)))
		time.Sleep(10 * time.Millisecond)
		running.Add(-1)
	}
	bubble(t, handler, func(t *testing.T, p *pipes, stop func() time.Duration) {
		var clients sync.WaitGroup
		for range 4 * maxConns {
			c := p.dial()
			clients.Go(func() {
				defer c.Close()
				if _, err := io.WriteString(c, get); err != nil {
					t.Error(err)
					return
				}
				if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("answer: %v", err)
				}
			})
			synctest.Wait()
		}
		clients.Wait()
		if most.Load() != maxRunning {
			t.Errorf("%d handlers at the same time, want %d", most.Load(), maxRunning)
		}
		stop()
	})
}

// Clients that ask again and again on connections that they keep do not use up all the turns: a newcomer waits no longer than
// it takes to answer each of them once.
func TestKeptConnectionsShareTurns(t *testing.T) {
	const each, clients = 10 * time.Millisecond, 4 * maxConns
	handler := func(http.ResponseWriter, *http.Request) { time.Sleep(each) }
	bubble(t, handler, func(t *testing.T, p *pipes, stop func() time.Duration) {
		var hammering sync.WaitGroup
		over := make(chan struct{})
		for range clients {
			hammering.Go(func() {
				for {
					client, server := net.Pipe()
					select {
					case <-over:
						return
					case p.conns <- server:
					}
					r := bufio.NewReader(client)
					for err := error(nil); err == nil; {
						if _, err = io.WriteString(client, get); err == nil {
							_, err = http.ReadResponse(r, nil)
						}
					}
					_ = client.Close()
				}
			})
		}
		time.Sleep(time.Second)
		began := time.Now()
		c := p.dial()
		defer c.Close()
		send(t, c, get)
		readAnswer(t, bufio.NewReader(c), "GET")
		if took := time.Since(began); took > 2*each*clients/maxRunning {
			t.Errorf("waited for %v", took)
		}
		close(over)
		stop()
		_ = p.Close()
		hammering.Wait()
	})
}

// Handlers that hang do not keep the server from stopping, even where a newcomer waits for them.
func TestStopWhileHandlersHang(t *testing.T) {
	hang := func(http.ResponseWriter, *http.Request) { time.Sleep(time.Hour) }
	bubble(t, hang, func(t *testing.T, p *pipes, stop func() time.Duration) {
		for range maxConns + 1 {
			c := p.dial()
			defer c.Close()
			go io.WriteString(c, get)
			synctest.Wait()
		}
		if took := stop(); took != drain {
			t.Errorf("took %v, want %v", took, drain)
		}
		time.Sleep(2 * time.Hour) // they end before the bubble
	})
}
