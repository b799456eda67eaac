package writer

import (
	"io"
	"io/fs"
)

// Layer stands in for the file system of a [File] ([Options.Layer]): the seam through which the simulation puts a disk that
// records, lies, fills up and dies. Nothing else is meant to implement it.
type Layer interface {
	Open(path string) (LayerDir, error)
}

// LayerDir is an open directory of a [Layer]. Its methods mean what those of dir mean.
type LayerDir interface {
	Lstat(name string) (fs.FileInfo, error)
	Readlink(name string) (string, error)
	Read(name string, most int64) ([]byte, fs.FileInfo, error)
	Create(name string) (LayerFile, error)
	Overwrite(name string, content []byte) error
	Rename(from, to string) error
	Remove(name string) error
	Names(parent string, each func(name string)) error
	Sync(parent string) error
	Close() error
}

// LayerFile is a file that no reader knows yet. An [os.File] is one.
type LayerFile interface {
	io.WriteCloser
	Chown(uid, gid int) error
	Chmod(mode fs.FileMode) error
	Sync() error
}

// layerDir is a LayerDir as a dir.
type layerDir struct{ LayerDir }

func openLayer(l Layer) func(path string) (dir, error) {
	return func(path string) (dir, error) {
		d, err := l.Open(path)
		return layerDir{d}, err
	}
}

func (d layerDir) lstat(name string) (fs.FileInfo, error) { return d.Lstat(name) }
func (d layerDir) readlink(name string) (string, error)   { return d.Readlink(name) }
func (d layerDir) read(name string, most int64) ([]byte, fs.FileInfo, error) {
	return d.Read(name, most)
}
func (d layerDir) overwrite(name string, b []byte) error { return d.Overwrite(name, b) }
func (d layerDir) rename(from, to string) error          { return d.Rename(from, to) }
func (d layerDir) remove(name string) error              { return d.Remove(name) }
func (d layerDir) names(parent string, each func(name string)) error {
	return d.Names(parent, each)
}
func (d layerDir) sync(parent string) error       { return d.Sync(parent) }
func (d layerDir) close() error                   { return d.Close() }
func (d layerDir) beside(do func()) (wait func()) { do(); return func() {} }
func (d layerDir) create(name string) (temp, error) {
	f, err := d.Create(name)
	if err != nil {
		return nil, err
	}
	return layerTemp{f}, nil
}

// layerTemp is a LayerFile, or an os.File, as a temp.
type layerTemp struct{ LayerFile }

func (t layerTemp) chown(uid, gid int) error     { return t.Chown(uid, gid) }
func (t layerTemp) chmod(mode fs.FileMode) error { return t.Chmod(mode) }
func (t layerTemp) sync() error                  { return t.Sync() }
func (t layerTemp) close() error                 { return t.Close() }
