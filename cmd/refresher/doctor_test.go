package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/doctor"
	"ecr-refresher/internal/sandbox"
)

// found is one finding of a report.
type found struct{ ID, Of, Status, Seen, Cure string }

// examined runs the doctor to its end. No secret is in what it says.
func (p *program) examined(args ...string) (report []found, code int) {
	p.t.Helper()
	cmd := exec.Command("refresher", append([]string{"doctor", "--format=json"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = p.environ, &out, &errs
	_ = cmd.Run()
	if leak := leaked(p.aws, out.String()+errs.String()); leak != "" {
		p.t.Errorf("the report holds a secret: %s", leak)
	}
	var answer struct {
		OK     bool
		Checks []found
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		p.t.Fatalf("%v\n%s%s", err, p.redacted(out.String()), p.redacted(errs.String()))
	}
	if code = cmd.ProcessState.ExitCode(); answer.OK != (code == 0) {
		p.t.Errorf("ok is %v, the exit status %d", answer.OK, code)
	}
	return answer.Checks, code
}

// TestDoctor has one thing wrong at a time. The check that it is made for says so and names the cure; those behind it that
// cannot be made say that they are skipped, and no other fails.
func TestDoctor(t *testing.T) {
	const role = "REFRESHER_REGISTRIES=default?role_arn=arn:aws:iam::210987654321:role/hop&role_arn=arn:aws:iam::210987654321:role/push&external_id=tea-time"
	for _, tt := range []struct {
		name       string
		env        []string
		fault      string
		args       []string
		cause      func(*testing.T, *program)
		id         string
		status     string
		seen, cure string   // regular expressions
		also       []string // warns or fails of the same cause
		skipped    []string
	}{
		{name: "nothing", id: "accepted", status: "ok", seen: "accepts"},
		{name: "unknown variable", env: []string{"REFRESHER_REGISTRIS=x"}, id: "settings", status: "fail", seen: "REFRESHER_REGISTRIS", cure: "did you mean REFRESHER_REGISTRIES"},
		{name: "unknown variable like another", env: []string{"REFRESHER_REGISTRY=default"}, id: "settings", status: "fail", seen: "REFRESHER_REGISTRY:", cure: "did you mean REFRESHER_REGISTRIES"},
		{name: "unknown variable, and the registries go on", env: []string{"REFRESHER_REGISTRY=default"}, id: "accepted", status: "ok", seen: "accepts", also: []string{"settings"}},
		{name: "another partition", env: []string{"REFRESHER_REGISTRIES=123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"}, id: "registries", status: "fail",
			seen: "partition aws-cn, and the task's role is in aws", cure: "take the registry off", skipped: []string{"aws_settings", "token", "accepted"}},
		{name: "wrong value", env: []string{"REFRESHER_RENEW_AT=7"}, id: "settings", status: "fail", seen: "not a number from", cure: "correct the value"},
		{name: "wrong value for another command", env: []string{"REFRESHER_DEADLINE=banana"}, id: "settings", status: "fail", seen: "REFRESHER_DEADLINE", cure: "correct the value"},
		{name: "wrong registries", env: []string{"REFRESHER_REGISTRIES=12345"}, id: "settings", status: "fail", seen: "12345", cure: ".", skipped: []string{"registries", "aws_settings", "token"}},
		{name: "wrong outputs", env: []string{"REFRESHER_OUTPUTS=x"}, id: "settings", status: "fail", seen: "absolute path", cure: ".", skipped: []string{"volume", "writable"}},
		{name: "keys in the environment", env: []string{"AWS_ACCESS_KEY_ID=left-over", "AWS_SECRET_ACCESS_KEY=left-over-secret"}, id: "role_hidden", status: "warn",
			seen: "AWS_ACCESS_KEY_ID", cure: "remove it", also: []string{"credentials", "token"}, skipped: []string{"accepted"}},
		{name: "NO_PROXY", env: []string{"NO_PROXY=localhost"}, id: "proxy", status: "warn", seen: "169.254.170.2", cure: "NO_PROXY=169.254.170.2,localhost"},
		{name: "CA bundle", env: []string{"AWS_CA_BUNDLE=/nowhere.pem"}, id: "ca_bundle", status: "fail", seen: "/nowhere.pem", cure: "mount the certificates",
			also: []string{"aws_settings"}, skipped: []string{"api", "token"}},
		{name: "metadata", fault: "metadata:unavailable", id: "metadata", status: "fail", seen: "status 503", cure: "starting or in trouble",
			also: []string{"region"}, skipped: []string{"host_clock", "registries", "token"}},
		{name: "metadata not needed", fault: "metadata:hang", env: []string{"REFRESHER_REGISTRIES=123456789012.dkr.ecr.us-west-2.amazonaws.com"}, id: "metadata", status: "warn",
			seen: "no answer in time.*every registry is named", cure: "ECS agent"},
		{name: "clock", cause: clock(30 * time.Second), id: "clock", status: "warn", seen: "30s behind", cure: "chrony", also: []string{"host_clock"}},
		{name: "clock far away", cause: clock(-14 * time.Hour), id: "clock", status: "fail", seen: "clock_skew.*14h0m0s ahead", cure: "chrony",
			also: []string{"host_clock", "token", "credentials"}, skipped: []string{"accepted"}},
		{name: "another region", env: []string{"AWS_REGION=eu-west-1"}, id: "region", status: "warn", seen: "eu-west-1, by AWS_REGION; but the task's ARN says us-west-2", cure: "remove AWS_REGION"},
		{name: "zone for region", env: []string{"AWS_REGION=us-west-2a"}, id: "region", status: "fail", seen: "no AWS region", cure: "AWS_REGION=", skipped: []string{"registries"}},
		{name: "registry twice", env: []string{"REFRESHER_REGISTRIES=default,123456789012.dkr.ecr.us-west-2.amazonaws.com"}, id: "registries", status: "fail", seen: "123456789012", cure: "once", skipped: []string{"aws_settings"}},
		{name: "profile", env: []string{"AWS_PROFILE=nope"}, id: "aws_settings", status: "fail", seen: "nope", cure: "remove AWS_PROFILE", also: []string{"role_hidden"}, skipped: []string{"credentials"}},
		{name: "FIPS with an endpoint", env: []string{"AWS_ENDPOINT_URL_ECR=http://127.0.0.1:1", "AWS_USE_FIPS_ENDPOINT=true"}, id: "aws_settings", status: "fail", seen: "custom endpoint", cure: "AWS_USE_FIPS_ENDPOINT", skipped: []string{"token"}},
		{name: "no task role", env: []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI="}, id: "endpoint", status: "fail", seen: "no_credentials: the task has no role", cure: `"taskRoleArn": `, skipped: []string{"credentials", "token", "accepted"}},
		{name: "agent starting", fault: "credentials:unavailable", id: "endpoint", status: "fail", seen: "credentials_unavailable: .*CredentialsUninitialized", cure: "ecs-tasks.amazonaws.com", skipped: []string{"credentials", "token"}},
		{name: "agent hangs", fault: "credentials:hang", id: "endpoint", status: "fail", seen: "no answer within 2s", cure: "ECS agent runs", skipped: []string{"credentials", "token"}},
		{name: "agent slow", cause: slow("credentials", 1100*time.Millisecond), id: "endpoint", status: "warn", seen: "answered in 1.*s for arn:aws:iam::.*slow", cure: "load of the host"},
		{name: "web identity without its file", env: []string{"AWS_WEB_IDENTITY_TOKEN_FILE=/nowhere", "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/a"}, id: "credentials", status: "fail",
			seen: "credentials_unavailable", cure: ".", also: []string{"role_hidden"}, skipped: []string{"token", "accepted"}},
		{name: "credentials end", cause: func(_ *testing.T, p *program) { p.aws.SetCredentialLife(2 * time.Minute) }, id: "credentials", status: "warn", seen: "about to expire", cure: "ECS agent"},
		{name: "no way out", env: []string{"HTTPS_PROXY=http://u:hunter2@127.0.0.1:1", "https_proxy=http://u:hunter2@127.0.0.1:1"}, id: "api", status: "fail",
			seen: "network: .*refused, through the proxy 127.0.0.1:1", cure: "proxy in HTTPS_PROXY is reachable.*VPC endpoints ecr.api and sts", also: []string{"registry_host"}, skipped: []string{"clock", "token", "accepted"}},
		// No resolver is asked for a name of numbers alone.
		{name: "no such name", env: []string{"NO_PROXY=169.254.170.2,127.0.0.1,1.2.3.4.5", "REFRESHER_REGISTRIES=default?endpoint=https://1.2.3.4.5"}, id: "api", status: "fail",
			seen: "network: .*lookup 1.2.3.4.5: no such host", cure: "region exists[^$]*enableDnsSupport", skipped: []string{"clock", "token"}},
		{name: "another CA", cause: otherCA, id: "api", status: "fail", seen: "tls: .*unknown authority", cure: "AWS_CA_BUNDLE=", also: []string{"registry_host"}, skipped: []string{"token", "accepted"}},
		{name: "role", env: []string{role}, fault: "sts:access_denied", id: "assume_role", status: "fail", seen: "assume_role: AccessDenied",
			cure: `"Action": "sts:AssumeRole", "Resource": "arn:aws:iam::210987654321:role/hop"[^$]*"AWS": "arn:aws:iam::123456789012:role/sandbox-task"`, skipped: []string{"assume_role", "token", "accepted"}},
		{name: "second role", env: []string{role}, cause: func(_ *testing.T, p *program) {
			p.aws.Set(sandbox.Fault{Service: "sts", Kind: sandbox.AccessDenied, Role: "push"})
		}, id: "assume_role", status: "fail", seen: "AccessDenied", cure: `role/push"[^$]*"AWS": "arn:aws:iam::210987654321:role/hop"[^$]*THE-EXTERNAL-ID`, skipped: []string{"token"}},
		{name: "token", fault: "ecr:access_denied", id: "token", status: "fail", seen: "access_denied: ", cure: `"Action": "ecr:GetAuthorizationToken", "Resource": "\*"`, skipped: []string{"accepted"}},
		{name: "public token", env: []string{"REFRESHER_REGISTRIES=public.ecr.aws"}, fault: "ecr-public:access_denied", id: "token", status: "fail", seen: "access_denied", cure: `sts:GetServiceBearerToken"\]`, skipped: []string{"accepted"}},
		{name: "optional token", env: []string{"REFRESHER_REGISTRIES=default,public.ecr.aws?optional"}, fault: "ecr-public:access_denied", id: "token", status: "warn", seen: "access_denied.*optional", cure: ".", skipped: []string{"accepted"}},
		{name: "denied by the organization", cause: denied("ecr", "with an explicit deny in a service control policy"), id: "token", status: "fail",
			seen: "explicit deny in a service control policy", cure: "organization must remove the Deny[^$]*the role sandbox-task[^$]*SERVICE_CONTROL_POLICY", skipped: []string{"accepted"}},
		{name: "denied by the endpoint", cause: denied("ecr", "because no VPC endpoint policy allows the ecr:GetAuthorizationToken action"), id: "token", status: "fail",
			seen: "no VPC endpoint policy", cure: `VPC endpoint ecr.api[^$]*"AWS": "arn:aws:iam::123456789012:role/sandbox-task"`, skipped: []string{"accepted"}},
		{name: "throttled", fault: "ecr:throttled", id: "token", status: "fail", seen: "throttled", cure: "quota", skipped: []string{"accepted"}},
		{name: "registry host", fault: "registry:reset", id: "registry_host", status: "fail", seen: "network", cure: "ecr.dkr", skipped: []string{"accepted"}},
		{name: "token unknown", fault: "registry:unauthorized", id: "accepted", status: "fail", seen: "token_rejected: 401", cure: "proxy with a login"},
		{name: "token refused", fault: "registry:forbidden", id: "accepted", status: "fail", seen: "token_rejected: 403", cure: `VPC endpoint ecr.dkr[^$]*"Principal"`},
		{name: "consumer", env: []string{"REFRESHER_OUTPUT_MODE=0600"}, args: []string{"--consumer-uid", "4711"}, id: "consumer", status: "fail", seen: "uid 4711 cannot", cure: "REFRESHER_OUTPUT_MODE=0644"},
		{name: "helper", cause: holds(`{"credsStore": "desktop"}`), id: "helpers", status: "fail", seen: "docker-credential-desktop", cure: `"credHelpers": {"123456789012`},
		{name: "foreign entry", cause: holds(`{"auths": {"ghcr.io": {"auth": "hunter2!"}}}`), id: "foreign_auths", status: "fail", seen: "ghcr.io", cure: "del"},
		{name: "no document", cause: holds(`{`), id: "document", status: "fail", seen: "output_invalid", cure: "mend or delete", skipped: []string{"helpers", "foreign_auths"}},
		{name: "UTF-16", cause: holds("\xff\xfe{\x00}\x00"), id: "document", status: "fail", seen: "output_invalid: it is UTF-16", cure: "iconv", skipped: []string{"helpers", "foreign_auths"}},
		{name: "port", cause: another, id: "port", status: "fail", seen: "no refresher", cure: "REFRESHER_LISTEN=", skipped: []string{"neighbour"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, sandbox.Config{}, append([]string{"REFRESHER_OUTPUT_MODE=0644", "AWS_CA_BUNDLE=", "AWS_CONFIG_FILE=/nowhere", "AWS_SHARED_CREDENTIALS_FILE=/nowhere"}, tt.env...)...)
			if tt.fault != "" {
				f, err := sandbox.ParseFault(tt.fault)
				if err != nil {
					t.Fatal(err)
				}
				p.aws.Set(f)
			}
			if tt.cause != nil {
				tt.cause(t, p)
			}
			report, code := p.examined(tt.args...)
			if (code == 1) != slices.ContainsFunc(report, func(f found) bool { return f.Status == "fail" }) || code > 1 {
				t.Errorf("exit status %d", code)
			}
			met, skipped := false, map[string]bool{}
			for _, f := range report {
				if f.ID == tt.id && f.Status == tt.status && regexp.MustCompile(tt.seen).MatchString(f.Seen) && regexp.MustCompile(tt.cure).MatchString(f.Cure) {
					met = true
				} else if f.Status != "ok" && f.Status != "skip" && f.ID != "mount" && !slices.Contains(tt.also, f.ID) {
					t.Errorf("%+v", f)
				}
				if (f.Status == "warn" || f.Status == "fail") && f.Cure == "" {
					t.Errorf("no cure: %+v", f)
				}
				skipped[f.ID] = skipped[f.ID] || f.Status == "skip"
			}
			if !met {
				t.Errorf("%s does not say %s %q, %q:\n%+v", tt.id, tt.status, tt.seen, tt.cure, report)
			}
			for _, id := range tt.skipped {
				if !skipped[id] {
					t.Errorf("%s is not skipped", id)
				}
			}
			if strings.Contains(fmt.Sprint(report), "hunter2") || strings.Contains(fmt.Sprint(report), "tea-time") || strings.Contains(fmt.Sprint(report), "left-over") {
				t.Error("a value of the environment or of the file is told")
			}
			if left, err := os.ReadDir(p.dir); err != nil || len(left) > 1 || len(left) == 1 && left[0].Name() != "config.json" {
				t.Errorf("left in the volume: %v, %v", left, err)
			}
		})
	}
}

func clock(ahead time.Duration) func(*testing.T, *program) {
	return func(_ *testing.T, p *program) { p.aws.SetClockOffset(ahead) }
}

func slow(service string, d time.Duration) func(*testing.T, *program) {
	return func(_ *testing.T, p *program) {
		p.aws.Set(sandbox.Fault{Service: service, Kind: sandbox.Slow, Latency: d})
	}
}

func denied(service, reason string) func(*testing.T, *program) {
	return func(_ *testing.T, p *program) {
		p.aws.Set(sandbox.Fault{Service: service, Kind: sandbox.AccessDenied, Reason: reason})
	}
}

func holds(content string) func(*testing.T, *program) {
	return func(t *testing.T, p *program) {
		if err := os.WriteFile(p.file(), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// otherCA lets the program trust an authority that did not sign the sandbox's certificates.
func otherCA(t *testing.T, p *program) {
	other, err := sandbox.Start(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	p.environ = append(p.environ, "SSL_CERT_FILE="+other.CAFile())
}

// another program listens where the refresher should.
func another(t *testing.T, p *program) {
	s := &http.Server{Addr: strings.TrimPrefix(p.url, "http://"), Handler: http.NotFoundHandler()}
	go func() { _ = s.ListenAndServe() }()
	t.Cleanup(func() { _ = s.Close() })
	p.until("it listens", func() bool { code, _ := p.get("/"); return code == 404 })
}

// TestDoctorBesideARefresher examines a task whose refresher runs: its port is no fault, and what it says of itself counts.
func TestDoctorBesideARefresher(t *testing.T) {
	t.Parallel()
	p := newProgram(t, sandbox.Config{}, "REFRESHER_OUTPUT_MODE=0644")
	p.start()
	p.until("it is ready", func() bool { code, _ := p.get("/readyz"); return code == 200 })
	report, code := p.examined()
	for _, f := range report {
		switch f.ID {
		case "port", "neighbour", "document":
			if f.Status != "ok" {
				t.Errorf("%+v", f)
			}
		}
	}
	if code != 0 {
		t.Errorf("exit status %d: %+v", code, report)
	}

	// /status carries what is cheap, in the same words, and asks nobody.
	before := p.aws.Calls()
	var status struct{ Checks []found }
	_, body := p.get("/status")
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, c := range status.Checks {
		ids = append(ids, c.ID)
		if i := slices.IndexFunc(report, func(f found) bool { return f.ID == c.ID }); i < 0 || report[i].Status != c.Status || report[i].Cure != c.Cure || c.ID == "consumer" && report[i].Seen != c.Seen {
			t.Errorf("not in the doctor's words: %+v", c)
		}
	}
	if want := []string{"role_hidden", "proxy", "ca_bundle", "volume", "mount", "file_mount", "owner", "space", "document", "consumer", "helpers", "foreign_auths", "writers"}; !slices.Equal(ids, want) {
		t.Errorf("the cheap checks are %v", ids)
	}
	if after := p.aws.Calls(); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("/status asks: %v, %v", before, after)
	}

	// Somebody damages the file, and the refresher cannot mend it.
	if err := os.WriteFile(p.file(), []byte(`{`), 0o600); err != nil {
		t.Fatal(err)
	}
	p.until("it is unhealthy", func() bool { code, _ := p.get("/healthz"); return code == 503 })
	report, code = p.examined()
	if i := slices.IndexFunc(report, func(f found) bool { return f.ID == "neighbour" }); code != 1 || report[i].Status != "fail" || !strings.Contains(report[i].Seen, "not healthy") {
		t.Errorf("%d: %+v", code, report[i])
	}
	p.noSecrets()
	p.stop()
}

// TestDoctorDocument holds docs/doctor.md against the program: the table of checks, and the example.
func TestDoctorDocument(t *testing.T) {
	const file = "../../docs/doctor.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| check | question | in `/status` |\n|---|---|---|\n")
	var ids []string
	for _, c := range doctor.Checks() {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", c.ID, c.Title, map[bool]string{true: "yes"}[c.Cheap])
		ids = append(ids, c.ID)
	}
	m := regexp.MustCompile(`(?s)(<!-- checks: [^\n]* -->\n).*?(<!-- end -->)`).FindStringSubmatch(string(b))
	if m == nil {
		t.Fatalf("%s has no table of checks", file)
	}
	switch want := m[1] + table.String() + m[2]; {
	case m[0] == want:
	case *update:
		if err := os.WriteFile(file, bytes.Replace(b, []byte(m[0]), []byte(want), 1), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table is out of date; go test ./cmd/refresher -run TestDoctorDocument -update writes it")
	}
	var shown []string
	count := map[string]int{}
	for _, l := range regexp.MustCompile(`(?m)^(ok|warn|fail|skip) +(\w+) `).FindAllStringSubmatch(string(b), -1) {
		count[l[1]]++
		if !slices.Contains(shown, l[2]) {
			shown = append(shown, l[2])
		}
	}
	if !slices.Equal(shown, ids) {
		t.Errorf("the example shows %v\nthe checks are    %v", shown, ids)
	}
	if sum := fmt.Sprintf("%d failed, %d to look at, %d ok, %d skipped", count["fail"], count["warn"], count["ok"], count["skip"]); !strings.Contains(string(b), sum) {
		t.Errorf("the example does not add up: %s", sum)
	}
	for _, o := range regexp.MustCompile(`(?m)^ *--overrides '(.*)'`).FindAllStringSubmatch(string(b), -1) {
		var overrides struct {
			ContainerOverrides []struct {
				Name    string
				Command []string
			}
		}
		if err := json.Unmarshal([]byte(o[1]), &overrides); err != nil {
			t.Errorf("%s: %v", o[1], err)
			continue
		}
		if _, c, err := parse(invocation{args: overrides.ContainerOverrides[0].Command}); err != nil || c.Name != "doctor" {
			t.Errorf("%s: %q, %v", o[1], c.Name, err)
		}
	}
	if n := strings.Count(string(b), "--overrides '"); n == 0 {
		t.Error("no --overrides is shown")
	}
}
