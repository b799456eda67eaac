package token

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

// The steps of a call one by one are those of the call: nothing is asked twice, and each failure is that step's.
func TestCredentialsStepByStep(t *testing.T) {
	sb := inTask(t, sandbox.Config{CredentialLife: 2 * time.Hour})
	c := newClient(t, Options{})
	const first, last = "arn:aws:iam::210987654321:role/hop", "arn:aws:iam::210987654321:role/push"
	s := Scope{Region: region, Roles: first + " " + last, ExternalID: "tea-time"}
	for roles, life := range []time.Duration{2 * time.Hour, time.Hour, time.Hour} {
		got, err := c.Credentials(t.Context(), s, roles)
		if err != nil {
			t.Fatal(err)
		}
		provider := "AssumeRoleProvider"
		if roles == 0 {
			provider = "CredentialsEndpointProvider"
		}
		if left := time.Until(got.Expires); got.Provider != provider || left > life || left < life-time.Minute {
			t.Errorf("after %d roles: %+v", roles, got)
		}
	}
	mustToken(t, c, s)
	if calls := sb.Calls(); calls["sts:AssumeRole"] != 2 || calls["credentials"] != 1 {
		t.Errorf("calls: %v", calls)
	}

	c = newClient(t, Options{})
	sb.Set(sandbox.Fault{Service: "sts", Kind: sandbox.AccessDenied, Role: "push"})
	if _, err := c.Credentials(t.Context(), s, 1); err != nil {
		t.Errorf("the first step fails for the second: %v", err)
	}
	_, err := c.Credentials(t.Context(), s, 2)
	wantFault(t, err, fault.AssumeRole, "assume "+last, secretsOf(sb)...)
}

func TestEndpointsOfAScope(t *testing.T) {
	sb := inTask(t, sandbox.Config{})
	for _, tt := range []struct {
		scope Scope
		env   string
		want  string
	}{
		{here, "", "https://api.ecr.us-west-2.amazonaws.com"},
		{Scope{Region: region, FIPS: true}, "", "https://api.ecr-fips.us-west-2.amazonaws.com"},
		{Scope{Region: region, DualStack: true}, "", "https://ecr.us-west-2.api.aws"},
		{Scope{Region: "us-east-1", Public: true}, "", "https://api.ecr-public.us-east-1.amazonaws.com"},
		{Scope{Region: "eu-west-1", Roles: "arn:aws:iam::210987654321:role/a"}, "", "https://sts.us-west-2.amazonaws.com https://api.ecr.eu-west-1.amazonaws.com"},
		{Scope{Region: region, Endpoint: "http://127.0.0.1:1"}, "", "http://127.0.0.1:1"},
		{here, "AWS_ENDPOINT_URL_ECR=http://127.0.0.1:2", "http://127.0.0.1:2"},
	} {
		if name, value, ok := strings.Cut(tt.env, "="); ok {
			t.Setenv(name, value)
		}
		got, err := newClient(t, Options{}).Endpoints(t.Context(), tt.scope)
		if err != nil || !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%s: %v, %v; want %s", tt.scope, got, err, tt.want)
		}
	}
	if calls := sb.Calls(); len(calls) != 0 {
		t.Errorf("somebody was asked: %v", calls)
	}
}

func TestReach(t *testing.T) {
	sb := inTask(t, sandbox.Config{ClockOffset: time.Hour})
	c := newClient(t, Options{})
	a, err := c.Reach(t.Context(), "https://"+ownHost+"/v2/")
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != 401 || "http://"+a.Proxy != gate.url || a.Peer != a.Proxy || a.TLS != "TLS 1.3" || !strings.Contains(a.Issuer, "sandbox") {
		t.Errorf("%+v", a)
	}
	if off := a.Skew + time.Hour; !a.Dated || off.Abs() > 2*time.Second {
		t.Errorf("the local clock is said to be %s ahead", a.Skew)
	}
	for _, r := range []struct {
		kind  sandbox.Kind
		class fault.Class
	}{{sandbox.Reset, fault.Network}, {sandbox.Hang, fault.Timeout}} {
		sb.Set(sandbox.Fault{Service: "registry", Kind: r.kind})
		ctx := t.Context()
		if r.kind == sandbox.Hang {
			ctx = soon(t)
		}
		_, err := c.Reach(ctx, "https://"+ownHost+"/v2/")
		wantFault(t, err, r.class, "reach "+ownHost, secretsOf(sb)...)
	}
	sb.Set()
	t.Setenv("AWS_CA_BUNDLE", "")
	_, err = newClient(t, Options{}).Reach(t.Context(), "https://"+ownHost+"/v2/")
	wantFault(t, err, fault.TLS, "reach "+ownHost)
	if _, err := c.Reach(t.Context(), "https://a b/secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a URL that is none: %v", err)
	}
}

func TestHidesTaskRole(t *testing.T) {
	sb := inTask(t, sandbox.Config{})
	for _, name := range HidesTaskRole() {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "x")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/a")
			sb.ResetCalls()
			if c, err := New(t.Context(), Options{Region: region}); err == nil {
				_, _ = c.Credentials(soon(t), here, 0)
			}
			if n := sb.Calls()["credentials"]; n != 0 {
				t.Errorf("the task role was asked for %d times all the same", n)
			}
		})
	}
}
