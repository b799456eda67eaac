package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

// faults say how each class is met by a program that holds a valid token. Full disks and missing permissions need another
// user or a mount: internal/writer has their rows.
var faults = []struct {
	class fault.Class
	env   []string
	cause func(t *testing.T, p *program)
	// broken is what the cause does to the file itself: then the good content cannot stay.
	broken bool
}{
	{class: fault.NoCredentials, env: []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI="}},
	{class: fault.CredentialsUnavailable, cause: set("credentials:unavailable")},
	{class: fault.AccessDenied, cause: set("ecr:access_denied")},
	{class: fault.AssumeRole, env: []string{"REFRESHER_REGISTRIES=default?role_arn=arn:aws:iam::210987654321:role/push"}, cause: set("sts:access_denied")},
	{class: fault.Throttled, cause: set("ecr:throttled")},
	{class: fault.Network, cause: set("ecr:reset")},
	{class: fault.Timeout, env: []string{"REFRESHER_TIMEOUT=200ms"}, cause: set("ecr:hang")},
	{class: fault.TLS, env: []string{"SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR=/dev/null"}},
	{class: fault.ClockSkew, cause: func(_ *testing.T, p *program) { p.aws.SetClockOffset(14 * time.Hour) }},
	{class: fault.BadRequest, cause: set("ecr:bad_request")},
	{class: fault.ServerError, cause: set("ecr:server_error")},
	{class: fault.InvalidResponse, cause: set("ecr:bad_base64")},
	{class: fault.TokenRejected, cause: set("registry:unauthorized")},
	{class: fault.OutputInvalid, broken: true, cause: func(t *testing.T, p *program) {
		if err := os.WriteFile(p.file(), []byte(`{"auths": {`), 0o600); err != nil {
			t.Fatal(err)
		}
	}},
	{class: fault.OutputOther, broken: true, cause: func(t *testing.T, p *program) {
		if err := os.Rename(p.dir, p.dir+".gone"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Rename(p.dir+".gone", p.dir) })
	}},
}

func set(spec string) func(*testing.T, *program) {
	return func(t *testing.T, p *program) {
		t.Helper()
		f, err := sandbox.ParseFault(spec)
		if err != nil {
			t.Fatal(err)
		}
		p.aws.ExpireCredentials() // so that every part of the way is gone anew
		p.aws.Set(f)
	}
}

// TestEveryClass meets each fault with a valid token in the file. The class is in the log with its cure and retry_in, and
// counted; the program stays, the good file stays, health stays true; and no secret is anywhere.
func TestEveryClass(t *testing.T) {
	seen := map[fault.Class]bool{fault.OutputDenied: true, fault.OutputFull: true}
	for _, tt := range faults {
		seen[tt.class] = true
		t.Run(string(tt.class), func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, sandbox.Config{})
			good := p.environ
			for _, kv := range tt.env { // the registries must be the same for the token to be adopted
				if strings.HasPrefix(kv, "REFRESHER_") {
					p.environ = append(p.environ, kv)
				}
			}
			if code := p.command("once"); code != 0 {
				t.Fatalf("once: exit status %d", code)
			}
			p.environ = append(good, tt.env...)
			before, err := os.ReadFile(p.file())
			if err != nil {
				t.Fatal(err)
			}
			p.start()
			p.until("the token is adopted", func() bool { code, _ := p.get("/readyz"); return code == 200 })
			if tt.cause != nil {
				tt.cause(t, p)
			}
			p.signal(syscall.SIGHUP)

			msg, errors, label := "renewal failed", "refresh_errors_total", `registry="default"`
			switch {
			case tt.class == fault.TokenRejected:
				msg = "registry rejects the token"
			case tt.class.OfOutput():
				msg, errors, label = "output not written", "output_errors_total", `output="`+p.file()+`"`
			}
			p.until("the class is logged", func() bool { return p.line(msg, string(tt.class)) != nil })
			line := p.line(msg, string(tt.class))
			for _, field := range []string{"error", "cure", "retry_in"} {
				if s, _ := line[field].(string); s == "" {
					t.Errorf("the log line has no %s: %v", field, line)
				}
			}
			series := errors + `{class="` + string(tt.class) + `",` + label + `}`
			p.until("the class is counted", func() bool { v := p.metric(series); return v != "" && v != "0" })
			if !tt.broken {
				want := 200
				if tt.class == fault.AccessDenied || tt.class == fault.AssumeRole { // of a token that was found in the file
					want = 503
				}
				if code, body := p.get("/healthz"); code != want {
					t.Errorf("health: %d %s", code, body)
				}
				if tt.class != fault.TokenRejected && tt.class != fault.ClockSkew { // those renew the file
					if after, err := os.ReadFile(p.file()); err != nil || string(after) != string(before) {
						t.Errorf("the good file did not stay: %v", err)
					}
				}
			}
			p.noSecrets()
			if code := p.stop(); code != 0 {
				t.Errorf("exit status %d", code)
			}
		})
	}
	for _, c := range fault.Classes() {
		if !seen[c] {
			t.Errorf("class %s has no row", c)
		}
	}
}

