// Package doctor looks for what goes wrong in the field: one check for each, in the order in which a request travels, from the
// variables of the container to the file that a consumer reads.
//
// It owns what is looked at, what is said of it, and the cure. It refuses to fix anything: nothing is written but two temporary files in
// the volume, removed at once. It reads no environment of its own, and knows neither the loop nor what is served over HTTP beyond the
// few fields of /status that it asks a neighbour for. Nothing that it says holds a secret.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/plain"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

// Config is what the doctor is told. Only Environ and Outputs are needed by [Watch].
type Config struct {
	Environ    []string
	Problems   []string        // of the settings in the environment, each naming its variable
	Wrong      bool            // Registries is not what the settings mean: that is one of the problems
	Region     string          // as the settings name it; empty where they do not
	Registries []registry.Spec // as configured, or resolved; none is the task's own
	Outputs    []Output

	Task   func(context.Context) (Task, error)                                   // asks the task metadata; nil outside ECS
	Client func(_ context.Context, region, taskID string) (*token.Client, error) // as the refresher makes its own

	AllowInstanceRole bool
	Listen            string // of the refresher
	StatusURL         string // /status of a refresher that listens there
	ConsumerUID       int    // whose consumer's; -1 where it is not known, for Watch too: 0 is root

	// MountInfo is the file that lists the mounts; default /proc/self/mountinfo.
	MountInfo string
	// Room says what is left on the file system of a directory; default statfs(2).
	Room func(dir string) (bytes, files uint64, err error)
}

// Output is a file that the refresher keeps.
type Output struct {
	Path string
	Mode fs.FileMode

	// Look says what a reader finds in the file; nil: the file is read for each check. A refresher gives its own, which does not
	// parse the same content twice.
	Look func() (writer.View, error)
}

// Task is what ECS says of the task.
type Task struct {
	ARN, ID, Region, Account string
	Cluster, LaunchType      string
	ClockStatus              string        // SYNCHRONIZED, NOT_SYNCHRONIZED, or empty where it is not measured
	ClockBound               time.Duration // by how much the host's clock may be off
}

// Status is how a check ended.
type Status string

// The ends that there are.
const (
	OK   Status = "ok"
	Warn Status = "warn" // it works, with a trap in it
	Fail Status = "fail" // it does not work
	Skip Status = "skip" // not looked at: an earlier check failed, or it does not apply
)

// Check is one thing that is looked at.
type Check struct {
	ID    string
	Title string // the question
	Cheap bool   // asks neither network nor AWS, and writes nothing

	most time.Duration // 0: 5 s
	run  func(*exam, context.Context) []Result
}

// Result is what a check found of one thing.
type Result struct {
	Of     string // which: a host, a path, a scope; empty where there is but one
	Status Status
	Seen   string // what was seen, in a sentence
	Cure   string // where not ok: what to do, on the first line; below it what can be pasted
}

// Finding is a result and the check that it is of.
type Finding struct {
	ID    string
	Title string
	Result
}

