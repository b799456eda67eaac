package taskdef

import (
	"encoding/json"
	"strings"

	"ecr-refresher/internal/registry"
)

// Refresher is a container that runs the refresher, and how it is called. What that means is for the program to say.
type Refresher struct {
	Where               string // as in a Finding
	EntryPoint, Command []string
	Environment         []string // NAME=VALUE
	Secrets             []string // NAME: the values are elsewhere
}

// Refreshers are the containers that Check takes for a refresher. With a wrong type there are none: Check tells of that.
func Refreshers(doc []byte) (all []Refresher) {
	plain, err := Plain(doc)
	var d definition
	if err != nil || json.Unmarshal(asDefinition(plain), &d) != nil {
		return nil
	}
	c := checker{}
	c.list = isArray(plain)
	for i, k := range d.Containers {
		if !k.refresher() {
			continue
		}
		r := Refresher{Where: c.where(path(i, "")), EntryPoint: k.EntryPoint, Command: k.Command}
		for _, p := range k.Environment {
			r.Environment = append(r.Environment, p.Name+"="+p.Value)
		}
		for _, p := range k.Secrets {
			r.Secrets = append(r.Secrets, p.Name)
		}
		all = append(all, r)
	}
	return all
}

// Partition is that of the task: by its roles, by the definition's own ARN, or by the region that it logs to. It is empty where
// the definition does not say it.
func Partition(doc []byte) string {
	plain, err := Plain(doc)
	var d definition
	if err != nil || json.Unmarshal(plain, &d) != nil {
		return ""
	}
	var described struct {
		TaskDefinitionArn string
		TaskDefinition    struct{ TaskDefinitionArn string }
	}
	if doc, err = decoded(doc); err != nil || json.Unmarshal(doc, &described) != nil {
		return ""
	}
	for _, arn := range []string{d.TaskRoleArn, d.ExecutionRoleArn, described.TaskDefinitionArn, described.TaskDefinition.TaskDefinitionArn} {
		if p := registry.PartitionOfARN(arn); p != "" {
			return p
		}
	}
	for _, k := range d.Containers {
		if k.LogConfiguration != nil && registry.CheckRegion(k.LogConfiguration.Options["awslogs-region"]) == nil {
			return registry.PartitionOf(k.LogConfiguration.Options["awslogs-region"])
		}
	}
	return ""
}

// facts are the task role, where a definition has its ARN, and the region: where the task logs to, else where an image is from.
func facts(doc []byte) (role, region string) {
	var d definition
	if json.Unmarshal(asDefinition(doc), &d) != nil {
		return "", ""
	}
	if registry.CheckRole(d.TaskRoleArn) == nil {
		role = d.TaskRoleArn
	}
	for _, k := range d.Containers {
		if k.LogConfiguration != nil && registry.CheckRegion(k.LogConfiguration.Options["awslogs-region"]) == nil {
			return role, k.LogConfiguration.Options["awslogs-region"]
		}
	}
	for _, k := range d.Containers {
		host, _, _ := strings.Cut(k.Image, "/")
		if h, err := registry.ParseHost(host); err == nil && !h.Public {
			return role, h.Region
		}
	}
	return role, ""
}
