package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/sandbox"
)

// killAgainAndAgain ends one process after another at a random moment, most of them with kill -9, on volumes where consumers read
// the file in a tight loop. On most of them tokens live for seconds, so that there is always one to be fetched and written;
// on one for 12 hours, so that a crash loop has no reason to call AWS.
func killAgainAndAgain(t *testing.T, bin string, seed uint64) {
	var lanes []*lane
	for n := range 8 {
		life := 4 * time.Second
		if n == 0 {
			life = 12 * time.Hour
		}
		lanes = append(lanes, newLane(t, bin, life, seed, uint64(n)))
	}
	var done sync.WaitGroup
	for i, l := range lanes {
		done.Go(func() { l.live((*killed + i) / len(lanes)) })
	}
	done.Wait()
	died, all := map[moment]int{}, 0
	for _, l := range lanes {
		for m, n := range l.died {
			died[m] += n
			all += n
		}
	}
	t.Logf("%d processes ended, by what they were doing: %v", all, died)
	if *killed < 1000 {
		return // by chance some moment may be missing
	}
	for _, m := range []moment{starting, fetching, writing, renewing, idle} {
		if died[m] == 0 {
			t.Errorf("none died %s", m)
		}
	}
}

// lane is a volume, and a row of processes that keep its file, each until it is killed.
type lane struct {
	t    *testing.T
	bin  string
	p    *program
	w    *witness
	rng  *rand.Rand
	life time.Duration // of a token

	answered chan string   // by the sandbox: the service
	temps    chan struct{} // a temporary file was created

	spare               int // calls that the process before may have sent without their being counted before its end
	starts, adopted     int
	killed, asked, hups int // ends by SIGKILL and SIGTERM; SIGHUPs
	died                map[moment]int
}

// moment is what a process was doing when it ended, as its traces tell.
type moment string

const (
	starting moment = "starting"
	fetching moment = "fetching its first token"
	writing  moment = "writing"
	renewing moment = "renewing"
	idle     moment = "idle"
)

func newLane(t *testing.T, bin string, life time.Duration, seed, n uint64) *lane {
	l := &lane{t: t, bin: bin, life: life, rng: rand.New(rand.NewPCG(seed, n)),
		answered: make(chan string, 100), temps: make(chan struct{}, 1), died: map[moment]int{}}
	l.p = newProgram(t, sandbox.Config{TokenLife: life, Latency: 5 * time.Millisecond, Log: func(line string) {
		select {
		case l.answered <- strings.Fields(line)[1]:
		default:
		}
	}}, twoIdentity, "REFRESHER_JITTER=0")
	// A loopback address of its own: between one process and the next another test may take a port of 127.0.0.1.
	addr := fmt.Sprintf("127.%d.%d.%d:9327", n+1, os.Getpid()>>8&255, os.Getpid()&255)
	l.p.environ, l.p.url = append(l.p.environ, "REFRESHER_LISTEN="+addr), "http://"+addr
	l.w = newWitness(t, l.p.aws, l.p.file(), map[string]string{ownHost: "123456789012", otherHost: "210987654321"})
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watch.Close() })
	if err := watch.Add(l.p.dir); err != nil {
		t.Fatal(err)
	}
	go func() {
		for range watch.Errors { // or the events stand still
		}
	}()
	go func() {
		for e := range watch.Events {
			if e.Has(fsnotify.Create) && strings.Contains(e.Name, ".tmp-") {
				select {
				case l.temps <- struct{}{}:
				default:
				}
			}
		}
	}()
	return l
}

// live kills n processes, asks some more to stop, and leaves a last one in peace until all is good.
func (l *lane) live(n int) {
	var reader sync.WaitGroup
	stop, end := ending(&reader)
	defer end()
	reader.Go(func() { l.w.inALoop(stop) })
	for l.killed < n && !l.t.Failed() {
		l.generation(l.moment)
	}
	l.generation(func(r *victim) syscall.Signal { l.untilGood(r); return syscall.SIGTERM })
	end()
	entries, err := os.ReadDir(l.p.dir)
	if err != nil || len(entries) != 2 { // config.json and the state
		l.t.Errorf("left in the directory: %v %v", entries, err)
	}
	calls := l.p.aws.Calls()
	for _, name := range []string{"metadata", "credentials", "sts:AssumeRole"} { // once a process, as they are kept in memory
		if calls[name] > l.starts {
			l.t.Errorf("%d calls of %s in %d processes", calls[name], name, l.starts)
		}
	}
	l.t.Logf("tokens of %s: %d ended by SIGKILL and %d by SIGTERM; %d calls of ECR with %d SIGHUPs, %d starts of a process that needed none; the file was read %d times, in %d versions",
		l.life, l.killed, l.asked, calls[ecrCalls], l.hups, l.adopted, l.w.reads, l.w.versions)
}

