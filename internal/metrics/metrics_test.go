package metrics

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	own   = "default"
	other = "444455556666.dkr.ecr.eu-central-1.amazonaws.com"

	primary = "/run/ecr/config.json"
	second  = "/run/podman/auth.json"
)

// source gives one view, and counts how often it is asked.
type source struct {
	view  refresh.View
	asked atomic.Int64
}

func (s *source) View() refresh.View { s.asked.Add(1); return s.view }

// registries are the names of a view's registries; outputs those of its outputs.
func registries(v refresh.View) (names []string) {
	for _, r := range v.Registries {
		names = append(names, r.Spec.Name)
	}
	return names
}

func outputs(v refresh.View) (names []string) {
	for _, o := range v.Outputs {
		names = append(names, o.Name)
	}
	return names
}

func made(v refresh.View) *Metrics {
	return New(Build{"1.2.3", "abcdef", "go1.26.0"}, Task{"arn:aws:ecs:us-west-2:111122223333:task/c/0123", "c", "app", "7", "web"}, registries(v), outputs(v))
}

// view is a view of the registries in the two outputs, with a valid token for each.
func view(t testing.TB, specs ...string) refresh.View {
	t.Helper()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	s := &refresh.Snapshot{Started: now.Add(-time.Hour), Outputs: []refresh.OutputState{{Name: primary}, {Name: second}}}
	sums := map[string]writer.Sum{}
	for i, text := range specs {
		spec, err := registry.ParseSpec(text)
		if err == nil {
			spec, err = spec.Resolve("111122223333", "us-west-2")
		}
		if err != nil {
			t.Fatal(err)
		}
		issued := now.Add(-time.Duration(i+1) * time.Hour)
		sum := sha256.Sum256([]byte(spec.Name))
		s.Scopes = append(s.Scopes, refresh.ScopeState{
			Scope: token.ScopeOf(spec), Issued: issued, Expires: issued.Add(12 * time.Hour), Due: issued.Add(6 * time.Hour),
			LastAttempt: issued.Add(250 * time.Millisecond), LastSuccess: issued.Add(500 * time.Millisecond), CredentialsExpire: issued.Add(6 * time.Hour),
			Known: []refresh.Known{{Sum: sum, Issued: issued, Expires: issued.Add(12 * time.Hour)}},
		})
		s.Registries = append(s.Registries, refresh.RegistryState{Spec: &spec, Scope: i})
		for _, h := range spec.Hosts() {
			sums[h] = sum
		}
	}
	disk := refresh.OnDisk{View: writer.View{Exists: true, Mode: 0o644, Sums: sums}}
	return refresh.View{Snapshot: s, Now: now, Skew: 1500 * time.Millisecond, OnDisk: []refresh.OnDisk{disk, disk}}
}

func scrape(t testing.TB, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// series returns the samples of a scrape: by name and labels, as written.
func series(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok {
			all[name+"}"] = value
		} else if name, value, _ := strings.Cut(line, " "); name != "#" {
			all[name] = strings.TrimSpace(value)
		}
	}
	return all
}

// The names are an API, see the package comment. With -update this test writes what it finds: look at the difference.
func TestGolden(t *testing.T) {
	const golden = "testdata/metrics.txt"
	v := view(t, own, other+"?role_arn=arn:aws:iam::444455556666:role/pull&alias=mirror.example.com")
	v.Registries[0].Accepted = refresh.Accepted
	v.Scopes[1].Failures = 3
	v.Outputs[1].Contested = true
	v.OnDisk[1].Obstacles.BrokenCount = 12
	v.OnDisk[1].CredHelpers = map[string]string{"mirror.example.com": "pass"}
	m := made(v)
	m.Attempted([]string{own, other}, 300*time.Millisecond, "")
	m.Attempted([]string{other}, 10*time.Second, fault.Timeout)
	m.Rejected(own)
	m.Written(primary, false, nil)
	m.Written(primary, true, nil)
	m.Written(second, false, &fault.Error{Class: fault.OutputFull, Op: "write it", Err: io.ErrShortWrite})
	got := scrape(t, m.Handler(&source{view: v}))
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	// The order of the lines means nothing.
	if d := cmp.Diff(slices.Sorted(strings.Lines(string(want))), slices.Sorted(strings.Lines(got))); d != "" {
		t.Errorf("scrape (-want +got):\n%s", d)
	}
}

