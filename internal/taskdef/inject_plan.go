package taskdef

import (
	"cmp"
	"fmt"
	pathpkg "path"
	"slices"
	"strconv"
	"strings"

	"ecr-refresher/internal/registry"
)

const (
	sidecarName = "refresher"
	onceName    = "ecr-login"
	volumeName  = "ecr-auth"

	mostContainers = 10 // of a task definition, says ECS
	memoryLimit    = 64 // MiB, hard
)

// plan finds out what is there and what is wanted, and refuses what cannot be.
func (j *injection) plan() {
	j.named()
	j.find()
	j.whole()
	j.choose()
	j.space()
	j.network()
	j.fit()
	j.readRegistries()
	for _, i := range j.consumers {
		j.consumer(i)
	}
}

// named refuses containers without a name, as there are in a fragment that another tool completes.
func (j *injection) named() {
	count := 0
	for _, k := range j.def.Containers {
		if k.Name == "" {
			count++
		}
	}
	if count > 0 && count == len(j.def.Containers) {
		j.refuse("Give the whole definition, such as 'aws ecs describe-task-definition' prints it.", "no container has a name: this is a fragment of a task definition")
		return
	}
	for i, k := range j.def.Containers {
		if k.Name == "" {
			c := checker{definition: j.def}
			j.refuse("Give every container a name of its own.", "%s: %s", c.where(path(i, ".name")), nameless)
		}
	}
}

// ours reports whether a container is a refresher by more than its name: an image, a health check or a setting of ours.
func (k container) ours() bool {
	nameless := k
	nameless.Name = ""
	return nameless.refresher()
}

// find looks for a sidecar and an init form that are there already.
func (j *injection) find() {
	j.sidecar, j.once = -1, -1
	for i, k := range j.def.Containers {
		if !k.ours() {
			if k.Name == sidecarName || k.Name == onceName && j.Init != nil && *j.Init {
				j.refuse("Rename it, for example to app.", "a container is called %q already and is none of ours: its image is %s", k.Name, k.Image)
			}
			continue
		}
		at := &j.sidecar
		if k.once() {
			at = &j.once
		}
		if *at >= 0 {
			j.refuse("Remove one of them.", "the containers %q and %q do the same", j.def.Containers[*at].Name, k.Name)
		}
		*at = i
		if k.once() && !j.wanted(true) {
			continue // it goes
		}
		if out := k.outputs()[0]; out != defaultOutput {
			j.refuse("Remove that setting there; --path says where the other containers see the file.", "%s writes %s first, not %s", k.Name, out, defaultOutput)
		}
	}
	j.fast = j.wanted(j.once >= 0)
	switch {
	case j.Image == "" && j.sidecar < 0 && j.once < 0:
		j.refuse("Give --image=NAME:TAG.", "there is no sidecar yet, and so no image is known")
	case strings.ContainsAny(j.Image, " \t\r\n"):
		j.refuse("Give --image=NAME:TAG.", "the image %q has white space in it", j.Image)
	case strings.Contains(j.Image, "://"):
		j.refuse("Leave all up to :// off.", "the image %q begins as a URL does, and an image's name does not", j.Image)
	}
}

// wanted reports whether there shall be an init container.
func (j *injection) wanted(otherwise bool) bool {
	if j.Init != nil {
		return *j.Init
	}
	return otherwise
}

func (j *injection) mine(i int) bool { return i == j.sidecar || i == j.once }

