// Package writer owns the shared docker config.json: what is in it of ours, and how it is read and replaced without a
// reader ever seeing half of it, a crash ever losing it, or anybody else's entry ever being touched.
//
// It refuses to know where tokens come from, when they are renewed and what the time is. Its errors carry the output classes
// of package fault; its results are plain values.
package writer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"ecr-refresher/internal/plain"
	"ecr-refresher/internal/secret"
)

// Sum identifies an auth string without giving it away: its SHA-256.
type Sum = [sha256.Size]byte

// Grant is a token as the file knows it. Immutable; one Grant may serve many hosts.
type Grant struct {
	Auth    secret.Secret // base64("AWS:" + password)
	Sum     Sum           // of Auth
	Scope   string        // identifies what the token is good for: token.Scope's key
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

	// Parsing is locked while a document is parsed. Files that share it never need the memory for more than one document at a
	// time. Nil: a lock of the file's own.
	Parsing *sync.Mutex
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

	parsing *sync.Mutex
	memory  memory

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
	name     string    // the file itself: base, or what that links to
	seen     found     // what view describes
	firm     bool      // a later write shows in the file's stamp: view is right while the file is found as in seen
	compared time.Time // when the content was last read
	sum      Sum       // of the content
	view     View
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
	if o.Parsing == nil {
		o.Parsing = new(sync.Mutex)
	}
	return &File{
		parsing: o.Parsing,
		path:    o.Path, dir: filepath.Clean(dir), base: base, mode: o.Mode.Perm(), hosts: o.Hosts, task: o.Task,
		openDir: open, watcher: fsnotify.NewWatcher, remote: remote,
	}
}

// View is what a reader of the file would find. Immutable.
type View struct {
	Exists      bool
	Mode        fs.FileMode
	Sums        map[string]Sum    // by host, of our hosts' entries that a consumer can use
	Logins      int               // entries of auths, ours and others'
	CredsStore  string            // a helper that hides every auths entry
	CredHelpers map[string]string // helpers that hide a host's entry
	Obstacles   Obstacles         // what else is in the way of a consumer
}

// compareEvery is how old the last comparison of the content may be for a Look to rely on the file's stamp alone. A stamp is no
// proof: a write through a mapping whose page was dirty already leaves it as it is.
const compareEvery = 10 * time.Second

// Look says what a reader would find now. Where the file's stamp is the same and its content was read less than ten seconds ago, it
// costs one lstat; else the content is read, and parsed where it is not that of the last time.
func (f *File) Look() (View, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	s := &f.reader
	d, err := f.openDir(f.dir)
	if err != nil {
		return View{}, f.fail("read "+f.path, nil, err)
	}
	defer d.close()
	name, same, err := f.find(d, s)
	if err != nil {
		return View{}, err
	}
	if !same || time.Since(s.compared) >= compareEvery {
		b, err := f.load(d, name, s)
		if err != nil {
			return View{}, err
		}
		defer clear(b)
		if _, err := f.describe(d, s, b); err != nil {
			return View{}, err
		}
	}
	return s.view, nil
}

// find returns the name of the file itself, and whether its stamp says that it is as it was last seen.
func (f *File) find(d dir, s *sight) (name string, same bool, err error) {
	names, at, err := follow(d, f.base)
	if err != nil {
		s.firm = false
		return "", false, f.fail("read "+f.path, d, err)
	}
	name = names[len(names)-1]
	return name, s.firm && at == s.seen && name == s.name, nil
}

// load reads the file; nothing where there is none. The bytes are the caller's own, who clears them.
func (f *File) load(d dir, name string, s *sight) ([]byte, error) {
	s.firm = false
	now := time.Now() // before the file is asked for its stamp
	b, info, err := d.read(name, f.most())
	at := found{}
	switch {
	case err == nil:
		at = foundOf(info)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, f.fail("read "+f.path, d, err)
	}
	s.name, s.seen, s.firm, s.compared = name, at, at.firmAt(now), now
	return b, nil
}

// most is the size above which a config.json is not read. What others write has 4 MiB, which no set of logins comes near; each of
// our entries adds the most that a token can have.
func (f *File) most() int64 { return othersMost + tokenMost*int64(len(f.hosts)) }

const (
	othersMost = 4 << 20
	tokenMost  = 16 << 10
)

// memory is what the last document that was parsed says. The same bytes are not parsed again, however many ask.
type memory struct {
	sync.Mutex
	known bool
	sum   Sum // of the document
	view  View
	err   error // a document that cannot be parsed
}

// describe makes the view of a document. The document itself is returned only where it had to be parsed.
func (f *File) describe(d dir, s *sight, b []byte) (Document, error) {
	f.memory.Lock()
	defer f.memory.Unlock()
	m := &f.memory
	var doc Document
	s.sum = sha256.Sum256(b)
	if !m.known || m.sum != s.sum {
		var view View
		var err error
		if doc, err = f.parse(b); err == nil {
			view = f.viewOf(doc)
		}
		m.known, m.sum, m.view, m.err = true, s.sum, view, err
	}
	if m.err != nil {
		s.firm = false
		return Document{}, f.fail("read "+f.path, d, m.err)
	}
	s.view = m.view
	if s.view.Exists = s.seen.exists; s.view.Exists {
		s.view.Mode = s.seen.stamp.mode.Perm()
	}
	return doc, nil
}

