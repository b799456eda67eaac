package health

import (
	"strings"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
)

// About is what is known of the process itself.
type About struct {
	Version string `json:"version"`
	Task    string `json:"task,omitempty"` // the task's ARN; empty outside ECS

	Checks func() []Check `json:"-"` // looks at what is cheap to look at; nil does not
}

// Check is what the doctor found of one thing, in its words.
type Check struct {
	ID     string `json:"id"`
	Of     string `json:"of,omitempty"` // which: a path, a host
	Status string `json:"status"`       // "ok", "warn", "fail" or "skip"
	Seen   string `json:"seen"`
	Cure   string `json:"cure,omitempty"` // what to do on the first line; below it what can be pasted
}

// Status is everything that a person or a script may want to know, without a secret. It is the JSON of /status: fields are
// added, never renamed. Times are true time (AWS's clock), absent where there is none.
type Status struct {
	About
	Healthy    bool             `json:"healthy"`
	Ready      bool             `json:"ready"`
	Reasons    []string         `json:"reasons"` // why not ready
	Now        time.Time        `json:"now"`
	Uptime     float64          `json:"uptime_seconds"`
	ClockSkew  float64          `json:"clock_skew_seconds"` // the local clock ahead of AWS's
	Registries []RegistryStatus `json:"registries"`
	Outputs    []OutputStatus   `json:"outputs"`
	Checks     []Check          `json:"checks,omitempty"` // no part of a verdict: they say what may become wrong, and why

	Stuck string `json:"-"` // why /livez fails, which is one of the reasons; empty while it succeeds
}

// RegistryStatus is what a consumer of the primary output finds for a registry, and what the refresher knows beyond that.
type RegistryStatus struct {
	Name      string   `json:"name"` // as configured
	Host      string   `json:"host"`
	Aliases   []string `json:"aliases,omitempty"`
	Account   string   `json:"account,omitempty"`
	Region    string   `json:"region"`
	Partition string   `json:"partition"`
	Identity  string   `json:"identity"` // "task" or the ARN of the assumed role
	Optional  bool     `json:"optional,omitempty"`

	Valid    bool       `json:"valid"`
	Why      string     `json:"why,omitempty"` // not valid: the reason
	Issued   *time.Time `json:"issued,omitempty"`
	Expires  *time.Time `json:"expires,omitempty"`
	Adopted  bool       `json:"adopted,omitempty"` // found in the file at the start, issued to an earlier process
	Accepted string     `json:"accepted"`          // by the registry itself: "yes", "no" or "unknown"

	NextRefresh *time.Time `json:"next_refresh,omitempty"`
	LastAttempt *time.Time `json:"last_attempt,omitempty"`
	LastSuccess *time.Time `json:"last_success,omitempty"`
	Failures    int        `json:"consecutive_failures"`
	Error       *Problem   `json:"error,omitempty"` // of the last attempt, or why the registry rejects the token
}

// OutputStatus is the state of one output.
type OutputStatus struct {
	Path      string   `json:"path"`
	Primary   bool     `json:"primary,omitempty"`
	Exists    bool     `json:"exists"`
	Mode      string   `json:"mode,omitempty"`
	Contested bool     `json:"contested,omitempty"`
	Repairs   int      `json:"repairs"`
	Shadowed  []string `json:"shadowed,omitempty"` // registries whose entry a helper hides, and how: Hidden in words
	Hidden    []Hidden `json:"-"`

	// Entries of others, the first ten of each: what keeps programs from reading the file, and logins for our hosts under other keys.
	Broken       []OtherEntry `json:"broken_entries,omitempty"`
	BrokenCount  int          `json:"broken_entry_count,omitempty"`
	Similar      []OtherEntry `json:"similar_entries,omitempty"`
	SimilarCount int          `json:"similar_entry_count,omitempty"`

	Error *Problem `json:"error,omitempty"`
}

// Hidden is a registry whose entry in an output docker does not use.
type Hidden struct {
	Registry string   // as configured
	Hosts    []string // its host and its aliases
	By       string   // the credential helper that docker asks instead, and the member of the file that says so
}

