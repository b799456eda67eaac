package writer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ecr-refresher/internal/fault"
)

// A symlinked config.json is followed inside the volume: the link stays a link, and what it leads to is replaced.
func TestLinkFollowed(t *testing.T) {
	for name, c := range map[string]struct {
		links   []string // name, destination, …
		file    string   // where the document is
		missing bool     // it is not there yet
	}{
		"beside":              {[]string{"config.json", "real.json"}, "real.json", false},
		"with a dot":          {[]string{"config.json", "./real.json"}, "real.json", false},
		"chain":               {[]string{"config.json", "a", "a", "b", "b", "real.json"}, "real.json", false},
		"dangling":            {[]string{"config.json", "real.json"}, "real.json", true},
		"below":               {[]string{"config.json", "sub/real.json"}, "sub/real.json", false},
		"below, dangling":     {[]string{"config.json", "sub/real.json"}, "sub/real.json", true},
		"down and up again":   {[]string{"config.json", "sub/a", "sub/a", "../real.json"}, "real.json", false},
		"through a link":      {[]string{"config.json", "dir/real.json", "dir", "sub"}, "sub/real.json", false},
		"up from behind one":  {[]string{"config.json", "dir/a", "dir", "sub/deep", "sub/deep/a", "../real.json"}, "sub/real.json", false},
		"as long as allowed":  {[]string{"config.json", "1", "1", "2", "2", "3", "3", "4", "4", "5", "5", "6", "6", "real.json"}, "real.json", false},
		"kubernetes and such": {[]string{"config.json", "..data/config.json", "..data", "sub"}, "sub/config.json", false},
	} {
		t.Run(name, func(t *testing.T) {
			at := t.TempDir()
			layLinks(t, at, c.links)
			if !c.missing {
				put(t, filepath.Join(at, c.file), `{"x":1}`)
			}
			// What a killed process left beside the file itself goes too.
			put(t, filepath.Join(at, filepath.Dir(c.file), tempPrefix(filepath.Base(c.file))+"ABCDEFGH"), "half")
			f := newFile(filepath.Join(at, "config.json"))
			var synced []string
			tap(f, func(op, name string) error {
				if op == "syncdir" {
					synced = append(synced, name)
				}
				return nil
			})
			if r := mustSync(t, f, wants(hostA, "a")); !r.Wrote || (r.Found == "the file was missing") != c.missing {
				t.Errorf("%+v", r)
			}
			content := slurp(t, filepath.Join(at, c.file))
			if tokenOf(t, content, hostA) != "a" || strings.Contains(string(content), `"x"`) == c.missing {
				t.Errorf("%s", content)
			}
			for i := 0; i < len(c.links); i += 2 {
				if to, err := os.Readlink(filepath.Join(at, c.links[i])); to != c.links[i+1] {
					t.Errorf("%s leads to %q: %v", c.links[i], to, err)
				}
			}
			if v := mustLook(t, f); v.Sums[hostA] != grant("a").Sum {
				t.Errorf("%+v", v)
			}
			if mustSync(t, f, wants(hostA, "a")).Wrote {
				t.Error("written again")
			}
			if s := strays(t, at); s != nil {
				t.Error(s)
			}
			if len(synced) != 1 || !sameDir(t, at+"/"+synced[0]+".", filepath.Dir(filepath.Join(at, c.file))) {
				t.Errorf("fsync of %q", synced)
			}
			if got := newFile(filepath.Join(at, "config.json")).Recall()[hostA].Scope; got != "scope of a" {
				t.Errorf("recalled %q", got)
			}
		})
	}
}

func layLinks(t *testing.T, at string, links []string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(at, "sub/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := len(links) - 2; i >= 0; i -= 2 {
		// From the end: a directory that is a link has to be there before something is put into it.
		if err := os.Symlink(links[i+1], filepath.Join(at, links[i])); err != nil {
			if err := os.Symlink(links[i+1], filepath.Join(at, strings.Replace(links[i], "dir/", "sub/", 1))); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func sameDir(t *testing.T, a, b string) bool {
	t.Helper()
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if err := errors.Join(errX, errY); err != nil {
		t.Fatal(err)
	}
	return os.SameFile(x, y)
}

// A link out of the volume is refused, however it leads there, and nothing is written anywhere.
func TestLinkRefused(t *testing.T) {
	for name, c := range map[string]struct {
		links  []string
		reason string
		class  fault.Class
	}{
		"absolute":            {[]string{"config.json", "OUT/real.json"}, "leads out of the directory", fault.OutputInvalid},
		"absolute, back in":   {[]string{"config.json", "IN/real.json"}, "leads out of the directory", fault.OutputInvalid},
		"up":                  {[]string{"config.json", "../real.json"}, "leads out of the directory", fault.OutputInvalid},
		"up, back in":         {[]string{"config.json", "../in/real.json"}, "leads out of the directory", fault.OutputInvalid},
		"down and up too far": {[]string{"config.json", "sub/../../real.json"}, "leads out of the directory", fault.OutputInvalid},
		"through a directory": {[]string{"config.json", "dir/real.json", "dir", "OUT"}, "leads out of the directory", fault.OutputInvalid},
		"at the end of two":   {[]string{"config.json", "a", "a", "OUT/real.json"}, "leads out of the directory", fault.OutputInvalid},
		"itself":              {[]string{"config.json", "config.json"}, "too many levels of symbolic links", fault.OutputInvalid},
		"loop":                {[]string{"config.json", "a", "a", "config.json"}, "too many levels of symbolic links", fault.OutputInvalid},
		"too long":            {[]string{"config.json", "1", "1", "2", "2", "3", "3", "4", "4", "5", "5", "6", "6", "7", "7", "real.json"}, "too many levels of symbolic links", fault.OutputInvalid},
		"a directory":         {[]string{"config.json", "sub"}, "is a directory", fault.OutputInvalid},
		"a missing directory": {[]string{"config.json", "none/real.json"}, "no such file or directory", fault.OutputOther},
		"through a file":      {[]string{"config.json", "file/real.json"}, "not a directory", fault.OutputOther},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			in, out := filepath.Join(base, "in"), filepath.Join(base, "out")
			for i := range c.links {
				c.links[i] = strings.NewReplacer("OUT", out, "IN", in).Replace(c.links[i])
			}
			layLinks(t, in, c.links)
			if err := os.Mkdir(out, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, p := range []string{filepath.Join(base, "real.json"), filepath.Join(out, "real.json"), filepath.Join(in, "real.json"), filepath.Join(in, "file")} {
				put(t, p, "{}")
			}
			before := tree(t, base)
			f := newFile(filepath.Join(in, "config.json"))
			_, err := f.Sync(wants(hostA, "a"))
			if class, _ := fault.ClassOf(err); class != c.class || !strings.Contains(err.Error(), c.reason) || !strings.Contains(fault.CureOf(err), f.path) {
				t.Errorf("%v %q: %v", class, fault.CureOf(err), err)
			}
			if _, err := f.Look(); err == nil && name != "a missing directory" {
				t.Error("Look finds a file")
			}
			if after := tree(t, base); after != before {
				t.Errorf("touched: %s\n%s", before, after)
			}
		})
	}
}

// tree is every file below a directory, with its content.
func tree(t *testing.T, at string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(at, func(path string, e os.DirEntry, err error) error {
		all.WriteString(path + " ")
		if err == nil && e.Type().IsRegular() {
			all.Write(slurp(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
