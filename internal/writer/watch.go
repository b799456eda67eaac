package writer

import (
	"context"
	"path"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// pollEvery is how often a file is looked at where the kernel cannot tell of a change: often enough that a repair is done
// within 2 s.
const pollEvery = 1500 * time.Millisecond

// Watch calls notify when the file may have changed, until ctx ends. It uses inotify, which costs nothing while nothing
// happens. Where that cannot work it calls notify every 1.5 s, and a [File.Sync] finds out at the cost of one lstat, and of a read every ten
// seconds: on a network file system, where other hosts' writes are not told, where no inotify instance or watch is left, and
// while the directory is not there. Only the calling goroutine calls notify.
func (f *File) Watch(ctx context.Context, notify func()) {
	for ctx.Err() == nil {
		if !f.remote(f.dir) {
			f.watchEvents(ctx, notify)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
			notify()
		}
	}
}

// watchEvents returns when ctx ends, when a directory has gone, or at once where one cannot be watched.
func (f *File) watchEvents(ctx context.Context, notify func()) {
	w, err := f.watcher()
	if err != nil {
		return
	}
	defer w.Close()
	paths, err := f.cover(w)
	if err != nil {
		return
	}
	notify() // what happened before the watch stood
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-w.Events:
			isDir, concerns := paths[e.Name]
			switch {
			case !open || isDir && e.Has(fsnotify.Remove|fsnotify.Rename):
				return
			case !concerns: // other files, and our own temporary ones
				continue
			}
			if paths, err = f.cover(w); err != nil { // a link may lead elsewhere now
				return
			}
		case _, open := <-w.Errors: // an overflow: events were lost
			if !open {
				return
			}
		}
		notify()
	}
}

// cover watches the directory of the file and of whatever it links to: a rename puts another file under the name, which no
// watch of the file itself would tell. It returns the paths whose events concern the file; true for a directory.
func (f *File) cover(w *fsnotify.Watcher) (paths map[string]bool, err error) {
	d, err := f.openDir(f.dir)
	if err != nil {
		return nil, err
	}
	defer d.close()
	names, _, _ := follow(d, f.base) // a failure: as far as it came, where it can be mended
	paths = map[string]bool{}
	for _, name := range names {
		parent, base := path.Split(name)
		dir, err := filepath.EvalSymlinks(f.dir + "/" + parent)
		if err != nil {
			return nil, err
		}
		if err := w.Add(dir); err != nil {
			return nil, err
		}
		paths[dir], paths[filepath.Join(dir, base)] = true, false
	}
	return paths, nil
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
