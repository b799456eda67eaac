//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
)

var update = flag.Bool("update", false, "write consumers.json and the table of docs/consumers.md")

// Programs from the Go module proxy. A newer version is a new row to test, not a setting.
var (
	craneTool  = tool{"crane", "github.com/google/go-containerregistry/cmd/crane", "v0.22.1"}
	orasTool   = tool{"oras", "oras.land/oras/cmd/oras", "v1.3.6"}
	regctlTool = tool{"regctl", "github.com/regclient/regclient/cmd/regctl", "v0.11.7"}
	helmTool   = tool{"helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0"}
	ctlTool    = tool{"buildctl", "github.com/moby/buildkit/cmd/buildctl", "v0.34.2"}
	daemonTool = tool{"buildkitd", "github.com/moby/buildkit/cmd/buildkitd", "v0.34.2"}
)

// tools are built behind the other tests, as that takes minutes where nothing is cached.
var tools = sync.OnceValues(func() (map[string]string, error) {
	bins := map[string]string{}
	for _, t := range []tool{craneTool, ctlTool, orasTool, regctlTool, daemonTool, helmTool} {
		bin, err := builtTool(t)
		if err != nil {
			return nil, err
		}
		bins[t.name] = bin
	}
	return bins, nil
})

// bench is where a consumer works: its scratch directory and its archive of an image.
type bench struct {
	bins    map[string]string
	dir     string
	archive string // docker-archive of ref
	ref     string
	file    string // something to push that is no image
	chart   string // a packaged chart demo 0.1.0
	socket  string // of buildkitd
}

// consumer is a program that reads the file. What it is told is in env; push and pull are its command lines, one after the other.
type consumer struct {
	name    string
	version func(b bench) string
	source  string
	finds   string // for people: how it finds the file
	env     func(config string) []string
	user    uint32
	push    func(b bench) [][]string
	pull    func(b bench) [][]string
	reads   string // what is known of when it reads the file
	needs   string
}

func dockerConfig(config string) []string { return []string{"DOCKER_CONFIG=" + config} }
func authFile(config string) []string {
	return []string{"REGISTRY_AUTH_FILE=" + config + "/config.json"}
}

const (
	nobody  = 65534
	module  = "Go module"
	debian  = "Debian package"
	machine = "as installed"
)

// ofModule is the version of a tool that builtTool built.
func ofModule(t tool) func(bench) string { return func(bench) string { return t.version } }

func printed(args ...string) func(bench) string {
	return func(bench) string {
		r := command(exec.Command(args[0], args[1:]...))
		return regexp.MustCompile(`\d+\.\d+[.\d]*`).FindString(r.out)
	}
}

