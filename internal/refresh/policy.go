package refresh

import (
	"time"

	"ecr-refresher/internal/fault"
)

const (
	// MinInterval is the least time between two calls of one scope, whatever expiresAt says.
	MinInterval = time.Second

	// Tick is how often the loop runs when nothing happens, to compare the clocks and the content of the files: some changes are
	// reported by no file system.
	Tick = time.Minute

	// AdoptedWithin is how soon a token that was found in a file is renewed at the latest. The file and the state file beside it can
	// be written by every program that shares the volume: only AWS can say that a token is ours.
	AdoptedWithin = time.Hour
)

// Policy says when a token is renewed. All of it is pure: the same arguments give the same answer.
type Policy struct {
	RenewAt float64       // share of a token's life after which it is renewed; in (0, 1)
	Jitter  float64       // up to this share of that time earlier, so that tasks started together spread; in [0, 1)
	MaxAge  time.Duration // renewed at this age at the latest; positive
}

// DefaultPolicy renews at half of the token's life, so that an outage of six hours passes unnoticed.
func DefaultPolicy() Policy { return Policy{RenewAt: 0.5, Jitter: 0.2, MaxAge: 12 * time.Hour} }

// Due is when a token is to be renewed, for u uniform in [0, 1): never later than at RenewAt of its life.
func (p Policy) Due(issued, expires time.Time, u float64) time.Time {
	age := time.Duration(p.RenewAt * float64(expires.Sub(issued)))
	age = max(min(age, p.MaxAge), 0)
	return issued.Add(age - time.Duration(p.Jitter*u*float64(age)))
}

// DueAdopted is when a token that was found in a file at now is to be renewed, for u uniform in [0, 1): at a random moment within
// AdoptedWithin, so that a fleet that restarts does not call at once, and not later than Due.
func (p Policy) DueAdopted(now, issued, expires time.Time, u float64) time.Time {
	adopted := now.Add(time.Duration(u * float64(AdoptedWithin)))
	if due := p.Due(issued, expires, u); due.Before(adopted) {
		return due
	}
	return adopted
}

// Valid reports whether a consumer that reads a token now can use it: it lives for another minute, or for another tenth of
// its life where that is shorter. A push may take longer; the registry checks the token at each request.
func Valid(now, issued, expires time.Time) bool {
	margin := min(time.Minute, expires.Sub(issued)/10)
	return now.Add(margin).Before(expires)
}

// Failure is what the back-off depends on.
type Failure struct {
	Class fault.Class
	Count int           // failures in a row, with this one
	Age   time.Duration // of the process
	Held  bool          // a token was held before
	Left  float64       // share of the held token's life that is left; 0 or less once it has expired
}

// mostBackoff is the longest wait after a failure.
const mostBackoff = 5 * time.Minute

// Backoff is how long to wait after a failure, for u uniform in [0, 1): full jitter over a ceiling that doubles, so that a
// fleet which failed together does not come back together. After throttling the fleet itself is the trouble: see crowded.
func Backoff(f Failure, u float64) time.Duration {
	const (
		start       = time.Second
		early       = 5 * time.Second  // a permanent class before the first success: a role may still be on its way
		late        = 30 * time.Second // and after it: somebody has taken a permission away
		urgent      = 20 * time.Second // with less than a twentieth of the life left
		agentStarts = 2 * time.Second  // the ECS agent answers 503 for a moment after it has started
	)
	if f.Class == fault.Throttled {
		return crowded(f.Count, u)
	}
	floor, ceiling := MinInterval, start
	if f.Class.Permanent() {
		floor = early
		if f.Held {
			floor = late
		}
		ceiling = floor
	}
	ceiling = doubled(ceiling, mostBackoff, f.Count) // mutant: the back-off does not grow
	if f.Held && f.Left < 1.0/20 {
		ceiling = min(ceiling, urgent)
	}
	if f.Class == fault.CredentialsUnavailable && f.Age < time.Minute {
		ceiling = min(ceiling, agentStarts)
	}
	floor = min(floor, ceiling)
	return floor + time.Duration(u*float64(ceiling-floor))
}

// doubled is the wait after the nth failure in a row: first, then twice the wait before, up to most.
func doubled(first, most time.Duration, n int) time.Duration {
	for ; n > 1 && first < most; n-- {
		first *= 2
	}
	return min(first, most)
}

// crowded is the wait of one among N that share a quota, where nobody knows N. The first is short: it may be the only one.
// Each failure more says that the crowd is large, and the ceiling grows by a step: doubling would begin with a storm, and end
// with the quota idle while the last ones wait. A least wait, too, keeps the last ones close behind the others. The numbers
// were found by make fleet for up to 100,000 tasks at 500 calls/s; docs/scale.md has what they do, and what none can do.
func crowded(failures int, u float64) time.Duration {
	const (
		first = 5 * time.Second
		step  = 20 * time.Second
		least = 4 // the ceiling is divided by this
	)
	ceiling := min(first+step*time.Duration(min(max(failures-1, 0), 16)), mostBackoff)
	floor := ceiling / least
	return floor + time.Duration(u*float64(ceiling-floor))
}

// outputBackoff is how long to wait before a file that could not be written is tried again: soon, as it costs nobody a call.
func outputBackoff(failures int) time.Duration {
	return doubled(time.Second, 30*time.Second, failures)
}

const (
	// An output that somebody else damages this often within this time is contested: repairing it at once would be a fight.
	contestedDamages = 5
	contestedWithin  = 10 * time.Minute

	// linesPerHour is how many log lines one output may cause within any hour, whatever others do to its file.
	linesPerHour = 30
)

// contestedBackoff is how long to wait before a contested output is written again, after it was damaged n times in a row.
func contestedBackoff(n int) time.Duration {
	return doubled(10*time.Second, 5*time.Minute, n)
}
