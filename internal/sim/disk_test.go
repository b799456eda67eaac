package sim

import (
	"io/fs"
	"math/rand/v2"
	"time"

	"ecr-refresher/internal/writer/disktest"
)

const (
	config = disktest.Config
	state  = ".config.json.state"
)

// volume is the directory of one output. It records who did what, so that a breach is seen where it happens: the name is never
// without what stood there, nothing is renamed that a power cut could empty, and whoever loses a race is known.
// All of it is guarded by world.mu.
type volume struct {
	w    *world
	n    int
	disk *disktest.Disk
	rng  *rand.Rand

	fault   outFault
	unhung  chan struct{} // closed when the fault ends
	hung    int           // steps that had to wait for that
	spoiled time.Duration // when our process last met a fault here
	blind   time.Duration // when it could last not read
	open    map[*process]int
	noState bool // the state file does not tell what it should: a fault of the disk, not of the process

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

// stamp is all that tells two states of a file apart without reading it.
type stamp struct {
	ino          uint64
	size         int
	mode         fs.FileMode
	mtime, ctime int64
}

func stampOf(n *disktest.File) stamp {
	return stamp{n.Ino, len(n.Content), n.Mode, n.Mtime.UnixNano(), n.Ctime.UnixNano()}
}

func newVolume(w *world, n int) *volume {
	v := &volume{
		w: w, n: n, disk: disktest.New(), rng: w.stream(100 + uint64(n)), open: map[*process]int{}, watchers: map[chan struct{}]bool{},
		unhung: make(chan struct{}), spoiled: -time.Hour, blind: -time.Hour, changed: -time.Hour, foreign: -time.Hour,
	}
	v.disk.Clock = func() time.Time { return time.Now().Add(w.cfg.fsSkew).Truncate(w.cfg.fsTick) } // as coarse as it is
	return v
}

// config is the output's file, nil where there is none.
func (v *volume) config() *disktest.File { return v.disk.File(config) }

// remove is another program's deletion.
func (v *volume) remove(name string) {
	_ = v.disk.Remove(name) // it may not be there
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
