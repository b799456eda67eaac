package taskdef

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Options say what Inject shall put into a task definition. The zero value keeps what a sidecar that is there already has.
type Options struct {
	Image      string   // of the sidecar; empty: that of the sidecar that is there
	Containers []string // that get the login; none: all others
	Registries []string // as --registry takes them; none: what is there, else the task's own
	Path       string   // where the consumers see the volume; empty: where they do, else /run/ecr
	Port       int      // to listen on; 0: the one that is there, else 9327
	Essential  *bool    // nil: what is there, else false
	Init       *bool    // the init container, for the fast start; nil: what is there, else none; false takes it away

	Writable bool // consumers may write to the volume

	TaskRole, ExecutionRole string // ARNs to set; empty: what is there
}

// Result is a definition with the sidecar in it.
type Result struct {
	Document   []byte    // plain JSON, as register-task-definition --cli-input-json takes it
	Changes    []string  // what was added or changed, in words; none where all was there already
	Findings   []Finding // what Check has to say: the failures are those that were there before
	Registries []string  // that the sidecar keeps a login for; "default" is the task's own
	TaskRole   string    // its ARN; empty where the definition does not say one
	Region     string    // the task's, as far as the definition tells; else empty

	// Volume is the one that must be added to the definition where a bare list of containers was given, which has no place for
	// volumes and roles; else empty.
	Volume string
}

// Refusal lists all reasons why a definition stays as it is.
type Refusal []Reason

// Reason says what is in the way, and what to do about it.
type Reason struct{ What, Cure string }

func (r Refusal) Error() string {
	var lines []string
	for _, one := range r {
		lines = append(lines, one.What+". "+one.Cure)
	}
	return strings.Join(lines, "\n")
}

// Plain turns what describe-task-definition prints into what register-task-definition takes, without what is null. A list stays
// a list. What is plain stays as it is, to the byte, but for a byte order mark.
func Plain(doc []byte) ([]byte, error) {
	doc, err := decoded(doc)
	if err != nil {
		return nil, fmt.Errorf("task definition: %w", err)
	}
	if isArray(doc) {
		if _, err = readItems(doc); err == nil {
			doc, err = noNulls(doc)
		}
		if err != nil {
			return nil, fmt.Errorf("task definition: %w", err)
		}
		return doc, nil
	}
	if doc, err = noNulls(doc); err != nil {
		return nil, fmt.Errorf("task definition: %w", err)
	}
	f, err := readFields(doc)
	if err != nil {
		return nil, fmt.Errorf("task definition: %w", err)
	}
	inner, err := readFields(f.get("taskDefinition"))
	wrapped := err == nil
	if f.at("taskDefinition") >= 0 && !wrapped && f.text("taskDefinition") == "" {
		return nil, fmt.Errorf("task definition: taskDefinition: %w", err)
	}
	if wrapped {
		if len(f.items("tags")) > 0 {
			inner.set("tags", f.get("tags"))
		}
		f = inner
	}
	if !wrapped && !slices.ContainsFunc(described, func(key string) bool { return f.at(key) >= 0 }) {
		return doc, nil
	}
	f.drop(described...)
	return encode(f), nil
}

// Inject adds the sidecar to a task definition, or brings the one that is there up to date. It is idempotent. Whatever is
// not ours survives by value. The error is a Refusal, or speaks of a document that is no task definition.
func Inject(doc []byte, o Options) (Result, error) {
	plain, err := Plain(doc)
	if err != nil {
		return Result{}, err
	}
	top, err := readFields(asDefinition(plain))
	if err != nil {
		return Result{}, fmt.Errorf("task definition: %w", err)
	}
	if err := isDefinition(top, plain); err != nil {
		return Result{}, fmt.Errorf("task definition: %w", err)
	}
	j := &injection{Options: o, top: top}
	if err := j.read(plain); err != nil {
		return Result{}, err
	}
	j.plan()
	if len(j.refused) > 0 {
		return Result{}, j.refused
	}
	j.edit()
	out := encode(j.top)
	if j.def.list {
		out = j.top.get("containerDefinitions")
	}
	findings, err := j.newFindings(plain, out)
	if err != nil {
		return Result{}, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, out, "", "  "); err != nil {
		return Result{}, fmt.Errorf("task definition: %w", err)
	}
	b.WriteByte('\n')
	r := Result{Document: b.Bytes(), Changes: j.changes, Findings: findings, Registries: j.registries}
	r.TaskRole, r.Region = facts(out)
	if j.def.list {
		r.Volume = j.volume
	}
	return r, nil
}

