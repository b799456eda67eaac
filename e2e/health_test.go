//go:build e2e

package e2e

import (
	"os/exec"
	"slices"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
)

// dockerAs runs the docker CLI with a directory as its DOCKER_CONFIG.
func dockerAs(config string, args ...string) result {
	cmd := exec.Command("docker", args...)
	cmd.Env = []string{"DOCKER_CONFIG=" + config, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DOCKER_CLI_HINTS=false"}
	return command(cmd)
}

// The engine's health status is the one that ECS acts upon.
func TestHealth(t *testing.T) {
	// Sixty seconds stand for twelve hours: an hour is five seconds. The health check is the shipped one, every 10 s.
	const life = 60 * time.Second
	w := newWorld(t, sandbox.Config{TokenLife: life})
	def := alone(readDefinition(t, "taskdef.json"))
	h := def.refresher().HealthCheck
	interval := time.Duration(h.Interval) * time.Second
	task := w.runTask(t, def)
	if got := task.healthUntil("healthy", 60*time.Second); len(got) == 0 || got[len(got)-1] != "healthy" {
		t.Fatalf("health went %v", got)
	}

	// ECR is down from now on, for most of the token's life and beyond it.
	w.aws.Set(sandbox.Fault{Service: "ecr", Kind: sandbox.Unavailable}, sandbox.Fault{Service: "registry", Kind: sandbox.Unavailable})
	began := time.Now()
	expires := newestExpiry(w)
	var unhealthy time.Time
	for unhealthy.IsZero() {
		switch s := task.health(); {
		case s == "unhealthy":
			unhealthy = time.Now()
		case time.Since(expires) > time.Duration(h.Retries+1)*interval+2*time.Second: // 2 s for the engine's own pace
			t.Fatalf("still %s %s after the token's end", s, time.Since(expires))
		default:
			time.Sleep(200 * time.Millisecond)
		}
	}
	if unhealthy.Before(expires) {
		t.Fatalf("unhealthy %s before the token's end: an ECR outage must not end a task with a valid token", expires.Sub(unhealthy))
	}
	hours := expires.Sub(began).Seconds() / life.Seconds() * 12
	proved(t, "healthy throughout an outage of ECR that outlasts a valid token (%.0f hours of its 12, at 60 s for 12 h; an hour is the least asked for)", hours)
	proved(t, "unhealthy %.0f s after the token's end; documented: within interval × retries + interval = %.0f s", unhealthy.Sub(expires).Seconds(), (time.Duration(h.Retries+1) * interval).Seconds())

	w.aws.SetTokenLife(12 * time.Hour)
	w.aws.Set()
	began = time.Now()
	// At most 20 s until the next attempt, so little of the token's life being left, and an interval until the probe.
	until(t, 20*time.Second+2*interval, "health recovers", func() bool { return task.health() == "healthy" })
	proved(t, "healthy again %.0f s after ECR came back", time.Since(began).Seconds())

	// The same with a real token of 12 h, and renewals that are asked for and fail.
	w.aws.Set(sandbox.Fault{Service: "ecr", Kind: sandbox.Unavailable}, sandbox.Fault{Service: "registry", Kind: sandbox.Unavailable})
	docker(t, "kill", "-s", "HUP", task.id("refresher"))
	var seen []string
	for end := time.Now().Add(time.Duration(h.Retries+1)*interval + 5*time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		if s := task.health(); !slices.Contains(seen, s) {
			seen = append(seen, s)
		}
	}
	if !slices.Equal(seen, []string{"healthy"}) {
		t.Fatalf("health went %v", seen)
	}
	if l := task.line("refresher", "renewal failed", ""); l == nil || l["failures"] == nil {
		t.Fatal("no renewal failed: nothing was tested")
	}
	proved(t, "a token of 12 h, renewals failing for %d probes: healthy at each", h.Retries+1)

	// Killed, in the middle of the outage.
	w.aws.Set(sandbox.Fault{Service: "ecr", Kind: sandbox.Unavailable}) // the registry works: the outage is the API's
	w.put(t, pushed, tinyImage(t))
	calls := w.aws.Calls()[tokenCall]
	view := task.view()
	docker(t, "kill", "-s", "KILL", task.id("refresher"))
	if r := w.crane(view, "manifest", pushed); !r.ok() {
		t.Fatalf("the consumer fails once the refresher is killed: %s", r.all)
	}
	until(t, 20*time.Second, "ECS's restartPolicy starts the refresher again", func() bool {
		return task.restartsOf("refresher") == 1 && task.state("refresher").Status == "running"
	})
	until(t, 20*time.Second, "the token is adopted", func() bool { return task.line("refresher", "token adopted from the file", "") != nil })
	until(t, 2*interval+5*time.Second, "the restarted refresher is healthy", func() bool { return task.health() == "healthy" })
	if r := w.crane(view, "manifest", pushed); !r.ok() || w.aws.Calls()[tokenCall] != calls {
		t.Fatalf("after the restart: exit %d, %d calls for a token, before %d\n%s", r.code, w.aws.Calls()[tokenCall], calls, r.all)
	}
	proved(t, "kill -9 in an outage: the consumer keeps working, restartPolicy restarts the container, the token is adopted without a call, healthy")

	began = time.Now()
	task.stop("the test stops it")
	s := task.state("refresher")
	took := s.End.Sub(began)
	if s.ExitCode != 0 || took >= time.Second {
		t.Fatalf("docker stop: exit %d after %s", s.ExitCode, took)
	}
	if r := w.crane(view, "manifest", pushed); !r.ok() {
		t.Fatalf("the file should stay after a stop: %s", r.all)
	}
	proved(t, "docker stop ends it in %.2f s with 0; the file stays and works", took.Seconds())
}

func newestExpiry(w *world) time.Time {
	all := w.aws.Tokens()
	return all[len(all)-1].Expires
}

func (k *task) restartsOf(name string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.restarts[name]
}
