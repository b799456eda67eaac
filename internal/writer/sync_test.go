package writer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
)

func TestSync(t *testing.T) {
	want := wants(hostA, "a", hostB, "b")
	both, _ := mergeBytes(Document{}, []Entry{{hostA, want[0].Grant.Auth}, {hostB, want[1].Grant.Auth}})
	foreign := `{"auths":{"x":{"auth":"` + basic("joe:x") + `"}},"n":12345678901234567890}`
	alias := strings.Replace(string(both), `"`+hostA, `"https://`+hostA+`": {}, "`+hostA, 1)
	for name, c := range map[string]struct {
		before, found string // before "-" is no file
		mode          fs.FileMode
	}{
		"missing":         {"-", "the file was missing", 0},
		"truncated":       {"", "the entry of " + hostA + " was missing", 0o600},
		"foreign":         {foreign, "the entry of " + hostA + " was missing", 0o600},
		"one removed":     {strings.Replace(string(both), hostB, "y", 1), "the entry of " + hostB + " was missing", 0o600},
		"one replaced":    {strings.Replace(string(both), basic("AWS:b"), basic("joe:b"), 1), "the entry of " + hostB + " had another token", 0o600},
		"alias":           {alias, "the entry of " + hostA + " was doubled or in another form", 0o600},
		"other form":      {strings.Replace(string(both), `"auth": "`, `"email": "", "auth": "`, 1), "the entry of " + hostA + " was doubled or in another form", 0o600},
		"hidden":          {strings.TrimSuffix(string(both), "\n}") + `, "Auths": null}`, "the entry of " + hostA + " was hidden by a null", 0o600},
		"the second":      {strings.Replace(string(both), hostB, "https://"+hostB+"/v1/", 1), "the entry of " + hostB + " was missing", 0o600},
		"all three":       {`{"auths":{"` + hostA + `/":{},"` + hostB + `":{"auth":"eDp5"}}}`, "the entry of " + hostA + " was missing", 0o600},
		"mode":            {string(both), "the mode was 0644", 0o644},
		"nothing differs": {string(both), "", 0o600},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			if c.before != "-" {
				put(t, path, c.before)
				if err := os.Chmod(path, c.mode); err != nil {
					t.Fatal(err)
				}
			}
			f := newFile(path)
			if r := mustSync(t, f, want); !reflect.DeepEqual(r, Result{Wrote: c.found != "", Found: c.found}) {
				t.Errorf("%+v", r)
			}
			content := slurp(t, path)
			if tokenOf(t, content, hostA) != "a" || tokenOf(t, content, hostB) != "b" || c.before == foreign && !bytes.Contains(content, []byte("12345678901234567890")) {
				t.Errorf("%s", content)
			}
			v := mustLook(t, f)
			if !v.Exists || v.Mode != 0o600 || v.Sums[hostA] != want[0].Grant.Sum || v.Sums[hostB] != want[1].Grant.Sum {
				t.Errorf("%+v", v)
			}
			before := identity(t, path)
			for _, f := range []*File{f, newFile(path)} { // the same process, and a new one
				if r := mustSync(t, f, want); r.Wrote || identity(t, path) != before {
					t.Errorf("written again: %+v", r)
				}
			}
			if s := strays(t, filepath.Dir(path)); s != nil {
				t.Error(s)
			}
		})
	}
}

// Nothing wanted is nothing done: an empty file would be an error for some of its readers.
func TestSyncNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	f := newFile(path)
	mustSync(t, f, nil)
	if v := mustLook(t, f); v.Exists || len(v.Sums) > 0 {
		t.Errorf("%+v", v)
	}
	// An entry of ours that is not wanted may hold a good token.
	mustSync(t, f, wants(hostA, "a", hostB, "b"))
	mustSync(t, f, wants(hostA, "new"))
	if c := slurp(t, path); tokenOf(t, c, hostA) != "new" || tokenOf(t, c, hostB) != "b" {
		t.Errorf("%s", c)
	}
}

func TestModeAndUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		for _, mode := range []fs.FileMode{0o600, 0o640, 0o644} {
			t.Run(fmt.Sprintf("%#o/%#o", umask, mode), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "config.json")
				f := New(Options{Path: path, Mode: mode, Hosts: []string{hostA}})
				defer syscall.Umask(syscall.Umask(umask))
				for _, token := range []string{"created", "replaced"} {
					mustSync(t, f, wants(hostA, token))
					if got := identity(t, path).mode; got != mode {
						t.Errorf("%s with %#o", token, got)
					}
				}
				if got := identity(t, filepath.Join(filepath.Dir(path), stateName("config.json"))).mode; got != 0o600 {
					t.Errorf("state with %#o", got)
				}
			})
		}
	}
}

