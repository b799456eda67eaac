package taskdef

import (
	"fmt"
	pathpkg "path"
	"slices"
	"strings"
)

// What the refresher does when it is not told otherwise.
const (
	defaultOutput = "/run/ecr/config.json"
	defaultPort   = 9327
	volumePath    = "/run/ecr" // that the image declares as VOLUME
	leastMemory   = 32         // MiB: the process, and its health check beside it every few seconds
)

const (
	noTaskRole = "the task has no role of its own, and so no tokens"
	forWindows = "this is a task for Windows (%s), and the refresher's image is for Linux"
	sayLinux   = `Run the task on Linux. If it is one for Linux, say so: "runtimePlatform": {"operatingSystemFamily": "LINUX"}.`
)

// ours holds the rules of the refresher and of those who read its file.
func (c *checker) ours() {
	if at, sign := c.windows(); sign != "" {
		c.fail(at, fmt.Sprintf(forWindows, sign), sayLinux)
	}
	var found bool
	for i, k := range c.Containers {
		c.keys(i, k)
		if !k.refresher() {
			continue
		}
		c.limits(i, k)
		c.version(i, k)
		outputs := k.outputs()
		for n, output := range outputs {
			m := c.output(i, k, output)
			if n == 0 && m != nil && !found && !k.once() {
				c.consumers(*m, output)
			}
		}
		if k.once() {
			if k.essential() {
				c.fail(path(i, ".essential"), k.Name+" ends when the file is written, and the task with it", `Set "essential": false.`)
			}
			continue
		}
		found = true
		c.sidecar(i, k)
	}
	if !found {
		c.fail(".containerDefinitions", `no container keeps the tokens fresh: none runs an image called ecr-refresher, or is called "refresher"`, "Add the sidecar: see deploy/taskdef.json.")
		return
	}
	if c.TaskRoleArn == "" && !c.list {
		c.fail(".taskRoleArn", noTaskRole, "Add taskRoleArn: see deploy/iam/.")
	}
}

// limits: without a limit of its own, the sidecar shares the fate of whoever eats the task's memory.
func (c *checker) limits(i int, k container) {
	switch {
	case k.Memory == nil:
		c.warn(path(i, ".memory"), k.Name+" has no memory limit", `Add "memory": 64.`)
	case *k.Memory < leastMemory:
		c.warn(path(i, ".memory"), fmt.Sprintf("%d MiB are too little for %s and its health check", *k.Memory, k.Name), `Set "memory": 64.`)
	}
}

// version: an image that is named by nothing, or by latest, is another one after each push.
func (c *checker) version(i int, k container) {
	name, _, pinned := strings.Cut(k.Image[strings.LastIndex(k.Image, "/")+1:], "@")
	_, tag, _ := strings.Cut(name, ":")
	if k.Image != "" && !pinned && (tag == "" || tag == "latest") {
		c.warn(path(i, ".image"), "the image "+k.Image+" is another one after each push", "Name a version or a digest.")
	}
}

// sidecar checks what is particular to the container that stays.
func (c *checker) sidecar(i int, k container) {
	if p := k.RestartPolicy; p == nil || p.Enabled != nil && !*p.Enabled {
		c.warn(path(i, ".restartPolicy"), "nothing restarts "+k.Name+" when it ends", `Add "restartPolicy": {"enabled": true, "restartAttemptPeriod": 60}.`)
	}
	switch h := k.HealthCheck; {
	case h == nil:
		if !c.awaited(k.Name) { // else this is a finding already
			c.warn(path(i, ".healthCheck"), "ECS does not know whether there is a token; it ignores the image's HEALTHCHECK", `Add "healthCheck": {"command": ["CMD", "/healthcheck"], …}.`)
		}
	case len(h.Command) > 0 && h.Command[0] == "CMD-SHELL":
		c.fail(path(i, ".healthCheck.command"), "the image has no shell", `Write ["CMD", "/healthcheck"].`)
	}
	if slices.ContainsFunc(k.Command, func(s string) bool { return s == "--listen" || strings.HasPrefix(s, "--listen=") }) {
		c.warn(path(i, ".command"), "the health check does not see --listen", "Set REFRESHER_LISTEN in environment, which both see.")
		return
	}
	host, port := k.listen()
	mapped := slices.ContainsFunc(k.PortMappings, func(p portMapping) bool { return p.ContainerPort == port })
	if port > 0 && host != "127.0.0.1" && host != "::1" && host != "localhost" && !mapped {
		c.warn(path(i, ".portMappings"), fmt.Sprintf("port %d is not mapped: ecs_observer and the CloudWatch agent will not find the metrics", port), fmt.Sprintf(`Add {"containerPort": %d}.`, port))
	}
}

// awaited reports whether somebody waits until this container is HEALTHY.
func (c *checker) awaited(name string) bool {
	return slices.ContainsFunc(c.Containers, func(k container) bool {
		return slices.ContainsFunc(k.DependsOn, func(d dependency) bool {
			return d.ContainerName == name && d.Condition == "HEALTHY"
		})
	})
}

// outputs are the files that this container keeps; the first is the one that consumers read.
func (k container) outputs() []string {
	var all []string
	for i, arg := range k.Command {
		if v, ok := strings.CutPrefix(arg, "--output="); ok {
			all = append(all, v)
		} else if arg == "--output" && i+1 < len(k.Command) {
			all = append(all, k.Command[i+1])
		}
	}
	if len(all) == 0 {
		v, _ := k.env("REFRESHER_OUTPUTS")
		all = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
	}
	if len(all) == 0 {
		all = []string{defaultOutput}
	}
	for i, v := range all {
		all[i], _, _ = strings.Cut(v, "?")
	}
	return all
}

