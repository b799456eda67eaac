package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// sizes are those of the files that are shipped. None of them varies, so there is one round.
func sizes(ctx context.Context, p plan, f *figures) {
	for _, name := range []string{ours, check, naive, helper} {
		if info, err := os.Stat(p.Programs[name]); err == nil {
			f.add("size", name, "bytes", float64(info.Size()))
		}
	}
	if err := image(ctx, p, f); err != nil {
		f.note("size", "image", "not measured here: "+err.Error())
	}
}

// image builds the final stage of the Dockerfile, as it is written, over programs that are compiled already: nothing has to be
// pulled. What the real build stage leaves under /out is made here.
func image(ctx context.Context, p plan, f *figures) error {
	if err := exec.CommandContext(ctx, "docker", "info").Run(); err != nil {
		return fmt.Errorf("no Docker engine answers")
	}
	text, err := os.ReadFile(filepath.Join(p.Repo, "Dockerfile"))
	if err != nil {
		return err
	}
	_, final, ok := strings.Cut(string(text), "\nFROM scratch\n")
	if !ok {
		return fmt.Errorf("the Dockerfile has no stage FROM scratch")
	}
	dir := filepath.Join(p.Scratch, "image")
	for _, d := range []string{"out/run/ecr", "etc/ssl/certs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	binaries := 0.0
	for _, m := range regexp.MustCompile(`/out/([a-z-]+) `).FindAllStringSubmatch(final, -1) {
		if program, ok := p.Programs[m[1]]; ok {
			if err := copyFile(program, filepath.Join(dir, "out", m[1])); err != nil {
				return err
			}
			binaries += f.median("size", m[1], "bytes")
		}
	}
	if err := copyFile(certificates+"/ca-certificates.crt", filepath.Join(dir, certificates, "ca-certificates.crt")); err != nil {
		return err
	}
	const tag, label = "ecr-refresher-bench:latest", "ecr-refresher.bench=build"
	dockerfile := filepath.Join(p.Scratch, "Dockerfile")
	if err := os.WriteFile(dockerfile, []byte("FROM scratch AS build\nLABEL "+label+"\nCOPY . /\n\nFROM scratch\n"+final), 0o600); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "docker", "build", "-q", "-t", tag, "-f", dockerfile, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("docker build: %w: %s", err, out)
	}
	out, err := exec.CommandContext(ctx, "docker", "image", "inspect", "-f", "{{.Size}}", tag).Output()
	if err != nil {
		return err
	}
	_ = exec.CommandContext(ctx, "docker", "image", "rm", "-f", tag).Run()
	_ = exec.CommandContext(ctx, "docker", "image", "prune", "-f", "--filter", "label="+label).Run()
	size, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	f.add("size", "image", "bytes", size)
	f.add("size", "image", "binaries", binaries)
	return err
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}
