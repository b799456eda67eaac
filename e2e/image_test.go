//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// saved reads an image out of the engine.
func saved(t *testing.T, ref string) (v1.Image, *v1.ConfigFile) {
	t.Helper()
	at := filepath.Join(t.TempDir(), "image.tar")
	docker(t, "save", "-o", at, ref)
	img, err := tarball.ImageFromPath(at, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return img, cfg
}

// entries are all names in an image's file system, with their content.
func entries(t *testing.T, img v1.Image) (map[string]*tar.Header, map[string][]byte) {
	t.Helper()
	headers, bodies := map[string]*tar.Header{}, map[string][]byte{}
	rc := mutate.Extract(img)
	defer rc.Close()
	for r := tar.NewReader(rc); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers, bodies
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.Trim(h.Name, "./")
		headers[name] = h
		if bodies[name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestImage(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			if arch == "arm64" {
				buildctl, err := builtTool(ctlTool)
				if err != nil {
					t.Fatal(err)
				}
				if err := buildARM64(buildctl); err != nil {
					t.Fatal(err)
				}
			}
			img, cfg := saved(t, map[string]string{"amd64": refresherImage, "arm64": arm64Image}[arch])
			headers, bodies := entries(t, img)
			var names []string
			for n, h := range headers {
				if n != "" {
					names = append(names, n)
				}
				if h.Typeflag != tar.TypeDir && h.Mode&0o022 != 0 {
					t.Errorf("/%s can be written by others: %o", n, h.Mode)
				}
			}
			slices.Sort(names)
			if want := []string{"etc", "etc/ssl", "etc/ssl/certs", caBundle[1:], "healthcheck", "refresher", "run", "run/ecr"}; !slices.Equal(names, want) {
				t.Errorf("in the image: %v, want %v", names, want)
			}
			if h := headers["run/ecr"]; h == nil || h.Uid != 65532 || h.Gid != 65532 || h.Mode&0o7777 != 0o755 {
				t.Errorf("/run/ecr: %+v; the volume would have this owner and mode", h)
			}
			for _, name := range []string{"refresher", "healthcheck"} {
				if h := headers[name]; h == nil || h.Uid != 0 || h.Mode&0o777 != 0o755 {
					t.Errorf("/%s: %+v", name, h)
				}
			}
			bundle, err := os.ReadFile(caBundle)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(bodies[caBundle[1:]], bundle) {
				t.Error("the CA certificates are not those of the build stage")
			}

			c := cfg.Config
			if cfg.Architecture != arch || cfg.OS != "linux" {
				t.Errorf("platform %s/%s", cfg.OS, cfg.Architecture)
			}
			if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/refresher"}) || len(c.Cmd) != 0 {
				t.Errorf("user %q, entry point %v, command %v", c.User, c.Entrypoint, c.Cmd)
			}
			if _, ok := c.Volumes["/run/ecr"]; !ok || len(c.Volumes) != 1 {
				t.Errorf("volumes %v; ECS gives the volume its owner only where this is exactly /run/ecr", c.Volumes)
			}
			if _, ok := c.ExposedPorts["9327/tcp"]; !ok {
				t.Errorf("ports %v", c.ExposedPorts)
			}
			if !slices.Contains(c.Env, "REFRESHER_OUTPUT_MODE=0644") {
				t.Errorf("environment %v", c.Env)
			}
			for _, kv := range c.Env {
				if n, _, _ := strings.Cut(kv, "="); n != "PATH" && n != "REFRESHER_OUTPUT_MODE" {
					t.Errorf("environment: %s", kv)
				}
			}
			for _, l := range []string{"title", "description", "licenses"} {
				if c.Labels["org.opencontainers.image."+l] == "" {
					t.Errorf("label %s is missing", l)
				}
			}
			if v := c.Labels["org.opencontainers.image.version"]; v != version {
				t.Errorf("version label %q", v)
			}

			binary := bodies["refresher"]
			var size int64
			for _, b := range bodies {
				size += int64(len(b))
			}
			if extra := size - int64(len(binary)) - int64(len(bodies["healthcheck"])) - int64(len(bundle)); extra > 300<<10 {
				t.Errorf("the image has %d KB beside binaries and certificates", extra>>10)
			}
			checkBinary(t, binary, arch, "refresh")
			checkBinary(t, bodies["healthcheck"], arch, "healthcheck")
			proved(t, "the image holds /refresher (%.1f MB), /healthcheck (%.1f MB), the CA certificates and /run/ecr of 65532:65532, nothing else; no sandbox in the binary", float64(len(binary))/1e6, float64(len(bodies["healthcheck"]))/1e6)
		})
	}
	r := engine("run", "--rm", "--label", mark, "--network", "none", refresherImage, "version")
	if !r.ok() || !strings.Contains(r.out, version) {
		t.Errorf("refresher version: exit %d, %s", r.code, r.all)
	}
	proved(t, "`docker run IMAGE version` says %q", r.out)
}

// A file that git knows and the build context lacks is a change, to the version stamp: every image would be of a version "+dirty".
func TestDockerignoreLeavesTheVersionClean(t *testing.T) {
	text, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	tracked := command(exec.Command("git", "-C", "..", "ls-files"))
	if !tracked.ok() {
		t.Skip("no git checkout")
	}
	for pattern := range strings.Lines(string(text)) {
		if pattern = strings.TrimSpace(pattern); pattern == "" || strings.HasPrefix(pattern, "#") {
			continue
		}
		for name := range strings.Lines(tracked.out) {
			name = strings.TrimSpace(name)
			if ok, _ := path.Match(pattern, name); ok || strings.HasPrefix(name, strings.TrimSuffix(pattern, "/")+"/") {
				t.Errorf(".dockerignore keeps %s from the build", name)
				break
			}
		}
	}
	proved(t, ".dockerignore keeps nothing from the build that git knows: the version stamp is clean")
}

// checkBinary looks at a binary that has to hold one of our packages.
func checkBinary(t *testing.T, binary []byte, arch, holds string) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; f.Machine != want {
		t.Errorf("machine %v, want %v", f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary is not static")
		}
	}
	if f.Section(".symtab") != nil || f.Section(".debug_info") != nil {
		t.Error("the binary is not stripped")
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range info.Deps {
		for _, never := range []string{"go-containerregistry", "docker/cli", "rogpeppe", "go-cmp"} {
			if strings.Contains(d.Path, never) {
				t.Errorf("module %s is in the binary", d.Path)
			}
		}
	}
	// The names of functions survive stripping.
	if !bytes.Contains(binary, []byte("ecr-refresher/internal/"+holds+".")) || bytes.Contains(binary, []byte("ecr-refresher/internal/sandbox")) {
		t.Errorf("the sandbox is in the binary, or internal/%s is not", holds)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	for key, want := range map[string]string{"-tags": "nethttpomithttp2", "-trimpath": "true", "CGO_ENABLED": "0"} {
		if settings[key] != want {
			t.Errorf("built with %s=%s", key, settings[key])
		}
	}
	if bytes.Contains(binary, []byte("/src/internal/")) {
		t.Error("paths of the build stage are in the binary")
	}
}
