package writer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// disk is a directory on a disk that promises what POSIX does and no more. What a program sees is now. What survives a power
// cut: a file's content and mode as of its last fsync, and of everything after that any part; the names as of the last fsync
// of the directory, and of the creations, renames and removals after that any selection.
type disk struct {
	now     map[string]*inode
	durable map[string]*inode
	pending []change
	clock   int64
	cut     func() // called after every step: the power may go here
}

type inode struct {
	id      int64
	changed int64
	mode    fs.FileMode
	content []byte
	before  []byte // what was overwritten with it
	synced  *inode // a copy as of the last fsync; nil before the first
}

// change is one that a directory has not been synced after: name leads to a file, or to nothing, and from is gone.
type change struct {
	name, from string
	to         *inode
}

func newDisk(cut func(*disk)) *disk {
	d := &disk{now: map[string]*inode{}, durable: map[string]*inode{}}
	d.cut = func() { d.clock++; cut(d) }
	return d
}

// apply is what a change does to names.
func (c change) apply(names map[string]*inode) {
	delete(names, c.from)
	if names[c.name] = c.to; c.to == nil {
		delete(names, c.name)
	}
}

func (d *disk) change(c change) {
	c.apply(d.now)
	d.pending = append(d.pending, c)
	d.cut()
}

// survivors calls f with every state that the disk can be in after a power cut now.
func (d *disk) survivors(f func(names map[string]*inode)) {
	if len(d.pending) > 12 {
		panic("too many states")
	}
	for selection := range 1 << len(d.pending) {
		names := maps.Clone(d.durable)
		for i, c := range d.pending {
			if selection>>i&1 == 1 {
				c.apply(names)
			}
		}
		d.contents(names, slices.Sorted(maps.Keys(names)), f)
	}
}

// contents replaces each file by each of the forms in which it can survive.
func (d *disk) contents(names map[string]*inode, todo []string, f func(map[string]*inode)) {
	if len(todo) == 0 {
		f(names)
		return
	}
	file := names[todo[0]]
	for _, form := range file.forms() {
		names[todo[0]] = form
		d.contents(names, todo[1:], f)
	}
	names[todo[0]] = file
}

// forms are as the last fsync left the file, as it is, as it was before it was overwritten, and in between: any prefix, either
// part of it, its length without its data, either mode.
func (n *inode) forms() []*inode {
	old := n.synced
	if old == nil {
		old = &inode{mode: 0o600}
	}
	if old.mode == n.mode && bytes.Equal(old.content, n.content) {
		return []*inode{old}
	}
	forms := []*inode{old, {mode: n.mode, content: n.content}, {mode: n.mode}, {mode: old.mode, content: n.content}}
	if n.before != nil {
		forms = append(forms, &inode{mode: n.mode, content: n.before})
	}
	for _, part := range []int{1, 200, len(n.content) - 1} {
		if 0 < part && part < len(n.content) {
			forms = append(forms, &inode{mode: n.mode, content: n.content[:part]})
		}
		if 0 < part && part < len(n.before) && part < len(n.content) {
			forms = append(forms, &inode{mode: n.mode, content: append(n.content[:part:part], n.before[part:]...)},
				&inode{mode: n.mode, content: append(n.before[:part:part], n.content[part:]...)})
		}
	}
	return append(forms, &inode{mode: n.mode, content: make([]byte, len(n.content))})
}

func (d *disk) get(op, name string) (*inode, error) {
	if n := d.now[name]; n != nil {
		return n, nil
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOENT}
}

func (d *disk) lstat(name string) (fs.FileInfo, error) {
	n, err := d.get("lstat", name)
	return inodeInfo{n}, err
}

