package refresh

import (
	"slices"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
)

func TestDriftIsRepaired(t *testing.T) {
	for name, c := range map[string]struct {
		edit  func(f *fakeFile)
		found string
	}{
		"deleted":  {deleted, "the file was missing"},
		"replaced": {replaced, "another entry for " + hostA},
		"mode":     {func(f *fakeFile) { f.badMode = true }, "the mode was wrong"},
	} {
		for _, watched := range []bool{true, false} {
			bubble(t, nil, func(r *rig) {
				if !watched {
					r.cfg.Outputs[0].Watch = nil
				}
			}, func(r *rig) {
				r.pass(time.Hour + 30*time.Second)
				r.files[0].edit(c.edit)
				within := time.Duration(0)
				if !watched {
					within = Tick
				}
				r.pass(within)
				r.wantEntry(0, 0, true)
				r.wantCalls(1)
				if bad := r.files[0].modeIsBad(); bad || r.seen.writes(written{"out0", true, ""}) != 1 || r.seen.writes(written{"out0", false, ""}) != 1 {
					t.Errorf("%s: observed %+v", name, r.seen.written)
				}
				if o := r.loop.View().Outputs[0]; o.Repairs != 1 || o.Found != c.found || o.Contested || o.Err != nil {
					t.Errorf("%s: %+v", name, o)
				}
				if line := r.wantLines("output repaired", 1)[0]; line["found"] != c.found || line["output"] != "out0" {
					t.Errorf("%s: logged %v", name, line)
				}
				r.pass(time.Hour)
				if len(r.files[0].writes()) != 2 {
					t.Errorf("%s: written at %v", name, r.files[0].writes())
				}
			})
		}
	}
}

// Events of one output must not put off the look at another, which has none.
func TestSlowLookIsNotStarved(t *testing.T) {
	bubble(t, nil, func(r *rig) { r.addOutput(); r.cfg.Outputs[1].Watch = nil }, func(r *rig) {
		r.pass(time.Hour)
		r.files[1].edit(deleted)
		for range 2 {
			r.pass(25 * time.Second)
			r.files[0].edit(func(*fakeFile) {}) // another program's entry
		}
		r.pass(10 * time.Second)
		r.wantEntry(1, 0, true)
	})
}

func TestContestedOutput(t *testing.T) {
	bubble(t, nil, nil, func(r *rig) {
		f := r.files[0]
		for n := range 4 { // four in ten minutes are repairs
			r.pass(time.Second)
			f.edit(replaced)
			r.pass(0)
			r.wantEntry(0, 0, true)
			if o := r.loop.View().Outputs[0]; o.Contested || o.Repairs != n+1 {
				t.Errorf("after %d: %+v", n+1, o)
			}
		}
		start := r.clock.since()
		f.edit(func(f *fakeFile) { replaced(f); f.after = func() { replaced(f) } }) // the fifth is a fight, and it goes on
		r.pass(0)
		if o := r.loop.View().Outputs[0]; !o.Contested {
			t.Errorf("not contested: %+v", o)
		}
		line := r.wantLines("output contested: another program changes our entries again and again", 1)[0]
		if line["found"] != "another entry for "+hostA || line["cure"] == "" || line["next_repair_in"] != 10*time.Second || line["times"] != int64(5) {
			t.Errorf("logged %v", line)
		}
		r.pass(time.Hour)
		var want []time.Duration
		for wait, at := 10*time.Second, time.Duration(0); at <= time.Hour; wait = min(2*wait, 5*time.Minute) {
			want = append(want, at)
			at += wait
		}
		got := f.writes()[5:]
		for i := range got {
			got[i] -= start
		}
		if !slices.Equal(got, want) {
			t.Errorf("repaired at %v after the start of the fight, want %v", got, want)
		}

		// A new token is written at once, and that puts no end to the back-off.
		r.pass(time.Minute)
		before := len(f.writes())
		r.loop.Renew()
		r.pass(0)
		if n := len(f.writes()) - before; n != 1 || r.seen.writes(written{"out0", false, ""}) != 2 {
			t.Errorf("a new token was written %d times, and counted %d times as one", n, r.seen.writes(written{"out0", false, ""}))
		}
		r.pass(30 * time.Second)
		if n := len(f.writes()) - before; n != 1 {
			t.Errorf("%d writes in the half minute after a new token", n)
		}

		f.edit(func(f *fakeFile) { f.after = nil }) // the other program gives up
		r.pass(5 * time.Minute)
		r.wantEntry(0, 0, true)
		r.wantLines("output no longer contested", 0)
		r.pass(10*time.Minute + Tick)
		r.wantLines("output no longer contested", 1)
		if o := r.loop.View().Outputs[0]; o.Contested {
			t.Errorf("still contested: %+v", o)
		}
		f.edit(replaced)
		r.pass(0)
		r.wantEntry(0, 0, true) // at once again
		r.wantLines("output contested: another program changes our entries again and again", 1)
		for range 4 {
			r.pass(time.Second)
			f.edit(replaced)
		}
		r.pass(0)
		lines := r.wantLines("output contested: another program changes our entries again and again", 2)
		if lines[1]["next_repair_in"] != 10*time.Second {
			t.Errorf("a second contest begins with %v", lines[1])
		}
	})
}

