// Package writer owns the shared docker config.json: what is in it of ours, and how it is read and replaced without a
// reader ever seeing half of it, a crash ever losing it, or anybody else's entry ever being touched.
//
// It refuses to know where tokens come from, when they are renewed and what the time is. Its errors carry the output classes
// of package fault; its results are plain values.
package writer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"ecr-refresher/internal/secret"
)

// Sum identifies an auth string without giving it away: its SHA-256.
type Sum = [sha256.Size]byte

// Grant is a token as the file knows it. Immutable; one Grant may serve many hosts.
type Grant struct {
	Auth    secret.Secret // base64("AWS:" + password)
	Sum     Sum           // of Auth
	Scope   string        // what the token is good for, in the owner's words
	Issued  time.Time     // on the server's clock
	Expires time.Time     // on the server's clock
}

// Want is what one host's entry shall be.
type Want struct {
	Host  string
	Grant *Grant // never nil
}

// Options say which file, and who shares it.
type Options struct {
	Path  string      // of the file; its directory must exist
	Mode  fs.FileMode // permission bits, whatever the umask
	Hosts []string    // whose entries are ours
	Task  string      // the ARN of this task, empty outside ECS: entries that another task remembers are not adopted
}

// File is one shared config.json. Safe for use by many goroutines; a call blocks for as long as the file system does.
type File struct {
	path, dir, base string
	mode            fs.FileMode
	hosts           []string
	task            string
	openDir         func(string) (dir, error)

	mu    sync.Mutex
	tidy  bool   // strays of an earlier process are gone
	seen  found  // what view describes
	name  string // the file itself: base, or what that links to
	view  View
	known []byte // the state file as we wrote it last
}

// New describes a file and touches nothing.
func New(o Options) *File {
	dir, base := filepath.Split(filepath.Clean(o.Path))
	if dir == "" {
		dir = "."
	}
	return &File{path: o.Path, dir: filepath.Clean(dir), base: base, mode: o.Mode.Perm(), hosts: o.Hosts, task: o.Task, openDir: openRoot}
}

// Path is the path as given.
func (f *File) Path() string { return f.path }

// View is what a reader of the file would find. Immutable.
type View struct {
	Exists      bool
	Mode        fs.FileMode
	Changed     time.Time         // when the file was last replaced or written, on the file system's clock
	Sums        map[string]Sum    // by host, of our hosts' entries that a consumer can use
	CredsStore  string            // a helper that hides every auths entry
	CredHelpers map[string]string // helpers that hide a host's entry
}

// Look says what a reader would find now. It costs one lstat where the file has not changed since the last look.
func (f *File) Look() (View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, err := f.openDir(f.dir)
	if err != nil {
		return View{}, f.fail("read "+f.path, nil, err)
	}
	defer d.close()
	if _, err := f.read(d); err != nil {
		return View{}, err
	}
	return f.view, nil
}

// read returns the view of the file, and its document where the file had to be read for it.
func (f *File) read(d dir) (doc *Document, err error) {
	name, err := target(d, f.base)
	if err != nil {
		return nil, f.fail("read "+f.path, d, err)
	}
	at, err := look(d, name)
	if err != nil {
		return nil, f.fail("read "+f.path, d, err)
	}
	if at == f.seen && name == f.name && f.view.Sums != nil {
		return nil, nil
	}
	loaded, at, err := f.load(d, name)
	if err != nil {
		f.forget()
		return nil, err
	}
	f.name, f.seen, f.view = name, at, f.viewOf(loaded, at)
	return &loaded, nil
}

// load reads and parses the file.
func (f *File) load(d dir, name string) (Document, found, error) {
	b, info, err := d.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		doc, _ := Parse(nil)
		return doc, found{}, nil
	}
	if err != nil {
		return Document{}, found{}, f.fail("read "+f.path, d, err)
	}
	doc, err := Parse(b)
	if err != nil {
		return Document{}, found{}, f.fail("read "+f.path, d, err)
	}
	return doc, foundOf(info), nil
}

func (f *File) viewOf(doc Document, at found) View {
	v := View{
		Exists: at.exists, Mode: at.stamp.mode.Perm(), Changed: time.Unix(0, at.stamp.mtime),
		Sums: make(map[string]Sum, len(f.hosts)), CredsStore: doc.CredsStore(), CredHelpers: doc.CredHelpers(),
	}
	for _, h := range f.hosts {
		if auth, ok := doc.Auth(h); ok && doc.Owned(h) {
			v.Sums[h] = sha256.Sum256(auth)
		}
	}
	return v
}

// Result is what a [File.Sync] did.
type Result struct {
	Wrote bool   // the file was replaced
	Found string // where it was: what differed before, in words; hosts, never content
}

