package writer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// However many tokens a state file claims, only those are remembered that are in the file.
func TestForgedStatesAreForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	us := newFile(path)
	ours := wants(hostA, "ours")
	mustSync(t, us, ours)
	for i := range 300 {
		login := basic(fmt.Sprintf("AWS:forged %d", i))
		put(t, path, `{"auths":{"`+hostA+`":{"auth":"`+login+`"}}}`)
		var forged []tokenState
		for j := range 100 {
			forged = append(forged, tokenState{"scope of ours", ours[0].Grant.Issued, ours[0].Grant.Expires.Add(time.Duration(i) * time.Second), fmt.Sprintf("%064x", 1000*i+j)})
		}
		sum := sha256.Sum256([]byte(login))
		forged[0].Sum = hex.EncodeToString(sum[:])
		state, err := encodeState("arn:task", forged)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(filepath.Dir(path), ".config.json.state"), string(state))
		r := mustSync(t, us, ours)
		if g, ok := r.Peers[hostA]; ok { // taken over, as the loop does
			ours = []Want{{hostA, &g}}
		}
		mustSync(t, us, ours)
		if n := len(us.known); n > 4 {
			t.Fatalf("%d tokens are remembered after %d forged states", n, i+1)
		}
	}
}

// A token that the state file has before the file does, as every writer has it, is offered once it comes.
func TestPeerIsKnownBeforeItComes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	us := newFile(path)
	ours := wants(hostA, "ours")
	ours[0].Grant.Scope = "scope"
	mustSync(t, us, ours)
	theirs := wants(hostA, "theirs")
	theirs[0].Grant.Scope, theirs[0].Grant.Expires = "scope", theirs[0].Grant.Expires.Add(time.Hour)
	state, err := encodeState("arn:task", append(tokensOf(ours), tokensOf(theirs)...))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(filepath.Dir(path), ".config.json.state"), string(state))
	put(t, path, `{"auths":{"`+hostA+`":{"auth":"`+basic("AWS:junk")+`"}}}`) // so that the state file is read now
	if r := mustSync(t, us, ours); !r.Wrote || len(r.Peers) > 0 {
		t.Errorf("%+v", r)
	}
	put(t, path, `{"auths":{"`+hostA+`":{"auth":"`+basic("AWS:theirs")+`"}}}`)
	state, _ = encodeState("arn:task", append(tokensOf(ours), tokensOf(theirs)...))
	put(t, filepath.Join(filepath.Dir(path), ".config.json.state"), string(state))
	if r := mustSync(t, us, ours); r.Wrote || len(r.Peers) != 1 {
		t.Errorf("%+v", r)
	}
}

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
