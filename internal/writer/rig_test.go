package writer

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/secret"
)

// children are the programs that a test can run as a process of its own: this binary, started again.
var children = map[string]func(args []string){
	"sync":   syncChild,
	"probe":  probeChild,
	"mounts": mountsChild,
	"crash":  crashChild,
	"docker": dockerChild,
}

const childEnv = "WRITER_TEST_CHILD"

func TestMain(m *testing.M) {
	if run, ok := children[os.Getenv(childEnv)]; ok {
		run(os.Args[1:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child prepares one of the children.
func child(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	if children[name] == nil {
		t.Fatalf("no child %q", name)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name, "GORACE=atexit_sleep_ms=0") // a second for each child otherwise
	return cmd
}

// must is for children, which have no t.
func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

const (
	hostA = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
	hostB = "444455556666.dkr.ecr.us-east-1.amazonaws.com"
)

// grant is a token whose content can be told by its name.
func grant(name string) *Grant {
	auth := secret.New(basic("AWS:" + name))
	issued := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	return &Grant{Auth: auth, Sum: auth.Sum(), Scope: "scope of " + name, Issued: issued, Expires: issued.Add(12 * time.Hour)}
}

// wants pairs hosts with the names of their tokens.
func wants(pairs ...string) (want []Want) {
	for i := 0; i < len(pairs); i += 2 {
		want = append(want, Want{pairs[i], grant(pairs[i+1])})
	}
	return want
}

// newFile is a file that is spared the waiting for the disk, where nobody cuts the power.
func newFile(path string) *File {
	f := New(Options{Path: path, Mode: 0o600, Hosts: []string{hostA, hostB}, Task: "arn:task"})
	tap(f, func(string, string) error { return nil })
	return f
}

func mustSync(t testing.TB, f *File, want []Want) Result {
	t.Helper()
	r, err := f.Sync(want)
	if err != nil {
		t.Fatal(err)
	}
	r.Obstacles = nil // of interest to few tests
	return r
}

func mustLook(t testing.TB, f *File) View {
	t.Helper()
	v, err := f.Look()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// tokenOf is the name of the token that a reader finds for a host, "" for none.
func tokenOf(t testing.TB, content []byte, host string) string {
	t.Helper()
	auth, _ := parse(t, string(content)).Auth(host)
	plain, err := base64.StdEncoding.DecodeString(string(auth))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(string(plain), "AWS:")
}

func slurp(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// strays are the temporary files below a directory.
func strays(t testing.TB, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(path, ".tmp-") {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// identity is what a write that is none must not change.
func identity(t testing.TB, path string) stamp {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return stampOf(info)
}

// tapped is a directory that asks before each step; an error is the result of the step then. A write that fails writes half.
// An fsync is asked about and left out: only a power cut would tell.
type tapped struct {
	dir
	before func(op, name string) error
}

// tap puts a tap into every directory that f opens.
func tap(f *File, before func(op, name string) error) {
	open := f.openDir
	f.openDir = func(path string) (dir, error) {
		if err := before("open", path); err != nil {
			return nil, err
		}
		d, err := open(path)
		if err != nil {
			return nil, err
		}
		return &tapped{d, before}, nil
	}
}

// failing is a tap that lets one kind of step fail.
func failing(op string, err error) func(op, name string) error {
	return func(o, _ string) error {
		if o == op {
			return &fs.PathError{Op: op, Path: "x", Err: err}
		}
		return nil
	}
}

func (d *tapped) lstat(name string) (fs.FileInfo, error) {
	if err := d.before("lstat", name); err != nil {
		return nil, err
	}
	return d.dir.lstat(name)
}

func (d *tapped) readlink(name string) (string, error) {
	if err := d.before("readlink", name); err != nil {
		return "", err
	}
	return d.dir.readlink(name)
}

func (d *tapped) read(name string, most int64) ([]byte, fs.FileInfo, error) {
	if err := d.before("read", name); err != nil {
		return nil, nil, err
	}
	return d.dir.read(name, most)
}

func (d *tapped) create(name string) (temp, error) {
	if err := d.before("create", name); err != nil {
		return nil, err
	}
	f, err := d.dir.create(name)
	if err != nil {
		return nil, err
	}
	return &tappedTemp{f, d.before, name}, nil
}

func (d *tapped) overwrite(name string, b []byte) error {
	if err := d.before("overwrite", name); err != nil {
		if old, _, readErr := d.dir.read(name, 1<<20); readErr == nil && len(old) == len(b) {
			_ = d.dir.overwrite(name, slices.Concat(b[:200], old[200:])) // the rest is blank
		}
		return err
	}
	return d.dir.overwrite(name, b)
}

func (d *tapped) rename(from, to string) error {
	return unless(d.before("rename", to), func() error { return d.dir.rename(from, to) })
}

func (d *tapped) remove(name string) error {
	return unless(d.before("remove", name), func() error { return d.dir.remove(name) })
}

func (d *tapped) names(parent string, each func(string)) error {
	if err := d.before("names", parent); err != nil {
		return err
	}
	return d.dir.names(parent, each)
}

func (d *tapped) beside(do func()) (wait func()) { do(); return func() {} }

func (d *tapped) sync(parent string) error {
	return d.before("syncdir", parent)
}

type tappedTemp struct {
	temp
	before func(op, name string) error
	name   string
}

func (f *tappedTemp) Write(b []byte) (int, error) {
	if err := f.before("write", f.name); err != nil {
		n, _ := f.temp.Write(b[:len(b)/2])
		return n, err
	}
	return f.temp.Write(b)
}

func (f *tappedTemp) chown(uid, gid int) error {
	return unless(f.before("chown", f.name), func() error { return f.temp.chown(uid, gid) })
}

func (f *tappedTemp) chmod(mode fs.FileMode) error {
	return unless(f.before("chmod", f.name), func() error { return f.temp.chmod(mode) })
}

func (f *tappedTemp) sync() error {
	return f.before("fsync", f.name)
}

func (f *tappedTemp) close() error {
	err := f.before("close", f.name)
	return cmp.Or(f.temp.close(), err)
}

func unless(err error, step func() error) error {
	if err != nil {
		return err
	}
	return step()
}
