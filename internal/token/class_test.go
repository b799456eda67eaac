package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

const (
	opToken  = "get a token for ecr us-west-2"
	opTask   = "get the task role's credentials"
	roleOne  = "arn:aws:iam::111111111111:role/one"
	roleTwo  = "arn:aws:iam::222222222222:role/path/two"
	opOne    = "assume " + roleOne
	opTwo    = "assume " + roleTwo
	apiECR   = "ecr:GetAuthorizationToken"
	apiRole  = "sts:AssumeRole"
	opPublic = "get a token for ecr-public us-east-1"
)

var (
	chain  = Scope{Region: region, Roles: roleOne + " " + roleTwo}
	public = Scope{Public: true, Region: "us-east-1"}
)

// TestClassOfAnswer is the table of what AWS's answers mean. Each is given once: who makes a second attempt gets a token.
func TestClassOfAnswer(t *testing.T) {
	rows := []struct {
		service string
		kind    sandbox.Kind
		scope   Scope
		class   fault.Class
		op      string
	}{
		{"credentials", sandbox.Unavailable, here, fault.CredentialsUnavailable, opTask},
		{"credentials", sandbox.Throttled429, here, fault.CredentialsUnavailable, opTask},
		{"credentials", sandbox.ServerError, here, fault.CredentialsUnavailable, opTask},
		{"credentials", sandbox.BadRequest, here, fault.CredentialsUnavailable, opTask},
		{"credentials", sandbox.AccessDenied, here, fault.CredentialsUnavailable, opTask},
		{"credentials", sandbox.Garbage, here, fault.CredentialsUnavailable, opTask},
		{"credentials", sandbox.Refused, here, fault.CredentialsUnavailable, opTask},
		{"credentials", sandbox.Reset, here, fault.CredentialsUnavailable, opTask},
		{"credentials", sandbox.Hang, here, fault.CredentialsUnavailable, opTask},
		{"credentials", sandbox.Unavailable, chain, fault.CredentialsUnavailable, opTask},

		{"ecr", sandbox.AccessDenied, here, fault.AccessDenied, opToken},
		{"ecr", sandbox.Throttled, here, fault.Throttled, opToken},
		{"ecr", sandbox.Throttled429, here, fault.Throttled, opToken},
		{"ecr", sandbox.Rate429, here, fault.Throttled, opToken},
		{"ecr", sandbox.ServerError, here, fault.ServerError, opToken},
		{"ecr", sandbox.Unavailable, here, fault.ServerError, opToken},
		{"ecr", sandbox.BadRequest, here, fault.BadRequest, opToken},
		{"ecr", sandbox.InvalidSignature, here, fault.BadRequest, opToken},
		{"ecr", sandbox.Garbage, here, fault.InvalidResponse, opToken},
		{"ecr", sandbox.EmptyList, here, fault.InvalidResponse, opToken},
		{"ecr", sandbox.NoToken, here, fault.InvalidResponse, opToken},
		{"ecr", sandbox.NoExpiry, here, fault.InvalidResponse, opToken},
		{"ecr", sandbox.Expires1970, here, fault.InvalidResponse, opToken},
		{"ecr", sandbox.Expires2200, here, fault.InvalidResponse, opToken},
		{"ecr", sandbox.BornExpired, here, fault.InvalidResponse, opToken},
		{"ecr", sandbox.BadBase64, here, fault.InvalidResponse, opToken},
		{"ecr", sandbox.NoColon, here, fault.InvalidResponse, opToken},
		{"ecr", sandbox.HugeToken, here, fault.InvalidResponse, opToken},
		{"ecr", sandbox.ForeignEndpoint, here, fault.InvalidResponse, opToken},
		{"ecr", sandbox.Refused, here, fault.Network, opToken},
		{"ecr", sandbox.Reset, here, fault.Network, opToken},
		{"ecr", sandbox.Hang, here, fault.Timeout, opToken},

		{"ecr-public", sandbox.AccessDenied, public, fault.AccessDenied, opPublic},
		{"ecr-public", sandbox.Throttled, public, fault.Throttled, opPublic},
		{"ecr-public", sandbox.Rate429, public, fault.Throttled, opPublic},
		{"ecr-public", sandbox.ServerError, public, fault.ServerError, opPublic},
		{"ecr-public", sandbox.Garbage, public, fault.InvalidResponse, opPublic},
		{"ecr-public", sandbox.EmptyList, public, fault.InvalidResponse, opPublic},
		{"ecr-public", sandbox.NoToken, public, fault.InvalidResponse, opPublic},
		{"ecr-public", sandbox.NoExpiry, public, fault.InvalidResponse, opPublic},
		{"ecr-public", sandbox.HugeToken, public, fault.InvalidResponse, opPublic},

		{"sts", sandbox.AccessDenied, chain, fault.AssumeRole, opOne},
		{"sts", sandbox.BadRequest, chain, fault.AssumeRole, opOne},
		{"sts", sandbox.Throttled, chain, fault.Throttled, opOne},
		{"sts", sandbox.Throttled429, chain, fault.Throttled, opOne},
		{"sts", sandbox.ServerError, chain, fault.ServerError, opOne},
		{"sts", sandbox.Unavailable, chain, fault.ServerError, opOne},
		{"sts", sandbox.Refused, chain, fault.Network, opOne},
		{"sts", sandbox.Reset, chain, fault.Network, opOne},
		{"sts", sandbox.Hang, chain, fault.Timeout, opOne},
		{"sts", sandbox.Garbage, chain, fault.InvalidResponse, opOne},
		{"sts", sandbox.NoToken, chain, fault.InvalidResponse, opOne},
		{"sts", sandbox.NoExpiry, chain, fault.InvalidResponse, opOne},
	}
	operation := map[string]string{"credentials": "credentials", "ecr": apiECR, "ecr-public": "ecr-public:GetAuthorizationToken", "sts": apiRole}
	for _, r := range rows {
		t.Run(fmt.Sprintf("%s %s %s", r.service, r.kind, r.op), func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			t.Setenv("AWS_MAX_ATTEMPTS", "5")
			t.Setenv("AWS_RETRY_MODE", "adaptive")
			opts := Options{}
			if r.kind == sandbox.Hang {
				opts.Timeout = 200 * time.Millisecond
			}
			c := newClient(t, opts)
			sb.Set(sandbox.Fault{Service: r.service, Kind: r.kind, Count: 1})
			ctx := t.Context()
			if r.kind == sandbox.Hang && r.service == "ecr" {
				ctx = soon(t)
			}
			tok, err := c.Token(ctx, r.scope)
			wantFault(t, err, r.class, r.op, secretsOf(sb)...)
			if tok != (Token{}) {
				t.Errorf("a token beside the error")
			}
			if n := sb.Calls()[operation[r.service]]; n != 1 {
				t.Errorf("%d attempts at %s; want 1", n, r.service)
			}
			recovers(t, c, r.scope)
		})
	}
}

