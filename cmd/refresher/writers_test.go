package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"

	"ecr-refresher/internal/sandbox"
)

// login is one turn of a program that logs in as docker does: it reads, changes and replaces the file.
type login struct {
	Begun, Ended int64 // Unix nanoseconds
	Lost         bool  // what it had written the turn before was gone
}

// dockerLogins is another program of TestWriters: for so long it logs in to a registry of its own with docker's library, again and
// again. Now and then it logs out of ours. Its words are the directory, the host, how long, and where its report goes.
func dockerLogins() {
	dir, host, report := os.Args[1], os.Args[2], os.Args[4]
	length, err := time.ParseDuration(os.Args[3])
	check(err)
	var logins []login
	for start := time.Now(); time.Since(start) < length; {
		l := login{Begun: time.Now().UnixNano()}
		c, err := config.Load(dir)
		check(err)
		n := len(logins)
		l.Lost = n > 0 && c.AuthConfigs[host].Password != strconv.Itoa(n)
		if n%20 == 10 {
			delete(c.AuthConfigs, ourHost) // docker logout
		}
		c.AuthConfigs[host] = types.AuthConfig{Username: "joe", Password: strconv.Itoa(n + 1)}
		check(c.Save())
		l.Ended = time.Now().UnixNano()
		logins = append(logins, l)
		time.Sleep(time.Duration(10+rand.IntN(40)) * time.Millisecond)
	}
	b, err := json.Marshal(logins)
	check(err)
	check(os.WriteFile(report, b, 0o600))
}

// check ends a program that cannot go on, with the reason.
func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const ourHost = "123456789012.dkr.ecr.us-west-2.amazonaws.com"

