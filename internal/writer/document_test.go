package writer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/cli/cli/config"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

const ecrHost = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"

func basic(userPassword string) string {
	return base64.StdEncoding.EncodeToString([]byte(userPassword))
}

func parse(t testing.TB, s string) Document {
	t.Helper()
	d, err := Parse([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAuth(t *testing.T) {
	good, other := basic("AWS:pass"), basic("joe:pass")
	for in, want := range map[string]struct {
		auth  string // "" is not ok
		owned bool
	}{
		``:               {},
		`{"auths":null}`: {},
		`{"auths":{"h":{"auth":"` + good + `"}}}`:                                        {good, true},
		`{"auths":{"h":{"auth":"` + other + `"}}}`:                                       {other, false},
		`{"auths":{"h":{"auth":"QVdTOnBhc3\u004d="}}}`:                                   {good, true},
		`{"auths":{"h":{"auth":"` + other + `"},"h":{"auth":"` + good + `"}}}`:           {good, false},
		`{"auths":{"h":{"auth":"` + good + `"},"h":{}}}`:                                 {},
		`{"auths":{"h":{"auth":"` + good + `"}},"auths":{"a":{}}}`:                       {good, false}, // python does not see it
		`{"auths":{"h":{"auth":"` + good + `"}},"AUTHS":null}`:                           {},
		`{"auths":{"h":{"auth":"` + good + `"}},"AUTHS":{"h":{"auth":"` + other + `"}}}`: {other, false},
		`{"AUTHS":{"h":{"auth":"` + good + `"}}}`:                                        {good, false},
		`{"auths":{"h":{"auth":"` + good + `"},"https://h/v2/":{}}}`:                     {good, false},
		`{"auths":{"https://h":{"auth":"` + good + `"}}}`:                                {},
		`{"auths":{"h":{"auth":"` + good + `","identitytoken":""}}}`:                     {},
		`{"auths":{"h":{"AUTH":"` + good + `"}}}`:                                        {},
		`{"auths":{"h":{"auth":["` + good + `"]}}}`:                                      {},
		`{"auths":{"h":"` + good + `"}}`:                                                 {},
		`{"auths":{"h":{"auth":""}}}`:                                                    {},
		`{"auths":{"h":{"auth":"%%%"}}}`:                                                 {},
		`{"auths":{"h":{"auth":"` + basic("AWS") + `"}}}`:                                {},
		`{"auths":{"h":{"auth":"` + basic(":pass") + `"}}}`:                              {},
		`{"auths":{"h":{"auth":"` + strings.TrimRight(basic("AWS:pass"), "=") + `"}}}`:   {},
		`{"auths":{"h":{"auth":"` + good + `"}},"auths":{"h":{"auth":"` + other + `"}}}`: {other, false},
		`{"auths":{"h/v1":{"auth":"` + good + `"},"h":{"auth":"` + good + `"}},"x":"h"}`: {good, true},
		`{"auths":{"H":{"auth":"` + good + `"}}}`:                                        {},
	} {
		d := parse(t, in)
		auth, ok := d.Auth("h")
		if string(auth) != want.auth || ok != (want.auth != "") {
			t.Errorf("%s: Auth is %q, %v", in, auth, ok)
		}
		if owned := d.Owned("h"); owned != want.owned {
			t.Errorf("%s: Owned is %v", in, owned)
		}
	}
}

func TestHelpers(t *testing.T) {
	d := parse(t, `{"credsStore":"a","CREDSSTORE":"\u0062","credsStore":null,"credHelpers":{"x":"y"},"credhelpers":{"h":"","n":1,"x":"z"}}`)
	if got := d.CredsStore(); got != "b" {
		t.Errorf("credsStore %q", got)
	}
	if diff := cmp.Diff(map[string]string{"h": "", "n": "", "x": "z"}, d.CredHelpers()); diff != "" {
		t.Error(diff)
	}
	var zero Document
	if zero.CredsStore() != "" || zero.CredHelpers() != nil || zero.Hosts() != nil || !cmp.Equal(zero.Obstacles(nil), Obstacles{}) || zero.Owned("h") {
		t.Error("the zero document is not empty")
	}
	if out, changed := mergeBytes(zero, []Entry{set("h", "QQ==")}); !changed || !strings.Contains(string(out), "QQ==") {
		t.Errorf("merge into the zero document: %q", out)
	}
}

// What docker sees of any document that it reads is what we say, and Obstacles says which it does not read.
func TestReadersAgainstDocker(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	read, refused := 0, 0
	for r := rand.New(rand.NewPCG(seed, 0)); read < 500 || refused < 500; {
		var members []string
		for _, m := range membersOf(t, []byte(randomDocument(r))) {
			if strings.EqualFold(m.key, "auths") {
				members = append(members, m.rawKey+":"+m.val)
			} else if r.IntN(2) == 0 {
				members = append(members, `"credsStore":"x\u0079","CredHelpers":{"h":"z"},"credHelpers":{"`+fmt.Sprint(len(members))+`":""}`)
			}
		}
		doc := "{" + strings.Join(members, ",") + "}"
		d := parse(t, doc)
		theirs, err := config.LoadFromReader(strings.NewReader(doc))
		if broken := d.Obstacles(nil).Broken; (err != nil) != (len(broken) > 0) {
			t.Fatalf("%q: docker says %v, we %q", doc, err, broken)
		}
		if err != nil {
			refused++
			continue
		}
		read++
		hosts := d.Hosts()
		slices.Sort(hosts)
		if want := slices.Sorted(maps.Keys(theirs.AuthConfigs)); !slices.Equal(hosts, want) {
			t.Fatalf("%q: hosts %q, docker has %q", doc, hosts, want)
		}
		if d.CredsStore() != theirs.CredentialsStore || !maps.Equal(d.CredHelpers(), theirs.CredentialHelpers) {
			t.Fatalf("%q: helpers %q %q, docker has %q %q", doc, d.CredsStore(), d.CredHelpers(), theirs.CredentialsStore, theirs.CredentialHelpers)
		}
		for _, h := range hosts {
			auth, ok := d.Auth(h)
			plain, _ := base64.StdEncoding.DecodeString(string(auth))
			if user := theirs.AuthConfigs[h]; ok && string(plain) != user.Username+":"+user.Password {
				t.Fatalf("%q: Auth(%q) is %q, docker has %q", doc, h, plain, user)
			}
		}
	}
}

// Our entries are what docker, go-containerregistry and we ourselves find after a merge into odd documents.
func TestMergedEntriesWork(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"} {
		t.Setenv(v, dir)
	}
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	hosts := []string{ecrHost, "public.ecr.aws", "localhost:5000"}
	for _, in := range []string{
		``, `{}`, `{"auths":null}`, `{"AUTHS":{"` + ecrHost + `":{"identitytoken":"x"}}}`, `{"auths":{"https://` + ecrHost + `/v2/":{"auth":"eDp5"}}}`,
		`{"auths":{"` + ecrHost + `":{"auth":"%"}},"Auths":null}`, `{"auths":{"` + ecrHost + `":1},"auths":{"` + ecrHost + `":{"auth":"eDp5","password":"z"}}}`,
		`{"Auths":{"public.ecr.aws":{"auth":"eDp5"}},"auths":{"a":{"auth":"eDp5"}},"aUths":{"public.ecr.aws":{}},"auth\u017f":{"localhost:5000/":{}}}`,
	} {
		var entries []Entry
		for i, h := range hosts {
			entries = append(entries, set(h, basic(fmt.Sprintf("AWS:password %d", i))))
		}
		out, _ := mergeBytes(parse(t, in), entries)
		if err := os.WriteFile(filepath.Join(dir, "config.json"), out, 0o600); err != nil {
			t.Fatal(err)
		}
		theirs, err := config.LoadFromReader(bytes.NewReader(out))
		if err != nil {
			t.Fatalf("%s: docker: %v", in, err)
		}
		d := parse(t, string(out))
		for i, h := range hosts {
			want := fmt.Sprintf("AWS:password %d", i)
			if auth, ok := d.Auth(h); !ok || string(auth) != basic(want) || !d.Owned(h) {
				t.Errorf("%s: we find %q, %v", in, auth, ok)
			}
			if got, err := theirs.GetAuthConfig(h); err != nil || got.Username+":"+got.Password != want || got.IdentityToken != "" {
				t.Errorf("%s: docker finds %v, %v", in, got, err)
			}
			registry, err := name.NewRegistry(h)
			if err != nil {
				t.Fatal(err)
			}
			authenticator, err := authn.DefaultKeychain.Resolve(registry)
			if err != nil {
				t.Fatalf("%s: go-containerregistry: %v", in, err)
			}
			if got, err := authenticator.Authorization(); err != nil || got.Username+":"+got.Password != want {
				t.Errorf("%s: go-containerregistry finds %v, %v", in, got, err)
			}
		}
	}
}

// Neither a document nor an error shows any content.
func TestNothingIsPrinted(t *testing.T) {
	const content = "hunter2hunter2"
	doc := `{"auths":{"h":{"auth":"` + content + `"}},"credsStore":"` + content + `"}`
	d := parse(t, doc)
	_, err := Parse([]byte(doc[:len(doc)-1] + content))
	var out strings.Builder
	for _, v := range []any{d, &d, struct{ d Document }{d}, []Document{d}, map[string]*Document{"": &d}, set("h", content), err} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		js, _ := json.Marshal(v)
		out.Write(js)
	}
	for _, leak := range []string{content, fmt.Sprintf("%x", content), fmt.Sprint([]byte(content)), fmt.Sprintf("%#v", []byte(content)[:4])[7:]} {
		if strings.Contains(out.String(), strings.Trim(leak, "[]{}")) {
			t.Errorf("printed: %s", out.String())
		}
	}
}

// manyEntries is a document of n hosts with tokens of the size that ECR has, and the same hosts with other tokens.
func manyEntries(n int) (doc []byte, renewed []Entry) {
	r := rand.New(rand.NewPCG(1, 1))
	token := func() string {
		b := make([]byte, 2700)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	var entries []Entry
	for i := range n {
		h := fmt.Sprintf("%012d.dkr.ecr.eu-west-1.amazonaws.com", i)
		entries = append(entries, set(h, token()))
		renewed = append(renewed, set(h, token()))
	}
	doc, _ = mergeBytes(Document{}, entries)
	return doc, renewed
}

var sizes = []int{1, 100, 1000}

func BenchmarkParse(b *testing.B) {
	for _, n := range sizes {
		doc, _ := manyEntries(n)
		b.Run(fmt.Sprintf("writer/%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(doc); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("json.Unmarshal/%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				var v map[string]any
				if err := json.Unmarshal(doc, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func write(c Content, changed bool) bool {
	_, err := c.WriteTo(io.Discard)
	return err == nil && changed
}

// Every entry renewed in place, and nothing to do; beside what json.MarshalIndent takes to write the same.
func BenchmarkMerge(b *testing.B) {
	for _, n := range sizes {
		doc, renewed := manyEntries(n)
		d := parse(b, string(doc))
		after, _ := mergeBytes(d, renewed)
		same := parse(b, string(after))
		var v map[string]any
		if err := json.Unmarshal(doc, &v); err != nil {
			b.Fatal(err)
		}
		for name, f := range map[string]func() bool{
			"renewed":            func() bool { return write(d.Merge(renewed)) },
			"new":                func() bool { return write(Document{}.Merge(renewed)) },
			"equal":              func() bool { return !write(same.Merge(renewed)) },
			"json.MarshalIndent": func() bool { _, err := json.MarshalIndent(v, "", "\t"); return err == nil },
			"copy":               func() bool { return len(bytes.Clone(doc)) > 0 },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.SetBytes(int64(len(doc)))
				b.ReportAllocs()
				for b.Loop() {
					if !f() {
						b.Fatal("wrong")
					}
				}
			})
		}
	}
}

// Hosts are the keys of auths that Go clients see, each once, in the order of the file.
func (d Document) Hosts() []string {
	var hosts []string
	d.get().each(func(key []byte, _ *host, inUse bool) {
		if inUse {
			hosts = append(hosts, string(key))
		}
	})
	return hosts
}
