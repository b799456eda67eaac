package writer

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ecr-refresher/internal/fault"
)

// FuzzFile lays a config.json and a state file before a process that starts: both were written by whoever shares the volume.
// What cannot be read is left alone to the byte and said so; what can be ends with our entries in it, is not written twice,
// and is remembered; nothing is adopted that is not in the file.
func FuzzFile(f *testing.F) {
	good, err := encodeState("arn:task", tokensOf(wants(hostA, "a", hostB, "b")))
	if err != nil {
		f.Fatal(err)
	}
	entry := func(name string) string { return `{"auth":"` + basic("AWS:"+name) + `"}` }
	both := `{"auths":{"` + hostA + `":` + entry("a") + `,"` + hostB + `":` + entry("b") + `},"credsStore":"x"}`
	for _, config := range []string{
		"", "{}", both, strings.Replace(both, hostA, "https://"+hostA, 1), `{"auths":{"` + hostA + `":{"auth":"!"},"` + hostB + `":` + entry("other") + `}}`,
		`{"auths":{"` + hostA + `":` + entry("a") + `,"` + hostA + `":` + entry("b") + `}}`, `{"auths":[]}`, `{"AUTHS":{"` + hostA + `":` + entry("a") + `}}`, `{"credHelpers":{"` + hostA + `":"ecr-login"},"auths":null}`,
		`{"auths":{"planted.example.com":{"auth":"` + planted + `"}}`, `{"auths":{"planted.example.com":{"auth":"` + planted + `"}},"x":[1,`, "\xef\xbb\xbf{}", "null", "[]", "{\"a\":\"\x01\"}", strings.Repeat("[", 2000),
	} {
		for _, state := range []string{string(good), "", "null", strings.Replace(string(good), `"version":2`, `"version":1`, 1), strings.Replace(string(good), "arn:task", "arn:other", 1), strings.Replace(string(good), "2026", "9999", -1), `{"version":2,"task":"arn:task","tokens":[{"sha256":"` + strings.Repeat("0", 64) + `"}]}`} {
			f.Add([]byte(config), []byte(state))
		}
	}
	dir := f.TempDir()
	if memory, err := os.MkdirTemp("/dev/shm", "writer-fuzz-"); err == nil { // where there is one: a disk is a hundred times slower
		f.Cleanup(func() { os.RemoveAll(memory) })
		dir = memory
	}
	path := filepath.Join(dir, "config.json")
	f.Fuzz(func(t *testing.T, config, state []byte) {
		lay(t, path, config)
		lay(t, filepath.Join(dir, stateName("config.json")), resealed(state))
		file := newFile(path)
		doc, bad := Parse(config)
		for host, g := range file.Recall() {
			auth, ok := doc.Auth(host)
			if bad != nil || !ok || g.Auth.Reveal() != string(auth) || g.Sum != sha256.Sum256(auth) || host != hostA && host != hostB {
				t.Errorf("adopted for %s what is not in the file", host)
			}
			if !bytes.Contains(state, []byte("arn:task")) && !bytes.ContainsRune(state, '\\') {
				t.Error("adopted what another task remembers")
			}
		}
		view, err := file.Look()
		if (err != nil) != (bad != nil) {
			t.Fatalf("Look: %v; Parse: %v", err, bad)
		}
		checkRefusal(t, err)
		for host, sum := range view.Sums {
			if auth, ok := doc.Auth(host); !ok || sha256.Sum256(auth) != sum {
				t.Errorf("sees for %s what is not in the file", host)
			}
		}
		want := wants(hostA, "a", hostB, "b")
		_, err = file.Sync(want)
		now := slurp(t, path)
		if bad != nil {
			if err == nil || !bytes.Equal(now, config) {
				t.Fatalf("%q, which cannot be read, was made %q: %v", config, now, err)
			}
			checkRefusal(t, err)
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", config, err)
		}
		again := newFile(path)
		if view := mustLook(t, again); view.Mode != 0o600 || view.Sums[hostA] != want[0].Grant.Sum || view.Sums[hostB] != want[1].Grant.Sum {
			t.Errorf("%q: after Sync a reader finds %+v", now, view)
		}
		recalled := again.Recall()
		if !recalled[hostA].Expires.Equal(want[0].Grant.Expires) || !recalled[hostB].Issued.Equal(want[1].Grant.Issued) {
			t.Errorf("%q: not remembered: %v", now, recalled)
		}
		if r := mustSync(t, again, want); r.Wrote || !bytes.Equal(slurp(t, path), now) {
			t.Errorf("%q was written twice: %s", now, r.Found)
		}
		after := parse(t, string(now))
		for _, host := range doc.Hosts() {
			if !slices.Contains(after.Hosts(), host) && !strings.Contains(host, hostA) && !strings.Contains(host, hostB) {
				t.Errorf("%q: %q is gone", now, host)
			}
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
			t.Errorf("left behind: %v %v", entries, err)
		}
	})
}

// planted is the login of somebody else.
const planted = "cGxhbnRlZDpwbGFudGVkLXBhc3N3b3JkLTAxMjM0NTY3ODk="

func lay(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkRefusal: a class of outputs, a cure, one line, and nothing of what is in the file.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	class, ok := fault.ClassOf(err)
	if !ok || !class.OfOutput() || fault.CureOf(err) == "" || strings.Contains(err.Error(), planted[:12]) || strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 500 {
		t.Errorf("%s: %q", class, err)
	}
}
