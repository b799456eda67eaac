package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

// TestIsolation has ten registries in ten regions, one of which hangs, one denies and one throttles: the other seven are
// written and renewed as if they were alone.
func TestIsolation(t *testing.T) {
	t.Parallel()
	var hosts []string
	for n := range 10 {
		hosts = append(hosts, fmt.Sprintf("123456789012.dkr.ecr.us-west-%d.amazonaws.com", n+1))
	}
	p := newProgram(t, sandbox.Config{TokenLife: 4 * time.Second}, "REFRESHER_REGISTRIES="+strings.Join(hosts, " "), "REFRESHER_TIMEOUT=30s")
	p.aws.Set(
		sandbox.Fault{Service: "ecr", Kind: sandbox.Hang, Region: "us-west-1"},
		sandbox.Fault{Service: "ecr", Kind: sandbox.AccessDenied, Region: "us-west-2"},
		sandbox.Fault{Service: "ecr", Kind: sandbox.Throttled, Region: "us-west-3"},
	)
	p.start()
	good := hosts[3:]
	p.until("the seven good ones are valid", func() bool { return p.valid(good...) })
	renewed := func() bool { // each got a third token, while the first still hangs
		issued := map[string]int{}
		for _, tok := range p.aws.Tokens() {
			issued[tok.Region]++
		}
		return len(issued) == 7 && !slices.ContainsFunc(good, func(h string) bool { return issued[regionOf(h)] < 3 })
	}
	p.until("the seven good ones are renewed twice", renewed)
	if !p.valid(good...) {
		t.Error("a renewal left an invalid token")
	}
	for _, h := range hosts[:3] {
		if p.valid(h) {
			t.Errorf("%s is said to be valid", h)
		}
	}
	if code, body := p.get("/healthz"); code != 503 || !strings.Contains(body, hosts[0]) || strings.Contains(body, hosts[5]) {
		t.Errorf("health: %d %s", code, body)
	}
	p.aws.Set()
	p.until("the denied one recovers", func() bool { return p.valid(hosts[1]) })
	if code := p.stop(); code != 0 { // although one call still hangs
		t.Errorf("exit status %d", code)
	}
}

func regionOf(host string) string { return strings.Split(host, ".")[3] }

// valid reports whether a consumer finds valid tokens for all the hosts, as /metrics says.
func (p *program) valid(hosts ...string) bool {
	_, body := p.get("/metrics")
	for _, h := range hosts {
		if !strings.Contains(body, `ecr_refresher_token_valid{registry="`+h+`"} 1`) {
			return false
		}
	}
	return true
}

// TestFewestCalls has registries that share a token: one call for each API, region and identity.
func TestFewestCalls(t *testing.T) {
	t.Parallel()
	p := newProgram(t, sandbox.Config{}, "REFRESHER_REGISTRIES="+strings.Join([]string{
		"default?alias=ecr.example.com",
		"210987654321.dkr.ecr.us-west-2.amazonaws.com",
		"333333333333.dkr.ecr.us-west-2.amazonaws.com?optional",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com",
		"public.ecr.aws?alias=ecr-public.aws.com",
		"444444444444.dkr.ecr.us-west-2.amazonaws.com?role_arn=arn:aws:iam::444444444444:role/hop&role_arn=arn:aws:iam::444444444444:role/push",
		"555555555555.dkr.ecr.us-west-2.amazonaws.com?role_arn=arn:aws:iam::444444444444:role/hop&role_arn=arn:aws:iam::555555555555:role/push&external_id=tea-time",
	}, ","))
	p.start()
	p.until("all is ready", func() bool { code, _ := p.get("/readyz"); return code == 200 })
	calls := p.aws.Calls()
	for name, want := range map[string]int{
		"ecr:GetAuthorizationToken":        4, // us-west-2, eu-west-1, and one for each assumed role
		"ecr-public:GetAuthorizationToken": 1,
		"sts:AssumeRole":                   3, // hop once, and the two that it leads to
		"credentials":                      1,
		"metadata":                         1,
	} {
		if calls[name] != want {
			t.Errorf("%s was called %d times, not %d", name, calls[name], want)
		}
	}
	for _, r := range p.aws.Requests() {
		if strings.HasPrefix(r.Operation, "GetAuth") && !strings.Contains(r.UserAgent, "app/ecr-refresher") {
			t.Errorf("the user agent does not name us: %q", r.UserAgent)
		}
		if strings.Contains(r.Principal, "assumed-role/push") && !strings.HasSuffix(r.Principal, "/ecr-refresher-0123456789abcdef0123456789abcdef") {
			t.Errorf("the session does not name the task: %q", r.Principal)
		}
	}
	p.noSecrets()
	p.stop()
}