// Checks are all, in their order.
func Checks() []Check {
	return []Check{
		{ID: "settings", Title: "Does every `REFRESHER_` variable exist, with a valid value?", run: (*exam).settings},
		{ID: "role_hidden", Title: "Does a variable take the task role's place?", Cheap: true, run: (*exam).roleHidden},
		{ID: "proxy", Title: "Are the proxy variables well formed, and do they leave out the ECS agent?", Cheap: true, run: (*exam).proxy},
		{ID: "ca_bundle", Title: "Can the certificates that variables name be read?", Cheap: true, run: (*exam).caBundle},
		{ID: "metadata", Title: "Does the ECS agent say which task this is?", run: (*exam).metadata},
		{ID: "host_clock", Title: "Does the host keep its clock synchronized, as the task metadata tell?", run: (*exam).hostClock},
		{ID: "region", Title: "Which region is it, and says who?", run: (*exam).regionCheck},
		{ID: "registries", Title: "Which registries are meant, of which accounts?", run: (*exam).registries},
		{ID: "aws_settings", Title: "Does the AWS SDK accept its settings?", run: (*exam).awsSettings},
		{ID: "endpoint", Title: "Does the credential endpoint of the task answer, and how fast?", run: (*exam).endpoint},
		{ID: "credentials", Title: "Whose credentials are used, and until when?", run: (*exam).credentials},
		{ID: "api", Title: "Do the hosts of the AWS APIs answer: name, route, TLS?", most: 10 * time.Second, run: (*exam).api},
		{ID: "clock", Title: "Does the local clock agree with AWS's?", run: (*exam).clock},
		{ID: "assume_role", Title: "Can each role of a chain be assumed?", most: 10 * time.Second, run: (*exam).assumeRole},
		{ID: "token", Title: "Does AWS issue a token?", most: 10 * time.Second, run: (*exam).tokenCheck},
		{ID: "registry_host", Title: "Do the registries answer: name, route, TLS?", most: 10 * time.Second, run: (*exam).registryHosts},
		{ID: "accepted", Title: "Do the registries accept the token?", most: 10 * time.Second, run: (*exam).accepted},
		{ID: "volume", Title: "Is the output's directory there?", Cheap: true, most: diskMost, run: (*exam).volumeCheck},
		{ID: "mount", Title: "Is it a mount that other containers can share?", Cheap: true, most: diskMost, run: onDisk((*exam).mount)},
		{ID: "file_mount", Title: "Is the file mounted by itself?", Cheap: true, most: diskMost, run: onDisk((*exam).fileMount)},
		{ID: "owner", Title: "Whose is the directory, and who else may write there?", Cheap: true, most: diskMost, run: onDisk((*exam).owner)},
		{ID: "writable", Title: "Can the refresher write there?", most: diskMost, run: onDisk((*exam).writable)},
		{ID: "space", Title: "Is there room on the volume?", Cheap: true, most: diskMost, run: onDisk((*exam).space)},
		{ID: "document", Title: "Is the file a document that can be kept?", Cheap: true, most: diskMost, run: onDisk((*exam).document)},
		{ID: "consumer", Title: "Can a consumer's user read it?", Cheap: true, most: diskMost, run: onDisk((*exam).consumer)},
		{ID: "helpers", Title: "Does a credential helper stand in the way?", Cheap: true, most: diskMost, run: onDisk((*exam).helpers)},
		{ID: "foreign_auths", Title: "Does somebody else's entry break the file?", Cheap: true, most: diskMost, run: onDisk((*exam).foreignAuths)},
		{ID: "writers", Title: "Does another program write the file?", Cheap: true, most: diskMost, run: onDisk((*exam).writers)},
		{ID: "port", Title: "Is the port free, or a refresher's?", run: (*exam).port},
		{ID: "neighbour", Title: "Is the refresher that answers there well?", run: (*exam).neighbourCheck},
	}
}

// diskMost is how long a file system is waited for.
const diskMost = 2 * time.Second

// exam is one run. Checks run one after another; what each finds out for those behind it stands here.
type exam struct {
	Config
	patience chan struct{} // held by whoever asks a file system

	task     *Task
	region   string
	regionBy string          // who gave it
	specs    []registry.Spec // resolved
	client   *token.Client
	agent    *agentAnswer // of the credential endpoint
	hasCreds bool
	scopes   []scope
	skews    []skew
	hung     map[string]bool // directories that did not answer
	missing  map[string]bool // directories that are of no use
	files    map[string]*writer.File
	parsing  sync.Mutex
	status   *neighbour

	mu          sync.Mutex // of what follows: checks that ask several hosts do so at the same time
	unreachable map[string]bool
	tokens      map[token.Scope]token.Token
	noIdentity  map[token.Scope]bool
}

// scope is what one token is for.
type scope struct {
	token.Scope
	optional bool     // all of its registries are
	urls     []string // that its token is asked for at
	bad      bool     // it cannot be asked for
}

func newExam(cfg Config, patience chan struct{}) *exam {
	cfg.MountInfo = cmp.Or(cfg.MountInfo, "/proc/self/mountinfo")
	if cfg.Room == nil {
		cfg.Room = room
	}
	return &exam{
		Config: cfg, patience: patience, hung: map[string]bool{}, missing: map[string]bool{}, unreachable: map[string]bool{}, files: map[string]*writer.File{},
		tokens: map[token.Scope]token.Token{}, noIdentity: map[token.Scope]bool{},
	}
}

// Run looks at everything, one check after another. It ends when ctx does; what it did not come to then fails.
func Run(ctx context.Context, cfg Config) []Finding {
	return newExam(cfg, make(chan struct{}, 1)).all(ctx, func(Check) bool { return true })
}

// Watch returns a function that looks at what is cheap: no network, nothing written. It is for a process that lives long: a
// file system that hangs keeps one goroutine, however often it is called. Registries must be resolved.
func Watch(cfg Config) func(context.Context) []Finding {
	patience := make(chan struct{}, 1)
	return func(ctx context.Context) []Finding {
		e := newExam(cfg, patience)
		e.specs = cfg.Registries
		return e.all(ctx, func(c Check) bool { return c.Cheap })
	}
}

func (e *exam) all(ctx context.Context, wanted func(Check) bool) []Finding {
	var findings []Finding
	for _, c := range Checks() {
		if !wanted(c) {
			continue
		}
		for _, r := range e.one(ctx, c) {
			r.Of, r.Seen = printable(r.Of), printable(strings.ReplaceAll(r.Seen, "\n", " "))
			r.Cure = printable(r.Cure)
			findings = append(findings, Finding{c.ID, c.Title, r})
		}
	}
	return findings
}

