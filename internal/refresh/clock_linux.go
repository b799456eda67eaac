package refresh

import (
	"time"

	"golang.org/x/sys/unix"
)

// elapsed returns a clock that goes on while the machine sleeps, as Go's monotonic clock does not.
func elapsed() func() time.Duration {
	start := time.Now()
	return func() time.Duration {
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil { // older than Linux 2.6.39, or forbidden
			return time.Since(start)
		}
		return time.Duration(ts.Nano())
	}
}
