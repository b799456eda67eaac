package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ecr-refresher/internal/sandbox"
)

// TestMain lets the test binary be the program, and the other programs of TestWriters: their commands are in the PATH.
func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"refresher": main, "docker-logins": dockerLogins})
}

// TestScript runs the program as its users call it. Each script has a sandbox of its own, and the environment of an ECS task.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			aws, err := sandbox.Start(sandbox.Config{})
			if err != nil {
				return err
			}
			env.Defer(func() { _ = aws.Close() })
			env.Values["aws"] = aws
			vol := filepath.Join(env.WorkDir, "vol")
			if err := os.Mkdir(vol, 0o755); err != nil {
				return err
			}
			addr := freeAddr(env.T().(testing.TB))
			env.Setenv("URL", "http://"+addr)
			env.Setenv("VOL", vol)
			for _, kv := range append(aws.Environ(), "REFRESHER_OUTPUTS="+vol+"/config.json", "REFRESHER_LISTEN="+addr) {
				k, v, _ := strings.Cut(kv, "=")
				env.Setenv(k, v)
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "unshare" {
				return false, fmt.Errorf("there is no condition %q", cond)
			}
			return exec.Command("unshare", "-rm", "true").Run() == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fault":     scriptFault,
			"calls":     scriptCalls,
			"get":       scriptGet,
			"await":     scriptAwait,
			"tokenlife": scriptTokenLife,
			"notoken":   scriptNoToken,
			"status":    scriptStatus,
		},
	})
}

func awsOf(ts *testscript.TestScript) *sandbox.Sandbox { return ts.Value("aws").(*sandbox.Sandbox) }

// fault SERVICE:KIND[:COUNT]…: the sandbox misbehaves so, and in no other way; without arguments it behaves.
func scriptFault(ts *testscript.TestScript, _ bool, args []string) {
	faults := make([]sandbox.Fault, len(args))
	for i, a := range args {
		f, err := sandbox.ParseFault(a)
		ts.Check(err)
		faults[i] = f
	}
	awsOf(ts).Set(faults...)
}

// calls NAME N: the sandbox was called so often.
func scriptCalls(ts *testscript.TestScript, neg bool, args []string) {
	if got := fmt.Sprint(awsOf(ts).Calls()[args[0]]); (got == args[1]) == neg {
		ts.Fatalf("%s was called %s times", args[0], got)
	}
}

// tokenlife DURATION: tokens live so long from now on.
func scriptTokenLife(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	awsOf(ts).SetTokenLife(d)
}

// get PATH STATUS [TEXT]: the program answers so, within 10 s.
func scriptGet(ts *testscript.TestScript, _ bool, args []string) {
	var status, body string
	ok := within(10*time.Second, func() bool {
		var code int
		code, body = get(ts.Getenv("URL") + args[0])
		status = fmt.Sprint(code)
		return status == args[1] && (len(args) < 3 || strings.Contains(body, args[2]))
	})
	if !ok {
		ts.Fatalf("GET %s: last answer %s %s", args[0], status, body)
	}
}

// await FILE TEXT [N]: the file has the text within 10 s, or has it N times.
func scriptAwait(ts *testscript.TestScript, _ bool, args []string) {
	n := 1
	if len(args) > 2 {
		var err error
		n, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	if !within(10*time.Second, func() bool { return strings.Count(ts.ReadFile(args[0]), args[1]) >= n }) {
		ts.Fatalf("%s does not have %q %d times:\n%s", args[0], args[1], n, ts.ReadFile(args[0]))
	}
}

// status N COMMAND [ARG…]: the command ends with this exit status.
func scriptStatus(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit status %d", got)
	}
}

// notoken FILE…: none of the files has a secret of the sandbox in it.
func scriptNoToken(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args {
		if leak := leaked(awsOf(ts), ts.ReadFile(file)); leak != "" {
			ts.Fatalf("%s has a secret in it: %s", file, leak)
		}
	}
}

