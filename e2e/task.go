//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

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
