package statuspage

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/health"
	"ecr-refresher/internal/health/healthtest"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/writer"
)

// The views of these tests are healthtest's.
const (
	taskHost, otherHost, aliasHost = healthtest.TaskHost, healthtest.OtherHost, healthtest.AliasHost
	primary, second                = healthtest.Primary, healthtest.Second
)

var (
	now, pasted, namespaced   = healthtest.Now, healthtest.Pasted, healthtest.Namespaced
	sum, goodView, unwritable = healthtest.Sum, healthtest.View, healthtest.Unwritable
)

// To look at the states of the page: go test ./internal/statuspage -run TestPage$ -pages DIR writes each to a file.
var pages = flag.String("pages", "", "a directory to write the page's states to")

// pageStates are the states that a person may find the page in, each with words that must be there and words that must not.
var pageStates = []struct {
	name   string
	break1 func(*refresh.View)
	want   []string
	not    []string
}{
	{
		"healthy", func(*refresh.View) {}, []string{
			"<title>✓ Logged in: ecr-refresher</title>", `<header class="good">`, ">/healthz</a> says healthy, <a href=\"/readyz\">/readyz</a> ready</p>",
			"<small>3 good</small>", `<i style="width:91.7%"></i><b style="left:50.0%"></b>`, "11 h 00 min left", "until 2026-07-01 23:00:00 UTC", "renewal in 5 h 00 min",
			"the registry accepts it", "last renewed 1 h 00 min ago", "also as " + aliasHost, "as arn:aws:iam::444455556666:role/pull", `<span class="tag">optional</span>`,
			`<p class="said">in place</p>`, "-rw-r--r--", "<dd>1.2.3</dd>", "<dd>arn:aws:ecs:us-west-2:111122223333:task/c/0123</dd>", "<dd>1 h 00 min</dd>", "2 s ahead of AWS", "2026-07-01 12:00:00 UTC",
		}, []string{"What to do", "What /readyz says", "✕", "▲", "Checks"},
	},
	{
		"failing", func(v *refresh.View) {
			v.Scopes[0].Err, v.Scopes[0].Failures, v.Scopes[0].Due = deniedByAWS(), 12, now.Add(95*time.Second)
			lifeOf(v, 0, 3*time.Hour+20*time.Minute)
		}, []string{
			"▲ Logged in; a renewal fails", `<header class="warn">`, "<small>1 in trouble, 2 good</small>",
			`<h3><span class="mark">▲</span>access_denied</h3>`, `<p class="cure">allow ecr:GetAuthorizationToken`, "next attempt in 1 min 35 s", "access_denied, 12 times in a row", "3 h 20 min left",
		}, []string{"✕", "What /readyz says"},
	},
	{
		"expired", func(v *refresh.View) {
			v.Scopes[0].Err, v.Scopes[0].Failures, v.Scopes[0].Due = deniedByAWS(), 140, now.Add(12*time.Second)
			lifeOf(v, 0, -25*time.Minute)
		}, []string{
			"✕ Not logged in", `<header class="bad">`, "no valid token for 1 of the 2 required registries", "<small>1 without a valid token, 2 good</small>", "expired 25 min ago", ">at 2026-07-01 11:35:00 UTC", `<i style="width:0.0%"></i>`,
			`<h3><span class="mark">✕</span>access_denied</h3>`, "What /readyz says", "last attempt: access_denied",
		}, nil,
	},
	{
		"contested", func(v *refresh.View) {
			v.Outputs[0].Contested, v.Outputs[0].Repairs, v.Outputs[0].Found = true, 17, "the entry of "+taskHost+" was another one"
			v.OnDisk[0].CredsStore = "desktop"
		}, []string{
			"▲ Logged in, but not all is well", "<h3><span class=\"mark\">▲</span>contested</h3>", "mount the volume read-only there", `<p class="said">contested</p>`, "repaired 17 times",
			"a credential helper hides them from docker", "<small>3 in trouble</small>",
			"<h3><span class=\"mark\">▲</span>hidden</h3><p>" + primary + ": credsStore sends every host to docker-credential-desktop</p>", `<p class="said">hidden from docker</p>`,
			`&#34;credHelpers&#34;: {&#34;` + taskHost + `&#34;: &#34;&#34;, &#34;` + otherHost + `&#34;: &#34;&#34;, &#34;` + aliasHost + `&#34;: &#34;&#34;, &#34;public.ecr.aws&#34;: &#34;&#34;}`,
			`<p class="soft">default, ` + otherHost + `, public.ecr.aws</p>`,
		}, []string{"✕"},
	},
	{
		"hidden", func(v *refresh.View) { v.OnDisk[0].CredsStore = "desktop" },
		[]string{"hidden from docker for 3 of 3 registries"}, []string{"✕", "contested"},
	},
	{
		"starting", func(v *refresh.View) {
			for i := range v.Scopes {
				v.Scopes[i] = refresh.ScopeState{Scope: v.Scopes[i].Scope, LastAttempt: now}
				v.Registries[i].Accepted = refresh.Unknown
			}
			v.OnDisk = make([]refresh.OnDisk, 2)
			v.Started, v.Skew = time.Now().Add(-time.Second), 0
		}, []string{"◌ Starting", `<header class="idle">`, "<small>3 waiting</small>", "waiting for the first token", "asking for it", "not written yet", "<dd>1 s</dd>", "<dd>right</dd>"},
		[]string{"✕", "▲", "What to do", "0001"},
	},
	{
		"first call failed", func(v *refresh.View) {
			v.Scopes = []refresh.ScopeState{{Scope: v.Scopes[0].Scope, LastAttempt: now, Due: now.Add(5 * time.Second), Failures: 1, Err: deniedByAWS()}}
			v.Registries, v.OnDisk = v.Registries[:1], make([]refresh.OnDisk, 2)
		}, []string{"✕ Not logged in", "no valid token for the registry.", "the file does not exist", "next attempt in 5 s", `<p class="said">missing</p>`}, []string{"times in a row", "1 without"},
	},
	{
		"not writable", func(v *refresh.View) { v.Outputs[0].Err = unwritable() },
		[]string{"▲ Logged in, but not all is well", "output_denied</h3>", `<p class="cure">mount the volume writable</p>`, "not written: output_denied"}, []string{"✕"},
	},
	{
		"not readable", func(v *refresh.View) { v.OnDisk[0] = refresh.OnDisk{Err: unwritable()} },
		[]string{"✕ Not logged in", "any of the 2 required registries", "output_denied</h3>", "not usable: output_denied", "write it: permission denied"}, nil,
	},
	{
		"rejected", func(v *refresh.View) {
			v.Registries[0].Accepted = refresh.Rejected
			v.Registries[0].Err = &fault.Error{Class: fault.TokenRejected, Op: "ask " + taskHost + " whether it accepts the token", Err: errors.New("403: the registry refuses the token"), Cure: "if it stays after a renewal, see the policy of the VPC endpoint ecr.dkr"}
		}, []string{"▲ Logged in, but a registry rejects the token", "token_rejected</h3>", "the registry rejects it"}, []string{"✕"},
	},
	{
		"hanging", func(v *refresh.View) { v.Late = 11 * time.Minute },
		[]string{"✕ The refresher hangs", "<p>the loop hangs: it should have turned 11m0s ago</p>"}, nil,
	},
	{
		"broken entry", func(v *refresh.View) {
			v.OnDisk[0].Obstacles = writer.Obstacles{Broken: []writer.Obstacle{pasted}, BrokenCount: 1}
		}, []string{"▲ Logged in, but not all is well", "an entry of another program keeps programs from reading it", "entry that breaks the file</h3>",
			"auths[&#34;https://index.docker.io/v1/&#34;]: its auth is not base64", refresh.BrokenCure, "not read by some programs: 1 entry"}, []string{"✕"},
	},
	{
		"similar entry", func(v *refresh.View) {
			v.OnDisk[0].Obstacles = writer.Obstacles{Similar: []writer.Obstacle{namespaced}, SimilarCount: 3}
		}, []string{"✓ Logged in", "a login for repositories of " + taskHost + "; podman uses it for team", "2 more such logins"}, []string{"What to do"},
	},
	{
		"overdue", func(v *refresh.View) { v.Scopes[0].Due = now.Add(-time.Minute); v.Scopes[0].Adopted = true },
		[]string{"renewal now", "found in the file at the start"}, nil,
	},
	{
		"about to expire", func(v *refresh.View) { lifeOf(v, 0, 30*time.Second) },
		[]string{"about to expire: 30 s left"}, nil,
	},
	{"checks", func(*refresh.View) {}, []string{
		"✓ Logged in", "<h2>Checks", `<span class="mark">▲</span>space <span class="said">warn</span></p><p class="soft">` + primary + "</p>", "<p>5 MiB free</p>",
		`<p class="cure">mount the volume read-only there:` + "\n{&#34;", `well</p></div><div><p class="soft">role_hidden, volume</p>`, `not looked at</p></div><div><p class="soft">document</p>`,
		`<span class="mark">✕</span>owner <span class="said">fail</span>`,
	}, []string{"What to do"}},
	{"one registry", func(v *refresh.View) {
		v.Registries, v.Scopes, v.Outputs, v.OnDisk = v.Registries[:1], v.Scopes[:1], v.Outputs[:1], v.OnDisk[:1]
	}, []string{"✓ Logged in"}, []string{"1 good", "health speaks of"}},
	{"200 registries", many, []string{
		"<small>20 without a valid token, 20 in trouble, 160 good</small>", " and 32 more</p>", `in <a href="/readyz">/readyz</a>`,
	}, []string{"and 0 more", "and -"}},
	{"long names", func(v *refresh.View) {
		v.Registries = v.Registries[:2]
		host := strings.Repeat("very-long-alias-without-end.", 9) + "example.com"
		v.Registries[1].Spec.Aliases = []string{host}
		for i := range v.OnDisk {
			v.OnDisk[i].Sums[host] = sum("other")
		}
		v.Outputs[0].Name = "/run/" + strings.Repeat("a-directory-with-a-long-name/", 8) + "config.json"
		v.Scopes[1].Failures, v.Scopes[1].Err = 1000, &fault.Error{Class: fault.AssumeRole, Op: "assume arn:aws:iam::444455556666:role/" + strings.Repeat("path/", 12) + "pull",
			Err: errors.New("AccessDenied: " + strings.Repeat("User: arn:aws:sts::111122223333:assumed-role/task/0123456789abcdef is not authorized; ", 4)), Cure: strings.Repeat("allow sts:AssumeRole on arn:aws:iam::444455556666:role/pull, ", 4)}
	}, []string{"1000 times in a row"}, nil},
}

