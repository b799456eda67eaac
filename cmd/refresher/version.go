package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version string

type build struct{ version, revision, goVersion string }

// buildInfo is what the binary knows of itself; without a version given, the VCS stamp says which commit it is.
func buildInfo() build {
	b := build{version: version, goVersion: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "(devel)" {
			b.version = cmp.Or(b.version, v)
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.revision = s.Value
			}
		}
	}
	b.version = cmp.Or(b.version, "devel")
	return b
}

func (b build) String() string {
	s := fmt.Sprintf("refresher %s (%s, %s/%s)", b.version, b.goVersion, runtime.GOOS, runtime.GOARCH)
	if b.revision != "" {
		s += " commit " + b.revision
	}
	return s
}