// The mode is set while the file is empty, and the file is closed to others until then.
func TestNeverShownTooEarly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	f := New(Options{Path: path, Mode: 0o640, Hosts: []string{hostA}})
	var steps []string
	tap(f, func(op, name string) error {
		if !strings.Contains(name, ".config.json.tmp-") || op == "lstat" {
			return nil
		}
		info, err := os.Stat(filepath.Join(filepath.Dir(path), name))
		switch {
		case op == "create":
			steps = append(steps, op)
		case err != nil:
			t.Error(op, err)
		default:
			steps = append(steps, fmt.Sprintf("%s:%#o,%v", op, info.Mode(), info.Size() > 0))
		}
		return nil
	})
	defer syscall.Umask(syscall.Umask(0))
	put(t, path, "{}")
	mustSync(t, f, wants(hostA, "a"))
	if got := fmt.Sprint(steps); got != "[create chown:0600,false chmod:0600,false write:0640,false fsync:0640,true close:0640,true]" {
		t.Error(got)
	}
}

// Root keeps the owner; others keep the group where they may, and find no error where they may not.
func TestOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	f := newFile(path)
	put(t, path, "{}")
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 12, 34); err != nil {
			t.Fatal(err)
		}
		mustSync(t, f, wants(hostA, "a"))
		info, _ := os.Stat(path)
		if uid, gid := owner(info); uid != 12 || gid != 34 {
			t.Errorf("%d:%d", uid, gid)
		}
	}
	var asked []string
	for _, errs := range [][2]error{{nil, nil}, {syscall.EPERM, nil}, {syscall.EPERM, syscall.EPERM}, {syscall.EINVAL, syscall.EINVAL}, {syscall.ENOTSUP, syscall.ENOSYS}, {syscall.EIO, syscall.EIO}} {
		c := &chowner{errs: errs}
		err := keepOwner(c, found{exists: true, uid: 12, gid: 34})
		asked = append(asked, fmt.Sprint(c.asked, err))
	}
	if got := strings.Join(asked, " "); got != "[12:34] <nil> [12:34 -1:34] <nil> [12:34 -1:34] <nil> [12:34 -1:34] <nil> [12:34 -1:34] <nil> [12:34 -1:34] input/output error" {
		t.Error(got)
	}
}

type chowner struct {
	temp
	errs  [2]error
	asked []string
}

func (c *chowner) chown(uid, gid int) error {
	c.asked = append(c.asked, fmt.Sprintf("%d:%d", uid, gid))
	return c.errs[len(c.asked)-1]
}

// What cannot be a docker config is left alone, and nothing waits for it.
func TestInvalid(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"unparsable": func(path string) error { return os.WriteFile(path, []byte(`{"auths":{} hunter2`), 0o600) },
		"array":      func(path string) error { return os.WriteFile(path, []byte(`[]`), 0o600) },
		"too large": func(path string) error {
			return errors.Join(os.WriteFile(path, []byte(`{}`), 0o600), os.Truncate(path, othersMost+2*tokenMost+1))
		},
		"directory":  func(path string) error { return os.Mkdir(path, 0o700) },
		"named pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"socket":     func(path string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0) },
		"device":     func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|5) }, // zero: endless
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			if err := make(path); errors.Is(err, syscall.EPERM) {
				t.Skip("only root may make a device; the named pipe takes the same branch")
			} else if err != nil {
				t.Fatal(err)
			}
			before := identity(t, path)
			f := newFile(path)
			_, syncErr := f.Sync(wants(hostA, "a"))
			_, lookErr := f.Look()
			cure := "delete " + path
			switch name {
			case "too large":
				cure = "remove what does not belong into " + path
			case "directory": // DOCKER_CONFIG is one, so it is named by mistake
				cure = "name the file in that directory: --output=" + path + "/config.json"
			}
			for _, err := range []error{syncErr, lookErr} {
				if class, _ := fault.ClassOf(err); class != fault.OutputInvalid || !strings.Contains(fault.CureOf(err), cure) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%v %q: %v", class, fault.CureOf(err), err)
				}
			}
			if identity(t, path) != before || strays(t, filepath.Dir(path)) != nil {
				t.Error("touched")
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			mustSync(t, f, wants(hostA, "a"))
		})
	}
}

// reads counts the reads of the file itself.
func reads(f *File) *int {
	n := new(int)
	tap(f, func(op, name string) error {
		if op == "read" && name == "config.json" {
			*n++
		}
		return nil
	})
	return n
}

func TestLookFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	f := newFile(path)
	n := reads(f)
	expect := func(reading int, name, credsStore string) {
		t.Helper()
		*n = 0
		if v := mustLook(t, f); v.Sums[hostA] != grant(name).Sum || v.CredsStore != credsStore {
			t.Errorf("%s: %+v", name, v)
		}
		if *n != reading {
			t.Errorf("%s: %d reads", name, *n)
		}
	}
	doc := func(name string) string { return `{"auths":{"` + hostA + `":{"auth":"` + basic("AWS:"+name) + `"}}}` }
	mustSync(t, f, wants(hostA, "1"))
	expect(1, "1", "")
	// Within one tick of the clock any number of edits of the same size leave the same stamp: so a fresh one is not trusted.
	open, start := f.openDir, time.Now()
	age(f, func(time.Time) time.Time { return start })
	for i := range 200 {
		name := fmt.Sprint(i % 10)
		put(t, path, doc(name))
		expect(1, name, "")
	}
	// A stamp that has settled is trusted, and every change shows in it.
	f.openDir = open
	age(f, func(changed time.Time) time.Time { return changed.Add(-time.Minute) })
	expect(1, "9", "")
	expect(0, "9", "")
	if r := mustSync(t, f, wants(hostA, "9")); r.Wrote {
		t.Errorf("%+v", r)
	}
	for name, change := range map[string]func(){
		"in place": func() { put(t, path, doc("5")) },
		"renamed": func() {
			put(t, path+"x", doc("5"))
			if err := os.Rename(path+"x", path); err != nil {
				t.Fatal(err)
			}
		},
		"in place, time set back": func() {
			info, _ := os.Stat(path)
			put(t, path, doc("5"))
			_ = os.Chtimes(path, info.ModTime(), info.ModTime())
		},
	} {
		put(t, path, doc("4"))
		expect(1, "4", "")
		expect(0, "4", "")
		tick(t, path)
		change()
		expect(1, "5", "")
		t.Log(name)
	}
	put(t, path, `{"credsStore":"ecr-login","credHelpers":{"`+hostA+`":"x"},"auths":{"`+hostA+`":{"auth":"`+basic("AWS:6")+`"}}}`)
	expect(1, "6", "ecr-login")
	if got := mustLook(t, f).CredHelpers[hostA]; got != "x" {
		t.Error(got)
	}
}

// tick waits until the clock of the file system has moved on from the file's last change.
func tick(t testing.TB, path string) {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	for before := identity(t, path).ctime; ; {
		put(t, probe, "")
		if identity(t, probe).ctime > before {
			return
		}
	}
}

// age lets every file seem to have changed at another time.
func age(f *File, when func(time.Time) time.Time) {
	open := f.openDir
	f.openDir = func(path string) (dir, error) {
		d, err := open(path)
		return aged{d, when}, err
	}
}

type aged struct {
	dir
	when func(time.Time) time.Time
}

func (d aged) lstat(name string) (fs.FileInfo, error) {
	info, err := d.dir.lstat(name)
	return agedInfo{info, d.when}, err
}

func (d aged) read(name string, most int64) ([]byte, fs.FileInfo, error) {
	b, info, err := d.dir.read(name, most)
	return b, agedInfo{info, d.when}, err
}

type agedInfo struct {
	fs.FileInfo
	when func(time.Time) time.Time
}

func (i agedInfo) ModTime() time.Time { return i.when(i.FileInfo.ModTime()) }

func (i agedInfo) Sys() any {
	s := *i.FileInfo.Sys().(*syscall.Stat_t)
	s.Ctim = syscall.NsecToTimespec(i.when(time.Unix(s.Ctim.Unix())).UnixNano())
	return &s
}

// A write that waits for a slow disk does not keep those from looking who ask what a consumer would read: the old file is there.
func TestLookDuringSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	f := newFile(path)
	mustSync(t, f, wants(hostA, "old"))
	slow, looked := make(chan struct{}), make(chan struct{})
	tap(f, func(op, _ string) error {
		if op == "fsync" {
			close(slow)
			<-looked
		}
		return nil
	})
	done := make(chan error, 1)
	go func() {
		_, err := f.Sync(wants(hostA, "new"))
		done <- err
	}()
	<-slow
	if got, want := mustLook(t, f).Sums[hostA], wants(hostA, "old")[0].Grant.Sum; got != want {
		t.Error("not the file that is there")
	}
	close(looked)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got, want := mustLook(t, f).Sums[hostA], wants(hostA, "new")[0].Grant.Sum; got != want {
		t.Error("not the new file")
	}
}

// A process that is killed just before or after the rename leaves a state that knows the token in the file.
func TestStateKnowsBoth(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	f := newFile(path)
	mustSync(t, f, wants(hostA, "old"))
	stop := true
	tap(f, func(op, name string) error {
		if stop && op == "rename" && !strings.Contains(name, "state") {
			return syscall.EIO // as if killed before
		}
		return nil
	})
	if _, err := f.Sync(wants(hostA, "new")); err == nil {
		t.Fatal("the rename was not stopped")
	}
	if got := scopes(newFile(path)); got[hostA] != "scope of old" {
		t.Errorf("before the rename: %v", got)
	}
	if _, err := f.Sync(wants(hostA, "newer")); err == nil {
		t.Fatal("the rename was not stopped")
	}
	if got := scopes(newFile(path)); got[hostA] != "scope of old" {
		t.Errorf("before the second rename: %v", got)
	}
	stop = false
	mustSync(t, f, wants(hostA, "new"))
	if got := scopes(newFile(path)); got[hostA] != "scope of new" {
		t.Errorf("after the rename: %v", got)
	}
}
