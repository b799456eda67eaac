package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory has Go's collector run more often when the process nears the memory limit of its container. Without it the heap may grow
// to twice what is in use: two outputs of 4 MiB each that somebody else rewrites all the time took more than the 64 MiB of
// deploy/taskdef.json. GOMEMLIMIT in the environment is left as it is.
func limitMemory(getenv func(string) string, read func(string) ([]byte, error)) {
	if getenv("GOMEMLIMIT") == "" {
		if limit := containerLimit(read); limit > 0 {
			debug.SetMemoryLimit(limit * 6 / 10) // 40 % is left for the health check's process, sockets and memory outside Go's heap
		}
	}
}

// containerLimit is the container's memory limit in bytes by its cgroup, version 2 or 1; 0 where there is none. Without a limit, version 1
// gives a number near the largest there is.
func containerLimit(read func(string) ([]byte, error)) int64 {
	const none = 1 << 50
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := read(file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && 0 < n && n < none {
			return n
		}
	}
	return 0
}

func readFile(name string) ([]byte, error) { return os.ReadFile(name) } //nolint:gosec // G304: one of two names
