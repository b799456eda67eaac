package writer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scopes are what is recalled, by host.
func scopes(f *File) map[string]string {
	m := map[string]string{}
	for host, g := range f.Recall() {
		m[host] = g.Scope
	}
	return m
}

// resealed is a state whose first line has been changed by somebody who knows of the second.
func resealed(b []byte) []byte {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return fmt.Appendf(nil, "%s\n%s\n", line, seal(line))
}

func TestRecall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	if got := newFile(path).Recall(); len(got) > 0 {
		t.Errorf("of nothing: %v", got)
	}
	want := wants(hostA, "a", hostB, "b")
	mustSync(t, newFile(path), want)
	got := newFile(path).Recall()
	for _, w := range want {
		g := got[w.Host]
		if g.Auth.Reveal() != w.Grant.Auth.Reveal() || g.Sum != w.Grant.Sum || g.Scope != w.Grant.Scope || !g.Issued.Equal(w.Grant.Issued) || !g.Expires.Equal(w.Grant.Expires) {
			t.Errorf("%s: %+v, not %+v", w.Host, g, w.Grant)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	state := filepath.Join(filepath.Dir(path), stateName("config.json"))
	for _, w := range want {
		auth := w.Grant.Auth.Reveal()
		if b := string(slurp(t, state)); strings.Contains(b, auth) || strings.Contains(b, strings.TrimRight(auth, "=")) {
			t.Errorf("a secret in %s", b)
		}
	}
	if mode := identity(t, state).mode; mode != 0o600 {
		t.Errorf("mode %#o", mode)
	}
}

// What does not fit together is not known, and harms nothing.
func TestRecallDoubts(t *testing.T) {
	both := map[string]string{hostA: "scope of a", hostB: "scope of b"}
	onlyB := map[string]string{hostB: "scope of b"}
	replace := func(path, from, to string) error {
		b, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(b), from) {
			err = fmt.Errorf("no %q in %s", from, b)
		}
		return errors.Join(err, os.WriteFile(path, []byte(strings.ReplaceAll(string(b), from, to)), 0o600))
	}
	forge := func(state, from, to string) error {
		err := replace(state, from, to)
		b, readErr := os.ReadFile(state)
		return errors.Join(err, readErr, os.WriteFile(state, resealed(b), 0o600))
	}
	sumOfA := fmt.Sprintf("%x", grant("a").Sum)
	for name, c := range map[string]struct {
		change func(config, state string) error
		want   map[string]string
	}{
		"nothing":         {func(string, string) error { return nil }, both},
		"state missing":   {func(_, state string) error { return os.Remove(state) }, nil},
		"state empty":     {func(_, state string) error { return os.Truncate(state, 0) }, nil},
		"state cut":       {func(_, state string) error { return os.Truncate(state, 100) }, nil},
		"state null":      {func(_, state string) error { return os.WriteFile(state, []byte("null"), 0o600) }, nil},
		"state huge":      {func(_, state string) error { return os.Truncate(state, stateMost+2*stateEach+1) }, nil},
		"state directory": {func(_, state string) error { return errors.Join(os.Remove(state), os.Mkdir(state, 0o700)) }, nil},
		"state pipe":      {func(_, state string) error { return errors.Join(os.Remove(state), syscall.Mkfifo(state, 0o600)) }, nil},
		"not sealed":      {func(_, state string) error { return replace(state, "2026-07-02T00", "2099-07-02T00") }, nil},
		"seal cut":        {func(_, state string) error { return replace(state, "\"\n", "\n") }, nil},
		"seal missing":    {func(_, state string) error { return replace(state, "\n", " ") }, nil},
		"more behind it":  {func(_, state string) error { return replace(state, "\"\n", "\"\nmore") }, both},
		"other task":      {func(_, state string) error { return forge(state, "arn:task", "arn:other") }, nil},
		"other version":   {func(_, state string) error { return forge(state, `"version":2`, `"version":1`) }, nil},
		"sum too long":    {func(_, state string) error { return forge(state, sumOfA, sumOfA+"00") }, nil},
		"sum too short":   {func(_, state string) error { return forge(state, sumOfA, sumOfA[2:]) }, nil},
		"sum not hex":     {func(_, state string) error { return forge(state, sumOfA, strings.Repeat("x", len(sumOfA))) }, nil},
		"sum of another":  {func(_, state string) error { return forge(state, sumOfA, strings.Repeat("0", len(sumOfA))) }, onlyB},
		"time not one":    {func(_, state string) error { return forge(state, "2026-07-01T12", "then") }, nil},
		"config missing":  {func(config, _ string) error { return os.Remove(config) }, nil},
		"config broken":   {func(config, _ string) error { return os.Truncate(config, 10) }, nil},
		"docker login":    {func(config, _ string) error { return replace(config, basic("AWS:a"), basic("AWS:x")) }, onlyB},
		"moved": { // the token is what it is, whoever's it is now: the scope tells the owner
			func(config, _ string) error { return replace(config, basic("AWS:a"), basic("AWS:b")) }, map[string]string{hostA: "scope of b", hostB: "scope of b"}},
		"expires": {func(_, state string) error { return forge(state, "2026-07-02T00", "2099-07-02T00") }, both}, // the caller's to judge
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			state := filepath.Join(filepath.Dir(path), stateName("config.json"))
			mustSync(t, newFile(path), wants(hostA, "a", hostB, "b"))
			if err := c.change(path, state); err != nil {
				t.Fatal(err)
			}
			f := newFile(path)
			want := c.want
			if want == nil {
				want = map[string]string{}
			}
			if diff := cmp.Diff(want, scopes(f)); diff != "" {
				t.Error(diff)
			}
			if name == "config broken" {
				return
			}
			mustSync(t, f, wants(hostA, "c", hostB, "d"))
			if got := scopes(newFile(path)); name != "state directory" && got[hostA] != "scope of c" {
				t.Errorf("afterwards %v", got)
			}
		})
	}
}

