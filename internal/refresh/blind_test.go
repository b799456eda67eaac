package refresh

import (
	"fmt"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/writer"
)

func unreadable(f *fakeFile) { f.err = broken(fault.OutputInvalid) }

// A change of which no event comes is repaired as soon as somebody asks for the state of things, and within a Tick where nobody does.
func TestBlindChange(t *testing.T) {
	for name, change := range map[string]func(*fakeFile){"deleted": deleted, "replaced": replaced} {
		for _, asked := range []bool{true, false} {
			bubble(t, nil, nil, func(r *rig) {
				r.pass(time.Hour + 30*time.Second)
				r.files[0].blindly(change)
				if asked {
					r.wantEntry(0, 0, false)
				} else {
					r.pass(Tick - 1)
				}
				r.pass(1)
				if n := r.seen.writes(written{output: "out0", repair: true}); n != 1 {
					t.Errorf("%s, asked %t: %d repairs", name, asked, n)
				}
				r.wantEntry(0, 0, true)
			})
		}
	}
}

// The same holds for a file that becomes unreadable, and for its end.
func TestBlindlyUnreadable(t *testing.T) {
	for _, asked := range []bool{true, false} {
		bubble(t, nil, nil, func(r *rig) {
			pass := func() {
				if asked {
					r.loop.View()
					r.pass(MinInterval) // between two attempts
				} else {
					r.pass(Tick)
				}
			}
			r.pass(time.Hour)
			r.files[0].blindly(unreadable)
			pass()
			if got := Class(r.loop.View().Outputs[0].Err); got != fault.OutputInvalid {
				t.Errorf("asked %t: class %q", asked, got)
			}
			r.files[0].mend()
			pass()
			if o := r.loop.View().Outputs[0]; o.Err != nil {
				t.Errorf("asked %t: %+v", asked, o)
			}
		})
	}
}

// Many views of a file that is as it should be are no reason for the loop to run.
func TestViewsOfAGoodFile(t *testing.T) {
	bubble(t, nil, nil, func(r *rig) {
		r.pass(time.Hour + time.Second)
		turns := r.clock.turned()
		const views = 50
		for range views {
			r.pass(time.Second)
			r.loop.View()
		}
		if got := r.clock.turned() - turns - views; got > 0 { // each view reads the clock too
			t.Errorf("%d turns in 50 s", got)
		}
	})
}

// The token of another process of the task is taken over as one that was found at the start: it counts, and it is renewed within an
// hour. One that cannot be ours is replaced at once.
func TestPeerIsAdopted(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(g *writer.Grant)
		adopted bool
	}{
		{"later than ours", func(*writer.Grant) {}, true},
		{"expires too late", func(g *writer.Grant) { g.Expires = g.Expires.Add(24 * time.Hour) }, false},
		{"of another scope", func(g *writer.Grant) { g.Scope = "another" }, false},
		{"issued in the future", func(g *writer.Grant) { g.Issued = g.Issued.Add(time.Hour) }, false},
	} {
		bubble(t, nil, (*rig).drawHalf, func(r *rig) {
			r.pass(time.Hour)
			r.wantCalls(1)
			g := r.left(0, 0, fullLife)
			g.Auth = secret.New("of another process")
			g.Sum = g.Auth.Sum()
			c.change(&g)
			r.files[0].edit(func(f *fakeFile) {
				f.peers = map[string]writer.Grant{hostA: g}
				f.sums = map[string]writer.Sum{hostA: g.Sum}
			})
			r.pass(time.Second)
			r.wantEntry(0, 0, true)
			s, writes := r.loop.View().Scopes[0], len(r.files[0].writes())
			if s.Adopted != c.adopted || (writes == 1) != c.adopted {
				t.Errorf("%s: adopted %t, %d writes", c.name, s.Adopted, writes)
			}
			r.pass(30*time.Minute - 2*time.Second)
			r.wantCalls(1)
			r.pass(2 * time.Second)
			if c.adopted {
				r.wantCalls(2)
			}
			if s := r.loop.View().Scopes[0]; s.Adopted {
				t.Errorf("%s: still adopted after a renewal", c.name)
			}
		})
	}
}

// Whatever somebody does to the file again and again makes it contested, and the log stays short.
func TestFights(t *testing.T) {
	good := func(f *fakeFile) { f.err = nil }
	for name, kinds := range map[string][]func(*fakeFile){
		"deleted":             {deleted},
		"replaced":            {replaced},
		"another mode":        {func(f *fakeFile) { f.badMode = true }},
		"unreadable and good": {unreadable, good},
		"by turns":            {unreadable, good, deleted, replaced},
		"unreadable, deleted": {unreadable, func(f *fakeFile) { f.err = nil; deleted(f) }},
	} {
		bubble(t, nil, nil, func(r *rig) {
			r.pass(time.Hour)
			before := r.logs.Len()
			contested := false
			for i := range 24 * 60 * 20 { // a day
				r.files[0].edit(kinds[i%len(kinds)])
				r.pass(3 * time.Second)
				if i == 19 {
					contested = r.loop.View().Outputs[0].Contested
				}
			}
			if !contested {
				t.Errorf("%s: not contested after a minute", name)
			}
			if n := r.logs.Len() - before; n > 60 {
				t.Errorf("%s: %d log lines in a day", name, n)
			}
			r.files[0].edit(good)
			r.pass(20 * time.Minute)
			if o := r.loop.View().Outputs[0]; o.Contested || o.Err != nil {
				t.Errorf("%s: then %+v", name, o)
			}
			r.wantEntry(0, 0, true)
		})
	}
}

