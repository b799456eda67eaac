package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"ecr-refresher/internal/writer"
)

const (
	config = "config.json"
	state  = ".config.json.state"
)

// volume is the directory of one output. It records who did what, so that a breach is seen where it happens: the name is never
// without what stood there, nothing is renamed that a power cut could empty, and whoever loses a race is known.
// All of it is guarded by world.mu.
type volume struct {
	w     *world
	n     int
	names map[string]*node
	free  []uint64 // inodes to use again, as file systems do
	last  uint64   // inode
	count int      // changes of any file: its versions
	rng   *rand.Rand

	fault   outFault
	unhung  chan struct{} // closed when the fault ends
	hung    int           // steps that had to wait for that
	spoiled time.Duration // when our process last met a fault here
	blind   time.Duration // when it could last not read
	open    map[*process]int
	lacking *node // renamed by us to the config's name, and the directory not synced since
	before  *node // what stood there before that
	noState bool  // the state file does not tell what it should: a fault of the disk, not of the process

	changed  time.Duration // when the config changed last, by anybody
	foreign  time.Duration // when somebody else changed it last
	watchers map[chan struct{}]bool
	armed    []armed
}

// armed is something that happens just before the nth step from now that changes the disk.
type armed struct {
	steps int
	do    func(p *process)
}

// outFault is what our processes meet on a volume; other programs are spared.
type outFault struct {
	err   error   // nil: none
	share float64 // of the steps that meet it
	hang  bool    // the steps wait until it ends
	reads bool    // reading too
}

// node is a file. The bytes of its content are never changed, but replaced: a reader keeps what it got.
type node struct {
	ino          uint64
	mode         fs.FileMode
	content      []byte
	before       []byte // what was overwritten with it, and a power cut may bring back in part
	mtime, ctime time.Time
	version      int
	synced       int // the version of the last fsync
	byUs         *process
	chmodded     bool
	doc          *document
}

// stamp is all that tells two states of a file apart without reading it.
type stamp struct {
	ino          uint64
	size         int
	mode         fs.FileMode
	mtime, ctime int64
}

func stampOf(n *node) stamp {
	return stamp{n.ino, len(n.content), n.mode, n.mtime.UnixNano(), n.ctime.UnixNano()}
}

// document is a config as a program that does not share our parser reads it.
type document struct {
	version int
	ok      bool
	auths   map[string]string // by host, the "auth"
	rest    string            // all that is not ours
	origin  map[string]bool   // our hosts whose entry we put there
}

func newVolume(w *world, n int) *volume {
	return &volume{w: w, n: n, names: map[string]*node{}, rng: w.stream(100 + uint64(n)), open: map[*process]int{},
		watchers: map[chan struct{}]bool{}, unhung: make(chan struct{}), spoiled: -time.Hour, blind: -time.Hour, changed: -time.Hour, foreign: -time.Hour}
}

// clock is the file system's, as coarse as it is.
func (v *volume) clock() time.Time { return time.Now().Add(v.w.cfg.fsSkew).Truncate(v.w.cfg.fsTick) }

func (v *volume) newNode(mode fs.FileMode) *node {
	n := &node{mode: mode}
	if k := len(v.free); k > 0 {
		n.ino, v.free = v.free[k-1], v.free[:k-1]
	} else {
		v.last++
		n.ino = v.last
	}
	v.touch(n)
	return n
}

func (v *volume) touch(n *node) {
	v.count++
	n.version, n.mtime = v.count, v.clock()
	n.ctime = n.mtime
}

// link puts a file under a name; nil removes it.
func (v *volume) link(name string, n *node) {
	if old := v.names[name]; old != nil && old != n {
		v.free = append(v.free, old.ino)
	}
	if n == nil {
		delete(v.names, name)
	} else {
		v.names[name] = n
		n.ctime = v.clock()
	}
	if name == config {
		v.configChanged()
	}
}