func consumers() []consumer {
	storage := func(tool string) func(b bench) []string {
		return func(b bench) []string {
			return []string{tool, "--root", b.dir + "/root", "--runroot", b.dir + "/run", "--storage-driver", "vfs"}
		}
	}
	podman, buildah := storage("podman"), storage("buildah")
	build := func(b bench, context string, out string) []string {
		return []string{b.bins["buildctl"], "--addr", "unix://" + b.socket, "build", "--no-cache", "--progress", "plain", "--frontend", "dockerfile.v0",
			"--local", "context=" + context, "--local", "dockerfile=" + context, "--output", out}
	}
	return []consumer{
		{
			name: "docker", version: printed("docker", "version", "--format", "{{.Client.Version}}"), source: machine,
			finds: "`DOCKER_CONFIG=/run/ecr`", env: dockerConfig, reads: "at the start of each command",
			needs: "an engine; that engine, not the container, must reach the registry",
			push: func(b bench) [][]string {
				return [][]string{{"docker", "load", "-i", b.archive}, {"docker", "push", b.ref}}
			},
			pull: func(b bench) [][]string { return [][]string{{"docker", "rmi", "-f", b.ref}, {"docker", "pull", b.ref}} },
		}, {
			name: "crane", version: ofModule(craneTool), source: module, user: nobody,
			finds: "`DOCKER_CONFIG=/run/ecr`", env: dockerConfig, reads: "at each use, by its library; not only each command",
			push: func(b bench) [][]string { return [][]string{{b.bins["crane"], "push", b.archive, b.ref}} },
			pull: func(b bench) [][]string { return [][]string{{b.bins["crane"], "pull", b.ref, b.dir + "/out.tar"}} },
		}, {
			name: "skopeo", version: printed("skopeo", "--version"), source: debian, user: nobody,
			finds: "`REGISTRY_AUTH_FILE=/run/ecr/config.json` or `--authfile`", env: authFile, reads: "at each use, by its library",
			needs: "`/etc/containers/policy.json` (in its image and package)",
			push: func(b bench) [][]string {
				return [][]string{{"skopeo", "copy", "docker-archive:" + b.archive, "docker://" + b.ref}}
			},
			pull: func(b bench) [][]string {
				return [][]string{{"skopeo", "copy", "docker://" + b.ref, "oci:" + b.dir + "/out"}}
			},
		}, {
			name: "podman", version: printed("podman", "--version"), source: debian,
			finds: "`REGISTRY_AUTH_FILE=/run/ecr/config.json` or `--authfile`", env: authFile, reads: "at each use, by its library",
			needs: "storage of its own; root or user namespaces",
			push: func(b bench) [][]string {
				return [][]string{append(podman(b), "load", "-q", "-i", b.archive), append(podman(b), "push", b.ref)}
			},
			pull: func(b bench) [][]string { return [][]string{append(podman(b), "pull", b.ref)} },
		}, {
			name: "buildah", version: printed("buildah", "--version"), source: debian,
			finds: "`REGISTRY_AUTH_FILE=/run/ecr/config.json` or `--authfile`", env: authFile, reads: "at each use, by its library",
			needs: "storage of its own; root or user namespaces",
			push: func(b bench) [][]string {
				return [][]string{append(buildah(b), "pull", "-q", "docker-archive:"+b.archive), append(buildah(b), "push", b.ref)}
			},
			pull: func(b bench) [][]string { return [][]string{append(buildah(b), "pull", "--policy", "always", b.ref)} },
		}, {
			name: "oras", version: ofModule(orasTool), source: module, user: nobody,
			finds: "`DOCKER_CONFIG=/run/ecr` or `--registry-config`", env: dockerConfig, reads: "at the start of each command",
			push: func(b bench) [][]string {
				return [][]string{{b.bins["oras"], "push", "--disable-path-validation", b.ref, b.file + ":text/plain"}}
			},
			pull: func(b bench) [][]string { return [][]string{{b.bins["oras"], "manifest", "fetch", b.ref}} },
		}, {
			name: "regctl", version: ofModule(regctlTool), source: module, user: nobody,
			finds: "`DOCKER_CONFIG=/run/ecr`", env: dockerConfig, reads: "at the start of each command",
			push: func(b bench) [][]string { return [][]string{{b.bins["regctl"], "image", "import", b.ref, b.archive}} },
			pull: func(b bench) [][]string {
				return [][]string{{b.bins["regctl"], "image", "export", b.ref, b.dir + "/regctl.tar"}}
			},
		}, {
			name: "helm", version: ofModule(helmTool), source: module, user: nobody,
			finds: "`DOCKER_CONFIG=/run/ecr` or `--registry-config`", env: dockerConfig, reads: "at the start of each command",
			push: func(b bench) [][]string {
				return [][]string{{b.bins["helm"], "push", b.chart, "oci://" + registryHost + "/charts"}}
			},
			pull: func(b bench) [][]string {
				return [][]string{{b.bins["helm"], "pull", "oci://" + registryHost + "/charts/demo", "--version", "0.1.0", "-d", b.dir + "/out"}}
			},
		}, {
			name: "buildctl", version: ofModule(ctlTool), source: module, user: nobody,
			finds: "`DOCKER_CONFIG=/run/ecr` of buildctl, not of buildkitd", env: dockerConfig, reads: "at the start of each command",
			needs: "a buildkitd; it asks buildctl for the login at each build",
			push: func(b bench) [][]string {
				return [][]string{build(b, b.dir+"/context", "type=image,name="+b.ref+",push=true")}
			},
			pull: func(b bench) [][]string {
				return [][]string{build(b, b.dir+"/from", "type=oci,dest="+b.dir+"/built.tar")}
			},
		},
	}
}

