package writer

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Two processes of one task that share a file recognise each other's tokens by the state file. One that lives longer is offered
// once, before it is replaced; nothing else is.
func TestPeers(t *testing.T) {
	const h = time.Hour
	for _, c := range []struct {
		name    string
		task    string        // of the other process
		later   time.Duration // its token expires
		scope   string        // of its token, where it is another
		ours    bool          // we want a token
		offered bool
	}{
		{"later", "arn:task", h, "", true, true},
		{"a moment later", "arn:task", 1, "", true, true},
		{"at the same time", "arn:task", 0, "", true, false},
		{"earlier", "arn:task", -h, "", true, false},
		{"of another task", "arn:other", h, "", true, false},
		{"of another scope", "arn:task", h, "another", true, false},
		{"where we have none", "arn:task", -h, "", false, true},
		{"of another task, where we have none", "arn:other", h, "", false, false},
	} {
		path := filepath.Join(t.TempDir(), "config.json")
		us := newFile(path)
		theirs := wants(hostA, "theirs")
		theirs[0].Grant.Expires = theirs[0].Grant.Expires.Add(c.later)
		theirs[0].Grant.Scope = "scope"
		if c.scope != "" {
			theirs[0].Grant.Scope = c.scope
		}
		var ours []Want
		if c.ours {
			ours = wants(hostA, "ours")
			ours[0].Grant.Scope = "scope"
			mustSync(t, us, ours)
		}
		them := New(Options{Path: path, Mode: 0o600, Hosts: []string{hostA}, Task: c.task})
		them.Recall()
		mustSync(t, them, theirs)

		r := mustSync(t, us, ours)
		if got := slices.Collect(maps.Keys(r.Peers)); (len(got) == 1) != c.offered {
			t.Errorf("%s: offered %v", c.name, got)
		}
		if r.Kept != (c.offered && c.ours) {
			t.Errorf("%s: %+v", c.name, r)
		}
		if !c.offered {
			if r.Wrote != c.ours {
				t.Errorf("%s: %+v", c.name, r)
			}
			continue
		}
		if g := r.Peers[hostA]; r.Wrote || g.Sum != theirs[0].Grant.Sum || g.Auth.Sum() != g.Sum || !g.Expires.Equal(theirs[0].Grant.Expires) {
			t.Errorf("%s: %+v", c.name, r)
		}
		if r := mustSync(t, us, ours); len(r.Peers) > 0 || r.Wrote != c.ours {
			t.Errorf("%s: then %+v", c.name, r)
		}
	}
}
