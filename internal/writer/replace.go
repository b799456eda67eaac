package writer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
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
// remember is called beside 2 to 5 and has ended before 6, so that whoever is killed at any point leaves a file whose token is
// remembered, the old one or the new. It begins before the content does: where room is short, it needs the least of it, or none.
//
// A crash between 1 and 7 leaves a temporary file, which the next process removes (tidy).
//
// Without remember the file is a hint, which may be lost: 5 and 8 are skipped, and the question at 7. After a failure at 8 the
// new document stands under the name, and it is not certain to outlive a power cut.
func replace(d dir, name string, content io.WriterTo, old found, mode fs.FileMode, remember func()) error {
	hint := remember == nil
	parent, base := path.Split(name)
	tmp := parent + tempPrefix(base) + rand.Text()[:8]
	if err := writeTemp(d, tmp, content, old, mode, remember); err != nil {
		return err
	}
	if err := swap(d, tmp, name, old, hint); err != nil {
		_ = d.remove(tmp)
		return err
	}
	if hint {
		return nil
	}
	if err := d.sync(parent); err != nil {
		return notDurable{err}
	}
	return nil
}

// notDurable is a failure at 8: the new document stands under the name all the same.
type notDurable struct{ error }

func (e notDurable) Unwrap() error { return e.error }

// writeTemp is steps 1 to 6. A failure leaves nothing.
func writeTemp(d dir, tmp string, content io.WriterTo, old found, mode fs.FileMode, remember func()) (err error) {
	f, err := d.create(tmp)
	if err != nil {
		return err
	}
	defer func() {
		if closed := f.close(); err == nil {
			err = closed
		}
		if err != nil {
			_ = d.remove(tmp)
		}
	}()
	if remember != nil {
		defer d.beside(remember)()
	}
	if old.exists {
		if err := keepOwner(f, old); err != nil {
			return fmt.Errorf("keep the owner: %w", err)
		}
	}
	if err := f.chmod(mode); err != nil {
		return err
	}
	if _, err := content.WriteTo(f); err != nil {
		return err
	}
	if remember == nil {
		return nil
	}
	return f.sync()
}

// keepOwner gives a file the owner and group of the old one, or the group alone: any member of a group may do that, and the
// mode may rest on it. To be allowed neither is no error: the file is ours then, and its mode says who may read it.
func keepOwner(f temp, old found) error {
	err := f.chown(old.uid, old.gid)
	if err != nil {
		err = f.chown(-1, old.gid)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// swap is step 7.
func swap(d dir, tmp, name string, old found, hint bool) error {
	if !hint {
		switch now, err := look(d, name); {
		case err != nil:
			return err
		case now != old: // mutant: a race is not noticed
			return errRaced
		}
	}
	err := d.rename(tmp, name)
	if errors.Is(err, fs.ErrNotExist) {
		return errRaced // another refresher that starts has tidied our temporary file away
	}
	return err
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
	uid, gid := owner(info)
	return found{true, stampOf(info), uid, gid}
}

func tempPrefix(name string) string { return "." + name + ".tmp-" }

// tidy removes the temporary files for the output and its state file that a killed process left. One that a living process is writing at this moment is
// lost to it, and it tries again.
func tidy(d dir, name, state string) {
	parent, base := path.Split(name)
	prefixes := []string{tempPrefix(base), tempPrefix(state)}
	if parent != "" { // the file is elsewhere, behind a link
		tidy(d, state, state)
	}
	var strays []string // removed afterwards: a directory that changes while it is read may skip names
	_ = d.names(parent, func(n string) {
		if (strings.HasPrefix(n, prefixes[0]) || strings.HasPrefix(n, prefixes[1])) && len(strays) < straysMost {
			strays = append(strays, n)
		}
	})
	for _, n := range strays {
		_ = d.remove(parent + n)
	}
}

// straysMost bounds what is removed at a time: each kill leaves one at most, so more than that were made by somebody else.
const straysMost = 1000

// follow follows symlinks from a name to the name that a replacement must use, so that the link stays a link. It returns all
// names on the way, the file's own last, and what stands under that; in a failure as far as it came. A link may lead anywhere
// below the directory, and not out of it: what is outside the volume is not ours, and who shares the volume would not see it.
// For the same reason an absolute link counts as one that leads out: others mount the volume elsewhere.
func follow(d dir, name string) (names []string, at found, err error) {
	for range maxLinks {
		names = append(names, name)
		info, err := d.lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return names, found{}, nil
		case err != nil && len(names) > 1 && !errors.As(err, new(syscall.Errno)):
			// os.Root's own refusal is the one error that does not come from the kernel.
			names = names[:len(names)-1]
			return names, found{}, &fs.PathError{Op: "follow", Path: names[len(names)-1], Err: errLinkOut}
		case err != nil:
			return names, found{}, err
		case info.Mode()&fs.ModeSymlink == 0:
			return names, foundOf(info), nil
		}
		to, err := d.readlink(name)
		if err != nil {
			return names, found{}, err
		}
		if parent, _ := path.Split(name); !path.IsAbs(to) {
			to = parent + to // not cleaned: parent may hold a link itself, and then .. is not what it looks like
		}
		name = to
	}
	return names, found{}, &fs.PathError{Op: "follow", Path: names[0], Err: syscall.ELOOP}
}

// maxLinks is how many names a chain of links may have. The kernel allows 40; more than two is somebody's mistake.
const maxLinks = 8

var (
	errLinkOut    = errors.New("it is a symbolic link that leads out of the directory")
	errNotRegular = errors.New("it is not a regular file")
	errNotAlike   = errors.New("it is not a plain file of ours of the same length")
)

// tooLarge says that there is more to read than the memory of the process is made for.
type tooLarge struct{ size, most int64 }

func (e *tooLarge) Error() string {
	return fmt.Sprintf("its size of %d bytes is above the limit of %d", e.size, e.most)
}