// pageChecks are what the doctor finds in some of the states.
var pageChecks = map[string][]health.Check{
	"checks": {
		{ID: "role_hidden", Status: "ok", Seen: "no variable takes its place"},
		{ID: "volume", Of: primary, Status: "ok", Seen: "a directory"},
		{ID: "volume", Of: second, Status: "ok", Seen: "a directory"},
		{ID: "space", Of: primary, Status: "warn", Seen: "5 MiB free", Cure: "free space on the volume"},
		{ID: "owner", Of: second, Status: "fail", Seen: "uid 0, mode 0777: everybody writes there", Cure: "mount the volume read-only there:\n" + `{"sourceVolume": "ecr-auth", "containerPath": "/run/ecr", "readOnly": true}`},
		{ID: "document", Of: second, Status: "skip", Seen: "there is none"},
	},
}

// many is a view of 200 registries in 100 scopes, every tenth of them failing for the same reason, half of these without a
// valid token.
func many(v *refresh.View) {
	spec, scope := *v.Registries[0].Spec, v.Scopes[0]
	v.Registries, v.Scopes = nil, nil
	for i := range 200 {
		r := spec
		r.Host.Name = fmt.Sprintf("%012d.dkr.ecr.us-west-2.amazonaws.com", 100000000000+i)
		r.Name, r.Host.Account = r.Host.Name, r.Host.Name[:12]
		v.Registries = append(v.Registries, refresh.RegistryState{Spec: &r, Scope: i / 2, Accepted: refresh.Accepted})
		if i%2 == 0 {
			s := scope
			s.Issued = now.Add(-time.Duration(i) * time.Minute)
			s.Expires, s.Due = s.Issued.Add(12*time.Hour), s.Issued.Add(6*time.Hour-time.Duration(i)*7*time.Second)
			switch {
			case i%20 == 0:
				s.Issued, s.Expires = now.Add(-13*time.Hour), now.Add(-time.Hour)
				s.Failures, s.Err, s.Due = 30, deniedByAWS(), now.Add(time.Minute)
			case i%20 == 10:
				s.Failures, s.Err, s.Due = 3, deniedByAWS(), now.Add(time.Minute)
			}
			s.Known = []refresh.Known{{Sum: sum(r.Name[:11]), Issued: s.Issued, Expires: s.Expires}}
			v.Scopes = append(v.Scopes, s)
		}
		for o := range v.OnDisk {
			v.OnDisk[o].Sums[r.Host.Name] = v.Scopes[i/2].Known[0].Sum
		}
	}
}

