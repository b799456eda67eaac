package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// vitals are what the kernel says of a process.
type vitals struct {
	rss, anonymous, peak float64 // bytes
	wakeUps              int     // times that one of its threads waited for something, since the start
	cpu                  float64 // seconds, since the start
}

func look(pid int) (vitals, error) {
	var v vitals
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return v, err
	}
	v.rss, v.anonymous, v.peak = 1024*field(status, "VmRSS"), 1024*field(status, "RssAnon"), 1024*field(status, "VmHWM")
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return v, err
	}
	for _, t := range threads {
		if status, err := os.ReadFile(t); err == nil { // else it has ended since
			v.wakeUps += int(field(status, "voluntary_ctxt_switches"))
		}
	}
	v.cpu, err = cpuClock(pid)
	return v, err
}

// field is the number behind a name in /proc/PID/status.
func field(status []byte, name string) float64 {
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return n
		}
	}
	return 0
}

// cpuClock is the CPU time of a process with all threads that it ever had, to the nanosecond: see clock_getcpuclockid(3).
func cpuClock(pid int) (float64, error) {
	var ts unix.Timespec
	const processClock = 2 // CPUCLOCK_SCHED
	if err := unix.ClockGettime(int32(^pid<<3|processClock), &ts); err != nil {
		return 0, err
	}
	return float64(ts.Nano()) / 1e9, nil
}

// The shell loop around the AWS CLI, while it waits: a shell, and its sleep. The one is stopped here, so that it needs no child.
const (
	shell       = "sh"
	shellSleeps = "sleep"
)

// idle leaves programs alone, all at the same time, and watches what they do.
func (w *world) idle() error {
	e := w.Effort
	w.say("idle, %d processes of each program: %s to settle, %s watched", e.Idle, e.Settle, e.Watch)
	type resident struct {
		name string
		*process
		before vitals
	}
	var all []resident
	defer func() {
		for _, r := range all {
			r.kill()
		}
	}()
	for range e.Idle {
		for _, program := range []string{ours, naive} {
			p, _, err := w.sidecar(program, nil)
			if err != nil {
				return err
			}
			all = append(all, resident{program, p, vitals{}})
		}
		for name, args := range map[string][]string{
			"bare":      {w.Programs["bare"], w.listen()},
			shell:       {"/bin/sh", "-c", "kill -STOP $$; :"},
			shellSleeps: {"sleep", "40000"},
		} {
			p, err := w.launch(nil, args...)
			if err != nil {
				return err
			}
			all = append(all, resident{name, p, vitals{}})
		}
	}
	time.Sleep(e.Settle)
	for i := range all {
		v, err := look(all[i].pid)
		if err != nil {
			return fmt.Errorf("%s: %w", all[i].name, err)
		}
		all[i].before = v
		w.figures.add("idle", all[i].name, "peak", v.peak)
		w.figures.add("idle", all[i].name, "settled", v.cpu)
	}
	time.Sleep(e.Watch)
	for _, r := range all {
		v, err := look(r.pid)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		hours := e.Watch.Hours()
		w.figures.add("idle", r.name, "rss", v.rss)
		w.figures.add("idle", r.name, "anonymous", v.anonymous)
		w.figures.add("idle", r.name, "wake-ups", float64(v.wakeUps-r.before.wakeUps)/hours/60)
		w.figures.add("idle", r.name, "cpu", (v.cpu-r.before.cpu)/hours)
	}
	return w.renewals(all[0].process)
}

// renewals measures what a renewal costs a refresher that has long been running: SIGHUP asks for one.
func (w *world) renewals(p *process) error {
	before, err := cpuClock(p.pid)
	if err != nil {
		return err
	}
	const times = 5
	for range times {
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return err
		}
		time.Sleep(500 * time.Millisecond)
	}
	after, err := cpuClock(p.pid)
	w.figures.add("idle", ours, "renewal", (after-before)/times)
	return err
}
