package disktest

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"

	"ecr-refresher/internal/writer"
)

// Config is the name that [Faulty] takes for the output's.
const Config = "config.json"

// Faulty is a layer between the writer and its disk that leaves steps out, or takes them at the wrong time, as a faulty writer
// would. A check of the writer that does not see it checks nothing.
type Faulty struct {
	writer.Layer
	NoFsync    bool // of the file
	EarlyFsync bool // before the last change of the content
	LateFsync  bool // after the rename
	NoSyncDir  bool
	LateMode   bool // after the content
	WideOpen   bool // temporary files that all can read
	Selfish    bool // the logins of others to "registry…" are dropped
	Blind      bool // what was there when it was read is believed to be there still
	Untidy     bool // temporary files stay
	Leaky      bool // directories stay open
	Torn       bool // the last byte is missing
}

// Open implements [writer.Layer].
func (l *Faulty) Open(path string) (writer.LayerDir, error) {
	d, err := l.Layer.Open(path)
	if err != nil {
		return nil, err
	}
	return &faultyDir{LayerDir: d, l: l}, nil
}

type faultyDir struct {
	writer.LayerDir
	l    *Faulty
	seen fs.FileInfo // of the config, when it was read
	gone bool
	last writer.LayerFile
}

func (d *faultyDir) Read(name string, most int64) ([]byte, fs.FileInfo, error) {
	b, info, err := d.LayerDir.Read(name, most)
	if name == Config {
		d.seen, d.gone = info, err != nil
	}
	return b, info, err
}

func (d *faultyDir) Lstat(name string) (fs.FileInfo, error) {
	if d.l.Blind && name == Config && (d.seen != nil || d.gone) {
		if d.gone {
			return nil, fs.ErrNotExist
		}
		return d.seen, nil
	}
	return d.LayerDir.Lstat(name)
}

func (d *faultyDir) Create(name string) (writer.LayerFile, error) {
	f, err := d.LayerDir.Create(name)
	if err != nil {
		return nil, err
	}
	d.last = f
	t := &faultyFile{LayerFile: f, l: d.l, config: strings.Contains(name, Config+".tmp")}
	if d.l.WideOpen {
		return t, f.Chmod(0o666)
	}
	return t, nil
}

func (d *faultyDir) Rename(from, to string) error {
	err := d.LayerDir.Rename(from, to)
	if d.l.LateFsync {
		err = errors.Join(err, d.last.Sync())
	}
	return err
}

func (d *faultyDir) Remove(name string) error {
	if d.l.Untidy {
		return nil
	}
	return d.LayerDir.Remove(name)
}

func (d *faultyDir) Close() error {
	if d.l.Leaky && d.seen != nil {
		return nil
	}
	return d.LayerDir.Close()
}

func (d *faultyDir) Sync(parent string) error {
	if d.l.NoSyncDir {
		return nil
	}
	return d.LayerDir.Sync(parent)
}

type faultyFile struct {
	writer.LayerFile
	l      *Faulty
	config bool
	mode   fs.FileMode
	buf    []byte
}

func (f *faultyFile) Chmod(mode fs.FileMode) error {
	f.mode = mode
	if f.l.LateMode || f.l.WideOpen {
		return nil
	}
	return f.LayerFile.Chmod(mode)
}

func (f *faultyFile) Write(b []byte) (int, error) {
	if f.l.EarlyFsync {
		_ = f.LayerFile.Sync()
	}
	switch {
	case f.config && f.l.Selfish:
		f.buf = append(f.buf, b...)
		return len(b), nil
	case f.config && f.l.Torn:
		n, err := f.LayerFile.Write(b[:len(b)-1])
		return n + 1, err
	}
	return f.LayerFile.Write(b)
}

func (f *faultyFile) Sync() error {
	if f.config && f.l.Selfish {
		if _, err := f.LayerFile.Write(withoutOthers(f.buf)); err != nil {
			return err
		}
	}
	if f.l.LateMode || f.l.WideOpen {
		if err := f.LayerFile.Chmod(f.mode); err != nil {
			return err
		}
	}
	if f.l.NoFsync || f.l.EarlyFsync || f.l.LateFsync {
		return nil
	}
	return f.LayerFile.Sync()
}

func withoutOthers(config []byte) []byte {
	var doc map[string]any
	_ = json.Unmarshal(config, &doc)
	auths, _ := doc["auths"].(map[string]any)
	for host := range auths {
		if strings.Contains(host, "registry") {
			delete(auths, host)
		}
	}
	b, _ := json.Marshal(map[string]any{"auths": auths})
	return b
}
