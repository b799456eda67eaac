package sim

import (
	"io/fs"
	"math/rand/v2"
	"syscall"
	"time"
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

func (v *volume) setFault(f outFault) {
	v.fault = f
	close(v.unhung)
	v.unhung = make(chan struct{})
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
