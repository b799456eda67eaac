package writer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"ecr-refresher/internal/fault"
)

// What a probe says is what a Sync would meet, and nothing is left or changed.
func TestProbe(t *testing.T) {
	at := t.TempDir()
	path := filepath.Join(at, "config.json")
	f := New(Options{Path: path, Mode: 0o600})
	left := func(want int) {
		t.Helper()
		if entries, err := os.ReadDir(at); err != nil || len(entries) != want {
			t.Errorf("left: %v, %v", entries, err)
		}
	}
	if err := f.Probe(); err != nil {
		t.Fatal(err)
	}
	left(0)
	if err := os.WriteFile(path, []byte("{}"), 0o640); err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(path)
	if err := f.Probe(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) || after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
		t.Error("the file was touched")
	}
	left(1)

	// It does what it says, in this order.
	var done []string
	tap(f, func(op, name string) error {
		if op != "lstat" && op != "stat" && op != "chmod" && op != "close" && op != "open" && op != "readlink" {
			done = append(done, op)
		}
		return nil
	})
	if err := f.Probe(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"create", "write", "create", "write", "fsync", "rename", "remove", "syncdir"}; !slices.Equal(done, want) {
		t.Errorf("it does %q, want %q", done, want)
	}
	for _, step := range []string{"create", "write", "fsync", "rename", "remove", "syncdir"} {
		broken := true
		tap(f, func(op, name string) error {
			if broken && op == step {
				broken = false
				return syscall.EIO
			}
			return nil
		})
		if err := f.Probe(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s fails: %v", step, err)
		}
		for _, s := range strays(t, at) {
			if step != "remove" { // what cannot be removed stays until a refresher tidies
				t.Errorf("%s fails, and %s is left", step, s)
			}
			_ = os.Remove(s)
		}
	}

	err := New(Options{Path: filepath.Join(at, "none", "config.json")}).Probe()
	if class, _ := fault.ClassOf(err); class != fault.OutputOther || fault.CureOf(err) == "" {
		t.Errorf("no directory: %v", err)
	}
	f.openDir = func(string) (dir, error) { return nil, os.ErrPermission }
	if class, _ := fault.ClassOf(f.Probe()); class != fault.OutputDenied {
		t.Error("no permission, and the probe does not say so")
	}
}
