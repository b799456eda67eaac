// Package disktest is the disk that tests put under the writer, by way of [writer.Options.Layer], and the mistakes that a writer
// could make with it. Only tests import it.
//
// It owns what a file system shows now and what survives a power cut. It refuses to know who writes, or what is in a file.
package disktest

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"time"

	"ecr-refresher/internal/writer"
)

// Disk is one directory on a disk that promises what POSIX does and no more. What a program sees is now. What survives a power
// cut: a file's content and mode as of its last fsync, and of everything after that any part; the names as of the last fsync
// of the directory, and of the creations, renames and removals after that any selection.
//
// It is its own [writer.Layer] and [writer.LayerDir]. It has no lock: callers with several goroutines need one.
type Disk struct {
	Clock func() time.Time // the file system's own; nil: it counts the changes
	After func()           // called after every step: the power may go here; nil: no call

	names   map[string]*File
	durable map[string]*File
	pending []change
	steps   int64
	files   int // changes of any file: their versions
	inodes  uint64
	free    []uint64 // inodes to use again, as file systems do
}

// File is a file. The bytes of its content are never changed, but replaced: a reader keeps what it got.
type File struct {
	Ino          uint64
	Mode         fs.FileMode
	Content      []byte
	Mtime, Ctime time.Time
	Version      int  // counts the changes of content and mode
	Chmodded     bool // the mode was set after the creation
	Note         any  // the test's own; nil after a power cut that changed the file

	before []byte // what was overwritten with it
	synced *File  // a copy as of the last fsync; nil before the first
}

// change is one that the directory has not been synced after: name leads to a file, or to nothing, and from is gone.
type change struct {
	name, from string
	to         *File
}

func (c change) apply(names map[string]*File) {
	delete(names, c.from)
	if names[c.name] = c.to; c.to == nil {
		delete(names, c.name)
	}
}

// New is an empty disk.
func New() *Disk { return &Disk{names: map[string]*File{}, durable: map[string]*File{}} }

func (d *Disk) step() {
	d.steps++
	if d.After != nil {
		d.After()
	}
}

func (d *Disk) now() time.Time {
	if d.Clock != nil {
		return d.Clock()
	}
	return time.Unix(0, d.steps)
}

// File is the file under a name, nil where there is none.
func (d *Disk) File(name string) *File { return d.names[name] }

// Files are the names that are there, sorted.
func (d *Disk) Files() []string { return slices.Sorted(maps.Keys(d.names)) }

// Durable reports whether a power cut would leave a name as it is.
func (d *Disk) Durable(name string) bool { return d.names[name] == d.durable[name] }

// Durable reports whether a power cut would leave a file as it is.
func (f *File) Durable() bool { return f.synced != nil && f.synced.Version == f.Version }

func (d *Disk) create(mode fs.FileMode) *File {
	f := &File{Mode: mode}
	if k := len(d.free); k > 0 {
		f.Ino, d.free = d.free[k-1], d.free[:k-1]
	} else {
		d.inodes++
		f.Ino = d.inodes
	}
	d.touch(f)
	return f
}

func (d *Disk) touch(f *File) {
	d.files++
	f.Version, f.Mtime = d.files, d.now()
	f.Ctime = f.Mtime
}

// Chmod sets a file's mode.
func (d *Disk) Chmod(f *File, mode fs.FileMode) {
	d.files++
	f.Version, f.Mode, f.Chmodded, f.Ctime = d.files, mode, true, d.now()
	d.step()
}

// Replace changes a file in place. A power cut may bring back parts of what it held before.
func (d *Disk) Replace(f *File, content, before []byte) {
	f.Content, f.before = content, before
	d.touch(f)
	d.step()
}

// Put is a careful program's write: a new file in the place of the old one, and durable.
func (d *Disk) Put(name string, mode fs.FileMode, content []byte) *File {
	f := d.create(mode)
	f.Content = content
	d.change(change{name: name, to: f})
	d.Settle(name)
	return f
}

// Settle makes durable what is under a name, and all names: the disk had the time for it, or a program has waited for that.
func (d *Disk) Settle(name string) {
	if f := d.names[name]; f != nil {
		f.sync()
	}
	d.durable, d.pending = maps.Clone(d.names), nil
}

func (f *File) sync() {
	f.synced, f.before = &File{Mode: f.Mode, Content: f.Content, Version: f.Version}, nil
}

func (d *Disk) change(c change) {
	if old := d.names[c.name]; old != nil && old != c.to {
		d.free = append(d.free, old.Ino)
	}
	if c.to != nil {
		c.to.Ctime = d.now()
	}
	c.apply(d.names)
	d.pending = append(d.pending, c)
	d.step()
}

// Survivors calls f with every state that the disk can be in after a power cut now. Nobody may write to them.
func (d *Disk) Survivors(f func(*Disk)) {
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
		contents(names, slices.Sorted(maps.Keys(names)), func() { f(&Disk{names: names}) })
	}
}

// contents replaces each file by each of the forms in which it can survive.
func contents(names map[string]*File, todo []string, f func()) {
	if len(todo) == 0 {
		f()
		return
	}
	file := names[todo[0]]
	for _, form := range file.forms() {
		names[todo[0]] = form
		contents(names, todo[1:], f)
	}
	names[todo[0]] = file
}

// CutPower leaves one of the survivors. pick chooses one of n.
func (d *Disk) CutPower(pick func(n int) int) {
	d.names = d.durable
	for _, c := range d.pending {
		if pick(2) == 1 {
			c.apply(d.names)
		}
	}
	for _, name := range d.Files() {
		forms := d.names[name].forms()
		d.names[name] = forms[pick(len(forms))]
		d.names[name].sync()
	}
	d.durable, d.pending = maps.Clone(d.names), nil
}

