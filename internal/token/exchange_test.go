package token

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

const (
	amzJSON  = "application/x-amz-json-1.1"
	goodJSON = `{"authorizationData":[{"authorizationToken":"QVdTOnBhc3N3b3Jk","expiresAt":%s,"proxyEndpoint":"https://123456789012.dkr.ecr.us-west-2.amazonaws.com"}]}`
	publJSON = `{"authorizationData":{"authorizationToken":"QVdTOnBhc3N3b3Jk","expiresAt":%s}}`
)

// TestPanicOfTheSDK has answers on which the SDK's parser panics: the call fails with a class, the stack goes to where it is wanted,
// the process goes on.
func TestPanicOfTheSDK(t *testing.T) {
	for _, r := range []struct {
		body, expires string
		scope         Scope
	}{
		{goodJSON, `"NaN"`, Scope{Region: region}},
		{publJSON, `"NaN"`, Scope{Public: true, Region: "us-east-1"}},
	} {
		t.Run(r.scope.String(), func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", amzJSON)
				fmt.Fprintf(w, r.body, r.expires)
			}))
			t.Cleanup(srv.Close)
			s := r.scope
			s.Endpoint = srv.URL
			var stacks []string
			c := newClient(t, Options{OnPanic: func(err error, stack []byte) { stacks = append(stacks, err.Error()+"\n"+string(stack)) }})
			_, err := c.Token(t.Context(), s)
			wantFault(t, err, fault.InvalidResponse, "get a token for "+s.String(), secretsOf(sb)...)
			if !strings.Contains(err.Error(), "panicked: big.ErrNaN") {
				t.Errorf("the text is %q", err)
			}
			if len(stacks) != 1 || !strings.Contains(stacks[0], "ParseEpochSeconds") {
				t.Errorf("%d stacks: %q", len(stacks), stacks)
			}
			wantNoSecret(t, strings.Join(stacks, "\n"), append(secretsOf(sb), "QVdTOnBhc3N3b3Jk")...)
		})
	}
	// Values near it, which do not panic or do: none ends the process.
	for _, expires := range []string{`"Infinity"`, `"-Infinity"`, `"nan"`, `1e400`, `-1e308`, `1e308`, `null`, `true`, `[]`, `{}`, `"2026-01-01"`, `""`} {
		inTask(t, sandbox.Config{})
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, goodJSON, expires) }))
		s := Scope{Region: region, Endpoint: srv.URL}
		_, err := newClient(t, Options{}).Token(t.Context(), s)
		wantFault(t, err, fault.InvalidResponse, "get a token for "+s.String())
		srv.Close()
	}
}

// A panic while credentials are retrieved happens in a goroutine of the SDK's, where it would end the process.
func TestPanicInCredentials(t *testing.T) {
	for name, explode := range map[string]func(http.RoundTripper) http.RoundTripper{
		"in the transport": func(http.RoundTripper) http.RoundTripper {
			return roundTrip(func(*http.Request) (*http.Response, error) { panic("secret-value") })
		},
		"of the runtime": func(http.RoundTripper) http.RoundTripper {
			return roundTrip(func(*http.Request) (*http.Response, error) { var s []int; return nil, fmt.Errorf("%d", s[3]) })
		},
		"in the body": func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				res, err := next.RoundTrip(r)
				if err == nil {
					res.Body = io.NopCloser(explodingReader{})
				}
				return res, err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, s := range []Scope{here, chain} {
				inTask(t, sandbox.Config{})
				var mu sync.Mutex
				stacks := 0
				c := newClient(t, Options{OnPanic: func(error, []byte) { mu.Lock(); stacks++; mu.Unlock() }})
				cfg := c.cfg()
				cfg.HTTPClient = &http.Client{Transport: explode(cfg.HTTPClient.(*http.Client).Transport)}
				c.cfg = func() aws.Config { return cfg }
				c.ids = newIdentities(c.cfg, c.opts, c.caught)
				_, err := c.Token(t.Context(), s)
				op := "get a token for " + s.String()
				if s == chain {
					op = opOne
				}
				wantFault(t, err, fault.InvalidResponse, op, "secret-value")
				mu.Lock()
				if stacks != 1 {
					t.Errorf("%d stacks", stacks)
				}
				mu.Unlock()
			}
		})
	}
}

