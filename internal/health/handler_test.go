package health

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/writer"
)

var update = flag.Bool("update", false, "write the golden files")

// fixed is a source whose view does not change.
type fixed struct{ v refresh.View }

func (f fixed) View() refresh.View  { return f.v }
func (f fixed) Late() time.Duration { return f.v.Late }

// hung is a source whose file system does not answer until it is closed.
type hung chan struct{}

func (h hung) View() refresh.View { <-h; return refresh.View{} }
func (hung) Late() time.Duration  { return time.Second }

func routes(src Source) http.Handler {
	mux := http.NewServeMux()
	Routes(mux, src, About{Version: "1.2.3", Task: "arn:aws:ecs:us-west-2:111122223333:task/c/0123", Checks: func() []Check {
		return []Check{{ID: "space", Of: primary, Status: "warn", Seen: "5 MiB free", Cure: "free space on the volume"}}
	}})
	return mux
}

func ask(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestProbes(t *testing.T) {
	good, dead, bare, fought := goodView(t), goodView(t), goodView(t), goodView(t)
	dead.Late = refresh.Patience + time.Second
	delete(bare.OnDisk[0].Sums, taskHost)
	delete(bare.OnDisk[0].Sums, otherHost)
	fought.Outputs[1].Contested, fought.Outputs[1].Found = true, "the mode was 0600"
	const (
		silent  = "the loop hangs: it should have turned 31s ago\n"
		missing = primary + ": default: no entry for " + taskHost + "\n" + primary + ": " + otherHost + ": no entry for " + otherHost + "\n"
	)
	for _, test := range []struct {
		name   string
		view   refresh.View
		bodies [3]string // of /livez, /healthz, /readyz
	}{
		{"good", good, [3]string{"ok\n", "ok\n", "ok\n"}},
		{"silent", dead, [3]string{silent, silent, silent}},
		{"without entries", bare, [3]string{"ok\n", missing, missing}},
		{"contested", fought, [3]string{"ok\n", "ok\n", second + ": contested: another program changes our entries again and again (the mode was 0600); let the other program use a DOCKER_CONFIG of its own, or mount the volume read-only there\n"}},
	} {
		h := routes(fixed{test.view})
		for i, path := range []string{"/livez", "/healthz", "/readyz"} {
			code := http.StatusServiceUnavailable
			if test.bodies[i] == "ok\n" {
				code = http.StatusOK
			}
			w := ask(h, "GET", path)
			if w.Code != code || w.Body.String() != test.bodies[i] {
				t.Errorf("%s, %s: %d %q, want %d %q", test.name, path, w.Code, w.Body, code, test.bodies[i])
			}
			if ct := w.Header().Get("Content-Type"); ct != "text/plain; charset=utf-8" {
				t.Errorf("%s, %s: content type %q", test.name, path, ct)
			}
		}
	}
}

// The loop turns although a file system hangs, and /livez says so.
func TestLivezAsksNoFileSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := make(hung)
		answers := make(chan *httptest.ResponseRecorder, 1)
		go func() { answers <- ask(routes(h), "GET", "/livez") }()
		synctest.Wait()
		select {
		case w := <-answers:
			if w.Code != http.StatusOK {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		default:
			t.Error("/livez waits for the files")
		}
		close(h)
	})
}