func (v *volume) configChanged() {
	v.changed = v.w.mono()
	for ch := range v.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// parsed is the document in a file; nil for none. An empty file counts as {}.
func (v *volume) parsed(n *node) *document {
	if n == nil {
		return nil
	}
	if n.doc != nil && n.doc.version == n.version {
		return n.doc
	}
	d := &document{version: n.version, auths: map[string]string{}, origin: map[string]bool{}}
	n.doc = d
	var all map[string]json.RawMessage
	b := n.content
	if len(strings.TrimSpace(string(b))) == 0 {
		b = []byte("{}")
	}
	if json.Unmarshal(b, &all) != nil || all == nil {
		return d
	}
	var auths map[string]json.RawMessage
	if raw, ok := all["auths"]; ok && json.Unmarshal(raw, &auths) != nil {
		return d
	}
	d.ok = true
	var rest strings.Builder
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if key != "auths" {
			fmt.Fprintf(&rest, "%q=%s\n", key, compact(all[key]))
		}
	}
	for _, host := range slices.Sorted(maps.Keys(auths)) {
		if !v.w.ours[host] {
			fmt.Fprintf(&rest, "auth %q=%s\n", host, compact(auths[host]))
			continue
		}
		var e struct{ Auth string }
		if json.Unmarshal(auths[host], &e) == nil {
			d.auths[host] = e.Auth
		}
	}
	d.rest = rest.String()
	return d
}

func compact(raw json.RawMessage) string {
	var x any
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	_ = dec.Decode(&x)
	b, _ := json.Marshal(x)
	return string(b)
}

// edit is another program's doing.
func (v *volume) edit(what string, do func()) {
	v.w.stats.foreign++
	v.w.event("foreign", v.n, what)
	v.foreign = v.w.mono()
	do()
}

// overwrite replaces the content in place, as programs do that are not careful.
func (v *volume) overwrite(content string) {
	n := v.names[config]
	if n == nil {
		n = v.newNode(0o644)
		v.names[config] = n
	}
	var was *document
	if d := v.parsed(n); d != nil && d.ok {
		was = d
	}
	n.content = []byte(content)
	v.touch(n)
	v.inherit(n, was)
	v.configChanged()
}

// swapIn puts a new file under the name, as docker does.
func (v *volume) swapIn(content string) {
	mode := fs.FileMode(0o600)
	old := v.names[config]
	if old != nil {
		mode = old.mode
	}
	n := v.newNode(mode)
	n.content = []byte(content)
	n.synced = n.version
	v.link(config, n)
	v.inherit(n, v.parsed(old))
}

// inherit remembers which entries are still as we put them.
func (v *volume) inherit(n *node, was *document) {
	d := v.parsed(n)
	if was == nil {
		return
	}
	for host, ours := range was.origin {
		if ours && d.auths[host] == was.auths[host] {
			d.origin[host] = true
		}
	}
}

// disown forgets which entries are ours, where no process can know it any more.
func (v *volume) disown() {
	if d := v.parsed(v.names[config]); d != nil {
		clear(d.origin)
	}
}

func (v *volume) setFault(f outFault) {
	v.fault = f
	close(v.unhung)
	v.unhung = make(chan struct{})
}

var errDead = errors.New("the process is dead")

// mount is a volume as one process of ours sees it.
type mount struct {
	v *volume
	p *process
}

// handle is an open directory. looked and read are what the process knows of the config.
type handle struct {
	*mount
	closed     bool
	readStamp  stamp
	lookStamp  stamp  // at the last lstat
	readAt     int    // the version that was read; 0 for none
	readDoc    string // what was foreign in it
	readAuths  map[string]string
	readBad    bool
	lookedAt   int // the version at the last lstat; 0 for none
	looked     bool
	tempClosed bool
}

func (m *mount) Open(string) (writer.LayerDir, error) {
	if err := m.step(false, "open"); err != nil {
		return nil, err
	}
	m.v.w.mu.Lock()
	defer m.v.w.mu.Unlock()
	m.v.open[m.p]++
	return &handle{mount: m}, nil
}

