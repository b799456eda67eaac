// Package taskdef knows what an ECS task definition with the refresher in it looks like when it works.
//
// It owns the rules: those of ECS that cost a deployment to find out, those of Fargate, and our own. It refuses to know where a
// document comes from or goes to: it is pure, does no I/O and imports nothing of ours but package registry. What the settings of a
// container mean is not its business either: see Refreshers.
package taskdef

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The levels of a finding.
const (
	Fail = "fail" // ECS refuses the definition, or the task does not work
	Warn = "warn" // it works, with a trap in it
)

// Finding is one thing that is wrong with a task definition.
type Finding struct {
	Level string `json:"level"` // Fail or Warn
	Where string `json:"where"` // a path that jq understands: .containerDefinitions[0].memory
	What  string `json:"what"`
	Cure  string `json:"cure"`
}

// Check says what is wrong with a task definition that has the refresher in it, as register-task-definition takes it or as
// describe-task-definition gives it, or with a bare list of containers. A value that is null counts as absent. The error is for
// a document that is not JSON, or is neither an object nor a list of objects.
//
// A container is taken for a refresher if the last part of its image's name contains "ecr-refresher", if it is called "refresher"
// or "ecr-refresher", or if its health check runs "refresher healthcheck"; with a REFRESHER_ variable also if that runs
// "/healthcheck", which others may have too, or if its command is "once". That is the command of the init form.
//
// With a wrong type anywhere, only shapes are reported: the other rules would speak of things that are not there.
func Check(doc []byte) ([]Finding, error) {
	raw, list, err := rawDefinition(doc)
	if err != nil {
		return nil, fmt.Errorf("task definition: %w", err)
	}
	c := &checker{}
	c.list = list
	if inner, ok := raw["taskDefinition"].(map[string]any); ok {
		c.root = ".taskDefinition"
		c.fail("", "this is the answer of describe-task-definition, which register-task-definition refuses",
			"Take what is inside: jq .taskDefinition.")
		raw = inner
	}
	if _, there := raw["containerDefinitions"]; !there {
		c.noContainers(raw)
		return c.findings, nil
	}
	if r, ok := strangeList(raw["containerDefinitions"]); ok && list {
		c.fail("", r.What, r.Cure)
		return c.findings, nil
	}
	if isEmptyList(raw["containerDefinitions"]) {
		c.fail(".containerDefinitions", emptyList, "Give the containers of the task.")
		return c.findings, nil
	}
	if !c.conform("", raw, definitionShape) {
		return c.findings, nil
	}
	if err := c.read(raw); err != nil {
		return nil, fmt.Errorf("task definition: %w", err)
	}
	c.ecs()
	if c.fargate() {
		c.fargateRules()
	}
	c.ports()
	c.ours()
	return c.findings, nil
}

// noContainers is all that is said of a document without containerDefinitions.
func (c *checker) noContainers(raw map[string]any) {
	for key := range raw {
		if strings.EqualFold(key, "containerDefinitions") {
			c.fail("."+key, "unknown key "+key, "Write containerDefinitions.")
			return
		}
	}
	r := Reason{"there are none", "See whether this is a task definition at all."}
	if known, ok := recognised(raw); ok {
		r = known
	}
	c.fail(".containerDefinitions", r.What, r.Cure)
}

// rawDefinition decodes a document for Check, without what is null. A bare list of containers comes back as a definition that
// has nothing but them.
func rawDefinition(doc []byte) (raw map[string]any, list bool, err error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber() // to tell an integer from a float
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, false, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, false, errors.New("there is more after its end")
	}
	switch v := withoutNulls(v).(type) {
	case map[string]any:
		return v, false, nil
	case []any:
		if len(v) == 0 {
			return nil, true, errors.New(emptyList)
		}
		return map[string]any{"containerDefinitions": v}, true, nil
	}
	return nil, false, errors.New("it is neither a JSON object nor a list of containers")
}

const emptyList = "the list is empty"

func isEmptyList(v any) bool {
	l, ok := v.([]any)
	return ok && len(l) == 0
}

// withoutNulls takes out what is null, in objects and in lists.
func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(_ string, inner any) bool { return inner == nil })
		for key, inner := range v {
			v[key] = withoutNulls(inner)
		}
	case []any:
		kept := slices.DeleteFunc(v, func(inner any) bool { return inner == nil })
		for i, inner := range kept {
			kept[i] = withoutNulls(inner)
		}
		return kept
	}
	return v
}

// checker collects what is found in one definition.
type checker struct {
	definition
	root     string
	findings []Finding
}

// read decodes what the rules look at, by way of the value whose shape is known to be right.
func (c *checker) read(raw map[string]any) error {
	doc, err := json.Marshal(known(raw, definitionShape)) // Unmarshal would take memorY for memory
	if err != nil {
		return err
	}
	return json.Unmarshal(doc, &c.definition)
}

func (c *checker) fail(at, what, cure string) { c.add(Fail, at, what, cure) }
func (c *checker) warn(at, what, cure string) { c.add(Warn, at, what, cure) }