// forms are as the last fsync left the file, as it is, as it was before it was overwritten, and in between: any prefix, either
// part of it, its length without its data, either mode.
func (f *File) forms() []*File {
	form := func(mode fs.FileMode, content []byte) *File {
		return &File{Ino: f.Ino, Mode: mode, Content: content, Mtime: f.Mtime, Ctime: f.Ctime, Version: f.Version}
	}
	old := f.synced
	if old == nil {
		old = form(0o600, nil)
	}
	if old.Mode == f.Mode && bytes.Equal(old.Content, f.Content) {
		return []*File{f}
	}
	forms := []*File{form(old.Mode, old.Content), form(f.Mode, f.Content), form(f.Mode, nil), form(old.Mode, f.Content)}
	if f.before != nil {
		forms = append(forms, form(f.Mode, f.before))
	}
	for _, part := range []int{1, 100, 200, 300, len(f.Content) / 2, len(f.Content) - 1} {
		if 0 < part && part < len(f.Content) {
			forms = append(forms, form(f.Mode, f.Content[:part]))
		}
		if 0 < part && part < len(f.before) && part < len(f.Content) {
			forms = append(forms, form(f.Mode, slices.Concat(f.Content[:part], f.before[part:])),
				form(f.Mode, slices.Concat(f.before[:part], f.Content[part:])))
		}
	}
	return append(forms, form(f.Mode, make([]byte, len(f.Content))))
}

// What follows is the seam. The comments at the writer's own interface say what each step is.

func (d *Disk) get(op, name string) (*File, error) {
	if f := d.names[name]; f != nil {
		return f, nil
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOENT}
}

// Open implements [writer.Layer].
func (d *Disk) Open(string) (writer.LayerDir, error) { return d, nil }

// Lstat implements [writer.LayerDir].
func (d *Disk) Lstat(name string) (fs.FileInfo, error) {
	f, err := d.get("lstat", name)
	if err != nil {
		return nil, err
	}
	return infoOf(f), nil
}

// Readlink implements [writer.LayerDir]: there are no links here.
func (d *Disk) Readlink(name string) (string, error) {
	return "", &fs.PathError{Op: "readlink", Path: name, Err: syscall.EINVAL}
}

// Read implements [writer.LayerDir].
func (d *Disk) Read(name string, _ int64) ([]byte, fs.FileInfo, error) {
	f, err := d.get("read", name)
	if err != nil {
		return nil, nil, err
	}
	return bytes.Clone(f.Content), infoOf(f), nil
}

// Create implements [writer.LayerDir].
func (d *Disk) Create(name string) (writer.LayerFile, error) {
	if d.names[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.EEXIST}
	}
	f := d.create(0o600)
	d.change(change{name: name, to: f})
	return &open{d, f}, nil
}

// ErrLength is the error of an overwriting that would change a file's length.
var ErrLength = errors.New("it would need another length")

// Overwrite implements [writer.LayerDir].
func (d *Disk) Overwrite(name string, content []byte) error {
	f, err := d.get("overwrite", name)
	switch {
	case err != nil:
		return err
	case len(content) != len(f.Content):
		return ErrLength
	}
	d.Replace(f, bytes.Clone(content), f.Content)
	return nil
}

// Rename implements [writer.LayerDir].
func (d *Disk) Rename(from, to string) error {
	f, err := d.get("rename", from)
	if err == nil {
		d.change(change{name: to, from: from, to: f})
	}
	return err
}

// Remove implements [writer.LayerDir].
func (d *Disk) Remove(name string) error {
	_, err := d.get("remove", name)
	if err == nil {
		d.change(change{name: name})
	}
	return err
}

// Names implements [writer.LayerDir].
func (d *Disk) Names(_ string, each func(string)) error {
	for _, name := range d.Files() {
		each(name)
	}
	return nil
}

// Sync implements [writer.LayerDir].
func (d *Disk) Sync(string) error {
	d.durable, d.pending = maps.Clone(d.names), nil
	d.step()
	return nil
}

// Close implements [writer.LayerDir].
func (d *Disk) Close() error { return nil }

// open is an open file.
type open struct {
	d *Disk
	f *File
}

func (o *open) Write(b []byte) (int, error) {
	o.f.Content = slices.Concat(o.f.Content, b)
	o.d.touch(o.f)
	o.d.step()
	return len(b), nil
}

func (o *open) Chown(int, int) error { o.d.step(); return nil }

func (o *open) Chmod(mode fs.FileMode) error { o.d.Chmod(o.f, mode); return nil }

func (o *open) Sync() error {
	o.f.sync()
	o.d.step()
	return nil
}

func (o *open) Close() error {
	o.d.step()
	return nil
}

// info is a file as it was when it was asked for.
type info struct{ f File }

func infoOf(f *File) info { return info{*f} }

func (i info) Name() string       { return "" }
func (i info) Size() int64        { return int64(len(i.f.Content)) }
func (i info) Mode() fs.FileMode  { return i.f.Mode }
func (i info) ModTime() time.Time { return i.f.Mtime }
func (i info) IsDir() bool        { return i.f.Mode.IsDir() }
func (i info) Sys() any {
	return &syscall.Stat_t{Ino: i.f.Ino, Ctim: syscall.NsecToTimespec(i.f.Ctime.UnixNano())}
}
