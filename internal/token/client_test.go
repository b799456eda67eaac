package token

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

// Credentials that AWS no longer takes are dropped and asked for again: once.
func TestRejectedCredentials(t *testing.T) {
	for _, r := range []struct {
		service, operation string
		scope              Scope
	}{{"ecr", apiECR, here}, {"sts", apiRole, chain}} {
		for _, kind := range []sandbox.Kind{sandbox.ExpiredToken, sandbox.UnrecognizedClient} {
			t.Run(fmt.Sprintf("%s %s once", r.service, kind), func(t *testing.T) {
				sb := inTask(t, sandbox.Config{})
				c := newClient(t, Options{})
				mustToken(t, c, r.scope)
				sb.ResetCalls()
				if r.service == "sts" {
					c.ids.of(r.scope).invalidate()
				}
				sb.Set(sandbox.Fault{Service: r.service, Kind: kind, Count: 1, Role: map[string]string{"sts": roleOne}[r.service]})
				mustToken(t, c, r.scope)
				want := 2
				if r.service == "sts" {
					want = 3 // the second role, too
				}
				if calls := sb.Calls(); calls[r.operation] != want || calls["credentials"] == 0 {
					t.Errorf("calls: %v; want %d of %s, and new credentials", calls, want, r.operation)
				}
			})
			t.Run(fmt.Sprintf("%s %s for ever", r.service, kind), func(t *testing.T) {
				sb := inTask(t, sandbox.Config{})
				c := newClient(t, Options{})
				sb.Set(sandbox.Fault{Service: r.service, Kind: kind})
				_, err := c.Token(t.Context(), r.scope)
				op := opToken
				if r.service == "sts" {
					op = opOne
				}
				wantFault(t, err, fault.CredentialsUnavailable, op, secretsOf(sb)...)
				if n := sb.Calls()[r.operation]; n != 2 {
					t.Errorf("%d attempts; want 2", n)
				}
				sb.Set()
				mustToken(t, c, r.scope)
			})
		}
	}
	// Credentials that are not what the endpoint says: the next ones are good.
	for _, kind := range []sandbox.Kind{sandbox.BornExpired, sandbox.NoToken, sandbox.NoExpiry, sandbox.Expires1970, sandbox.Expires2200} {
		t.Run("credentials "+string(kind), func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			c := newClient(t, Options{})
			sb.Set(sandbox.Fault{Service: "credentials", Kind: kind, Count: 1})
			mustToken(t, c, here)
			mustToken(t, c, here)
		})
	}
	t.Run("all expired at once", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		c := newClient(t, Options{})
		for range 3 {
			mustToken(t, c, here)
			mustToken(t, c, chain)
			sb.ExpireCredentials()
		}
	})
}

// A hung answer holds nobody longer than its own ctx allows, and nothing for ever.
func TestHungCredentials(t *testing.T) {
	sb := inTask(t, sandbox.Config{})
	started, ended := make(chan struct{}, 100), make(chan struct{}, 100)
	var serve atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if serve.Load() {
			_, _ = w.Write(taskCredentials(t, sb))
			return
		}
		started <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	}))
	t.Cleanup(srv.Close)
	t.Setenv(fullURI, srv.URL+"/v2/credentials/secret-id")
	c := newClient(t, Options{Timeout: time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := c.Token(ctx, here)
		done <- err
	}()
	<-started
	cancel()
	wantFault(t, <-done, fault.CredentialsUnavailable, opTask, "secret-id")
	if len(ended) != 0 {
		t.Error("Token ended with the request and not with its ctx")
	}
	serve.Store(true)
	recovers(t, c, here) // at first it waits for that request, which ends by itself
	if n := 1 + len(started); n != 1 {
		t.Errorf("%d requests hung", n)
	}
}

