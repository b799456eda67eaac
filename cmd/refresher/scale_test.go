package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
)

// manyRegistries is n registries in a number of regions, each region a scope of its own.
func manyRegistries(n, regions int) string {
	var hosts []string
	for i := range n {
		hosts = append(hosts, fmt.Sprintf("%012d.dkr.ecr.us-west-%d.amazonaws.com", 100000000000+i, 1+i%regions))
	}
	return strings.Join(hosts, ",")
}

// rss is the anonymous resident memory of a process in bytes: what is its own.
func rss(b *testing.B, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("this benchmark reads /proc, which only Linux has")
	}
	m := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(text)
	kb, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb * 1024
}

// BenchmarkThousandRegistries starts the program with 1,000 registries in 50 scopes against an AWS that takes 50 ms for a
// call. It shows how long the first whole file takes, and what a registry costs in anonymous memory beyond a process with a
// single one, less the token's own size in the file: when the work is done, and at the most, which is what 50 TLS handshakes at
// the same time leave to the garbage collector.
//
//	go test ./cmd/refresher -run '^$' -bench ThousandRegistries -benchtime 5x
func BenchmarkThousandRegistries(b *testing.B) {
	const registries, scopes = 1000, 50
	for _, verify := range []string{"off", "issue"} {
		b.Run("verify="+verify, func(b *testing.B) {
			var took time.Duration
			var settled, most float64
			for b.Loop() {
				one := oneStart(b, 1, 1, verify)
				all := oneStart(b, registries, scopes, verify)
				took += all.took
				settled += (all.settled-one.settled)/registries - all.entry
				most += (all.most-one.most)/registries - all.entry
			}
			n := float64(b.N)
			b.ReportMetric(took.Seconds()/n, "s/first-file")
			b.ReportMetric(settled/n, "B/registry")
			b.ReportMetric(most/n, "B/registry-at-most")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// start is what one start took. Sizes are in bytes.
type start struct {
	took          time.Duration // to the first whole file
	settled, most float64       // anonymous memory
	entry         float64       // of a registry in the file
}

// oneStart runs the program until its first whole file, and until its memory has been the same for a while after that.
func oneStart(b *testing.B, registries, scopes int, verify string) start {
	shipped(b) // before the clock runs
	p := newProgram(b, sandbox.Config{Latency: 50 * time.Millisecond}, "REFRESHER_REGISTRIES="+manyRegistries(registries, scopes), "REFRESHER_VERIFY="+verify)
	var s start
	began := time.Now()
	p.launch(shipped(b), &p.err)
	p.until("the first whole file is there", func() bool {
		text, err := os.ReadFile(p.file())
		return err == nil && strings.Count(string(text), `"auth":`) == registries
	})
	s.took = time.Since(began)
	if verify != "off" {
		p.until("every registry was asked", func() bool { return p.aws.Calls()["registry:GET /v2/"] >= registries })
	}
	for steady := 0; steady < 300; time.Sleep(10 * time.Millisecond) { // no change for 3 s
		now := rss(b, p.cmd.Process.Pid)
		if now == s.settled {
			steady++
			continue
		}
		steady, s.settled, s.most = 0, now, max(s.most, now)
	}
	info, err := os.Stat(p.file())
	if err != nil {
		b.Fatal(err)
	}
	s.entry = float64(info.Size()) / float64(registries)
	if n := p.aws.Calls()["ecr:GetAuthorizationToken"]; n != scopes {
		b.Fatalf("%d calls for %d scopes", n, scopes)
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
	_ = p.aws.Close()
	return s
}