// step is what every step goes through: time passes where the disk changes, the process may die, the disk may refuse.
func (m *mount) step(changes bool, op string) error {
	v, w := m.v, m.v.w
	if changes || op == "read" {
		w.mu.Lock()
		if m.p.dead {
			w.mu.Unlock()
			return errDead
		}
		slot := slotDisk + v.n
		if op == "read" {
			slot = slotRead + v.n
		}
		d := time.Duration(20_000+v.rng.IntN(400_000)) * time.Nanosecond
		w.mu.Unlock()
		w.nap(slot, d)
	}
	for {
		w.mu.Lock()
		if m.p.dead {
			w.mu.Unlock()
			return errDead
		}
		if changes {
			var due []armed
			for i := range v.armed {
				v.armed[i].steps--
			}
			v.armed = slices.DeleteFunc(v.armed, func(a armed) bool {
				if a.steps <= 0 {
					due = append(due, a)
				}
				return a.steps <= 0
			})
			for _, a := range due {
				a.do(m.p)
			}
			if m.p.dead {
				w.mu.Unlock()
				return errDead
			}
		}
		f := v.fault
		if !f.hang || !changes && !f.reads {
			break
		}
		v.spoiled, v.blind = w.mono(), w.mono()
		unhung := v.unhung
		v.hung++
		turn := time.Duration(1+v.hung%8) * time.Millisecond // they go on in the order in which they came
		w.mu.Unlock()
		select {
		case <-unhung:
		case <-m.p.gone:
		}
		w.nap(slotHung+v.n, turn)
	}
	defer w.mu.Unlock()
	if f := v.fault; f.err != nil && !f.hang && (changes || f.reads) && op != "close" && v.rng.Float64() < f.share {
		if op == "remove" && !errors.Is(f.err, syscall.EROFS) {
			return nil // a full disk lets go; one that errs at random is not asked to keep our leftovers
		}
		if op == "overwrite" && errors.Is(f.err, syscall.ENOSPC) {
			return nil // it needs no room
		}
		v.spoiled = w.mono()
		if !changes {
			v.blind = w.mono()
		}
		w.stats.diskErrors++
		m.p.met[v.n] = append(m.p.met[v.n], f.err)
		return &fs.PathError{Op: op, Path: config, Err: f.err}
	}
	return nil
}

func notThere(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: syscall.ENOENT} }

func (h *handle) Lstat(name string) (fs.FileInfo, error) {
	if err := h.step(false, "lstat"); err != nil {
		return nil, err
	}
	v := h.v
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	n := v.names[name]
	if name == config {
		h.lookStamp, h.lookedAt, h.looked = stamp{}, 0, true
		if n != nil {
			h.lookStamp, h.lookedAt = stampOf(n), n.version
		}
	}
	if n == nil {
		return nil, notThere("lstat", name)
	}
	return infoOf(n), nil
}

func (h *handle) Readlink(name string) (string, error) {
	return "", &fs.PathError{Op: "readlink", Path: name, Err: syscall.EINVAL}
}

func (h *handle) Read(name string, _ int64) ([]byte, fs.FileInfo, error) {
	if err := h.step(false, "read"); err != nil {
		return nil, nil, err
	}
	v := h.v
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	n := v.names[name]
	if name == config {
		h.readStamp, h.readAt, h.readDoc, h.readAuths, h.readBad = stamp{}, 0, "", nil, false
		if n != nil {
			d := v.parsed(n)
			h.readStamp = stampOf(n)
			h.readAt, h.readDoc, h.readAuths, h.readBad = n.version, d.rest, d.auths, !d.ok
		}
	}
	if n == nil {
		return nil, nil, notThere("read", name)
	}
	return slices.Clone(n.content), infoOf(n), nil
}

func (h *handle) Create(name string) (writer.LayerFile, error) {
	if err := h.step(true, "create"); err != nil {
		h.spoilState(name)
		return nil, err
	}
	v := h.v
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	if v.names[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.EEXIST}
	}
	n := v.newNode(0o600)
	n.byUs = h.p
	v.link(name, n)
	v.open[h.p]++
	h.tempClosed = false
	return &tempFile{h: h, n: n, name: name}, nil
}

// spoilState notes that the state file was kept from being written.
func (h *handle) spoilState(name string) {
	if strings.Contains(name, ".state") {
		h.v.w.mu.Lock()
		h.v.noState = true
		h.v.w.mu.Unlock()
	}
}

// Overwrite changes a file in place.
func (h *handle) Overwrite(name string, b []byte) error {
	var n *node
	for _, part := range [][]byte{b[:len(b)/2], b} { // a process may die, and a disk may err, in the middle of it
		if err := h.step(true, "overwrite"); err != nil {
			return err
		}
		if err := h.overwrite(name, &n, part, len(b)); err != nil {
			return err
		}
	}
	return nil
}