// taskCredentials are what the sandbox's credential endpoint answers.
func taskCredentials(t testing.TB, sb *sandbox.Sandbox) []byte {
	t.Helper()
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(credentialsURI(sb))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestHungSTS(t *testing.T) {
	t.Run("the caller's ctx", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		c := newClient(t, Options{Timeout: time.Hour})
		sb.Set(sandbox.Fault{Service: "sts", Kind: sandbox.Hang})
		_, err := c.Token(soon(t), Scope{Region: region, Roles: roleOne})
		wantFault(t, err, fault.Timeout, opOne, secretsOf(sb)...)
	})
	t.Run("the step's own deadline", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		c := newClient(t, Options{Timeout: 200 * time.Millisecond})
		sb.Set(sandbox.Fault{Service: "sts", Kind: sandbox.Hang, Role: roleTwo})
		_, err := c.Token(t.Context(), chain)
		wantFault(t, err, fault.Timeout, opTwo, secretsOf(sb)...)
		sb.Set()
		recovers(t, c, chain)
	})
}

func TestHungAPI(t *testing.T) {
	sb := inTask(t, sandbox.Config{})
	c := newClient(t, Options{})
	mustToken(t, c, here)
	sb.Set(sandbox.Fault{Service: "ecr", Kind: sandbox.Hang, Count: 1})
	_, err := c.Token(soon(t), here)
	wantFault(t, err, fault.Timeout, opToken, secretsOf(sb)...)
	mustToken(t, c, here)
}

// The host that is asked, as the SDK makes it of a scope.
func TestHosts(t *testing.T) {
	private := func(region string, fips, dual bool) Scope { return Scope{Region: region, FIPS: fips, DualStack: dual} }
	rows := []struct {
		scope Scope
		host  string
	}{
		{private("us-west-2", false, false), "api.ecr.us-west-2.amazonaws.com"},
		{private("us-west-2", true, false), "api.ecr-fips.us-west-2.amazonaws.com"},
		{private("us-west-2", false, true), "ecr.us-west-2.api.aws"},
		{private("us-west-2", true, true), "ecr-fips.us-west-2.api.aws"},
		{private("eu-central-1", false, false), "api.ecr.eu-central-1.amazonaws.com"},
		{private("il-central-1", false, false), "api.ecr.il-central-1.amazonaws.com"},
		{private("us-gov-west-1", false, false), "api.ecr.us-gov-west-1.amazonaws.com"},
		{private("us-gov-west-1", true, false), "api.ecr-fips.us-gov-west-1.amazonaws.com"},
		{private("us-gov-west-1", false, true), "ecr.us-gov-west-1.api.aws"},
		{private("us-gov-west-1", true, true), "ecr-fips.us-gov-west-1.api.aws"},
		{private("cn-north-1", false, false), "api.ecr.cn-north-1.amazonaws.com.cn"},
		{private("cn-northwest-1", false, true), "ecr.cn-northwest-1.api.amazonwebservices.com.cn"},
		{private("eusc-de-east-1", false, false), "api.ecr.eusc-de-east-1.amazonaws.eu"},
		{private("us-iso-east-1", false, false), "api.ecr.us-iso-east-1.c2s.ic.gov"},
		{private("us-isob-east-1", false, false), "api.ecr.us-isob-east-1.sc2s.sgov.gov"},
		{private("eu-isoe-west-1", false, false), "api.ecr.eu-isoe-west-1.cloud.adc-e.uk"},
		{private("us-isof-south-1", false, false), "api.ecr.us-isof-south-1.csp.hci.ic.gov"},
		{public, "api.ecr-public.us-east-1.amazonaws.com"},
		{Scope{Public: true, Region: "us-east-1", DualStack: true}, "ecr-public.us-east-1.api.aws"},
	}
	for _, r := range rows {
		t.Run(r.scope.String(), func(t *testing.T) {
			sb := inTask(t, sandbox.Config{Region: r.scope.Region})
			c := newClient(t, Options{Region: r.scope.Region})
			if err := c.Check(r.scope); err != nil {
				t.Fatal(err)
			}
			mustToken(t, c, r.scope)
			if got := hosts(sb); got != r.host {
				t.Errorf("asked %s; want %s", got, r.host)
			}
		})
	}
	for _, r := range []struct {
		fips, dual bool
		sts, ecr   string
	}{
		{true, false, "sts-fips.us-west-2.amazonaws.com", "api.ecr-fips.us-west-2.amazonaws.com"},
		{false, true, "sts.us-west-2.api.aws", "ecr.us-west-2.api.aws"},
		{true, true, "sts-fips.us-west-2.api.aws", "ecr-fips.us-west-2.api.aws"},
	} {
		t.Run("STS by way of "+r.sts, func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			s := private("us-west-2", r.fips, r.dual)
			s.Roles = roleOne
			mustToken(t, newClient(t, Options{Region: "us-west-2"}), s)
			if got, want := hosts(sb), r.sts+" "+r.ecr; got != want {
				t.Errorf("asked %s; want %s", got, want)
			}
		})
	}
	t.Run("STS is asked in the task's region", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		mustToken(t, newClient(t, Options{Region: "eu-west-1"}), Scope{Region: region, Roles: roleOne})
		if got, want := hosts(sb), "sts.eu-west-1.amazonaws.com api.ecr.us-west-2.amazonaws.com"; got != want {
			t.Errorf("asked %s; want %s", got, want)
		}
	})
}

