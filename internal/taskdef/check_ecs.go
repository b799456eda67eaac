package taskdef

import (
	"fmt"
	"slices"
	"strings"
)

// ecs holds the rules of ECS that hold on every launch type.
func (c *checker) ecs() {
	if c.Family == "" && !c.list {
		c.fail(".family", "the definition has no family", "Name it.")
	}
	if !slices.ContainsFunc(c.Containers, container.essential) {
		c.fail(".containerDefinitions", "no container is essential: ECS wants at least one",
			"Leave essential off, or true, for the container whose end is the task's.")
	}
	for i, k := range c.Containers {
		switch {
		case k.Name == "":
			c.fail(path(i, ".name"), nameless, "Give every container a name of its own.")
		case c.container(k.Name) != i:
			c.fail(path(i, ".name"), fmt.Sprintf("another container has the name %q", k.Name), "Give every container a name of its own.")
		}
		if k.Image == "" {
			c.fail(path(i, ".image"), "the container has no image", "Name its image.")
		}
		c.health(i, k)
		c.restart(i, k)
		c.memory(i, k)
		c.references(i, k)
		c.order(i, k)
		c.anyMounts(i, k)
	}
	c.hostPaths()
	c.cycle()
	c.fits()
	if c.Tags != nil && len(*c.Tags) == 0 {
		c.fail(".tags", "ECS refuses an empty list of tags", "Remove it.")
	}
}

const nameless = "the container has no name"

func (c *checker) health(i int, k container) {
	h := k.HealthCheck
	if h == nil {
		return
	}
	at := path(i, ".healthCheck")
	if len(h.Command) < 2 || h.Command[0] != "CMD" && h.Command[0] != "CMD-SHELL" {
		c.fail(at+".command", "a health check's command begins with CMD or CMD-SHELL, and names a program", `Write ["CMD", "/program", "argument"].`)
	}
	c.within(at+".interval", h.Interval, 5, 300)
	c.within(at+".timeout", h.Timeout, 2, 60)
	c.within(at+".retries", h.Retries, 1, 10)
	c.within(at+".startPeriod", h.StartPeriod, 0, 300)
}

func (c *checker) restart(i int, k container) {
	p := k.RestartPolicy
	if p == nil {
		return
	}
	if p.Enabled == nil {
		c.fail(path(i, ".restartPolicy.enabled"), "a restart policy must say whether it is enabled", `Add "enabled": true.`)
	}
	c.within(path(i, ".restartPolicy.restartAttemptPeriod"), p.RestartAttemptPeriod, 60, 1800)
}

func (c *checker) within(at string, v *int, low, high int) {
	if v != nil && (*v < low || *v > high) {
		c.fail(at, fmt.Sprintf("%d is out of bounds", *v), fmt.Sprintf("Choose %d to %d.", low, high))
	}
}

func (c *checker) memory(i int, k container) {
	if c.Memory == "" && !c.fargate() && !c.list && k.Memory == nil && k.MemoryReservation == nil {
		c.fail(path(i, ".memory"), "neither the task nor this container says how much memory it needs", "Set memory, in MiB.")
	}
	if k.Memory != nil && *k.Memory < 6 {
		c.fail(path(i, ".memory"), "a container needs 6 MiB at least", "Set more memory.")
	}
	if k.Memory != nil && k.MemoryReservation != nil && *k.MemoryReservation >= *k.Memory {
		c.fail(path(i, ".memoryReservation"), "the reservation must be smaller than the limit in memory", "Lower it, or leave it off.")
	}
}

// references finds names that name nothing.
func (c *checker) references(i int, k container) {
	for j, m := range k.MountPoints {
		if c.volume(m.SourceVolume) < 0 && !c.list {
			c.fail(path(i, fmt.Sprintf(".mountPoints[%d].sourceVolume", j)), fmt.Sprintf("there is no volume %q", m.SourceVolume), "Add it to volumes, or correct the name.")
		}
	}
	for j, v := range k.VolumesFrom {
		if c.container(v.SourceContainer) < 0 {
			c.fail(path(i, fmt.Sprintf(".volumesFrom[%d].sourceContainer", j)), fmt.Sprintf("there is no container %q", v.SourceContainer), "Correct the name.")
		}
	}
}

func (d *definition) volume(name string) int {
	return slices.IndexFunc(d.Volumes, func(v volume) bool { return v.Name == name })
}