func TestRoutes(t *testing.T) {
	v := goodView(t)
	v.OnDisk[0].View = writer.View{} // not healthy
	srv := httptest.NewServer(routes(fixed{v}))
	defer srv.Close()
	for _, test := range []struct {
		method, path string
		code         int
		contentType  string
	}{
		{"GET", "/livez", 200, "text/plain; charset=utf-8"},
		{"GET", "/healthz", 503, "text/plain; charset=utf-8"},
		{"GET", "/readyz", 503, "text/plain; charset=utf-8"},
		{"GET", "/status", 200, "application/json; charset=utf-8"},
		{"HEAD", "/livez", 200, "text/plain; charset=utf-8"},
		{"HEAD", "/healthz", 503, "text/plain; charset=utf-8"},
		{"HEAD", "/readyz", 503, "text/plain; charset=utf-8"},
		{"HEAD", "/status", 200, "application/json; charset=utf-8"},
		{"GET", "/livez/", 404, ""},
		{"GET", "/healthz/x", 404, ""},
		{"GET", "/index.html", 404, ""},
		{"GET", "/metrics", 404, ""}, // somebody else's, as is the page
		{"GET", "/", 404, ""},
		{"GET", "/debug/pprof/", 404, ""},
		{"GET", "/debug/vars", 404, ""},
		{"POST", "/status", 405, ""},
		{"DELETE", "/healthz", 405, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, srv.URL+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if ct := res.Header.Get("Content-Type"); res.StatusCode != test.code || test.contentType != "" && ct != test.contentType {
			t.Errorf("%s %s: %d %q, want %d %q", test.method, test.path, res.StatusCode, ct, test.code, test.contentType)
		}
		if empty := len(body) == 0; empty != (test.method == "HEAD") {
			t.Errorf("%s %s: body %q", test.method, test.path, body)
		}
	}
}

// fullView is a view in which every field of the status says something.
func fullView(t *testing.T) refresh.View {
	v := goodView(t)
	v.Scopes[0].Adopted, v.Scopes[0].LastSuccess = true, time.Time{}
	v.Registries[1].Accepted = refresh.Rejected
	v.Registries[1].Err = &fault.Error{Class: fault.TokenRejected, Op: "ask " + otherHost, Err: io.EOF, Cure: "see the policy"}
	v.Scopes[2].Err, v.Scopes[2].Failures = denied(), 3
	everywhere(&v, func(d *refresh.OnDisk) { delete(d.Sums, "public.ecr.aws") })
	v.Outputs[0].Contested, v.Outputs[0].Found, v.Outputs[0].Repairs = true, "the file was missing", 7
	v.OnDisk[0].CredHelpers = map[string]string{aliasHost: "pass"}
	v.OnDisk[0].Obstacles = writer.Obstacles{Broken: []writer.Obstacle{pasted}, BrokenCount: 1, Similar: []writer.Obstacle{namespaced}, SimilarCount: 1}
	v.Outputs[1].Err = unwritable()
	return v
}

// The names in /status are an API. With -update this test writes what it finds: look at the difference, and never commit one
// that renames or removes a field.
func TestStatusGolden(t *testing.T) {
	const golden = "testdata/status.json"
	var got []byte
	synctest.Test(t, func(t *testing.T) { // the uptime is measured
		got = ask(routes(fixed{fullView(t)}), "GET", "/status").Body.Bytes()
	})
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("/status (-want +got):\n%s", d)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Status](), reflect.TypeFor[About](), reflect.TypeFor[RegistryStatus](), reflect.TypeFor[OutputStatus](), reflect.TypeFor[Problem](), reflect.TypeFor[Check]()} {
		for f := range typ.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !f.Anonymous && name != "-" && (name == "" || !strings.Contains(string(want), `"`+name+`":`)) {
				t.Errorf("%s.%s: not in %s, which holds every field", typ, f.Name, golden)
			}
		}
	}
}

// What a view does not know is absent, not a date of the year 1.
func TestStatusAtTheStart(t *testing.T) {
	v := goodView(t)
	for i := range v.Scopes {
		v.Scopes[i] = refresh.ScopeState{Scope: v.Scopes[i].Scope}
	}
	v.OnDisk = make([]refresh.OnDisk, 2)
	body := ask(routes(fixed{v}), "GET", "/status").Body.Bytes()
	var s struct {
		Healthy    *bool
		Reasons    []string
		Registries []map[string]any
	}
	if err := json.Unmarshal(body, &s); err != nil || s.Healthy == nil || *s.Healthy || len(s.Reasons) == 0 {
		t.Fatalf("%v\n%s", err, body)
	}
	for _, r := range s.Registries {
		for _, name := range []string{"issued", "expires", "next_refresh", "last_attempt", "last_success", "error"} {
			if got, there := r[name]; there {
				t.Errorf("%s of %s: %v", name, r["name"], got)
			}
		}
	}
	if strings.Contains(string(body), "0001-01-01") {
		t.Errorf("a zero time is told:\n%s", body)
	}
	v = goodView(t)
	if body := ask(routes(fixed{v}), "GET", "/status").Body.String(); !strings.Contains(body, `"reasons": []`) {
		t.Errorf("no reasons are not an empty list:\n%s", body)
	}
}
