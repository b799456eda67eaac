package writer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// events is what a Watch does: it makes a watcher, and it tells.
type events chan string

func (e events) await(want string) {
	for got := range e { // or the test hangs, and go test says where
		if got == want {
			return
		}
	}
}

// watching runs Watch until the test ends.
func watching(t *testing.T, f *File) events {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	e, done, watcher := make(events, 1e6), make(chan struct{}), f.watcher
	f.watcher = func() (*fsnotify.Watcher, error) { e <- "watcher"; return watcher() }
	go func() {
		defer close(done)
		f.Watch(ctx, func() { e <- "told" })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return e
}

// quiet is a file whose watch stands and has told all there was.
func quiet(t *testing.T, path string) (f *File, e events) {
	t.Helper()
	f = newFile(path)
	e = watching(t, f)
	e.await("told")
	return f, e
}

func TestWatch(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"written in place": func(path string) error { return os.WriteFile(path, []byte(`{"x":1}`), 0o600) },
		"truncated":        func(path string) error { return os.Truncate(path, 0) },
		"mode":             func(path string) error { return os.Chmod(path, 0o644) },
		"deleted":          os.Remove,
		"renamed away":     func(path string) error { return os.Rename(path, path+".away") },
		"renamed over":     func(path string) error { return os.Rename(filepath.Join(filepath.Dir(path), "config.json123"), path) },
		"linked elsewhere": func(path string) error { return os.Symlink("config.json123", path) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			put(t, filepath.Join(filepath.Dir(path), "config.json123"), "{}")
			if name != "linked elsewhere" {
				put(t, path, "{}")
			}
			_, e := quiet(t, path)
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			e.await("told")
		})
	}
}

// What the file links to is watched too, in other directories and after the link has changed.
func TestWatchLink(t *testing.T) {
	at := t.TempDir()
	path := filepath.Join(at, "config.json")
	for _, dir := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(at, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(at, dir, "real.json"), "{}")
	}
	layLinks(t, at, []string{"config.json", "link", "link", "one/real.json"})
	if err := os.Symlink("two/real.json", filepath.Join(at, "new")); err != nil {
		t.Fatal(err)
	}
	f := newFile(path)
	var w *fsnotify.Watcher
	f.watcher = func() (_ *fsnotify.Watcher, err error) { w, err = fsnotify.NewWatcher(); return w, err }
	e := watching(t, f)
	e.await("told")
	put(t, filepath.Join(at, "one/real.json"), "{ }")
	e.await("told")
	if err := os.Rename(filepath.Join(at, "new"), filepath.Join(at, "link")); err != nil {
		t.Fatal(err)
	}
	for !slices.ContainsFunc(w.WatchList(), func(dir string) bool { return filepath.Base(dir) == "two" }) {
		e.await("told")
	}
	put(t, filepath.Join(at, "two/real.json"), "{ }")
	e.await("told")
}

// The directory goes and comes again, and is watched again.
func TestWatchDirectoryRecreated(t *testing.T) {
	at := filepath.Join(t.TempDir(), "volume")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(at, "config.json")
	_, e := quiet(t, path)
	if err := errors.Join(os.Remove(at), os.Mkdir(at, 0o755)); err != nil {
		t.Fatal(err)
	}
	e.await("watcher") // the first is behind us
	e.await("told")
	put(t, path, "")
	e.await("told")
}

// Our own temporary files, the state and other programs' files wake nobody; lost events and a change of ours do.
func TestWatchConcerns(t *testing.T) {
	at := t.TempDir()
	real, err := filepath.EvalSymlinks(at)
	if err != nil {
		t.Fatal(err)
	}
	f := newFile(filepath.Join(at, "config.json"))
	made := make(chan *fsnotify.Watcher, 1)
	f.watcher = func() (*fsnotify.Watcher, error) {
		w, err := fsnotify.NewWatcher()
		made <- w
		return w, err
	}
	n := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Watch(ctx, func() { n <- struct{}{} }) }()
	defer func() { cancel(); <-done }()
	w := <-made
	<-n
	for _, c := range []struct {
		name string
		told int
	}{
		{".config.json.tmp-ABCDEFGH", 0}, {stateName("config.json"), 0}, {"..config.json.state.tmp-ABCDEFGH", 0},
		{"config.json123", 0}, {"other", 0}, {"config.json", 1},
	} {
		w.Events <- fsnotify.Event{Name: filepath.Join(real, c.name), Op: fsnotify.Write}
		w.Events <- fsnotify.Event{Name: "nothing"} // taken when the one before it has been dealt with
		if len(n) != c.told {
			t.Errorf("%s: told %d times", c.name, len(n))
		}
		for len(n) > 0 {
			<-n
		}
	}
	w.Errors <- fsnotify.ErrEventOverflow
	<-n
}

// Where the kernel cannot tell of changes somebody has to look; and watching is tried again.
func TestWatchPolls(t *testing.T) {
	for _, remote := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFile("/nonexistent/config.json")
			tries := 0
			f.remote = func(string) bool { return remote }
			f.watcher = func() (*fsnotify.Watcher, error) { tries++; return nil, syscall.EMFILE }
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			start, told := time.Now(), 0
			last := start
			f.Watch(ctx, func() {
				told++
				if gap := time.Since(last); gap >= 2*time.Second {
					t.Errorf("%v without a look", gap)
				}
				last = time.Now()
			})
			if time.Since(start) != 10*time.Second || told != 6 || remote != (tries == 0) {
				t.Errorf("after %v: told %d times, %d tries", time.Since(start), told, tries)
			}
		})
	}
}

func TestWatchRecovers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	f := newFile(path)
	tries := 0
	f.watcher = func() (*fsnotify.Watcher, error) {
		if tries++; tries == 1 {
			return nil, syscall.EMFILE
		}
		return fsnotify.NewWatcher()
	}
	e := watching(t, f)
	e.await("told") // by the poll
	e.await("watcher")
	e.await("told") // the watch stands
	put(t, path, "{}")
	e.await("told")
}

func TestRemote(t *testing.T) {
	for _, dir := range []string{"/", "/proc", t.TempDir(), "/nonexistent"} {
		if remote(dir) {
			t.Errorf("%s is remote", dir)
		}
	}
}

// Nothing is left of a watch that has ended.
func TestWatchLeaksNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	watch := func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		newFile(path).Watch(ctx, cancel)
	}
	watch(t.Context()) // what the runtime opens once
	fds, routines := inotifies(t), runtime.NumGoroutine()
	for range 50 {
		watch(t.Context())
	}
	if n := inotifies(t); n != fds {
		t.Errorf("%d descriptors, before %d", n, fds)
	}
	for runtime.NumGoroutine() > routines { // or the test hangs
		runtime.Gosched()
	}
}

// inotifies counts what this process holds open, inotify instances and directories.
func inotifies(t *testing.T) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc here")
	}
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.Contains(to, "inotify") || strings.HasPrefix(to, "/") {
			n++
		}
	}
	return n
}