// The container's credential endpoint is asked in a goroutine of the SDK's, too.
func TestPanicAtTheCredentialEndpoint(t *testing.T) {
	inTask(t, sandbox.Config{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GetConn: func(string) { panic(errors.New("secret-value")) }})
	_, err := newClient(t, Options{}).Token(ctx, here)
	wantFault(t, err, fault.InvalidResponse, opTask, "secret-value")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type explodingReader struct{}

func (explodingReader) Read([]byte) (int, error) { panic(errors.New("secret-value")) }

// TestClassOfCutOff has answers that begin and do not end, in every way, for ECR and for STS.
func TestClassOfCutOff(t *testing.T) {
	const json = `{"authorizationData":[{"authoriz`
	const xml = `<AssumeRoleResponse><AssumeRoleResult><Cred`
	const head = "HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Type: text/plain\r\n"
	reset := func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }
	for name, r := range map[string]struct {
		answer string // PART is the beginning of a body
		end    func(net.Conn)
		stalls bool
		class  fault.Class
	}{
		"shorter than Content-Length": {answer: head + "Content-Length: 100\r\n\r\nPART"},
		"nothing after the header":    {answer: head + "Content-Length: 100\r\n\r\n"},
		"chunked, cut in a chunk":     {answer: head + "Transfer-Encoding: chunked\r\n\r\n100\r\nPART"},
		"chunked, cut between":        {answer: head + "Transfer-Encoding: chunked\r\n\r\n5\r\n     \r\n"},
		"chunked, nothing":            {answer: head + "Transfer-Encoding: chunked\r\n\r\n"},
		"reset in the body":           {answer: head + "Content-Length: 100\r\n\r\nPART", end: reset},
		"reset in a chunk":            {answer: head + "Transfer-Encoding: chunked\r\n\r\n100\r\nPART", end: reset},
		"stall in the body":           {answer: head + "Content-Length: 100\r\n\r\nPART", stalls: true, class: fault.Timeout},
		"stall after the header":      {answer: head + "Content-Length: 100\r\n\r\n", stalls: true, class: fault.Timeout},
		"stall in a chunk":            {answer: head + "Transfer-Encoding: chunked\r\n\r\n100\r\nPART", stalls: true, class: fault.Timeout},
		"an error, cut":               {answer: "HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\n" + `{"__type":"AccessDen`},
		"an error, stalled": {answer: "HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\n" + `{"__type":"AccessDen`,
			stalls: true, class: fault.Timeout},
		// Here the answer is whole, and wrong.
		"whole, not what was promised": {answer: head + "Content-Length: 1\r\n\r\n{", class: fault.InvalidResponse},
		"a chunk of no length":         {answer: head + "Transfer-Encoding: chunked\r\n\r\nzz\r\nPART", class: fault.InvalidResponse},
		"compressed by nobody":         {answer: head + "Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\nnot-gzip-at-", class: fault.InvalidResponse},
	} {
		if r.class == "" {
			r.class = fault.Network
		}
		for _, service := range []string{"ecr", "sts"} {
			if service == "sts" && r.class == fault.InvalidResponse {
				continue
			}
			t.Run(service+" "+name, func(t *testing.T) {
				sb := inTask(t, sandbox.Config{})
				part, op := json, ""
				if service == "sts" {
					part = xml
				}
				at := rawServer(t, strings.ReplaceAll(r.answer, "PART", part), r.end, r.stalls)
				s := Scope{Region: region, Endpoint: "http://" + at}
				op = "get a token for " + s.String()
				if service == "sts" {
					t.Setenv("AWS_ENDPOINT_URL_STS", "http://"+at)
					s, op = chain, opOne
				}
				opts, ctx := Options{}, t.Context()
				if r.stalls {
					opts.Timeout = 200 * time.Millisecond
					ctx = soon(t)
					if service == "sts" {
						ctx = t.Context()
					}
				}
				_, err := newClient(t, opts).Token(ctx, s)
				wantFault(t, err, r.class, op, secretsOf(sb)...)
				if r.class != fault.InvalidResponse && (!strings.Contains(fault.CureOf(err), "MTU") || !strings.Contains(err.Error(), at)) {
					t.Errorf("%q has the cure %q", err, fault.CureOf(err))
				}
			})
		}
	}
	t.Run("until the connection closes", func(t *testing.T) { // HTTP/1.0's way: only the JSON says that something is missing
		inTask(t, sandbox.Config{})
		s := Scope{Region: region, Endpoint: "http://" + rawServer(t, "HTTP/1.0 200 OK\r\n\r\n"+json, nil, false)}
		_, err := newClient(t, Options{}).Token(t.Context(), s)
		wantFault(t, err, fault.Network, "get a token for "+s.String())
	})
	t.Run("a TLS record, cut", func(t *testing.T) {
		inTask(t, sandbox.Config{})
		cert := certificate(t, "api.ecr.us-west-2.amazonaws.com", time.Hour)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				raw, err := l.Accept()
				if err != nil {
					return
				}
				half := &halfWriter{Conn: raw}
				c := tls.Server(half, &tls.Config{Certificates: []tls.Certificate{cert}})
				buf := make([]byte, 8<<10)
				_, _ = c.Read(buf)
				_, _ = io.WriteString(c, head+"Content-Length: 1000\r\n\r\n")
				half.half = true
				_, _ = io.WriteString(c, strings.Repeat(" ", 1000))
				_ = raw.Close()
			}
		}()
		trustOnly(t, cert.Certificate[0])
		gate.lead(t, l.Addr().String())
		_, err = newClient(t, Options{}).Token(t.Context(), here)
		wantFault(t, err, fault.Network, opToken)
		if !strings.Contains(fault.CureOf(err), "MTU") {
			t.Errorf("the cure is %q", fault.CureOf(err))
		}
	})
	t.Run("a stream of HTTP/2, reset", func(t *testing.T) {
		inTask(t, sandbox.Config{})
		cert := certificate(t, "api.ecr.us-west-2.amazonaws.com", time.Hour)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				t.Errorf("asked by %s", r.Proto)
			}
			_, _ = io.WriteString(w, json)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}))
		srv.EnableHTTP2, srv.TLS = true, &tls.Config{Certificates: []tls.Certificate{cert}}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		trustOnly(t, cert.Certificate[0])
		gate.lead(t, srv.Listener.Addr().String())
		_, err := newClient(t, Options{}).Token(t.Context(), here)
		wantFault(t, err, fault.Network, opToken)
	})
}