// What testutil.GatherAndLint does; that package would bring a module of its own.
func TestLint(t *testing.T) {
	v := view(t, own, other)
	v.Registries[0].Accepted = refresh.Rejected // else the series is absent
	m := made(v)
	checked := prometheus.NewPedanticRegistry() // it also checks that what is collected was described
	checked.MustRegister(m.collectors(&source{view: v})...)
	families, err := checked.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "ecr_refresher_") {
			t.Errorf("%s is not in our name space", f.GetName())
		}
	}
}

// A rule or a rate needs a series that was there before the first event. Only the registry's own answer has no value yet.
func TestEverySeriesExistsAtTheStart(t *testing.T) {
	v := view(t, own, other)
	for i := range v.Scopes { // nothing is known
		v.Scopes[i] = refresh.ScopeState{Scope: v.Scopes[i].Scope}
	}
	v.OnDisk = make([]refresh.OnDisk, 2)
	v.Skew = 0
	m := made(v)
	got := series(scrape(t, m.Handler(&source{view: v})))
	want := map[string]string{ // every name with its labels, but the histograms' and the constant ones
		"ecr_refresher_clock_skew_seconds":                                    "0",
		"ecr_refresher_log_lines_lost_total":                                  "0",
		`ecr_refresher_credentials_expiry_timestamp_seconds{identity="task"}`: "0",
	}
	for _, r := range registries(v) {
		for _, status := range []string{"success", "error"} {
			want[fmt.Sprintf("ecr_refresher_refresh_total{registry=%q,status=%q}", r, status)] = "0"
		}
		for _, name := range []string{"token_expiry_timestamp_seconds", "token_issued_timestamp_seconds", "token_valid", "last_success_timestamp_seconds",
			"last_attempt_timestamp_seconds", "next_refresh_timestamp_seconds", "consecutive_failures", "refresh_duration_seconds_count", "refresh_duration_seconds_sum"} {
			want[fmt.Sprintf("ecr_refresher_%s{registry=%q}", name, r)] = "0"
		}
	}
	for _, o := range outputs(v) {
		for _, status := range []string{"success", "error"} {
			want[fmt.Sprintf("ecr_refresher_output_writes_total{output=%q,status=%q}", o, status)] = "0"
		}
		for _, name := range []string{"output_repairs_total", "output_contested", "output_shadowed", "output_broken_entries"} {
			want[fmt.Sprintf("ecr_refresher_%s{output=%q}", name, o)] = "0"
		}
	}
	for _, c := range fault.Classes() {
		for i := range 2 {
			if c.OfOutput() {
				want[fmt.Sprintf("ecr_refresher_output_errors_total{class=%q,output=%q}", c, outputs(v)[i])] = "0"
			} else {
				want[fmt.Sprintf("ecr_refresher_refresh_errors_total{class=%q,registry=%q}", c, registries(v)[i])] = "0"
			}
		}
	}
	for name := range got {
		if strings.Contains(name, "_bucket{") || strings.Contains(name, "_info{") {
			delete(got, name)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("series at the start (-want +got):\n%s", d)
	}
}

// Each event moves what it shall and nothing else, for every class.
func TestEvents(t *testing.T) {
	type event struct {
		name string
		do   func(*Metrics)
		want map[string]string // what differs from the start
	}
	events := []event{
		{"a success of two registries", func(m *Metrics) { m.Attempted([]string{own, other}, 2*time.Second, "") }, map[string]string{
			`refresh_total{registry="default",status="success"}`: "1", `refresh_total{registry="` + other + `",status="success"}`: "1",
			`refresh_duration_seconds_count{registry="default"}`: "1", `refresh_duration_seconds_count{registry="` + other + `"}`: "1",
			`refresh_duration_seconds_sum{registry="default"}`: "2", `refresh_duration_seconds_sum{registry="` + other + `"}`: "2",
		}},
		{"a rejection", func(m *Metrics) { m.Rejected(other) }, map[string]string{
			`refresh_errors_total{class="token_rejected",registry="` + other + `"}`: "1",
		}},
		{"a write", func(m *Metrics) { m.Written(primary, false, nil) }, map[string]string{
			`output_writes_total{output="` + primary + `",status="success"}`: "1",
		}},
		{"a repair", func(m *Metrics) { m.Written(second, true, nil) }, map[string]string{
			`output_writes_total{output="` + second + `",status="success"}`: "1", `output_repairs_total{output="` + second + `"}`: "1",
		}},
	}
	for _, c := range fault.Classes() {
		if !c.OfOutput() {
			events = append(events, event{"an attempt that fails: " + string(c), func(m *Metrics) { m.Attempted([]string{own}, time.Second, c) }, map[string]string{
				`refresh_total{registry="default",status="error"}`:                   "1",
				`refresh_errors_total{class="` + string(c) + `",registry="default"}`: "1",
				`refresh_duration_seconds_count{registry="default"}`:                 "1",
				`refresh_duration_seconds_sum{registry="default"}`:                   "1",
			}})
			continue
		}
		err := fmt.Errorf("wrapped: %w", &fault.Error{Class: c, Op: "write it", Err: errors.New("no")})
		for _, repair := range []bool{false, true} { // a repair that fails has put nothing back
			events = append(events, event{"a write that fails: " + string(c), func(m *Metrics) { m.Written(primary, repair, err) }, map[string]string{
				`output_writes_total{output="` + primary + `",status="error"}`:            "1",
				`output_errors_total{class="` + string(c) + `",output="` + primary + `"}`: "1",
			}})
		}
	}
	v := view(t, own, other)
	for _, e := range events {
		m := made(v)
		h := m.Handler(&source{view: v})
		before := series(scrape(t, h))
		e.do(m)
		moved := map[string]string{}
		for name, value := range series(scrape(t, h)) {
			if value != before[name] && !strings.Contains(name, "_bucket{") {
				moved[strings.TrimPrefix(name, "ecr_refresher_")] = value
			}
		}
		if d := cmp.Diff(e.want, moved); d != "" {
			t.Errorf("%s (-want +got):\n%s", e.name, d)
		}
	}
}

func TestGauges(t *testing.T) {
	const unix12 = "1.7829072e+09" // the hour of the view: 2026-07-01T12:00:00Z
	for _, test := range []struct {
		name   string
		break1 func(*refresh.View)
		want   map[string]string // "" for absent
	}{
		{"not asked", func(*refresh.View) {}, map[string]string{`token_accepted{registry="default"}`: "", `token_valid{registry="default"}`: "1"}},
		{"accepted", func(v *refresh.View) { v.Registries[0].Accepted = refresh.Accepted }, map[string]string{
			`token_accepted{registry="default"}`: "1", `token_accepted{registry="` + other + `"}`: "",
		}},
		{"rejected", func(v *refresh.View) { v.Registries[0].Accepted = refresh.Rejected }, map[string]string{
			`token_accepted{registry="default"}`: "0", `token_valid{registry="default"}`: "1",
		}},
		{"expired", func(v *refresh.View) { v.Scopes[0].Known[0].Expires = v.Now }, map[string]string{
			`token_valid{registry="default"}`: "0", `token_expiry_timestamp_seconds{registry="default"}`: unix12, `token_valid{registry="` + other + `"}`: "1",
		}},
		{"no file", func(v *refresh.View) { v.OnDisk[0] = refresh.OnDisk{} }, map[string]string{
			`token_valid{registry="default"}`: "0", `token_expiry_timestamp_seconds{registry="default"}`: "0", `token_issued_timestamp_seconds{registry="default"}`: "0",
			`token_valid{registry="` + other + `"}`: "0",
		}},
		{"no second file", func(v *refresh.View) { v.OnDisk[1] = refresh.OnDisk{} }, map[string]string{`token_valid{registry="default"}`: "1"}},
		{"hidden", func(v *refresh.View) { v.OnDisk[0].CredsStore = "desktop" }, map[string]string{
			`output_shadowed{output="` + primary + `"}`: "1", `output_shadowed{output="` + second + `"}`: "0", `token_valid{registry="default"}`: "1",
		}},
		{"milliseconds", func(v *refresh.View) { v.Scopes[0].Due = v.Now.Add(time.Millisecond) }, map[string]string{
			`next_refresh_timestamp_seconds{registry="default"}`: "1.782907200001e+09",
		}},
		{"a clock that is behind", func(v *refresh.View) { v.Skew = -2 * time.Second }, map[string]string{`clock_skew_seconds`: "-2"}},
		{
			// Two regions are asked as the same identity: one series, of the credentials that live longest.
			"one identity in two scopes", func(v *refresh.View) {
				v.Scopes[0].CredentialsExpire, v.Scopes[1].CredentialsExpire = v.Now, v.Now.Add(-time.Hour)
			}, map[string]string{`credentials_expiry_timestamp_seconds{identity="task"}`: unix12},
		},
		{"the other way round, and not known", func(v *refresh.View) {
			v.Scopes[0].CredentialsExpire, v.Scopes[1].CredentialsExpire = time.Time{}, v.Now
		}, map[string]string{`credentials_expiry_timestamp_seconds{identity="task"}`: unix12}},
		{"two identities", func(v *refresh.View) {
			v.Scopes[1].Scope.Roles = "arn:aws:iam::1:role/a arn:aws:iam::2:role/b"
			v.Scopes[1].CredentialsExpire = v.Now
			v.Scopes[0].CredentialsExpire = time.Time{}
		}, map[string]string{
			`credentials_expiry_timestamp_seconds{identity="task"}`: "0", `credentials_expiry_timestamp_seconds{identity="arn:aws:iam::2:role/b"}`: unix12,
		}},
	} {
		v := view(t, own, other)
		test.break1(&v)
		got := series(scrape(t, made(v).Handler(&source{view: v})))
		for name, want := range test.want {
			if got["ecr_refresher_"+name] != want {
				t.Errorf("%s: %s is %q, want %q", test.name, name, got["ecr_refresher_"+name], want)
			}
		}
	}
}

// Looking at the files is the costly part of a scrape, and two looks could disagree.
func TestScrapeLooksOnce(t *testing.T) {
	v := view(t, own, other)
	src := &source{view: v}
	h := made(v).Handler(src)
	if n := src.asked.Load(); n != 0 {
		t.Errorf("asked %d times before a scrape", n)
	}
	for want := range int64(3) {
		scrape(t, h)
		if n := src.asked.Load(); n != want+1 {
			t.Fatalf("asked %d times after %d scrapes", n, want+1)
		}
	}
}

// A file system that hangs holds up a few scrapes, not an unlimited number of them.
func TestScrapesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		v := view(t, own)
		h := made(v).Handler(blocked(func() refresh.View { <-hang; return v }))
		codes := make(chan int, 20)
		for range cap(codes) {
			go func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
				codes <- w.Code
			}()
		}
		synctest.Wait()
		if n := len(codes); n != cap(codes)-maxScrapes {
			t.Errorf("%d of %d scrapes were refused", n, cap(codes))
		}
		close(hang)
		synctest.Wait()
		var all []int
		for range cap(codes) {
			all = append(all, <-codes)
		}
		slices.Sort(all)
		if want := append(slices.Repeat([]int{200}, maxScrapes), slices.Repeat([]int{503}, cap(codes)-maxScrapes)...); !slices.Equal(all, want) {
			t.Errorf("answers %v, want %v", all, want)
		}
	})
}

