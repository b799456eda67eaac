package writer

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"ecr-refresher/internal/fault"
)

// ContestedCure is what to do about a program that changes our entries again and again.
const ContestedCure = "let the other program use a DOCKER_CONFIG of its own, or mount the volume read-only there"

// fail gives a failure of the file its class and its cure.
func (f *File) fail(op string, d dir, err error) error {
	var syntax *SyntaxError
	class, cure := fault.OutputOther, "look for errors of the device or server behind "+f.dir+" in the kernel log of the host"
	switch {
	case errors.As(err, &syntax) && syntax.Encoding != "":
		class, cure = fault.OutputInvalid, "write "+f.path+" as UTF-8 without a byte order mark: it is not touched while it cannot be read"
	case errors.As(err, &syntax):
		class, cure = fault.OutputInvalid, "mend or delete "+f.path+": it is not touched while it cannot be read"
	case errors.Is(err, syscall.EISDIR):
		class, cure = fault.OutputInvalid, "name the file in that directory: --output="+filepath.Join(f.path, "config.json")
	case errors.As(err, new(*tooLarge)), errors.Is(err, errTooMany):
		class, cure = fault.OutputInvalid, "remove what does not belong into "+f.path+", or delete it: it is not touched while it cannot be read"
	case errors.Is(err, errNotRegular), errors.Is(err, syscall.ENXIO):
		class, cure = fault.OutputInvalid, "delete "+f.path+" or choose another --output"
	case errors.Is(err, errLinkOut), errors.Is(err, syscall.ELOOP):
		class, cure = fault.OutputInvalid, "make "+f.path+" a file, or a relative link to a name below "+f.dir
	case errors.Is(err, errRaced):
		cure = ContestedCure
	case errors.Is(err, syscall.EROFS):
		class, cure = fault.OutputDenied, "mount the volume at "+f.dir+" without readOnly in this container (the others may mount it read-only)"
	case errors.Is(err, fs.ErrPermission):
		class, cure = fault.OutputDenied, f.permissionCure(d, strings.HasPrefix(op, "read"))
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
