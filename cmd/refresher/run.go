package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"ecr-refresher/internal/cli"
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
	return cli.Getenv(inv.environ, name)
}

// run does what the command line says and returns the exit status.
func run(ctx context.Context, inv invocation) int {
	result := &product{Writer: inv.out}
	code := 0
	p, c, err := commandLine().Parse(inv.args, inv.environ, result)
	if err != nil {
		code = cli.Explain(inv.err, err)
	} else {
		p.inv, p.product = inv, result
		code = c.Run(ctx, p)
	}
	switch {
	case result.err == nil:
		return code
	case !errors.Is(result.err, syscall.EPIPE): // a reader that has seen enough, as head does, expects no message
		fmt.Fprintln(inv.err, "refresher: write the output:", result.err)
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
