package taskdef

import (
	"cmp"
	"encoding/json"
	"net"
	pathpkg "path"
	"slices"
	"strconv"
	"strings"
)

// The variables that tell a consumer where its login is: docker's, that of podman, skopeo and buildah, and a place for what
// buildx wants to write beside its configuration, which is read-only here.
const (
	dockerConfig = "DOCKER_CONFIG"
	authFile     = "REGISTRY_AUTH_FILE"
	buildxConfig = "BUILDX_CONFIG"
	buildxPath   = "/tmp/buildx"
)

// place is where a consumer sees the volume: before, empty where it does not, and from now on.
func (j *injection) place(k container) (before, now string) {
	for _, m := range k.MountPoints {
		if m.SourceVolume == j.volume {
			before = pathpkg.Clean(m.ContainerPath)
			break
		}
	}
	return before, cmp.Or(j.Path, before, volumePath)
}

// consumer refuses where a container looks for its login elsewhere.
func (j *injection) consumer(i int) {
	k := j.def.Containers[i]
	before, now := j.place(k)
	mounts := slices.DeleteFunc(j.def.mounts(i), func(m mounted) bool { return m.volume == j.volume })
	mounts = append(mounts, mounted{path: now, volume: j.volume, readOnly: !j.Writable})
	for _, p := range mountProblems(mounts, j.volume) {
		if p.login {
			j.refuse("Choose another place with --path.", "%s: %s", k.Name, p.what)
		}
	}
	for _, want := range []struct{ name, file string }{{dockerConfig, ""}, {authFile, "config.json"}} {
		v, at := k.env(want.name)
		ours := pathpkg.Clean(v) == pathpkg.Join(now, want.file) || before != "" && pathpkg.Clean(v) == pathpkg.Join(before, want.file)
		if at >= 0 && !ours {
			j.refuse("Remove it there, give --path, or leave "+k.Name+" out by naming the others with --container.", "%s has %s=%s, and the login lies in %s", k.Name, want.name, v, now)
		}
		if slices.ContainsFunc(k.Secrets, func(p pair) bool { return p.Name == want.name }) {
			j.refuse("Remove it there, or leave "+k.Name+" out by naming the others with --container.", "%s takes %s from a secret", k.Name, want.name)
		}
	}
}

// edit puts everything into the document. What is added comes last, in an order that does not depend on how many calls it took:
// pipelines change the image of .containerDefinitions[0].
func (j *injection) edit() {
	if j.def.volume(j.volume) < 0 && !j.def.list {
		j.top.upsert("volumes", func(fields) bool { return false }, func(v *fields) { v.set("name", j.volume) })
		j.note("volume %q: added", j.volume)
	}
	for _, r := range []struct{ key, arn string }{{"taskRoleArn", j.TaskRole}, {"executionRoleArn", j.ExecutionRole}} {
		if r.arn != "" && j.top.text(r.key) != r.arn {
			j.top.set(r.key, r.arn)
			j.note("%s: set", r.key)
		}
	}
	raw := j.top.items("containerDefinitions")
	var added []json.RawMessage
	put := func(at int, change func(*fields)) {
		var k fields
		if at >= 0 {
			k = mustFields(raw[at])
		}
		old := slices.Clone(k)
		change(&k)
		if at < 0 {
			added = append(added, encode(k))
			j.note("container %q: added", k.text("name"))
			return
		}
		var keys []string
		for _, m := range k {
			if was := old.get(m.key); was == nil || !same(was, m.value) {
				keys = append(keys, m.key)
			}
		}
		for _, m := range old {
			if k.at(m.key) < 0 {
				keys = append(keys, m.key)
			}
		}
		if len(keys) > 0 {
			raw[at] = encode(k)
			j.note("container %q: %s", k.text("name"), strings.Join(keys, ", "))
		}
	}
	put(j.sidecar, j.editSidecar)
	if j.fast {
		put(j.once, j.editOnce)
	}
	for i, k := range j.def.Containers {
		switch {
		case slices.Contains(j.consumers, i):
			put(i, func(f *fields) { j.editConsumer(f, k) })
		case !j.mine(i) && j.leaves(k):
			put(i, j.editWaiter)
		}
	}
	if j.once >= 0 && !j.fast {
		raw = slices.Delete(raw, j.once, j.once+1)
		j.note("container %q: removed", j.def.Containers[j.once].Name)
	}
	if len(added)+len(j.changes) > 0 {
		j.top.set("containerDefinitions", append(raw, added...))
	}
}

