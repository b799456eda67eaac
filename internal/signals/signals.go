// Package signals catches the signals whose default would end the process without a reason: SIGHUP, which asks for a renewal,
// and SIGPIPE, which comes with a write to standard output or standard error that nobody reads any more.
//
// It does so while it is initialised, and imports almost nothing: Go initialises it before the packages of the AWS SDK and
// others, which take several milliseconds, and a SIGHUP in that time would otherwise end the process. Before it, only the
// start of the Go runtime is left, about a millisecond, in which nothing can be done from Go.
//
// It refuses to know what a signal means.
package signals

import (
	"os"
	"os/signal"
	"syscall"
)

// HUP receives SIGHUP. One that nobody has received yet stands for all that follow.
var HUP = caught(syscall.SIGHUP)

// A write to a broken pipe fails with EPIPE from now on, on standard output and standard error too.
var _ = caught(syscall.SIGPIPE)

func caught(s os.Signal) <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, s)
	return c
}
