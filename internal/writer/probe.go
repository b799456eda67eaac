package writer

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"ecr-refresher/internal/fault"
)

// Probe tries what a Sync needs of the directory, with temporary files that it removes again: it creates, writes and fsyncs one,
// renames it over another, removes it, and fsyncs the directory. The file itself is not touched: whether it could be replaced is
// judged by its owner, its mode and its attributes. Errors are those of Sync.
func (f *File) Probe() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	op := "write beside " + f.path
	d, err := f.openDir(f.dir)
	if err != nil {
		return f.fail(op, nil, err)
	}
	defer d.close()
	name, _, err := f.find(d, &f.sight)
	if err != nil {
		return err
	}
	for range 3 { // a refresher that starts may have tidied one away
		if err = tryReplace(d, name); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return f.fail(op, d, err)
	}
	if cure := replaceCure(ourselves(), f.place(d)); cure != "" {
		return &fault.Error{Class: fault.OutputDenied, Op: op, Cure: cure, Err: &fs.PathError{Op: "replace", Path: f.path, Err: errLocked}}
	}
	return nil
}

// errLocked says that other files of the directory can be replaced.
var errLocked = errors.New("operation not permitted for this file")

// tryReplace replaces one temporary file by another. By their names a refresher finds what a killed doctor leaves.
func tryReplace(d dir, name string) error {
	parent, base := path.Split(name)
	tmp := parent + tempPrefix(base) + rand.Text()[:8]
	old := parent + tempPrefix(base) + rand.Text()[:8]
	content := func() io.WriterTo { return strings.NewReader("probe\n") }
	if err := writeTemp(d, old, content(), found{}, 0o600, nil); err != nil {
		return err
	}
	if err := writeTemp(d, tmp, content(), found{}, 0o600, func() {}); err != nil { // with an fsync, as it has something to remember
		return errors.Join(err, d.remove(old))
	}
	if err := d.rename(tmp, old); err != nil {
		return errors.Join(err, d.remove(tmp), d.remove(old))
	}
	if err := d.remove(old); err != nil {
		return err
	}
	return d.sync(parent)
}
