package healthcheck

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAsk(t *testing.T) {
	tests := []struct {
		name    string
		answers []string // to one connection after the other: "reset" and "" close it
		healthy bool
		verdict string
	}{
		{"healthy", []string{"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nok\n"}, true, "healthy"},
		{"not healthy, for two reasons", []string{"HTTP/1.1 503 Service Unavailable\r\n\r\none\ntwo\n"}, false, "unhealthy: one; two"},
		{"another status", []string{"HTTP/1.0 404 Not Found\r\n\r\n404 page not found\n"}, false, "unhealthy: 404 page not found"},
		{"cut off, then healthy", []string{"", "reset", "", "HTTP/1.0 200 OK\r\n\r\nok\n"}, true, "healthy"},
		{"no HTTP", []string{"SSH-2.0-OpenSSH_9.2\r\n\r\n"}, false, "what answers there is no refresher"},
		{"half a header", []string{"HTTP/1.0 200 OK\r\n"}, false, "what answers there is no refresher"},
		{"a header without a status", []string{"HTTP/1.0\r\n\r\n"}, false, "what answers there is no refresher"},
		{"an answer without an end", []string{"HTTP/1.0 503 No\r\n\r\n" + strings.Repeat("x", 1<<20)}, false, "unhealthy: xxx"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			healthy, verdict := Ask(answering(t, tt.answers))
			if healthy != tt.healthy || !strings.Contains(verdict, tt.verdict) || strings.Contains(verdict, "\n") || len(verdict) > 10<<10 {
				t.Errorf("%t, %.200q", healthy, verdict)
			}
		})
	}
}

// answering listens, and answers one connection after the other; the last answer is for all others.
func answering(t *testing.T, answers []string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			switch answer := answers[0]; answer {
			case "reset":
				_ = c.(*net.TCPConn).SetLinger(0)
			case "":
			default:
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					t.Error(err)
				}
				_, _ = io.WriteString(c, answer)
			}
			c.Close()
			if len(answers) > 1 {
				answers = answers[1:]
			}
		}
	}()
	return l.Addr().String()
}

// The server is that of net/http, which speaks HTTP/1.1 when it may.
func TestAskNetHTTP(t *testing.T) {
	for status, want := range map[int]bool{http.StatusOK: true, http.StatusServiceUnavailable: false} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/healthz" || r.Method != http.MethodGet {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			w.WriteHeader(status)
			w.(http.Flusher).Flush() // HTTP/1.1 would be chunked
			_, _ = io.WriteString(w, "the reason\n")
		}))
		healthy, verdict := Ask(s.Listener.Addr().String())
		if healthy != want || !want && verdict != "unhealthy: the reason" {
			t.Errorf("%d: %t, %q", status, healthy, verdict)
		}
		s.Close()
	}
}

func TestAskNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if healthy, verdict := Ask(l.Addr().String()); healthy || !strings.Contains(verdict, "does not answer") || !strings.Contains(verdict, "REFRESHER_LISTEN") {
		t.Errorf("%t, %q", healthy, verdict)
	}
	for listen, want := range map[string]string{"127.0.0.1:0": "port 0", "nonsense": `no address, such as :9327: "nonsense"`, ":": "no address", "": "no address"} {
		if healthy, verdict := Ask(listen); healthy || !strings.Contains(verdict, want) {
			t.Errorf("%q: %t, %q", listen, healthy, verdict)
		}
	}
}

// A server that never answers is given up within the 5 s that ECS gives.
func TestAskOneThatHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	if healthy, verdict := Ask(l.Addr().String()); healthy || !strings.Contains(verdict, "timeout") || time.Since(began) < within {
		t.Errorf("%t, %q", healthy, verdict)
	}
}

func TestLocal(t *testing.T) {
	for listen, want := range map[string]string{
		":9327": "127.0.0.1:9327", "0.0.0.0:80": "127.0.0.1:80", "[::]:80": "[::1]:80", "127.0.0.1:1": "127.0.0.1:1",
		"10.0.0.7:9327": "10.0.0.7:9327", "localhost:9327": "localhost:9327", "[::1]:9327": "[::1]:9327",
	} {
		if got := Local(listen); got != want {
			t.Errorf("%s is asked at %s, want %s", listen, got, want)
		}
	}
}