// within polls until the condition holds.
func within(d time.Duration, cond func() bool) bool {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	end := time.After(d)
	for !cond() {
		select {
		case <-poll.C:
		case <-end:
			return cond()
		}
	}
	return true
}

var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}

func get(url string) (int, string) {
	res, err := direct.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// nextPort counts through ports that the kernel gives to nobody by itself, from a place that depends on the process: a port
// found by listening on :0 may be taken again before the program listens.
var nextPort atomic.Int64

func freeAddr(t testing.TB) string {
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+(int64(os.Getpid())*64+nextPort.Add(1))%18000)
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// leaked returns a mark of the first secret found in a text, without repeating it.
func leaked(aws *sandbox.Sandbox, text string) string {
	for i, s := range aws.Secrets() {
		if strings.Contains(text, s) {
			return fmt.Sprintf("secret %d of %d bytes", i, len(s))
		}
	}
	return ""
}

// program is a running refresher beside a sandbox of its own.
type program struct {
	t        testing.TB
	aws      *sandbox.Sandbox
	dir      string // its volume
	environ  []string
	url      string
	cmd      *exec.Cmd
	out, err buffer
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newProgram prepares a refresher with the environment of a task, and more variables; a later one wins.
func newProgram(t testing.TB, cfg sandbox.Config, more ...string) *program {
	t.Helper()
	aws, err := sandbox.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = aws.Close() })
	p := &program{t: t, aws: aws, dir: t.TempDir()}
	addr := freeAddr(t)
	p.url = "http://" + addr
	p.environ = append(slices.Clone(aws.Environ()), "REFRESHER_LISTEN="+addr, "REFRESHER_OUTPUTS="+p.file())
	p.environ = append(p.environ, more...)
	return p
}

func (p *program) file() string { return filepath.Join(p.dir, "config.json") }

// command runs a command of the program to its end and returns its exit status.
func (p *program) command(args ...string) int {
	p.t.Helper()
	cmd := exec.Command("refresher", args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.environ, &p.out, &p.err
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// start starts the daemon; the test's end stops it.
func (p *program) start(args ...string) {
	p.t.Helper()
	p.run(exec.Command("refresher", args...), &p.err)
}

// run starts a command as the daemon; the test's end stops it.
func (p *program) run(cmd *exec.Cmd, stderr io.Writer) {
	p.t.Helper()
	p.cmd = cmd
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.environ, &p.out, stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if p.t.Failed() {
			p.t.Logf("log:\n%s\nstderr:\n%s", p.redacted(p.out.String()), p.redacted(p.err.String()))
		}
	})
}

func (p *program) redacted(s string) string {
	for _, secret := range p.aws.Secrets() {
		s = strings.ReplaceAll(s, secret, "<<SECRET>>")
	}
	return s
}

// stop sends SIGTERM and returns the exit status.
func (p *program) stop() int {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func (p *program) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) get(path string) (int, string) { return get(p.url + path) }

// until waits for a condition; it is said in words for the one who reads the failure.
func (p *program) until(what string, cond func() bool) {
	p.t.Helper()
	if !within(20*time.Second, cond) {
		p.t.Fatalf("it never happened that %s", what)
	}
}

// line is the first log line with a message and, where it is not empty, a class; nil while there is none.
func (p *program) line(msg, class string) map[string]any {
	for l := range strings.Lines(p.out.String()) {
		var fields map[string]any
		if json.Unmarshal([]byte(l), &fields) == nil && fields["msg"] == msg && (class == "" || fields["class"] == class) {
			return fields
		}
	}
	return nil
}

// metric is the value of a series as /metrics prints it, empty where there is none.
func (p *program) metric(series string) string {
	_, body := p.get("/metrics")
	for l := range strings.Lines(body) {
		if v, ok := strings.CutPrefix(l, "ecr_refresher_"+series+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