// TestWriters has four processes that log in with docker's own library to registries of their own, and out of ours now and then,
// in the file of a refresher whose tokens live for 2.4 s, so that it renews every second. Two readers never rest. What the
// README promises holds:
//
//   - Whole: each read is one document with whole entries, and what nobody changes is in it.
//   - Repaired: until the output counts as contested a consumer finds a login again within 2 s. From then on a repair may wait for
//     minutes, and a new token still comes at once: the login is there within 2 s of the next one.
//   - Yours too: docker reads, changes and renames without looking again, so of two logins at the same instant one is lost. That
//     is all: a login that was lost to us would have no other program's beside it in time. One in a hundred is the bound, and 0 to
//     1 in 2,000 is seen. We write too seldom here to tell by it whether we look again before the rename: internal/writer does.
//
// The longer run:
//
//	WRITERS=20s go test -run TestWriters -v ./cmd/refresher
func TestWriters(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("WRITERS"), "3s"))
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, sandbox.Config{TokenLife: 2400 * time.Millisecond})
	if err := os.WriteFile(p.file(), []byte(bystander), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.until("it is ready", func() bool { code, _ := p.get("/readyz"); return code == 200 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reading := make(chan onlooker)
	for range 2 {
		go func() { reading <- lookOn(ctx, p.file()) }()
	}
	others := logIn(t, p.dir, 4, length)
	cancel()
	readers := []onlooker{<-reading, <-reading}

	series := func(name string) string { return p.metric(name + `{output="` + p.file() + `"}`) }
	contested := p.contested()
	if code, _ := p.get("/readyz"); contested.IsZero() || code != 503 || series("output_contested") != "1" {
		t.Errorf("contested at %v, readyz %d, metric %q: it should be, after so many logouts", contested, code, series("output_contested"))
	}
	tokens := p.aws.Tokens()
	var longest time.Duration
	reads := 0
	for _, r := range readers {
		reads += r.reads
		if r.torn != "" {
			t.Errorf("read %d is torn: %s", r.reads, p.redacted(r.torn))
		}
		for _, a := range r.absences(tokens) {
			longest = max(longest, a.to.Sub(a.from))
			checkAbsence(t, a, contested, tokens)
		}
	}
	written, lost, alone := 0, 0, 0
	for i, mine := range others {
		for k, l := range mine {
			written++
			if !l.Lost {
				continue
			}
			lost++
			if !coincides(mine[k-1], slices.Concat(slices.Delete(slices.Clone(others), i, i+1)...)) {
				alone++
			}
		}
	}
	if alone > 1+written/100 {
		t.Errorf("%d of %d logins were lost although no other program logged in at the same time", alone, written)
	}
	t.Logf("others: %d logins, %d lost, %d of them to nobody's login; we: %d tokens, %s writes, %s repairs, contested after %v; %d reads, no valid login of ours for %v at most",
		written, lost, alone, len(tokens), p.metric(`output_writes_total{output="`+p.file()+`",status="success"}`), series("output_repairs_total"),
		contested.Sub(readers[0].seen[0].at).Round(time.Millisecond), reads, longest.Round(time.Millisecond))

	p.until("the login stays once the others are gone", func() bool {
		last := lookOnce(p.file())
		all := p.aws.Tokens()
		return last.torn == "" && last.seen[0].auth == authOf(all[len(all)-1])
	})
	if left, _ := filepath.Glob(p.dir + "/.*.tmp-*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// logIn runs n other programs to their end.
func logIn(t *testing.T, dir string, n int, length time.Duration) (logins [][]login) {
	t.Helper()
	var cmds []*exec.Cmd
	var outs []*bytes.Buffer
	reports := t.TempDir()
	for i := range n {
		cmd, out := exec.CommandContext(t.Context(), "docker-logins", dir, fmt.Sprintf("registry%d.example.com", i), length.String(),
			fmt.Sprintf("%s/%d", reports, i)), &bytes.Buffer{}
		cmd.Stdout, cmd.Stderr = out, out
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds, outs = append(cmds, cmd), append(outs, out)
	}
	logins = make([][]login, n)
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, outs[i])
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("%s/%d", reports, i))
		if err == nil {
			err = json.Unmarshal(b, &logins[i])
		}
		if err != nil {
			t.Error(err)
		}
	}
	return logins
}

// coincides reports whether another program's login overlaps this one.
func coincides(l login, others []login) bool {
	return slices.ContainsFunc(others, func(o login) bool { return o.Begun <= l.Ended && l.Begun <= o.Ended })
}

// contested is when the output was first said to be contested; zero for never.
func (p *program) contested() (at time.Time) {
	if l := p.line("output contested: another program changes our entries again and again", ""); l != nil {
		at, _ = time.Parse(time.RFC3339Nano, l["time"].(string))
	}
	return at
}

// bystander is what nobody changes: docker keeps it as we do.
const bystander = `{"auths":{"quiet.example.com":{"auth":"am9lOng="}},"HttpHeaders":{"X-Quiet":"yes"}}`

// onlooker is a consumer and what it saw.
type onlooker struct {
	reads int
	torn  string
	seen  []glimpse // of our entry, each time that it had changed
	end   time.Time
}

type glimpse struct {
	at   time.Time
	auth string // empty where there is no entry
}

// lookOn reads without rest.
func lookOn(ctx context.Context, path string) (r onlooker) {
	for ctx.Err() == nil && r.torn == "" {
		r.look(path)
		time.Sleep(100 * time.Microsecond)
	}
	return r
}

func lookOnce(path string) (r onlooker) {
	r.look(path)
	return r
}

func (r *onlooker) look(path string) {
	r.reads++
	b, err := os.ReadFile(path)
	r.end = time.Now()
	var doc struct {
		Auths       map[string]map[string]string
		HTTPHeaders map[string]string `json:"HttpHeaders"`
	}
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	for host, entry := range doc.Auths {
		plain, bad := base64.StdEncoding.DecodeString(entry["auth"])
		if user, password, _ := bytes.Cut(plain, []byte(":")); bad != nil || len(entry) != 1 || len(user) == 0 || len(password) == 0 {
			err = cmp.Or(err, fmt.Errorf("half an entry of %s", host))
		}
	}
	if err == nil && (doc.Auths["quiet.example.com"]["auth"] != "am9lOng=" || doc.HTTPHeaders["X-Quiet"] != "yes") {
		err = fmt.Errorf("what nobody changed has changed")
	}
	if err != nil {
		r.torn = fmt.Sprintf("%v in %q", err, b)
		return
	}
	if auth := doc.Auths[ourHost]["auth"]; len(r.seen) == 0 || r.seen[len(r.seen)-1].auth != auth {
		r.seen = append(r.seen, glimpse{r.end, auth})
	}
}

// absence is a time in which a consumer finds no login of ours, or one that the registry refuses.
type absence struct{ from, to time.Time }

func (r *onlooker) absences(tokens []sandbox.Token) (all []absence) {
	expires := map[string]time.Time{}
	for _, t := range tokens {
		expires[authOf(t)] = t.Expires
	}
	for i, g := range r.seen {
		until := r.end
		if i+1 < len(r.seen) {
			until = r.seen[i+1].at
		}
		from := g.at
		if e := expires[g.auth]; e.After(from) { // what AWS never issued expires at no time
			from = e
		}
		switch last := len(all) - 1; {
		case !from.Before(until):
		case last >= 0 && all[last].to.Equal(from):
			all[last].to = until
		default:
			all = append(all, absence{from, until})
		}
	}
	return all
}

func authOf(t sandbox.Token) string {
	return base64.StdEncoding.EncodeToString([]byte("AWS:" + t.Password))
}

const back = 2 * time.Second // as the README says

// checkAbsence holds an absence against what was promised at its time.
func checkAbsence(t *testing.T, a absence, contested time.Time, tokens []sandbox.Token) {
	t.Helper()
	lasted := a.to.Sub(a.from)
	if fight := 100 * time.Millisecond; contested.IsZero() || a.from.Before(contested.Add(-fight)) { // it is told a little after the last repair
		if lasted > back {
			t.Errorf("no login for %v before the output was contested", lasted)
		}
		return
	}
	for _, token := range tokens {
		if token.Issued.After(a.from) && a.to.Sub(token.Issued) > back {
			t.Errorf("no login for %v, %v of it after a new token was issued", lasted, a.to.Sub(token.Issued))
			return
		}
	}
}