// lifeOf gives what is left to the token of a scope.
func lifeOf(v *refresh.View, scope int, left time.Duration) {
	s := &v.Scopes[scope]
	s.Expires = now.Add(left)
	s.Issued = s.Expires.Add(-12 * time.Hour)
	s.LastSuccess = s.Issued
	s.Known = []refresh.Known{{Sum: s.Known[len(s.Known)-1].Sum, Issued: s.Issued, Expires: s.Expires}}
}

func deniedByAWS() error {
	return &fault.Error{
		Class: fault.AccessDenied, Op: "get a token for ecr us-west-2",
		Err:  errors.New("AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/ecr-push-task/0123456789abcdef0123456789abcdef is not authorized to perform: ecr:GetAuthorizationToken on resource: * because no identity-based policy allows the ecr:GetAuthorizationToken action (request 8f0c2a3e-5c1d-4c7e-9b1a-0d2f6e7a8b9c)"),
		Cure: "allow ecr:GetAuthorizationToken on resource * in the task role's policy; for public.ecr.aws also ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken",
	}
}

// ask asks for the page of a view.
func ask(v refresh.View, checks func() []health.Check) *httptest.ResponseRecorder {
	about := health.About{Version: "1.2.3", Task: "arn:aws:ecs:us-west-2:111122223333:task/c/0123", Checks: checks}
	w := httptest.NewRecorder()
	Handler(func() health.Status { return health.StatusOf(v, about) }).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	return w
}

