package writer

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"ecr-refresher/internal/secret"
)

// dir is one open directory: all that this package asks of a file system, in as few words as it needs. Names are relative
// to the directory and cannot leave it; a parent is what path.Split says of a name. The tests put a recording and a failing
// one in its place.
type dir interface {
	lstat(name string) (fs.FileInfo, error)
	readlink(name string) (string, error)
	read(name string, most int64) ([]byte, fs.FileInfo, error) // the content, the caller's own, who clears it, and the state that it was read in; an error where there is more than most
	create(name string) (temp, error)                          // new, for writing, 0600; fails where the name exists
	overwrite(name string, content []byte) error               // in place; an error, and nothing written, where that is not a plain file of ours of that length
	rename(from, to string) error
	remove(name string) error
	names(parent string, each func(name string)) error // a few at a time: a directory may hold millions
	sync(parent string) error                          // makes renames durable
	close() error

	// beside does something while its caller does something else, and returns what waits for its end. On a disk whose steps come
	// one after another, as in a simulation, it is done already.
	beside(do func()) (wait func())
}

// temp is a file that no reader knows yet.
type temp interface {
	io.Writer
	chown(uid, gid int) error
	chmod(mode fs.FileMode) error
	sync() error
	close() error
}

// rootDir is a directory of the real file system. Through os.Root no symlink leads out of it.
type rootDir struct{ *os.Root }

func openRoot(path string) (dir, error) {
	root, err := os.OpenRoot(path)
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok && !errors.As(err, new(syscall.Errno)) {
		pathErr.Err = syscall.ENOTDIR // the one thing that os.OpenRoot finds out itself, and has only words for
	}
	if err != nil {
		return nil, err
	}
	return rootDir{root}, nil
}

func (d rootDir) lstat(name string) (fs.FileInfo, error) { return d.Lstat(name) }
func (d rootDir) readlink(name string) (string, error)   { return d.Readlink(name) }
func (d rootDir) rename(from, to string) error           { return d.Rename(from, to) }
func (d rootDir) remove(name string) error               { return d.Remove(name) }
func (d rootDir) close() error                           { return d.Close() }
func (d rootDir) beside(do func()) (wait func()) {
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	return func() { <-done }
}

func (d rootDir) read(name string, most int64) ([]byte, fs.FileInfo, error) {
	// O_NONBLOCK: opening a named pipe that somebody left under our name must not wait for a writer.
	f, err := d.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, err
	case info.IsDir():
		return nil, nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EISDIR}
	case !info.Mode().IsRegular():
		return nil, nil, &fs.PathError{Op: "read", Path: name, Err: errNotRegular}
	case info.Size() > most:
		return nil, nil, &fs.PathError{Op: "read", Path: name, Err: &tooLarge{info.Size(), most}}
	}
	b, err := secret.ReadAll(f, int(info.Size())+1, int(most))
	if errors.Is(err, secret.ErrTooLong) { // it has grown since
		err = &fs.PathError{Op: "read", Path: name, Err: &tooLarge{most + 1, most}}
	}
	return b, info, err
}

func (d rootDir) create(name string) (temp, error) {
	f, err := d.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return layerTemp{f}, nil
}

// overwrite needs no room: the file keeps its length. One block is written whole or not at all, also by a process that is killed;
// of more, and by a power cut, a mixture of old and new may be left, which the content itself must show.
func (d rootDir) overwrite(name string, content []byte) (err error) {
	link, err := d.Lstat(name)
	if err != nil {
		return err
	}
	f, err := d.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	ours := ok && sys.Nlink == 1 && int(sys.Uid) == os.Geteuid() && info.Mode() == 0o600 // no type: a plain file
	if !ours || !os.SameFile(link, info) || info.Size() != int64(len(content)) {
		return errNotAlike
	}
	_, err = f.Write(content)
	return err
}

func (d rootDir) names(parent string, each func(name string)) error {
	f, err := d.Open(parent + ".")
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(namesAtOnce)
		for _, name := range names {
			each(name)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// namesAtOnce is how many names of a directory are in memory at a time.
const namesAtOnce = 256

func (d rootDir) sync(parent string) error {
	f, err := d.Open(parent + ".")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err // some network file systems cannot sync a directory, and say so
	}
	return nil
}

// stamp tells two states of a file apart without reading it.
type stamp struct {
	inode, size, mtime, ctime int64
	mode                      fs.FileMode
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), mtime: info.ModTime().UnixNano(), mode: info.Mode()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = int64(sys.Ino)
		s.ctime = sys.Ctim.Nano()
	}
	return s
}

// settles is how long after its last change a file must be seen before its stamp can be trusted: until then another write may
// come within the same tick of the file system's clock and leave the same stamp. That tick is some milliseconds in most places,
// 1 s on ext4 with small inodes, 2 s on FAT.
const settles = 2 * time.Second

// firmAt reports whether every later change will show in the stamp of a file that is found like this at now.
func (f found) firmAt(now time.Time) bool {
	return !f.exists || now.Sub(time.Unix(0, f.stamp.ctime)) > settles
}

// owner returns the ids of a file's owner and group; 0 where the file system does not tell them.
func owner(info fs.FileInfo) (uid, gid int) {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return int(sys.Uid), int(sys.Gid)
}