// Sync makes the file hold what is wanted, and nothing else of ours. Where it does already, nothing is written. The file that
// was there stays in every failure. Errors are of an output class.
func (f *File) Sync(want []Want) (Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := "write " + f.path
	d, err := f.openDir(f.dir)
	if err != nil {
		return Result{}, f.fail(op, nil, err)
	}
	defer d.close()
	if !f.tidy {
		tidy(d, f.base)
		tidy(d, stateName(f.base))
		f.tidy = true
	}
	for range 5 { // somebody else's write between our read and our rename: read again
		var r Result
		if r, err = f.sync(d, want); !errors.Is(err, errRaced) {
			if err == nil {
				f.saveState(d, want)
			}
			return r, err
		}
	}
	return Result{}, f.fail(op, d, err)
}

func (f *File) sync(d dir, want []Want) (Result, error) {
	op := "write " + f.path
	doc, err := f.read(d)
	if err != nil {
		return Result{}, err
	}
	if f.holds(f.view, want) {
		return Result{}, nil
	}
	name, at, view := f.name, f.seen, f.view
	if doc == nil {
		loaded, now, err := f.load(d, name)
		if err != nil {
			return Result{}, err
		}
		doc, at = &loaded, now
	}
	entries := make([]Entry, len(want))
	for i, w := range want {
		entries[i] = Entry{Host: w.Host, Auth: w.Grant.Auth}
	}
	content, changed := doc.Merge(entries)
	if !changed && at.exists && at.stamp.mode.Perm() == f.mode {
		f.seen, f.view = at, f.viewOf(*doc, at)
		return Result{}, nil
	}
	r := Result{Wrote: true, Found: f.describe(view, want)}
	now, ours, err := replace(d, name, content, at, f.mode, false)
	f.forget()
	if errors.Is(err, errRaced) {
		return Result{}, err
	}
	if err != nil {
		return Result{}, f.fail(op, d, err)
	}
	if ours { // what we wrote need not be read again
		v := View{Exists: true, Mode: now.stamp.mode.Perm(), Changed: time.Unix(0, now.stamp.mtime),
			Sums: maps.Clone(view.Sums), CredsStore: doc.CredsStore(), CredHelpers: doc.CredHelpers()}
		for _, w := range want {
			v.Sums[w.Host] = w.Grant.Sum
		}
		f.name, f.seen, f.view = name, now, v
	}
	return r, nil
}

func (f *File) forget() { f.name, f.seen, f.view = "", found{}, View{} }

// holds reports whether the file as seen is what is wanted.
func (f *File) holds(v View, want []Want) bool {
	return v.Exists && v.Mode == f.mode && !slices.ContainsFunc(want, func(w Want) bool { return v.Sums[w.Host] != w.Grant.Sum })
}

// describe says in words what differs, for the log line of a repair.
func (f *File) describe(v View, want []Want) string {
	if !v.Exists {
		return "the file was missing"
	}
	var first string
	var missing, other int
	for _, w := range want {
		sum, ok := v.Sums[w.Host]
		switch {
		case !ok:
			missing++
		case sum != w.Grant.Sum:
			other++
		default:
			continue
		}
		if first == "" {
			first = w.Host
		}
	}
	switch {
	case missing+other > 0:
		return fmt.Sprintf("%d entries missing, %d with another token; first: %s", missing, other, first)
	case v.Mode != f.mode:
		return fmt.Sprintf("the mode was %#o", v.Mode)
	}
	return "another form of our entries"
}

// saveState writes the state file where it would change. It is a hint: a failure costs one call after the next restart.
func (f *File) saveState(d dir, want []Want) {
	b, err := encodeState(f.task, want)
	if err != nil || bytes.Equal(b, f.known) {
		return
	}
	name := stateName(f.base)
	if _, _, err := replace(d, name, bytes.NewReader(b), found{}, 0o600, true); err == nil {
		f.known = b
	}
}

// Recall returns, by host, the tokens in the file that an earlier process of this task wrote and remembered. Whether they
// are still good is the caller's to judge: what a state file says of an expiry can be forged.
func (f *File) Recall() map[string]Grant {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, err := f.openDir(f.dir)
	if err != nil {
		return nil
	}
	defer d.close()
	b, _, err := d.read(stateName(f.base))
	if err != nil {
		return nil
	}
	known := decodeState(b, f.task)
	name, err := target(d, f.base)
	if err != nil || len(known) == 0 {
		return nil
	}
	doc, _, err := f.load(d, name)
	if err != nil {
		return nil
	}
	grants := map[string]Grant{}
	for _, h := range f.hosts {
		auth, ok := doc.Auth(h)
		if !ok {
			continue
		}
		sum := sha256.Sum256(auth)
		if t, ok := known[sum]; ok {
			grants[h] = Grant{Auth: secret.New(string(auth)), Sum: sum, Scope: t.Scope, Issued: t.Issued, Expires: t.Expires}
		}
	}
	return grants
}
