//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run prepares the engine, runs the tests and says what they proved.
func run(m *testing.M) int {
	say := func(format string, a ...any) { fmt.Printf("e2e: "+format+"\n", a...) }
	switch os.Getenv("E2E") {
	case "skip":
		say("SKIPPED, as E2E=skip says: nothing was tested")
		return 0
	case "":
	default:
		say("E2E=%q is unknown: there is only E2E=skip", os.Getenv("E2E"))
		return 2
	}
	if r := engine("version", "--format", "docker CLI {{.Client.Version}}, engine {{.Server.Version}}"); !r.ok() {
		say("THERE IS NO DOCKER ENGINE HERE, and these tests are about containers.\n%s\nStart one (Debian: apt-get install docker.io), or leave the tests out with E2E=skip.", r.all)
		return 1
	} else {
		say("%s", r.out)
	}
	if os.Geteuid() != 0 {
		say("run as root: the stand-in for AWS listens on the ports 80 and 443 of %s, and the engine has to find a registry's name in /etc/hosts", agentIP)
		return 1
	}
	removeMarked("")
	restoreHost()
	began := time.Now()
	if err := makeImages(say); err != nil {
		say("%v", err)
		return 1
	}
	defer restoreHost()
	defer removeMarked("")
	go func() { _, _ = tools() }() // minutes, where nothing is cached: behind the tests that need none
	code := m.Run()
	if code == 0 && len(proofs.all) == 0 && !testing.Short() {
		say("no test ran")
	}
	say("proved in %s:\n%s", time.Since(began).Round(time.Second), strings.Join(proofs.all, "\n"))
	return code
}

var proofs struct {
	mu  sync.Mutex
	all []string
}

// proved notes, for the summary, what a test has shown so far.
func proved(t *testing.T, format string, a ...any) {
	t.Helper()
	line := fmt.Sprintf(format, a...)
	t.Log("proved:", line)
	proofs.mu.Lock()
	defer proofs.mu.Unlock()
	proofs.all = append(proofs.all, fmt.Sprintf("  %-22s %s", strings.TrimPrefix(t.Name(), "Test"), line))
}
