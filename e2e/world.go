//go:build e2e

package e2e

import (
	"os"
	"strings"
	"testing"

	"ecr-refresher/internal/sandbox"
)

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
