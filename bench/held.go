package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// quarter is 0.25 of a processor in cgroup v2's terms and in v1's, with the period that docker and ECS use.
var quarter = map[string][]string{
	"cpu.max":           {"25000 100000"},
	"cpu.cfs_period_us": {"100000"},
	"cpu.cfs_quota_us":  {"25000"},
}

// cgroups is the directory of the hierarchy that limits processors, and whether it is version 2; empty where there is none.
func cgroups() (dir string, v2 bool) {
	if text, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil && strings.Contains(string(text), "cpu") {
		return "/sys/fs/cgroup", true
	}
	for _, dir := range []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			return dir, false
		}
	}
	return "", false
}

// hold makes a control group that may use a quarter of a processor. A new one for each process: a bucket that is full.
func hold(n int) (dir string, err error) {
	parent, v2 := cgroups()
	if parent == "" {
		return "", fmt.Errorf("no cgroup hierarchy here limits processors")
	}
	if v2 { // already so wherever systemd runs
		_ = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+cpu"), 0)
	}
	dir = filepath.Join(parent, fmt.Sprintf("ecr-refresher-bench-%d-%d", os.Getppid(), n))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for name, values := range quarter {
		if strings.HasPrefix(name, "cpu.cfs") == v2 {
			continue
		}
		for _, v := range values {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(v), 0); err != nil {
				_ = os.Remove(dir)
				return "", err
			}
		}
	}
	return dir, nil
}

// held measures starts with a quarter of a processor.
func (w *world) held() error {
	w.say("starts with a quarter of a processor")
	n := 0
	run := func(program string) (cost, error) {
		n++
		dir, err := hold(n)
		if err != nil {
			return cost{}, err
		}
		defer os.Remove(dir)
		// The shell moves itself into the group and then becomes the program.
		return w.startOnce(program, "/bin/sh", "-c", `echo 0 >"$0/cgroup.procs" && exec "$@"`, dir)
	}
	dir, err := hold(0)
	if err != nil {
		w.figures.note("held", ours, "not measured here: "+err.Error())
		return nil
	}
	_ = os.Remove(dir)
	return w.inTurns("held", w.Effort.Held, []subject{
		{ours, func() (cost, error) { return run(ours) }},
		{naive, func() (cost, error) { return run(naive) }},
	})
}