// The second step of a chain has a failure of its own, after a first one that works.
func TestClassOfSecondRole(t *testing.T) {
	for kind, class := range map[sandbox.Kind]fault.Class{
		sandbox.AccessDenied: fault.AssumeRole, sandbox.Throttled: fault.Throttled, sandbox.ServerError: fault.ServerError,
	} {
		t.Run(string(kind), func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			c := newClient(t, Options{})
			sb.Set(sandbox.Fault{Service: "sts", Kind: kind, Role: roleTwo, Count: 1})
			_, err := c.Token(t.Context(), chain)
			wantFault(t, err, class, opTwo, secretsOf(sb)...)
			if class == fault.AssumeRole && !strings.Contains(fault.CureOf(err), roleTwo) {
				t.Errorf("the cure %q does not name the role", fault.CureOf(err))
			}
			mustToken(t, c, chain)
		})
	}
}

// What no sandbox of AWS says: answers of proxies and of servers that are not AWS, at an endpoint= of the scope.
func TestClassOfStranger(t *testing.T) {
	answer := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	const page, amz = "<html><body>gateway\r\n\x1b[31m</body></html>", "application/x-amz-json-1.1"
	rows := []struct {
		name   string
		answer http.HandlerFunc
		class  fault.Class
	}{
		{"429 without a code", answer(429, amz, "{}"), fault.Throttled},
		{"429 page", answer(429, "text/html", page), fault.Throttled},
		{"500 empty", answer(500, amz, ""), fault.ServerError},
		{"502 page", answer(502, "text/html", page), fault.ServerError},
		{"503 page", answer(503, "text/html", page), fault.ServerError},
		{"403 page", answer(403, "text/html", page), fault.BadRequest},
		{"404 page", answer(404, "text/html", page), fault.BadRequest},
		{"407", answer(407, "text/html", page), fault.Network},
		{"302", answer(302, "text/html", page), fault.BadRequest},
		{"redirect", func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "/elsewhere", http.StatusTemporaryRedirect)
		}, fault.BadRequest},
		{"200 empty", answer(200, amz, ""), fault.InvalidResponse},
		{"200 null", answer(200, amz, "null"), fault.InvalidResponse},
		{"200 array", answer(200, amz, "[]"), fault.InvalidResponse},
		{"200 other types", answer(200, amz, `{"authorizationData":[{"authorizationToken":7}]}`), fault.InvalidResponse},
		{"200 null in the list", answer(200, amz, `{"authorizationData":[null]}`), fault.InvalidResponse},
		{"200 cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"authorizationData":[{"authoriz`))
		}, fault.Network},
		{"unknown code", answer(400, amz, `{"__type":"TeapotException","message":"short\nand stout"}`), fault.BadRequest},
		{"unknown code, 503", answer(503, amz, `{"__type":"TeapotException"}`), fault.ServerError},
		{"long message", answer(400, amz, `{"__type":"InvalidParameterException","message":"`+strings.Repeat("é", 9000)+`"}`), fault.BadRequest},
		{"throttled by code alone", answer(400, amz, `{"__type":"ThrottleException"}`), fault.Throttled},
		{"limit", answer(400, amz, `{"__type":"LimitExceededException"}`), fault.Throttled},
		{"request expired", answer(400, amz, `{"__type":"RequestExpired"}`), fault.ClockSkew},
		{"signs of other lines", answer(400, amz, `{"__type":"InvalidParameterException","message":"a\u0085b\u2028c\u202ed"}`), fault.BadRequest},
		{"code in a header", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Amzn-Errortype", "AccessDeniedException:http://internal.amazon.com/coral/")
			w.Header().Set("X-Amzn-Requestid", strings.Repeat("a", 3000))
			w.WriteHeader(400)
		}, fault.AccessDenied},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			calls := make(chan struct{}, 10)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				calls <- struct{}{}
				r.answer(w, req)
			}))
			t.Cleanup(srv.Close)
			s := Scope{Region: region, Endpoint: srv.URL}
			_, err := newClient(t, Options{}).Token(t.Context(), s)
			wantFault(t, err, r.class, "get a token for "+s.String(), secretsOf(sb)...)
			if len(calls) != 1 {
				t.Errorf("%d attempts", len(calls))
			}
			if strings.Contains(err.Error(), "UnknownError") || strings.ContainsAny(err.Error(), "\u0085\u2028\u202e") {
				t.Errorf("the text is %q", err)
			}
		})
	}
}

// What STS's place may answer.
func TestClassOfStrangerForSTS(t *testing.T) {
	for name, r := range map[string]struct {
		status int
		body   string
		class  fault.Class
	}{
		"200 empty":      {200, "", fault.InvalidResponse},
		"200 nothing":    {200, "<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>", fault.InvalidResponse},
		"200 empty keys": {200, "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId/><SecretAccessKey/><SessionToken/><Expiration>2040-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>", fault.InvalidResponse},
		"502 page":       {502, "<html>", fault.ServerError},
		"403 page":       {403, "<html>", fault.AssumeRole},
	} {
		t.Run(name, func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(r.status)
				_, _ = w.Write([]byte(r.body))
			}))
			t.Cleanup(srv.Close)
			t.Setenv("AWS_ENDPOINT_URL_STS", srv.URL)
			_, err := newClient(t, Options{}).Token(t.Context(), chain)
			wantFault(t, err, r.class, opOne, secretsOf(sb)...)
		})
	}
}

// What the credential endpoint's place may answer.
func TestClassOfStrangerForCredentials(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"empty":     func(http.ResponseWriter, *http.Request) {},
		"object":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) },
		"plain 502": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad\ngateway", 502) },
		"plain 404": func(w http.ResponseWriter, r *http.Request) { http.Error(w, r.URL.Path, 404) },
		"code alone": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(500)
			_, _ = w.Write([]byte("{}"))
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 307) },
	} {
		t.Run(name, func(t *testing.T) {
			inTask(t, sandbox.Config{})
			var paths []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				paths = append(paths, r.URL.Path)
				answer(w, r)
			}))
			t.Cleanup(srv.Close)
			const id = "/v2/credentials/secret-id"
			t.Setenv(fullURI, srv.URL+id)
			_, err := newClient(t, Options{}).Token(t.Context(), here)
			wantFault(t, err, fault.CredentialsUnavailable, opTask)
			if name != "plain 404" {
				wantNoSecret(t, err.Error(), id)
			}
			if !slices.Equal(paths, []string{id}) {
				t.Errorf("asked for %q", paths)
			}
		})
	}
}

func TestClassOfSilence(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		inTask(t, sandbox.Config{})
		s := Scope{Region: region, Endpoint: "http://" + noListener(t)}
		_, err := newClient(t, Options{}).Token(t.Context(), s)
		wantFault(t, err, fault.Network, "get a token for "+s.String())
	})
	t.Run("no such host", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		const host = "a..no-name" // two dots: no resolver is asked
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", strings.Replace(credentialsURI(sb), "http://127.0.0.1", "https://"+host, 1))
		_, err := newClient(t, Options{}).Token(t.Context(), here)
		wantFault(t, err, fault.CredentialsUnavailable, opTask, secretsOf(sb)...)
		if v := classify(err, asked{}); v.class != fault.Network || !strings.Contains(v.cure, "names") {
			t.Errorf("a name that does not resolve is %+v", v)
		}
	})
	t.Run("proxy refuses", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		gate.set("")
		_, err := newClient(t, Options{}).Token(t.Context(), here)
		wantFault(t, err, fault.Network, opToken, secretsOf(sb)...)
	})
	t.Run("no credential endpoint", func(t *testing.T) {
		inTask(t, sandbox.Config{})
		t.Setenv(fullURI, "http://"+noListener(t)+"/v2/credentials/secret-id")
		_, err := newClient(t, Options{}).Token(t.Context(), here)
		wantFault(t, err, fault.CredentialsUnavailable, opTask, "secret-id")
	})
	t.Run("stopped", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newClient(t, Options{}).Token(ctx, here)
		if _, ok := fault.ClassOf(err); !ok {
			t.Errorf("%v has no class", err)
		}
		wantNoSecret(t, err.Error(), secretsOf(sb)...)
	})
}

func TestClassOfTLS(t *testing.T) {
	t.Run("untrusted", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		_ = os.Unsetenv("AWS_CA_BUNDLE")
		c := newClient(t, Options{})
		_, err := c.Token(t.Context(), here)
		wantFault(t, err, fault.TLS, opToken, secretsOf(sb)...)
		_, err = c.Token(t.Context(), chain)
		wantFault(t, err, fault.TLS, opOne, secretsOf(sb)...)
	})
	for name, r := range map[string]struct {
		life  time.Duration // of the server's certificate
		serve func(net.Conn, *tls.Config)
		cure  string
	}{
		"a client's certificate wanted": {time.Hour, func(c net.Conn, cfg *tls.Config) {
			cfg.ClientAuth = tls.RequireAnyClientCert
			cfg.MaxVersion = tls.VersionTLS12 // 1.3 refuses after the client has gone on: whether it reads that or fails to write is chance
			_ = tls.Server(c, cfg).Handshake()
		}, "CA"},
		"expired": {-time.Minute, func(c net.Conn, cfg *tls.Config) { _ = tls.Server(c, cfg).Handshake() }, "clock"},
		"no TLS": {time.Hour, func(c net.Conn, _ *tls.Config) {
			_, _ = io.CopyN(io.Discard, c, 1) // what comes before the client speaks is lost in the proxy
			_, _ = io.WriteString(c, "220 smtp.example.com ready\r\n")
		}, "CA"},
	} {
		t.Run(name, func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			cert := certificate(t, "api.ecr.us-west-2.amazonaws.com", r.life)
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
					r.serve(c, &tls.Config{Certificates: []tls.Certificate{cert}})
					_, _ = io.Copy(io.Discard, c) // closing with unread bytes would reset the connection
					_ = c.Close()
				}
			}()
			trustOnly(t, cert.Certificate[0])
			gate.lead(t, l.Addr().String())
			_, err = newClient(t, Options{}).Token(t.Context(), here)
			wantFault(t, err, fault.TLS, opToken, secretsOf(sb)...)
			if !strings.Contains(fault.CureOf(err), r.cure) {
				t.Errorf("the cure of %q is %q", err, fault.CureOf(err))
			}
		})
	}
	t.Run("another host's certificate", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		srv := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate for example.com
		t.Cleanup(srv.Close)
		trustOnly(t, srv.Certificate().Raw)
		gate.lead(t, srv.Listener.Addr().String())
		_, err := newClient(t, Options{}).Token(t.Context(), here)
		wantFault(t, err, fault.TLS, opToken, secretsOf(sb)...)
		if !strings.Contains(err.Error(), "api.ecr.us-west-2.amazonaws.com") {
			t.Errorf("%q does not name the host", err)
		}
	})
}

// A clock that is wrong by more than AWS forgives: the SDK learns the difference from the refusal, so the next call works.
func TestClassOfClockSkew(t *testing.T) {
	for _, offset := range []time.Duration{14 * time.Hour, -14 * time.Hour, 6 * time.Minute} {
		t.Run(offset.String(), func(t *testing.T) {
			sb := inTask(t, sandbox.Config{ClockOffset: offset})
			c := newClient(t, Options{})
			_, err := c.Token(t.Context(), here)
			wantFault(t, err, fault.ClockSkew, opToken, secretsOf(sb)...)
			if n := sb.Calls()[apiECR]; n != 1 {
				t.Errorf("%d attempts", n)
			}
			tok := mustToken(t, c, here)
			if off := time.Until(tok.Issued) - offset; off.Abs() > time.Minute {
				t.Errorf("issued %s off the server's clock", off)
			}
			if tok.Life() < 11*time.Hour || tok.Life() > 13*time.Hour {
				t.Errorf("a life of %s", tok.Life())
			}
			_, err = c.Token(t.Context(), chain)
			wantFault(t, err, fault.ClockSkew, opOne, secretsOf(sb)...)
		})
	}
}

func TestClassOfNoCredentials(t *testing.T) {
	inTask(t, sandbox.Config{})
	_ = os.Unsetenv(fullURI)
	c := newClient(t, Options{})
	for _, s := range []Scope{here, public, chain} {
		_, err := c.Token(t.Context(), s)
		wantFault(t, err, fault.NoCredentials, opTask)
		for _, word := range []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", fullURI} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q does not name %s", err, word)
			}
		}
		if cure := fault.CureOf(err); !strings.Contains(cure, "taskRoleArn") || !strings.Contains(cure, "--allow-instance-role") {
			t.Errorf("the cure is %q", cure)
		}
	}
}

func TestClassOfUnknownError(t *testing.T) {
	if v := classify(fmt.Errorf("something\nelse"), asked{}); v.class != fault.BadRequest || v.cure == "" || v.text != `something\nelse` {
		t.Errorf("an error of no known kind is %+v", v)
	}
}

// certificate is a server's, signed by itself.
func certificate(t *testing.T, host string, life time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