// victim is one process.
type victim struct {
	cmd    *exec.Cmd
	out    buffer
	ended  chan struct{}
	began  time.Time
	before map[string]bool // strays that it found
	hups   int
	good   bool // it had a valid file at some time
}

// generation starts a process, lets it end when and how the chance wants, and looks at what it leaves.
func (l *lane) generation(end func(*victim) syscall.Signal) {
	l.starts++
	r := &victim{ended: make(chan struct{}), began: time.Now(), before: strays(l.t, l.p.dir)}
	due := l.due()
	calls := l.p.aws.Calls()[ecrCalls]
	drain(l.answered)
	drain(l.temps)
	r.cmd = exec.Command(l.bin, "run")
	r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = l.p.environ, &r.out, &r.out
	if err := r.cmd.Start(); err != nil {
		l.t.Error(err)
		return
	}
	go func() { _ = r.cmd.Wait(); close(r.ended) }()
	signal := end(r)
	_ = r.cmd.Process.Signal(signal)
	select {
	case <-r.ended:
	case <-time.After(20 * time.Second):
		l.t.Error("it does not end")
		_ = r.cmd.Process.Kill()
		<-r.ended
	}
	calls = l.p.aws.Calls()[ecrCalls] - calls
	l.checkEnd(r, signal)
	l.checkCalls(r, calls, due)
	if err := l.w.remembered(); err != nil {
		l.t.Error(err)
	}
	l.died[l.doing(r, calls)]++
	if l.t.Failed() {
		l.t.Logf("this process, or another one, failed; this one said:\n%s", l.p.redacted(r.out.String()))
	}
}

// drain returns what a channel holds.
func drain[T any](c chan T) (all []T) {
	for {
		select {
		case v := <-c:
			all = append(all, v)
		default:
			return all
		}
	}
}

// moment waits for a random one, and says how the process shall end. Half of the moments come after the file is good: that it
// becomes so is checked there.
func (l *lane) moment(r *victim) syscall.Signal {
	signal := syscall.SIGKILL
	if l.rng.IntN(8) == 0 {
		signal = syscall.SIGTERM
	}
	switch l.rng.IntN(6) {
	case 0: // the runtime, the settings, the listener, the task metadata
		l.wait(r, l.some(60*time.Millisecond))
	case 1: // on the way from the credentials to the token
		service := []string{"credentials", "sts", "ecr"}[l.rng.IntN(3)]
		l.hurry(r)
		l.await(r, func() bool { return slices.Contains(drain(l.answered), service) })
		l.wait(r, l.some(8*time.Millisecond))
	case 2: // between the first temporary file and the last rename
		l.hurry(r)
		l.await(r, func() bool { return len(drain(l.temps)) > 0 })
		l.wait(r, l.some(2*time.Millisecond))
	case 3: // a renewal that somebody asked for
		l.untilGood(r)
		l.hurry(r)
		l.wait(r, l.some(40*time.Millisecond))
	case 4: // a renewal that was due
		l.untilGood(r)
		drain(l.answered)
		l.await(r, func() bool { return slices.Contains(drain(l.answered), "ecr") })
		l.wait(r, l.some(8*time.Millisecond))
	default:
		l.untilGood(r)
		l.wait(r, l.some(800*time.Millisecond))
	}
	return signal
}

// hurry has a process renew now rather than when it is due, one time in two. A crash loop is not hurried.
func (l *lane) hurry(r *victim) {
	if l.rng.IntN(2) == 0 || l.life > time.Minute {
		return
	}
	if within(10*time.Second, func() bool { return strings.Contains(r.out.String(), "keeping logged in") }) { // or SIGHUP may kill it
		r.hups++
		_ = r.cmd.Process.Signal(syscall.SIGHUP)
	}
}

