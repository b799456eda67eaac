package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
)

// identities is how many scopes the soak has: as one is renewed once a second at most, so many renewals a second.
const identities = 60

// soak has one process renew tokens as often as it may, for registries with an identity each, while it is scraped and looked
// at. What it holds in the last quarter of the run is what it held in the second one: memory, descriptors, threads, goroutines.
func soak(t *testing.T, bin string) {
	var renewals atomic.Int64
	hosts := map[string]string{}
	var registries []string
	for n := range identities {
		account := fmt.Sprintf("%012d", 100000000000+n)
		host := account + ".dkr.ecr.us-west-2.amazonaws.com"
		hosts[host] = account
		registries = append(registries, host+"?role_arn=arn:aws:iam::"+account+":role/push")
	}
	p := newProgram(t, sandbox.Config{TokenLife: 4 * time.Second, Log: func(line string) {
		if f := strings.Fields(line); f[1] == "ecr" && f[3] == "200" {
			renewals.Add(1)
		}
	}},
		"REFRESHER_REGISTRIES="+strings.Join(registries, " "), "REFRESHER_RENEW_AT=0.3",
		// The collector tells the size of what lives after each run; the scheduler lists all goroutines each half second. Memory is
		// given back at once, so that the resident size tells what is in use; freed objects are overwritten, so that whoever still
		// uses one is seen to.
		"GODEBUG=gctrace=1,schedtrace=500,scheddetail=1,madvdontneed=1,invalidptr=1,clobberfree=1")
	w := newWitness(t, p.aws, p.file(), hosts)
	total := int64(*soaked)
	s := &samples{quarter: func() int { return int(min(4*renewals.Load()/total, 3)) }}
	p.launch(bin, s)
	p.until("all are logged in", func() bool { code, _ := p.get("/readyz"); return code == 200 })

	var said verdicts
	var lookers sync.WaitGroup
	stop, end := ending(&lookers)
	defer end()
	lookers.Go(func() { w.health(p, &said, stop) })
	looks := 0
	lookers.Go(func() {
		pace := time.NewTicker(50 * time.Millisecond)
		defer pace.Stop()
		for ; ; looks++ {
			select {
			case <-stop:
				return
			case <-pace.C:
				path := []string{"/metrics", "/status", "/", "/readyz", "/livez"}[looks%5]
				if code, body := p.get(path); code != 200 && path != "/readyz" {
					t.Errorf("GET %s: %d %s", path, code, p.redacted(body))
				}
			}
		}
	})
	began := time.Now()
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for last, at := int64(0), began; renewals.Load() < total; <-pace.C {
		s.look(t, p.cmd.Process.Pid)
		if now := renewals.Load(); now > last {
			last, at = now, time.Now()
		}
		if time.Since(at) > 20*time.Second {
			t.Error("it has stopped to renew")
			break
		}
	}
	took := time.Since(began)
	end()
	if said.healthy == 0 && total >= long {
		t.Error("it was never healthy")
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if n := strings.Count(p.out.String(), `"renewal failed"`); n != 0 {
		t.Errorf("%d lines tell of failures where nothing failed", n)
	}
	t.Logf("%d renewals in %s, %d versions of the file, %d looks; %s", renewals.Load(), took.Round(time.Second), w.versions, looks, &said)
	s.compare(t, total)
}

// samples are measurements by quarter of the run, each in the order in which they were made.
type samples struct {
	quarter func() int
	mu      sync.Mutex
	of      [4]map[string][]float64

	line []byte // of the runtime's trace, as far as it has come
	gs   int    // in the list of goroutines that is coming, so far
}

// The measurements.
const (
	resident    = "resident memory, KB"
	live        = "live heap, MB"
	descriptors = "descriptors"
	threads     = "threads"
	goroutines  = "goroutines"
)

func (s *samples) add(what string, v float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.of[s.quarter()]
	if *q == nil {
		*q = map[string][]float64{}
	}
	(*q)[what] = append((*q)[what], v)
}

// Write takes in what the runtime traces.
func (s *samples) Write(p []byte) (int, error) {
	for _, c := range p {
		if s.line = append(s.line, c); c == '\n' {
			s.trace(string(s.line))
			s.line = s.line[:0]
		}
	}
	return len(p), nil
}

var (
	collected = regexp.MustCompile(`^gc \d+ @.* \d+->\d+->(\d+) MB, `)
	goroutine = regexp.MustCompile(`^  G\d+: status=(\d+)\(`)
)

func (s *samples) trace(line string) {
	if m := collected.FindStringSubmatch(line); m != nil {
		mb, _ := strconv.ParseFloat(m[1], 64)
		s.add(live, mb)
	}
	if m := goroutine.FindStringSubmatch(line); m != nil && m[1] != "6" && m[1] != "11" { // dead ones, kept for use again
		s.gs++
	}
	if strings.HasPrefix(line, "SCHED ") {
		if s.gs > 0 {
			s.add(goroutines, float64(s.gs))
		}
		s.gs = 0
	}
}

// look measures a process from outside.
func (s *samples) look(t *testing.T, pid int) {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if errors.Is(err, fs.ErrPermission) {
		t.Skip("only root may look at the descriptors of a process that hides them (hide.go)")
	} else if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	s.add(descriptors, float64(len(fds)))
	for what, line := range map[string]string{resident: `RssAnon:\s+(\d+) kB`, threads: `Threads:\s+(\d+)`} {
		s.add(what, number(t, line, string(text)))
	}
}

func number(t *testing.T, pattern, text string) float64 {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("there is no %q", pattern)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// long is a run whose quarters can be compared, and in which nothing can be missed by chance.
const long = 5000

// limits hold at every moment, and growth between the least measurements of the second and the last quarter: as a share, and
// beyond that. The least is what never goes away, whatever the load; in 10,000 renewals the two are 5,000 renewals apart.
var limits = []struct {
	what              string
	most, share, more float64
}{
	// What the task definition gives, for tens of registries with a role each. The collector's pace makes it go up and down.
	{resident, 64 << 10, 0.1, 2 << 10},
	// Twice that is when the collector runs. One MB is the unit of the trace: 200 bytes kept for each renewal would be more.
	{live, 16, 0, 1},
	// A connection to STS, to ECR and to its registry for each identity, as all may ask at once; and what is open anyway.
	// Connections come and go with the load: one lost in 500 renewals would be more.
	{descriptors, 3*identities + 30, 0, 10},
	// Two for each connection, of which a third is idle and gone when the others are used; a call, a question and a connection
	// that is being made for each identity.
	{goroutines, 2*(2*identities+30) + 3*identities, 0, 20},
	// One for each call of the kernel that takes long, of which there are few: a write, a look, some lookups of names. The runtime
	// never ends one.
	{threads, 30, 0, 2},
}

// compare is about the second quarter and the last: in the first one caches fill.
func (s *samples) compare(t *testing.T, total int64) {
	for _, l := range limits {
		most := slices.Max(append([]float64{0}, slices.Concat(s.of[0][l.what], s.of[1][l.what], s.of[2][l.what], s.of[3][l.what])...))
		if most == 0 || most > l.most {
			t.Errorf("%s: up to %.0f, and from 1 to %.0f would be right", l.what, most, l.most)
		}
		early, late := s.of[1][l.what], s.of[3][l.what]
		if len(early) == 0 || len(late) == 0 {
			continue
		}
		a, b := slices.Min(early), slices.Min(late)
		t.Logf("%s: %.0f to %.0f in quarter 2, %.0f to %.0f in quarter 4, never above %.0f", l.what,
			a, slices.Max(early), b, slices.Max(late), most)
		if total >= long && b > a*(1+l.share)+l.more {
			t.Errorf("%s: grown from %.0f to %.0f in half of %d renewals", l.what, a, b, total)
		}
	}
}