func (e *exam) one(ctx context.Context, c Check) []Result {
	if ctx.Err() != nil {
		return fail("not looked at: "+context.Cause(ctx).Error(), "run it again; what failed before this took the time")
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.most, 5*time.Second))
	defer cancel()
	return c.run(e, ctx)
}

// onDisk runs a check for every output. A file system that hangs cannot be interrupted: it is let go of, and not asked again.
func onDisk(look func(*exam, Output) Result) func(*exam, context.Context) []Result {
	return func(e *exam, ctx context.Context) []Result {
		var all []Result
		for _, o := range e.Outputs {
			r := e.ask(ctx, o, look)
			r.Of = o.Path
			all = append(all, r)
		}
		if len(all) == 0 {
			return skip("because the outputs are not known (settings)")
		}
		return all
	}
}

func (e *exam) ask(ctx context.Context, o Output, look func(*exam, Output) Result) Result {
	switch dir := dirOf(o); {
	case e.hung[dir]:
		return Result{Status: Skip, Seen: "skipped because the file system does not answer"}
	case e.missing[dir]:
		return Result{Status: Skip, Seen: "skipped because its directory is not usable (volume)"}
	}
	answer := make(chan Result, 1)
	go func() {
		select {
		case e.patience <- struct{}{}:
			answer <- look(e, o)
			<-e.patience
		case <-ctx.Done():
		}
	}()
	select {
	case r := <-answer:
		return r
	case <-ctx.Done():
		e.hung[dirOf(o)] = true
		return Result{Status: Fail, Seen: "the file system does not answer", Cure: "see whether the volume is reachable: its mount target and security group (NFS, port 2049) if it is EFS"}
	}
}

// each runs f for all items at the same time, at most 8, and returns the results in their order.
func each[T any](items []T, f func(T) []Result) []Result {
	results := make([][]Result, len(items))
	slots := make(chan struct{}, 8)
	var group sync.WaitGroup
	for i, item := range items {
		group.Go(func() {
			slots <- struct{}{}
			results[i] = f(item)
			<-slots
		})
	}
	group.Wait()
	return slices.Concat(results...)
}

// getenv is the value of a variable, empty where it is not set.
func (e *exam) getenv(name string) string {
	for _, kv := range e.Environ {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			return v
		}
	}
	return ""
}

func ok(format string, args ...any) []Result {
	return []Result{{Status: OK, Seen: fmt.Sprintf(format, args...)}}
}

func skip(because string) []Result {
	return []Result{{Status: Skip, Seen: "skipped " + because}}
}

func warn(seen, cure string) []Result { return []Result{{Status: Warn, Seen: seen, Cure: cure}} }
func fail(seen, cure string) []Result { return []Result{{Status: Fail, Seen: seen, Cure: cure}} }

// of names what a check's results are of.
func of(what string, results []Result) []Result {
	for i := range results {
		results[i].Of = what
	}
	return results
}

// mild makes a failure of what is optional a warning.
func mild(optional bool, results []Result) []Result {
	for i := range results {
		if optional && results[i].Status == Fail {
			results[i].Status = Warn
			results[i].Seen += " (the registry is optional)"
		}
	}
	return results
}

// failed tells an error with its class and its cure, and below that what can be pasted.
func failed(err error, paste string) []Result {
	seen := err.Error()
	if e, ok := errors.AsType[*fault.Error](err); ok { // what was being done is the check's own title
		seen = string(e.Class) + ": " + e.Err.Error()
	}
	cure := cmp.Or(fault.CureOf(err), "see what the message says")
	if paste != "" {
		cure += "\n" + paste
	}
	return fail(seen, cure)
}

// cutCure takes apart a text that has its cure behind a semicolon. One in quotes belongs to what somebody wrote.
func cutCure(text string) (seen, cure string) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case !quoted && strings.HasPrefix(text[i:], "; "):
			return text[:i], text[i+len("; "):]
		}
	}
	return text, ""
}

// printable makes each line of a text safe to print: what is seen quotes others.
func printable(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = plain.Text(lines[i], mostText)
	}
	return strings.Join(lines, "\n")
}

// mostText bounds a line, in bytes.
const mostText = 1500

func took(d time.Duration) string {
	return "in " + max(d.Round(time.Millisecond), time.Millisecond).String()
}

// until tells a point in time and how far away it is.
func until(t time.Time) string {
	return fmt.Sprintf("until %s (in %s)", t.UTC().Format(time.RFC3339), time.Until(t).Round(time.Second))
}
