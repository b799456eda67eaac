//go:build e2e

package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Nothing can be pulled where these tests run: what the images of the Internet would bring is made of what the machine has. All images
// are kept, so that the next run finds its stand-ins and its layers; `docker rmi -f $(docker images -aq -f label=ecr-refresher.e2e)`
// forgets them, with what builds of older sources left behind.
const (
	imagePrefix    = "ecr-refresher-e2e/"
	refresherImage = imagePrefix + "refresher:amd64"
	arm64Image     = imagePrefix + "refresher:arm64"
	version        = "0.0.0-e2e"

	caBundle = "/etc/ssl/certs/ca-certificates.crt"
	busybox  = "/bin/busybox"
)

// The stand-ins; set by makeImages.
var (
	baseImage   string // a shell: for the network's container and for consumers that only read
	goImage     string // stands in for golang:1.26-bookworm
	craneImage  string // stands in for gcr.io/go-containerregistry/crane
	dockerImage string // stands in for docker:cli
)

// localImage is the image on this engine for one that a definition names.
func localImage(ref string) (string, error) {
	name := ref
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		name = ref[:i]
	}
	name, _, _ = strings.Cut(name, "@")
	switch {
	case strings.HasPrefix(ref, imagePrefix):
		return ref, nil
	case path.Base(name) == "ecr-refresher":
		return refresherImage, nil
	case name == "gcr.io/go-containerregistry/crane":
		return craneImage, nil
	case name == "docker" || name == "public.ecr.aws/docker/library/docker":
		return dockerImage, nil
	}
	return "", fmt.Errorf("no local image stands in for %s", ref)
}

// file is an entry of an image that is made here.
type file struct {
	name string
	mode int64
	body []byte // nil with a link
	link string
}

// imported makes an image of files and, where tree is given, of a directory that appears at dest. It is made once for each content.
func imported(name string, files []file, tree, dest, treeID string, changes ...string) (string, error) {
	sum := sha256.New()
	for _, f := range files {
		fmt.Fprintf(sum, "%s %o %s %x\n", f.name, f.mode, f.link, sha256.Sum256(f.body))
	}
	fmt.Fprint(sum, dest, treeID, changes)
	ref := fmt.Sprintf("%s%s:%x", imagePrefix, name, sum.Sum(nil)[:6])
	if engine("image", "inspect", ref).ok() {
		return ref, nil
	}
	args := []string{"import", "-c", "LABEL " + mark + "=image"}
	for _, c := range changes {
		args = append(args, "-c", c)
	}
	cmd := exec.Command("docker", append(args, "-", ref)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	written := writeTar(in, files, tree, dest)
	if err := errors.Join(written, in.Close(), cmd.Wait()); err != nil {
		return "", fmt.Errorf("docker import %s: %w\n%s", ref, err, out.Bytes())
	}
	return ref, nil
}

func writeTar(out io.Writer, files []file, tree, dest string) error {
	w := tar.NewWriter(out)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.body)), Typeflag: tar.TypeReg}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(f.body); err != nil {
			return err
		}
	}
	if tree != "" {
		err := filepath.WalkDir(tree, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(tree, p)
			if slices.Contains([]string{"test", "api", "doc", "misc"}, rel) { // of no use to a build
				return filepath.SkipDir
			}
			info, err := d.Info()
			if err != nil || !(info.Mode().IsRegular() || d.IsDir()) {
				return err
			}
			h, err := tar.FileInfoHeader(info, "")
			if err != nil {
				return err
			}
			h.Name, h.Uid, h.Gid = path.Join(dest, rel), 0, 0
			if d.IsDir() {
				return w.WriteHeader(h)
			}
			body, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			_, err = w.Write(body)
			return err
		})
		if err != nil {
			return err
		}
	}
	return w.Close()
}

// static fails for a program that needs more than itself.
func static(name string) error {
	f, err := elf.Open(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static", name)
		}
	}
	return nil
}