func (d *disk) readlink(string) (string, error) { return "", syscall.EINVAL }
func (d *disk) names(_ string, each func(string)) error {
	for _, name := range slices.Sorted(maps.Keys(d.now)) {
		each(name)
	}
	return nil
}
func (d *disk) stat() (fs.FileInfo, error)     { return nil, syscall.EIO }
func (d *disk) close() error                   { return nil }
func (d *disk) beside(do func()) (wait func()) { do(); return func() {} }
func (d *disk) open(string) (dir, error)       { return d, nil }
func (d *disk) read(name string, _ int64) ([]byte, fs.FileInfo, error) {
	n, err := d.get("read", name)
	if err != nil {
		return nil, nil, err
	}
	return bytes.Clone(n.content), inodeInfo{n}, nil
}

func (d *disk) create(name string) (temp, error) {
	if d.now[name] != nil {
		return nil, syscall.EEXIST
	}
	n := &inode{id: d.clock, changed: d.clock, mode: 0o600}
	d.change(change{name: name, to: n})
	return &diskFile{d, n}, nil
}

func (d *disk) overwrite(name string, b []byte) error {
	n, err := d.get("overwrite", name)
	if err != nil {
		return err
	}
	if len(b) != len(n.content) {
		return errNotAlike
	}
	n.before, n.content = n.content, bytes.Clone(b)
	(&diskFile{d, n}).touch()
	return nil
}

func (d *disk) rename(from, to string) error {
	n, err := d.get("rename", from)
	if err == nil {
		d.change(change{name: to, from: from, to: n})
	}
	return err
}

func (d *disk) remove(name string) error {
	_, err := d.get("remove", name)
	if err == nil {
		d.change(change{name: name})
	}
	return err
}

func (d *disk) sync(string) error {
	d.durable, d.pending = maps.Clone(d.now), nil
	d.cut()
	return nil
}

type diskFile struct {
	d *disk
	n *inode
}

func (f *diskFile) touch() { f.n.changed = f.d.clock; f.d.cut() }

func (f *diskFile) Write(b []byte) (int, error) {
	f.n.content = append(bytes.Clone(f.n.content), b...)
	f.touch()
	return len(b), nil
}
func (f *diskFile) chown(int, int) error         { f.touch(); return nil }
func (f *diskFile) chmod(mode fs.FileMode) error { f.n.mode = mode; f.touch(); return nil }
func (f *diskFile) close() error                 { f.d.cut(); return nil }
func (f *diskFile) sync() error {
	f.n.synced = &inode{mode: f.n.mode, content: f.n.content}
	f.d.cut()
	return nil
}

type inodeInfo struct{ *inode }

func (i inodeInfo) Name() string       { return "" }
func (i inodeInfo) Size() int64        { return int64(len(i.content)) }
func (i inodeInfo) Mode() fs.FileMode  { return i.mode }
func (i inodeInfo) ModTime() time.Time { return time.Unix(0, i.changed) }
func (i inodeInfo) IsDir() bool        { return false }
func (i inodeInfo) Sys() any {
	return &syscall.Stat_t{Ino: uint64(i.id), Ctim: syscall.NsecToTimespec(i.changed)}
}

