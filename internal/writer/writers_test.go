package writer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
)

// dockerChild is somebody else: for so long it logs in to a registry of its own again and again, as docker does. It counts how
// often it had written and how often that was gone when it came back. Now and then it logs out of ours.
func dockerChild(args []string) {
	dir, host := args[0], args[1]
	length, err := time.ParseDuration(args[2])
	must(err)
	written, lost, last := 0, 0, ""
	for start := time.Now(); time.Since(start) < length; written++ {
		c, err := config.Load(dir)
		must(err)
		if c.AuthConfigs[host].Password != last {
			lost++
		}
		last = strconv.Itoa(written + 1)
		if written%40 == 39 {
			delete(c.AuthConfigs, hostA) // docker logout
		}
		c.AuthConfigs[host] = types.AuthConfig{Username: "joe", Password: last}
		must(c.Save())
		time.Sleep(time.Duration(5+rand.IntN(20)) * time.Millisecond)
	}
	must(json.NewEncoder(os.Stdout).Encode([2]int{written, lost}))
}

// Four processes log in with docker's own library, each to a registry of its own, while our token changes every 100 ms.
//
// No reader ever sees half a document, and our entry comes back after each loss. What the others lose, they lose to each other:
// docker reads, changes and renames without a lock and without looking again, so of two that read the same document the later
// rename wins, and takes the other's entry and ours with it. We look again right before the rename, which leaves a window of
// microseconds instead of theirs of half a millisecond, and read once more when somebody was faster. Measured on two cores, 2,500
// logins in 10 s: alone the four lost 135 and 186 of them to each other, with us among them 108 and 157.
//
//	WRITERS=20s go test -run TestConcurrentWriters -v ./internal/writer
func TestConcurrentWriters(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("WRITERS"), "3s"))
	if err != nil {
		t.Fatal(err)
	}
	at := t.TempDir()
	path := filepath.Join(at, "config.json")
	f := New(Options{Path: path, Mode: 0o600, Hosts: []string{hostA}})
	mustSync(t, f, wants(hostA, "0"))

	var others []*exec.Cmd
	var outs []*strings.Builder
	for i := range 4 {
		cmd, out := child(t, "docker", at, fmt.Sprintf("registry%d.example.com", i), length.String()), &strings.Builder{}
		cmd.Stdout = out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		others, outs = append(others, cmd), append(outs, out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	read := make(chan reading)
	go func() { read <- readOn(ctx, path) }()
	told, syncing := watching(t, f), make(chan fight)
	go func() { syncing <- fightOn(ctx, f, told) }()

	written, lost := 0, 0
	for i, cmd := range others {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, outs[i])
			continue
		}
		var n [2]int
		if err := json.Unmarshal([]byte(outs[i].String()), &n); err != nil {
			t.Error(err)
		}
		written, lost = written+n[0], lost+n[1]
	}
	cancel()
	r, s := <-read, <-syncing
	if r.torn != "" || r.reads == 0 {
		t.Errorf("torn in %d reads: %s", r.reads, r.torn)
	}
	if s.err != nil || s.renewals == 0 || s.repairs == 0 {
		t.Errorf("%+v", s)
	}
	mustSync(t, f, wants(hostA, "end"))
	if c := slurp(t, path); tokenOf(t, c, hostA) != "end" || strays(t, at) != nil {
		t.Errorf("at the end: %s %q", c, strays(t, at))
	}
	if os.Getenv("WRITERS") != "" && r.absent > 2*time.Second {
		t.Errorf("our entry was away for %v", r.absent)
	}
	t.Logf("others: %d logins, %d lost; we: %d renewals, %d repairs, %d times given up for now; %d reads, our entry away for %v at most",
		written, lost, s.renewals, s.repairs, s.raced, r.reads, r.absent)
}

type reading struct {
	reads  int
	torn   string        // a document that was none
	absent time.Duration // the longest time without our entry
}

// readOn is a consumer that never rests.
func readOn(ctx context.Context, path string) (r reading) {
	seen := time.Now()
	for ; ctx.Err() == nil; r.reads++ {
		b, err := os.ReadFile(path)
		doc, parseErr := Parse(b)
		if err := errors.Join(err, parseErr); err != nil || len(b) == 0 {
			r.torn = fmt.Sprintf("%v: %q", err, b)
			return r
		}
		if doc.Owned(hostA) {
			seen = time.Now()
		}
		r.absent = max(r.absent, time.Since(seen))
		time.Sleep(time.Millisecond)
	}
	return r
}

type fight struct {
	renewals, repairs, raced int
	err                      error
}

// fightOn is the loop: a new token every 100 ms, and repairs whenever Watch tells.
func fightOn(ctx context.Context, f *File, told events) (s fight) {
	renew := time.NewTicker(100 * time.Millisecond)
	defer renew.Stop()
	fresh := false
	for {
		select {
		case <-ctx.Done():
			return s
		case <-renew.C:
			s.renewals++
			fresh = true
		case <-told:
		}
		switch r, err := f.Sync(wants(hostA, strconv.Itoa(s.renewals))); {
		case errors.Is(err, errRaced):
			s.raced++
		case err != nil:
			s.err = err
			return s
		case r.Wrote && !fresh:
			s.repairs++
			fallthrough
		default:
			fresh = false
		}
	}
}

// Two refreshers, each with a host of its own in the same file: neither tears it, neither loses what is foreign to both, and
// what the one loses of its own to the other comes back.
func TestTwoRefreshers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	put(t, path, `{"auths":{"registry.example.com":{"auth":"`+basic("joe:x")+`"}},"n":1}`)
	ctx, cancel := context.WithCancel(t.Context())
	read := make(chan reading)
	go func() { read <- readOn(ctx, path) }()
	done := make(chan error)
	for _, host := range []string{hostA, hostB} {
		go func() {
			f := New(Options{Path: path, Mode: 0o600, Hosts: []string{host}})
			for i := range 100 {
				if _, err := f.Sync(wants(host, strconv.Itoa(i))); err != nil && !errors.Is(err, errRaced) {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	err := errors.Join(<-done, <-done)
	cancel()
	if r := <-read; err != nil || r.torn != "" {
		t.Error(err, r.torn)
	}
	for _, host := range []string{hostA, hostB} {
		mustSync(t, New(Options{Path: path, Mode: 0o600, Hosts: []string{host}}), wants(host, "end"))
	}
	c := slurp(t, path)
	if tokenOf(t, c, hostA) != "end" || tokenOf(t, c, hostB) != "end" || !strings.Contains(string(c), basic("joe:x")) || !strings.Contains(string(c), `"n":1`) || strays(t, filepath.Dir(path)) != nil {
		t.Errorf("%s", c)
	}
}