// makeImages makes the stand-ins and builds the real Dockerfile.
func makeImages(say func(string, ...any)) error {
	began := time.Now()
	if err := static(busybox); err != nil {
		return fmt.Errorf("%w: install Debian's busybox-static", err)
	}
	shell, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	bundle, err := os.ReadFile(caBundle)
	if err != nil {
		return fmt.Errorf("%w: install ca-certificates", err)
	}
	applets := command(exec.Command(busybox, "--list"))
	files := []file{
		{name: "bin/", mode: 0o755}, {name: "bin/busybox", mode: 0o755, body: shell}, {name: "tmp/", mode: 0o1777}, {name: "root/", mode: 0o700},
		{name: "etc/", mode: 0o755}, {name: "etc/ssl/", mode: 0o755}, {name: "etc/ssl/certs/", mode: 0o755},
		{name: caBundle[1:], mode: 0o644, body: bundle},
	}
	for _, a := range strings.Fields(applets.out) {
		if a != "busybox" {
			files = append(files, file{name: "bin/" + a, mode: 0o777, link: "busybox"})
		}
	}
	if baseImage, err = imported("base", files, "", "", "", "ENV PATH=/usr/local/bin:/bin"); err != nil {
		return err
	}

	goEnv := []string{"ENV PATH=/usr/local/go/bin:/bin", "ENV GOTOOLCHAIN=local", "ENV GOPATH=/go"}
	for _, name := range []string{"GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOSUMDB", "GONOPROXY", "GOINSECURE"} {
		// How modules are had is this machine's affair: it comes from its environment and is nowhere in the repository.
		if v := command(exec.Command("go", "env", name)).out; v != "" {
			goEnv = append(goEnv, "ENV "+name+"="+v)
		}
	}
	root := command(exec.Command("go", "env", "GOROOT")).out
	if goImage, err = imported("go", files, root, "usr/local/go", runtime.Version(), goEnv...); err != nil {
		return err
	}
	say("stand-in for the Go image: %s (%s)", goImage, time.Since(began).Round(time.Second))

	crane, err := builtTool(craneTool)
	if err != nil {
		return err
	}
	body, err := os.ReadFile(crane)
	if err != nil {
		return err
	}
	// As ko makes it: the binary, the certificates, a user that is not root, and no shell.
	craneFiles := []file{
		{name: "ko-app/", mode: 0o755}, {name: "ko-app/crane", mode: 0o755, body: body}, {name: "tmp/", mode: 0o1777},
		{name: "etc/", mode: 0o755}, {name: "etc/ssl/", mode: 0o755}, {name: "etc/ssl/certs/", mode: 0o755}, {name: caBundle[1:], mode: 0o644, body: bundle},
	}
	if craneImage, err = imported("crane", craneFiles, "", "", "", `ENTRYPOINT ["/ko-app/crane"]`, "USER 65532:65532"); err != nil {
		return err
	}
	cli, err := exec.LookPath("docker")
	if err != nil {
		return err
	}
	if body, err = os.ReadFile(cli); err != nil {
		return err
	}
	if err := static(cli); err == nil {
		cliFiles := append(slices.Clone(files), file{name: "usr/local/bin/docker", mode: 0o755, body: body})
		if dockerImage, err = imported("docker", cliFiles, "", "", "", "ENV PATH=/usr/local/bin:/bin", `CMD ["sh"]`); err != nil {
			return err
		}
	} else {
		say("%v: docker in a container is not tested", err)
	}

	began = time.Now()
	if err := buildRefresher(); err != nil {
		return err
	}
	say("docker build . with the legacy builder: %s (%s)", refresherImage, time.Since(began).Round(time.Second))
	return nil
}

// buildArgs are how the stand-in takes the Go image's place, and nothing else.
func buildArgs() []string { return []string{"GO_IMAGE=" + goImage, "VERSION=" + version} }

// buildRefresher is `docker build .` with the legacy builder: no platform arguments, one architecture.
func buildRefresher() error {
	args := []string{"build", "--network", "host", "--label", mark + "=image", "-t", refresherImage}
	for _, a := range buildArgs() {
		args = append(args, "--build-arg", a)
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if os.Getenv(name) != "" {
			args = append(args, "--build-arg", name) // the value is the environment's
		}
	}
	if r := engine(append(args, "..")...); !r.ok() {
		return fmt.Errorf("docker build: exit %d\n%s", r.code, r.all)
	}
	return nil
}

// buildARM64 is `docker build --platform linux/arm64 .` with the engine's BuildKit, which compiles across. The legacy builder cannot:
// it wants every stage to be of the target's platform. The docker CLI would need its plugin buildx; buildctl speaks to the same BuildKit.
func buildARM64(buildctl string) error {
	dir, err := os.MkdirTemp("", "ecr-refresher-e2e-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", dir+"/sock")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go toBuildKit(c)
		}
	}()
	args := []string{"--addr", "unix://" + dir + "/sock", "build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context=..",
		"--local", "dockerfile=..", "--opt", "platform=linux/arm64", "--opt", "label:" + mark + "=image", "--allow", "network.host",
		"--opt", "force-network-mode=host", "--output", "type=moby,name=" + arm64Image}
	for _, a := range buildArgs() {
		args = append(args, "--opt", "build-arg:"+a)
	}
	if r := command(exec.Command(buildctl, args...)); !r.ok() {
		return fmt.Errorf("build for arm64: exit %d\n%s", r.code, r.all)
	}
	return nil
}

// toBuildKit joins a connection to the BuildKit inside the engine.
func toBuildKit(c net.Conn) {
	defer c.Close()
	e, err := net.Dial("unix", engineSocket())
	if err != nil {
		return
	}
	defer e.Close()
	if _, err := io.WriteString(e, "POST /grpc HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"); err != nil {
		return
	}
	r := bufio.NewReader(e)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		return
	}
	go func() { _, _ = io.Copy(e, c); _ = e.Close() }()
	_, _ = io.Copy(c, r)
}

// tool is a program from the Go module proxy.
type tool struct{ name, pkg, version string }

var building sync.Mutex // one tool at a time: they are large

// builtTool builds a tool once for each version, below the user's cache directory.
func builtTool(t tool) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "ecr-refresher-e2e", runtime.Version(), t.name+"@"+t.version)
	bin := filepath.Join(dir, path.Base(t.pkg))
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	building.Lock()
	defer building.Unlock()
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	// Not `go install pkg@version`: that refuses modules with replace or exclude directives, as BuildKit's has.
	module, sub, _ := strings.Cut(t.pkg, "/cmd/")
	r := command(exec.Command("go", "mod", "download", "-json", module+"@"+t.version))
	src := between(r.out, `"Dir": "`, `"`)
	if !r.ok() || src == "" {
		return "", fmt.Errorf("%s@%s: %s", module, t.version, r.all)
	}
	cmd := exec.Command("nice", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin+".part", "./cmd/"+sub)
	cmd.Dir, cmd.Env = src, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if r := command(cmd); !r.ok() {
		return "", fmt.Errorf("build %s: %s", t.pkg, r.all)
	}
	return bin, os.Rename(bin+".part", bin)
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}
