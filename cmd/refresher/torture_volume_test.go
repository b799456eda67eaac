package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

// fillAndForbid gives the program a volume of 64 KB, fills it up and makes it read-only, and takes that back: the old file stays
// whole, the class is told everywhere, health follows the file, and nobody has to restart anything.
func fillAndForbid(t *testing.T, bin string, seed uint64) {
	v := newVolume(t, bin)
	rng := rand.New(rand.NewPCG(seed, 4))
	var watching sync.WaitGroup
	stop, end := ending(&watching)
	defer end()
	watching.Go(func() { v.w.inALoop(stop) })
	watching.Go(func() { v.w.health(v.p, &v.health, stop) })
	for n := range *rounds {
		v.p.until("all is well", v.allWell)
		v.refuse(fault.OutputFull, 1, func() { v.fill(n % 2) }, v.empty) // a page more or less: neither takes the document
		v.refuse(fault.OutputDenied, 1, v.forbid, v.allow)
		v.spaceForOne()
		v.killOnFull()
		v.expire()
		if n > 0 { // the wait between attempts doubles
			v.refuse(fault.OutputFull, 2+rng.IntN(2), func() { v.fill(0) }, v.empty)
			v.refuse(fault.OutputDenied, 2+rng.IntN(2), v.forbid, v.allow)
		}
		if t.Failed() {
			break
		}
	}
	end()
	v.p.until("nothing is left", func() bool { return len(strays(t, v.dir)) == 0 })
	if v.health.healthy == 0 {
		t.Error("it was never healthy")
	}
	v.p.noSecrets()
	_ = syscall.Kill(v.pid, syscall.SIGTERM)
	if code := v.do(fmt.Sprintf("wait %d", v.pid)); code != 0 {
		t.Errorf("exit status %d", code)
	}
	t.Logf("%d rounds; %s; the file was read %d times, in %d versions", *rounds, &v.health, v.w.reads, v.w.versions)
}

// volume is a tmpfs of 64 KB in a mount namespace, a program that keeps its file there, and a shell that has a hand in both.
type volume struct {
	t   *testing.T
	p   *program
	w   *witness
	dir string // the volume, seen from here
	pid int    // of the program
	bin string

	told io.Writer      // commands, a line each
	says *bufio.Scanner // a line for each: the exit status

	health verdicts
	seen   int // length of the log so far
}

// hand mounts the volume and does what it is told to. It ends with its input, and the program with it.
const hand = `mount -t tmpfs -o size=64k,mode=0755 tmpfs "$VOL" || exit 1
echo mounted >&3
while read -r line; do eval "$line"; echo $? >&3; done
kill -9 $!`

// newVolume starts the program on a volume of its own. In a user namespace nobody needs to be root.
func newVolume(t *testing.T, bin string) *volume {
	p := newProgram(t, sandbox.Config{}, twoIdentity, "REFRESHER_JITTER=0")
	v := &volume{t: t, p: p, bin: bin}
	theirs, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	t.Cleanup(func() { _ = theirs.Close() })
	sh := exec.Command("sh", "-c", hand)
	sh.Env = append(p.environ, "PATH="+os.Getenv("PATH"), "VOL="+p.dir, "BIN="+bin)
	sh.Stdout, sh.Stderr, sh.ExtraFiles = &p.out, &p.err, []*os.File{ours}
	sh.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	in, err := sh.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	const instead = "the same errors are injected by internal/writer, TestEveryErrorAtEveryStep"
	if err := sh.Start(); err != nil {
		t.Skipf("no user namespaces here: %v; %s", err, instead)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s\nstderr:\n%s", p.redacted(p.out.String()), p.redacted(p.err.String()))
		}
		_ = in.Close()
		_ = sh.Wait()
	})
	v.told, v.says = in, bufio.NewScanner(theirs)
	_ = ours.Close() // so that the shell's end ends what it says
	if !v.says.Scan() {
		_ = sh.Wait()
		if text := p.err.String(); !strings.Contains(text, "denied") && !strings.Contains(text, "not permitted") {
			t.Fatalf("the volume was not mounted: %s", text)
		}
		t.Skipf("no mounts in user namespaces here: %s; %s", p.err.String(), instead)
	}
	v.dir = filepath.Join("/proc", strconv.Itoa(sh.Process.Pid), "root", p.dir)
	v.w = newWitness(t, p.aws, filepath.Join(v.dir, "config.json"), map[string]string{ownHost: "123456789012", otherHost: "210987654321"})
	v.launch()
	return v
}

// do has the shell do something and returns the exit status.
func (v *volume) do(command string) int {
	v.t.Helper()
	if _, err := fmt.Fprintln(v.told, command); err != nil || !v.says.Scan() {
		v.t.Fatalf("%s: %v", command, errors.Join(err, v.says.Err()))
	}
	code, err := strconv.Atoi(v.says.Text())
	if err != nil {
		v.t.Fatal(err)
	}
	return code
}

func (v *volume) launch() {
	v.do(`"$BIN" run & echo $! >"$VOL/../pid"`)
	b, err := os.ReadFile(filepath.Join(filepath.Dir(v.p.dir), "pid"))
	if err != nil {
		v.t.Fatal(err)
	}
	if v.pid, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
		v.t.Fatal(err)
	}
	v.p.cmd = &exec.Cmd{Process: &os.Process{Pid: v.pid}}
	v.p.until("it is ready", v.allWell)
}

func (v *volume) allWell() bool {
	code, _ := v.p.get("/readyz")
	return code == 200 && v.w.complete()
}

