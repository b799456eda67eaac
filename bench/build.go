package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The names of the programs that are built here.
const (
	ours   = "refresher"
	naive  = "naive"
	helper = "ecr-login"
	check  = "healthcheck" // our health check as a program of its own, where there is one
)

const helperPackage = "github.com/awslabs/amazon-ecr-credential-helper/ecr-login/cli/docker-credential-ecr-login"

// build compiles everything as it is shipped or as most people would, and finds what the machine has.
func build(ctx context.Context, repo, scratch string) (map[string]string, error) {
	bin := filepath.Join(scratch, "bin")
	here := filepath.Join(repo, "bench")
	programs := map[string]string{}
	compile := func(dir, name string, args ...string) error {
		programs[name] = filepath.Join(bin, name)
		args = append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", programs[name]}, args...)
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
		return nil
	}
	errs := []error{
		compile(repo, ours, "-tags", "nethttpomithttp2", "./cmd/refresher"),
		compile(repo, "sandbox", "./cmd/sandbox"),
		compile(here, helper, "-modfile=ecr-login.mod", helperPackage),
	}
	if _, err := os.Stat(filepath.Join(repo, "cmd", check)); err == nil {
		errs = append(errs, compile(repo, check, "./cmd/"+check))
	}
	for _, name := range []string{naive, "empty", "bare", "promhttp", "roles", "spawn"} {
		errs = append(errs, compile(here, name, "./"+name))
	}
	programs["writer.test"] = filepath.Join(bin, "writer.test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", programs["writer.test"], "./internal/writer")
	cmd.Dir, cmd.Env = repo, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		errs = append(errs, fmt.Errorf("build the benchmark of internal/writer: %w\n%s", err, out))
	}
	for _, name := range []string{"curl", "prometheus-node-exporter", "prometheus-blackbox-exporter", "aws"} {
		if path, err := exec.LookPath(name); err == nil {
			programs[name] = path
		}
	}
	if path := programs["aws"]; strings.Contains(path, "/shims/") { // pyenv's: a shell script that looks for the program each time
		delete(programs, "aws")
		if real, err := exec.CommandContext(ctx, "pyenv", "which", "aws").Output(); err == nil {
			programs["aws"] = strings.TrimSpace(string(real))
		}
	}
	return programs, errors.Join(errs...)
}

// installPeers installs what Debian has. What cannot be installed is missing from the tables, and they say so.
func installPeers(ctx context.Context, errOut io.Writer) {
	var missing []string
	for program, debian := range map[string]string{
		"prometheus-node-exporter": "prometheus-node-exporter", "prometheus-blackbox-exporter": "prometheus-blackbox-exporter",
		"curl": "curl", "aws": "awscli",
	} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, debian)
		}
	}
	if len(missing) == 0 {
		return
	}
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-y", "-q", "--no-install-recommends"}, missing...)} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		// policy-rc.d: the exporters come as programs, not as services.
		cmd.Env = append(os.Environ(), "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(errOut, "bench: apt-get %s: %v\n%s", strings.Join(args, " "), err, out)
			return
		}
	}
}
