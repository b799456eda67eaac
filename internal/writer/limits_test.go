package writer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/secret"
)

// members is a JSON object with n members.
func members(n int, key func(i int) string, value string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(key(i) + ":" + value)
	}
	b.WriteByte('}')
	return b.String()
}

func same(int) string       { return `""` }
func numbered(i int) string { return fmt.Sprintf(`"%d.example.com"`, i) }

// What others put into the file is bounded in size and in number, wherever in the document it is. Above the limits the file is
// output_invalid, with the reason, and stays as it is.
func TestLimits(t *testing.T) {
	const size = othersMost + 2*tokenMost // of newFile's two hosts
	sized := func(n int) string {
		frame := `{"auths":{},"x":""}`
		return `{"auths":{},"x":"` + strings.Repeat("y", n-len(frame)) + `"}`
	}
	logins := `{"auth":"` + basic("joe:"+strings.Repeat("x", 60)) + `"}`
	for name, c := range map[string]struct {
		content, reason string
	}{
		"the largest":                {sized(size), ""},
		"a byte more":                {sized(size + 1), fmt.Sprintf("its size of %d bytes is above the limit of %d", size+1, size)},
		"one long key":               {`{"` + strings.Repeat("y", size) + `":1}`, "above the limit"},
		"ordinary logins of 5.5 MB":  {`{"auths":` + members(46_000, numbered, logins) + `}`, "above the limit"},
		"white space":                {strings.Repeat(" ", size+1), "above the limit"},
		"most logins":                {`{"auths":` + members(membersMost-1, same, "0") + `}`, ""},
		"a login more":               {`{"auths":` + members(membersMost, same, "0") + `}`, errTooMany.Error()},
		"many equal keys":            {`{"auths":` + members(400_000, same, "0") + `}`, errTooMany.Error()},
		"many different keys":        {`{"auths":` + members(100_000, numbered, "0") + `}`, errTooMany.Error()},
		"many logins in two objects": {`{"auths":` + members(15_000, same, "{}") + `,"AUTHS":` + members(15_000, same, "{}") + `}`, errTooMany.Error()},
		"many objects of logins":     {members(100_000, func(int) string { return `"auths"` }, "{}"), errTooMany.Error()},
		"many settings":              {members(400_000, same, "0"), errTooMany.Error()},
		"most helpers":               {`{"credHelpers":` + members(membersMost-1, same, `""`) + `}`, ""},
		"many helpers":               {`{"credHelpers":` + members(200_000, same, `""`) + `}`, errTooMany.Error()},
		"many members elsewhere":     {`{"other":` + members(100_000, numbered, "0") + `}`, ""}, // skipped, not remembered
		"many elements elsewhere":    {`{"other":[` + strings.Repeat("0,", 500_000) + `0]}`, ""},
		"many elements of a list":    {`{"auths":{},"pruneFilters":[` + strings.Repeat(`"",`, 1_300_000) + `""]}`, errTooMany.Error()},
		"most elements of a list":    {`{"pruneFilters":[` + strings.Repeat(`"",`, membersMost-2) + `""]}`, ""},
		"an element more":            {`{"pruneFilters":[` + strings.Repeat(`"",`, membersMost-1) + `""]}`, errTooMany.Error()},
		"many proxies":               {`{"proxies":` + members(100_000, numbered, "{}") + `}`, errTooMany.Error()},
		"many plugins":               {`{"plugins":` + members(100_000, numbered, "{}") + `}`, errTooMany.Error()},
		"many settings of a plugin":  {`{"plugins":{"x":` + members(100_000, numbered, `"a"`) + `}}`, errTooMany.Error()},
		"many headers":               {`{"HttpHeaders":` + members(100_000, numbered, `"a"`) + `}`, errTooMany.Error()},
		"many features":              {`{"features":` + members(100_000, numbered, `"a"`) + `}`, errTooMany.Error()},
		"many aliases":               {`{"aliases":` + members(100_000, numbered, `"a"`) + `}`, errTooMany.Error()},
		"many directories":           {`{"cliPluginsExtraDirs":[` + strings.Repeat(`"",`, 1_300_000) + `""]}`, errTooMany.Error()},
		"a list where a text is due": {`{"psFormat":[` + strings.Repeat(`"",`, 1_300_000) + `""]}`, errTooMany.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			put(t, path, c.content)
			before := identity(t, path)
			f := newFile(path)
			_, lookErr := f.Look()
			if c.reason == "" {
				if r, err := f.Sync(wants(hostA, "a", hostB, "b")); lookErr != nil || err != nil || !r.Wrote {
					t.Fatalf("look %v, sync %v %v", lookErr, r, err)
				}
				return
			}
			_, syncErr := f.Sync(wants(hostA, "a"))
			for _, err := range []error{lookErr, syncErr} {
				class, _ := fault.ClassOf(err)
				if class != fault.OutputInvalid || !strings.Contains(err.Error(), c.reason) || !strings.Contains(fault.CureOf(err), path) {
					t.Errorf("%q, %v; fix %q", class, err, fault.CureOf(err))
				}
			}
			if identity(t, path) != before {
				t.Error("touched")
			}
		})
	}
}

