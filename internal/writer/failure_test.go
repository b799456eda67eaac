package writer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ecr-refresher/internal/fault"
)

// steps are where a Sync can fail, in their order.
var steps = []string{"open", "lstat", "read", "create", "chown", "chmod", "write", "fsync", "close", "rename", "syncdir"}

func TestEveryErrorAtEveryStep(t *testing.T) {
	for _, c := range []struct {
		err   error
		class fault.Class
		cure  string
	}{
		{syscall.EACCES, fault.OutputDenied, "SELinux"}, // owner and mode allow it
		{syscall.EPERM, fault.OutputDenied, "SELinux"},
		{syscall.EROFS, fault.OutputDenied, "without readOnly"},
		{syscall.ENOSPC, fault.OutputFull, "free space on the volume that holds DIR"},
		{syscall.EDQUOT, fault.OutputFull, "free space on the volume that holds DIR"},
		{syscall.EBUSY, fault.OutputOther, "share the directory DIR"},
		{syscall.EXDEV, fault.OutputOther, "share the directory DIR"},
		{syscall.ENOENT, fault.OutputOther, "see that DIR is still there"},
		{syscall.ENOTDIR, fault.OutputOther, "see that DIR is still there"},
		{syscall.EIO, fault.OutputOther, "kernel log"},
		{syscall.ELOOP, fault.OutputInvalid, "relative link to a name below DIR"},
		{syscall.EMFILE, fault.OutputOther, "nofile"},
		{syscall.ENFILE, fault.OutputOther, "nofile"},
		{syscall.EISDIR, fault.OutputInvalid, "name the file in that directory: --output=DIR/config.json/config.json"},
	} {
		for _, step := range steps {
			t.Run(fmt.Sprintf("%v/%s", c.err, step), func(t *testing.T) {
				cure := c.cure
				switch {
				case step == "chown" && (c.err == syscall.EACCES || c.err == syscall.EPERM):
					return // not an error: TestOwner
				case (step == "lstat" || step == "read") && c.err == syscall.ENOENT:
					return // the file is missing
				case step == "rename" && c.err == syscall.ENOENT:
					cure = "a DOCKER_CONFIG of its own" // the temporary file was taken away, again and again
				case step == "open" && c.err == syscall.ENOENT:
					cure = "mount the shared volume at DIR"
				case step == "open" && c.err == syscall.ENOTDIR:
					cure = "DIR is none"
				}
				checkFailure(t, step, c.err, c.class, cure)
			})
		}
	}
}

func checkFailure(t *testing.T, step string, cause error, class fault.Class, cure string) {
	at := t.TempDir()
	path := filepath.Join(at, "config.json")
	f := newFile(path)
	mustSync(t, f, wants(hostA, "old"))
	before, content := identity(t, path), slurp(t, path)
	var done []string
	broken := true
	fail := failing(step, cause)
	tap(f, func(op, name string) error {
		if !slices.Contains(done, op) {
			done = append(done, op)
		}
		if !broken {
			return nil
		}
		return fail(op, name)
	})
	r, err := f.Sync(wants(hostA, "new"))
	r.Obstacles = nil
	if got, _ := fault.ClassOf(err); got != class || !reflect.DeepEqual(r, Result{Wrote: step == "syncdir"}) { // then the new document stands there
		t.Errorf("%v %+v: %v", got, r, err)
	}
	if got := strings.ReplaceAll(fault.CureOf(err), at, "DIR"); !strings.Contains(got, cure) {
		t.Errorf("cure %q", got)
	}
	if !errors.Is(err, cause) && step != "rename" || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	if !slices.Contains(done, step) {
		t.Errorf("no such step among %q", done)
	}
	// After the rename the new file stands: then it must be made durable before anybody is told that all is well.
	if step != "syncdir" && identity(t, path) != before {
		t.Errorf("the old file is gone: %s", slurp(t, path))
	}
	if step == "syncdir" {
		if _, err := f.Sync(wants(hostA, "new")); err == nil {
			t.Error("said to be durable without an fsync of the directory")
		}
	} else if string(slurp(t, path)) != string(content) {
		t.Error("another content")
	}
	if s := strays(t, at); s != nil {
		t.Error(s)
	}
	broken = false
	mustSync(t, f, wants(hostA, "new"))
	if c := slurp(t, path); tokenOf(t, c, hostA) != "new" {
		t.Errorf("%s", c)
	}
}

