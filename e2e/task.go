//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
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

// The addresses of a task. The first is where AWS's SDKs look for the agent; the sandbox listens there.
const (
	agentIP  = "169.254.170.2"
	taskNet  = "169.254.170.0/24"
	netName  = "ecr-refresher-e2e"
	caInTask = "/e2e-ca" // the one thing that ECS would not mount: how the task comes to trust the sandbox

	registryHost = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
	pushed       = registryHost + "/nodejs:test"
)

// awsHosts are the names that lead to the sandbox.
func awsHosts() []string {
	return []string{"api.ecr.us-west-2.amazonaws.com", "sts.us-west-2.amazonaws.com", "api.ecr-public.us-east-1.amazonaws.com", registryHost}
}

// world is AWS as the tasks of one test see it: the sandbox on the agent's address.
type world struct {
	aws    *sandbox.Sandbox
	dir    string // the scratch directory, which every user may enter
	public string // address of a registry that gives public images to anybody; empty: none
}

// newWorld starts a sandbox where a task expects ECS's agent.
func newWorld(t testing.TB, cfg sandbox.Config) *world {
	t.Helper()
	w := &world{dir: scratch(t)}
	docker(t, "network", "create", "--label", mark, "--subnet", taskNet, "--gateway", agentIP, netName)
	t.Cleanup(func() { engine("network", "rm", netName) })
	cfg.Addr, cfg.TLSAddr, cfg.CADir = agentIP+":80", agentIP+":443", w.dir
	aws, err := sandbox.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = aws.Close() })
	w.aws = aws
	return w
}

// scratch is a directory that every user may enter.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ecr-refresher-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// injected is what ECS gives every container of a task, and beyond it only SSL_CERT_FILE, so that the sandbox is trusted.
func (w *world) injected() []string {
	var env []string
	for _, kv := range w.aws.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		path := strings.TrimPrefix(v, w.aws.URL())
		switch k {
		case "AWS_CONTAINER_CREDENTIALS_FULL_URI":
			env = append(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="+path)
		case "ECS_CONTAINER_METADATA_URI_V4":
			env = append(env, k+"=http://"+agentIP+path)
		}
	}
	return append(env, "SSL_CERT_FILE="+caInTask+"/ca.pem")
}

// task is a task on the engine.
type task struct {
	t     testing.TB
	w     *world
	def   *definition
	name  string // of the task, and the beginning of all names of it on the engine
	pause string // id of the container that holds the network namespace; empty with network mode bridge

	mu       sync.Mutex
	ids      map[string]string // container name → id on the engine
	restarts map[string]int    // by container name, through its restartPolicy
	stopping bool
	stopped  chan struct{} // closed when an essential container has ended and all others were stopped
	reason   string        // why
	watchers sync.WaitGroup
}

var taskNumber int

// runTask starts a task. It comes back when every container was started that is ever going to be: each waits for its dependencies.
// The test's end stops the task.
func (w *world) runTask(t testing.TB, def *definition) *task {
	t.Helper()
	task := w.newTask(t, def)
	if err := task.start(); err != nil {
		task.showLogs()
		t.Fatalf("the task did not start: %v", err)
	}
	return task
}

func (w *world) newTask(t testing.TB, def *definition) *task {
	t.Helper()
	taskNumber++
	k := &task{t: t, w: w, def: def, name: fmt.Sprintf("%s-%d-%d", netName, os.Getpid(), taskNumber),
		ids: map[string]string{}, restarts: map[string]int{}, stopped: make(chan struct{})}
	t.Cleanup(func() {
		if t.Failed() {
			k.showLogs()
		}
		k.stop("the test ended")
		removeMarked(k.name)
	})
	for _, v := range def.Volumes {
		if v.Host.SourcePath == "" {
			docker(t, "volume", "create", "--label", mark+"="+k.name, k.volume(v.Name))
		}
	}
	if def.NetworkMode != "bridge" {
		args := []string{"run", "-d", "--name", k.name + "-pause", "--label", mark + "=" + k.name, "--network", netName}
		for _, h := range k.hosts() {
			args = append(args, "--add-host", h)
		}
		k.pause = docker(t, append(args, baseImage, "sleep", "86400")...)
	}
	return k
}

