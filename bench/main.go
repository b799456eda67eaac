// Command bench measures the refresher beside what it could be replaced by, on one machine and in one run: the program that
// most people would write (naive), amazon-ecr-credential-helper, the AWS CLI, promhttp, and the least that Go can do (empty,
// bare). It is no part of what is shipped.
//
//	bench [-quick] [-install] [-repo DIR] [-out FILE]
//
// It builds everything, moves into namespaces of its own in which nothing but the loopback device can be reached and AWS's
// host names lead to cmd/sandbox, runs the programs in turns, prints the tables, and puts them between the markers in FILE
// where one is given. It needs Linux, and root or user namespaces. It ends with 0 when everything ran, whatever the figures;
// with 1 when something could not; with 2 when called wrongly.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "inside" { // the second half: see enter
		os.Exit(inside(os.Args[2], os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(errOut)
	quick := flags.Bool("quick", false, "few rounds: whether everything runs, not how well")
	install := flags.Bool("install", false, "as root, install Debian's packages of the peers that are missing")
	repo := flags.String("repo", "..", "the checkout of the refresher")
	doc := flags.String("out", "", "the page to put the tables into")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return 2
	}
	if err := measure(ctx, *quick, *install, *repo, *doc, out, errOut); err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	return 0
}

func measure(ctx context.Context, quick, install bool, repo, doc string, out, errOut io.Writer) (err error) {
	if doc != "" { // before the minutes that the figures take
		if err := splice(doc, ""); err != nil {
			return err
		}
	}
	repo, err = filepath.Abs(repo)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "ecr-refresher-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	began := time.Now()
	say := func(what string) { fmt.Fprintf(errOut, "bench %5.1fs %s\n", time.Since(began).Seconds(), what) }
	p := plan{Scratch: scratch, Repo: repo, Effort: full, Began: began, Load: load()}
	if quick {
		p.Effort = few
	}
	if install {
		say("installing peers that are missing")
		installPeers(ctx, errOut)
	}
	say("building")
	if p.Programs, err = build(ctx, repo, scratch); err != nil {
		return err
	}
	figures := newFigures()
	sizes(ctx, p, figures)
	if err := enter(ctx, p, errOut); err != nil {
		return err
	}
	measured, err := readFigures(filepath.Join(scratch, "figures.json"))
	if err != nil {
		return err
	}
	figures.merge(measured)
	text := report(figures, machine(ctx, p))
	fmt.Fprint(out, text)
	say("done")
	if doc == "" {
		return nil
	}
	return splice(doc, text)
}

// plan is what the first half of the program hands to the second.
type plan struct {
	Scratch, Repo string
	Programs      map[string]string // paths of all programs there are, by name
	Effort        effort
	Began         time.Time
	Load          string // of the machine, before
}

// effort is how often and how long things are measured.
type effort struct {
	Starts, Held      int           // rounds of starts; of starts with a quarter of a processor
	Idle              int           // processes of each program that are left alone
	Settle, Watch     time.Duration // before, and while, they are watched
	Scrapes, Many     int           // scrapes of a program in a round, with 1 registry; with 1,000
	ScrapeRounds      int
	Roles             int // rounds of 100 roles
	Publish           int // rounds of the benchmark of internal/writer
	PublishIterations string
}

var (
	// The default transport of net/http, which the peers use, keeps connections for 90 s: after that they are as quiet as they
	// get, but for what Go's runtime does every 2 minutes.
	full = effort{
		Starts: 60, Held: 25, Idle: 3, Settle: 100 * time.Second, Watch: 5 * time.Minute, Scrapes: 100, Many: 10, ScrapeRounds: 15,
		Roles: 5, Publish: 5, PublishIterations: "100x",
	}
	few = effort{
		Starts: 6, Held: 3, Idle: 1, Settle: 5 * time.Second, Watch: 10 * time.Second, Scrapes: 20, Many: 2, ScrapeRounds: 2,
		Roles: 1, Publish: 1, PublishIterations: "10x",
	}
)

// enter runs the second half of this program in namespaces of its own, and waits for it. That it is process 1 there means that
// nothing it started outlives it, however it ends.
func enter(ctx context.Context, p plan, errOut io.Writer) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	file := filepath.Join(p.Scratch, "plan.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that started the child
	cmd := exec.CommandContext(ctx, self, "inside", file)
	cmd.Stdout, cmd.Stderr = errOut, errOut
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("in namespaces of its own: %w", err)
	}
	return nil
}

// inside is the second half: it measures everything that runs.
func inside(planFile string, errOut io.Writer) int {
	err := func() error {
		text, err := os.ReadFile(planFile)
		if err != nil {
			return err
		}
		var p plan
		if err := json.Unmarshal(text, &p); err != nil {
			return err
		}
		w, err := newWorld(p, errOut)
		if err != nil {
			return err
		}
		for _, stage := range []func() error{w.starts, w.held, w.idle, w.scrapes, w.roles, w.publish} {
			if err := stage(); err != nil {
				return err
			}
		}
		return w.figures.write(filepath.Join(p.Scratch, "figures.json"))
	}()
	if err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	return 0
}