// noSecrets greps everything that the program says, and what can be seen of it from outside, for every secret that the
// sandbox ever issued.
func (p *program) noSecrets() {
	p.t.Helper()
	places := map[string]string{"stdout": p.out.String(), "stderr": p.err.String()}
	for _, path := range []string{"/", "/status", "/metrics", "/readyz", "/healthz", "/livez"} {
		_, places[path] = p.get(path)
	}
	if b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "cmdline")); err == nil {
		places["argv"] = string(b)
	}
	if b, err := os.ReadFile(filepath.Join(p.dir, ".config.json.state")); err == nil {
		places["state file"] = string(b)
	}
	for place, text := range places {
		if leak := leaked(p.aws, text); leak != "" {
			p.t.Errorf("%s holds a secret: %s", place, leak)
		}
	}
}

// TestRenewalAndStop watches a short-lived token being renewed, and the end on SIGTERM; in every kind of log.
func TestRenewalAndStop(t *testing.T) {
	for _, log := range [][]string{nil, {"--log-level", "debug"}, {"--log-level=debug", "--log-format=console"}} {
		t.Run(strings.Join(log, " "), func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, sandbox.Config{TokenLife: 4 * time.Second})
			p.start(append([]string{"run"}, log...)...)
			p.until("the first token is written", func() bool { _, err := os.Stat(p.file()); return err == nil })
			first, _ := os.ReadFile(p.file())
			p.until("it is renewed", func() bool {
				now, err := os.ReadFile(p.file())
				return err == nil && string(now) != string(first)
			})
			p.until("the registry accepts the new one", func() bool { return p.metric(`token_accepted{registry="default"}`) == "1" })
			p.noSecrets()
			if code := p.stop(); code != 0 {
				t.Errorf("exit status %d", code)
			}
			if _, err := os.Stat(p.file()); err != nil {
				t.Errorf("the file did not stay: %v", err)
			}
		})
	}
}

// TestDrift changes the file behind the program's back in every way: it is repaired without a call, and counted; and health
// speaks of the file as it is, not of the token in memory.
func TestDrift(t *testing.T) {
	t.Parallel()
	second := filepath.Join(t.TempDir(), "second.json")
	p := newProgram(t, sandbox.Config{})
	p.environ = append(p.environ, "REFRESHER_OUTPUTS="+p.file()+","+second+"?mode=0644")
	p.start()
	p.until("both files are written", func() bool { code, _ := p.get("/readyz"); return code == 200 })
	good, err := os.ReadFile(p.file())
	if err != nil {
		t.Fatal(err)
	}
	entry := regexp.MustCompile(`"[A-Za-z0-9+/=]{100,}"`).FindString(string(good))
	whole := func() bool { now, _ := os.ReadFile(p.file()); return strings.Contains(string(now), entry) }
	repairs := `output_repairs_total{output="` + p.file() + `"}`
	for i, damage := range []func() error{
		func() error { return os.Remove(p.file()) },
		func() error { return os.Truncate(p.file(), 0) },
		func() error { return os.WriteFile(p.file(), []byte(`{"auths":{}}`), 0o600) },
		func() error { return os.Chmod(p.file(), 0o640) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		p.until("it is repaired", whole)
		p.until("the repair is counted", func() bool { return p.metric(repairs) == strconv.Itoa(i+1) })
	}
	// The fifth repair makes it contested, and the next one waits: what health says in between is the file's.
	for range 2 {
		if err := os.WriteFile(p.file(), []byte(`{"auths":{}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		p.until("it is noticed", func() bool { return whole() || p.metric(`output_contested{output="`+p.file()+`"}`) == "1" })
	}
	if code, body := p.get("/healthz"); code != 503 || !strings.Contains(body, "no entry for 123456789012.dkr.ecr.us-west-2.amazonaws.com") {
		t.Errorf("/healthz before the repair: %d %s", code, body)
	}
	if code, body := p.get("/readyz"); code != 503 || !strings.Contains(body, "contested") {
		t.Errorf("/readyz before the repair: %d %s", code, body)
	}
	if info, err := os.Stat(second); err != nil || info.Mode() != 0o644 {
		t.Errorf("the second output: %v %v", info, err)
	}
	if n := p.aws.Calls()["ecr:GetAuthorizationToken"]; n != 1 {
		t.Errorf("%d calls", n)
	}
	p.noSecrets()
	p.stop()
}

// TestBlockedLog has a log driver that takes nothing any more: tokens are renewed all the same, and the program ends when it is told
// to.
func TestBlockedLog(t *testing.T) {
	t.Parallel()
	p := newProgram(t, sandbox.Config{})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p.cmd = exec.Command("refresher", "run")
	p.cmd.Env, p.cmd.Stdout = p.environ, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	p.until("it is ready", func() bool { code, _ := p.get("/readyz"); return code == 200 })
	full, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(w.Fd())), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for n := range []int{4096, 1} { // to the last byte
		chunk := make([]byte, []int{4096, 1}[n])
		for {
			if _, err := syscall.Write(int(full.Fd()), chunk); err != nil {
				break
			}
		}
	}
	calls := p.aws.Calls()["ecr:GetAuthorizationToken"]
	p.signal(syscall.SIGHUP) // which is worth a line
	p.until("the token is renewed", func() bool { return p.aws.Calls()["ecr:GetAuthorizationToken"] > calls })
	if code, body := p.get("/healthz"); code != 200 {
		t.Errorf("/healthz: %d %s", code, body)
	}
	p.signal(syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it never ended")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
