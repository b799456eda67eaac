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
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

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
	Layer Layer       // in place of the real file system; a seam for the simulation, nil otherwise
}

// File is one shared config.json. Safe for use by many goroutines; a call blocks for as long as the file system does.
type File struct {
	path, dir, base string
	mode            fs.FileMode
	hosts           []string
	task            string

	openDir func(string) (dir, error)
	watcher func() (*fsnotify.Watcher, error)
	remote  func(dir string) bool

	reading sync.Mutex
	reader  sight // of those who look: a write that hangs must not keep them from the file that is there

	writing sync.Mutex
	sight                         // of the one who writes
	tidy    bool                  // strays of an earlier process are gone
	durable bool                  // what was last renamed outlives a power cut
	known   map[string]tokenState // by sum: what the next state file will hold; the one on disk may hold more
	behind  bool                  // the last attempt to write it failed: it may lack any of them, or be damaged
}

// sight is what was last seen of the file.
type sight struct {
	name string // the file itself: base, or what that links to
	seen found  // what view describes
	firm bool   // as long as the file is found as in seen, view is right
	view View
}

// New describes a file and touches nothing.
func New(o Options) *File {
	dir, base := filepath.Split(filepath.Clean(o.Path))
	if dir == "" {
		dir = "."
	}
	open := openRoot
	if o.Layer != nil {
		open = openLayer(o.Layer)
	}
	return &File{
		path: o.Path, dir: filepath.Clean(dir), base: base, mode: o.Mode.Perm(), hosts: o.Hosts, task: o.Task,
		openDir: open, watcher: fsnotify.NewWatcher, remote: remote,
	}
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
	Obstacles   Obstacles         // what else is in the way of a consumer
}

// Look says what a reader would find now. It costs one lstat where the file has not changed since the last look.
func (f *File) Look() (View, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	s := &f.reader
	d, err := f.openDir(f.dir)
	if err != nil {
		return View{}, f.fail("read "+f.path, nil, err)
	}
	defer d.close()
	name, known, err := f.find(d, s)
	if err != nil {
		return View{}, err
	}
	if !known {
		doc, err := f.load(d, name, s)
		if err != nil {
			return View{}, err
		}
		s.view = f.viewOf(doc, s.seen, nil)
		s.view.Obstacles = doc.Obstacles(f.hosts)
		doc.erase()
	}
	return s.view, nil
}

// find returns the name of the file itself, and whether the view is still right.
func (f *File) find(d dir, s *sight) (name string, known bool, err error) {
	names, at, err := follow(d, f.base)
	if err != nil {
		s.firm = false
		return "", false, f.fail("read "+f.path, d, err)
	}
	name = names[len(names)-1]
	return name, s.firm && at == s.seen && name == s.name, nil
}

// load reads the file. The caller makes the view of it, or forgets what was seen.
func (f *File) load(d dir, name string, s *sight) (Document, error) {
	s.firm = false
	now := time.Now() // before the file is asked for its stamp
	b, info, err := d.read(name)
	at := found{}
	switch {
	case err == nil:
		at = foundOf(info)
	case !errors.Is(err, fs.ErrNotExist):
		return Document{}, f.fail("read "+f.path, d, err)
	}
	doc, err := Parse(b)
	if err != nil {
		clear(b)
		return Document{}, f.fail("read "+f.path, d, err)
	}
	s.name, s.seen, s.firm = name, at, at.firmAt(now)
	return doc, nil
}