// editCommon is what both forms of ours have in common, up to where they differ.
func (j *injection) editCommon(k *fields, name string, at int) {
	k.setIfAbsent("name", name)
	if j.Image != "" || at < 0 {
		other := max(j.sidecar, j.once)
		image := j.Image
		if image == "" { // the other one has it
			image = j.def.Containers[other].Image
		}
		k.set("image", image)
	}
}

func (j *injection) editBody(k *fields, at int) {
	k.setIfAbsent("user", "65532:65532") // the image's own, said where auditors look
	k.set("readonlyRootFilesystem", true)
	k.edit("linuxParameters", func(l *fields) {
		l.edit("capabilities", func(c *fields) { c.set("drop", []string{"ALL"}) })
	})
	k.set("memory", j.memory(at))
	if len(j.Registries) > 0 || !has(*k, "REFRESHER_REGISTRIES") {
		setEnv(k, "REFRESHER_REGISTRIES", strings.Join(j.registries, " "))
	}
}

func (j *injection) editVolume(k *fields) {
	k.upsert("mountPoints", func(m fields) bool { return pathpkg.Clean(m.text("containerPath")) == volumePath }, func(m *fields) {
		m.set("sourceVolume", j.volume)
		m.setIfAbsent("containerPath", volumePath)
		m.set("readOnly", false)
	})
}

// editSidecar makes the container that stays.
func (j *injection) editSidecar(k *fields) {
	j.editCommon(k, sidecarName, j.sidecar)
	if j.Essential != nil {
		k.set("essential", *j.Essential)
	}
	k.setIfAbsent("essential", false)
	k.edit("restartPolicy", func(p *fields) {
		p.set("enabled", true)
		p.setIfAbsent("restartAttemptPeriod", 60)
	})
	j.editBody(k, j.sidecar)
	if j.port != j.oldPort {
		host := ""
		if j.sidecar >= 0 {
			listen, _ := j.def.Containers[j.sidecar].env("REFRESHER_LISTEN")
			host, _, _ = net.SplitHostPort(listen)
		}
		setEnv(k, "REFRESHER_LISTEN", net.JoinHostPort(host, strconv.Itoa(j.port)))
	}
	j.editVolume(k)
	j.editPort(k)
	k.set("healthCheck", healthCheck())
	k.set("startTimeout", startTimeout)
	k.setIfAbsent("stopTimeout", stopTimeout)
	k.edit("dockerLabels", func(l *fields) {
		for _, prefix := range []struct{ name, path string }{{"ECS_PROMETHEUS", "METRICS_PATH"}, {"PROMETHEUS", "EXPORTER_PATH"}} {
			l.set(prefix.name+"_EXPORTER_PORT", strconv.Itoa(j.port))
			l.set(prefix.name+"_"+prefix.path, "/metrics")
			job := "_JOB_NAME"
			if prefix.name == "PROMETHEUS" {
				job = "_EXPORTER_JOB_NAME"
			}
			l.setIfAbsent(prefix.name+job, "ecr-refresher")
		}
	})
	j.editLog(k)
	if j.fast {
		dependOn(k, j.nameOf(j.once, onceName), "SUCCESS")
	} else if j.once >= 0 {
		dependNot(k, j.def.Containers[j.once].Name)
	}
}

// The times of the sidecar, in seconds. A consumer that waits gives up after startTimeout, which is Fargate's most; the health
// check's last word comes before that.
const (
	startTimeout = 120
	stopTimeout  = 10

	healthInterval, healthTimeout, healthRetries, healthStart = 10, 5, 3, 60
)

func healthCheck() (h fields) {
	h.set("command", []string{"CMD", "/healthcheck"})
	h.set("interval", healthInterval)
	h.set("timeout", healthTimeout)
	h.set("retries", healthRetries)
	h.set("startPeriod", healthStart)
	return h
}

