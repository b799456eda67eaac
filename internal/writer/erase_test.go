package writer

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// kept is a directory that keeps what was read and written: the very bytes, not a copy.
type kept struct {
	dir
	bytes *[][]byte
}

func (d kept) read(name string, most int64) ([]byte, fs.FileInfo, error) {
	b, info, err := d.dir.read(name, most)
	if name == "config.json" {
		*d.bytes = append(*d.bytes, b)
	}
	return b, info, err
}

func (d kept) create(name string) (temp, error) {
	t, err := d.dir.create(name)
	if !bytes.Contains([]byte(name), []byte("state")) {
		t = keptTemp{t, d.bytes}
	}
	return t, err
}

type keptTemp struct {
	temp
	bytes *[][]byte
}

func (t keptTemp) Write(b []byte) (int, error) {
	*t.bytes = append(*t.bytes, b)
	if bytes.Contains(b, []byte("refused")) {
		return len(b) / 2, errors.New("no more room")
	}
	return t.temp.Write(b)
}

// The document is full of passwords, ours and others': what was read and what was written does not stay in memory.
func TestErased(t *testing.T) {
	const others = `{"auths":{"registry.example.com":{"auth":"am9lOnB3"}}}`
	for name, test := range map[string]struct {
		before string
		do     func(*testing.T, *File)
		least  int // how many pieces there are
	}{
		"look":                  {others, func(t *testing.T, f *File) { _, err := f.Look(); wantErr(t, err, false) }, 1},
		"look at a broken file": {others + "}", func(t *testing.T, f *File) { _, err := f.Look(); wantErr(t, err, true) }, 1},
		"sync":                  {others, func(t *testing.T, f *File) { _, err := f.Sync(wants(hostA, "a", hostB, "b")); wantErr(t, err, false) }, 2},
		"sync that fails":       {others, func(t *testing.T, f *File) { _, err := f.Sync(wants("refused", "a")); wantErr(t, err, true) }, 2},
		"sync of what is there": {others, func(t *testing.T, f *File) {
			for range 2 {
				_, err := f.Sync(wants(hostA, "a"))
				wantErr(t, err, false)
			}
		}, 3},
		"recall": {others, func(t *testing.T, f *File) {
			_, err := f.Sync(wants(hostA, "a"))
			wantErr(t, err, false)
			if got := f.Recall(); got[hostA].Auth.Reveal() != grant("a").Auth.Reveal() {
				t.Error("the token was not recalled")
			}
		}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			if err := os.WriteFile(path, []byte(test.before), 0o600); err != nil {
				t.Fatal(err)
			}
			f := New(Options{Path: path, Mode: 0o600, Hosts: []string{hostA, hostB, "refused"}})
			var seen [][]byte
			f.openDir = func(path string) (dir, error) {
				d, err := openRoot(path)
				return kept{d, &seen}, err
			}
			test.do(t, f)
			if len(seen) < test.least {
				t.Errorf("%d pieces were read and written", len(seen))
			}
			for i, b := range seen {
				if len(bytes.Trim(b, "\x00")) > 0 {
					t.Errorf("piece %d of %d bytes stays in memory", i, len(b))
				}
			}
		})
	}
}

func wantErr(t *testing.T, err error, want bool) {
	t.Helper()
	if (err != nil) != want {
		t.Errorf("error: %v", err)
	}
}