// cutPower syncs a file again and again on a disk whose power may go after every step, and returns what a reader could find
// there afterwards that he must not. spoil puts a fault into the writer.
func cutPower(t *testing.T, fromNothing bool, spoil func(dir) dir) (states int, wrong []string) {
	t.Helper()
	var before, now string // the documents that may stand there: "-" is none
	before, now = "-", "-"
	check := func(d *disk) {
		if len(wrong) > 0 {
			return // one is enough
		}
		d.survivors(func(names map[string]*inode) {
			states++
			got, mode := "-", fs.FileMode(0o640)
			if n := names["config.json"]; n != nil {
				got, mode = string(n.content), n.mode
			}
			switch {
			case got != before && got != now:
				wrong = append(wrong, fmt.Sprintf("%q stands there, which is neither %q nor %q", got, before, now))
			case mode != 0o640:
				wrong = append(wrong, fmt.Sprintf("mode %#o", mode))
			}
			after := newFile("config.json")
			after.openDir = (&disk{now: names}).open
			if got == "" || got[0] != '{' {
				return
			}
			for host, g := range after.Recall() {
				if !strings.Contains(got, g.Auth.Reveal()) || g.Scope != "scope of "+tokenOf(t, []byte(got), host) {
					wrong = append(wrong, fmt.Sprintf("recalled %q from %q", g.Scope, got))
				}
			}
		})
	}
	d := newDisk(check)
	f := New(Options{Path: "config.json", Mode: 0o640, Hosts: []string{hostA, hostB}, Task: "arn:task"})
	f.openDir = func(string) (dir, error) { return spoil(d), nil }
	if !fromNothing {
		before = `{"n":1}`
		n := &inode{id: -1, mode: 0o640, content: []byte(before)}
		n.synced = n
		d.now["config.json"], d.durable["config.json"] = n, n
		now = before
	}
	for i, want := range [][]Want{wants(hostA, "1"), wants(hostA, "2", hostB, "2"), wants(hostA, "2", hostB, "3")} {
		doc, err := Parse([]byte(strings.Trim(before, "-")))
		if err != nil {
			t.Fatal(err)
		}
		var entries []Entry
		for _, w := range want {
			entries = append(entries, Entry{w.Host, w.Grant.Auth})
		}
		out, _ := mergeBytes(doc, entries)
		now = string(out)
		if r := mustSync(t, f, want); !r.Wrote || string(d.now["config.json"].content) != now {
			t.Fatalf("round %d: %+v %s", i, r, d.now["config.json"].content)
		}
		before = now // it was said to be durable
		check(d)
		_ = d.sync("") // the disk gets round to the rest
	}
	return states, wrong
}

func TestPowerCut(t *testing.T) {
	for _, fromNothing := range []bool{true, false} {
		states, wrong := cutPower(t, fromNothing, func(d dir) dir { return d })
		for _, w := range wrong {
			t.Error(w)
		}
		if states < 500 {
			t.Errorf("only %d states", states)
		}
		t.Logf("%d states after a power cut", states)
	}
}

// A check that cannot fail is none: each way to get the order wrong is seen.
func TestPowerCutSeesMistakes(t *testing.T) {
	for name, spoil := range map[string]func(dir) dir{
		"no fsync of the file":         func(d dir) dir { return &spoilt{dir: d, noFsync: true} },
		"fsync after the rename":       func(d dir) dir { return &spoilt{dir: d, late: true} },
		"no fsync of the directory":    func(d dir) dir { return &spoilt{dir: d, noSyncDir: true} },
		"fsync before the last change": func(d dir) dir { return &spoilt{dir: d, early: true} },
	} {
		for _, fromNothing := range []bool{true, false} {
			if _, wrong := cutPower(t, fromNothing, spoil); len(wrong) == 0 {
				t.Errorf("%s: not seen", name)
			} else {
				t.Logf("%s: %s", name, wrong[0])
			}
		}
	}
}

// spoilt is a directory that leaves out what matters, or does it at the wrong time.
type spoilt struct {
	dir
	noFsync, late, early, noSyncDir bool
	file                            temp
}

func (s *spoilt) create(name string) (temp, error) {
	f, err := s.dir.create(name)
	s.file = f
	return spoiltFile{f, s}, err
}

func (s *spoilt) rename(from, to string) error {
	err := s.dir.rename(from, to)
	if s.late {
		err = errors.Join(err, s.file.sync())
	}
	return err
}

func (s *spoilt) sync(parent string) error {
	if s.noSyncDir {
		return nil
	}
	return s.dir.sync(parent)
}

type spoiltFile struct {
	temp
	s *spoilt
}

func (f spoiltFile) Write(b []byte) (int, error) {
	if f.s.early {
		_ = f.temp.sync()
	}
	return f.temp.Write(b)
}

func (f spoiltFile) sync() error {
	if f.s.noFsync || f.s.late || f.s.early {
		return nil
	}
	return f.temp.sync()
}
