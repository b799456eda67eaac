package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"ecr-refresher/internal/sandbox"
)

// TestReaderGone ends the readers of standard output and standard error of the daemon, as a log driver that dies does: the
// token is renewed, the lost lines are counted, and it ends with 0 when it is asked to.
func TestReaderGone(t *testing.T) {
	t.Parallel()
	p := newProgram(t, sandbox.Config{})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command("refresher", "run")
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.environ, w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	_ = w.Close()
	if _, err := bufio.NewReaderSize(r, 16).ReadString('\n'); err != nil { // as head -1 does
		t.Fatal(err)
	}
	_ = r.Close()
	p.until("it is ready", func() bool { code, _ := p.get("/readyz"); return code == 200 })
	if n := p.metric("log_lines_lost_total"); n == "" {
		t.Error("lost lines are not counted")
	}
	before, calls := p.metric("log_lines_lost_total"), p.aws.Calls()["ecr:GetAuthorizationToken"]
	p.signal(syscall.SIGHUP)
	p.until("the token is renewed", func() bool { return p.aws.Calls()["ecr:GetAuthorizationToken"] > calls })
	p.until("its line is counted as lost", func() bool { return p.metric("log_lines_lost_total") != before })
	if code, body := p.get("/healthz"); code != 200 {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit status %d: %s", code, p.cmd.ProcessState)
	}
}

// TestProductNotRead runs the commands that print their result with a reader that is gone, and on a full disk.
func TestProductNotRead(t *testing.T) {
	const definition = `{"family": "web", "containerDefinitions": [{"name": "app", "image": "nginx"}]}`
	for _, tt := range []struct {
		args  string
		stdin string
		gone  int // exit status
		quiet bool
	}{
		{"inject --image=i:1 --task-role=arn:aws:iam::123456789012:role/task", definition, 1, true},
		{"inject --check", definition, 1, true},
		{"policy --access=pull --repository=a --region=us-west-2 --account=123456789012", "", 1, true},
		{"version", "", 1, true},
		{"--help", "", 1, true},
		{"run --help", "", 1, true},
		{"doctor", "", 1, true},
		{"healthcheck", "", 1, true}, // nobody answers
		{"once", "", 0, false},       // its result is the file
		{"run --no-such-flag", "", 2, false},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, sandbox.Config{})
			run := func(out io.Writer) (code int, stderr string) {
				var said bytes.Buffer
				cmd := exec.Command("refresher", strings.Fields(tt.args)...)
				cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.environ, strings.NewReader(tt.stdin), out, &said
				err := cmd.Run()
				if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				return cmd.ProcessState.ExitCode(), said.String()
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			defer w.Close()
			code, stderr := run(w)
			if code != tt.gone {
				t.Errorf("exit status %d: %s", code, stderr)
			}
			if tt.quiet && stderr != "" && !strings.HasPrefix(stderr, "refresher: no FILE is given") {
				t.Errorf("it says %q", stderr)
			}
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer full.Close()
			code, stderr = run(full)
			if code != tt.gone || tt.quiet && tt.gone == 1 && tt.args != "healthcheck" && !strings.Contains(stderr, "write the output: ") {
				t.Errorf("on a full disk: exit status %d, %q", code, stderr)
			}
		})
	}
}

// TestHangUpAtTheStart sends SIGHUP at once after the start, again and again: it never ends the daemon. What comes before the Go
// runtime is up cannot be caught: the test waits for the process to say that it catches the signal, which it must do
// before main begins.
func TestHangUpAtTheStart(t *testing.T) {
	t.Parallel()
	p := newProgram(t, sandbox.Config{})
	for range 5 {
		cmd := exec.Command("refresher", "version")
		cmd.Env = append(p.environ, "GODEBUG=inittrace=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		caught, sdk := bytes.Index(out, []byte("init ecr-refresher/internal/signals ")), bytes.Index(out, []byte("init github.com/"))
		if caught < 0 || sdk < caught && bytes.Contains(out[:caught], []byte("init github.com/aws/aws-sdk-go-v2/service/")) {
			t.Fatalf("signals are caught after the packages of the SDK are initialised:\n%s", out)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.environ = append(p.environ, "GODEBUG=inittrace=1")
	p.cmd = exec.Command("refresher", "run")
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.environ, &p.out, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	_ = w.Close()
	lines := bufio.NewScanner(r)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "init ecr-refresher/internal/signals ") {
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	for range 100 {
		p.signal(syscall.SIGHUP)
	}
	p.until("it is ready", func() bool { code, _ := p.get("/readyz"); return code == 200 })
	if code := p.stop(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
