//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
)

const tokenCall = "ecr:GetAuthorizationToken"

// Every definition that users copy is one that the harness can run.
func TestDefinitionsAreRunnable(t *testing.T) {
	files, _ := filepath.Glob("../deploy/taskdef*.json")
	if len(files) < 3 {
		t.Fatalf("only %v", files)
	}
	for _, f := range files {
		d := readDefinition(t, filepath.Base(f))
		for _, c := range d.Containers {
			if _, err := localImage(c.Image); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for key, wrong := range map[string]string{`"user"`: `"usr"`, `"readonlyRootFilesystem"`: `"readOnlyRootFilesystem"`, `"sourceVolume"`: `"sourcevolume"`} {
		broken := strings.Replace(string(text), key, wrong, 1)
		if _, err := parseDefinition([]byte(broken)); err == nil || broken == string(text) {
			t.Errorf("the harness runs a task with the key %s", wrong)
		}
	}
	proved(t, "all %d task definitions run on the harness, which refuses unknown keys", len(files))
}

// The Fargate definition, as it is: its app copies a public image into the task's own registry.
func TestTaskdef(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	img := w.servePublic(t)
	def := readDefinition(t, "taskdef.json")

	seen := make(chan []string, 1)
	task := w.newTask(t, def)
	go func() { seen <- task.healthUntil("healthy", 90*time.Second) }()
	if err := task.start(); err != nil {
		task.showLogs()
		t.Fatal(err)
	}
	if got := <-seen; !slices.Equal(got, []string{"starting", "healthy"}) {
		t.Errorf("the engine's health status went %v", got)
	}
	proved(t, "deploy/taskdef.json: the engine's health status goes starting → healthy after the first token, then the app starts (dependsOn HEALTHY)")

	select {
	case <-task.stopped:
	case <-time.After(time.Minute):
		t.Fatal("the app did not end")
	}
	if s := task.state("app"); s.ExitCode != 0 {
		t.Fatalf("the app ended with %d", s.ExitCode)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got := w.inRegistry(t, pushed); got != digest.String() {
		t.Fatalf("%s is %q, want %s", pushed, got, digest)
	}
	if s := task.state("refresher"); s.ExitCode != 0 || s.OOMKilled {
		t.Errorf("the refresher ended with %d", s.ExitCode)
	}
	if n := w.aws.Calls()[tokenCall]; n != 1 {
		t.Errorf("%d calls for a token", n)
	}
	for _, c := range def.Containers {
		for _, secret := range w.aws.Secrets() {
			if strings.Contains(task.logs(c.Name), secret) {
				t.Errorf("%s logged a secret", c.Name)
			}
		}
	}
	proved(t, "deploy/taskdef.json: the app copied its image to %s with nothing but the file and ended with 0; the essential end stopped the refresher with 0; one token call", pushed)
}

// healthUntil follows the engine's verdict on the refresher until it is the one that is waited for.
func (k *task) healthUntil(last string, limit time.Duration) []string {
	var seen []string
	within(limit, func() bool {
		if k.id(k.def.refresher().Name) == "" {
			return false
		}
		h := k.health()
		if h != "" && (len(seen) == 0 || seen[len(seen)-1] != h) {
			seen = append(seen, h)
		}
		return h == last
	})
	return seen
}

// An init container writes the file, and the refresher that follows adopts its token.
func TestFastStart(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.servePublic(t)
	began := time.Now()
	task := w.runTask(t, readDefinition(t, "taskdef-fast.json"))
	took := time.Since(began)
	until(t, 20*time.Second, "the refresher adopts what once has written", func() bool {
		return task.line("refresher", "token adopted from the file", "") != nil
	})
	select {
	case <-task.stopped:
	case <-time.After(time.Minute):
		t.Fatal("the app did not end")
	}
	if s := task.state("app"); s.ExitCode != 0 || w.inRegistry(t, pushed) == "" {
		t.Fatalf("the app ended with %d", s.ExitCode)
	}
	if n := w.aws.Calls()[tokenCall]; n != 1 {
		t.Fatalf("%d calls for a token", n)
	}
	proved(t, "deploy/taskdef-fast.json: `once` (SUCCESS) handed over to `run`, the app was started after %.1f s and pushed; one token call between them", took.Seconds())
}

// On EC2 the consumer is the docker CLI, and the instance's own engine does the work.
func TestEC2(t *testing.T) {
	if dockerImage == "" {
		t.Skip("the docker CLI here is not static: it cannot stand in for docker:cli")
	}
	w := newWorld(t, sandbox.Config{})
	img := w.servePublic(t)
	tellHost(t, w)
	t.Cleanup(func() { engine("rmi", pushed, publicHost+"/docker/library/busybox:stable") })
	task := w.runTask(t, readDefinition(t, "taskdef-ec2.json"))
	select {
	case <-task.stopped:
	case <-time.After(time.Minute):
		t.Fatal("the app did not end")
	}
	if s := task.state("app"); s.ExitCode != 0 {
		t.Fatalf("the app ended with %d", s.ExitCode)
	}
	if w.inRegistry(t, pushed) == "" {
		t.Fatalf("%s is not in the registry", pushed)
	}
	_ = img
	proved(t, "deploy/taskdef-ec2.json: `docker push %s` in a container with the engine's socket and the volume read-only, no docker login", pushed)
}

// The command that this project exists for.
func TestDockerPush(t *testing.T) {
	const life = 40 * time.Second // instead of 12 h
	w := newWorld(t, sandbox.Config{TokenLife: life})
	tellHost(t, w)
	t.Cleanup(func() { engine("rmi", pushed) })
	docker(t, "tag", baseImage, pushed)
	def := alone(readDefinition(t, "taskdef.json"))
	task := w.runTask(t, def)
	view := task.view()
	until(t, 20*time.Second, "a token is written", func() bool { _, err := os.Stat(filepath.Join(view, "config.json")); return err == nil })
	kept, err := os.ReadFile(filepath.Join(view, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	old := scratch(t)
	if err := os.WriteFile(filepath.Join(old, "config.json"), kept, 0o600); err != nil {
		t.Fatal(err)
	}

	if r := dockerAs(scratch(t), "push", pushed); r.ok() || !hasAll(r.all, "no basic auth credentials") {
		t.Fatalf("without the file docker push should be refused; exit %d\n%s", r.code, r.all)
	}
	proved(t, "docker push %s is refused without the file: no basic auth credentials", pushed)
	pushAndPull(t, view)
	proved(t, "docker push and docker pull %s, DOCKER_CONFIG=the volume, no docker login", pushed)

	first := w.aws.Tokens()[0]
	until(t, 2*life, "the first token has ended and another was issued", func() bool {
		return time.Now().After(first.Expires.Add(time.Second)) && len(w.aws.Tokens()) > 1
	})
	pushAndPull(t, view)
	proved(t, "the same after a renewal, when the first token had expired")
	if r := dockerAs(old, "push", pushed); r.ok() || !hasAll(r.all, "authorization token has expired") {
		t.Fatalf("with a token kept from before its end docker push should be refused; exit %d\n%s", r.code, r.all)
	}
	proved(t, "refused with a copy of the file from before the token's end: Your authorization token has expired")
}

// alone is the definition's refresher without the containers that use it.
func alone(d *definition) *definition {
	d.Containers = []*container{d.refresher()}
	d.Containers[0].DependsOn = nil
	return d
}

func pushAndPull(t *testing.T, config string) {
	t.Helper()
	if r := dockerAs(config, "push", pushed); !r.ok() {
		t.Fatalf("docker push: exit %d\n%s", r.code, r.all)
	}
	docker(t, "rmi", pushed)
	if r := dockerAs(config, "pull", pushed); !r.ok() {
		t.Fatalf("docker pull: exit %d\n%s", r.code, r.all)
	}
}