// many are n registries.
func many(n int) []string {
	specs := make([]string, n)
	for i := range specs {
		specs[i] = fmt.Sprintf("%012d.dkr.ecr.us-west-2.amazonaws.com", i+1)
	}
	return specs
}

type blocked func() refresh.View

func (b blocked) View() refresh.View { return b() }

// For the race detector, and that no event is lost.
func TestScrapesAndEventsAtTheSameTime(t *testing.T) {
	const events = 200
	v := view(t, own, other)
	m := made(v)
	h := m.Handler(&source{view: v})
	var all sync.WaitGroup
	for range 3 { // fewer than are admitted
		all.Go(func() {
			for range 20 {
				scrape(t, h)
			}
		})
	}
	for range 4 {
		all.Go(func() {
			for i := range events {
				m.Attempted([]string{own, other}, time.Second, fault.Classes()[i%3])
				m.Attempted([]string{own}, time.Second, "")
				m.Rejected(other)
				m.Written(primary, i%2 == 0, nil)
			}
		})
	}
	all.Wait()
	got := series(scrape(t, h))
	for name, want := range map[string]int{
		`refresh_total{registry="default",status="success"}`:                    4 * events,
		`refresh_total{registry="` + other + `",status="error"}`:                4 * events,
		`refresh_duration_seconds_count{registry="default"}`:                    8 * events,
		`refresh_errors_total{class="token_rejected",registry="` + other + `"}`: 4 * events,
		`output_repairs_total{output="` + primary + `"}`:                        4 * events / 2,
	} {
		if got["ecr_refresher_"+name] != fmt.Sprint(want) {
			t.Errorf("%s is %s, want %d", name, got["ecr_refresher_"+name], want)
		}
	}
}