// An output that fails and works by turns for reasons of its own, such as a full disk, is not contested, and its lines are limited.
func TestLinesOfAnOutput(t *testing.T) {
	bubble(t, nil, nil, func(r *rig) {
		r.pass(time.Minute)
		for range 1000 {
			r.files[0].edit(func(f *fakeFile) { f.err = broken(fault.OutputFull) })
			r.pass(2 * time.Second)
			r.files[0].edit(func(f *fakeFile) { f.err = nil })
			r.pass(2 * time.Second)
		}
		start := r.logs.All()[0].Time
		perHour := map[int]int{}
		for _, e := range r.logs.All() {
			perHour[int(e.Time.Sub(start)/time.Hour)]++
		}
		for hour, n := range perHour {
			if n > linesPerHour+2 { // and the first token's
				t.Errorf("hour %d: %d lines", hour, n)
			}
		}
		r.pass(time.Hour)
		r.files[0].edit(deleted)
		r.pass(time.Minute)
		all := r.lines("output repaired")
		if last := fmt.Sprint(all[len(all)-1]["lines_dropped"]); last == "0" || last == "<nil>" {
			t.Errorf("lines_dropped is %s in %v", last, all[len(all)-1])
		}
	})
}

// Of any number of tokens that somebody puts into the file, one after another, the renewal is drawn once.
func TestAdoptionsDrawOnce(t *testing.T) {
	draws := 0
	bubble(t, nil, func(r *rig) {
		r.drawHalf()
		r.cfg.Rand = func() float64 { draws++; return 0.9 / float64(draws) }
	}, func(r *rig) {
		r.pass(time.Hour)
		var due time.Time
		for i := range 100 {
			g := r.left(0, 0, fullLife+time.Duration(i)*time.Millisecond)
			g.Auth = secret.New(fmt.Sprintf("forged %d", i))
			g.Sum = g.Auth.Sum()
			r.files[0].edit(func(f *fakeFile) {
				f.peers, f.sums = map[string]writer.Grant{hostA: g}, map[string]writer.Sum{hostA: g.Sum}
			})
			r.pass(time.Second)
			s := r.loop.View().Scopes[0]
			if !s.Adopted {
				t.Fatalf("adoption %d: %+v", i, s)
			}
			if due.IsZero() {
				due = s.Due
			}
			if !s.Due.Equal(due) {
				t.Fatalf("adoption %d moved the renewal from %s to %s", i, due, s.Due)
			}
		}
		if n := len(r.lines("token adopted from the file")); n > linesPerHour {
			t.Errorf("%d lines", n)
		}
	})
}

// An adopted token counts until AWS has answered: a token replaces it, a denial has it count no longer, and an outage changes nothing.
func TestAdoptedTokenUntilAWSAnswers(t *testing.T) {
	for _, class := range []fault.Class{fault.Network, fault.Timeout, fault.Throttled, fault.ServerError, fault.TLS, fault.CredentialsUnavailable, fault.NoCredentials,
		fault.AccessDenied, fault.AssumeRole} {
		bubble(t, nil, func(r *rig) {
			r.drawHalf()
			r.files[0].remember(hostA, r.left(0, -time.Hour, fullLife))
			r.source.fail(class)
		}, func(r *rig) {
			r.pass(30*time.Minute - 1)
			r.wantEntry(0, 0, true)
			r.pass(time.Hour)
			denied := class == fault.AccessDenied || class == fault.AssumeRole
			e := r.wantEntry(0, 0, !denied)
			if denied && e.Why != "the token for "+hostA+" was found in the file, and AWS denies this task one of its own" {
				t.Errorf("%s: %q", class, e.Why)
			}
			if len(r.files[0].writes()) > 0 {
				t.Errorf("%s: the file was written", class)
			}
			r.source.fail("")
			r.pass(10 * time.Minute)
			r.wantEntry(0, 0, true)
		})
	}
	// A token that AWS issued to this process counts until its expiry, whatever AWS says later.
	bubble(t, nil, nil, func(r *rig) {
		r.source.fail(fault.AccessDenied)
		r.pass(11 * time.Hour)
		r.wantEntry(0, 0, true)
	})
}
