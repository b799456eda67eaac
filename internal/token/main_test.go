package token

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

// The whole package is tested through the real SDK against the sandbox. AWS's host names reach it through a proxy, as a
// container's would; net/http reads the proxy's variables once per process, so there is one proxy for all tests, and each
// test says where it leads.
var gate = newProxy()

func TestMain(m *testing.M) {
	for _, name := range []string{"NO_PROXY", "no_proxy", "https_proxy", "http_proxy"} {
		_ = os.Unsetenv(name)
	}
	_ = os.Setenv("HTTPS_PROXY", gate.url)
	_ = os.Setenv("HTTP_PROXY", gate.url)
	code := m.Run()
	if missing := unmet(); code == 0 && wholeRun() && len(missing) != 0 {
		fmt.Printf("FAIL: no test met the classes %q\n", missing)
		code = 1
	}
	os.Exit(code)
}

// met are the classes that wantFault saw: together the tests must meet every class that is about a token.
var met sync.Map

func unmet() []fault.Class {
	return slices.DeleteFunc(fault.Classes(), func(c fault.Class) bool {
		_, ok := met.Load(c)
		return ok || c.OfOutput()
	})
}

func wholeRun() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if flag.Lookup(name).Value.String() != "" {
			return false
		}
	}
	return true
}

// proxy leads every CONNECT to one address, and remembers what it was asked for.
type proxy struct {
	url string

	mu   sync.Mutex
	to   string // host:port; empty refuses
	seen []string
}

func newProxy() *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	p := &proxy{url: "http://" + l.Addr().String()}
	go func() { _ = http.Serve(l, p) }()
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Host)
	to := p.to
	p.mu.Unlock()
	if r.Method != http.MethodConnect || to == "" {
		http.Error(w, "no way", http.StatusBadGateway)
		return
	}
	up, err := net.Dial("tcp", to)
	if err != nil {
		http.Error(w, "no way", http.StatusBadGateway)
		return
	}
	down, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = up.Close()
		return
	}
	_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { defer up.Close(); defer down.Close(); _, _ = io.Copy(up, buf) }()
	go func() { defer up.Close(); defer down.Close(); _, _ = io.Copy(down, up) }()
}

// lead sends what comes to an address until the test ends, and forgets what was asked for.
func (p *proxy) lead(t testing.TB, to string) {
	p.set(to)
	t.Cleanup(func() { p.set("") })
}

func (p *proxy) set(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to, p.seen = to, nil
}

func (p *proxy) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

// clean empties the environment of everything that the SDK reads.
func clean(t testing.TB) {
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // restores it after the test
			_ = os.Unsetenv(name)
		}
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
}

// inTask starts a sandbox and makes the environment that of a container in its task.
func inTask(t testing.TB, cfg sandbox.Config) *sandbox.Sandbox {
	t.Helper()
	clean(t)
	sb, err := sandbox.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sb.Close(); err != nil {
			t.Errorf("close the sandbox: %v", err)
		}
	})
	gate.lead(t, sb.TLSAddr())
	t.Setenv("AWS_CA_BUNDLE", sb.CAFile())
	t.Setenv(fullURI, credentialsURI(sb))
	return sb
}

const fullURI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"

func credentialsURI(sb *sandbox.Sandbox) string {
	for _, kv := range sb.Environ() {
		if uri, ok := strings.CutPrefix(kv, fullURI+"="); ok {
			return uri
		}
	}
	panic("the sandbox has no credentials")
}

const region = "us-west-2"

// here is the scope of the task's own registry.
var here = Scope{Region: region}

func newClient(t testing.TB, opts Options) *Client {
	t.Helper()
	if opts.Version == "" {
		opts.Version = "v1.2.3"
	}
	if opts.Region == "" {
		opts.Region = region
	}
	c, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustToken(t testing.TB, c *Client, s Scope) Token {
	t.Helper()
	tok, err := c.Token(t.Context(), s)
	if err != nil {
		t.Fatalf("Token(%s): %v; cure: %s", s, err, fault.CureOf(err))
	}
	if tok.Auth.Reveal() == "" || tok.Life() <= 0 {
		t.Fatalf("Token(%s) = %v without an error", s, tok)
	}
	return tok
}

// recovers asks until there is a token. After a hung answer the first call may still meet the end of that.
func recovers(t testing.TB, c *Client, s Scope) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, err := c.Token(ctx, s)
		if err == nil {
			return
		}
		if class, _ := fault.ClassOf(err); class != fault.Timeout && class != fault.CredentialsUnavailable || ctx.Err() != nil {
			t.Fatalf("no recovery: %v", err)
		}
	}
}

// wantFault holds an error against what all of them promise: a class, a cure, one line that tells what was being done, and
// nothing that is secret.
func wantFault(t testing.TB, err error, class fault.Class, op string, secrets ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want %s", class)
	}
	text := err.Error()
	met.Store(class, true)
	if got, _ := fault.ClassOf(err); got != class {
		t.Errorf("class %q of %q; want %q", got, text, class)
	}
	cure := fault.CureOf(err)
	if cure == "" {
		t.Errorf("%s: %q has no cure", class, text)
	}
	if !strings.HasPrefix(text, op) {
		t.Errorf("%q does not begin with what was being done, %q", text, op)
	}
	if rest := strings.TrimPrefix(text, op); rest != text && (len(rest) < len(": no") || !strings.HasPrefix(rest, ": ")) {
		t.Errorf("%q does not say why", text)
	}
	for _, s := range []string{text, cure} {
		if len(s) > 1000 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("not one line of at most 1000 bytes (%d): %q", len(s), s)
		}
	}
	wantNoSecret(t, fmt.Sprintf("%s\n%s\n%+v\n%#v", text, cure, err, err), secrets...)
}

func wantNoSecret(t testing.TB, text string, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if s != "" && strings.Contains(text, s) {
			t.Errorf("a secret was shown: %s", strings.ReplaceAll(text, s, "<<LEAK>>"))
		}
	}
}

// secretsOf are the sandbox's, with the id in the address of the credentials.
func secretsOf(sb *sandbox.Sandbox) []string {
	uri := credentialsURI(sb)
	return append(sb.Secrets(), uri[strings.LastIndexByte(uri, '/')+1:])
}

// soon is a deadline for what hangs: the test waits for it.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
