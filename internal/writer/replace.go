package writer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// replace puts a new content under a name, in an order in which a crash at any point leaves a reader the old document or
// the new one, whole, and never lets anybody read it who may not:
//
//  1. create   a temporary file in the same directory (a rename works within one file system only), O_EXCL, 0600
//  2. owner    that of the file it replaces, where we may
//  3. mode     as configured, whatever the umask; still empty, so nothing is shown too early
//  4. content
//  5. fsync    or a power cut after 7 could leave an empty file under the name
//  6. close    network file systems report a full disk only here
//  7. rename   unless the file has changed since it was read: then errRaced, and the caller reads again
//  8. fsync    of the directory, or a power cut could undo the rename
//
// A crash between 1 and 7 leaves a temporary file, which the next process removes (tidy).
//
// hint skips 5 and 8, for a file that may be lost. It returns what stands under the name afterwards, ours is false where
// that is already somebody else's.
func replace(d dir, name string, content io.WriterTo, old found, mode fs.FileMode, hint bool) (now found, ours bool, err error) {
	tmp := tempPrefix(name) + rand.Text()[:8]
	wrote, err := writeTemp(d, tmp, content, old, mode, hint)
	if err != nil {
		return found{}, false, err
	}
	if !hint {
		if now, err = look(d, name); err == nil && now != old {
			err = errRaced
		}
	}
	if err == nil {
		err = d.rename(tmp, name)
	}
	if err != nil {
		_ = d.remove(tmp)
		return found{}, false, err
	}
	if !hint {
		if err := d.sync(); err != nil {
			return found{}, false, err
		}
	}
	now, err = look(d, name)
	return now, now.exists && now.stamp.inode == wrote.inode && now.stamp.mtime == wrote.mtime, err
}

// writeTemp is steps 1 to 6. A failure leaves nothing.
func writeTemp(d dir, tmp string, content io.WriterTo, old found, mode fs.FileMode, hint bool) (wrote stamp, err error) {
	f, err := d.create(tmp)
	if err != nil {
		return stamp{}, err
	}
	open := true
	defer func() {
		if err != nil {
			if open {
				_ = f.close()
			}
			_ = d.remove(tmp)
		}
	}()
	if old.exists && (old.uid != os.Geteuid() || old.gid != os.Getegid()) {
		// Not an error: without CAP_CHOWN the file becomes ours, and its mode says who may read it.
		if err := f.chown(old.uid, old.gid); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EINVAL) {
			return stamp{}, fmt.Errorf("keep the owner: %w", err)
		}
	}
	if err := f.chmod(mode); err != nil {
		return stamp{}, err
	}
	if _, err := content.WriteTo(f); err != nil {
		return stamp{}, err
	}
	if !hint {
		if err := f.sync(); err != nil {
			return stamp{}, err
		}
	}
	info, err := f.stat()
	if err != nil {
		return stamp{}, err
	}
	open = false
	return stampOf(info), f.close()
}

// errRaced says that somebody else wrote the file after it was read.
var errRaced = errors.New("the file changed while it was being replaced")

// found is what stands under a name; comparable.
type found struct {
	exists   bool
	stamp    stamp
	uid, gid int
}

func look(d dir, name string) (found, error) {
	info, err := d.lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return found{}, nil
	}
	if err != nil {
		return found{}, err
	}
	return foundOf(info), nil
}

func foundOf(info fs.FileInfo) found {
	uid, gid, _ := owner(info)
	return found{true, stampOf(info), uid, gid}
}

func tempPrefix(name string) string { return "." + name + ".tmp-" }

// tidy removes the temporary files that a killed process left. One that a living process is writing at this moment is lost
// to it, and it tries again.
func tidy(d dir, name string) {
	names, err := d.names()
	if err != nil {
		return
	}
	for _, n := range names {
		if strings.HasPrefix(n, tempPrefix(name)) {
			_ = d.remove(n)
		}
	}
}

// target follows symlinks from a name inside the directory to the name that a replacement must use, so that the link stays a
// link. A link that leaves the directory is an error: what is outside the volume is not ours, and nobody sharing the volume
// would see it.
func target(d dir, name string) (string, error) {
	for range 8 {
		info, err := d.lstat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSymlink == 0 {
			return name, nil
		}
		if err != nil {
			return "", err
		}
		to, err := d.readlink(name)
		if err != nil {
			return "", err
		}
		if to = strings.TrimPrefix(to, "./"); to == "" || to == "." || to == ".." || strings.Contains(to, "/") {
			return "", &fs.PathError{Op: "follow", Path: name, Err: errLinkOut}
		}
		name = to
	}
	return "", &fs.PathError{Op: "follow", Path: name, Err: syscall.ELOOP}
}

var (
	errLinkOut    = errors.New("it is a symbolic link that leads out of the directory")
	errNotRegular = errors.New("it is not a regular file")
	errTooLarge   = fmt.Errorf("it is larger than %d MiB", maxSize>>20)
)
