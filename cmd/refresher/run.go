package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// The exit status.
const (
	exitOK     = 0 // asked to stop, or done
	exitFailed = 1
	exitUsage  = 2 // called wrongly
)

// invocation is all that the process gives to a command.
type invocation struct {
	args     []string
	environ  []string
	in       io.Reader
	out, err io.Writer
	hup      <-chan os.Signal
}

// getenv returns the value of an environment variable, empty where it is not set.
func (inv invocation) getenv(name string) string {
	for _, kv := range inv.environ {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			return v
		}
	}
	return ""
}

// run does what the command line says and returns the exit status.
func run(ctx context.Context, inv invocation) int {
	product := &product{Writer: inv.out}
	code := obey(ctx, inv, product)
	switch {
	case product.err == nil:
		return code
	case !errors.Is(product.err, syscall.EPIPE): // a reader that has seen enough, as head does, expects no message
		fmt.Fprintln(inv.err, "refresher: write the output:", product.err)
	}
	return max(code, exitFailed)
}

// product is standard output of a command whose result is what it prints: where that could not be written as a whole, the
// command has failed. run, once and healthcheck are not among them: their result is the file, or the exit status.
type product struct {
	io.Writer
	err error // the first
}

// Write implements io.Writer.
func (p *product) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	if p.err == nil {
		p.err = err
	}
	return n, err
}

func obey(ctx context.Context, inv invocation, product *product) int {
	log := inv.out
	inv.out = product
	cli, command, err := parse(inv)
	var wrong *usageError
	switch {
	case errors.As(err, &wrong):
		for _, p := range wrong.problems {
			fmt.Fprintln(inv.err, "refresher:", p)
		}
		fmt.Fprintf(inv.err, "refresher: see '%s --help'\n", strings.TrimSpace("refresher "+command))
		return exitUsage
	case errors.Is(err, errHelped):
		return exitOK
	case err != nil:
		fmt.Fprintln(inv.err, "refresher:", err)
		return exitFailed
	}
	switch command {
	case "inject", "policy", "doctor", "version":
	default:
		inv.out = log
	}
	switch command {
	case "version":
		fmt.Fprintln(inv.out, buildInfo())
		return exitOK
	case "healthcheck":
		return checkHealth(inv, cli.settings.listen)
	case "once":
		return once(ctx, inv, cli)
	case "inject":
		return inject(inv, cli.inject)
	case "policy":
		return policy(inv, cli.policy)
	case "doctor":
		return examine(ctx, inv, cli)
	default:
		return daemon(ctx, inv, cli)
	}
}