// editPort maps the port, as the network mode wants it.
func (j *injection) editPort(k *fields) {
	at := func(p fields, port int) bool { return string(p.get("containerPort")) == strconv.Itoa(port) }
	k.upsert("portMappings", func(p fields) bool { return at(p, j.port) || at(p, j.oldPort) }, func(p *fields) {
		moved := !at(*p, j.port)
		p.set("containerPort", j.port)
		switch host := string(p.get("hostPort")); {
		case j.def.mode() == "bridge":
			if moved || host == "" {
				p.set("hostPort", 0) // any that is free
			}
		case j.def.mode() == "host":
			p.set("hostPort", j.port)
		case host != "" && host != strconv.Itoa(j.port):
			p.drop("hostPort")
		}
		p.setIfAbsent("protocol", "tcp")
	})
}

// editLog lets ours log as the others do, a consumer before the rest.
func (j *injection) editLog(k *fields) {
	if k.at("logConfiguration") >= 0 {
		return
	}
	donor := j.donor()
	if donor == nil {
		return
	}
	log := mustFields(donor.get("logConfiguration"))
	if log.at("options") >= 0 {
		log.edit("options", func(o *fields) {
			if o.text("awslogs-stream-prefix") == donor.text("name") {
				o.set("awslogs-stream-prefix", k.text("name"))
			}
			o.drop("awslogs-multiline-pattern", "awslogs-datetime-format") // of that program's lines; ours are single
		})
	}
	k.set("logConfiguration", log)
}

func (j *injection) donor() fields {
	raw := j.top.items("containerDefinitions")
	order := slices.Clone(j.consumers)
	for i := range j.def.Containers {
		if !j.mine(i) && !slices.Contains(order, i) {
			order = append(order, i)
		}
	}
	for _, i := range order {
		if k := mustFields(raw[i]); k.at("logConfiguration") >= 0 {
			return k
		}
	}
	return nil
}

// logsThroughRouter reports whether the sidecar's log goes, or will go, through a log router of the task.
func (j *injection) logsThroughRouter() bool {
	return slices.ContainsFunc(j.def.Containers, func(k container) bool {
		return k.LogConfiguration != nil && k.LogConfiguration.LogDriver == "awsfirelens"
	})
}

// editConsumer gives a container the login.
func (j *injection) editConsumer(k *fields, was container) {
	before, now := j.place(was)
	for _, v := range []struct{ name, now string }{{dockerConfig, now}, {authFile, pathpkg.Join(now, "config.json")}} {
		if old, at := was.env(v.name); at < 0 || pathpkg.Clean(old) != v.now {
			setEnv(k, v.name, v.now)
		}
	}
	if !has(*k, buildxConfig) {
		setEnv(k, buildxConfig, buildxPath)
	}
	k.upsert("mountPoints", named("sourceVolume", j.volume), func(m *fields) {
		m.set("sourceVolume", j.volume)
		if before != now {
			m.set("containerPath", now)
		}
		m.set("readOnly", !j.Writable)
	})
	if j.fast {
		dependOn(k, j.nameOf(j.sidecar, sidecarName), "START")
		dependOn(k, j.nameOf(j.once, onceName), "SUCCESS")
		return
	}
	j.editWaiter(k)
}

func (j *injection) nameOf(at int, otherwise string) string {
	if at >= 0 {
		return j.def.Containers[at].Name
	}
	return otherwise
}

func dependOn(k *fields, name, condition string) {
	k.upsert("dependsOn", named("containerName", name), func(d *fields) {
		d.set("containerName", name)
		d.set("condition", condition)
	})
}

// has reports whether a container has a variable, be it by way of a secret.
func has(k fields, name string) bool {
	for _, item := range append(k.items("environment"), k.items("secrets")...) {
		if mustFields(item).text("name") == name {
			return true
		}
	}
	return false
}

func setEnv(k *fields, name, value string) {
	k.upsert("environment", named("name", name), func(p *fields) {
		p.set("name", name)
		p.set("value", value)
	})
}