// hosts are those of the calls so far, in order.
func hosts(sb *sandbox.Sandbox) string {
	var hs []string
	for _, r := range sb.Requests() {
		hs = append(hs, r.Host)
	}
	return strings.Join(hs, " ")
}

// Endpoints of the scope and of the environment.
func TestEndpoints(t *testing.T) {
	const own = "own.example" // stands for the sandbox's address, asked by plain HTTP
	const sts, api = "sts.us-west-2.amazonaws.com", "api.ecr.us-west-2.amazonaws.com"
	role := Scope{Region: region, Roles: roleOne}
	ending := func(s Scope) Scope { s.Endpoint = own; return s }
	rows := []struct {
		name  string
		env   []string
		scope Scope
		hosts string
	}{
		{"endpoint=", nil, ending(role), sts + " " + own},
		{"endpoint= wins", []string{"AWS_ENDPOINT_URL_ECR=http://192.0.2.1:1"}, ending(here), own},
		{"for all", []string{"AWS_ENDPOINT_URL=" + own}, role, own + " " + own},
		{"for ECR", []string{"AWS_ENDPOINT_URL_ECR=" + own}, role, sts + " " + own},
		{"for ECR Public", []string{"AWS_ENDPOINT_URL_ECR_PUBLIC=" + own, "AWS_ENDPOINT_URL_ECR=http://192.0.2.1:1"}, public, own},
		{"for STS", []string{"AWS_ENDPOINT_URL_STS=" + own}, role, own + " " + api},
		{"ignored", []string{"AWS_ENDPOINT_URL=" + own, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true"}, role, sts + " " + api},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			for _, kv := range r.env {
				name, value, _ := strings.Cut(kv, "=")
				t.Setenv(name, strings.Replace(value, own, sb.URL(), 1))
			}
			if r.scope.Endpoint == own {
				r.scope.Endpoint = sb.URL()
			}
			c := newClient(t, Options{})
			if err := c.Check(r.scope); err != nil {
				t.Error(err)
			}
			mustToken(t, c, r.scope)
			want := strings.ReplaceAll(r.hosts, own, strings.TrimPrefix(sb.URL(), "http://"))
			if got := hosts(sb); got != want {
				t.Errorf("asked %s; want %s", got, want)
			}
			if r.scope.Roles != "" || r.scope.Public {
				return
			}
			// Such an endpoint may name a registry of its own; AWS may not.
			sb.Set(sandbox.Fault{Service: "ecr", Kind: sandbox.ForeignEndpoint})
			mustToken(t, c, r.scope)
		})
	}
	t.Run("for ECR, naming another registry", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		t.Setenv("AWS_ENDPOINT_URL_ECR", sb.URL())
		sb.Set(sandbox.Fault{Service: "ecr", Kind: sandbox.ForeignEndpoint})
		mustToken(t, newClient(t, Options{}), here)
	})
}

