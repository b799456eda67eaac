package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
)

// startBy starts the shipped daemon from a shell line in which "$0" is its path, and waits until it is ready; the test's end
// stops it.
func (p *program) startBy(line, bin string) {
	p.t.Helper()
	p.run(exec.Command("sh", "-c", line, bin), &p.err)
	p.until("it is ready", func() bool { code, _ := p.get("/readyz"); return code == 200 })
}

// What every attack is held against. A container engine that gives few descriptors gives 1,024.
const (
	mostMemory      = 48 << 10 // KiB resident at any moment: three quarters of the 64 MiB that deploy/taskdef.json gives
	limitOfFiles    = 1024
	mostDescriptors = limitOfFiles / 2 // the other half is for the file and for AWS
)

// assault is one attack under way.
type assault struct {
	addr  string
	over  chan struct{}
	dials atomic.Int64

	mu   sync.Mutex
	seen map[string]string // an answer by its status line, of those that the attackers read
}

func (a *assault) going() bool {
	select {
	case <-a.over:
		return false
	default:
		return true
	}
}

// dial opens a connection. Its close is a reset, so that an attack does not use up the ports of this host.
func (a *assault) dial(do func(c net.Conn)) {
	c, err := net.DialTimeout("tcp", a.addr, time.Second)
	if err != nil {
		return // the kernel's queue is full
	}
	defer c.Close()
	a.dials.Add(1)
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	do(c)
}

// read takes all that the daemon has to say.
func (a *assault) read(c net.Conn) {
	b, _ := io.ReadAll(io.LimitReader(c, 64<<10))
	line, _, _ := strings.Cut(string(b), "\r\n")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[line] = string(b)
}

var hugeHeader = []byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 16<<10))

