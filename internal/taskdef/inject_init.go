package taskdef

import (
	"encoding/json"
	"slices"
)

// editOnce makes the init container.
func (j *injection) editOnce(k *fields) {
	j.editCommon(k, onceName, j.once)
	k.setIfAbsent("command", []string{"once"})
	k.set("essential", false)
	j.editBody(k, j.once)
	j.editVolume(k)
	k.set("startTimeout", startTimeout)
	k.setIfAbsent("stopTimeout", stopTimeout)
	j.editLog(k)
}

// leaves reports whether a container waits for the init container, which goes.
func (j *injection) leaves(k container) bool {
	return !j.fast && j.once >= 0 && slices.ContainsFunc(k.DependsOn, func(d dependency) bool {
		return d.ContainerName == j.def.Containers[j.once].Name
	})
}

// editWaiter lets a container wait for the sidecar, and for an init container no more.
func (j *injection) editWaiter(k *fields) {
	if j.once >= 0 {
		dependNot(k, j.def.Containers[j.once].Name)
	}
	dependOn(k, j.nameOf(j.sidecar, sidecarName), "HEALTHY")
}

func dependNot(k *fields, name string) {
	items := k.items("dependsOn")
	is := named("containerName", name)
	left := slices.DeleteFunc(slices.Clone(items), func(raw json.RawMessage) bool { return is(mustFields(raw)) })
	switch {
	case len(left) == len(items):
	case len(left) == 0:
		k.drop("dependsOn")
	default:
		k.set("dependsOn", left)
	}
}
