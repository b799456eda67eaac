package health

import (
	"encoding/json"
	"errors"
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
func (f fixed) Beat() time.Duration { return f.v.Beat }

// hung is a source whose file system does not answer until it is closed.
type hung chan struct{}

func (h hung) View() refresh.View { <-h; return refresh.View{} }
func (hung) Beat() time.Duration  { return time.Second }

func routes(src Source) http.Handler {
	mux := http.NewServeMux()
	Routes(mux, src, About{Version: "1.2.3", Task: "arn:aws:ecs:us-west-2:111122223333:task/c/0123"})
	return mux
}

func ask(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestProbes(t *testing.T) {
	good, dead, bare, fought := goodView(t), goodView(t), goodView(t), goodView(t)
	dead.Beat = 91 * time.Second
	delete(bare.OnDisk[0].Sums, taskHost)
	delete(bare.OnDisk[0].Sums, otherHost)
	fought.Outputs[1].Contested, fought.Outputs[1].Found = true, "the mode was 0600"
	const (
		silent  = "the loop has not turned for 1m31s\n"
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
		{"contested", fought, [3]string{"ok\n", "ok\n", second + ": contested: another program changes our entries again and again (the mode was 0600); let it use a DOCKER_CONFIG of its own, or mount the volume read-only there\n"}},
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
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/livez", 200, "text/plain; charset=utf-8"},
		{"HEAD", "/healthz", 503, "text/plain; charset=utf-8"},
		{"HEAD", "/readyz", 503, "text/plain; charset=utf-8"},
		{"HEAD", "/status", 200, "application/json; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/livez/", 404, ""},
		{"GET", "/healthz/x", 404, ""},
		{"GET", "/index.html", 404, ""},
		{"GET", "/metrics", 404, ""}, // somebody else's
		{"GET", "/debug/pprof/", 404, ""},
		{"GET", "/debug/vars", 404, ""},
		{"POST", "/status", 405, ""},
		{"DELETE", "/", 405, ""},
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
	for _, typ := range []reflect.Type{reflect.TypeFor[Status](), reflect.TypeFor[About](), reflect.TypeFor[RegistryStatus](), reflect.TypeFor[OutputStatus](), reflect.TypeFor[Problem]()} {
		for f := range typ.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !f.Anonymous && (name == "" || !strings.Contains(string(want), `"`+name+`":`)) {
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

func TestPage(t *testing.T) {
	for _, test := range []struct {
		name   string
		break1 func(*refresh.View)
		want   []string
	}{
		{"healthy", func(*refresh.View) {}, []string{
			"<span class=ok>healthy and ready</span>", "<span class=ok>valid</span>, expires in 11h0m0s", "<td>in 5h0m0s<td>yes<td>none",
			"<span class=ok>-rw-r--r--</span>", "version 1.2.3, up 1h0m0s, local clock +2s off", "task arn:aws:ecs:us-west-2:111122223333:task/c/0123",
		}},
		{"not healthy", func(v *refresh.View) { v.OnDisk[0] = refresh.OnDisk{} }, []string{
			"<span class=bad>not healthy</span>", "<p class=bad>" + primary + ": default: the file does not exist</p>", "<span class=bad>the file does not exist</span>",
			"<td>" + primary + "<td><span class=bad>missing</span>",
		}},
		{"not readable", func(v *refresh.View) { v.OnDisk[0] = refresh.OnDisk{Err: unwritable()} }, []string{
			"<span class=bad>not healthy</span>", "<td>" + primary + "<td><span class=bad>not usable</span><td>0<td><b>output_denied</b>",
		}},
		{"not ready", func(v *refresh.View) { v.Outputs[1].Contested, v.Outputs[1].Repairs = true, 12 }, []string{
			"<span class=bad>healthy, not ready</span>", "<td>" + second + "<td><span class=bad>contested</span><td>12<td>none",
		}},
		{"hidden", func(v *refresh.View) { v.OnDisk[0].CredsStore = "desktop" }, []string{
			"<span class=bad>hidden: default: credsStore sends every host to docker-credential-desktop; ",
		}},
		{"overdue", func(v *refresh.View) { v.Scopes[0].Due = now.Add(-time.Minute) }, []string{"<td>now<td>yes"}},
		{"failing", func(v *refresh.View) { v.Scopes[0].Err = denied() }, []string{
			"<span class=ok>healthy and ready</span>", "<b>access_denied</b> get an ECR token for us-west-2: not authorized<br><small>allow ecr:GetAuthorizationToken</small>",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := goodView(t)
				test.break1(&v)
				w := ask(routes(fixed{v}), "GET", "/")
				for _, want := range test.want {
					if !strings.Contains(w.Body.String(), want) {
						t.Errorf("no %q in:\n%s", want, w.Body)
					}
				}
				if got, want := w.Header().Get("Content-Security-Policy"), "default-src 'none'; style-src 'unsafe-inline'"; got != want {
					t.Errorf("policy %q, want %q", got, want)
				}
				if strings.Contains(w.Body.String(), "<script") {
					t.Error("a script, which the policy forbids")
				}
			})
		})
	}
}

// No string of the status, whatever it says and in whichever state, is markup.
func TestPageEscapesEveryField(t *testing.T) {
	const hostile = `<script>alert("1")</script>&amp;'`
	var fill func(v reflect.Value, flags bool)
	fill = func(v reflect.Value, flags bool) {
		switch v.Kind() {
		case reflect.String:
			v.SetString(hostile)
		case reflect.Bool:
			v.SetBool(flags)
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), flags)
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), flags)
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[time.Time]() {
				return
			}
			for i := range v.NumField() {
				fill(v.Field(i), flags)
			}
		}
	}
	for _, flags := range []bool{true, false} {
		var s Status
		fill(reflect.ValueOf(&s).Elem(), flags)
		for _, contested := range []bool{true, false} { // hides what is shadowed
			s.Outputs[0].Contested = contested
			p := page(s)
			if strings.Contains(p, "<script") || strings.Contains(p, `alert("`) || strings.Contains(p, "&amp;'") {
				t.Errorf("flags %t: not escaped:\n%s", flags, p)
			}
			if n := strings.Count(p, "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;&amp;amp;&#39;"); n < 8 {
				t.Errorf("flags %t: only %d hostile strings arrived", flags, n)
			}
		}
	}
	v := goodView(t)
	v.OnDisk[0].Sums[taskHost] = sum("x")
	v.Scopes[0].Err = &fault.Error{Class: fault.BadRequest, Op: "ask", Err: errors.New(hostile), Cure: hostile}
	if body := ask(routes(fixed{v}), "GET", "/").Body.String(); strings.Contains(body, "<script") || strings.Count(body, "&lt;script") != 4 {
		t.Errorf("an error's text is markup:\n%s", body)
	}
}