func TestCheck(t *testing.T) {
	const url = "http://127.0.0.1:1"
	fips, dual := Scope{Region: region, FIPS: true}, Scope{Region: region, DualStack: true}
	publicDual := Scope{Public: true, Region: "us-east-1", DualStack: true}
	rows := []struct {
		name  string
		env   string // NAME=VALUE …
		scope Scope
		err   string
	}{
		{"plain", "", here, ""},
		{"FIPS", "", fips, ""},
		{"dual-stack", "", dual, ""},
		{"public, dual-stack", "", publicDual, ""},
		{"no region", "", Scope{}, "region"},
		{"no region, public", "", Scope{Public: true}, "region"},
		{"endpoint=", "", Scope{Region: region, Endpoint: url}, ""},
		{"FIPS with endpoint=", "", Scope{Region: region, Endpoint: url, FIPS: true}, "custom endpoint"},
		{"dual-stack with endpoint=", "", Scope{Region: region, Endpoint: url, DualStack: true}, "custom endpoint"},
		{"for all", "AWS_ENDPOINT_URL=" + url, here, ""},
		{"FIPS, for all", "AWS_ENDPOINT_URL=" + url, fips, "custom endpoint"},
		{"FIPS, for ECR", "AWS_ENDPOINT_URL_ECR=" + url, fips, "custom endpoint"},
		{"dual-stack, for ECR", "AWS_ENDPOINT_URL_ECR=" + url, dual, "custom endpoint"},
		{"FIPS, for STS", "AWS_ENDPOINT_URL_STS=" + url, fips, ""},
		{"FIPS, for all but ignored", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true AWS_ENDPOINT_URL=" + url, fips, ""},
		{"public, dual-stack, for ECR", "AWS_ENDPOINT_URL_ECR=" + url, publicDual, ""},
		{"public, dual-stack, for ECR Public", "AWS_ENDPOINT_URL_ECR_PUBLIC=" + url, publicDual, "custom endpoint"},
		{"malformed, for ECR", "AWS_ENDPOINT_URL_ECR=http://u:pw%zz@host", here, "AWS_ENDPOINT_URL_ECR, AWS_ENDPOINT_URL"},
		{"malformed, for all", "AWS_ENDPOINT_URL=http://u:pw%zz@host", here, "AWS_ENDPOINT_URL"},
		{"malformed, for ECR Public", "AWS_ENDPOINT_URL_ECR_PUBLIC=http://u:pw%zz@host", public, "AWS_ENDPOINT_URL_ECR_PUBLIC"},
		{"malformed, for STS", "AWS_ENDPOINT_URL_STS=http://u:pw%zz@host", chain, "AWS_ENDPOINT_URL_STS"},
		{"malformed, for an API that is not asked", "AWS_ENDPOINT_URL_ECR_PUBLIC=http://u:pw%zz@host AWS_ENDPOINT_URL_STS=x", here, ""},
		{"FIPS by the environment and an endpoint for ECR Public, which has none", "AWS_USE_FIPS_ENDPOINT=true AWS_ENDPOINT_URL_ECR_PUBLIC=" + url, public, ""},
		{"FIPS for all by the environment, with endpoint=", "AWS_USE_FIPS_ENDPOINT=true", Scope{Region: region, Endpoint: url}, "custom endpoint"},
		{"dual-stack for all by the environment, for ECR", "AWS_USE_DUALSTACK_ENDPOINT=true AWS_ENDPOINT_URL_ECR=" + url, here, "custom endpoint"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			clean(t)
			for kv := range strings.FieldsSeq(r.env) {
				name, value, _ := strings.Cut(kv, "=")
				t.Setenv(name, value)
			}
			t.Setenv(fullURI, url)
			c := newClient(t, Options{})
			err := c.Check(r.scope)
			if (err == nil) != (r.err == "") || err != nil && !strings.Contains(err.Error(), r.err) {
				t.Fatalf("Check: %v; want %q", err, r.err)
			}
			if err != nil {
				wantNoSecret(t, err.Error(), "pw", "zz@")
			}
			if err == nil || r.scope.Region == "" {
				return
			}
			// The SDK would refuse it as well, at the first call.
			if _, err := c.Token(t.Context(), r.scope); err == nil {
				t.Error("Check refuses what works")
			}
		})
	}
}