// A registry or an output may be called whatever the settings accept.
func TestNamesAreEscaped(t *testing.T) {
	v := view(t, own)
	v.Outputs[0].Name = "/run/a\"b\\c\nd/config.json"
	m := made(v)
	m.Written(v.Outputs[0].Name, true, nil)
	if got := series(scrape(t, m.Handler(&source{view: v}))); got[`ecr_refresher_output_repairs_total{output="/run/a\"b\\c\nd/config.json"}`] != "1" {
		t.Errorf("%v", got)
	}
}

// Metrics is what the loop tells.
var _ refresh.Observer = (*Metrics)(nil)

// BenchmarkScrape is a scrape as Prometheus makes it.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{1, 50, 1000} {
		v := view(b, many(n)...)
		h := made(v).Handler(&source{view: v})
		for _, encoding := range []string{"identity", "gzip"} {
			b.Run(fmt.Sprintf("registries=%d/%s", n, encoding), func(b *testing.B) {
				req := httptest.NewRequest("GET", "/metrics", nil)
				req.Header.Set("Accept-Encoding", encoding)
				b.ReportAllocs()
				for b.Loop() {
					h.ServeHTTP(&nowhere{}, req)
				}
			})
		}
	}
}

// nowhere takes an answer.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header {
	if n.header == nil {
		n.header = http.Header{}
	}
	return n.header
}
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}

// The count of lost log lines is the caller's, read at each scrape.
func TestLinesLost(t *testing.T) {
	m, lost := made(view(t, own)), int64(3)
	m.LinesLost = func() int64 { return lost }
	h := m.Handler(&source{view: view(t, own)})
	for range 2 {
		if got := series(scrape(t, h))["ecr_refresher_log_lines_lost_total"]; got != fmt.Sprint(lost) {
			t.Errorf("%s lost lines; want %d", got, lost)
		}
		lost++
	}
}
