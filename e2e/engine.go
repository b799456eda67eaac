//go:build e2e

// Package e2e runs the image as its users do: in a task as Amazon ECS would run it, beside programs that nobody here wrote. It owns
// the stand-ins for ECS's side of a task (task.go) and for the images that cannot be pulled here (images.go). It knows the program by its
// image, its files and its ports only: of this module it imports the sandbox alone.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// mark labels everything that the tests make on the engine, so that all of it is found again by name and nothing else is touched.
const mark = "ecr-refresher.e2e"

// result is how a command ended.
type result struct {
	out  string // standard output
	all  string // with standard error
	code int
}

func (r result) ok() bool { return r.code == 0 }

// transcript is a buffer that several may write.
type transcript struct {
	mu sync.Mutex
	b  strings.Builder
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// command runs a program to its end. It does not fail a test: what it answers may be the point.
func command(cmd *exec.Cmd) result {
	var out, all transcript // two goroutines write
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, &all), &all
	err := cmd.Run()
	r := result{strings.TrimSpace(out.String()), strings.TrimSpace(all.String()), 0}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		r.code, r.all = -1, err.Error()
	}
	return r
}

// engine runs the docker CLI with a configuration of its own: no login, no plugin and no context of the one who runs the tests.
func engine(args ...string) result {
	cmd := exec.Command("docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG=/nonexistent", "DOCKER_BUILDKIT=0", "DOCKER_CLI_HINTS=false")
	return command(cmd)
}

// docker is engine where failure is the test's failure.
func docker(t testing.TB, args ...string) string {
	t.Helper()
	r := engine(args...)
	if !r.ok() {
		t.Fatalf("docker %s: exit %d\n%s", strings.Join(args, " "), r.code, r.all)
	}
	return r.out
}

func engineSocket() string {
	if s, ok := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://"); ok {
		return s
	}
	return "/var/run/docker.sock"
}

// api calls the engine as the ECS agent does, where the CLI cannot say what the agent says: a health check without a shell.
func api(method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", engineSocket())
		},
	}}
	req, err := http.NewRequest(method, "http://engine/v1.41"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("engine: %s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(answer))
	}
	return json.Unmarshal(answer, out)
}

// removeMarked removes the containers, volumes and networks of this or an earlier, killed run.
func removeMarked(value string) {
	filter := "label=" + mark
	if value != "" {
		filter += "=" + value
	}
	if ids := strings.Fields(engine("ps", "-aq", "--filter", filter).out); len(ids) > 0 {
		engine(append([]string{"rm", "-f", "-v"}, ids...)...) // -v: the volume that VOLUME makes where none is mounted
	}
	for _, kind := range []string{"volume", "network"} {
		if ids := strings.Fields(engine(kind, "ls", "-q", "--filter", filter).out); len(ids) > 0 {
			engine(append([]string{kind, "rm"}, ids...)...)
		}
	}
}

// within polls until the condition holds.
func within(d time.Duration, cond func() bool) bool {
	for end := time.Now().Add(d); ; time.Sleep(200 * time.Millisecond) {
		if cond() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// until is within for what must happen; it is said in words for the one who reads the failure.
func until(t testing.TB, d time.Duration, what string, cond func() bool) {
	t.Helper()
	if !within(d, cond) {
		t.Fatalf("within %s it did not happen that %s", d, what)
	}
}
