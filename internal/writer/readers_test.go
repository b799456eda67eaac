package writer

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// An entry that keeps programs from reading the file is named with what is wrong and with those programs.
func TestBrokenEntries(t *testing.T) {
	const (
		object = "it is not an object"
		typed  = "auth or identitytoken is not a string"
		fields = "username, password, serveraddress or registrytoken is not a string"
		login  = "its auth is not base64 of USER:PASSWORD"
	)
	good := `"auth":"` + basic("user:pass") + `"`
	for _, test := range []struct{ entry, problem, readers string }{
		{`{` + good + `}`, "", ""},
		{`{}`, "", ""},
		{`null`, "", ""},
		{`{"auth":""}`, "", ""},
		{`{"auth":null}`, "", ""},
		{`{"auth":"` + basic("user:") + `"}`, "", ""},
		{`{"identitytoken":"t"}`, "", ""},
		{`{"identitytoken":"t",` + good + `}`, "", ""},
		{`{"username":"u","password":"p"}`, "", ""},
		{`{"registrytoken":"t"}`, "", ""},
		{`{` + good + `,"foreign":[1]}`, "", ""},
		{`{"auth":"!",` + good + `}`, "", ""}, // the last one counts

		{`{"auth":"dckr_pat_notbase64_really"}`, login, byDocker},
		{`{"auth":"user:pass"}`, login, byDocker},
		{`{"auth":"` + basic("nocolon") + `"}`, login, byDocker},
		{`{"auth":"` + basic(":pass") + `"}`, login, byDocker},
		{`{"auth":"` + strings.TrimRight(basic("user:pass1"), "=") + `"}`, login, byDocker},
		{`{"auth":"` + base64.URLEncoding.EncodeToString([]byte("u:\xff\xff\xfe")) + `"}`, login, byDocker},
		{`{"auth":" ` + basic("user:pass") + `"}`, login, byDocker},
		{`{"AUTH":"!"}`, login, byDocker},
		{`{"auth":"!","identitytoken":"t"}`, login, byDocker},
		{`{"auth":"!","email":"e"}`, login, byDocker},
		{`{` + good + `,"auth":"!"}`, login, byDocker},
		{`{"auth":1}`, typed, andPodman},
		{`{"auth":true}`, typed, andPodman},
		{`{"auth":[]}`, typed, andPodman},
		{`{"auth":{}}`, typed, andPodman},
		{`{"Auth":1}`, typed, andPodman},
		{`{"identitytoken":1}`, typed, andPodman},
		{`{"identitytoken":1,"username":1}`, typed, andPodman},
		{`{"username":1}`, fields, andRegctl},
		{`{"password":[],` + good + `}`, fields, andRegctl},
		{`{"registrytoken":{}}`, fields, andRegctl},
		{`{"serveraddress":false}`, fields, andRegctl},
		{`{"email":1,` + good + `}`, "email is not a string", oldDocker},
		{`0`, object, andPodman},
		{`"text"`, object, andPodman},
		{`[]`, object, andPodman},
		{`false`, object, andPodman},
	} {
		for _, key := range []string{"https://index.docker.io/v1/", "other.example", ""} {
			doc := `{"auths":{"` + ecrHost + `":{"auth":"` + basic("AWS:x") + `"},"` + key + `":` + test.entry + `}}`
			want := Obstacles{}
			if test.problem != "" {
				want = Obstacles{Broken: []Obstacle{{`auths["` + key + `"]`, test.problem, test.readers + " do not read the file"}}, BrokenCount: 1}
			}
			if d := cmp.Diff(want, parse(t, doc).Obstacles([]string{ecrHost})); d != "" {
				t.Errorf("%s (-want +got):\n%s", doc, d)
			}
			if _, err := config.LoadFromReader(strings.NewReader(doc)); (err != nil) != (test.problem != "" && test.readers != oldDocker) {
				t.Errorf("%s: docker says %v", doc, err)
			}
		}
	}
}

// Where a host has several entries, a login counts that is used, and a type everywhere.
func TestBrokenEntriesThatRepeat(t *testing.T) {
	for doc, want := range map[string]int{
		`{"auths":{"a":{"auth":"!"},"a":{}}}`:           0,
		`{"auths":{"a":{},"a":{"auth":"!"}}}`:           1,
		`{"auths":{"a":1,"a":{}}}`:                      1,
		`{"auths":{"a":1,"a":2}}`:                       2,
		`{"Auths":{"a":{"auth":"!"}},"auths":{"b":{}}}`: 1,
		`{"auths":{"a":{"auth":"!"}},"auths":null}`:     0,
		`{"auths":{"a":{"auth":"!"}},"auths":{"a":{}}}`: 0,
		`{"auths":{"` + ecrHost + `":1}}`:               0, // ours: it is replaced
		`{"auths":{"https://` + ecrHost + `/v1/":1}}`:   0, // ours too: it is removed
		`{"auths":{"` + ecrHost + `/team":1}}`:          1,
		`{"auths":{"a":{"auth":"!"}},"credHelpers":1}`:  2,
		`{"credhelpers":{"a":1},"CredHelpers":2}`:       2,
	} {
		if got := parse(t, doc).Obstacles([]string{ecrHost}); got.BrokenCount != want {
			t.Errorf("%s: %+v, want %d", doc, got, want)
		}
	}
}