func (h *handle) overwrite(name string, n **node, part []byte, size int) error {
	v := h.v
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	if *n == nil {
		*n = v.names[name]
		switch {
		case name != state:
			v.w.breach("%s is written in place", name)
		case *n == nil:
			return notThere("overwrite", name)
		case len((*n).content) != size:
			return errors.New("it would need another length")
		}
		(*n).before = (*n).content
	}
	(*n).content = slices.Concat(part, (*n).before[len(part):])
	v.touch(*n)
	v.noState = v.names[name] == *n && len(part) < size
	return nil
}

func (h *handle) Rename(from, to string) error {
	if err := h.step(true, "rename"); err != nil {
		h.spoilState(to)
		return err
	}
	v := h.v
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	n := v.names[from]
	if n == nil {
		return notThere("rename", from)
	}
	old := v.names[to]
	delete(v.names, from)
	if to == config {
		v.w.published(h, old, n)
		v.link(to, n)
		v.w.kick()
		return nil
	}
	v.link(to, n)
	if to == state {
		v.noState = false
	}
	return nil
}

func (h *handle) Remove(name string) error {
	if err := h.step(true, "remove"); err != nil {
		return err
	}
	h.v.w.mu.Lock()
	defer h.v.w.mu.Unlock()
	if name == config || name == state {
		h.v.w.breach("%s is removed by us", name)
	}
	if h.v.names[name] == nil {
		return notThere("remove", name)
	}
	h.v.link(name, nil)
	return nil
}

func (h *handle) Names(_ string, each func(string)) error {
	if err := h.step(false, "names"); err != nil {
		return err
	}
	h.v.w.mu.Lock()
	defer h.v.w.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(h.v.names)) {
		each(name)
	}
	return nil
}

func (h *handle) Sync(string) error {
	if err := h.step(true, "syncdir"); err != nil {
		return err
	}
	h.v.w.mu.Lock()
	defer h.v.w.mu.Unlock()
	h.v.lacking, h.v.before = nil, nil
	return nil
}

// close counts a descriptor back. The kernel has closed those of the dead.
func (v *volume) close(p *process) {
	if !p.dead {
		v.open[p]--
	}
}

func (h *handle) Stat() (fs.FileInfo, error) {
	return fileInfo{mode: fs.ModeDir | 0o755, sys: &syscall.Stat_t{}}, nil
}

func (h *handle) Close() error {
	h.v.w.mu.Lock()
	defer h.v.w.mu.Unlock()
	if h.closed {
		h.v.w.breach("a directory is closed twice")
	}
	h.closed = true
	h.v.close(h.p)
	return nil
}

type tempFile struct {
	h      *handle
	n      *node
	name   string
	closed bool
}

func (f *tempFile) lock(op string) (*volume, error) {
	if err := f.h.step(true, op); err != nil {
		f.h.spoilState(f.name)
		return nil, err
	}
	f.h.v.w.mu.Lock()
	return f.h.v, nil
}

func (f *tempFile) Write(b []byte) (int, error) {
	done := 0
	for _, part := range [][]byte{b[:len(b)/2], b[len(b)/2:]} { // a process may die between any two bytes
		v, err := f.lock("write")
		if err != nil {
			return done, err
		}
		want := fs.FileMode(0o600)
		if !strings.Contains(f.name, ".state") {
			want = v.w.cfg.mode
		}
		if !f.n.chmodded {
			v.w.breach("content comes before the mode in %s", kindOf(f.name))
		}
		if open := f.n.mode &^ want; open != 0 {
			v.w.breach("content in a temporary file of mode %#o, %#o is asked for", f.n.mode, want)
		}
		f.n.content = append(slices.Clip(f.n.content), part...)
		v.touch(f.n)
		done += len(part)
		v.w.mu.Unlock()
	}
	return done, nil
}

func kindOf(name string) string {
	if i := strings.Index(name, ".tmp-"); i >= 0 {
		return name[:i] // the rest is random
	}
	return name
}

func (f *tempFile) Chown(int, int) error { return nil }

func (f *tempFile) Chmod(mode fs.FileMode) error {
	v, err := f.lock("chmod")
	if err != nil {
		return err
	}
	defer v.w.mu.Unlock()
	f.n.mode, f.n.chmodded = mode, true
	v.touch(f.n)
	return nil
}

