package refresh

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/writer"
)

const (
	brokenLine   = "entries that are not ours keep programs from reading the file"
	unbrokenLine = "no entry keeps programs from reading the file any more"
	similarLine  = "other logins for our registries are in the file"
	aloneLine    = "no other login for our registries is in the file any more"
)

// breaking are obstacles with these keys.
func breaking(keys ...string) (o writer.Obstacles) {
	for _, k := range keys {
		o.Broken = append(o.Broken, writer.Obstacle{Key: k, Problem: "is odd", Readers: "docker does not read the file"})
	}
	o.BrokenCount = len(keys)
	return o
}

func (f *fakeFile) obstruct(o writer.Obstacles) { f.edit(func(f *fakeFile) { f.others = o }) }

// What comes or goes is one line, when it does and never again, whether a token is there or not.
func TestObstaclesAreLoggedOnce(t *testing.T) {
	for name, setup := range map[string]func(r *rig){
		"renewed":     nil,
		"not watched": func(r *rig) { r.cfg.Outputs[0].Watch = nil },
		"no token":    func(r *rig) { r.source.fail(fault.AccessDenied) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, setup, func(r *rig) {
				f, within := r.files[0], time.Duration(0)
				if r.cfg.Outputs[0].Watch == nil {
					within = Tick
				}
				r.pass(time.Hour)
				r.wantLines(brokenLine, 0)
				f.obstruct(breaking("a", "b"))
				r.pass(within)
				line := r.wantLines(brokenLine, 1)[0]
				if got := fmt.Sprint(line["entries"]); line["output"] != "out0" || line["cure"] != BrokenCure || got != "[a: is odd; docker does not read the file b: is odd; docker does not read the file]" {
					t.Errorf("logged %v", line)
				}
				r.pass(3 * time.Hour)
				f.edit(func(*fakeFile) {}) // another program's entry
				r.pass(Tick)
				r.wantLines(brokenLine, 1)
				f.obstruct(breaking("b"))
				r.pass(within)
				r.wantLines(brokenLine, 2)
				f.obstruct(writer.Obstacles{Similar: breaking("H/team").Broken, SimilarCount: 1})
				r.pass(Tick)
				r.wantLines(unbrokenLine, 1)
				if line := r.wantLines(similarLine, 1)[0]; line["cure"] != nil || line["count"] != int64(1) {
					t.Errorf("logged %v", line)
				}
				f.obstruct(writer.Obstacles{})
				r.pass(24 * time.Hour)
				r.wantLines(aloneLine, 1)
				r.wantLines(brokenLine, 2)
				r.wantLines(unbrokenLine, 1)
				r.wantLines(similarLine, 1)
			})
		})
	}
}

// A file that changes all the time cannot fill the log, and what it ends with is reported all the same.
func TestObstaclesThatComeAndGo(t *testing.T) {
	bubble(t, nil, nil, func(r *rig) {
		r.pass(time.Hour)
		for i := range 24 * 60 * 20 {
			o := writer.Obstacles{}
			if i%2 == 0 {
				o = breaking("a")
			}
			r.files[0].obstruct(o)
			r.pass(3 * time.Second)
		}
		r.files[0].obstruct(breaking("the last"))
		r.pass(2 * time.Hour)
		lines := len(r.logs.FilterMessage(brokenLine).All()) + len(r.logs.FilterMessage(unbrokenLine).All())
		if lines > 26*linesPerHour {
			t.Errorf("%d lines in 26 hours", lines)
		}
		all := r.logs.FilterMessage(brokenLine).All()
		if last := fmt.Sprint(all[len(all)-1].ContextMap()["entries"]); last != "[the last: is odd; docker does not read the file]" {
			t.Errorf("the last line is of %s", last)
		}
	})
}

// A file system that hangs keeps no other output from being reported.
func TestObstaclesOfAHungOutput(t *testing.T) {
	bubble(t, nil, func(r *rig) { r.addOutput() }, func(r *rig) {
		r.pass(time.Minute)
		block := make(chan struct{})
		r.files[0].edit(func(f *fakeFile) { f.block, f.others = block, breaking("a") })
		for range 60 {
			r.pass(time.Minute)
			r.files[0].edit(func(*fakeFile) {})
		}
		r.files[1].obstruct(breaking("b"))
		r.pass(Tick)
		outputs := func() (names []string) {
			for _, e := range r.logs.FilterMessage(brokenLine).All() {
				names = append(names, fmt.Sprint(e.ContextMap()["output"]))
			}
			return names
		}
		if got := outputs(); !slices.Equal(got, []string{"out1"}) {
			t.Errorf("reported of %v", got)
		}
		r.files[0].edit(func(f *fakeFile) { f.block = nil })
		close(block)
		r.pass(Tick)
		if got := outputs(); !slices.Equal(got, []string{"out1", "out0"}) {
			t.Errorf("reported of %v", got)
		}
	})
}
