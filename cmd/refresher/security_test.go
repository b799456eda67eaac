package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"ecr-refresher/internal/sandbox"
	"ecr-refresher/internal/token"
)

// TestHidden has a process of the same user look into the running program: it sees nothing of the memory, the environment and
// the files, and no core is dumped; while the program and its health check do all that they do otherwise, without root.
func TestHidden(t *testing.T) {
	t.Parallel()
	const uid = 65532 // of the image
	bin := shipped(t)
	p := newProgram(t, sandbox.Config{}, "AWS_SECRET_ACCESS_KEY_OF_NOBODY=a-secret", "GOTRACEBACK=crash")
	if err := os.Chmod(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	same := &syscall.SysProcAttr{} // a user's own
	if os.Getuid() == 0 {
		if err := os.Chown(p.dir, uid, uid); err != nil {
			t.Fatal(err)
		}
		opened(t, bin, p.dir, p.aws.CAFile())
		same.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	as := func(name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.SysProcAttr, cmd.Env, cmd.Dir = same, p.environ, "/"
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	p.cmd = exec.Command("sh", "-c", `ulimit -c unlimited; exec "$0" run`, bin)
	p.cmd.SysProcAttr, p.cmd.Env, p.cmd.Dir = same, p.environ, p.dir
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	p.until("it is ready", func() bool { code, _ := p.get("/readyz"); return code == 200 })
	for _, file := range []string{"environ", "mem", "maps", "auxv", "fd/0"} {
		path := fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file)
		if out, err := as("head", "-c", "1", path); err == nil || !strings.Contains(out, "ermission denied") {
			t.Errorf("%s can be read: %v %q", path, err, out)
		}
	}
	for _, args := range [][]string{{"healthcheck"}, {"doctor"}, {"once"}} {
		if out, err := as(bin, args...); err != nil {
			t.Errorf("%v: %v\n%s", args, err, p.redacted(out))
		}
	}
	// The check itself: a process that does not hide can be looked into.
	open := exec.Command("sleep", "60")
	open.SysProcAttr, open.Env = same, []string{"PATH=" + os.Getenv("PATH")}
	if err := open.Start(); err != nil {
		t.Fatal(err)
	}
	if out, err := as("head", "-c", "4", fmt.Sprintf("/proc/%d/environ", open.Process.Pid)); err != nil || out != "PATH" {
		t.Errorf("the environment of another process: %v %q", err, out)
	}
	_ = open.Process.Kill()
	_ = open.Wait()

	p.signal(syscall.SIGABRT)
	_ = p.cmd.Wait()
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.CoreDump() {
		t.Errorf("after SIGABRT: %v", p.cmd.ProcessState)
	}
	if leak := leaked(p.aws, p.err.String()); leak != "" {
		t.Errorf("the trace of the crash holds a secret: %s", leak)
	}
}

// opened lets every user reach some files below the directory for temporary files.
func opened(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		for dir := filepath.Dir(path); len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSecurityDocument holds what docs/security.md names against what there is: tests, scripts, files, variables, flags, commands
// of make, and the answers of the HTTP side.
func TestSecurityDocument(t *testing.T) {
	watchSources(t)
	content := func(path string) string {
		b, err := os.ReadFile("../../" + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	text := content("docs/security.md")
	var sources strings.Builder
	for _, dir := range []string{"../../cmd", "../../internal", "../../e2e"} {
		_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, "_test.go") {
				sources.WriteString(content(strings.TrimPrefix(path, "../../")))
			}
			return err
		})
	}
	tests := regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(text, -1)
	for _, m := range tests {
		if !strings.Contains(sources.String(), "\nfunc "+m[1]+"(t *testing.T) {") {
			t.Errorf("there is no test %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`([a-z]+\\.txtar)`").FindAllStringSubmatch(text, -1) {
		content("cmd/refresher/testdata/script/" + m[1])
	}
	for _, m := range regexp.MustCompile("`((?:deploy|internal|\\.github)/[a-z/.-]+)`").FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat("../../" + m[1]); err != nil {
			t.Error(err)
		}
	}
	for _, m := range regexp.MustCompile("`make ([a-z]+)`").FindAllStringSubmatch(text, -1) {
		if !strings.Contains(content("Makefile"), "\n"+m[1]+":") {
			t.Errorf("there is no make %s", m[1])
		}
	}
	known := map[string]bool{}
	for _, c := range commandLine().Commands {
		for _, o := range optionsOf(c.Name) {
			known["--"+o.Name], known[o.Variable] = true, true
		}
	}
	for _, m := range regexp.MustCompile("`(REFRESHER_[A-Z_]+[A-Z]|--[a-z-]+)`").FindAllStringSubmatch(text, -1) {
		if !known[m[1]] {
			t.Errorf("there is no setting %s", m[1])
		}
	}
	var told []int
	for _, m := range regexp.MustCompile(`(?m)^\| (\d{3}) \|`).FindAllStringSubmatch(text, -1) {
		code, _ := strconv.Atoi(m[1])
		told = append(told, code)
	}
	if want := slices.Sorted(maps.Keys(bodies)); !slices.Equal(told, want) {
		t.Errorf("the answers are %v, and told are %v", want, told)
	}
	for _, say := range []string{fmt.Sprintf("at most %d MiB resident", mostMemory>>10), "having 1,024 descriptors"} {
		if !strings.Contains(strings.Join(strings.Fields(text), " "), say) {
			t.Errorf("the document does not say %q", say)
		}
	}
	for _, name := range token.HidesTaskRole() {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the document does not name %s", name)
		}
	}
	if len(tests) < 20 || len(told) < 5 {
		t.Errorf("only %d tests and %d answers were found in the document", len(tests), len(told))
	}
}