// latest reports whether nobody has read another content since s did.
func (f *File) latest(s *sight) bool {
	f.memory.Lock()
	defer f.memory.Unlock()
	return f.memory.known && f.memory.sum == s.sum
}

func (f *File) parse(b []byte) (Document, error) {
	f.parsing.Lock()
	defer f.parsing.Unlock()
	return Parse(b)
}

// mostHelper is as much of the name of a credential helper as anybody reads, in bytes.
const mostHelper = 100

// viewOf is what a document says of our hosts. Its texts are safe to print.
func (f *File) viewOf(doc Document) View {
	v := View{Sums: make(map[string]Sum, len(f.hosts)), Logins: doc.logins(), CredsStore: plain.Text(doc.CredsStore(), mostHelper), Obstacles: doc.Obstacles(f.hosts)}
	helpers := doc.CredHelpers()
	for _, h := range f.hosts {
		if helper, ok := helpers[h]; ok {
			if v.CredHelpers == nil {
				v.CredHelpers = map[string]string{}
			}
			v.CredHelpers[h] = plain.Text(helper, mostHelper)
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

	// Peers are tokens, by host, that were found in the file and that the state file knows: another process of this task has written
	// them, and they live longer than what was wanted, if anything was. A token is returned once.
	Peers map[string]Grant
	Kept  bool // nothing was written, as it would have replaced a peer's token; the next Sync does it

	Obstacles *Obstacles // what else was in the file; nil where it could not be read
}

// Sync makes the file hold what is wanted. Where it does already, nothing is written; an entry of ours that is not wanted stays
// as it is: the token in it may still be good. The file that was there stays in every failure but one: when the new one is in
// its place and may not outlive a power cut; the result says so too. Errors are of an output class.
//
// The content is read and compared, as a stamp is no proof, unless it was read less than ten seconds ago.
func (f *File) Sync(want []Want) (Result, error) {
	f.writing.Lock()
	defer f.writing.Unlock()
	d, err := f.openDir(f.dir)
	if err != nil {
		return Result{}, f.fail("write "+f.path, nil, err)
	}
	defer d.close()
	var r Result
	for range 5 { // somebody else's write between our read and our rename: read again
		if r, err = f.sync(d, want); err == nil {
			if len(want) > 0 && !r.Kept {
				f.saveState(d, want) // where nothing had to be written, and again where it failed beside that
			}
			return r, nil
		}
		if !errors.Is(err, errRaced) {
			break
		}
	}
	return r, err
}

func (f *File) sync(d dir, want []Want) (r Result, err error) {
	name, same, err := f.find(d, &f.sight)
	if err != nil {
		return Result{}, err
	}
	if !f.tidy && len(want) > 0 { // mutant: nothing is tidied
		tidy(d, name, stateName(f.base))
		f.tidy = true
	}
	if same && time.Since(f.compared) < compareEvery && f.latest(&f.sight) && len(want) > 0 && f.holds(want) {
		return Result{Obstacles: &f.view.Obstacles}, f.settle(d)
	}
	b, err := f.load(d, name, &f.sight)
	if err != nil {
		return Result{}, err
	}
	defer clear(b)
	doc, err := f.describe(d, &f.sight, b)
	if err != nil {
		return Result{}, err
	}
	others := f.view.Obstacles
	defer func() { r.Obstacles = &others }()
	peers := f.peers(d, b, want)
	if slices.ContainsFunc(want, func(w Want) bool { _, ok := peers[w.Host]; return ok }) {
		return Result{Peers: peers, Kept: true}, nil
	}
	if len(want) == 0 {
		return Result{Peers: peers}, nil // a file without a login is of use to nobody
	}
	if f.holds(want) {
		f.forgetOthers(want)
		return Result{Peers: peers}, f.settle(d)
	}
	if doc.open == nil {
		if doc, err = f.parse(b); err != nil {
			return Result{Peers: peers}, f.fail("read "+f.path, d, err)
		}
	}
	entries := make([]Entry, len(want))
	for i, w := range want {
		entries[i] = Entry{Host: w.Host, Auth: w.Grant.Auth}
	}
	content, changed := doc.Merge(entries)
	if !changed &&
		f.seen.stamp.mode.Perm() == f.mode { // mutant: a wrong mode is left
		return Result{Peers: peers}, f.settle(d)
	}
	f.firm, f.durable = false, false
	remember := func() {
		f.saveState(d, want) // mutant: the state is written last
	}
	if err := replace(d, name, content, f.seen, f.mode, remember); err != nil {
		f.tidy = false
		return Result{Wrote: errors.As(err, new(notDurable)), Peers: peers}, f.fail("write "+f.path, d, err)
	}
	f.durable = true
	f.forgetOthers(want)
	return Result{Wrote: true, Found: f.describeChange(content), Peers: peers}, nil
}

// settle makes sure that what is right will stay, where the last rename was not made durable: it failed there, or an earlier
// process did not come so far.
func (f *File) settle(d dir) error {
	if f.durable || !f.seen.exists { // mutant: what failed to be durable stays so
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

// describeChange says in words what differed first, for the log line of a repair.
func (f *File) describeChange(c Content) string {
	switch {
	case !f.seen.exists:
		return "the file was missing"
	case c.found != "":
		return c.found
	}
	return fmt.Sprintf("the mode was %#o", f.seen.stamp.mode.Perm())
}
