package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// shipped is the program as the image has it: without the race detector, and without the sandbox that this test binary holds,
// so that its memory is the real one. It is built once for all tests.
func shipped(t testing.TB) string {
	t.Helper()
	watchSources(t)
	bin, err := buildShipped()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// shippedDir is where it is built.
var shippedDir = filepath.Join(os.TempDir(), fmt.Sprintf("refresher-shipped-%d", os.Getpid()))

var buildShipped = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(shippedDir, "refresher")
	cmd := exec.Command("go", "build", "-trimpath", "-tags=nethttpomithttp2", "-ldflags=-s -w", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return bin, nil
})

// tests are all tests, and what is removed after them.
type tests struct{ *testing.M }

func (t tests) Run() int {
	defer func() { _ = os.RemoveAll(shippedDir) }()
	return t.M.Run()
}
