package sim

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"ecr-refresher/internal/writer"
	"ecr-refresher/internal/writer/disktest"
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

func (h *handle) Lstat(name string) (fs.FileInfo, error) {
	if err := h.step(false, "lstat"); err != nil {
		return nil, err
	}
	v := h.v
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	if name == config {
		h.lookStamp, h.lookedAt, h.looked = stamp{}, 0, true
		if n := v.config(); n != nil {
			h.lookStamp, h.lookedAt = stampOf(n), n.Version
		}
	}
	return v.disk.Lstat(name)
}

func (h *handle) Readlink(name string) (string, error) { return h.v.disk.Readlink(name) }

func (h *handle) Read(name string, most int64) ([]byte, fs.FileInfo, error) {
	if err := h.step(false, "read"); err != nil {
		return nil, nil, err
	}
	v := h.v
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	if name == config {
		h.readStamp, h.readAt, h.readDoc, h.readAuths, h.readBad = stamp{}, 0, "", nil, false
		if n := v.config(); n != nil {
			d := v.parsed(n)
			h.readStamp = stampOf(n)
			h.readAt, h.readDoc, h.readAuths, h.readBad = n.Version, d.rest, d.auths, !d.ok
		}
	}
	return v.disk.Read(name, most)
}

func (h *handle) Create(name string) (writer.LayerFile, error) {
	if err := h.step(true, "create"); err != nil {
		h.spoilState(name)
		return nil, err
	}
	v := h.v
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	f, err := v.disk.Create(name)
	if err != nil {
		return nil, err
	}
	v.open[h.p]++
	h.tempClosed = false
	return &tempFile{LayerFile: f, h: h, n: v.disk.File(name), name: name}, nil
}

// spoilState notes that the state file was kept from being written.
func (h *handle) spoilState(name string) {
	if strings.Contains(name, ".state") {
		h.v.w.mu.Lock()
		h.v.noState = true
		h.v.w.mu.Unlock()
	}
}

// Overwrite changes a file in place. A process may die, and a disk may err, in the middle of it.
func (h *handle) Overwrite(name string, b []byte) error {
	v := h.v
	var n *disktest.File
	var old []byte
	for _, part := range [][]byte{b[:len(b)/2], b} {
		if err := h.step(true, "overwrite"); err != nil {
			return err
		}
		v.w.mu.Lock()
		if n == nil {
			if name != state {
				v.w.breach("%s is written in place", name)
			}
			if n = v.disk.File(name); n == nil || len(n.Content) != len(b) {
				v.w.mu.Unlock()
				return disktest.ErrLength
			}
			old = n.Content
		}
		v.disk.Replace(n, slices.Concat(part, old[len(part):]), old)
		v.noState = v.disk.File(name) == n && len(part) < len(b)
		v.w.mu.Unlock()
	}
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
	if n := v.disk.File(from); n != nil && to == config {
		v.w.published(h, v.config(), n)
	}
	if err := v.disk.Rename(from, to); err != nil {
		return err
	}
	switch to {
	case config:
		v.configChanged()
		v.w.kick()
	case state:
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
	return h.v.disk.Remove(name)
}

func (h *handle) Names(parent string, each func(string)) error {
	if err := h.step(false, "names"); err != nil {
		return err
	}
	h.v.w.mu.Lock()
	defer h.v.w.mu.Unlock()
	return h.v.disk.Names(parent, each)
}

func (h *handle) Sync(parent string) error {
	if err := h.step(true, "syncdir"); err != nil {
		return err
	}
	h.v.w.mu.Lock()
	defer h.v.w.mu.Unlock()
	return h.v.disk.Sync(parent)
}

// close counts a descriptor back. The kernel has closed those of the dead.
func (v *volume) close(p *process) {
	if !p.dead {
		v.open[p]--
	}
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

// tempFile is a new file that a process has open.
type tempFile struct {
	writer.LayerFile
	h      *handle
	n      *disktest.File
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
		if !f.n.Chmodded {
			v.w.breach("content comes before the mode in %s", kindOf(f.name))
		}
		if open := f.n.Mode &^ want; open != 0 {
			v.w.breach("content in a temporary file of mode %#o, %#o is asked for", f.n.Mode, want)
		}
		n, err := f.LayerFile.Write(part)
		v.w.mu.Unlock()
		if done += n; err != nil {
			return done, err
		}
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
	return f.LayerFile.Chmod(mode)
}

func (f *tempFile) Sync() error {
	v, err := f.lock("fsync")
	if err != nil {
		return err
	}
	defer v.w.mu.Unlock()
	return f.LayerFile.Sync()
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
