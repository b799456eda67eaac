package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"ecr-refresher/internal/cli"
	"ecr-refresher/internal/healthcheck"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/sandbox"
)

// FuzzOutputs: whatever is accepted is an absolute, clean path once, with permissions that the refresher can read and nobody
// else can write; whatever is refused says why.
func FuzzOutputs(f *testing.F) {
	for _, s := range []string{
		"/run/ecr/config.json", "/a?mode=0644", "/a?mode=0644,/b?mode=0600 /c", "/a,/a", "/a/../b /b", "/", "/a/..", "/a/.", "a", "", ",", "/a?", "/a?mode=", "/a?mode=0666", "/a?mode=0620", "/a?mode=0044",
		"/a?mode=4755", "/a?mode=0644&mode=0600", "/a?mode=0644;x", "/a?%6dode=0644", "/a?mode=%30644", "/a\xff", "/a\x00b", "/a?mode=00000000600", "/a?mode=-1", "/a?x=1", "//a", "/a/.", "/a/..", "/..", "/a\u2028b", "/a?mode=0o644",
	} {
		f.Add(s, "0600")
	}
	f.Add("/a", "0644")
	f.Add("/a", "77777777777777777777")
	f.Fuzz(func(t *testing.T, outputs, mode string) {
		m, err := parseMode(mode)
		if err != nil {
			return
		}
		checkMode(t, mode, m)
		outs, err := parseOutputs([]string{outputs}, m)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if line == "" {
					t.Errorf("%q: an empty reason in %q", outputs, err)
				}
			}
			return
		}
		if len(outs) == 0 {
			t.Errorf("%q: no output", outputs)
		}
		seen := map[string]bool{}
		for _, o := range outs {
			if !filepath.IsAbs(o.path) || filepath.Clean(o.path) != o.path || !utf8.ValidString(o.path) || strings.ContainsAny(o.path, "?, \t\r\n") {
				t.Errorf("%q: %q", outputs, o.path)
			}
			if seen[o.path] {
				t.Errorf("%q: %q twice", outputs, o.path)
			}
			seen[o.path] = true
			checkMode(t, outputs, o.mode)
			if again, err := parseOutput(o.path+"?mode=0"+strings.TrimPrefix(octal(o.mode), "0"), 0o600); err != nil || again != o {
				t.Errorf("%q: %+v is read again as %+v, %v", outputs, o, again, err)
			}
		}
	})
}

func octal(m fs.FileMode) string {
	const digits = "01234567"
	return string([]byte{digits[m>>6&7], digits[m>>3&7], digits[m&7]})
}

func checkMode(t *testing.T, in string, m fs.FileMode) {
	t.Helper()
	if m&^fs.ModePerm != 0 || m&0o400 == 0 || m&0o022 != 0 {
		t.Errorf("%q: mode %v", in, m)
	}
}

// FuzzSettings gives text to every setting: it ends with settings that are in their bounds, or with problems that each name a
// flag and its variable.
func FuzzSettings(f *testing.F) {
	f.Add("default", "/a", "0600", "us-west-2", "0.5", "0.2", "12h", "10s", "64", "issue", ":9327", "true", "60s")
	f.Add("public.ecr.aws,default", "/a?mode=0644", "0644", "", "NaN", "-0", "1e9h", "-1s", "0x10", "", "[::]:0", "perhaps", "1h")
	f.Add("AWS:PLANTED-password@123456789012.dkr.ecr.us-west-2.amazonaws.com", "a", "0", "x/y@z", "+Inf", "0x1p-2", "1h\n", "99999999999h", "-1", "off ", "localhost:70000", "", "")
	f.Fuzz(func(t *testing.T, registries, outputs, mode, region, renewAt, jitter, maxAge, timeout, parallel, verify, listen, instance, deadline string) {
		p, _, err := parse(invocation{args: []string{
			"once", "--registry=" + registries, "--output=" + outputs, "--output-mode=" + mode, "--region=" + region, "--renew-at=" + renewAt, "--jitter=" + jitter, "--max-age=" + maxAge,
			"--timeout=" + timeout, "--parallel=" + parallel, "--verify=" + verify, "--listen=" + listen, "--allow-instance-role=" + instance, "--deadline=" + deadline,
		}})
		var wrong *cli.UsageError
		if err != nil && !errors.As(err, &wrong) {
			t.Fatal(err)
		}
		if err != nil {
			for _, one := range wrong.Problems {
				flag, rest, ok := strings.Cut(one, " (REFRESHER_")
				if !ok || !strings.HasPrefix(flag, "--") || !strings.Contains(rest, "): ") || strings.HasSuffix(one, "): ") {
					t.Errorf("a problem of what? %q", one)
				}
			}
			return
		}
		s := p.settings
		checkSettings(t, s)
		if s.region != "" {
			if _, err := registry.PrivateHost("000000000000", s.region); err != nil {
				t.Errorf("region %q", s.region)
			}
		}
		if _, _, err := net.SplitHostPort(healthcheck.Local(s.listen)); err != nil {
			t.Errorf("%q cannot be asked for its health: %v", s.listen, err)
		}
	})
}