// Every member that docker knows, with values of every type: it is reported where docker refuses the file, and nowhere else.
func TestBrokenMembers(t *testing.T) {
	values := []string{`null`, `5`, `""`, `"text"`, `true`, `[]`, `[5]`, `["a"]`, `{}`, `{"a":5}`, `{"a":null}`, `{"a":"b"}`, `{"a":true}`, `{"a":[]}`, `{"a":{}}`,
		`{"a":{"b":"c"}}`, `{"a":{"b":5}}`, `{"a":{"httpProxy":5}}`, `{"a":{"NOPROXY":[]}}`, `{"a":{"httpsProxy":"x","ftpProxy":{}}}`, `{"a":{"allProxy":true}}`}
	fields := []string{"unknown", "experimentals"}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[configfile.ConfigFile]()) {
		if key, _, _ := strings.Cut(f.Tag.Get("json"), ","); key != "" && key != "-" && key != "auths" {
			fields = append(fields, key, strings.ToUpper(key))
			if knownMember([]byte(key)) == nil {
				t.Errorf("docker has a member %s: knownMembers does not", key)
			}
		}
	}
	for _, key := range fields {
		for _, v := range values {
			doc := `{"auths":{},"` + key + `":` + v + `}`
			_, err := config.LoadFromReader(strings.NewReader(doc))
			if got := parse(t, doc).Obstacles(nil); got.BrokenCount > 0 != (err != nil) {
				t.Errorf("%s: docker says %v, we %+v", doc, err, got)
			}
		}
	}
	for _, k := range knownMembers {
		if k.readers != oldDocker && !slices.Contains(fields, k.name) {
			t.Errorf("docker has no member %s", k.name)
		}
	}
	got := parse(t, `{"credsstore":[],"experimental":true,"HttpHeaders":{"a":["b"]},"plugins":0}`).Obstacles(nil)
	const problem, readers = "its type is not the one that docker expects", " do not read the file"
	want := Obstacles{BrokenCount: 4, Broken: []Obstacle{{"credsStore", problem, andOras + readers}, {"experimental", problem, oldDocker + readers},
		{"HttpHeaders", problem, andRegctl + readers}, {"plugins", problem, byDocker + readers}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A login for a host of ours under another key is reported with who obeys it; go-containerregistry is asked itself.
func TestSimilarEntries(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"} {
		t.Setenv(v, dir)
	}
	t.Setenv("DOCKER_AUTH_CONFIG", "")
	repo, err := name.NewRepository(ecrHost + "/team/app")
	if err != nil {
		t.Fatal(err)
	}
	upper := strings.ToUpper(ecrHost)
	for key, want := range map[string]string{
		ecrHost + "/team/app": "repositories", ecrHost + "/team": "repositories", ecrHost + "/other": "repositories", ecrHost + "/v1": "repositories",
		ecrHost + "/team/app/": "spelling", ecrHost + "/team/app:tag": "spelling", ecrHost + "//team/app": "spelling", ecrHost + "/Team": "spelling",
		upper: "spelling", upper + "/team/app": "spelling", "https://" + upper: "spelling", ecrHost + ".": "spelling",
		"https://" + ecrHost + "/team/app": "spelling", "https://" + ecrHost + "/v3/": "spelling", "oci://" + ecrHost: "spelling",
		"user:pw@" + ecrHost: "spelling", "https://user:pw@" + ecrHost + "/v1/": "spelling",
		ecrHost + ":443": "port", "https://" + ecrHost + ":443": "port", "https://" + ecrHost + ":443/v1/": "port", ecrHost + ":443/team/app": "port",
		ecrHost + ":80": "port", "localhost:5000/team": "repositories", "LOCALHOST:5000": "spelling",

		// Merge removes these.
		"https://" + ecrHost: "", "http://" + ecrHost: "", "https://" + ecrHost + "/v1/": "", "https://" + ecrHost + "/v2/": "", ecrHost + "/": "",
		// These are other registries.
		"localhost": "", "localhost:5001": "", "other.example/" + ecrHost: "", "x" + ecrHost: "", ecrHost + ".example": "", ecrHost + ":port": "", "": "",
	} {
		doc := `{"auths":{"` + ecrHost + `":{"auth":"` + basic("AWS:x") + `"},"localhost:5000":{},"` + key + `":{"auth":"` + basic("junk:pw") + `"}}}`
		hosts := []string{ecrHost, "localhost:5000"}
		got := parse(t, doc).Obstacles(hosts)
		if (want != "") != (got.SimilarCount == 1 && len(got.Similar) == 1) || got.BrokenCount > 0 || want != "" && !strings.Contains(got.Similar[0].Problem, want) {
			t.Errorf("%q: %+v, want %q", key, got, want)
			continue
		}
		if strings.Contains(fmt.Sprint(got), "pw") {
			t.Errorf("%+v shows a password", got)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		auth, err := authn.DefaultKeychain.Resolve(repo)
		if err != nil {
			t.Fatal(err)
		}
		login, err := auth.Authorization()
		if err != nil {
			t.Fatal(err)
		}
		used := want == "repositories" && strings.Contains(got.Similar[0].Readers, "go-containerregistry for team/app alone")
		if used != (login.Username == "junk") {
			t.Errorf("%q: go-containerregistry uses the login of %s, we say %+v", key, login.Username, got)
		}
	}
}

// Of repeated keys the one that programs find counts.
func TestSimilarEntriesThatRepeat(t *testing.T) {
	team := `"` + ecrHost + `/team":{}`
	for doc, want := range map[string]int{
		`{"auths":{` + team + `,` + team + `}}`:           1,
		`{"Auths":{` + team + `},"auths":{` + team + `}}`: 1,
		`{"auths":{` + team + `},"auths":null}`:           0,
	} {
		if got := parse(t, doc).Obstacles([]string{ecrHost}); got.SimilarCount != want || len(got.Similar) != want {
			t.Errorf("%s: %+v, want %d", doc, got, want)
		}
	}
}

// A report is short and printable whatever the keys are.
func TestObstaclesAreBounded(t *testing.T) {
	var members []string
	for i := range 1000 {
		members = append(members, fmt.Sprintf(`"%d%s\u202e\u001b":0`, i, strings.Repeat("k", 500)), fmt.Sprintf(`"%s/%d":{}`, ecrHost, i))
	}
	got := parse(t, `{"auths":{`+strings.Join(members, ",")+`}}`).Obstacles([]string{ecrHost})
	if got.BrokenCount != 1000 || got.SimilarCount != 1000 || len(got.Broken) != mostObstacles || len(got.Similar) != mostObstacles {
		t.Errorf("%d, %d listed of %d, %d", len(got.Broken), len(got.Similar), got.BrokenCount, got.SimilarCount)
	}
	if key := got.Broken[0].Key; len(key) > mostKey+len(`auths[""]`) || !strings.HasSuffix(key, `\u202e\x1b"]`) {
		t.Errorf("%q", key)
	}
}

// A Sync says what else it found in the file, whether it had to write or not, and whether the write succeeded.
func TestSyncReportsObstacles(t *testing.T) {
	const broken = `{"auths":{"ghcr.io":{"auth":"not base64"}}}`
	path := filepath.Join(t.TempDir(), "config.json")
	f := newFile(path)
	sync := func(want []Want, count int) {
		t.Helper()
		r, err := f.Sync(want)
		if r.Obstacles == nil || r.Obstacles.BrokenCount != count {
			t.Errorf("%+v, %v; want %d", r.Obstacles, err, count)
		}
	}
	sync(nil, 0) // no file
	put(t, path, broken)
	sync(nil, 1)
	sync(wants(hostA, "a"), 1) // written
	sync(wants(hostA, "a"), 1) // nothing to write
	tap(f, failing("rename", syscall.ENOSPC))
	sync(wants(hostA, "b"), 1) // in vain
	put(t, path, `{"auths":{}}`)
	sync(wants(hostA, "b"), 0)
	put(t, path, `{`)
	if r, err := f.Sync(wants(hostA, "b")); err == nil || r.Obstacles != nil {
		t.Errorf("%+v, %v", r.Obstacles, err)
	}
}

// A helper that go-containerregistry asks for a repository before it reads our entry is reported; docker asks none of these.
func TestHelpersForRepositories(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	repo, err := name.NewRepository(ecrHost + "/team/app")
	if err != nil {
		t.Fatal(err)
	}
	for members, count := range map[string]int{
		`"credHelpers":{"` + ecrHost + `/team/app":"nothere"}`:        1,
		`"credHelpers":{"` + ecrHost + `/team/app":""}`:               0,
		`"credHelpers":{"other.example/team/app":"nothere"}`:          0,
		`"credHelpers":{"` + ecrHost + `":""}`:                        0,
		`"credsStore":"nothere","credHelpers":{"` + ecrHost + `":""}`: 1,
		`"credsStore":"","credHelpers":{"` + ecrHost + `":""}`:        0,
	} {
		doc := `{"auths":{"` + ecrHost + `":{"auth":"` + basic("AWS:x") + `"}},` + members + `}`
		got := parse(t, doc).Obstacles([]string{ecrHost})
		if got.SimilarCount != count || got.BrokenCount > 0 {
			t.Errorf("%s: %+v, want %d", members, got, count)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := authn.DefaultKeychain.Resolve(repo)
		if (err != nil) != (count > 0) {
			t.Errorf("%s: go-containerregistry says %v, and we report %d", members, err, count)
		}
	}
}