// fill leaves so many pages. What a write of the program gives back at this moment, and a reader that still has the old file
// open, is taken too.
func (v *volume) fill(room int) {
	f, err := os.OpenFile(filepath.Join(v.dir, "filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, os.Getpagesize())
	for quiet := 0; quiet < 3; quiet++ {
		for {
			if _, err = f.Write(page); err != nil {
				break
			}
			quiet = 0
		}
		if !errors.Is(err, syscall.ENOSPC) {
			v.t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
	info, err := f.Stat()
	if err == nil && room > 0 {
		err = f.Truncate(info.Size() - int64(room*len(page)))
	}
	if err != nil {
		v.t.Fatal(err)
	}
}

func (v *volume) empty() {
	if err := os.Remove(filepath.Join(v.dir, "filler")); err != nil {
		v.t.Fatal(err)
	}
}

// forbid waits until nothing is open for writing.
func (v *volume) forbid() {
	v.p.until("the volume becomes read-only", func() bool { return v.do(`mount -o remount,ro "$VOL"`) == 0 })
}

func (v *volume) allow() {
	if code := v.do(`mount -o remount,rw "$VOL"`); code != 0 {
		v.t.Fatalf("mount ends with %d", code)
	}
}

// renew asks for new tokens, by which the program is made to write.
func (v *volume) renew() {
	v.seen = len(v.p.out.String())
	if err := syscall.Kill(v.pid, syscall.SIGHUP); err != nil {
		v.t.Fatal(err)
	}
}

// renewed asks for new tokens and waits until they are in the file and remembered.
func (v *volume) renewed() {
	before, _ := v.w.read(false)
	v.renew()
	v.p.until("all tokens are new", func() bool { return v.allNew(before) && v.w.remembered() == nil })
}

// allNew reports whether no token in the file is one of these.
func (v *volume) allNew(before map[string]heldToken) bool {
	now, _ := v.w.read(false)
	for host := range before {
		if now[host].nth == before[host].nth {
			return false
		}
	}
	return true
}

// said reports whether the log has a line with a message and, where it is not empty, a class since the last renew.
func (v *volume) said(msg string, class fault.Class) bool {
	for l := range strings.Lines(v.p.out.String()[v.seen:]) {
		var line struct{ Msg, Class, Cure string }
		if json.Unmarshal([]byte(l), &line) == nil && line.Msg == msg && (class == "" || line.Class == string(class) && line.Cure != "") {
			return true
		}
	}
	return false
}

// refuse keeps the program from writing for a number of attempts. Its tokens are renewed meanwhile.
func (v *volume) refuse(class fault.Class, attempts int, refuse, relent func()) {
	series := fmt.Sprintf(`output_errors_total{class="%s",output="%s"}`, class, v.p.file())
	count := func() int { n, _ := strconv.Atoi(v.p.metric(series)); return n }
	before := count()
	held, good := v.w.read(false)
	refuse()
	v.renew()
	v.p.until(string(class)+" is counted", func() bool { return count() >= before+attempts })
	v.p.until(string(class)+" is logged", func() bool { return v.said("output not written", class) })
	v.p.until("/readyz says so", func() bool {
		code, body := v.p.get("/readyz")
		return code == 503 && strings.Contains(body, string(class))
	})
	if code, body := v.p.get("/healthz"); code != 200 {
		v.t.Errorf("%s: /healthz says %d although the file is good: %s", class, code, body)
	}
	if _, now := v.w.read(false); now != good {
		v.t.Errorf("%s: the old file did not stay", class)
	}
	if s := strays(v.t, v.dir); len(s) > 0 {
		v.t.Errorf("%s: strays %v", class, s)
	}
	relent()
	v.p.until("it works again without a restart", func() bool {
		return v.allNew(held) && v.said("output works again", "") && v.allWell()
	})
}

// spaceForOne leaves room for the document and for nothing beside it, such as a new state file: it is written. Not at once where a
// reader has the old one open, which takes room until then.
func (v *volume) spaceForOne() {
	info, err := os.Stat(v.w.path)
	if err != nil {
		v.t.Fatal(err)
	}
	held, _ := v.w.read(false)
	v.fill((int(info.Size()) + os.Getpagesize() - 1) / os.Getpagesize())
	v.renew()
	v.p.until("the document is written in the last of the room", func() bool { return v.allNew(held) && v.allWell() })
	v.empty()
}

// killOnFull kills the program while there is no room for the tokens that it just got: the next one takes over those in the file
// without a call.
func (v *volume) killOnFull() {
	v.renewed()
	v.fill(0)
	v.renew()
	v.p.until("it says that the volume is full", func() bool { return v.said("output not written", fault.OutputFull) })
	calls := v.p.aws.Calls()[ecrCalls]
	v.health.pause.Lock()
	_ = syscall.Kill(v.pid, syscall.SIGKILL)
	v.do(fmt.Sprintf("wait %d", v.pid))
	v.launch()
	v.health.pause.Unlock()
	if err := v.w.remembered(); err != nil {
		v.t.Error(err)
	}
	if n := v.p.aws.Calls()[ecrCalls] - calls; n != 0 {
		v.t.Errorf("%d calls after a restart with good tokens on a full volume", n)
	}
	v.empty()
}

// expire lets the tokens in the file expire while there is no room for new ones.
func (v *volume) expire() {
	v.p.aws.SetTokenLife(3 * time.Second)
	v.renewed()
	told := v.health.bad()
	v.p.until("/healthz says that they have expired", func() bool {
		v.fill(0) // again, where a write was under way
		return v.health.bad() > told
	})
	v.empty()
	v.p.aws.SetTokenLife(12 * time.Hour)
	v.p.until("it works again without a restart", func() bool {
		now, _ := v.w.read(false)
		lasting := time.Now().Add(time.Hour)
		return now[ownHost].Expires.After(lasting) && now[otherHost].Expires.After(lasting) && v.allWell()
	})
}