// order checks each dependsOn by itself; cycle checks them together.
func (c *checker) order(i int, k container) {
	for j, d := range k.DependsOn {
		at := path(i, fmt.Sprintf(".dependsOn[%d]", j))
		on := c.container(d.ContainerName)
		if on < 0 {
			c.fail(at+".containerName", fmt.Sprintf("there is no container %q", d.ContainerName), "Correct the name.")
			continue
		}
		other := c.Containers[on]
		switch d.Condition {
		case "START":
		case "COMPLETE", "SUCCESS":
			if other.essential() {
				c.fail(path(on, ".essential"), fmt.Sprintf("%s waits for the end of %s, which is essential: its end would be the task's", k.Name, other.Name), `Set "essential": false.`)
			}
		case "HEALTHY":
			if other.HealthCheck == nil {
				c.fail(path(on, ".healthCheck"), fmt.Sprintf("%s waits until %s is HEALTHY, which has no health check here; ECS ignores the image's", k.Name, other.Name), "Give it a healthCheck.")
			}
			if other.StartTimeout == nil {
				c.warn(path(on, ".startTimeout"), fmt.Sprintf("%s waits until %s is HEALTHY: without a start timeout there, the task can hang in PENDING", k.Name, other.Name), `Add "startTimeout": 120.`)
			}
		default:
			c.fail(at+".condition", fmt.Sprintf("there is no condition %q", d.Condition), "Choose START, COMPLETE, SUCCESS or HEALTHY.")
		}
	}
}

// predecessor is a container that must be there before another one, and the key by which that one says so.
type predecessor struct{ name, key string }

// startsAfter returns all containers that the agent starts, or at least creates, before this one.
func (k container) startsAfter() (all []predecessor) {
	for _, d := range k.DependsOn {
		all = append(all, predecessor{d.ContainerName, ".dependsOn"})
	}
	for _, v := range k.VolumesFrom {
		all = append(all, predecessor{v.SourceContainer, ".volumesFrom"})
	}
	for _, l := range k.Links {
		name, _, _ := strings.Cut(l, ":") // name:alias
		all = append(all, predecessor{name, ".links"})
	}
	return all
}

// cycle finds containers that wait for each other, and reports the first circle.
func (c *checker) cycle() {
	done := make([]bool, len(c.Containers))
	// way has the containers up to i, each with the key by which it waits for the next one.
	var visit func(i int, way []predecessor) bool
	visit = func(i int, way []predecessor) bool {
		name := c.Containers[i].Name
		if at := slices.IndexFunc(way, func(p predecessor) bool { return p.name == name }); at >= 0 {
			var circle string
			for _, p := range way[at:] {
				circle += p.name + " → "
			}
			c.fail(path(i, way[at].key), "containers wait for each other: "+circle+name,
				"Remove one of these dependencies; volumesFrom and links are dependencies, too.")
			return true
		}
		if done[i] {
			return false
		}
		for _, p := range c.Containers[i].startsAfter() {
			next := append(slices.Clone(way), predecessor{name, p.key})
			if on := c.container(p.name); on >= 0 && visit(on, next) {
				return true
			}
		}
		done[i] = true
		return false
	}
	for i := range c.Containers {
		if visit(i, nil) {
			return
		}
	}
}

// fargateRules holds what Fargate refuses and EC2 allows.
func (c *checker) fargateRules() {
	if c.NetworkMode != "awsvpc" {
		c.fail(".networkMode", fmt.Sprintf("Fargate knows the network mode awsvpc only, not %q", c.NetworkMode), `Write "networkMode": "awsvpc".`)
	}
	c.size()
	if len(c.PlacementConstraints) > 0 {
		c.fail(".placementConstraints", "Fargate has no placement constraints", "Remove them.")
	}
	for j, v := range c.Volumes {
		if v.Host.SourcePath != "" || v.Docker != nil {
			c.fail(fmt.Sprintf(".volumes[%d]", j), "there is no host on Fargate whose directory or volume could be mounted", "Leave only the name: the task gets a volume of its own.")
		}
	}
	for i, k := range c.Containers {
		for _, no := range []struct {
			key     string
			present bool
		}{
			{"privileged", k.Privileged}, {"extraHosts", len(k.ExtraHosts) > 0}, {"dnsServers", len(k.DNSServers) > 0},
			{"dnsSearchDomains", len(k.DNSSearchDomains) > 0}, {"disableNetworking", k.DisableNetworking}, {"linuxParameters.devices", len(k.LinuxParameters.Devices) > 0},
		} {
			if no.present {
				c.fail(path(i, "."+no.key), "Fargate does not support "+no.key, "Remove it.")
			}
		}
		c.within(path(i, ".startTimeout"), k.StartTimeout, 2, 120)
		c.within(path(i, ".stopTimeout"), k.StopTimeout, 2, 120)
		if l := k.LogConfiguration; l != nil && !slices.Contains([]string{"awslogs", "splunk", "awsfirelens"}, l.LogDriver) {
			c.fail(path(i, ".logConfiguration.logDriver"), "Fargate does not support the log driver "+l.LogDriver, "Choose awslogs, splunk or awsfirelens.")
		}
		if c.ExecutionRoleArn == "" && (k.LogConfiguration != nil && k.LogConfiguration.LogDriver == "awslogs" || len(k.Secrets) > 0 || strings.Contains(k.Image, ".dkr.ecr.")) {
			c.fail(".executionRoleArn", "Fargate needs an execution role to pull "+k.Name+" from ECR, to write its log or to read its secrets", "Add executionRoleArn: see deploy/iam/execution.json.")
			c.ExecutionRoleArn = "reported"
		}
	}
}