func checkSettings(t *testing.T, s settings) {
	t.Helper()
	if err := registry.CheckSpecs(s.registries); err != nil {
		t.Error(err)
	}
	for _, o := range s.outputs {
		checkMode(t, o.path, o.mode)
	}
	if len(s.outputs) == 0 || !(s.policy.RenewAt >= 0.01 && s.policy.RenewAt <= 0.95) || !(s.policy.Jitter >= 0 && s.policy.Jitter <= 0.9) ||
		s.policy.MaxAge <= 0 || s.timeout <= 0 || s.deadline <= 0 || s.parallel < 1 || s.verify == "" || s.listen == "" {
		t.Errorf("%+v", s)
	}
	for _, spec := range s.registries { // what is configured can be asked for
		if _, err := spec.Resolve("111122223333", "us-west-2"); err != nil && spec.Name != registry.DefaultName {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

// FuzzServer sends raw bytes to the server of a whole refresher that has issued, written and proved its tokens. Whatever
// comes: answers that the documentation knows, no secret in them, and a server that is there for the next.
func FuzzServer(f *testing.F) {
	const host = " HTTP/1.1\r\nHost: x\r\n"
	for _, path := range []string{"/", "/livez", "/healthz", "/readyz", "/status", "/metrics", "/status?x=%zz", "//status/../metrics", "/none", "*", "http://x/status", "/%00", "/debug/pprof/", "/metrics?name[]=x"} {
		f.Add([]byte("GET " + path + host + "\r\n"))
	}
	for _, raw := range []string{
		"HEAD /status" + host + "\r\n", "POST /healthz" + host + "Content-Length: 3\r\n\r\nabc", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/0.9\r\n\r\n", "GET /\r\n",
		"GET /metrics" + host + "Accept-Encoding: gzip, zstd;q=0.5\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n", "GET /metrics" + host + "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n\r\n",
		"GET /status" + host + "X: " + strings.Repeat("x", 13<<10) + "\r\n\r\n", "GET /" + host + "Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n", "GET /" + host + "Transfer-Encoding: gzip\r\n\r\n", "GET /" + host + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", "GET /" + host + "Expect: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "GET /livez" + host + "\r\nGET /healthz" + host + "\r\n", "GET /livez" + host + "Range: bytes=0-0,-1\r\nIf-None-Match: *\r\n\r\n", "CONNECT x:1" + host + "\r\n", "\x16\x03\x01\x02\x00\x01", "\r\n\r\nGET / HTTP/1.0\r\n\r\n",
	} {
		f.Add([]byte(raw))
	}
	addr, secrets, said := served(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		answer := exchange(t, addr, raw)
		if line := said.panicked.Load(); line != nil {
			t.Errorf("a handler panicked: %s", *line)
		}
		for _, s := range secrets {
			if bytes.Contains(answer, []byte(s)) {
				t.Error("an answer has a secret in it")
			}
		}
		r := bufio.NewReader(bytes.NewReader(answer))
		for asked := bufio.NewReader(bytes.NewReader(raw)); ; {
			req, _ := http.ReadRequest(asked)
			res, err := http.ReadResponse(r, req)
			if err != nil {
				break
			}
			body, _ := io.ReadAll(res.Body)
			switch res.StatusCode {
			case 100, 200, 307, 400, 404, 405, 417, 431, 501, 505:
			default:
				t.Errorf("status %d: %q", res.StatusCode, body)
			}
			if res.StatusCode >= 500 && res.Header.Get("Cache-Control") != "" { // which net/http's own refusals do not have
				t.Errorf("a failure of our own: %s %q", res.Status, body)
			}
			if req == nil {
				break
			}
			_, _ = io.Copy(io.Discard, req.Body)
		}
		if code, body := get("http://" + addr + "/livez"); code != http.StatusOK {
			t.Fatalf("afterwards: %d %s", code, body)
		}
	})
}

// exchange sends raw on a connection of its own and reads all that comes until the server ends it.
func exchange(t *testing.T, addr string, raw []byte) []byte {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(8 * time.Second)) // the server gives a request 5
	_, _ = c.Write(raw)
	_ = c.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(io.LimitReader(c, 4<<20))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no end after %d bytes", len(answer))
	}
	return answer
}

// lines is a log in which a panic is remembered.
type lines struct{ panicked atomic.Pointer[string] }

func (l *lines) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("panic")) {
		l.panicked.Store(new(string(b)))
	}
	return len(b), nil
}

// served is a refresher in a task, in this process: its address, every secret that it has met, and its log.
func served(f *testing.F) (addr string, secrets []string, said *lines) {
	f.Helper()
	aws, err := sandbox.Start(sandbox.Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = aws.Close() })
	for _, kv := range aws.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		f.Setenv(k, v)
	}
	f.Setenv("AWS_CA_BUNDLE", aws.CAFile())
	addr = freeAddr(f)
	ctx, stop := context.WithCancel(context.WithoutCancel(f.Context()))
	ended, said := make(chan int, 1), &lines{}
	inv := invocation{
		args:    []string{"run", "--registry=default", "--registry=public.ecr.aws?optional", "--listen=" + addr, "--output=" + filepath.Join(f.TempDir(), "config.json")},
		environ: os.Environ(), in: strings.NewReader(""), out: said, err: said,
	}
	go func() { ended <- run(ctx, inv) }()
	f.Cleanup(func() { stop(); <-ended })
	if !within(30*time.Second, func() bool { code, _ := get("http://" + addr + "/readyz"); return code == http.StatusOK }) {
		_, body := get("http://" + addr + "/status")
		f.Fatalf("not ready: %s", body)
	}
	return addr, aws.Secrets(), said
}
