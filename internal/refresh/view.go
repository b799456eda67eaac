package refresh

import (
	"errors"
	"time"

	"ecr-refresher/internal/fault"
)

// View is the last snapshot with the files as they are now. A file that cannot be read within lookMost counts as unreadable. It
// lets the loop turn if that has slept for a while: the process is awake now, so it costs little.
func (l *Loop) View() View {
	if time.Since(l.born)-time.Duration(l.turned.Load()) > Tick {
		select {
		case l.nudge <- struct{}{}:
		default:
		}
	}
	disk := l.look() // first: whatever token is found, the snapshot then knows
	s := l.snapshot.Load()
	v := View{Snapshot: s, OnDisk: disk}
	v.Now, v.Skew = s.anchor.now(), s.anchor.skew()
	v.Late = l.Late()
	return v
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
