package token

import (
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
	"ecr-refresher/internal/secret"
)

const ownHost = "123456789012.dkr.ecr.us-west-2.amazonaws.com"

func TestAccepts(t *testing.T) {
	sb := inTask(t, sandbox.Config{})
	c := newClient(t, Options{})
	auth := mustToken(t, c, here).Auth
	for range 2 {
		if err := c.Accepts(t.Context(), ownHost, auth); err != nil {
			t.Fatal(err)
		}
	}
	const op = "ask " + ownHost + " whether it accepts the token"
	for _, r := range []struct {
		kind  sandbox.Kind
		class fault.Class
	}{
		{sandbox.Unauthorized, fault.TokenRejected},
		{sandbox.Forbidden, fault.TokenRejected},
		{sandbox.Throttled429, fault.Throttled},
		{sandbox.ServerError, fault.ServerError},
		{sandbox.Unavailable, fault.ServerError},
		{sandbox.Refused, fault.Network},
		{sandbox.Reset, fault.Network},
		{sandbox.Hang, fault.Timeout},
	} {
		t.Run(string(r.kind), func(t *testing.T) {
			ctx := t.Context()
			if r.kind == sandbox.Hang {
				ctx = soon(t)
			}
			c := newClient(t, Options{}) // on a used connection net/http may try a GET again
			sb.ResetCalls()
			sb.Set(sandbox.Fault{Service: "registry", Kind: r.kind, Count: 1})
			wantFault(t, c.Accepts(ctx, ownHost, auth), r.class, op, secretsOf(sb)...)
			if err := c.Accepts(t.Context(), ownHost, auth); err != nil {
				t.Errorf("no recovery: %v", err)
			}
			if calls := sb.Calls(); calls["registry:GET /v2/"] != 2 || len(calls) != 1 {
				t.Errorf("calls: %v", calls)
			}
		})
	}
	t.Run("the client's timeout", func(t *testing.T) {
		sb.Set(sandbox.Fault{Service: "registry", Kind: sandbox.Hang})
		defer sb.Set()
		c := newClient(t, Options{Timeout: 50 * time.Millisecond})
		wantFault(t, c.Accepts(t.Context(), ownHost, auth), fault.Timeout, op, secretsOf(sb)...)
	})
	t.Run("another region's registry", func(t *testing.T) {
		const host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
		wantFault(t, c.Accepts(t.Context(), host, auth), fault.TokenRejected, "ask "+host+" whether it accepts the token", secretsOf(sb)...)
	})
	t.Run("unknown token", func(t *testing.T) {
		other := secret.New(base64.StdEncoding.EncodeToString([]byte("AWS:unknown-password")))
		wantFault(t, c.Accepts(t.Context(), ownHost, other), fault.TokenRejected, op, other.Reveal(), "unknown-password")
	})
	t.Run("revoked", func(t *testing.T) {
		sb.RevokeTokens()
		wantFault(t, c.Accepts(t.Context(), ownHost, auth), fault.TokenRejected, op, secretsOf(sb)...)
	})
	t.Run("no way there", func(t *testing.T) {
		gate.set("")
		defer gate.set(sb.TLSAddr())
		wantFault(t, newClient(t, Options{}).Accepts(t.Context(), ownHost, auth), fault.Network, op, secretsOf(sb)...)
	})
	t.Run("no host name", func(t *testing.T) {
		wantFault(t, c.Accepts(t.Context(), "no host", auth), fault.BadRequest, "ask no host whether it accepts the token", secretsOf(sb)...)
	})
	t.Run("untrusted", func(t *testing.T) {
		_ = os.Unsetenv("AWS_CA_BUNDLE") // inTask restores it
		wantFault(t, newClient(t, Options{}).Accepts(t.Context(), ownHost, auth), fault.TLS, op, secretsOf(sb)...)
	})
}

// registryOf serves as https://example.com through the proxy, and keeps the requests.
func registryOf(t *testing.T, answer http.HandlerFunc) (asked func() []*http.Request) {
	t.Helper()
	clean(t)
	var mu sync.Mutex
	var list []*http.Request
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		list = append(list, r)
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(srv.Close)
	gate.lead(t, srv.Listener.Addr().String())
	trustOnly(t, srv.Certificate().Raw)
	return func() []*http.Request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// trustOnly makes a certificate the only one that is trusted.
func trustOnly(t *testing.T, der []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", file)
}

func TestAcceptsSendsTheTokenToOnePlace(t *testing.T) {
	auth := secret.New(*encode("AWS:" + password))
	for _, r := range []struct {
		name, location string
		status         int
		class          fault.Class // empty: accepted
	}{
		{"200", "", 200, ""},
		{"same host", "/elsewhere", 307, fault.BadRequest},
		{"same host, 308", "https://example.com/v2/", 308, fault.BadRequest},
		{"without TLS", "http://example.com/v2/", 307, fault.BadRequest},
		{"another host", "https://www.example.com/v2/", 307, fault.BadRequest},
		{"302", "/elsewhere", 302, fault.BadRequest},
		{"400", "", 400, fault.BadRequest},
		{"404", "", 404, fault.BadRequest},
		{"407", "", 407, fault.Network},
	} {
		t.Run(r.name, func(t *testing.T) {
			asked := registryOf(t, func(w http.ResponseWriter, _ *http.Request) {
				if r.location != "" {
					w.Header().Set("Location", r.location)
				}
				w.WriteHeader(r.status)
				_, _ = w.Write(make([]byte, 2<<10)) // which must be read for the connection to be used again
			})
			c := newClient(t, Options{})
			for range 2 {
				err := c.Accepts(t.Context(), "example.com", auth)
				if r.class == "" && err != nil {
					t.Fatal(err)
				}
				if r.class != "" {
					wantFault(t, err, r.class, "ask example.com whether it accepts the token", auth.Reveal(), password)
				}
			}
			list := asked()
			if len(list) != 2 {
				t.Fatalf("%d requests; want 2", len(list))
			}
			for _, q := range list {
				if q.Method != "GET" || q.Host != "example.com" || q.RequestURI != "/v2/" || q.UserAgent() != "ecr-refresher/v1.2.3" {
					t.Errorf("asked %s %s %s as %q", q.Method, q.Host, q.RequestURI, q.UserAgent())
				}
				if user, pass, _ := q.BasicAuth(); user != "AWS" || pass != password {
					t.Error("not the token's user and password")
				}
			}
			if tunnels := gate.asked(); !slices.Equal(tunnels, []string{"example.com:443", "example.com:443"}) {
				t.Errorf("tunnels to %q; want one for each question", tunnels)
			}
		})
	}
}