func TestRepairThatFails(t *testing.T) {
	bubble(t, nil, nil, func(r *rig) {
		r.pass(10 * time.Minute)
		r.files[0].edit(func(f *fakeFile) { deleted(f); f.err = broken(fault.OutputDenied) })
		r.pass(500 * time.Millisecond)
		r.files[0].mend()
		r.wantEntry(0, 0, false)
		r.pass(500 * time.Millisecond)
		r.wantEntry(0, 0, true)
		if r.seen.writes(written{"out0", true, ""}) != 1 || r.seen.writes(written{"out0", false, fault.OutputDenied}) != 1 {
			t.Errorf("observed %+v", r.seen.written)
		}
	})
}

func TestRareRepairsAreNoContest(t *testing.T) {
	bubble(t, nil, nil, func(r *rig) {
		for range 20 {
			r.pass(contestedWithin/(contestedDamages-1) + time.Second)
			r.files[0].edit(deleted)
			r.pass(0)
			r.wantEntry(0, 0, true)
		}
		if o := r.loop.View().Outputs[0]; o.Contested || o.Repairs != 20 {
			t.Errorf("%+v", o)
		}
	})
}

// A file that cannot be read is looked at as soon as it changes, and not more than once a second; of another failure a change says
// nothing, as our own temporary files are changes too.
func TestFailureThatIsMended(t *testing.T) {
	for class, soon := range map[fault.Class]bool{fault.OutputInvalid: true, fault.OutputFull: false} {
		bubble(t, nil, nil, func(r *rig) {
			r.pass(time.Hour)
			r.files[0].edit(func(f *fakeFile) { f.err, f.exists = broken(class), false })
			r.pass(10*time.Minute + 20*time.Second) // the back-off is at its longest
			count := func() (n int) {
				r.files[0].edit(func(f *fakeFile) { n = f.syncs })
				r.pass(100 * time.Millisecond)
				return n
			}
			before := count()
			for range 10 {
				r.files[0].edit(func(*fakeFile) {})
				r.pass(100 * time.Millisecond)
			}
			if n := count() - before; soon && (n < 1 || n > 2) || !soon && n > 0 {
				t.Errorf("%s: %d looks within a second of changes", class, n)
			}
			r.files[0].edit(func(f *fakeFile) { f.err = nil })
			r.pass(2 * time.Second)
			if e := r.loop.View().Entry(0, 0); e.Valid != soon {
				t.Errorf("%s: 2 s after it was mended: %+v", class, e)
			}
			r.pass(2 * time.Minute)
			r.wantEntry(0, 0, true)
		})
	}
}