func TestUserAgent(t *testing.T) {
	long := "v0.0.0-20261101123456-0123456789ab+dirty.and.a.long.tail"
	for version, want := range map[string]string{
		"v1.2.3":  "app/ecr-refresher-v1.2.3",
		long:      "app/" + ("ecr-refresher-" + long)[:50],
		"(devel)": "app/ecr-refresher--devel-", // what the SDK makes of it
	} {
		t.Run(version, func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			c := newClient(t, Options{Version: version})
			mustToken(t, c, chain)
			mustToken(t, c, public)
			rs := sb.Requests()
			if len(rs) != 4 {
				t.Fatalf("%d requests", len(rs))
			}
			for _, r := range rs {
				words := strings.Fields(strings.ReplaceAll(r.UserAgent, "+", "-"))
				found := false
				for _, w := range words {
					found = found || w == strings.ReplaceAll(want, "+", "-")
				}
				if !found {
					t.Errorf("%s: the user agent %q lacks %q", r.Service, r.UserAgent, want)
				}
			}
		})
	}
	for _, n := range []int{0, 1, 35, 36, 37, 500} {
		if id := appID(strings.Repeat("v", n)); len(id) != min(50, 14+n) {
			t.Errorf("an app id of %d bytes", len(id))
		}
	}
}

// A wrong setting is an error of New, which tells no secret and asks nobody.
func TestNew(t *testing.T) {
	t.Run("asks nobody", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		newClient(t, Options{})
		if n := len(sb.Calls()) + len(gate.asked()); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
	for name, r := range map[string]struct{ variable, value string }{
		"no CA bundle":              {"AWS_CA_BUNDLE", "/none/ca.pem"},
		"credentials on a stranger": {fullURI, "http://192.0.2.1/v2/credentials/secret-id"},
		"no URL":                    {fullURI, "http://127.0.0.1:xx/secret-id"},
		"no profile":                {"AWS_PROFILE", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			inTask(t, sandbox.Config{})
			t.Setenv(r.variable, r.value)
			_, err := New(t.Context(), Options{Region: region})
			if err == nil {
				t.Fatal("no error")
			}
			wantNoSecret(t, err.Error(), "secret-id")
		})
	}
}

// The proxy that leads to AWS must not see the way to the credentials: neither the request nor the secrets in its answer.
func TestCredentialsAvoidTheProxy(t *testing.T) {
	for variable, value := range map[string]string{
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/secret-id", // on 169.254.170.2
		fullURI:                                  "http://169.254.170.23/v1/credentials/secret-id",
	} {
		t.Run(variable, func(t *testing.T) {
			inTask(t, sandbox.Config{})
			_ = os.Unsetenv(fullURI)
			t.Setenv(variable, value)
			_, err := newClient(t, Options{Timeout: 50 * time.Millisecond}).Token(t.Context(), here)
			wantFault(t, err, fault.CredentialsUnavailable, opTask, "secret-id")
			if asked := gate.asked(); len(asked) != 0 {
				t.Errorf("the proxy was asked for %q", asked)
			}
		})
	}
}

func noListener(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
