package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// dir makes an empty directory on the disk of the scratch directory.
func (w *world) dir() (string, error) {
	w.dirs++
	d := filepath.Join(w.Scratch, fmt.Sprint("dir", w.dirs))
	return d, os.Mkdir(d, 0o755)
}

// listen is an address that nobody else was given.
func (w *world) listen() string {
	w.ports++
	return fmt.Sprint("127.0.0.1:", w.ports)
}

// process is a program that runs until it is killed.
type process struct {
	cmd     *exec.Cmd
	pid     int
	address string // where it serves, if it does
}

// launch starts a program that stays; what it prints is thrown away.
func (w *world) launch(env []string, args ...string) (*process, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(append([]string{}, w.env...), env...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd: cmd, pid: cmd.Process.Pid}, nil
}

// kill ends it and says what CPU time it had used, in seconds.
func (p *process) kill() float64 {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return float64(syscall.TimevalToNsec(usage.Utime)+syscall.TimevalToNsec(usage.Stime)) / 1e9
}

// cost of one run of a program.
type cost struct{ wall, cpu, rss float64 }

// once runs a program to its end. A failure of it is an error.
func (w *world) once(env []string, stdin string, args ...string) (cost, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.Programs["spawn"], args...)
	cmd.Env = append(append([]string{}, w.env...), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	result, sink, err := os.Pipe()
	if err != nil {
		return cost{}, err
	}
	defer result.Close()
	cmd.ExtraFiles = []*os.File{sink}
	err = cmd.Run()
	sink.Close()
	if err != nil {
		return cost{}, fmt.Errorf("%s: %w: %s", filepath.Base(args[0]), err, output.String())
	}
	var wall, cpu, rss float64
	var status int
	if _, err := fmt.Fscan(result, &wall, &cpu, &rss, &status); err != nil {
		return cost{}, err
	}
	if status != 0 {
		return cost{}, fmt.Errorf("%s ended with %d: %s", filepath.Base(args[0]), status, output.String())
	}
	return cost{wall / 1e9, cpu / 1e6, rss * 1024}, nil
}
