package refresh

import (
	"context"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

// left is a token that an earlier process put into the file.
func (r *rig) left(reg int, issued, life time.Duration) writer.Grant {
	at := r.clock.aws().Add(issued)
	return writer.Grant{Auth: secret.New("left"), Scope: token.ScopeOf(r.cfg.Registries[reg]).Key(), Issued: at, Expires: at.Add(life)}
}

// drawHalf has every draw come out in the middle: an adopted token is renewed after half an hour.
func (r *rig) drawHalf() {
	r.cfg.Rand = func() float64 { return 0.5 }
	r.cfg.Policy = Policy{RenewAt: 0.5, MaxAge: fullLife}
}

func TestAdopt(t *testing.T) {
	const h, m = time.Hour, time.Minute
	for _, c := range []struct {
		name         string
		issued, life time.Duration
		scope        string        // another one than that of the registry
		due          time.Duration // of the first call
		adopted      bool
	}{
		{"fresh", -h, 12 * h, "", 30 * m, true},
		{"just issued", 0, 12 * h, "", 30 * m, true},
		{"due before the draw", -5*h - 40*m, 12 * h, "", 20 * m, true},
		{"due with the draw", -5*h - 30*m, 12 * h, "", 30 * m, true},
		{"of a short life", 0, 20 * m, "", 10 * m, true},
		{"just before half of its life", -6*h + 1, 12 * h, "", 1, true},
		{"half of its life", -6 * h, 12 * h, "", 0, true},
		{"old", -11 * h, 12 * h, "", 0, true},
		{"last useful moment", -12*h + m + 1, 12 * h, "", 0, true},
		{"about to expire", -12*h + m, 12 * h, "", 0, false},
		{"expired", -12 * h, 12 * h, "", 0, false},
		{"long expired", -100 * h, 12 * h, "", 0, false},
		{"of another scope", -h, 12 * h, "ecr us-east-1", 0, false},
		{"of another identity", -h, 12 * h, "ecr us-west-2 as arn:aws:iam::111111111111:role/x", 0, false},
		{"the greatest expiry", 0, adoptLife, "", 30 * m, true},
		{"expires too late", 0, adoptLife + 1, "", 0, false},
		{"forged to last", -h, 1000 * h, "", 0, false},
		{"issued by a clock that is a little ahead", m, 12*h - m, "", 30 * m, true},
		{"issued in the future", m + 1, 12*h - m - 1, "", 0, false},
		{"expires before it was issued", 30 * time.Second, -20 * time.Second, "", 0, false},
		{"no life", 0, 0, "", 0, false},
	} {
		bubble(t, nil, func(r *rig) {
			g := r.left(0, c.issued, c.life)
			if c.scope != "" {
				g.Scope = c.scope
			}
			r.drawHalf()
			r.files[0].remember(hostA, g)
			r.source.fail(fault.Network) // so that what is seen is what was adopted
		}, func(r *rig) {
			if c.due > 0 {
				r.pass(c.due - 1)
				r.wantCalls(0)
				r.pass(1)
			}
			if got := r.source.times(""); len(got) != 1 || got[0] != c.due {
				t.Errorf("%s: asked at %v, want %s", c.name, got, c.due)
			}
			r.wantEntry(0, 0, c.adopted)
			if s := r.loop.View().Scopes[0]; s.Adopted != c.adopted || !s.LastSuccess.IsZero() {
				t.Errorf("%s: %+v", c.name, s)
			}
			adopted := 0
			if c.adopted {
				adopted = 1
			}
			r.wantLines("token adopted from the file", adopted)
			if len(r.files[0].writes()) != 0 {
				t.Errorf("%s: the file was written", c.name)
			}
		})
	}
}

// An adopted token keeps the task healthy for the whole of its life while AWS cannot be reached, and is then replaced.
func TestAdoptWithoutAWS(t *testing.T) {
	bubble(t, []string{hostA, hostB, hostC}, func(r *rig) {
		r.retrySlowly() // and late: the adopted token of hostC is due after nearly an hour
		r.files[0].remember(hostA, r.left(0, -8*time.Hour, fullLife))
		r.files[0].remember(hostB, r.left(1, -8*time.Hour, fullLife))
		r.files[0].remember(hostC, r.left(2, -time.Hour, fullLife))
		r.source.fail(fault.Network)
	}, func(r *rig) {
		r.pass(4*time.Hour - time.Minute - 1)
		for i := range 3 {
			r.wantEntry(0, i, true)
		}
		if s := r.loop.View().Scopes; !s[0].Adopted || !s[1].Adopted {
			t.Errorf("%+v", s)
		}
		if at := r.source.times("eu-west-1"); at[0] < AdoptedWithin*99/100 || at[0] > AdoptedWithin {
			t.Errorf("a token of an hour was renewed at %v", at)
		}
		r.pass(1)
		r.wantEntry(0, 0, false)
		r.source.fail("")
		r.pass(30 * time.Second)
		for i := range 3 {
			r.wantEntry(0, i, true)
		}
		if s := r.loop.View().Scopes[0]; s.Adopted || s.Failures != 0 {
			t.Errorf("%+v", s)
		}
		r.wantLines("token adopted from the file", 2)
	})
}

// Of two files the token that lives longer is adopted, whichever is read first, and the other file gets it too.
func TestAdoptFromTwoFiles(t *testing.T) {
	for longer := range 2 {
		bubble(t, nil, func(r *rig) {
			r.addOutput()
			r.drawHalf()
			for i, f := range r.files {
				g := r.left(0, -2*time.Hour, fullLife)
				if i == longer {
					g = r.left(0, -time.Hour, fullLife)
					g.Auth = secret.New("longer")
				}
				f.remember(hostA, g)
			}
		}, func(r *rig) {
			r.wantCalls(0)
			for i := range 2 {
				if e := r.wantEntry(i, 0, true); !e.Issued.Equal(r.clock.epoch.Add(-time.Hour)) {
					t.Errorf("output %d holds a token issued at %s", i, e.Issued)
				}
			}
			if n := len(r.files[longer].writes()); n != 0 {
				t.Errorf("the file with the longer life was written %d times", n)
			}
			r.pass(30*time.Minute - time.Second)
			r.wantCalls(0)
			r.pass(time.Second)
			r.wantCalls(1)
		})
	}
}

func TestAdoptIsToldOnce(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		r.addOutput()
		r.drawHalf()
		for _, f := range r.files {
			f.remember(hostA, r.left(0, -time.Hour, fullLife))
		}
	}, func(r *rig) {
		line := r.wantLines("token adopted from the file", 1)[0]
		if line["renew_in"] != 30*time.Minute {
			t.Errorf("logged %v", line)
		}
		r.wantLines("token written", 0)
	})
}

