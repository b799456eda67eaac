package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"ecr-refresher/internal/fault"
)

// fail gives a failure of the file its class and its cure.
func (f *File) fail(op string, d dir, err error) error {
	class, cure := fault.OutputOther, "look for errors of the device or server behind "+f.dir+" in the kernel log of the host"
	switch {
	case errors.As(err, new(*SyntaxError)):
		class, cure = fault.OutputInvalid, "mend or delete "+f.path+": it is not touched while it cannot be read"
	case errors.Is(err, syscall.EISDIR):
		class, cure = fault.OutputInvalid, "name the file in that directory: --output="+filepath.Join(f.path, "config.json")
	case errors.As(err, new(*tooLarge)), errors.Is(err, errTooMany):
		class, cure = fault.OutputInvalid, "remove what does not belong into "+f.path+", or delete it: it is not touched while it cannot be read"
	case errors.Is(err, errNotRegular), errors.Is(err, syscall.ENXIO):
		class, cure = fault.OutputInvalid, "delete "+f.path+" or choose another --output"
	case errors.Is(err, errLinkOut), errors.Is(err, syscall.ELOOP):
		cure = "make " + f.path + " a file, or a relative link to a name below " + f.dir
	case errors.Is(err, errRaced):
		cure = "let the other program that keeps writing " + f.path + " use a DOCKER_CONFIG of its own, or mount the volume read-only there"
	case errors.Is(err, syscall.EROFS):
		class, cure = fault.OutputDenied, "mount the volume at "+f.dir+" without readOnly in this container (the others may mount it read-only)"
	case errors.Is(err, fs.ErrPermission):
		class, cure = fault.OutputDenied, f.permissionCure(d)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		class, cure = fault.OutputFull, "free space on the volume that holds "+f.dir
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EXDEV):
		cure = "share the directory " + f.dir + " and not the single file: a mounted file cannot be replaced, and its readers would never see the new one"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		cure = "raise the limit of open files (ulimits: nofile) of this container"
	case d != nil && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)):
		cure = "see that " + f.dir + " is still there, and the directory that " + f.path + " links to if it is a link"
	case errors.Is(err, fs.ErrNotExist):
		cure = "mount the shared volume at " + f.dir + ", or choose another --output"
	case errors.Is(err, syscall.ENOTDIR):
		cure = "choose an --output in a directory: " + f.dir + " is none"
	}
	return &fault.Error{Class: class, Op: op, Cure: cure, Err: err}
}

// permissionCure tells a file that is closed to us from a directory that is, and names the rule by which ECS decides who owns a
// volume.
func (f *File) permissionCure(d dir) string {
	const rule = "the volume takes its owner from an image that declares VOLUME at exactly this path, as the refresher's does for /run/ecr; keep the image's user, or mount the volume there"
	if d == nil {
		return rule
	}
	us := os.Geteuid()
	if _, _, err := d.read(f.base, f.most()); errors.Is(err, fs.ErrPermission) {
		if info, err := d.lstat(f.base); err == nil {
			if uid, _, ok := owner(info); ok && uid != us {
				return fmt.Sprintf("%s belongs to uid %d with mode %#o and we run as uid %d: give it to us or delete it", f.path, uid, info.Mode().Perm(), us)
			}
		}
	}
	if info, err := d.stat(); err == nil {
		if uid, _, ok := owner(info); ok && uid != us {
			return fmt.Sprintf("%s belongs to uid %d and we run as uid %d: %s", f.dir, uid, us, rule)
		}
	}
	return rule
}