// Whatever part of a state a power cut leaves of one beside another, it is the one, the other or none.
func TestStateInHalves(t *testing.T) {
	encode := func(names ...string) []byte {
		b, err := encodeState("arn:task", tokensOf(wants(names...)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	states := [][]byte{encode(hostA, "a"), encode(hostA, "b"), encode(hostA, "a", hostB, "b"), encode(hostA, "longer")}
	for _, a := range states {
		for _, b := range states {
			for cut := range min(len(a), len(b)) {
				mixed := slices.Concat(a[:cut], b[cut:])
				got := decodeState(mixed, "arn:task")
				if got != nil && !cmp.Equal(got, decodeState(a, "arn:task")) && !cmp.Equal(got, decodeState(b, "arn:task")) {
					t.Fatalf("%s is taken for a state", mixed)
				}
			}
		}
	}
}

// The state is overwritten in place only where nothing else can be hit by that.
func TestStateInPlace(t *testing.T) {
	// Somebody's file, as long as a state.
	theirs := func(state string) (path string, err error) {
		path = filepath.Join(filepath.Dir(state), "theirs")
		return path, errors.Join(os.Remove(state), os.WriteFile(path, bytes.Repeat([]byte("x"), block), 0o600))
	}
	for name, c := range map[string]struct {
		change  func(state string) error
		inPlace bool
	}{
		"as it was":   {func(string) error { return nil }, true},
		"damaged":     {func(state string) error { return os.WriteFile(state, bytes.Repeat([]byte("x"), block), 0o600) }, true},
		"longer":      {func(state string) error { return os.Truncate(state, 2*block) }, false},
		"empty":       {func(state string) error { return os.Truncate(state, 0) }, false},
		"missing":     {os.Remove, false},
		"open to all": {func(state string) error { return os.Chmod(state, 0o644) }, false},
		"another's":   {func(state string) error { return os.Chown(state, 65532, -1) }, false},
		"link to file": {func(state string) error {
			to, err := theirs(state)
			return errors.Join(err, os.Symlink(filepath.Base(to), state))
		}, false},
		"second name": {func(state string) error { to, err := theirs(state); return errors.Join(err, os.Link(to, state)) }, false},
		"named pipe":  {func(state string) error { return errors.Join(os.Remove(state), syscall.Mkfifo(state, 0o600)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			state := filepath.Join(filepath.Dir(path), stateName("config.json"))
			f := newFile(path)
			mustSync(t, f, wants(hostA, "a"))
			mustSync(t, f, wants(hostA, "b"))
			err := c.change(state)
			if errors.Is(err, fs.ErrPermission) {
				t.Skip("only root gives files away")
			}
			if err != nil {
				t.Fatal(err)
			}
			var before stamp
			if name != "missing" {
				before = identity(t, state)
			}
			mustSync(t, f, wants(hostA, "c"))
			after := identity(t, state)
			if (after.inode == before.inode) != c.inPlace || after.mode != 0o600 || after.size != block {
				t.Errorf("%+v, before it %+v", after, before)
			}
			if b, err := os.ReadFile(filepath.Join(filepath.Dir(path), "theirs")); err == nil && len(bytes.Trim(b, "x")) > 0 {
				t.Error("somebody's file was written to")
			}
			if got := scopes(newFile(path)); got[hostA] != "scope of c" {
				t.Errorf("recalled %v", got)
			}
		})
	}
}

// The state is a hint: it costs no fsync, and that it cannot be written is nobody's concern.
func TestStateIsAHint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	for _, broken := range []string{"", "overwrite", "create", "chmod", "write", "close", "rename"} {
		f := newFile(path)
		n := 0
		tap(f, func(op, name string) error {
			if strings.Contains(op, "sync") {
				n++
			}
			if (op == broken || op == "overwrite" && broken != "") && strings.Contains(name, ".state") {
				return syscall.EIO
			}
			return nil
		})
		if r := mustSync(t, f, wants(hostA, "with "+broken)); !r.Wrote || n != 2 {
			t.Errorf("%s: %+v with %d fsyncs", broken, r, n)
		}
		want := map[string]string{}
		if broken == "" || broken == "overwrite" { // then there will be a new one
			want[hostA] = "scope of with " + broken
		}
		if got := scopes(newFile(path)); !cmp.Equal(got, want) {
			t.Errorf("%s: %v, not %v", broken, got, want)
		}
		if s := strays(t, filepath.Dir(path)); s != nil {
			t.Errorf("%s: %q", broken, s)
		}
	}
	// Equal content is not a write; another expiry of the same token is one of the state alone.
	f := newFile(path)
	want := wants(hostA, "with rename")
	state := filepath.Join(filepath.Dir(path), stateName("config.json"))
	mustSync(t, f, want)
	before, config := identity(t, state), identity(t, path)
	mustSync(t, f, want)
	if identity(t, state) != before {
		t.Error("the state is written again")
	}
	want[0].Grant.Expires = want[0].Grant.Expires.Add(time.Second)
	mustSync(t, f, want)
	if identity(t, state) == before || identity(t, path) != config {
		t.Error("not the state alone")
	}
}

// The state keeps to whole blocks, so that it can nearly always be written in place.
func TestStateGrows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	f := newFile(path)
	for n, blocks := range []int64{1, 2, 2, 2} { // what may be in the file and what shall be, from the second on
		var want []Want
		for i := range 14 {
			want = append(want, wants(fmt.Sprintf("%012d.dkr.ecr.eu-west-1.amazonaws.com", i), fmt.Sprintf("%d of %d", i, n))...)
		}
		mustSync(t, f, want)
		if got := identity(t, filepath.Join(filepath.Dir(path), stateName("config.json"))).size; got != blocks*block {
			t.Errorf("round %d: %d bytes", n, got)
		}
	}
}

// What could not be written is written at the next opportunity, and all of it: a write in place may have spoilt what was there.
func TestStateIsMadeUpFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	f := newFile(path)
	mustSync(t, f, wants(hostA, "a", hostB, "b"))
	broken := true
	tap(f, func(op, name string) error {
		if broken && strings.Contains(name, ".state") {
			return syscall.EIO
		}
		return nil
	})
	if r := mustSync(t, f, wants(hostA, "c")); !r.Wrote || len(scopes(newFile(path))) > 0 {
		t.Fatalf("%+v, recalled %v", r, scopes(newFile(path)))
	}
	broken = false
	if r := mustSync(t, f, wants(hostA, "c")); r.Wrote {
		t.Errorf("%+v", r)
	}
	if got := scopes(newFile(path)); got[hostA] != "scope of c" {
		t.Errorf("recalled %v", got)
	}
}

func FuzzState(f *testing.F) {
	for _, want := range [][]Want{nil, wants(hostA, "a"), wants(hostA, "a", hostB, "b")} {
		b, err := encodeState("arn:task", tokensOf(want))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"version":2,"task":"arn:task","tokens":[{"sha256":"` + strings.Repeat("00", 33) + `"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = resealed(b) // by chance it never would be
		known := decodeState(b, "arn:task")
		for sum, s := range known {
			// What was understood is understood again.
			again, err := encodeState("arn:task", tokensOf([]Want{{Host: hostA, Grant: &Grant{Sum: sum, Scope: s.Scope, Issued: s.Issued, Expires: s.Expires}}}))
			if err != nil { // a time that JSON cannot hold
				continue
			}
			if got := decodeState(again, "arn:task")[sum]; !got.Expires.Equal(s.Expires) || !got.Issued.Equal(s.Issued) || got.Scope != s.Scope {
				t.Errorf("%+v, not %+v", got, s)
			}
		}
		if decodeState(b, "arn:another") != nil && known != nil {
			t.Error("another task's")
		}
	})
}
