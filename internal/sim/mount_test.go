package sim

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"ecr-refresher/internal/writer"
)

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
		m.p.outs[v.n].met = append(m.p.outs[v.n].met, f.err)
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