// viewOf describes the document as it was found; what is held is known to be in it and need not be hashed again.
func (f *File) viewOf(doc Document, at found, held []Want) View {
	v := View{Exists: at.exists, Sums: make(map[string]Sum, len(f.hosts)), CredsStore: doc.CredsStore(), CredHelpers: doc.CredHelpers()}
	if v.Exists {
		v.Mode, v.Changed = at.stamp.mode.Perm(), time.Unix(0, at.stamp.mtime)
	}
	for _, w := range held {
		v.Sums[w.Host] = w.Grant.Sum
	}
	for _, h := range f.hosts {
		if _, ok := v.Sums[h]; ok {
			continue
		}
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

// Sync makes the file hold what is wanted. Where it does already, nothing is written; an entry of ours that is not wanted stays
// as it is: the token in it may still be good. The file that was there stays in every failure but one: when the new one is in
// its place and may not outlive a power cut; the result says so too. Errors are of an output class.
func (f *File) Sync(want []Want) (Result, error) {
	f.writing.Lock()
	defer f.writing.Unlock()
	if len(want) == 0 {
		return Result{}, nil // a file without a login is of use to nobody
	}
	d, err := f.openDir(f.dir)
	if err != nil {
		return Result{}, f.fail("write "+f.path, nil, err)
	}
	defer d.close()
	var r Result
	for range 5 { // somebody else's write between our read and our rename: read again
		if r, err = f.sync(d, want); err == nil {
			f.saveState(d, want) // where nothing had to be written, and again where it failed beside that
			return r, nil
		}
		if !errors.Is(err, errRaced) {
			break
		}
	}
	return r, err
}

func (f *File) sync(d dir, want []Want) (Result, error) {
	name, known, err := f.find(d, &f.sight)
	if err != nil {
		return Result{}, err
	}
	if !f.tidy {
		tidy(d, name)
		tidy(d, stateName(f.base))
		f.tidy = true
	}
	if known && f.holds(want) {
		return Result{}, f.settle(d)
	}
	doc, err := f.load(d, name, &f.sight)
	if err != nil {
		return Result{}, err
	}
	defer doc.erase()
	entries := make([]Entry, len(want))
	for i, w := range want {
		entries[i] = Entry{Host: w.Host, Auth: w.Grant.Auth}
	}
	content, changed := doc.Merge(entries)
	if !changed && f.seen.stamp.mode.Perm() == f.mode {
		f.view = f.viewOf(doc, f.seen, want)
		return Result{}, f.settle(d)
	}
	f.firm, f.durable = false, false
	if err := replace(d, name, content, f.seen, f.mode, func() { f.saveState(d, want) }); err != nil {
		f.tidy = false
		return Result{Wrote: errors.As(err, new(notDurable))}, f.fail("write "+f.path, d, err)
	}
	f.durable = true
	f.forgetOthers(want)
	return Result{Wrote: true, Found: f.describe(content)}, nil
}

// settle makes sure that what is right will stay, where the last rename was not made durable: it failed there, or an earlier
// process did not come so far.
func (f *File) settle(d dir) error {
	if f.durable || !f.seen.exists {
		return nil
	}
	parent, _ := path.Split(f.name)
	if err := d.sync(parent); err != nil {
		return f.fail("write "+f.path, d, err)
	}
	f.durable = true
	return nil
}

// holds reports whether the file as seen is what is wanted.
func (f *File) holds(want []Want) bool {
	return f.view.Mode == f.mode && !slices.ContainsFunc(want, func(w Want) bool { return f.view.Sums[w.Host] != w.Grant.Sum })
}

// describe says in words what differed first, for the log line of a repair.
func (f *File) describe(c Content) string {
	switch {
	case !f.seen.exists:
		return "the file was missing"
	case c.found != "":
		return c.found
	}
	return fmt.Sprintf("the mode was %#o", f.seen.stamp.mode.Perm())
}

// saveState writes the state file where it lacks a token that is wanted, or could not be written the last time. It keeps all that
// were known before, as the document may hold them until it is replaced. It is a hint: a failure costs one call after the next
// restart.
func (f *File) saveState(d dir, want []Want) {
	tokens := tokensOf(want)
	if !f.behind && !slices.ContainsFunc(tokens, func(t tokenState) bool { return f.known[t.Sum] != t }) {
		return
	}
	known := maps.Clone(f.known)
	if known == nil {
		known = make(map[string]tokenState, len(tokens))
	}
	for _, t := range tokens {
		known[t.Sum] = t
	}
	b, err := encodeState(f.task, slices.SortedFunc(maps.Values(known), tokenState.compare))
	if err != nil {
		return
	}
	// In place, where there is one of that length: a second new file would make the fsync beside it take half as long again, and
	// on a full disk there is no room for one.
	name := stateName(f.base)
	if err = d.overwrite(name, b); err != nil {
		err = replace(d, name, bytes.NewReader(b), found{}, 0o600, nil)
	}
	f.known, f.behind = known, err != nil
}

// forgetOthers drops what the file has been replaced without; the state file follows at its next write.
func (f *File) forgetOthers(want []Want) {
	known := make(map[string]tokenState, len(f.known))
	for _, t := range tokensOf(want) {
		if k, ok := f.known[t.Sum]; ok {
			known[t.Sum] = k
		}
	}
	f.known = known
}

// Recall returns, by host, the tokens in the file that an earlier process of this task wrote and remembered. Whether they
// are still good is the caller's to judge: what a state file says of an expiry can be forged.
func (f *File) Recall() map[string]Grant {
	f.writing.Lock()
	defer f.writing.Unlock()
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
	if len(known) == 0 {
		return nil
	}
	f.known = make(map[string]tokenState, len(known))
	for _, t := range known {
		f.known[t.Sum] = t
	}
	name, _, err := f.find(d, &f.sight)
	if err != nil {
		return nil
	}
	doc, err := f.load(d, name, &f.sight)
	f.firm = false
	if err != nil {
		return nil
	}
	defer doc.erase()
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