// isDefinition says what a document is that is neither a task definition nor a list of containers.
func isDefinition(top fields, plain []byte) error {
	raw, list, err := rawDefinition(plain)
	if err != nil {
		return err
	}
	r, known := strangeList(raw["containerDefinitions"])
	switch {
	case list && known:
	case top.at("ContainerDefinitions") >= 0:
		return errors.New("it has ContainerDefinitions with a capital, as CloudFormation writes it; the API's form is asked for: containerDefinitions")
	case isEmptyList(raw["containerDefinitions"]):
		return errors.New("containerDefinitions: " + emptyList)
	case top.at("containerDefinitions") >= 0:
		return nil
	default:
		if r, known = recognised(raw); !known {
			return errors.New("it has no containerDefinitions; is this a task definition?")
		}
	}
	return fmt.Errorf("%s. %s", r.What, r.Cure)
}

// injection is one definition while the sidecar goes in.
type injection struct {
	Options
	top fields     // the document
	def definition // the same, as the rules read it

	sidecar, once int  // places of ours in def.Containers, or -1
	fast          bool // there shall be the init container; else one that is there goes
	volume        string
	port, oldPort int
	consumers     []int

	refused    Refusal
	changes    []string
	registries []string
}

func (j *injection) refuse(cure, format string, a ...any) {
	r := Reason{fmt.Sprintf(format, a...), cure}
	if !slices.Contains(j.refused, r) {
		j.refused = append(j.refused, r)
	}
}

func (j *injection) note(format string, a ...any) {
	j.changes = append(j.changes, fmt.Sprintf(format, a...))
}

// read decodes what the rules look at. A wrong type anywhere is refused: nothing sure could be said of the rest.
func (j *injection) read(plain []byte) error {
	raw, list, err := rawDefinition(plain)
	if err != nil {
		return fmt.Errorf("task definition: %w", err)
	}
	c := &checker{}
	c.list = list
	if !c.conform("", raw, definitionShape) {
		for _, f := range c.findings {
			if f.Level == Fail {
				j.refuse(f.Cure, "%s: %s", f.Where, f.What)
			}
		}
		return j.refused
	}
	if err := twice("", plain); err != nil {
		return fmt.Errorf("task definition: %w", err)
	}
	if err := c.read(raw); err != nil {
		return fmt.Errorf("task definition: %w", err)
	}
	j.def = c.definition
	return nil
}

// twice looks for a key that an object has twice.
func twice(at string, doc json.RawMessage) error {
	switch bytes.TrimSpace(doc)[0] {
	case '{':
		f, err := readFields(doc)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		for _, m := range f {
			if err := twice(at+"."+m.key, m.value); err != nil {
				return err
			}
		}
	case '[':
		var l []json.RawMessage
		if err := json.Unmarshal(doc, &l); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		for i, item := range l {
			if err := twice(fmt.Sprintf("%s[%d]", at, i), item); err != nil {
				return err
			}
		}
	}
	return nil
}

// newFindings checks the outcome. A failure that was there before is not ours to judge; a new one means that it would not work.
func (j *injection) newFindings(before, after []byte) ([]Finding, error) {
	old, err := Check(before)
	if err != nil {
		return nil, err
	}
	findings, err := Check(after)
	if err != nil {
		return nil, err
	}
	for _, f := range findings {
		if f.Level == Fail && !f.In(old) {
			if f.Where == ".executionRoleArn" {
				f.Cure = "Give --execution-role=ARN: see deploy/iam/execution.json"
			}
			j.refuse(strings.TrimSuffix(f.Cure, ".")+".", "%s: %s", f.Where, f.What)
		}
	}
	if len(j.refused) > 0 {
		return nil, j.refused
	}
	return findings, nil
}
