//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func (k *task) id(name string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ids[name]
}

// containerState is what the engine says of a container.
type containerState struct {
	Status     string
	ExitCode   int
	Health     string
	Since, End time.Time
	OOMKilled  bool
}

func (k *task) state(name string) containerState {
	var raw struct {
		Status                string
		ExitCode              int
		OOMKilled             bool
		StartedAt, FinishedAt time.Time
		Health                *struct{ Status string }
	}
	r := engine("inspect", "--format", "{{json .State}}", k.id(name))
	if err := json.Unmarshal([]byte(r.out), &raw); err != nil {
		return containerState{Status: "unknown: " + r.all}
	}
	s := containerState{raw.Status, raw.ExitCode, "", raw.StartedAt, raw.FinishedAt, raw.OOMKilled}
	if raw.Health != nil {
		s.Health = raw.Health.Status
	}
	return s
}

// health is the engine's own verdict on the refresher.
func (k *task) health() string { return k.state(k.def.refresher().Name).Health }

// logs is what a container printed.
func (k *task) logs(name string) string { return engine("logs", k.id(name)).all }

// line is the newest log line of a container with a message and, where it is not empty, a class; nil while there is none.
func (k *task) line(name, msg, class string) map[string]any {
	var found map[string]any
	for l := range strings.Lines(k.logs(name)) {
		var fields map[string]any
		if json.Unmarshal([]byte(l), &fields) == nil && fields["msg"] == msg && (class == "" || fields["class"] == class) {
			found = fields
		}
	}
	return found
}

func (k *task) showLogs() {
	for _, c := range k.def.Containers {
		if k.id(c.Name) == "" {
			k.t.Logf("%s was never started", c.Name)
			continue
		}
		text := k.logs(c.Name)
		for _, secret := range k.w.aws.Secrets() {
			text = strings.ReplaceAll(text, secret, "<<SECRET>>")
		}
		k.t.Logf("%s (%s): %+v\n%s", c.Name, c.Image, k.state(c.Name), text)
	}
}

// ip is the task's address; with network mode bridge, the refresher's.
func (k *task) ip() string {
	id := k.pause
	if id == "" {
		id = k.id(k.def.refresher().Name)
	}
	return docker(k.t, "inspect", "--format", `{{(index .NetworkSettings.Networks "`+netName+`").IPAddress}}`, id)
}

// beside runs a program in a container of its own beside the task: in its network, with its volume mounted read-only as a consumer
// has it, as a given user and with more arguments of `docker run`.
func (k *task) beside(user string, more []string, image string, args ...string) result {
	all := []string{"run", "--rm", "--label", mark + "=" + k.name, "--network", "container:" + k.pause, "--user", user,
		"-v", k.refresherVolume() + ":/run/ecr:ro", "-v", k.w.dir + ":" + caInTask + ":ro", "-e", "DOCKER_CONFIG=/run/ecr",
		"-e", "SSL_CERT_FILE=" + caInTask + "/ca.pem"}
	return engine(slices.Concat(all, more, []string{image}, args)...)
}

func (k *task) refresherVolume() string {
	name, _ := k.source(k.def.refresher().MountPoints[0].SourceVolume)
	return name
}

// view is the volume's directory on the host, not a copy: mounted read-only where every user may go, since the engine's own directories
// are closed to them.
func (k *task) view() string {
	k.t.Helper()
	from := docker(k.t, "volume", "inspect", "--format", "{{.Mountpoint}}", k.refresherVolume())
	at := filepath.Join(scratch(k.t), "ecr")
	if err := os.Mkdir(at, 0o755); err != nil {
		k.t.Fatal(err)
	}
	for _, args := range [][]string{{"--bind", from, at}, {"-o", "remount,bind,ro", at}} {
		if r := command(exec.Command("mount", args...)); !r.ok() {
			k.t.Fatalf("mount %v: %s", args, r.all)
		}
	}
	k.t.Cleanup(func() {
		if r := command(exec.Command("umount", at)); !r.ok() {
			k.t.Errorf("umount %s: %s", at, r.all)
		}
	})
	return at
}