func TestOneOutputFails(t *testing.T) {
	for _, class := range fault.Classes() {
		if !class.OfOutput() {
			continue
		}
		bubble(t, nil, func(r *rig) { r.addOutput().err = broken(class) }, func(r *rig) {
			r.wantEntry(0, 0, true)
			line := r.wantLines("output not written", 1)[0]
			if line["class"] != string(class) || line["cure"] != "mend it" || line["retry_in"] != time.Second || line["output"] != "out1" || line["failures"] != int64(1) {
				t.Errorf("%s: logged %v", class, line)
			}
			r.pass(5 * time.Minute)
			// 0, 1, 3, 7, 15, 31 s, then every 30 s
			if n := r.seen.writes(written{"out1", false, class}); n != 6+8 || n != r.files[1].looks() {
				t.Errorf("%s: tried %d times, %d failures told", class, r.files[1].looks(), n)
			}
			r.wantLines("output not written", 2) // the first and the tenth
			v := r.loop.View()
			if o := v.Outputs[1]; Class(o.Err) != class || o.Failures != 14 || v.Outputs[0].Err != nil {
				t.Errorf("%s: %+v", class, o)
			}
			r.files[1].edit(func(f *fakeFile) { f.err = nil })
			r.pass(30 * time.Second)
			r.wantEntry(1, 0, true)
			if o := r.loop.View().Outputs[1]; o.Err != nil || o.Failures != 0 || o.Repairs != 0 {
				t.Errorf("%s: after it works again: %+v", class, o)
			}
			r.wantLines("output works again", 1)
			r.wantCalls(1)
		})
	}
}

func TestUnclassifiedErrors(t *testing.T) {
	bubble(t, nil, func(r *rig) { r.files[0].err = errDeadline }, func(r *rig) {
		if err := r.loop.View().Outputs[0].Err; Class(err) != fault.OutputOther {
			t.Errorf("a file's error without a class counts as %s", Class(err))
		}
	})
}

// A file system that hangs harms neither the other outputs nor the renewals, from the start and later.
func TestHungOutput(t *testing.T) {
	for hung := range 2 {
		for _, fromTheStart := range []bool{true, false} {
			var block chan struct{}
			bubble(t, nil, func(r *rig) {
				r.addOutput()
				block = make(chan struct{})
				if fromTheStart {
					r.files[hung].block = block
				}
			}, func(r *rig) {
				r.files[hung].edit(func(f *fakeFile) { f.block = block })
				r.pass(lookMost)
				for range 4 {
					r.pass(6 * time.Hour)
					began := time.Now()
					v := r.loop.View()
					if took := time.Since(began); took > lookMost {
						t.Errorf("a view took %s", took)
					}
					if e := v.Entry(1-hung, 0); !e.Valid {
						t.Errorf("the other output is not valid: %s", e.Why)
					}
					if e := v.Entry(hung, 0); e.Valid || Class(v.OnDisk[hung].Err) != fault.OutputOther {
						t.Errorf("the output that hangs is told as %+v", e)
					}
				}
				r.wantCalls(5)
				if late := r.loop.Late(); late > 0 {
					t.Errorf("the loop is %s late", late)
				}
				r.files[hung].edit(func(f *fakeFile) { f.block = nil })
				close(block)
				r.pass(0)
				r.wantEntry(hung, 0, true)
			})
		}
	}
}

// The fake fails the test for a write of an expired token.
func TestExpiredTokenIsNotPutBack(t *testing.T) {
	bubble(t, []string{hostA, hostC}, (*rig).retrySlowly, func(r *rig) {
		r.source.fail(fault.ServerError)
		r.pass(fullLife - 2*time.Second)
		r.files[0].edit(deleted)
		r.pass(0)
		if exists, _ := r.files[0].content(); !exists {
			t.Error("a token of two seconds was not put back")
		}
		r.pass(2 * time.Second)
		r.files[0].edit(deleted)
		r.pass(24 * time.Hour)
		if exists, _ := r.files[0].content(); exists {
			t.Error("an expired token was put back")
		}
		r.source.fail("")
		r.loop.Renew()
		r.pass(time.Second)
		r.wantEntry(0, 0, true)
		r.wantEntry(0, 1, true)
	})
}