// A restarted process does not know whether its predecessor came as far as the fsync of the directory.
func TestDurableAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	mustSync(t, newFile(path), wants(hostA, "a"))
	f := newFile(path)
	synced := 0
	tap(f, func(op, _ string) error {
		if op == "syncdir" {
			synced++
		}
		return nil
	})
	for range 3 {
		if r := mustSync(t, f, wants(hostA, "a")); r.Wrote || synced != 1 {
			t.Errorf("%+v, %d times", r, synced)
		}
	}
}

// A temporary file that could not be removed goes later.
func TestStrayAfterFailedRemove(t *testing.T) {
	at := t.TempDir()
	f := newFile(filepath.Join(at, "config.json"))
	broken := true
	tap(f, func(op, _ string) error {
		if broken && (op == "rename" || op == "remove") {
			return syscall.EIO
		}
		return nil
	})
	if _, err := f.Sync(wants(hostA, "a")); err == nil || len(strays(t, at)) == 0 {
		t.Fatal(err, strays(t, at))
	}
	broken = false
	mustSync(t, f, wants(hostA, "a"))
	if s := strays(t, at); s != nil {
		t.Error(s)
	}
}

// Another program that writes at the wrong moment is not overwritten, and one that never stops is named.
func TestRaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	f := newFile(path)
	mustSync(t, f, wants(hostA, "old"))
	races, most := 0, 4
	tap(f, func(op, name string) error {
		if op == "close" && races < most && strings.Contains(name, ".config.json.tmp-") {
			races++
			put(t, path, fmt.Sprintf(`{"auths":{},"theirs":%d}`, races))
		}
		return nil
	})
	if r := mustSync(t, f, wants(hostA, "new")); !r.Wrote || races != 4 {
		t.Errorf("%+v after %d", r, races)
	}
	if c := slurp(t, path); tokenOf(t, c, hostA) != "new" || !strings.Contains(string(c), `"theirs":4`) {
		t.Errorf("%s", c)
	}
	races, most = 0, 1000
	_, err := f.Sync(wants(hostA, "newer"))
	if class, _ := fault.ClassOf(err); class != fault.OutputOther || !strings.Contains(fault.CureOf(err), "DOCKER_CONFIG of its own") || races != 5 {
		t.Errorf("%v after %d: %v", class, races, err)
	}
	if c := slurp(t, path); !strings.Contains(string(c), `"theirs":5`) || strays(t, filepath.Dir(path)) != nil {
		t.Errorf("%s", c)
	}
}

func TestNoDirectory(t *testing.T) {
	at := t.TempDir()
	put(t, filepath.Join(at, "file"), "")
	for dir, cure := range map[string]string{"missing": "mount the shared volume at ", "file": " is none"} {
		f := newFile(filepath.Join(at, dir, "config.json"))
		_, err := f.Sync(wants(hostA, "a"))
		if class, _ := fault.ClassOf(err); class != fault.OutputOther || !strings.Contains(fault.CureOf(err), cure) {
			t.Errorf("%v %q: %v", class, fault.CureOf(err), err)
		}
		if _, err := f.Look(); err == nil {
			t.Error("Look finds a file")
		}
	}
}

// syncChild syncs a file and prints the class and the cure.
func syncChild(args []string) {
	_, err := newFile(args[0]).Sync(wants(hostA, "new"))
	class, _ := fault.ClassOf(err)
	fmt.Printf("class=%s cure=%s err=%v\n", class, fault.CureOf(err), err)
}