// OtherEntry is an entry that is not ours and gets in the way of the file's readers.
type OtherEntry struct {
	Key     string `json:"key"`     // auths["KEY"], or the name of another member of the document
	Problem string `json:"problem"` // what is wrong with it, or what it is
	Readers string `json:"readers"` // which programs it concerns
}

// Problem is an error as it is told to people and scripts.
type Problem struct {
	Class   fault.Class `json:"class"`
	Message string      `json:"message"`
	Cure    string      `json:"cure,omitempty"`
}

// StatusOf describes a view.
func StatusOf(v refresh.View, about About) Status {
	ready := Ready(v)
	s := Status{
		About: about, Healthy: Healthy(v).OK, Ready: ready.OK, Reasons: append([]string{}, ready.Reasons...),
		Stuck: strings.Join(Live(v).Reasons, ""),
		Now:   v.Now.UTC(), Uptime: (time.Since(v.Started)).Round(time.Second).Seconds(), ClockSkew: v.Skew.Seconds(),
	}
	for i := range v.Registries {
		s.Registries = append(s.Registries, registryStatus(v, i))
	}
	for o := range v.Outputs {
		s.Outputs = append(s.Outputs, outputStatus(v, o))
	}
	if about.Checks != nil {
		s.Checks = about.Checks()
	}
	return s
}

func registryStatus(v refresh.View, i int) RegistryStatus {
	r := v.Registries[i]
	sc, e := v.Scopes[r.Scope], v.Entry(0, i)
	s := RegistryStatus{
		Name: r.Spec.Name, Host: r.Spec.Host.Name, Aliases: r.Spec.Aliases, Account: r.Spec.Host.Account,
		Region: r.Spec.Host.Region, Partition: r.Spec.Host.Partition, Identity: sc.Scope.Identity(), Optional: r.Spec.Optional,
		Valid: e.Valid, Why: e.Why, Issued: at(e.Issued), Expires: at(e.Expires), Adopted: sc.Adopted, Accepted: "unknown",
		NextRefresh: at(sc.Due), LastAttempt: at(sc.LastAttempt), LastSuccess: at(sc.LastSuccess), Failures: sc.Failures,
		Error: problem(sc.Err),
	}
	switch r.Accepted {
	case refresh.Accepted:
		s.Accepted = "yes"
	case refresh.Rejected:
		s.Accepted = "no"
		if s.Error == nil {
			s.Error = problem(r.Err)
		}
	}
	return s
}

func outputStatus(v refresh.View, o int) OutputStatus {
	out, disk := v.Outputs[o], v.OnDisk[o]
	s := OutputStatus{Path: out.Name, Primary: o == 0, Exists: disk.Exists || refresh.Class(disk.Err) == fault.OutputInvalid, Contested: out.Contested, Repairs: out.Repairs, Error: problem(out.Err)}
	if disk.Exists {
		s.Mode = disk.Mode.String()
	}
	if s.Error == nil {
		s.Error = problem(disk.Err)
	}
	for i, r := range v.Registries {
		if hidden := v.Shadowed(o, i); hidden != "" {
			s.Shadowed = append(s.Shadowed, r.Spec.Name+": "+hidden)
			s.Hidden = append(s.Hidden, Hidden{Registry: r.Spec.Name, Hosts: r.Spec.Hosts(), By: hidden})
		}
	}
	s.BrokenCount, s.SimilarCount = disk.Obstacles.BrokenCount, disk.Obstacles.SimilarCount
	for _, e := range disk.Obstacles.Broken {
		s.Broken = append(s.Broken, OtherEntry(e))
	}
	for _, e := range disk.Obstacles.Similar {
		s.Similar = append(s.Similar, OtherEntry(e))
	}
	return s
}

func problem(err error) *Problem {
	if err == nil {
		return nil
	}
	return &Problem{refresh.Class(err), err.Error(), fault.CureOf(err)}
}

func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}