func (f *tempFile) Sync() error {
	v, err := f.lock("fsync")
	if err != nil {
		return err
	}
	defer v.w.mu.Unlock()
	f.n.synced = f.n.version
	return nil
}

func (f *tempFile) Close() error {
	err := f.h.step(true, "close")
	f.h.v.w.mu.Lock()
	defer f.h.v.w.mu.Unlock()
	if f.closed {
		f.h.v.w.breach("a temporary file is closed twice")
	}
	f.closed = true
	f.h.v.close(f.h.p)
	f.h.looked, f.h.tempClosed = false, true
	return err
}

type fileInfo struct {
	mode  fs.FileMode
	size  int64
	mtime time.Time
	sys   *syscall.Stat_t
}

func infoOf(n *node) fileInfo {
	return fileInfo{n.mode, int64(len(n.content)), n.mtime, &syscall.Stat_t{Ino: n.ino, Ctim: syscall.NsecToTimespec(n.ctime.UnixNano())}}
}

func (i fileInfo) Name() string       { return "" }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.mtime }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return i.sys }

// published is our process putting a new config under the name: what must hold of every one. Called with the lock held.
func (w *world) published(h *handle, old, n *node) {
	v := h.v
	w.stats.writes++
	at, oldDoc, doc := 0, v.parsed(old), v.parsed(n)
	if old != nil {
		at = old.version
	}
	w.event("publish", v.n, w.serials(doc))
	switch {
	case !doc.ok:
		w.breach("output %d: what we write does not parse: %q", v.n, n.content)
		return
	case n.synced != n.version:
		w.breach("output %d: renamed before its content and mode are on disk: a power cut could empty the file", v.n)
	case n.mode != w.cfg.mode:
		w.breach("output %d: mode %#o, not %#o", v.n, n.mode, w.cfg.mode)
	case !h.looked || !h.tempClosed:
		w.breach("output %d: renamed without a look at what stands there now", v.n)
	case h.readBad:
		w.breach("output %d: a document that does not parse is overwritten", v.n)
	case doc.rest != h.readDoc:
		w.breach("output %d: foreign content was\n%swhen it was read, and is written as\n%s", v.n, h.readDoc, doc.rest)
	}
	if at != h.readAt {
		if h.lookStamp == h.readStamp { // between the look and the rename, or nothing that a disk tells sets the two apart: documented
			w.stats.racesLost++
		} else {
			w.breach("output %d: version %d was read, %d was seen just now, and it is replaced all the same", v.n, h.readAt, h.lookedAt)
		}
	}
	if w.failed() {
		return
	}
	now := h.p.synced[v.n] // when the write began: a disk may hang for hours in the middle of it
	for host, auth := range doc.auths {
		var before string
		if oldDoc != nil {
			before = oldDoc.auths[host]
		}
		if before == auth {
			doc.origin[host] = oldDoc.origin[host] || doc.origin[host]
			continue
		}
		if h.readAuths[host] == auth {
			continue // carried over, and a race is lost
		}
		doc.origin[host] = true
		t := w.issued[auth]
		switch prior := w.issued[before]; {
		case t == nil:
			w.breach("output %d: %s gets a token that AWS never issued", v.n, host)
		case t.site != w.siteOf[host]:
			w.breach("output %d: %s gets a token of another scope", v.n, host)
		case prior != nil && oldDoc.origin[host] && t.serial < prior.serial && at == h.readAt && !h.p.unread[v.n] && !v.noState && h.p.sure(w):
			w.breach("output %d: %s has token %d and gets the older %d", v.n, host, prior.serial, t.serial)
		case t.serial < h.p.wrote[v.n][host]:
			w.breach("output %d: %s gets token %d, after %d was written", v.n, host, t.serial, h.p.wrote[v.n][host])
		case now.Add(-w.tolerance(h.p)).After(t.expires):
			w.breach("output %d: %s gets a token that expired %s ago", v.n, host, now.Sub(t.expires))
		}
		if t != nil {
			h.p.wrote[v.n][host] = t.serial
		}
	}
	for host := range w.ours { // nothing of ours is taken away
		if oldDoc != nil && oldDoc.auths[host] != "" && doc.auths[host] == "" && at == h.readAt {
			w.breach("output %d: the entry of %s is gone", v.n, host)
		}
	}
	v.before, v.lacking = old, n
}
