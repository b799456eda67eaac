package writer

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"path"
	"strings"
)

// Read returns the document that is on disk now, and whether there is a file; the document of none is empty.
func (f *File) Read() (Document, bool, error) {
	var s sight // nobody else's: no view is made of it
	d, err := f.openDir(f.dir)
	if err != nil {
		return Document{}, false, f.fail("read "+f.path, nil, err)
	}
	defer d.close()
	name, _, err := f.find(d, &s)
	if err != nil {
		return Document{}, false, err
	}
	b, err := f.load(d, name, &s)
	if err != nil {
		return Document{}, false, err
	}
	doc, err := f.parse(b)
	if err != nil {
		clear(b)
		return Document{}, false, f.fail("read "+f.path, d, err)
	}
	return doc, s.seen.exists, nil
}

// Probe tries what a Sync needs of the directory, down to the fsync, with a temporary file that it removes again: the file itself
// is not touched. Errors are those of Sync.
func (f *File) Probe() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	d, err := f.openDir(f.dir)
	if err != nil {
		return f.fail("write beside "+f.path, nil, err)
	}
	defer d.close()
	name, _, err := f.find(d, &f.sight)
	if err != nil {
		return err
	}
	parent, base := path.Split(name)
	tmp := parent + tempPrefix(base) + rand.Text()[:8] // by this name a refresher finds what a killed doctor leaves
	if err := writeTemp(d, tmp, strings.NewReader("probe\n"), found{}, 0o600, nil); err != nil {
		return f.fail("write beside "+f.path, d, err)
	}
	if err := d.remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // a refresher that starts may have tidied it away
		return f.fail("write beside "+f.path, d, err)
	}
	return nil
}