func (k *task) volume(name string) string { return k.name + "-" + name }

// hosts are the lines for /etc/hosts of the task.
func (k *task) hosts() []string {
	var lines []string
	for _, h := range awsHosts() {
		lines = append(lines, h+":"+agentIP)
	}
	if k.w.public != "" {
		lines = append(lines, "public.ecr.aws:"+k.w.public)
	}
	return lines
}

// start starts the containers in the order of their dependencies, as the agent does.
func (k *task) start() error {
	todo := slices.Clone(k.def.Containers)
	began := map[string]time.Time{}
	for len(todo) > 0 {
		progress := false
		for _, c := range slices.Clone(todo) {
			ready, err := k.ready(c, began)
			if err != nil {
				k.stop(err.Error())
				return err
			}
			if !ready {
				continue
			}
			if err := k.launch(c); err != nil {
				return err
			}
			began[c.Name], progress = time.Now(), true
			todo = slices.DeleteFunc(todo, func(o *container) bool { return o == c })
		}
		if !progress {
			select {
			case <-k.stopped:
				return fmt.Errorf("stopped while it started: %s", k.reason)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil
}

// ready says whether a container may start. A dependency that does not get there within its own startTimeout fails the task.
func (k *task) ready(c *container, began map[string]time.Time) (bool, error) {
	for _, d := range c.DependsOn {
		on := k.def.container(d.ContainerName)
		if on == nil {
			return false, fmt.Errorf("%s depends on %s, which there is not", c.Name, d.ContainerName)
		}
		at, started := began[on.Name]
		if !started {
			return false, nil
		}
		s := k.state(on.Name)
		var met bool
		switch d.Condition {
		case "START":
			met = true
		case "COMPLETE":
			met = s.Status == "exited"
		case "SUCCESS":
			if met = s.Status == "exited"; met && s.ExitCode != 0 {
				return false, fmt.Errorf("%s should have ended with 0 for %s; it ended with %d", on.Name, c.Name, s.ExitCode)
			}
		case "HEALTHY":
			if on.HealthCheck == nil {
				return false, fmt.Errorf("%s waits for %s to be healthy, which has no healthCheck", c.Name, on.Name)
			}
			met = s.Health == "healthy"
		default:
			return false, fmt.Errorf("%s: unknown condition %q", c.Name, d.Condition)
		}
		if met {
			continue
		}
		if limit := time.Duration(on.StartTimeout) * time.Second; limit > 0 && time.Since(at) > limit {
			return false, fmt.Errorf("%s did not become %s within its startTimeout of %s", on.Name, d.Condition, limit)
		}
		return false, nil
	}
	return true, nil
}

// launch creates a container as the agent would and starts it.
func (k *task) launch(c *container) error {
	image, err := localImage(c.Image)
	if err != nil {
		return err
	}
	type dict = map[string]any
	env := k.w.injected()
	for _, p := range c.Environment {
		env = append(env, p.Name+"="+p.Value)
	}
	binds := []string{k.w.dir + ":" + caInTask + ":ro"}
	for _, m := range c.MountPoints {
		source, err := k.source(m.SourceVolume)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		bind := source + ":" + m.ContainerPath
		if m.ReadOnly {
			bind += ":ro"
		}
		binds = append(binds, bind)
	}
	labels := map[string]string{mark: k.name, "com.amazonaws.ecs.container-name": c.Name, "com.amazonaws.ecs.task-definition-family": k.def.Family}
	for name, v := range c.DockerLabels {
		labels[name] = v
	}
	host := dict{
		"Binds": binds, "Memory": c.Memory << 20, "MemorySwap": c.Memory << 20, "MemoryReservation": c.MemoryReservation << 20,
		"ReadonlyRootfs": c.ReadonlyRootFilesystem,
		"CapAdd":         c.LinuxParameters.Capabilities.Add, "CapDrop": c.LinuxParameters.Capabilities.Drop,
		"Init": c.LinuxParameters.InitProcessEnabled, "CpuShares": c.CPU,
	}
	if k.pause != "" {
		host["NetworkMode"] = "container:" + k.pause
	} else {
		host["NetworkMode"], host["ExtraHosts"] = netName, k.hosts()
	}
	config := dict{
		"Image": image, "User": c.User, "Env": env, "Cmd": c.Command, "WorkingDir": c.WorkingDirectory, "Labels": labels, "HostConfig": host,
	}
	if len(c.EntryPoint) > 0 {
		config["Entrypoint"] = c.EntryPoint
	}
	if c.StopTimeout > 0 {
		config["StopTimeout"] = c.StopTimeout
	}
	config["Healthcheck"] = dict{"Test": []string{"NONE"}} // ECS ignores the image's own
	if h := c.HealthCheck; h != nil {
		config["Healthcheck"] = dict{
			"Test": h.Command, "Interval": seconds(h.Interval, 30), "Timeout": seconds(h.Timeout, 5), "Retries": or(h.Retries, 3),
			"StartPeriod": seconds(h.StartPeriod, 0),
		}
	}
	var made struct{ Id string }
	if err := api("POST", "/containers/create?name="+k.name+"-"+c.Name, config, &made); err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	k.mu.Lock()
	k.ids[c.Name] = made.Id
	k.mu.Unlock()
	if r := engine("start", made.Id); !r.ok() {
		return fmt.Errorf("%s: %s", c.Name, r.all)
	}
	k.watchers.Go(func() { k.watch(c, made.Id) })
	return nil
}

func seconds(n, otherwise int) int64 { return int64(time.Duration(or(n, otherwise)) * time.Second) }

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// source is what the engine mounts for a volume of the task.
func (k *task) source(name string) (string, error) {
	for _, v := range k.def.Volumes {
		if v.Name == name && v.Host.SourcePath != "" {
			return v.Host.SourcePath, nil
		}
		if v.Name == name {
			return k.volume(name), nil
		}
	}
	return "", fmt.Errorf("no volume %q in the task", name)
}

// watch follows a container to its end, and does what ECS does then: restart it by its policy (unless it ran for less than the attempt
// period, 300 s where none is given), or stop the task where it was essential.
func (k *task) watch(c *container, id string) {
	for {
		began := time.Now()
		r := command(exec.Command("docker", "wait", id))
		if k.isStopping() || !r.ok() {
			return
		}
		code, _ := strconv.Atoi(r.out)
		p := c.RestartPolicy
		period := time.Duration(or(p.RestartAttemptPeriod, 300)) * time.Second
		if p.Enabled && !slices.Contains(p.IgnoredExitCodes, code) && time.Since(began) >= period {
			k.mu.Lock()
			k.restarts[c.Name]++
			k.mu.Unlock()
			if engine("start", id).ok() {
				continue
			}
		}
		if c.essential() {
			go k.stop(fmt.Sprintf("essential container %s ended with %d", c.Name, code))
		}
		return
	}
}

func (k *task) isStopping() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stopping
}

// stop ends all containers, those first that others do not depend on: SIGTERM, and SIGKILL after stopTimeout.
func (k *task) stop(reason string) {
	k.mu.Lock()
	if k.stopping {
		k.mu.Unlock()
		<-k.stopped
		return
	}
	k.stopping, k.reason = true, reason
	k.mu.Unlock()
	for i := len(k.def.Containers) - 1; i >= 0; i-- {
		c := k.def.Containers[i]
		if id := k.id(c.Name); id != "" {
			engine("stop", "-t", strconv.Itoa(or(c.StopTimeout, 30)), id)
		}
	}
	k.watchers.Wait()
	close(k.stopped)
}

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
