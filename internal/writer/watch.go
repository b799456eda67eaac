package writer

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// pollEvery is how often a file is looked at where the kernel cannot tell of a change: often enough that a repair is done
// within 2 s.
const pollEvery = 1500 * time.Millisecond

// Watch calls notify when the file may have changed, until ctx ends. It uses inotify, which costs nothing while nothing
// happens, and looks at the file every 1.5 s where that cannot work: on a network file system, where other hosts' writes are
// not told, and where no inotify instance or watch is left. One goroutine calls notify.
func (f *File) Watch(ctx context.Context, notify func()) {
	for ctx.Err() == nil {
		if !remote(f.dir) && f.watchEvents(ctx, notify) {
			continue
		}
		f.poll(ctx, notify)
	}
}

// watchEvents returns when the directory itself has gone, or at once where it cannot be watched: ok is false then.
func (f *File) watchEvents(ctx context.Context, notify func()) (ok bool) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return false
	}
	defer w.Close()
	if w.Add(f.dir) != nil { // the directory: a rename puts another file under the name
		return false
	}
	notify() // what happened before the watch stood
	for {
		select {
		case <-ctx.Done():
			return true
		case e, open := <-w.Events:
			switch {
			case !open:
				return false
			case filepath.Clean(e.Name) == f.dir && e.Has(fsnotify.Remove|fsnotify.Rename):
				notify()
				return false
			case f.concerns(filepath.Base(e.Name)):
				notify()
			}
		case _, open := <-w.Errors: // an overflow: events were lost
			if !open {
				return false
			}
			notify()
		}
	}
}

// concerns tells the file, and what it may be a link to, from our own temporary files.
func (f *File) concerns(name string) bool {
	if name == f.base {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return name == f.name
}

// poll looks at the file for as long as it cannot be watched, and a minute at the most: then watching is tried again.
func (f *File) poll(ctx context.Context, notify func()) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	last, _ := f.stampNow()
	for range time.Minute / pollEvery {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, ok := f.stampNow()
		if now != last {
			last = now
			notify()
		}
		if ok && !remote(f.dir) && canWatch() {
			return
		}
	}
}

func (f *File) stampNow() (found, bool) {
	d, err := f.openDir(f.dir)
	if err != nil {
		return found{}, false
	}
	defer d.close()
	name, err := target(d, f.base)
	if err != nil {
		return found{}, false
	}
	at, err := look(d, name)
	return at, err == nil
}

// canWatch reports whether an inotify instance can be had.
func canWatch() bool {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// remote reports whether a directory is on a file system whose changes may come from another host (EFS is NFS). Magic
// numbers: statfs(2).
func remote(dir string) bool {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return false
	}
	switch uint32(s.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
		unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC,
		0x0BD00BD0: // Lustre
		return true
	}
	return false
}
