//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// definition is a task definition, as far as ECS reads one for these containers. A key that is not here fails the harness: what it
// does not know it would silently not run.
type definition struct {
	Family                  string            `json:"family"`
	RequiresCompatibilities []string          `json:"requiresCompatibilities"`
	NetworkMode             string            `json:"networkMode"`
	CPU                     string            `json:"cpu"`
	Memory                  string            `json:"memory"`
	RuntimePlatform         map[string]string `json:"runtimePlatform"`
	TaskRoleARN             string            `json:"taskRoleArn"`
	ExecutionRoleARN        string            `json:"executionRoleArn"`
	Volumes                 []volume          `json:"volumes"`
	Containers              []*container      `json:"containerDefinitions"`
}

type volume struct {
	Name string `json:"name"`
	Host struct {
		SourcePath string `json:"sourcePath"`
	} `json:"host"`
}

// container is one container definition. Sizes are MiB and times seconds, as ECS has them.
type container struct {
	Name                   string            `json:"name"`
	Image                  string            `json:"image"`
	Essential              *bool             `json:"essential"` // absent: true
	EntryPoint             []string          `json:"entryPoint"`
	Command                []string          `json:"command"`
	User                   string            `json:"user"`
	WorkingDirectory       string            `json:"workingDirectory"`
	CPU                    int64             `json:"cpu"`
	Memory                 int64             `json:"memory"`
	MemoryReservation      int64             `json:"memoryReservation"`
	ReadonlyRootFilesystem bool              `json:"readonlyRootFilesystem"`
	Environment            []pair            `json:"environment"`
	MountPoints            []mountPoint      `json:"mountPoints"`
	PortMappings           []portMapping     `json:"portMappings"`
	DockerLabels           map[string]string `json:"dockerLabels"`
	DependsOn              []dependency      `json:"dependsOn"`
	StartTimeout           int               `json:"startTimeout"`
	StopTimeout            int               `json:"stopTimeout"`
	LogConfiguration       json.RawMessage   `json:"logConfiguration"` // awslogs here; the engine's own log is read instead
	HealthCheck            *healthCheck      `json:"healthCheck"`
	RestartPolicy          struct {
		Enabled              bool  `json:"enabled"`
		IgnoredExitCodes     []int `json:"ignoredExitCodes"`
		RestartAttemptPeriod int   `json:"restartAttemptPeriod"`
	} `json:"restartPolicy"`
	LinuxParameters struct {
		InitProcessEnabled bool `json:"initProcessEnabled"`
		Capabilities       struct {
			Add  []string `json:"add"`
			Drop []string `json:"drop"`
		} `json:"capabilities"`
	} `json:"linuxParameters"`
}

type pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type mountPoint struct {
	SourceVolume  string `json:"sourceVolume"`
	ContainerPath string `json:"containerPath"`
	ReadOnly      bool   `json:"readOnly"`
}

type portMapping struct {
	ContainerPort int    `json:"containerPort"`
	HostPort      int    `json:"hostPort"`
	Protocol      string `json:"protocol"`
	Name          string `json:"name"`
	AppProtocol   string `json:"appProtocol"`
}

type dependency struct {
	ContainerName string `json:"containerName"`
	Condition     string `json:"condition"`
}

type healthCheck struct {
	Command     []string `json:"command"`
	Interval    int      `json:"interval"`
	Timeout     int      `json:"timeout"`
	Retries     int      `json:"retries"`
	StartPeriod int      `json:"startPeriod"`
}

func (c *container) essential() bool { return c.Essential == nil || *c.Essential }

// setenv sets a variable of the definition.
func (c *container) setenv(name, value string) {
	c.Environment = slices.DeleteFunc(c.Environment, func(p pair) bool { return p.Name == name })
	c.Environment = append(c.Environment, pair{name, value})
}

func (d *definition) container(name string) *container {
	for _, c := range d.Containers {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// refresher is the container of the definition that runs the daemon.
func (d *definition) refresher() *container {
	for _, c := range d.Containers {
		if strings.Contains(c.Image, "ecr-refresher") && !slices.Contains(c.Command, "once") {
			return c
		}
	}
	return nil
}

// readDefinition reads a definition of deploy/: the file that users copy.
func readDefinition(t testing.TB, file string) *definition {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", file))
	if err != nil {
		t.Fatal(err)
	}
	d, err := parseDefinition(text)
	if err != nil {
		t.Fatalf("deploy/%s: %v", file, err)
	}
	return d
}

func parseDefinition(text []byte) (*definition, error) {
	var d definition
	var keys any
	if err := errors.Join(json.Unmarshal(text, &d), json.Unmarshal(text, &keys)); err != nil {
		return nil, err
	}
	if err := known(keys, reflect.TypeFor[definition](), ""); err != nil {
		return nil, fmt.Errorf("the harness runs no such task: %w", err)
	}
	if len(d.Containers) == 0 || d.refresher() == nil {
		return nil, fmt.Errorf("no container runs ecr-refresher")
	}
	return &d, nil
}

// known says which key of a document has no field: to the letter, as ECS reads it, and encoding/json does not.
func known(v any, t reflect.Type, at string) error {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := v.(type) {
	case []any:
		if t.Kind() != reflect.Slice {
			return nil
		}
		for i, item := range v {
			if err := known(item, t.Elem(), fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		if t.Kind() != reflect.Struct {
			return nil
		}
		fields := map[string]reflect.Type{}
		for f := range t.Fields() {
			fields[f.Tag.Get("json")] = f.Type
		}
		for key, item := range v {
			field, ok := fields[key]
			if !ok {
				return fmt.Errorf("unknown key %s.%s", at, key)
			}
			if err := known(item, field, at+"."+key); err != nil {
				return err
			}
		}
	}
	return nil
}
