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
// call. It shows how long the first whole file takes; what a registry costs in memory, less the token's own size in the file,
// beyond a process with a single one in the same scope; and what a scope costs beyond that. Most
// of the latter is what 50 TLS handshakes at the same time leave to the garbage collector.
//
//	go test ./cmd/refresher -run '^$' -bench ThousandRegistries -benchtime 5x
func BenchmarkThousandRegistries(b *testing.B) {
	const registries, scopes = 1000, 50
	for _, verify := range []string{"off", "issue"} {
		b.Run("verify="+verify, func(b *testing.B) {
			var took time.Duration
			var registry, scope float64
			for b.Loop() {
				one, _, _ := oneStart(b, 1, 1, verify)
				flat, _, _ := oneStart(b, scopes, scopes, verify)
				wide, _, _ := oneStart(b, registries, 1, verify)
				_, d, size := oneStart(b, registries, scopes, verify)
				took += d
				registry += (wide-one)/registries - size
				scope += (flat - one) / scopes
			}
			n := float64(b.N)
			b.ReportMetric(took.Seconds()/n, "s/first-file")
			b.ReportMetric(registry/n, "B/registry")
			b.ReportMetric(scope/n, "B/scope")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// oneStart runs the program until its first whole file, and returns its anonymous memory then, how long it took, and the size of an
// entry in the file.
func oneStart(b *testing.B, registries, scopes int, verify string) (memory float64, took time.Duration, size float64) {
	p := newProgram(b, sandbox.Config{Latency: 50 * time.Millisecond}, "REFRESHER_REGISTRIES="+manyRegistries(registries, scopes), "REFRESHER_VERIFY="+verify)
	start := time.Now()
	p.start()
	p.until("the first whole file is there", func() bool {
		text, err := os.ReadFile(p.file())
		return err == nil && strings.Count(string(text), `"auth":`) == registries
	})
	took = time.Since(start)
	if verify != "off" {
		p.until("every registry was asked", func() bool { return p.aws.Calls()["registry:GET /v2/"] >= registries })
	}
	memory = rss(b, p.cmd.Process.Pid)
	info, err := os.Stat(p.file())
	if err != nil {
		b.Fatal(err)
	}
	if n := p.aws.Calls()["ecr:GetAuthorizationToken"]; n != scopes {
		b.Fatalf("%d calls for %d scopes", n, scopes)
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
	_ = p.aws.Close()
	return memory, took, float64(info.Size()) / float64(registries)
}