// row is what was seen of a consumer. Versions of what this machine brings are for people: they are not compared.
type row struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Source  string `json:"source"`
	Finds   string `json:"finds"`
	Reads   string `json:"reads"`
	Needs   string `json:"needs"`
	User    string `json:"user"`

	RefusedWithout bool `json:"refused_without_file"`
	PushBefore     bool `json:"push_before_renewal"`
	PullBefore     bool `json:"pull_before_renewal"`
	PushAfter      bool `json:"push_after_renewal"`
	PullAfter      bool `json:"pull_after_renewal"`
	RefusedOld     bool `json:"refused_with_old_copy"`

	// Whether it works in spite of another key in the same file, that names a helper which is not installed, or one which is and knows
	// nothing of the host.
	StoreMissing   bool `json:"works_with_creds_store_missing"`
	StoreIgnorant  bool `json:"works_with_creds_store_that_does_not_know_the_host"`
	HelperMissing  bool `json:"works_with_cred_helper_missing"`
	HelperIgnorant bool `json:"works_with_cred_helper_that_does_not_know_the_host"`
	EmptyHelper    bool `json:"works_with_creds_store_and_empty_cred_helper"`
}

// good reports whether the consumer did all that a consumer has to do.
func (r row) good() bool {
	return r.RefusedWithout && r.PushBefore && r.PullBefore && r.PushAfter && r.PullAfter && r.RefusedOld
}

// Real programs that nobody here wrote, on the host, through the volume of the refresher's container.
func TestConsumers(t *testing.T) {
	bins := publicTools(t)
	w := newWorld(t, sandbox.Config{})
	tellHost(t, w)
	task := w.runTask(t, alone(readDefinition(t, "taskdef.json")))
	until(t, 30*time.Second, "the token is written", func() bool { return task.line("refresher", "token written", "") != nil })
	view := task.view()
	socket := w.buildkit(t, bins["buildkitd"])

	empty := configWith(t, []byte("{}"), nil)
	document := readFile(t, view+"/config.json")
	kept := configWith(t, document, nil)
	helperOf := func(name string) map[string]any {
		return map[string]any{"credHelpers": map[string]string{registryHost: name}}
	}
	variants := []struct {
		what   string
		config string
		field  func(*row) *bool
	}{
		{"a credsStore that is not installed", configWith(t, document, map[string]any{"credsStore": "missing"}), func(r *row) *bool { return &r.StoreMissing }},
		{"a credsStore that does not know the host", configWith(t, document, map[string]any{"credsStore": "ignorant"}), func(r *row) *bool { return &r.StoreIgnorant }},
		{"a credHelper that is not installed", configWith(t, document, helperOf("missing")), func(r *row) *bool { return &r.HelperMissing }},
		{"a credHelper that does not know the host", configWith(t, document, helperOf("ignorant")), func(r *row) *bool { return &r.HelperIgnorant }},
		{"such a credsStore and an empty credHelper", configWith(t, document, map[string]any{"credsStore": "ignorant", "credHelpers": map[string]string{registryHost: ""}}),
			func(r *row) *bool { return &r.EmptyHelper }},
	}

	var rows []row
	var benches []bench
	all := consumers()
	do := func(c consumer, b bench, config string, commands [][]string) (bool, string) {
		return w.consume(c, b, c.env(config), commands)
	}
	must := func(c consumer, what string, ok bool, out string) {
		if !ok {
			t.Errorf("%s: %s:\n%s", c.name, what, out)
		}
	}
	for _, c := range all {
		b := newBench(t, c, bins, socket)
		r := row{Name: c.name, Version: c.version(b), Source: c.source, Finds: c.finds, Reads: c.reads, Needs: c.needs, User: "root"}
		if c.user != 0 {
			r.User = fmt.Sprint("uid ", c.user)
		}
		if _, err := exec.LookPath(c.name); err != nil && bins[c.name] == "" {
			t.Fatalf("%v: install Debian's package", err)
		}
		ok, out := do(c, b, empty, c.push(b))
		r.RefusedWithout = !ok && refused(out)
		must(c, "should be refused without the file", r.RefusedWithout, out)
		r.PushBefore, out = do(c, b, view, c.push(b))
		must(c, "push", r.PushBefore, out)
		r.PullBefore, out = do(c, b, view, c.pull(b))
		must(c, "pull", r.PullBefore, out)
		for _, v := range variants {
			works, out := do(c, b, v.config, c.pull(b))
			*v.field(&r) = works
			t.Logf("%s with %s: works %v: %s", c.name, v.what, works, lastLine(out))
		}
		rows, benches = append(rows, r), append(benches, b)
	}

	// A renewal, after which the old token is worth nothing.
	w.aws.RevokeTokens()
	before := readFile(t, view+"/config.json")
	docker(t, "kill", "-s", "HUP", task.id("refresher"))
	until(t, 20*time.Second, "the file has a new token", func() bool { return !bytes.Equal(before, readFile(t, view+"/config.json")) })
	for i, c := range all {
		r, b := &rows[i], benches[i]
		ok, out := do(c, b, kept, c.pull(b))
		r.RefusedOld = !ok && refused(out)
		must(c, "should be refused with the old token", r.RefusedOld, out)
		r.PushAfter, out = do(c, b, view, c.push(b))
		must(c, "push after the renewal", r.PushAfter, out)
		r.PullAfter, out = do(c, b, view, c.pull(b))
		must(c, "pull after the renewal", r.PullAfter, out)
		if !r.good() {
			continue
		}
		proved(t, "%-9s %-8s as %-9s pushes and pulls through the file before and after a renewal; refused without it and with an old copy", c.name, r.Version, r.User)
	}
	compare(t, rows)
}