// A thousand registries of ours fit, with the longest tokens that are accepted, beside 4 MB of others' logins.
func TestLimitsLeaveRoomForOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	put(t, path, `{"auths":`+members(19_000, func(i int) string { return fmt.Sprintf(`"%0180d.example.com"`, i) }, `{}`)+`}`)
	auth := secret.New(basic("AWS:" + strings.Repeat("x", 11_000)))
	g := &Grant{Auth: auth, Sum: auth.Sum()}
	var hosts []string
	var want []Want
	for i := range 980 {
		hosts = append(hosts, fmt.Sprintf("%012d.dkr.ecr.us-east-1.amazonaws.com", i))
		want = append(want, Want{hosts[i], g})
	}
	f := New(Options{Path: path, Mode: 0o600, Hosts: hosts})
	tap(f, func(string, string) error { return nil })
	for range 2 { // also when it is read again
		if _, err := f.Sync(want); err != nil {
			t.Fatal(err)
		}
	}
	if v := mustLook(t, f); len(v.Sums) != len(hosts) {
		t.Errorf("%d of %d hosts", len(v.Sums), len(hosts))
	}
}

// The same content is parsed once, however many ask and whoever asks, also where it cannot be parsed.
func TestParsedOnce(t *testing.T) {
	for name, content := range map[string]string{
		"a document":      `{"auths":` + members(10_000, numbered, `{"auth":"am9lOng="}`) + `}`,
		"a broken one":    `{"auths":` + members(10_000, numbered, `{"auth":"am9lOng="}`),
		"one of too many": `{"auths":` + members(30_000, numbered, `{}`) + `}`,
	} {
		path := filepath.Join(t.TempDir(), "config.json")
		put(t, path, content)
		f := newFile(path)
		_, _ = f.Look()
		allocated := testing.AllocsPerRun(20, func() {
			now := time.Now()
			if err := os.Chtimes(path, now, now); err != nil { // another stamp
				t.Fatal(err)
			}
			_, _ = f.Look()
			_, _ = f.Sync(nil)
		})
		if allocated > 200 {
			t.Errorf("%s: %.0f allocations for a content that was parsed before", name, allocated)
		}
	}
}

// While one file's document is parsed, no other file's is, where they share the lock.
func TestParsedOneAtATime(t *testing.T) {
	dir := t.TempDir()
	var files []*File
	o := Options{Mode: 0o600, Hosts: []string{hostA}}
	for i := range 2 {
		o.Path = filepath.Join(dir, fmt.Sprintf("%d.json", i))
		put(t, o.Path, "{}")
		files = append(files, New(o))
		o.Parsing = files[0].parsing
	}
	files[0].parsing.Lock()
	looked := make(chan error, len(files))
	for _, f := range files {
		go func() { _, err := f.Look(); looked <- err }()
	}
	select {
	case <-looked:
		t.Error("parsed at the same time")
	case <-time.After(50 * time.Millisecond): // too short can only hide a fault
	}
	files[0].parsing.Unlock()
	if err := errors.Join(<-looked, <-looked); err != nil {
		t.Error(err)
	}
}

// A change that leaves the stamp as it is, as a write through a mapping of the file can, is found by the next Sync, and by a Look
// once the last comparison is ten seconds old.
func TestStampIsNoProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "config.json")
		f := newFile(path)
		mustSync(t, f, wants(hostA, "1"))
		whole := string(slurp(t, path))
		age(f, func(time.Time) time.Time { return time.Now().Add(-time.Hour).Truncate(24 * time.Hour) })
		see := func(want bool) {
			t.Helper()
			if got := mustLook(t, f).Sums[hostA] == grant("1").Sum; got != want {
				t.Errorf("our entry is seen: %t, want %t", got, want)
			}
		}
		see(true)
		change := func(content string) {
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteString(content); err != nil {
				t.Fatal(err)
			}
			_ = file.Close()
		}
		change(strings.Replace(whole, basic("AWS:1"), basic("AWS:2"), 1))
		time.Sleep(compareEvery - 1)
		see(true) // not looked into yet
		time.Sleep(1)
		see(false)
		change(whole)
		time.Sleep(compareEvery)
		see(true)
		change(strings.Replace(whole, basic("AWS:1"), basic("AWS:2"), 1))
		if r := mustSync(t, f, wants(hostA, "1")); !r.Wrote {
			t.Errorf("not repaired: %+v", r)
		}
	})
}

// Temporary files of a killed process are found among any number of others.
func TestTidyAmongMany(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 * namesAtOnce {
		put(t, filepath.Join(dir, fmt.Sprintf("foreign-%d", i)), "")
	}
	for i := range 3 {
		put(t, filepath.Join(dir, fmt.Sprintf(".config.json.tmp-%d", i)), "")
	}
	mustSync(t, newFile(filepath.Join(dir, "config.json")), wants(hostA, "a"))
	if left := strays(t, dir); left != nil {
		t.Errorf("left: %v", left)
	}
}