// output checks that a file of a refresher lives on a volume that it can write to, and returns the mount.
func (c *checker) output(i int, k container, file string) *mount {
	dir := pathpkg.Dir(file)
	best := -1
	for j, m := range k.MountPoints {
		at := pathpkg.Clean(m.ContainerPath)
		if at == pathpkg.Clean(file) {
			c.fail(path(i, fmt.Sprintf(".mountPoints[%d].containerPath", j)), "the file itself is a mount point: it cannot be replaced, and others would never see it change", "Mount the directory "+dir+".")
			return nil
		}
		if within(dir, at) && (best < 0 || len(at) > len(pathpkg.Clean(k.MountPoints[best].ContainerPath))) {
			best = j
		}
	}
	if best < 0 {
		c.fail(path(i, ".mountPoints"), fmt.Sprintf("%s writes %s, where nothing is mounted that others share", k.Name, file), "Mount the volume at "+dir+".")
		return nil
	}
	m := k.MountPoints[best]
	at := path(i, fmt.Sprintf(".mountPoints[%d]", best))
	if m.ReadOnly {
		c.fail(at+".readOnly", k.Name+" cannot write "+file+" through a read-only mount", `Set "readOnly": false.`)
	}
	v := c.volume(m.SourceVolume)
	if v < 0 && !c.list {
		return nil // reported
	}
	var vol volume // of a bare list it is written elsewhere
	if v >= 0 {
		vol = c.Volumes[v]
	}
	private := vol.Host.SourcePath == "" && vol.EFS == nil && vol.FSx == nil && vol.S3 == nil && (vol.Docker == nil || vol.Docker.Scope == "task")
	if !private {
		c.warn(fmt.Sprintf(".volumes[%d]", v), "this volume is not the task's own: whoever else reads it has the tokens", "Leave only its name.")
	} else if user, _, _ := strings.Cut(k.User, ":"); pathpkg.Clean(m.ContainerPath) != volumePath && user != "0" && user != "root" {
		c.warn(at+".containerPath", "ECS gives the volume to the image's user only where the image declares a VOLUME, which is "+volumePath+"; elsewhere it belongs to root", "Mount it at "+volumePath+".")
	}
	return &m
}

// consumers checks the containers that read the file that a sidecar keeps through a mount.
func (c *checker) consumers(from mount, file string) {
	rest := strings.TrimPrefix(pathpkg.Dir(file), strings.TrimSuffix(pathpkg.Clean(from.ContainerPath), "/"))
	var some bool
	for i, k := range c.Containers {
		c.loginMounts(i, k, from.SourceVolume)
		if k.refresher() {
			continue
		}
		config, at := k.env("DOCKER_CONFIG")
		mounts := c.mounts(i)
		j := slices.IndexFunc(mounts, func(m mounted) bool { return m.volume == from.SourceVolume })
		if j < 0 {
			if at >= 0 && pathpkg.Clean(config) == pathpkg.Dir(file) {
				c.fail(path(i, ".mountPoints"), k.Name+" looks for its login in "+config+", where nothing is mounted", "Mount the volume "+from.SourceVolume+" there, read-only.")
			}
			continue
		}
		some = true
		m := mounts[j]
		if !m.readOnly {
			c.warn(path(i, m.at+".readOnly"), k.Name+" could overwrite the login of all", `Set "readOnly": true.`)
		}
		dir := pathpkg.Join(m.path, rest)
		authFile, _ := k.env("REGISTRY_AUTH_FILE")
		switch {
		case at >= 0 && pathpkg.Clean(config) != dir:
			c.fail(path(i, fmt.Sprintf(".environment[%d].value", at)), fmt.Sprintf("DOCKER_CONFIG is %s, and the file lies in %s", config, dir), "Write "+dir+".")
		case at < 0 && authFile != pathpkg.Join(dir, pathpkg.Base(file)) && pathpkg.Base(dir) != ".docker":
			c.warn(path(i, ".environment"), "nothing tells "+k.Name+" where the login is", fmt.Sprintf(`Add {"name": "DOCKER_CONFIG", "value": %q}.`, dir))
		}
		if !slices.ContainsFunc(k.DependsOn, func(d dependency) bool {
			on := c.container(d.ContainerName)
			return on < 0 || c.Containers[on].refresher() && d.Condition != "START"
		}) {
			c.warn(path(i, ".dependsOn"), k.Name+" may start before there is a login", "Depend on the refresher with HEALTHY, or on its init form with SUCCESS.")
		}
	}
	if !some {
		c.warn(".containerDefinitions", "no other container mounts the volume "+from.SourceVolume, "Mount it, read-only, where a login is needed.")
	}
}

// keys finds AWS credentials that are written down.
func (c *checker) keys(i int, k container) {
	for j, p := range k.Environment {
		at := path(i, fmt.Sprintf(".environment[%d]", j))
		switch {
		case k.refresher() && hides(p.Name):
			c.warn(at, p.Name+" hides the task role from "+k.Name, "Remove it: the task role is enough.")
		case p.Name == "AWS_SECRET_ACCESS_KEY":
			c.warn(at, "whoever may describe the task definition reads this key", "Use the task role, or secrets.")
		}
	}
	for j, p := range k.Secrets {
		if k.refresher() && hides(p.Name) {
			c.warn(path(i, fmt.Sprintf(".secrets[%d]", j)), p.Name+" hides the task role from "+k.Name, "Remove it: the task role is enough.")
		}
	}
}

// hides reports whether the AWS SDK prefers this variable to the task role.
func hides(name string) bool {
	return slices.Contains([]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"}, name)
}
