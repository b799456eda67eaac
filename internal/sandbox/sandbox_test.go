package sandbox

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestConfigIsChecked(t *testing.T) {
	for want, cfg := range map[string]Config{
		"12 digits":          {Account: "1234"},
		"task id":            {TaskID: "a/b"},
		"token life":         {TokenLife: -1},
		"credential life":    {CredentialLife: -1},
		"unknown port":       {Addr: "127.0.0.1:port"},
		"no such file":       {CADir: "/nonexistent/dir"},
		"no known partition": {Account: "1", Region: "moon-1"},
	} {
		s, err := Start(cfg)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: no error", want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestEnviron(t *testing.T) {
	dir := t.TempDir()
	s := start(t, Config{CADir: dir})
	var keys []string
	for _, kv := range s.Environ() {
		k, _, _ := strings.Cut(kv, "=")
		keys = append(keys, k)
	}
	want := "AWS_CONTAINER_CREDENTIALS_FULL_URI ECS_CONTAINER_METADATA_URI_V4 HTTPS_PROXY https_proxy NO_PROXY SSL_CERT_FILE"
	if got := strings.Join(keys, " "); got != want {
		t.Errorf("Environ has %s", got)
	}
	if s.CAFile() != filepath.Join(dir, "ca.pem") {
		t.Errorf("CAFile = %s", s.CAFile())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.CAFile()); err != nil {
		t.Errorf("Close removed a file in a directory that is not its own: %v", err)
	}
}

func TestProxy(t *testing.T) {
	s := start(t, Config{})
	client := proxied(t, s)
	get := func(url string) (int, string) {
		t.Helper()
		r, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		res, body := do(t, client, r)
		return res.StatusCode, body
	}
	if code, _ := get("https://" + privateHost + "/v2/"); code != 401 {
		t.Errorf("registry by proxy: %d", code)
	}
	if code, body := get("https://s3.us-west-2.amazonaws.com/"); code != 404 || !strings.Contains(body, "nothing answers") {
		t.Errorf("unknown host: %d %s", code, body)
	}
	for _, url := range []string{"https://" + privateHost + "/control/", "https://" + privateHost + metadataPath + s.metaID + "/task"} {
		if code, _ := get(url); code != 404 {
			t.Errorf("%s: %d", url, code)
		}
	}
	if _, err := client.Get("https://" + privateHost + ":8443/v2/"); err == nil || !strings.Contains(err.Error(), "Forbidden") {
		t.Errorf("another port: %v", err)
	}
}

func TestCertificateBySNI(t *testing.T) {
	s := start(t, Config{})
	for name, verify := range map[string]string{"api.ecr.us-west-2.amazonaws.com": "api.ecr.us-west-2.amazonaws.com", "": "127.0.0.1"} {
		c, err := tls.Dial("tcp", s.TLSAddr(), &tls.Config{ServerName: name, InsecureSkipVerify: name == "", RootCAs: s.ca.pool()})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.VerifyHostname(verify); name != "" && err != nil {
			t.Error(err)
		}
		if err := c.ConnectionState().PeerCertificates[0].VerifyHostname(verify); err != nil {
			t.Error(err)
		}
		_ = c.Close()
	}
}

// Hung calls, idle connections, tunnels and half-open handshakes must all end, and Close must wait for them.
func TestCloseReleasesEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	var aborted atomic.Int32
	s := start(t, Config{Log: func(line string) {
		if strings.Contains(line, " none ") {
			aborted.Add(1)
		}
	}})
	s.Set(Fault{Service: "credentials", Kind: Hang}, Fault{Service: "registry", Kind: Slow, Latency: time.Hour})
	half, err := net.Dial("tcp", s.TLSAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	direct, proxy := &http.Transport{}, proxied(t, s).Transport
	ended := make(chan error, 3)
	request := func(url string) *http.Request {
		method, body := http.MethodPost, io.Reader(strings.NewReader(strings.Repeat("x", 1<<20))) // an upload that stays unread
		if strings.HasPrefix(url, s.URL()) {
			method, body = http.MethodGet, nil
		}
		r, _ := http.NewRequestWithContext(t.Context(), method, url, body)
		return r
	}
	for url, rt := range map[string]http.RoundTripper{
		environ(t, s, "AWS_CONTAINER_CREDENTIALS_FULL_URI"): direct,
		"https://" + privateHost + "/v2/":                   s.Transport(),
		"https://" + privateHost + "/v2/x":                  proxy,
	} {
		go func() {
			res, err := (&http.Client{Transport: rt, Timeout: 20 * time.Second}).Do(request(url))
			if err == nil {
				_ = res.Body.Close()
			}
			ended <- err
		}()
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if c := s.Calls(); c["credentials"] == 1 && c["registry:POST /v2/"] == 1 && c["registry:POST /v2/x"] == 1 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the calls did not arrive: %v", c)
		}
	}
	closed := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := aborted.Load(); n != 3 {
		t.Errorf("Close did not wait: %d of 3 handlers ended", n)
	}
	for range 3 {
		if err := <-ended; err == nil || strings.Contains(err.Error(), "Client.Timeout") {
			t.Errorf("a hung call ended with %v", err)
		}
	}
	if d := time.Since(closed); d > 5*time.Second {
		t.Errorf("Close took %v", d)
	}
	direct.CloseIdleConnections()
	proxy.(*http.Transport).CloseIdleConnections()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
	if _, err := net.Dial("tcp", s.TLSAddr()); err == nil {
		t.Error("still listening")
	}
}

func TestCloseWaitsForHandlers(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := start(t, Config{Log: func(string) { close(entered); <-release }})
	go func() {
		if res, err := http.Get(s.URL() + "/control/"); err == nil {
			_ = res.Body.Close()
		}
	}()
	<-entered // the handler is in its last line
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case <-closed:
		t.Error("Close returned while a handler ran")
		close(release)
	case <-time.After(50 * time.Millisecond): // too short only hides a mistake, it cannot make the test fail
		close(release)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
}
