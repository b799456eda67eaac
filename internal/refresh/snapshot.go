package refresh

import (
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/plain"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

// Snapshot is all that the loop knows, at one moment. Immutable and free of secrets: everybody who tells the state of things
// (health, metrics, status) reads one.
type Snapshot struct {
	Started    time.Time // on the wall clock
	Scopes     []ScopeState
	Registries []RegistryState
	Outputs    []OutputState

	anchor anchor
}

// ScopeState is what is known of one scope. Times are true time (AWS's clock), zero where there is none.
type ScopeState struct {
	Scope             token.Scope
	Issued, Expires   time.Time // of the token that is held
	Due               time.Time // of the next call
	LastAttempt       time.Time
	LastSuccess       time.Time // zero for an adopted token
	Failures          int       // in a row
	Err               error     // of the last attempt; a fault.Error, nil after a success
	Adopted           bool      // the current token was found in the file, and AWS has not issued another one since
	CredentialsExpire time.Time
	Known             []Known // tokens that may be in a file: the one in hand and earlier ones that have not expired
}

// Known is a token that the loop can recognise in a file.
type Known struct {
	Sum             writer.Sum
	Issued, Expires time.Time

	publication int  // from which on it stands in the files
	denied      bool // it was found in a file, and AWS has denied this task a token of its own since
}

// RegistryState is what is known of one configured registry.
type RegistryState struct {
	Spec     *registry.Spec // as configured; shared and never changed
	Scope    int            // index in Snapshot.Scopes
	Accepted Acceptance     // of the token in hand, as the registry itself says
	Err      error          // why it is not accepted, or why the registry could not be asked
}

// Acceptance is what a registry says of the token in hand.
type Acceptance int

// Not asked (yet), or without an answer; accepted; rejected.
const (
	Unknown Acceptance = iota
	Accepted
	Rejected
)

// OutputState is what is known of one output.
type OutputState struct {
	Name      string
	Err       error // of the last write; a fault.Error, nil after a success
	Failures  int
	Contested bool   // another program damages the file again and again
	Repairs   int    // since the start
	Found     string // what the last repair found, in words

	holds map[string]writer.Sum // what the last write left in the file, by host; never changed
}

// View is a snapshot together with what stands in the files at this moment.
type View struct {
	*Snapshot
	Now    time.Time     // true time, as well as it is known
	Skew   time.Duration // how far the wall clock is ahead of it
	Late   time.Duration // how late the loop is for its next turn
	OnDisk []OnDisk      // by output
}

// OnDisk is what a reader of one output would find now.
type OnDisk struct {
	writer.View
	Err error // the file cannot be read; a fault.Error
}

// Entry is the state of one registry's entries in one output: what a consumer that reads now would get.
type Entry struct {
	Valid           bool
	Issued, Expires time.Time // of the token found; zero where it is not ours or there is none
	Why             string    // not valid: the reason, in words
}

// Entry says what a consumer of an output would find for a registry. All of its hosts must be good.
func (v View) Entry(output, reg int) Entry {
	disk, r := v.OnDisk[output], v.Registries[reg]
	switch {
	case disk.Err != nil:
		return Entry{Why: disk.Err.Error()}
	case !disk.Exists:
		return Entry{Why: "the file does not exist"}
	}
	known := v.Scopes[r.Scope].Known
	var worst Entry
	for _, host := range r.Spec.Hosts() {
		e := entryOf(disk.Sums, host, known, v.Now)
		if !e.Valid {
			return e
		}
		if worst.Expires.IsZero() || e.Expires.Before(worst.Expires) {
			worst = e
		}
	}
	return worst
}

func entryOf(sums map[string]writer.Sum, host string, known []Known, now time.Time) Entry {
	sum, ok := sums[host]
	if !ok {
		return Entry{Why: "no entry for " + host}
	}
	for _, k := range known {
		switch {
		case k.Sum != sum:
		case k.denied:
			return Entry{Issued: k.Issued, Expires: k.Expires, Why: "the token for " + host + " was found in the file, and AWS denies this task one of its own"}
		case !now.Before(k.Expires):
			return Entry{Issued: k.Issued, Expires: k.Expires, Why: "the token expired at " + k.Expires.UTC().Format(time.RFC3339)}
		case !Valid(now, k.Issued, k.Expires): // mutant: valid to the last second
			return Entry{Issued: k.Issued, Expires: k.Expires, Why: "the token is about to expire, at " + k.Expires.UTC().Format(time.RFC3339)}
		default:
			return Entry{Valid: true, Issued: k.Issued, Expires: k.Expires}
		}
	}
	return Entry{Why: "the entry for " + host + " is not the refresher's"}
}

// Shadowed says what hides a registry's entry in an output from its readers; empty where nothing does.
func (v View) Shadowed(output, reg int) string {
	disk := v.OnDisk[output]
	for _, host := range v.Registries[reg].Spec.Hosts() {
		if helper, ok := disk.CredHelpers[host]; ok && helper != "" {
			return "credHelpers sends " + host + " to docker-credential-" + plain.Text(helper, mostHelper)
		} else if ok {
			continue // "credHelpers": {"host": ""} is docker's way to say: read the file
		}
		if disk.CredsStore != "" {
			return "credsStore sends every host to docker-credential-" + plain.Text(disk.CredsStore, mostHelper)
		}
	}
	return ""
}

// mostHelper bounds the name of a helper, in bytes: anybody may have written it, and it is repeated for each registry.
const mostHelper = 100

// Class is the class of an error of the snapshot, empty for nil.
func Class(err error) fault.Class {
	c, _ := fault.ClassOf(err)
	return c
}

// asFault makes sure that what the loop keeps has a class.
func asFault(err error, class fault.Class, op string) error {
	if err == nil {
		return nil
	}
	if _, ok := fault.ClassOf(err); ok {
		return err
	}
	return &fault.Error{Class: class, Op: op, Err: err}
}