// await looks again and again for what a process may have no reason to do. It does not pause, as the moment is short.
func (l *lane) await(r *victim, done func() bool) {
	limit := time.After(time.Second)
	for !done() {
		select {
		case <-limit:
			return
		case <-r.ended:
			return
		case <-time.After(100 * time.Microsecond):
		}
	}
}

func (l *lane) some(most time.Duration) time.Duration {
	return time.Duration(l.rng.Int64N(int64(most)))
}

func (l *lane) wait(r *victim, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.ended:
	}
}

// untilGood waits until a process has the file as it should be, and nothing that an earlier one left is there any more.
func (l *lane) untilGood(r *victim) {
	var code int
	var left map[string]bool
	ok := within(20*time.Second, func() bool {
		code, _ = l.p.get("/healthz")
		left = strays(l.t, l.p.dir)
		for s := range left {
			if !r.before[s] {
				delete(left, s) // its own
			}
		}
		return code == 200 && len(left) == 0 && l.w.complete()
	})
	if !ok {
		l.t.Errorf("a start after a kill did not come to a good file: /healthz says %d, %d strays, complete: %t", code, len(left), l.w.complete())
	}
	r.good = true
}

// due is when the token of each host may be renewed at the earliest: at half of its life, less what the cut Date header makes
// of its date, and of the time at which it is judged.
func (l *lane) due() map[string]time.Time {
	held, _ := l.w.read(false)
	due := map[string]time.Time{}
	for host := range l.w.hosts {
		if tok, ok := held[host]; ok {
			due[host] = tok.Issued.Add(l.life/2 - doubt)
		} else {
			due[host] = time.Time{}
		}
	}
	return due
}

// checkCalls bounds what a crash loop costs: a process whose token in the file is not due makes no call for it, and otherwise
// one, and one more for each least interval that it lived.
func (l *lane) checkCalls(r *victim, calls int, due map[string]time.Time) {
	allowed, now := 0, time.Now()
	for _, d := range due {
		if r.hups > 0 || now.After(d) {
			allowed += 1 + int(now.Sub(r.began)/refresh.MinInterval)
		}
	}
	if calls > allowed+l.spare {
		l.t.Errorf("%d calls, and %d would be right for a process of %s", calls, allowed, now.Sub(r.began))
	}
	l.spare = max(0, allowed-calls)
	l.hups += r.hups
	if r.good && allowed == 0 {
		l.adopted++
	}
}

// checkEnd says whether a process ended as it was told to.
func (l *lane) checkEnd(r *victim, signal syscall.Signal) {
	status := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch begun := strings.Contains(r.out.String(), "refresher started"); {
	case signal == syscall.SIGKILL && status.Signal() == signal:
		l.killed++
		return
	case signal == syscall.SIGTERM && status.Exited() && status.ExitStatus() == 0:
	case signal == syscall.SIGTERM && !begun && status.Signal() == signal: // before it could listen to signals
	default:
		l.t.Errorf("sent %s; it ended with %s", signal, r.cmd.ProcessState)
	}
	l.asked++
	for s := range strays(l.t, l.p.dir) {
		if !r.before[s] {
			l.t.Errorf("a process that was asked to stop left %s", s)
		}
	}
}

// doing tells from the traces of a process what it was doing when it ended.
func (l *lane) doing(r *victim, calls int) moment {
	newest := map[string]time.Time{}
	for _, tok := range l.p.aws.Tokens() {
		newest[tok.Region] = tok.Issued
	}
	held, _ := l.w.read(false)
	onWay := false
	for host := range l.w.hosts {
		if tok, ok := held[host]; !ok || tok.Issued.Before(newest[tok.Region]) {
			onWay = true
		}
	}
	for s := range strays(l.t, l.p.dir) {
		if !r.before[s] {
			return writing
		}
	}
	switch {
	case !strings.Contains(r.out.String(), "keeping logged in"):
		return starting
	case onWay && calls > 0 && r.good:
		return renewing
	case onWay:
		return fetching
	}
	return idle
}