// whole checks what concerns the definition as a whole.
func (j *injection) whole() {
	var essential bool
	count := len(j.def.Containers)
	for i, k := range j.def.Containers {
		essential = essential || !j.mine(i) && k.essential()
	}
	if !essential {
		j.refuse("Leave essential off, or true, for the container whose end is the task's.", "no container besides the sidecar is essential")
	}
	for _, at := range []int{j.sidecar, j.once} {
		if at < 0 {
			count++
		}
	}
	if !j.fast {
		count-- // it goes, or does not come
	}
	if count > mostContainers {
		j.refuse("Move a container to a task of its own.", "with the sidecar these are %d containers, and ECS allows %d", count, mostContainers)
	}
	if _, sign := j.def.windows(); sign != "" {
		j.refuse(sayLinux, forWindows, sign)
	}
	if j.def.NetworkMode == "none" {
		j.refuse("Choose awsvpc or bridge.", "the network mode is none: the sidecar could not reach ECR")
	}
	if j.TaskRole == "" && j.def.TaskRoleArn == "" && !j.def.list {
		j.refuse("Give --task-role=ARN, with what 'refresher policy' prints.", ".taskRoleArn: "+noTaskRole)
	}
	for _, r := range []struct{ flag, arn string }{{"task-role", j.TaskRole}, {"execution-role", j.ExecutionRole}} {
		if r.arn != "" && j.def.list {
			j.refuse("Set it in the definition that has the list in it.", "--%s: a list of containers has no place for a role", r.flag)
		}
		if r.arn != "" && registry.CheckRole(r.arn) != nil {
			j.refuse("Give the role as arn:aws:iam::123456789012:role/NAME.", "--%s: %q is no ARN of a role", r.flag, r.arn)
		}
	}
}

// choose finds the containers that get the login.
func (j *injection) choose() {
	raw := j.top.items("containerDefinitions")
	proxy := mustFields(j.top.get("proxyConfiguration")).text("containerName")
	waits := map[string]bool{} // those that must run before the sidecar
	if j.sidecar >= 0 {
		j.before(j.def.Containers[j.sidecar], waits)
	}
	var names []string
	for i, k := range j.def.Containers {
		if j.mine(i) || k.Name == "" {
			continue
		}
		names = append(names, k.Name)
		router := mustFields(raw[i]).at("firelensConfiguration") >= 0
		switch {
		case slices.Contains(j.Containers, k.Name):
			j.consumers = append(j.consumers, i)
			if router && j.logsThroughRouter() {
				j.refuse("Leave it out of --container.", "%s routes the sidecar's log, and so cannot wait for the sidecar", k.Name)
			}
		case len(j.Containers) == 0 && !router && k.Name != proxy && !waits[k.Name]:
			j.consumers = append(j.consumers, i)
		}
	}
	for _, name := range j.Containers {
		if !slices.Contains(names, name) {
			j.refuse("Choose from "+strings.Join(names, ", ")+".", "--container: there is no container %q that could get the login", name)
		}
	}
	if len(j.consumers) == 0 && len(j.Containers) == 0 && !slices.ContainsFunc(j.def.Containers, func(k container) bool { return k.Name == "" }) {
		j.refuse("Name one with --container.", "no container is left that could get the login")
	}
}

// before collects whom a container waits for, and whom these wait for.
func (j *injection) before(k container, seen map[string]bool) {
	for _, first := range k.startsAfter() {
		for _, other := range j.def.Containers {
			if other.Name == first.name && !seen[other.Name] {
				seen[other.Name] = true
				j.before(other, seen)
			}
		}
	}
}