func TestPage(t *testing.T) {
	for _, test := range pageStates {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // the uptime is measured
				v := goodView(t)
				test.break1(&v)
				w := ask(v, func() []health.Check { return pageChecks[test.name] })
				got := w.Body.String()
				if *pages != "" {
					if err := os.WriteFile(filepath.Join(*pages, strings.ReplaceAll(test.name, " ", "-")+".html"), []byte(got), 0o644); err != nil {
						t.Error(err)
					}
				}
				for _, want := range test.want {
					if !strings.Contains(got, want) {
						t.Errorf("no %q in the page (-pages DIR writes it to a file)", want)
					}
				}
				for _, not := range test.not {
					if strings.Contains(got, not) {
						t.Errorf("there is a %q", not)
					}
				}
				readPage(t, got)
				if got, want := w.Header().Get("Content-Type"), "text/html; charset=utf-8"; got != want {
					t.Errorf("content type %q, want %q", got, want)
				}
				if got, want := w.Header().Get("Content-Security-Policy"), "default-src 'none'; style-src 'unsafe-inline'"; got != want {
					t.Errorf("policy %q, want %q", got, want)
				}
			})
		})
	}
}

// readPage parses a page strictly and returns its text. It holds the elements and attributes to those that the page is made
// of: nothing runs, nothing is fetched.
func readPage(t *testing.T, p string) string {
	t.Helper()
	elements := "html head meta title style body header div h1 h2 h3 p ul li span i b a small dl dt dd"
	attributes := "lang charset name content http-equiv class href role aria-label style"
	links := "/healthz /readyz /status /metrics"
	var text strings.Builder
	d := xml.NewDecoder(strings.NewReader(p))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return text.String()
		}
		if err != nil {
			t.Fatalf("no well-formed page: %v", err)
		}
		switch token := token.(type) {
		case xml.CharData:
			text.Write(token)
		case xml.StartElement:
			if !word(elements, token.Name.Local) {
				t.Errorf("an element <%s>", token.Name.Local)
			}
			for _, a := range token.Attr {
				if !word(attributes, a.Name.Local) || a.Name.Local == "href" && !word(links, a.Value) {
					t.Errorf("an attribute %s=%q of <%s>", a.Name.Local, a.Value, token.Name.Local)
				}
			}
		}
	}
}

