package refresh

import (
	"errors"
	"time"

	"ecr-refresher/internal/fault"
)

// View is the last snapshot with the files as they are now. A file that cannot be read within lookMost counts as unreadable. One that
// is not as the loop left it wakes the loop, which repairs it: no event may have come.
func (l *Loop) View() View {
	disk := l.look() // first: whatever token is found, the snapshot then knows
	s := l.snapshot.Load()
	for i, o := range s.Outputs {
		if o.differs(disk[i]) {
			l.doubts[i].Store(true)
			select {
			case l.doubt <- struct{}{}:
			default: // it is awake already
			}
		}
	}
	v := View{Snapshot: s, OnDisk: disk}
	v.Now, v.Skew = s.anchor.now(), s.anchor.skew()
	v.Late = l.Late()
	return v
}

// differs reports whether a file is not as the loop last found or left it.
func (o OutputState) differs(disk OnDisk) bool {
	switch {
	case o.Err != nil:
		return Class(o.Err) == fault.OutputInvalid && disk.Err == nil
	case o.holds == nil:
		return false // nothing was written yet
	case disk.Err != nil:
		return true
	}
	for host, sum := range o.holds {
		if disk.Sums[host] != sum {
			return true
		}
	}
	return false
}

// takeDoubts marks the files that a view has found to be different.
func (l *Loop) takeDoubts() {
	for i := range l.doubts {
		if l.doubts[i].Swap(false) {
			l.noticed(l.outputs[i])
		}
	}
}

// look reads every file for a view: all at once, so that one which hangs hides none of the others.
func (l *Loop) look() []OnDisk {
	late := make(chan struct{})
	defer time.AfterFunc(lookMost, func() { close(late) }).Stop()
	found := make([]chan OnDisk, len(l.cfg.Outputs))
	for i, o := range l.cfg.Outputs {
		found[i] = make(chan OnDisk, 1)
		go func() {
			select {
			case l.looking[i] <- struct{}{}: // a file that hangs keeps one goroutine, not one for each view
				view, err := o.File.Look()
				found[i] <- OnDisk{view, err}
				<-l.looking[i]
			case <-late:
			}
		}()
	}
	disk := make([]OnDisk, len(found))
	for i, o := range l.cfg.Outputs {
		select {
		case disk[i] = <-found[i]:
			continue
		case <-late:
		}
		select {
		case disk[i] = <-found[i]: // it came while another one was waited for
		default:
			disk[i].Err = &fault.Error{Class: fault.OutputOther, Op: "read " + o.Name, Err: errors.New("the file system does not answer"),
				Cure: "see whether the volume is reachable"}
		}
	}
	return disk
}

// lookMost is how long files are waited for at the start and by a view: well within the 5 s that ECS gives a health check.
const lookMost = 2 * time.Second