// space finds the volume: that of the sidecar, or one called ecr-auth that may be taken for ours.
func (j *injection) space() {
	j.volume = volumeName
	for _, at := range []int{j.once, j.sidecar} {
		if at < 0 {
			continue
		}
		for _, m := range j.def.Containers[at].MountPoints {
			if pathpkg.Clean(m.ContainerPath) == volumePath {
				j.volume = m.SourceVolume
			}
		}
	}
	if pathpkg.IsAbs(j.Path) {
		j.Path = pathpkg.Clean(j.Path)
	} else if j.Path != "" {
		j.refuse("Give an absolute path, such as /run/ecr.", "--path: %q is no directory that could be mounted", j.Path)
	}
	if strings.Contains(j.Path, ":") {
		j.refuse("Choose a directory without one, such as /run/ecr.", "--path: %q has a colon in it, and docker cannot mount anything there", j.Path)
	}
	if pathpkg.Base(j.Path) == pathpkg.Base(defaultOutput) {
		j.refuse("Give the directory that has it in it, such as /run/ecr.", "--path: %q is the file's name; give the directory", j.Path)
	}
	at := slices.IndexFunc(j.def.Volumes, func(v volume) bool { return v.Name == j.volume })
	if j.sidecar >= 0 || j.once >= 0 || at < 0 {
		return
	}
	cure := "Rename that volume, and its mount points."
	if v := j.def.Volumes[at]; v.Host.SourcePath != "" || v.Docker != nil || v.EFS != nil || v.FSx != nil || v.S3 != nil {
		j.refuse(cure, "a volume is called %q already, and it is not a plain one of the task's own", j.volume)
	}
	for _, k := range j.def.Containers {
		for _, m := range k.MountPoints {
			if m.SourceVolume == j.volume && pathpkg.Clean(m.ContainerPath) != cmp.Or(j.Path, volumePath) {
				j.refuse(cure, "a volume is called %q already, and %s mounts it at %s", j.volume, k.Name, m.ContainerPath)
			}
		}
	}
}

// network finds the port, and looks whether it is free.
func (j *injection) network() {
	var listen string
	if j.sidecar >= 0 {
		listen, _ = j.def.Containers[j.sidecar].env("REFRESHER_LISTEN")
	}
	j.oldPort, _ = strconv.Atoi(listen[strings.LastIndex(listen, ":")+1:])
	j.port = cmp.Or(j.Port, j.oldPort, defaultPort)
	j.oldPort = cmp.Or(j.oldPort, defaultPort)
	switch {
	case j.Port < 0 || j.Port > 65535:
		j.refuse("Give 1 to 65535.", "--port: there is no port %d", j.Port)
	case j.def.mode() == "host" && j.Port == 0 && j.sidecar < 0:
		j.refuse("Give --port=N, another one for each task that may come to lie on one instance.", "on the host's network the port is everybody's")
	case !j.def.oneNetwork():
		return
	}
	ours := claim{first: j.port, last: j.port, protocol: "tcp"}
	for i, k := range j.def.Containers {
		for _, taken := range k.mapped() {
			if !j.mine(i) && taken.overlaps(ours) {
				j.refuse("Choose another one with --port.", "%s has %s already, in the network that all share", k.Name, taken)
			}
		}
	}
}

// fit checks that the task's memory is enough for all.
func (j *injection) fit() {
	var theirs int
	for i, k := range j.def.Containers {
		if !j.mine(i) {
			theirs += k.reserves()
		}
	}
	ours := j.memory(j.sidecar)
	if j.fast {
		ours += j.memory(j.once)
	}
	missing, task := j.def.shortOf(theirs + ours)
	if missing > 0 {
		j.refuse(fmt.Sprintf("Lower the other containers' by %d MiB, or %s", missing, j.def.moreMemory(theirs+ours)),
			"the other containers ask for %d MiB and the sidecar for %d, together %d, and the task has %d", theirs, ours, theirs+ours, task)
	}
}

// memory of one of ours: what it has, if that is enough.
func (j *injection) memory(at int) int {
	if at >= 0 && j.def.Containers[at].Memory != nil {
		return max(memoryLimit, *j.def.Containers[at].Memory)
	}
	return memoryLimit
}

// readRegistries checks the registries that were given, or reads those that are there.
func (j *injection) readRegistries() {
	specs, err := registry.ParseSpecs(strings.Join(j.Registries, " "))
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			j.refuse("See docs/registries.md.", "--registry: %s", line)
		}
		return
	}
	for _, s := range specs {
		j.registries = append(j.registries, s.String())
	}
	for _, at := range []int{j.sidecar, j.once} {
		if len(j.registries) > 0 || at < 0 {
			continue
		}
		v, _ := j.def.Containers[at].env("REFRESHER_REGISTRIES")
		there, _ := registry.ParseSpecs(v)
		for _, s := range there {
			j.registries = append(j.registries, s.String())
		}
	}
	if len(j.registries) == 0 {
		j.registries = []string{registry.DefaultName}
	}
}
