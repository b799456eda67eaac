package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// machine says where the figures come from, and which versions of what were measured.
func machine(ctx context.Context, p plan) string {
	first := func(name string, args ...string) string {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if err != nil {
			return "unknown"
		}
		return line
	}
	commit := first("git", "-C", p.Repo, "describe", "--always", "--dirty", "--exclude=*")
	text := fmt.Sprintf("%s, commit %s. %s; %d processors; Linux %s; load average before: %s. %s.\n\nMeasured: %s.\n",
		p.Began.UTC().Format(time.DateOnly), commit, cpuModel(), runtime.NumCPU(), first("uname", "-r"), p.Load, distribution(), strings.Join(versions(p, first), "; "))
	if p.Effort == few {
		text += "\n**A quick run: these figures say that everything runs, and nothing else.**\n"
	}
	if differ := differences(p.Programs[ours], p.Programs[naive]); differ != "" {
		text += "\nNot the same in refresher and naive: " + differ + ".\n"
	}
	return text
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

func distribution() string {
	text, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	return "unknown distribution"
}

// versions of what was measured.
func versions(p plan, first func(string, ...string) string) []string {
	var out []string
	module := func(program, path string) string {
		info, err := buildinfo.ReadFile(p.Programs[program])
		if err != nil {
			return "unknown"
		}
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == path {
				return m.Version
			}
		}
		return "unknown"
	}
	if info, err := buildinfo.ReadFile(p.Programs[ours]); err == nil {
		out = append(out, "all Go programs here with "+strings.TrimPrefix(info.GoVersion, "go")+`, CGO_ENABLED=0, -trimpath, -ldflags "-s -w"; the refresher with -tags nethttpomithttp2`)
	}
	out = append(out,
		"aws-sdk-go-v2 "+module(naive, "github.com/aws/aws-sdk-go-v2"),
		"client_golang "+module(naive, "github.com/prometheus/client_golang"),
		"amazon-ecr-credential-helper "+module(helper, "github.com/awslabs/amazon-ecr-credential-helper/ecr-login")+
			" with its own aws-sdk-go-v2 "+module(helper, "github.com/aws/aws-sdk-go-v2"))
	for _, name := range []string{"aws", "curl", nodeExporter, blackbox} {
		if path := p.Programs[name]; path != "" {
			out = append(out, strings.TrimSuffix(first(path, "--version"), ")"))
		}
	}
	for i, v := range out { // curl and the exporters go on and on
		v, _, _ = strings.Cut(v, " (")
		v, _, _ = strings.Cut(v, ", branch")
		v, _, _ = strings.Cut(v, " libcurl")
		out[i] = strings.Replace(v, ", version", "", 1)
	}
	return out
}

// differences are the modules that two programs share in different versions.
func differences(a, b string) string {
	one, err := buildinfo.ReadFile(a)
	if err != nil {
		return err.Error()
	}
	other, err := buildinfo.ReadFile(b)
	if err != nil {
		return err.Error()
	}
	have := map[string]string{}
	for _, m := range one.Deps {
		have[m.Path] = m.Version
	}
	var out []string
	for _, m := range other.Deps {
		if v, ok := have[m.Path]; ok && v != m.Version {
			out = append(out, fmt.Sprintf("%s %s and %s", m.Path, v, m.Version))
		}
	}
	return strings.Join(out, ", ")
}
