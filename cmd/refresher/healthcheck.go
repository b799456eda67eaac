package main

import (
	"fmt"

	"ecr-refresher/internal/healthcheck"
)

// checkHealth asks the refresher of this container whether a consumer finds valid tokens: 0 for yes, 1 for everything else, with
// one line that says why.
func checkHealth(inv invocation, listen string) int {
	healthy, verdict := healthcheck.Ask(listen)
	fmt.Fprintln(inv.out, verdict)
	if !healthy {
		return exitFailed
	}
	return exitOK
}
