package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"ecr-refresher/internal/fault"
)

// fail gives a failure of the file its class and its cure.
func (f *File) fail(op string, d dir, err error) error {
	class, cure := fault.OutputOther, "see the error above it on the host"
	switch {
	case errors.As(err, new(*SyntaxError)):
		class, cure = fault.OutputInvalid, "mend or delete "+f.path+": it is not touched while it cannot be read"
	case errors.Is(err, errTooLarge), errors.Is(err, errNotRegular), errors.Is(err, syscall.EISDIR):
		class, cure = fault.OutputInvalid, "delete "+f.path+" or choose another --output"
	case errors.Is(err, errLinkOut):
		cure = "make " + f.path + " a file, or a link to a name in the same directory"
	case errors.Is(err, syscall.EROFS):
		class, cure = fault.OutputDenied, "mount the volume at "+f.dir+" without readOnly in this container (the others may mount it read-only)"
	case errors.Is(err, fs.ErrPermission):
		class, cure = fault.OutputDenied, f.permissionCure(d)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		class, cure = fault.OutputFull, "free space on the volume that holds "+f.dir
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EXDEV):
		cure = "share the directory " + f.dir + " and not the single file: a mounted file cannot be replaced, and its readers would never see the new one"
	case errors.Is(err, fs.ErrNotExist):
		cure = "mount the shared volume at " + f.dir + ", or choose another --output"
	case errors.Is(err, syscall.ENOTDIR):
		cure = "choose an --output in a directory: " + f.dir + " is none"
	}
	return &fault.Error{Class: class, Op: op, Cure: cure, Err: err}
}

// permissionCure names the rule by which ECS decides who owns a volume.
func (f *File) permissionCure(d dir) string {
	const rule = "the volume takes its owner from an image that declares VOLUME at exactly this path, as the refresher's does for /run/ecr; keep the image's user, or mount the volume there"
	if d == nil {
		return rule
	}
	info, err := d.stat()
	if err != nil {
		return rule
	}
	if uid, _, ok := owner(info); ok && uid != os.Geteuid() {
		return fmt.Sprintf("%s belongs to uid %d and we run as uid %d: %s", f.dir, uid, os.Geteuid(), rule)
	}
	return rule
}
