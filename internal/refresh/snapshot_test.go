package refresh

import (
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/writer"
)

// viewOf is a view of one output and two registries: hostA with an alias, and hostC of another scope.
func viewOf(disk OnDisk, now time.Time, known ...Known) View {
	return View{
		Snapshot: &Snapshot{
			Scopes: []ScopeState{{Known: known}, {}},
			Registries: []RegistryState{
				{Spec: &registry.Spec{Name: hostA, Host: registry.Host{Name: hostA}, Aliases: []string{"alias"}}},
				{Spec: &registry.Spec{Name: hostC, Host: registry.Host{Name: hostC}}, Scope: 1},
			},
			Outputs: make([]OutputState, 1),
		},
		Now:    now,
		OnDisk: []OnDisk{disk},
	}
}

func TestEntry(t *testing.T) {
	older := Known{Sum: writer.Sum{1}, Issued: noon.Add(-6 * time.Hour), Expires: noon.Add(6 * time.Hour)}
	newer := Known{Sum: writer.Sum{2}, Issued: noon, Expires: noon.Add(fullLife)}
	holds := func(host, alias byte) OnDisk {
		sums := map[string]writer.Sum{}
		if host != 0 {
			sums[hostA] = writer.Sum{host}
		}
		if alias != 0 {
			sums["alias"] = writer.Sum{alias}
		}
		return OnDisk{View: writer.View{Exists: true, Sums: sums}}
	}
	for _, c := range []struct {
		name  string
		disk  OnDisk
		now   time.Time
		valid bool
		of    Known  // whose times are told; zero for none
		why   string // part of it
	}{
		{"no file", OnDisk{}, noon, false, Known{}, "the file does not exist"},
		{"unreadable", OnDisk{Err: broken(fault.OutputDenied)}, noon, false, Known{}, "broken: output_denied"},
		{"unreadable, though something was seen", OnDisk{holds(2, 2).View, broken(fault.OutputInvalid)}, noon, false, Known{}, "broken"},
		{"empty", holds(0, 0), noon, false, Known{}, "no entry for " + hostA},
		{"the newest token", holds(2, 2), noon, true, newer, ""},
		{"an older one that still lives", holds(1, 1), noon, true, older, ""},
		{"both: the shorter life counts", holds(1, 2), noon, true, older, ""},
		{"both, the other way round", holds(2, 1), noon, true, older, ""},
		{"alias missing", holds(2, 0), noon, false, Known{}, "no entry for alias"},
		{"only the alias", holds(0, 2), noon, false, Known{}, "no entry for " + hostA},
		{"foreign", holds(9, 2), noon, false, Known{}, "the entry for " + hostA + " is not the refresher's"},
		{"foreign alias", holds(2, 9), noon, false, Known{}, "the entry for alias is not the refresher's"},
		{"last valid moment", holds(2, 2), newer.Expires.Add(-time.Minute - 1), true, newer, ""},
		{"about to expire", holds(2, 2), newer.Expires.Add(-time.Minute), false, newer, "about to expire, at 2026-03-02T00:00:00Z"},
		{"last moment of all", holds(2, 2), newer.Expires.Add(-1), false, newer, "about to expire"},
		{"expired", holds(2, 2), newer.Expires, false, newer, "the token expired at 2026-03-02T00:00:00Z"},
		{"the older one expired, at the alias", holds(2, 1), older.Expires, false, older, "expired"},
	} {
		e := viewOf(c.disk, c.now, older, newer).Entry(0, 0)
		if e.Valid != c.valid || !e.Issued.Equal(c.of.Issued) || !e.Expires.Equal(c.of.Expires) || !strings.Contains(e.Why, c.why) || (e.Why == "") != c.valid {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
	// A token is recognised only where its scope's registries stand.
	other := viewOf(OnDisk{View: writer.View{Exists: true, Sums: map[string]writer.Sum{hostC: {2}}}}, noon, newer)
	if e := other.Entry(0, 1); e.Valid {
		t.Errorf("a token of another scope: %+v", e)
	}
}

func TestShadowed(t *testing.T) {
	type helpers = map[string]string
	for _, c := range []struct {
		name    string
		store   string
		helpers helpers
		want    string
	}{
		{"nothing", "", nil, ""},
		{"store", "desktop", nil, "credsStore sends every host to docker-credential-desktop"},
		{"helper of our host", "", helpers{hostA: "ecr-login"}, "credHelpers sends " + hostA + " to docker-credential-ecr-login"},
		{"helper of our alias", "", helpers{"alias": "ecr-login"}, "credHelpers sends alias to docker-credential-ecr-login"},
		{"helper of another host", "", helpers{hostC: "ecr-login"}, ""},
		{"empty helper", "", helpers{hostA: ""}, ""},
		{"empty helpers undo the store", "desktop", helpers{hostA: "", "alias": ""}, ""},
		{"an empty helper does not undo the store for the alias", "desktop", helpers{hostA: ""}, "credsStore sends every host to docker-credential-desktop"},
		{"helper and store", "desktop", helpers{hostA: "ecr-login"}, "credHelpers sends " + hostA + " to docker-credential-ecr-login"},
	} {
		v := viewOf(OnDisk{View: writer.View{Exists: true, CredsStore: c.store, CredHelpers: c.helpers}}, noon)
		if got := v.Shadowed(0, 0); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestClassOfErrors(t *testing.T) {
	plain := errDeadline
	if asFault(nil, fault.Network, "x") != nil || Class(nil) != "" || Class(plain) != "" {
		t.Error("no error has no class")
	}
	if err := asFault(plain, fault.Network, "do it"); Class(err) != fault.Network || err.Error() != "do it: "+plain.Error() {
		t.Errorf("a plain error becomes %v", err)
	}
	if err := broken(fault.TLS); asFault(err, fault.Network, "x") != err {
		t.Error("a class is given once")
	}
}

// A file may hold the token of before, or one from before that: they are recognised for as long as they live.
func TestOlderTokensAreRecognised(t *testing.T) {
	bubble(t, nil, (*rig).retrySlowly, func(r *rig) {
		first := r.loop.View().Scopes[0].Known[0]
		for n := range 3 * maxKnown {
			r.pass(time.Minute)
			r.loop.Renew()
			r.pass(time.Second)
			known := r.loop.View().Scopes[0].Known
			if want := min(n+2, maxKnown); len(known) != want || known[want-1].Issued.Before(known[0].Issued) {
				t.Fatalf("after %d renewals: %d known", n+1, len(known))
			}
			if n+2 <= maxKnown {
				if known := r.loop.View().Scopes[0].Known[0]; known != first {
					t.Errorf("the first token was forgotten after %d renewals", n+1)
				}
			}
		}
		r.source.fail(fault.Network)
		r.pass(24 * time.Hour)
		r.source.fail("")
		r.loop.Renew()
		r.pass(time.Second)
		if n := len(r.loop.View().Scopes[0].Known); n != 1 {
			t.Errorf("%d tokens known, all but one expired", n)
		}
	})
}

// A token stands in the file as soon as it is written. A view of that moment must know it, or health would flap at each renewal.
func TestViewKnowsWhatItFinds(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		r.files[0].seeing = time.Second
		r.files[0].after = func() {
			known := r.loop.snapshot.Load().Scopes[0].Known
			if len(known) == 0 || known[len(known)-1].Sum != r.files[0].sums[hostA] {
				t.Errorf("at %s: a token was written that no snapshot knows", r.clock.since())
			}
		}
	}, func(r *rig) {
		for range 20 {
			r.pass(time.Minute)
			entry := make(chan Entry)
			go func() { entry <- r.loop.View().Entry(0, 0) }()
			r.pass(500 * time.Millisecond)
			r.loop.Renew() // while the view is looking at the file
			if e := <-entry; !e.Valid || r.clock.aws().Sub(e.Issued) > 2*time.Second {
				t.Errorf("at %s: %+v", r.clock.since(), e)
			}
		}
	})
}
