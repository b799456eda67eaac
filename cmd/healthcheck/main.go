// Healthcheck is the health check of the refresher's container: it exits 0 where a consumer finds valid tokens, and 1 with a line
// that says why not. It does what refresher healthcheck does, at a fraction of its cost.
//
//	healthcheck [--listen ADDRESS]
//
// The address is that of the refresher's own --listen; without it REFRESHER_LISTEN is, and without that :9327.
package main

import (
	"os"
	"strings"
	"syscall"

	"ecr-refresher/internal/healthcheck"
)

func main() {
	listen := os.Getenv("REFRESHER_LISTEN")
	if listen == "" {
		listen = healthcheck.DefaultListen
	}
	switch args := os.Args[1:]; {
	case len(args) == 0:
	case len(args) == 1 && strings.HasPrefix(args[0], "--listen="):
		listen = strings.TrimPrefix(args[0], "--listen=")
	case len(args) == 2 && args[0] == "--listen":
		listen = args[1]
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-h"):
		say(syscall.Stdout, usage)
		return
	default:
		say(syscall.Stderr, "healthcheck: not understood: "+strings.Join(args, " ")+"\n"+usage)
		os.Exit(2)
	}
	healthy, verdict := healthcheck.Ask(listen)
	say(syscall.Stdout, verdict)
	if !healthy {
		os.Exit(1)
	}
}

const usage = `usage: healthcheck [--listen ADDRESS]
Ask the refresher that listens there (default: REFRESHER_LISTEN, else :9327) whether it is healthy.
Exit status: 0 it is; 1 it is not or cannot be asked, with the reason; 2 called wrongly.`

// say bypasses os.File, whose write to a pipe that nobody reads ends the process: the exit status is what counts.
func say(fd int, line string) { _, _ = syscall.Write(fd, []byte(line+"\n")) }