func (c *checker) add(level, at, what, cure string) {
	c.findings = append(c.findings, Finding{level, c.where(at), what, cure})
}

// where is a place in the document as it was given. A bare list of containers has no key before it.
func (c *checker) where(at string) string {
	if c.list {
		if at = strings.TrimPrefix(at, ".containerDefinitions"); strings.HasPrefix(at, "[") {
			at = "." + at
		}
	}
	return cmp.Or(c.root+at, ".")
}

// In reports whether the same was found before, wherever its container stood then.
func (f Finding) In(before []Finding) bool {
	return slices.ContainsFunc(before, func(o Finding) bool {
		return o.What == f.What && index.ReplaceAllString(o.Where, "") == index.ReplaceAllString(f.Where, "")
	})
}

var index = regexp.MustCompile(`\[\d+\]`)

// path of something in a container.
func path(i int, rest string) string { return fmt.Sprintf(".containerDefinitions[%d]%s", i, rest) }

// The parts of a task definition that rules look at. A pointer tells "absent" from zero.
type definition struct {
	Family, TaskRoleArn, ExecutionRoleArn, NetworkMode string
	CPU, Memory                                        string
	RequiresCompatibilities                            []string
	RuntimePlatform                                    struct{ OperatingSystemFamily string }
	PlacementConstraints                               []struct{ Type, Expression string }
	Tags                                               *[]any
	Volumes                                            []volume
	Containers                                         []container `json:"containerDefinitions"`

	list bool // a bare list of containers: what a definition says besides is written elsewhere
}

type volume struct {
	Name string
	Host struct{ SourcePath string }

	Docker *struct{ Scope string } `json:"dockerVolumeConfiguration"`
	EFS    *struct{}               `json:"efsVolumeConfiguration"`
	FSx    *struct{}               `json:"fsxWindowsFileServerVolumeConfiguration"`
	S3     *struct{}               `json:"s3filesVolumeConfiguration"`
}

type container struct {
	Name, Image, User string
	Essential         *bool
	EntryPoint        []string
	Command           []string
	Environment       []pair
	Secrets           []pair
	Memory            *int
	MemoryReservation *int
	StartTimeout      *int
	StopTimeout       *int
	DependsOn         []dependency
	MountPoints       []mount
	VolumesFrom       []source
	PortMappings      []portMapping
	HealthCheck       *struct {
		Command                                 []string
		Interval, Timeout, Retries, StartPeriod *int
	}
	RestartPolicy *struct {
		Enabled              *bool
		RestartAttemptPeriod *int
	}
	LogConfiguration *struct {
		LogDriver string
		Options   map[string]string
	}

	Links, DNSServers, DNSSearchDomains    []string
	DockerSecurityOptions, CredentialSpecs []string
	WorkingDirectory                       string
	ExtraHosts                             []any
	Privileged, DisableNetworking          bool
	ReadonlyRootFilesystem                 bool
	LinuxParameters                        struct {
		Devices []any
		Tmpfs   []struct {
			ContainerPath string
			MountOptions  []string
		}
	}
}

type (
	pair       struct{ Name, Value string }
	dependency struct{ ContainerName, Condition string }
	source     struct {
		SourceContainer string
		ReadOnly        bool
	}
	portMapping struct {
		ContainerPort, HostPort            int
		Name, ContainerPortRange, Protocol string
	}
)

type mount struct {
	SourceVolume, ContainerPath string
	ReadOnly                    bool
}

func (k container) essential() bool { return k.Essential == nil || *k.Essential }

// env returns a variable, and the place where it stands.
func (k container) env(name string) (value string, at int) {
	at = slices.IndexFunc(k.Environment, func(p pair) bool { return p.Name == name })
	if at < 0 {
		return "", at
	}
	return k.Environment[at].Value, at
}

// refresher reports whether this container is one of ours: see Check.
func (k container) refresher() bool {
	image := k.Image[strings.LastIndex(k.Image, "/")+1:]
	return strings.Contains(image, "ecr-refresher") || k.Name == "refresher" || k.Name == "ecr-refresher" ||
		k.HealthCheck != nil && strings.Contains(strings.Join(k.HealthCheck.Command, " "), "refresher healthcheck") ||
		(k.HealthCheck != nil && slices.Contains(k.HealthCheck.Command, "/healthcheck") || slices.Contains(k.Command, "once")) &&
			slices.ContainsFunc(k.Environment, func(p pair) bool { return strings.HasPrefix(p.Name, "REFRESHER_") })
}

// once reports whether this is the init form of ours.
func (k container) once() bool { return k.refresher() && slices.Contains(k.Command, "once") }

func (d *definition) fargate() bool { return slices.Contains(d.RequiresCompatibilities, "FARGATE") }

// container returns the place of a container, or -1.
func (d *definition) container(name string) int {
	return slices.IndexFunc(d.Containers, func(k container) bool { return k.Name == name })
}