// An adopted token is offered to its registry like any other.
func TestAdoptedTokenIsVerified(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		r.drawHalf()
		r.cfg.Verifier = r.verifier
		r.files[0].remember(hostA, r.left(0, -time.Hour, 12*time.Hour))
	}, func(r *rig) {
		r.pass(time.Minute)
		r.wantCalls(0)
		r.wantAccepted(Accepted)
	})
}

// A local clock that is wrong at the start is believed only until AWS tells the time: then what it condemned is looked at again,
// and what it put off is due when it should be.
func TestAdoptUnderAWrongClock(t *testing.T) {
	onlyC := func(r *rig) {
		r.source.set(func(_ context.Context, s token.Scope, _ int) (token.Token, error) {
			if s.Region == "eu-west-1" {
				return r.source.good(s), nil
			}
			return token.Token{}, broken(fault.Network)
		})
	}
	bubble(t, []string{hostA, hostC}, func(r *rig) {
		r.files[0].remember(hostA, r.left(0, -time.Hour, fullLife))
		r.clock.step(14 * time.Hour)
		onlyC(r)
	}, func(r *rig) {
		r.wantEntry(0, 0, true)
		r.wantEntry(0, 1, true)
	})
	bubble(t, []string{hostA, hostC}, func(r *rig) {
		r.drawHalf()
		r.files[0].remember(hostA, r.left(0, -5*time.Hour-40*time.Minute, fullLife)) // half of its life is over in 20 minutes
		r.clock.step(-5 * time.Hour)
	}, func(r *rig) {
		r.pass(20*time.Minute - time.Second)
		if n := len(r.source.times("us-west-2")); n != 0 {
			t.Errorf("renewed %d times too early", n)
		}
		r.pass(2 * time.Second)
		if n := len(r.source.times("us-west-2")); n != 1 {
			t.Errorf("renewed %d times at half of its life", n)
		}
	})
}

// A file that cannot be written keeps its good token in the books: beside a longer one that was adopted from another file, and
// however many newer ones come.
func TestTokenThatStaysInAFile(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		r.addOutput()
		longer := r.left(0, -time.Hour, fullLife)
		longer.Auth = secret.New("longer")
		r.files[0].remember(hostA, r.left(0, -2*time.Hour, fullLife))
		r.files[1].remember(hostA, longer)
		r.files[0].err, r.files[0].readable = broken(fault.OutputFull), true
	}, func(r *rig) {
		r.wantEntry(0, 0, true)
		r.wantEntry(1, 0, true)
		for range 3 * maxKnown {
			r.loop.Renew()
			r.pass(2 * time.Second)
		}
		r.wantEntry(0, 0, true)
		r.wantEntry(1, 0, true)
		if n := len(r.loop.View().Scopes[0].Known); n > maxKnown {
			t.Errorf("%d tokens are known", n)
		}
	})
}
