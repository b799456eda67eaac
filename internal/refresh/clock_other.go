//go:build !linux

package refresh

import "time"

// elapsed returns Go's monotonic clock: good enough for the machine on which this is developed.
func elapsed() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