// attacks are what clients do that mean harm. Each has a number of clients, which do it again and again until it is over.
var attacks = []struct {
	name    string
	clients int
	client  func(a *assault, n int)
}{
	{"headers that trickle", 3000, func(a *assault, _ int) {
		a.dial(func(c net.Conn) {
			for piece := "GET /metrics HTTP/1.1\r\nHost: x\r\nX: "; a.going(); piece = "x" {
				if _, err := io.WriteString(c, piece); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}},
	{"bodies that trickle", 300, func(a *assault, n int) {
		a.dial(func(c net.Conn) {
			_, _ = io.WriteString(c, []string{
				"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na",
				"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\na",
				"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na",
			}[n%3])
			a.read(c)
		})
	}},
	{"10,000 that idle", 10000, func(a *assault, n int) {
		a.dial(func(c net.Conn) {
			if n%2 == 0 {
				_, _ = io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
			}
			<-a.over // its socket stays, whatever the daemon does at its end
		})
	}},
	{"headers that are too large", 200, func(a *assault, n int) {
		a.dial(func(c net.Conn) {
			_, err := c.Write(hugeHeader)
			switch n % 4 {
			case 0: // does not wait
			case 1: // never ends
				for err == nil && a.going() {
					_, err = c.Write(hugeHeader[20:])
				}
			default:
				a.read(c)
			}
		})
	}},
	{"a pipeline with garbage at its end", 64, func(a *assault, _ int) {
		a.dial(func(c net.Conn) {
			_, _ = io.WriteString(c, strings.Repeat("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 50)+"\x00\xff\x16\x03garbage\r\n\r\n")
			a.read(c)
		})
	}},
	{"answers that nobody reads", 400, func(a *assault, _ int) {
		a.dial(func(c net.Conn) {
			_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
			_, _ = io.WriteString(c, strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 500))
			select {
			case <-a.over:
			case <-time.After(time.Second):
			}
		})
	}},
	{"asked again and again", 400, func(a *assault, _ int) {
		a.dial(func(c net.Conn) {
			r := bufio.NewReader(c)
			for a.going() {
				if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					return
				}
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					return
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					return
				}
			}
		})
	}},
	{"everything is asked for", 400, func(a *assault, n int) {
		a.dial(func(c net.Conn) {
			path := []string{"/", "/status", "/metrics", "/readyz"}[n%4]
			_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			a.read(c)
		})
	}},
}

// TestUnderAttack has the shipped program, with few descriptors, do its work under each attack: tokens are renewed before a
// consumer finds an old one, the health check of ECS succeeds every time, memory and descriptors stay within their bounds, and
// nothing is answered that is not meant to be. A scrape may fail meanwhile, and succeeds after the attack.
func TestUnderAttack(t *testing.T) {
	t.Parallel()
	const life, due = 8 * time.Second, 1600 * time.Millisecond // soon, and with time left for a machine that tests other things too
	bin := shipped(t)
	p := newProgram(t, sandbox.Config{TokenLife: life}, "REFRESHER_JITTER=0", fmt.Sprint("REFRESHER_RENEW_AT=", float64(due)/float64(life)), "REFRESHER_REGISTRIES=default")
	p.startBy(fmt.Sprintf(`ulimit -n %d && exec "$0" run`, limitOfFiles), bin)
	t.Logf("before: %d KiB", peak(t, p.cmd.Process.Pid))
	for _, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			a := &assault{addr: strings.TrimPrefix(p.url, "http://"), over: make(chan struct{}), seen: map[string]string{}}
			prometheus := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second} // it has its connection, and keeps it
			defer prometheus.CloseIdleConnections()
			scrape := func() error {
				res, err := prometheus.Get(p.url + "/metrics")
				if err != nil {
					return err
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				if res.StatusCode == 503 { // more scrapes at a time than are answered
					return errors.New("503")
				}
				if err == nil && (res.StatusCode != 200 || !strings.Contains(string(body), "ecr_refresher_token_valid{registry=\"default\"} 1\n")) {
					t.Errorf("scrape: %d %.300s", res.StatusCode, body)
				}
				return err
			}
			if err := scrape(); err != nil {
				t.Fatal(err)
			}
			var clients, probes sync.WaitGroup
			issued, began := len(p.aws.Tokens()), time.Now()
			for n := range attack.clients {
				clients.Go(func() {
					for a.going() {
						attack.client(a, n)
					}
				})
			}
			var checks, scrapes, failed, files atomic.Int64
			probes.Go(func() {
				for a.going() {
					cmd := exec.Command(bin, "healthcheck")
					cmd.Env = p.environ
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("health check: %v: %s", err, out)
					}
					checks.Add(1)
				}
			})
			probes.Go(func() {
				for a.going() {
					scrapes.Add(1)
					if scrape() != nil {
						failed.Add(1)
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
			probes.Go(func() {
				for a.going() {
					all, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)) // who is not root sees none
					files.Store(max(files.Load(), int64(len(all))))
					time.Sleep(5 * time.Millisecond)
				}
			})
			if !within(15*time.Second, func() bool {
				return time.Since(began) > time.Second && len(p.aws.Tokens()) > issued && checks.Load() > 2 && scrapes.Load() > 2 && a.dials.Load() >= int64(attack.clients)
			}) {
				t.Errorf("in 15 s: %d renewals, %d health checks, %d scrapes, %d connections of %d clients (see ulimit -Hn)",
					len(p.aws.Tokens())-issued, checks.Load(), scrapes.Load(), a.dials.Load(), attack.clients)
			}
			close(a.over)
			took := time.Since(began)
			probes.Wait()
			clients.Wait()
			memory := peak(t, p.cmd.Process.Pid)
			t.Logf("%d connections (%.0f/s); %d health checks; %d scrapes, %d failed; %d descriptors, %d KiB at most", a.dials.Load(),
				float64(a.dials.Load())/took.Seconds(), checks.Load(), scrapes.Load(), failed.Load(), files.Load(), memory)
			if memory > mostMemory {
				t.Errorf("%d KiB resident at most, want %d", memory, mostMemory)
			}
			if files.Load() > mostDescriptors {
				t.Errorf("%d descriptors, want at most %d", files.Load(), mostDescriptors)
			}
			for _, answer := range a.seen {
				for _, wrong := range undocumented(answer) {
					t.Errorf("an answer to an attacker: %s", wrong)
				}
				if leak := leaked(p.aws, answer); leak != "" {
					t.Errorf("an answer to an attacker holds a secret: %s", leak)
				}
			}
		})
	}
	tokens := p.aws.Tokens()
	var worst time.Duration
	for i := range tokens[1:] {
		worst = max(worst, tokens[i+1].Issued.Sub(tokens[i].Issued))
	}
	t.Logf("%d tokens, the longest time between two was %v of the %v after which one is due", len(tokens), worst, due)
	if worst > life*9/10 {
		t.Errorf("a token was %v old when it was renewed: no consumer could use it any more", worst)
	}
	p.noSecrets()
	if code := p.stop(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if n := strings.Count(p.out.String(), "\n"); n > len(tokens)+5 { // a line for each, and those of the start and the end
		t.Errorf("attackers filled the log: %d lines\n%s", n, p.redacted(p.out.String()))
	}
}

// peak is the most memory that a process ever had resident, in KiB.
func peak(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	kb, err := strconv.Atoi(string(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

// bodies says of each status which answers there are beside the content of the paths above. docs/security.md has the same list.
var bodies = map[int]string{
	307: `<a href="/[^"<>]*">Temporary Redirect</a>\.\n\n`,
	400: `(400 Bad Request(: (missing required Host header|malformed Host header|invalid header name))?)?`,
	404: `404 page not found\n`,
	405: `only GET and HEAD are answered here\n`,
	417: ``,
	431: `431 Request Header Fields Too Large`,
	501: `Unsupported transfer encoding`,
	505: `505 HTTP Version Not Supported: unsupported protocol version`,
}

// headers are all that an answer may carry.
var headers = []string{"Allow", "Cache-Control", "Connection", "Content-Encoding", "Content-Length", "Content-Security-Policy", "Content-Type", "Date",
	"Location", "Vary", "X-Content-Type-Options"}

// undocumented returns what is wrong with the answers on one connection, of which the last may be cut off.
func undocumented(text string) (wrong []string) {
	r := bufio.NewReader(strings.NewReader(text))
	for {
		if _, err := r.Peek(1); err != nil {
			return wrong
		}
		res, err := http.ReadResponse(r, &http.Request{Method: "GET"})
		if err != nil {
			return wrong // cut off
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return wrong
		}
		want, ok := bodies[res.StatusCode]
		if res.StatusCode == 200 || res.StatusCode == 503 {
			want, ok = `(?s).*`, true
		}
		if !ok || !regexp.MustCompile(`^`+want+`$`).Match(body) {
			wrong = append(wrong, fmt.Sprintf("%s %.200q", res.Status, body))
		}
		for _, mark := range []string{"goroutine ", ".go:", "runtime error", "runtime.", "panic"} {
			if bytes.Contains(body, []byte(mark)) {
				wrong = append(wrong, fmt.Sprintf("%s has %q in it", res.Status, mark))
			}
		}
		for name, values := range res.Header {
			if !slices.Contains(headers, name) {
				wrong = append(wrong, fmt.Sprintf("%s with %s: %s", res.Status, name, values))
			}
		}
		if to := res.Header.Get("Location"); to != "" && (to[0] != '/' || strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`)) {
			wrong = append(wrong, "a redirect to "+to)
		}
	}
}

// TestStrangeRequests sends to the shipped program what no client of good will sends. Each connection is read to its end, so that
// an answer too many, to a request that was smuggled in as a body, is seen as well.
func TestStrangeRequests(t *testing.T) {
	t.Parallel()
	p := newProgram(t, sandbox.Config{})
	p.startBy(`exec "$0" run`, shipped(t))
	secrets := 0
	for _, group := range strange {
		for _, raw := range group.raw {
			c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(c, raw)
			text, err := io.ReadAll(c)
			c.Close()
			if err != nil {
				t.Errorf("%.100q: the connection stays open or is reset: %v", raw, err)
			}
			var got []string
			for r := bufio.NewReader(bytes.NewReader(text)); ; {
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					break
				}
				_, _ = io.Copy(io.Discard, res.Body)
				got = append(got, strconv.Itoa(res.StatusCode))
			}
			if strings.Join(got, " ") != group.want {
				t.Errorf("%.100q: answers %v, want %s", raw, got, group.want)
			}
			for _, wrong := range undocumented(string(text)) {
				t.Errorf("%.100q: %s", raw, wrong)
			}
			if leak := leaked(p.aws, string(text)); leak != "" {
				t.Errorf("%.100q: the answer holds a secret: %s", raw, leak)
			}
			secrets = len(p.aws.Secrets())
		}
	}
	if secrets == 0 {
		t.Error("there was no secret that could have leaked")
	}
	if n := strings.Count(p.out.String(), "\n"); n > 10 {
		t.Errorf("%d lines of log:\n%s", n, p.redacted(p.out.String()))
	}
}

const (
	host = " HTTP/1.1\r\nHost: x\r\n"
	// last ends a connection that is still there, and shows that it is.
	last = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	// inner is a request in what may be a body: answered, it would have been smuggled in.
	inner = "GET /status HTTP/1.1\r\nHost: x\r\n\r\n"
)

// each makes requests, one of each part between two others.
func each(before, after string, parts ...string) (raw []string) {
	for _, p := range parts {
		raw = append(raw, before+p+after)
	}
	return raw
}

// smuggled are headers of a body that two parsers may see differently, by the answer to a GET that has them.
var smuggled = map[string][]string{
	"200": {
		fmt.Sprintf("Content-Length: %d\r\n\r\n", len(inner)), "Content-Length: 3\r\nConnection: keep-alive\r\n\r\n",
		"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5;x\r\nabcde\r\n0\r\nX: y\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
		"Transfer-Encoding: chunked\r\nX: y\nContent-Length: 3\r\n\r\n0\r\n\r\n",
	},
	"400": {
		"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", "Content-Length: 0\r\nContent-Length: 34\r\n\r\n",
		"Content-Length: +6\r\n\r\n", "Content-Length: -1\r\n\r\n", "Content-Length: 0x6\r\n\r\n", "Content-Length: 6, 6\r\n\r\n", "Content-Length: \r\n\r\n",
		"Content-Length: 99999999999999999999\r\n\r\n",
	},
	"501": {
		"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
	},
}

// strange is what is sent, by the statuses of all the answers to it.
var strange = []struct {
	want string
	raw  []string
}{
	{"405 200", each("", " /metrics"+host+"\r\n"+last, "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "CONNECT", "get", "M-SEARCH")},
	{"405 200", each("", host+"\r\n"+last, "OPTIONS *", "CONNECT evil.example:443")},
	{"405", []string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /" + host + "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"}},
	{"404 200", each("GET ", host+"\r\n"+last, "/metrics/", "/%5cevil.example/%2e%2e/", "/%2e%2e/etc/passwd", "/%2e%2e/%2fevil.example", "/..%2f..%2fetc/passwd",
		"/%2fetc%2fpasswd", "/metrics%2f", "/metrics%00", "/%00", "/\xff", "/é", "/%ff", "/metrics%20", "/metrics;a", "/metrics#x", "/LIVEZ", "/config.json",
		"/run/ecr/config.json", "/.config.json.state", "/proc/self/environ", "/debug/pprof/", "/debug/vars", "/"+strings.Repeat("a", 7<<10))},
	{"307 200", each("GET ", host+"\r\n"+last, "//", "///", "/..", "/../", "/../../etc/passwd", "/./", "//evil.example/", "/metrics/../status", "//evil.example/%2e%2e",
		`/\evil.example/..`, "/%2f%2fevil.example/..", "/"+strings.Repeat("../", 2<<10), "http://evil.example//livez", "javascript:alert(1)",
		"/<script>alert(1)</script>/..", `/x"><script>/../<i>`)},
	{"200 200", each("GET ", host+"\r\n"+last, "/metrics?x=../../etc/passwd", "/metrics?name[]=x", "http://evil.example/livez", "http://u:p@evil.example/livez",
		"http:///livez", "ftp://evil.example/livez")},
	{"400", each("GET ", host+"\r\n"+last, "/\x00", "/%zz", "/%", "/metrics ", "*", "metrics", "", "http://[::1/livez")},
	{"400", each("", "\r\n\r\n"+last, "GET /", "GET / HTTP", "GET / HTTP/1.1x", "G\x00T /"+host, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x00\x00\x00\x00", "SSH-2.0-x", "")},
	{"505", each("GET / HTTP/", "\r\nHost: x\r\n\r\n"+last, "0.9", "2.0", "9.9")},
	{"200", []string{"GET / HTTP/1.0\r\n\r\n", "GET /livez HTTP/1.1\nHost: x\nConnection: close\n\n", "HEAD /metrics" + host + "Connection: close\r\n\r\n"}},
	{"400", each("GET /livez HTTP/1.1\r\n", "\r\n\r\n"+last, "X: y", "Host: a\r\nHost: b", "Host: a b", "Host: a/b", "Host: \x00", "Host: <script>",
		"Host: x\r\nX y: z", "Host: x\r\nX", "Host: x\r\n folded: x", "Host: x\r\nX: \x00", "Host: x\r\n: x")},
	{"200", each("GET /livez HTTP/1.1\r\n", "\r\n\r\n"+last, "Host:\r\nConnection: close", "Host: evil.example\r\nConnection: close", "Host: x\r\nX: é\r\nConnection: close",
		"Host: x\r\nExpect: 100-continue\r\nContent-Length: 4", "Host: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings, close\r\nHTTP2-Settings: AAMAAABk",
		"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close", "Host: x\r\nRange: bytes=0-0\r\nIf-None-Match: *\r\nConnection: close")},
	{"200", each("GET /metrics"+host, "\r\nConnection: close\r\n\r\n", "Accept-Encoding: gzip",
		"Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")},
	{"417", []string{"GET /livez" + host + "Expect: tea\r\nConnection: close\r\n\r\n"}},
	{"431", each("GET /", "\r\n\r\n"+last, host+"X: "+strings.Repeat("x", 16<<10), host+strings.Repeat("X: y\r\n", 4<<10), strings.Repeat("a", 16<<10)+host)},
	{"200 400", []string{"GET /livez" + host + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner}}, // folded into X: no body, then no request
	{"200", each("GET /livez"+host, inner, smuggled["200"]...)},
	{"405", each("POST /livez"+host, inner, smuggled["200"]...)},
	{"400", each("GET /livez"+host, inner, smuggled["400"]...)},
	{"400", each("POST /livez"+host, inner, smuggled["400"]...)},
	{"501", each("GET /livez"+host, inner, smuggled["501"]...)},
	{"501", each("POST /livez"+host, inner, smuggled["501"]...)},
}