// halfWriter writes half of what it gets, once it is told to.
type halfWriter struct {
	net.Conn
	half bool
}

func (h *halfWriter) Write(p []byte) (int, error) {
	if h.half {
		_, err := h.Conn.Write(p[:len(p)/2])
		return len(p), err
	}
	return h.Conn.Write(p)
}

// rawServer answers every request with the bytes, and ends the connection or keeps it.
func rawServer(t *testing.T, answer string, end func(net.Conn), stalls bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
				}
				_, _ = io.WriteString(c, answer)
				switch {
				case stalls:
					_, _ = io.Copy(io.Discard, c)
				case end != nil:
					time.Sleep(20 * time.Millisecond) // a reset overtakes what was sent before it
					end(c)
				default:
					_ = c.(*net.TCPConn).CloseWrite()
					_, _ = io.Copy(io.Discard, c)
				}
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// TestCustomEndpoint says of each way to an endpoint whether it is AWS that answers there.
func TestCustomEndpoint(t *testing.T) {
	for _, r := range []struct {
		env    string // NAME=VALUE, SANDBOX is the sandbox's plain address
		scope  Scope
		custom bool
	}{
		{"", here, false},
		{"", public, false},
		{"", Scope{Region: region, FIPS: true}, false},
		{"", Scope{Region: region, DualStack: true}, false},
		{"", Scope{Region: region, Endpoint: "SANDBOX"}, true},
		{"AWS_ENDPOINT_URL=SANDBOX", here, true},
		{"AWS_ENDPOINT_URL=SANDBOX", public, true},
		{"AWS_ENDPOINT_URL_ECR=SANDBOX", here, true},
		{"AWS_ENDPOINT_URL_ECR=SANDBOX", public, false},
		{"AWS_ENDPOINT_URL_ECR_PUBLIC=SANDBOX", here, false},
		{"AWS_ENDPOINT_URL_ECR_PUBLIC=SANDBOX", public, true},
		{"AWS_ENDPOINT_URL_STS=SANDBOX", here, false},
		{"AWS_ENDPOINT_URL_STS=SANDBOX", chain, false},
		{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true AWS_ENDPOINT_URL=SANDBOX", here, false},
		{"FILE=endpoint_url=SANDBOX", here, true},
		{"FILE=services=s\n[services s]\necr=\n  endpoint_url=SANDBOX", here, true},
		{"FILE=services=s\n[services s]\necr_public=\n  endpoint_url=SANDBOX", here, false},
		{"AWS_ENDPOINT_URL_ECR=https://api.ecr.us-west-2.amazonaws.com", here, false},
		{"AWS_ENDPOINT_URL_ECR=https://API.ECR.us-west-2.amazonaws.com:443/", here, false},
		{"AWS_ENDPOINT_URL_ECR=https://ecr.us-west-2.api.aws", here, false},
	} {
		t.Run(r.env+" "+r.scope.String(), func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			env := strings.ReplaceAll(r.env, "SANDBOX", sb.URL())
			r.scope.Endpoint = strings.ReplaceAll(r.scope.Endpoint, "SANDBOX", sb.URL())
			if text, ok := strings.CutPrefix(env, "FILE="); ok {
				file := t.TempDir() + "/config"
				if err := os.WriteFile(file, []byte("[default]\n"+text+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				env = "AWS_CONFIG_FILE=" + file
			}
			for kv := range strings.FieldsSeq(env) {
				name, value, _ := strings.Cut(kv, "=")
				t.Setenv(name, value)
			}
			if got := mustToken(t, newClient(t, Options{}), r.scope); got.CustomEndpoint != r.custom {
				t.Errorf("custom: %v", got.CustomEndpoint)
			}
		})
	}
	// Names that no test can be answered by.
	clean(t)
	t.Setenv(fullURI, "http://127.0.0.1:1")
	c := newClient(t, Options{})
	for asked, own := range map[string]bool{
		"https://vpce-0123456789abcdef0-abcdefgh.api.ecr.us-west-2.vpce.amazonaws.com":            true,
		"https://vpce-0123456789abcdef0-abcdefgh-us-west-2a.api.ecr.us-west-2.vpce.amazonaws.com": true,
		"http://api.ecr.us-west-2.amazonaws.com":                                                  false,
		"https://api.ecr.us-west-2.amazonaws.com:8443":                                            false,
		"https://api.ecr.us-west-2.amazonaws.com.example.com":                                     false,
		"https://api.ecr.eu-west-1.amazonaws.com":                                                 false,
		"https://api.ecr-public.us-east-1.amazonaws.com":                                          false,
		"https://abc.execute-api.us-west-2.amazonaws.com":                                         false,
		"https://x.elb.us-west-2.amazonaws.com":                                                   false,
		"https://evil-vpce-1.api.ecr.us-west-2.vpce.amazonaws.com":                                false,
		"https://emulator:4566":                                                                   false,
	} {
		u, err := url.Parse(asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.api(here).own(t.Context(), u); got != own {
			t.Errorf("%s is AWS's own: %v", asked, got)
		}
	}
}

// ECR Public has no FIPS endpoint: AWS_USE_FIPS_ENDPOINT does not lead to a host that does not exist.
func TestPublicWithoutFIPS(t *testing.T) {
	inTask(t, sandbox.Config{})
	t.Setenv("AWS_USE_FIPS_ENDPOINT", "true")
	c := newClient(t, Options{})
	mustToken(t, c, public)
	if got := gate.asked(); len(got) != 1 || got[0] != "api.ecr-public.us-east-1.amazonaws.com:443" {
		t.Errorf("asked %q", got)
	}
	mustToken(t, c, here)
	if got := gate.asked(); got[len(got)-1] != "api.ecr-fips.us-west-2.amazonaws.com:443" {
		t.Errorf("asked %q", got)
	}
	urls, err := c.Endpoints(t.Context(), public)
	if err != nil || len(urls) != 1 || urls[0] != "https://api.ecr-public.us-east-1.amazonaws.com" {
		t.Errorf("%q, %v", urls, err)
	}
}