func word(of, s string) bool { return strings.Contains(" "+of+" ", " "+s+" ") }

// Every string of a status reaches the page, whatever it says and in whichever state, and none is markup.
func TestPageShowsAndEscapesEveryField(t *testing.T) {
	const hostile = `<script>alert("1")</script>&amp;'<img src=x>`
	// What the page leaves to /status, or shows in another form.
	left := map[string]bool{
		"Status.Registries.Account": true, "Status.Registries.Region": true, "Status.Registries.Partition": true, // in the host
		"Status.Registries.Accepted":  true, // in words of its own
		"Status.Outputs.Shadowed":     true, // the same as Hidden
		"Status.Outputs.Hidden.Hosts": true, // quoted, in the cure
		"Status.Stuck":                true, // one of the reasons
	}
	paths := map[string]string{} // by the word that makes a string unique
	var fill func(path string, v reflect.Value, flags bool)
	fill = func(path string, v reflect.Value, flags bool) {
		switch v.Kind() {
		case reflect.String:
			unique := fmt.Sprintf("u%dx", len(paths))
			paths[unique] = path
			v.SetString(unique + hostile)
		case reflect.Bool:
			v.SetBool(flags)
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(path, v.Index(0), flags)
		case reflect.Pointer:
			if v.Type() == reflect.TypeFor[*time.Time]() {
				return
			}
			v.Set(reflect.New(v.Type().Elem()))
			fill(path, v.Elem(), flags)
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[time.Time]() {
				return
			}
			for i := range v.NumField() {
				fill(path+"."+v.Type().Field(i).Name, v.Field(i), flags)
			}
		}
	}
	shown := map[string]bool{}
	for _, flags := range []bool{true, false} {
		var s health.Status
		fill("Status", reflect.ValueOf(&s).Elem(), flags)
		text := readPage(t, page(s))
		for unique, path := range paths {
			shown[path] = shown[path] || strings.Contains(text, unique+hostile)
			if strings.Contains(text, unique) && !strings.Contains(text, unique+hostile) && !left[path] {
				t.Errorf("%s is not told as it is", path)
			}
		}
	}
	for path, ok := range shown {
		if !ok && !left[path] {
			t.Errorf("%s is not on the page", path)
		}
	}
}

// What others write into the volume reaches the page only in printable characters.
func TestForeignTextIsPrintable(t *testing.T) {
	for name, view := range healthtest.ForeignViews(t) {
		body := strings.ReplaceAll(ask(view, nil).Body.String(), style, "")
		if !strings.Contains(body, healthtest.ForeignShown) {
			t.Errorf("%s: the text is not there:\n%s", name, body)
		}
		if i := strings.IndexFunc(body, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s: %q", name, body[max(0, i-20):min(len(body), i+20)])
		}
	}
}

// What a page says of a time is short and never a fraction.
func TestLong(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0 s"}, {400 * time.Millisecond, "0 s"}, {59400 * time.Millisecond, "59 s"}, {59500 * time.Millisecond, "1 min 00 s"}, {9*time.Minute + 59*time.Second, "9 min 59 s"},
		{10 * time.Minute, "10 min"}, {time.Hour - time.Second, "59 min"}, {time.Hour, "1 h 00 min"}, {12*time.Hour - time.Minute, "11 h 59 min"},
		{48*time.Hour - time.Second, "47 h 59 min"}, {48 * time.Hour, "2 days 0 h"}, {100*24*time.Hour + 5*time.Hour, "100 days 5 h"},
	} {
		if got := long(test.d); got != test.want {
			t.Errorf("%v: %q, want %q", test.d, got, test.want)
		}
	}
}

// A page of 200 registries is no burden for a browser that loads it every 5 s.
func TestPageStaysSmall(t *testing.T) {
	v := goodView(t)
	many(&v)
	v.OnDisk[0].View = writer.View{} // a reason and a failure for every one of them
	if p := page(health.StatusOf(v, health.About{})); len(p) > 100<<10 {
		t.Errorf("%d KB", len(p)>>10)
	}
}
