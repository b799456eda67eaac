package httpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
)

// start serves handler on a free port of loopback until the test ends, and then expects a clean stop with
// nothing left.
func start(t *testing.T, handler http.Handler) *Server {
	t.Helper()
	s, err := Listen(t.Context(), "127.0.0.1:0", handler, log.New(t.Output(), "", 0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if c, err := net.Dial("tcp", s.Addr().String()); err == nil {
			c.Close()
			t.Error("still accepts after Serve returned")
		}
	})
	return s
}

func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends raw on a new connection and reads one answer.
func exchange(t *testing.T, s *Server, raw, method string) (*http.Response, string) {
	t.Helper()
	c := dial(t, s)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, bufio.NewReader(c), method)
}

func readAnswer(t *testing.T, r *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func echoPath() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
}

func TestListenNamesTheCure(t *testing.T) {
	taken := start(t, echoPath()).Addr().String()
	for _, test := range []struct {
		name, addr string
		want       []string
	}{
		{"taken", taken, []string{"another process listens on " + taken + "; choose another with --listen", "address already in use"}},
		{"no port", "localhost", []string{`"localhost"`, "--listen takes host:port"}},
		{"port too large", "127.0.0.1:99999", []string{"127.0.0.1:99999", "--listen"}},
		{"foreign address", "192.0.2.1:0", []string{`"192.0.2.1:0"`, "an address of this host"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Listen(t.Context(), test.addr, echoPath(), nil)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
		})
	}
}

func TestRequests(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/", echoPath())
	s := start(t, mux)
	const host = " HTTP/1.1\r\nHost: x\r\n"
	for _, test := range []struct {
		name, raw string
		status    int
		body      string
	}{
		{"get", "GET /a" + host + "\r\n", 200, "/a"},
		{"get 1.0", "GET /a HTTP/1.0\r\n\r\n", 200, "/a"},
		{"head", "HEAD /a" + host + "\r\n", 200, ""},
		{"get with a body", "GET /a" + host + "Content-Length: 3\r\n\r\nabc", 200, "/a"},
		{"post", "POST /a" + host + "Content-Length: 3\r\n\r\nabc", 405, "only GET and HEAD are answered here\n"},
		{"post, body never sent", "POST /a" + host + "Content-Length: 3\r\n\r\n", 405, "only GET and HEAD are answered here\n"},
		{"post, chunks never sent", "POST /a" + host + "Transfer-Encoding: chunked\r\n\r\n", 405, "only GET and HEAD are answered here\n"},
		{"post, expects to be asked for it", "POST /a" + host + "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n", 405, "only GET and HEAD are answered here\n"},
		{"put", "PUT /a" + host + "\r\n", 405, "only GET and HEAD are answered here\n"},
		{"options", "OPTIONS /a" + host + "\r\n", 405, "only GET and HEAD are answered here\n"},
		{"options of the server", "OPTIONS *" + host + "\r\n", 405, "only GET and HEAD are answered here\n"},
		{"trace", "TRACE /a" + host + "Cookie: secret\r\n\r\n", 405, "only GET and HEAD are answered here\n"},
		{"connect", "CONNECT a:1" + host + "\r\n", 405, "only GET and HEAD are answered here\n"},
		{"own method", "GE /a" + host + "\r\n", 405, "only GET and HEAD are answered here\n"},
		{"HTTP/2 by preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405, "only GET and HEAD are answered here\n"},
		{"path tricks", "GET //evil.example/../../b" + host + "\r\n", 307, "<a href=\"/b\">Temporary Redirect</a>.\n\n"},
		{"header of 7 KiB", "GET /a" + host + "X: " + strings.Repeat("x", 7<<10) + "\r\n\r\n", 200, "/a"},
		{"header of 16 KiB", "GET /a" + host + "X: " + strings.Repeat("x", 16<<10) + "\r\n\r\n", 431, "431 Request Header Fields Too Large"},
		{"no host", "GET /a HTTP/1.1\r\n\r\n", 400, "400 Bad Request: missing required Host header"},
		{"two lengths", "GET /a" + host + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400, "400 Bad Request"},
		{"HTTP/2 by upgrade is ignored", "GET /a" + host + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", 200, "/a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			method, _, _ := strings.Cut(test.raw, " ")
			resp, body := exchange(t, s, test.raw, method)
			if resp.StatusCode != test.status || body != test.body {
				t.Fatalf("%d %q, want %d %q", resp.StatusCode, body, test.status, test.body)
			}
			if test.status == 400 || test.status == 431 {
				return // net/http answers these before any handler
			}
			want := map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Allow": ""}
			if test.status == 405 {
				want["Allow"] = "GET, HEAD"
			}
			for name, value := range want {
				if got := resp.Header.Get(name); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
			if hasBody := strings.Contains(test.raw, "Content-Length") || strings.Contains(test.raw, "chunked"); hasBody && !resp.Close {
				t.Error("a connection with an unread body stays open")
			}
		})
	}
}

func TestPipelining(t *testing.T) {
	c := dial(t, start(t, echoPath()))
	if _, err := io.WriteString(c, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for _, want := range []string{"/1", "/2", "/3"} {
		if _, body := readAnswer(t, r, "GET"); body != want {
			t.Errorf("body %q, want %q", body, want)
		}
	}
}

// Four times as many connections as may be open, none of which ever sends a request: after each 100 of them
// somebody else's request is answered.
func TestIdleConnectionsShutNobodyOut(t *testing.T) {
	s := start(t, echoPath())
	for i := range 4 * maxConns {
		c := dial(t, s)
		if i%2 == 0 { // half of them begin
			_, _ = io.WriteString(c, "GET /never HTTP/1.1\r\n") // an error where it is closed already
		}
		if i%100 != 0 {
			continue
		}
		if _, body := exchange(t, s, "GET /new HTTP/1.1\r\nHost: x\r\n\r\n", "GET"); body != "/new" {
			t.Fatalf("after %d: body %q", i, body)
		}
	}
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	if n := s.listener.open.Len(); n > maxConns {
		t.Errorf("%d connections open, want at most %d", n, maxConns)
	}
}