// TestHiddenTaskRole has a variable that takes the task role's place: it is named, once.
func TestHiddenTaskRole(t *testing.T) {
	t.Parallel()
	p := newProgram(t, sandbox.Config{}, "AWS_ACCESS_KEY_ID=left-over", "AWS_SECRET_ACCESS_KEY=left-over")
	p.start()
	p.until("it is warned about", func() bool {
		l := p.line("the task role is hidden: the AWS SDK prefers what this variable gives", "")
		return l != nil && l["variable"] == "AWS_ACCESS_KEY_ID"
	})
	p.until("the call fails for it", func() bool { return p.line("renewal failed", "credentials_unavailable") != nil })
	p.signal(syscall.SIGHUP)
	p.stop()
	if n := strings.Count(p.out.String(), "the task role is hidden"); n != 1 {
		t.Errorf("warned %d times", n)
	}
}

// TestCredentialEndpoint has an agent that is not ready when we are: the first token comes as soon as it is.
func TestCredentialEndpoint(t *testing.T) {
	for _, kind := range []sandbox.Kind{sandbox.Unavailable, sandbox.Refused, sandbox.Hang, sandbox.Throttled429, sandbox.Garbage} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, sandbox.Config{})
			p.aws.Set(sandbox.Fault{Service: "credentials", Kind: kind})
			p.start()
			p.until("the class is logged", func() bool { return p.line("renewal failed", "credentials_unavailable") != nil })
			p.aws.Set()
			p.until("the token is written", func() bool { code, _ := p.get("/healthz"); return code == 200 })
			p.stop()
		})
	}
}

// The ECS agent answers 503 CredentialsUninitialized for the first 10 s of a task. The program waits for it, asks it every 2 s
// at the most, tells of it once, and is healthy as soon as it can be.
func TestEndpointThatStartsLate(t *testing.T) {
	t.Parallel()
	p := newProgram(t, sandbox.Config{})
	set("credentials:unavailable")(t, p)
	p.start()
	p.until("the failure is logged", func() bool { return p.line("renewal failed", string(fault.CredentialsUnavailable)) != nil })
	if code, body := p.get("/healthz"); code != 503 || !strings.Contains(body, string(fault.CredentialsUnavailable)) {
		t.Errorf("health: %d %s", code, body)
	}
	time.Sleep(10 * time.Second)
	if n := p.aws.Calls()["credentials"]; n < 5 || n > 30 {
		t.Errorf("the endpoint was asked %d times in 10 s: %v", n, p.aws.Calls())
	}
	p.aws.Set()
	recovered := time.Now()
	p.until("a valid token is in the file", func() bool { code, _ := p.get("/healthz"); return code == 200 })
	t.Logf("healthy %s after the endpoint's recovery", time.Since(recovered).Round(10*time.Millisecond))
	if n := strings.Count(p.out.String(), "renewal failed"); n > 2 { // the first, and the tenth
		t.Errorf("%d lines tell of it", n)
	}
	if p.line("renewal works again", "") == nil {
		t.Error("no line tells of the recovery")
	}
}