// Without permission, really: as another user where we are root, and without the bit where we are not.
func TestDenied(t *testing.T) {
	at, path := sharedDir(t)
	put(t, path, "{}")
	if err := errors.Join(os.Chmod(path, 0o644), os.Chmod(at, 0o555)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(at, 0o755) })
	cures := []string{"class=output_denied", at + " is our own", "chmod u+rwx " + at}
	if os.Geteuid() == 0 {
		cures = []string{"class=output_denied", "VOLUME", at + " belongs to uid 0 and we run as uid 65532"}
	}
	expect := func(words ...string) {
		t.Helper()
		out, err := stranger(t, "sync", path).CombinedOutput()
		for _, w := range words {
			if err != nil || !strings.Contains(string(out), w) {
				t.Errorf("no %q: %v %s", w, err, out)
			}
		}
	}
	expect(cures...)
	if string(slurp(t, path)) != "{}" {
		t.Error("touched")
	}
	// A file that is closed to us is another matter than a directory.
	if os.Geteuid() != 0 {
		return // nobody is closed out of his own file in a way that he could not mend
	}
	if err := errors.Join(os.Chmod(at, 0o777), os.Chmod(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	expect("class=output_denied", path+" belongs to uid 0 with mode 0600 and we run as uid 65532")
}

// stranger is a child without root's rights: another user where we are root.
func stranger(t *testing.T, name string, args ...string) *exec.Cmd {
	cmd := child(t, name, args...)
	if os.Geteuid() != 0 {
		return cmd
	}
	at, _ := sharedDir(t) // go test builds where nobody else can look
	self := filepath.Join(at, "self")
	if err := os.WriteFile(self, slurp(t, cmd.Path), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Dir = self, at
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	return cmd
}

// sharedDir is a directory that another user can reach.
func sharedDir(t *testing.T) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	for p := dir; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			break
		}
	}
	return dir, filepath.Join(dir, "config.json")
}

// mountsChild has a mount namespace of its own.
func mountsChild(args []string) {
	at, kind := args[0], args[1]
	path := filepath.Join(at, "config.json")
	switch kind {
	case "bind":
		must(os.WriteFile(path, []byte("{}"), 0o600))
		must(syscall.Mount(path, path, "", syscall.MS_BIND, ""))
	case "tmpfs":
		must(syscall.Mount("tmpfs", at, "tmpfs", 0, "size=64k"))
		must(os.WriteFile(path, []byte("{}"), 0o600))
		filler, err := os.Create(filepath.Join(at, "filler"))
		must(err)
		for err == nil {
			_, err = filler.Write(make([]byte, 4096))
		}
	case "readonly":
		must(os.WriteFile(path, []byte("{}"), 0o600))
		must(syscall.Mount(at, at, "", syscall.MS_BIND, ""))
		must(syscall.Mount("", at, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	}
	f := New(Options{Path: path, Mode: 0o600, Hosts: []string{hostA}})
	_, err := f.Sync(wants(hostA, "new"))
	class, _ := fault.ClassOf(err)
	content, readErr := os.ReadFile(path)
	entries, dirErr := os.ReadDir(at)
	must(errors.Join(readErr, dirErr))
	for _, e := range entries {
		if strings.Contains(e.Name(), ".tmp-") {
			fmt.Println("stray", e.Name())
		}
	}
	fmt.Printf("class=%s cure=%s content=%s err=%v", class, fault.CureOf(err), content, err)
}

// The real thing: a bind-mounted single file, a full file system, a read-only mount. In a user namespace nobody needs to be root.
func TestMounts(t *testing.T) {
	for kind, want := range map[string][]string{
		"bind":     {"class=output_other cure=share the directory ", "device or resource busy"},
		"tmpfs":    {"class=output_full cure=free space", "no space left"},
		"readonly": {"class=output_denied cure=mount the volume at ", "without readOnly", "read-only file system"},
	} {
		t.Run(kind, func(t *testing.T) {
			cmd := child(t, "mounts", t.TempDir(), kind)
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
			}
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil || strings.Contains(string(out), "operation not permitted") || strings.Contains(string(out), "permission denied") {
				t.Skipf("no user namespaces here: %v; TestEveryErrorAtEveryStep has the same error, injected", err)
			}
			for _, w := range append(want, "content={}") {
				if err != nil || !strings.Contains(string(out), w) {
					t.Errorf("no %q: %v %s", w, err, out)
				}
			}
			if strings.Contains(string(out), "stray") {
				t.Errorf("%s", out)
			}
		})
	}
}