// publicTools are the tools where every user may run them, beside a credential helper that knows no host.
func publicTools(t *testing.T) map[string]string {
	t.Helper()
	built, err := tools()
	if err != nil {
		t.Fatal(err)
	}
	dir := scratch(t)
	bins := map[string]string{}
	for name, from := range built {
		bins[name] = filepath.Join(dir, name)
		if err := os.WriteFile(bins[name], readFile(t, from), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const ignorant = "#!/bin/sh\nread -r host\n[ \"$1\" = list ] && echo '{}' && exit\necho 'credentials not found in native keychain'\nexit 1\n"
	if err := os.WriteFile(dir+"/docker-credential-ignorant", []byte(ignorant), 0o755); err != nil {
		t.Fatal(err)
	}
	return bins
}

// refused reports whether a consumer was told to log in, or to log in anew, and did not fail for another reason.
func refused(out string) bool {
	return refusal.MatchString(out) && !strings.Contains(out, "permission denied") && !strings.Contains(out, "no such file")
}

var refusal = regexp.MustCompile(`(?i)no basic auth|unauthorized|authentication required|authorization token has expired|requested access to the resource is denied|basic credential not found|\b40[13]\b`)

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// configWith is a directory with a copy of the document and more keys in it.
func configWith(t *testing.T, document []byte, more map[string]any) string {
	t.Helper()
	dir := scratch(t)
	var keys map[string]any
	if err := json.Unmarshal(document, &keys); err != nil {
		t.Fatal(err)
	}
	for k, v := range more {
		keys[k] = v
	}
	text, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newBench(t *testing.T, c consumer, bins map[string]string, socket string) bench {
	t.Helper()
	b := bench{bins: bins, dir: scratch(t), ref: registryHost + "/nodejs:" + c.name, socket: socket}
	b.archive, b.file, b.chart = b.dir+"/image.tar", b.dir+"/hello.txt", b.dir+"/demo-0.1.0.tgz"
	for _, d := range []string{"/home", "/out", "/tmp", "/run", "/context", "/from", "/chart/demo"} {
		if err := os.MkdirAll(b.dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"/hello.txt": "hello\n", "/context/Dockerfile": "FROM scratch\nCOPY hello /\n", "/context/hello": "hello\n",
		"/from/Dockerfile": "FROM " + b.ref + "\nCOPY Dockerfile /\n", "/chart/demo/Chart.yaml": "apiVersion: v2\nname: demo\nversion: 0.1.0\n",
	} {
		if err := os.WriteFile(b.dir+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	archive(t, tinyImage(t), b.ref, b.archive)
	if r := command(exec.Command("tar", "czf", b.chart, "-C", b.dir+"/chart", "demo")); !r.ok() {
		t.Fatal(r.all)
	}
	if r := command(exec.Command("chown", "-R", fmt.Sprint(c.user), b.dir)); !r.ok() {
		t.Fatal(r.all)
	}
	t.Cleanup(func() {
		if c.name == "docker" {
			engine("rmi", "-f", b.ref)
		}
	})
	return b
}

// consume runs a consumer's commands as its user, with what it is told and nothing else of this environment. AWS's names lead to the
// sandbox, by proxy.
func (w *world) consume(c consumer, b bench, env []string, commands [][]string) (bool, string) {
	var out strings.Builder
	for i, args := range commands {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = b.dir
		cmd.Env = append([]string{"PATH=" + filepath.Dir(b.bins["crane"]) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + b.dir + "/home", "TMPDIR=" + b.dir + "/tmp",
			"XDG_RUNTIME_DIR=" + b.dir + "/run", "HTTPS_PROXY=" + w.aws.URL(), "SSL_CERT_FILE=" + w.aws.CAFile()}, env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.user, Gid: c.user}, Setpgid: true}
		timer := time.AfterFunc(2*time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		r := command(cmd)
		timer.Stop()
		out.WriteString(r.all + "\n")
		if !r.ok() && (i == len(commands)-1 || args[0] != "docker" || args[1] != "rmi") {
			return false, out.String()
		}
	}
	return true, out.String()
}

// crane runs crane on the host with a config directory.
func (w *world) crane(config string, args ...string) result {
	bin, err := builtTool(craneTool)
	if err != nil {
		return result{"", err.Error(), -1}
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = []string{"DOCKER_CONFIG=" + config, "HTTPS_PROXY=" + w.aws.URL(), "SSL_CERT_FILE=" + w.aws.CAFile(), "HOME=/nonexistent"}
	return command(cmd)
}

// buildkit starts a buildkitd and returns its socket.
func (w *world) buildkit(t *testing.T, bin string) string {
	t.Helper()
	dir := scratch(t)
	socket := dir + "/sock"
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "--root", dir+"/root", "--addr", "unix://"+socket, "--containerd-worker=false", "--oci-worker=true",
		"--oci-worker-snapshotter=native", "--oci-worker-net=host")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "HTTPS_PROXY=" + w.aws.URL(), "SSL_CERT_FILE=" + w.aws.CAFile(), "TMPDIR=" + dir}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("buildkitd:\n%s", b[max(0, len(b)-4000):])
		}
		log.Close()
	})
	until(t, 60*time.Second, "buildkitd listens", func() bool { _, err := os.Stat(socket); return err == nil })
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	return socket
}

const (
	resultsFile = "consumers.json"
	docsFile    = "../docs/consumers.md"
	tableBegin  = "<!-- consumers: written by make e2e, with E2E_FLAGS=-update -->\n"
	tableEnd    = "<!-- end -->\n"
)

// compare holds what was seen against what is written, or writes it.
func compare(t *testing.T, rows []row) {
	t.Helper()
	var was []row
	if old, err := os.ReadFile(resultsFile); err == nil {
		if err := json.Unmarshal(old, &was); err != nil {
			t.Fatal(err)
		}
	}
	page := string(readFile(t, docsFile))
	if *update && !t.Failed() {
		text, err := json.MarshalIndent(rows, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(resultsFile, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(docsFile, []byte(withTable(t, page, rows)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	// A machine's own versions of docker, skopeo, podman and buildah may differ; what they do may not.
	same := slices.EqualFunc(was, rows, func(a, b row) bool {
		if a.Source != module {
			a.Version = b.Version
		}
		return a == b
	})
	if !same {
		t.Errorf("%s says otherwise; after a look at the log above, run with -update", resultsFile)
	}
	if withTable(t, page, was) != page {
		t.Errorf("the table of %s is not that of %s; run with -update", docsFile, resultsFile)
	}
}

func withTable(t *testing.T, page string, rows []row) string {
	t.Helper()
	head, rest, ok := strings.Cut(page, tableBegin)
	_, tail, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", docsFile)
	}
	return head + tableBegin + table(rows) + tableEnd + tail
}

func table(rows []row) string {
	var b strings.Builder
	b.WriteString("| tool | finds the file by | reads it | run here as | pushed and pulled, before and after a renewal | with `credsStore` | with `credHelpers` for the host | with `credsStore`, and `\"\"` in `credHelpers` for the host | needs |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	verdict := func(missing, ignorant bool) string {
		switch {
		case missing && ignorant:
			return "works"
		case missing:
			return "hidden, unless the helper is missing"
		case ignorant:
			return "works, unless the helper is missing"
		}
		return "hidden"
	}
	for _, r := range rows {
		all := "no"
		if r.good() {
			all = "yes"
		}
		fmt.Fprintf(&b, "| %s %s (%s) | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Name, strings.TrimPrefix(r.Version, "v"), r.Source, r.Finds, r.Reads, r.User,
			all, verdict(r.StoreMissing, r.StoreIgnorant), verdict(r.HelperMissing, r.HelperIgnorant), verdict(r.EmptyHelper, r.EmptyHelper), r.Needs)
	}
	return b.String()
}
