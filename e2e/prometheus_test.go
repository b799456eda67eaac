//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
)

// A real server scrapes the container.
func TestPrometheus(t *testing.T) {
	for _, p := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%v: install Debian's prometheus", err)
		}
	}
	w := newWorld(t, sandbox.Config{})
	task := w.runTask(t, alone(readDefinition(t, "taskdef.json")))
	until(t, 30*time.Second, "the token is written", func() bool { return task.line("refresher", "token written", "") != nil })
	target := net.JoinHostPort(task.ip(), "9327")

	dir := scratch(t)
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: ecr-refresher\n  static_configs: [{targets: [%q]}]\n", target)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command("prometheus", "--config.file="+dir+"/prometheus.yml", "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+addr)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("prometheus:\n%s", b)
		}
	})

	query := func(expr string) (samples []sample) {
		res, err := http.Get("http://" + addr + "/api/v1/query?query=" + url.QueryEscape(expr))
		if err != nil {
			return nil
		}
		defer res.Body.Close()
		var answer struct{ Data struct{ Result []sample } }
		if json.NewDecoder(res.Body).Decode(&answer) != nil {
			return nil
		}
		return answer.Data.Result
	}
	until(t, 60*time.Second, "Prometheus says up == 1", func() bool { return len(query("up == 1")) == 1 })
	proved(t, "a real Prometheus scrapes the container: up == 1")

	token := w.aws.Tokens()[0]
	for _, c := range []struct {
		expr string
		want func(float64) bool
	}{
		{"ecr_refresher_token_valid", func(v float64) bool { return v == 1 }},
		{"ecr_refresher_token_accepted", func(v float64) bool { return v == 1 }},
		{"ecr_refresher_token_expiry_timestamp_seconds", about(token.Expires)},
		{"ecr_refresher_token_issued_timestamp_seconds", about(token.Issued)},
		{"ecr_refresher_last_success_timestamp_seconds", about(token.Issued)},
		{"ecr_refresher_last_attempt_timestamp_seconds", about(token.Issued)},
		{"ecr_refresher_next_refresh_timestamp_seconds - ecr_refresher_token_issued_timestamp_seconds", func(v float64) bool { return v >= 0.4*12*3600-2 && v <= 6*3600+2 }},
		{"ecr_refresher_consecutive_failures", func(v float64) bool { return v == 0 }},
		{`ecr_refresher_refresh_total{status="success"}`, func(v float64) bool { return v == 1 }},
		{`ecr_refresher_refresh_total{status="error"}`, func(v float64) bool { return v == 0 }},
		{`ecr_refresher_output_writes_total{output="/run/ecr/config.json",status="success"}`, func(v float64) bool { return v == 1 }},
		{"ecr_refresher_output_repairs_total", func(v float64) bool { return v == 0 }},
		{"ecr_refresher_output_contested", func(v float64) bool { return v == 0 }},
		{"ecr_refresher_output_shadowed", func(v float64) bool { return v == 0 }},
		{"ecr_refresher_output_broken_entries", func(v float64) bool { return v == 0 }},
		{"abs(ecr_refresher_clock_skew_seconds)", func(v float64) bool { return v < 5 }},
		{`ecr_refresher_registry_info{registry="default",host="` + registryHost + `",account="123456789012",region="us-west-2",partition="aws"}`, func(v float64) bool { return v == 1 }},
		{`ecr_refresher_task_info{task_arn=~"arn:aws:ecs:us-west-2:123456789012:task/.+"}`, func(v float64) bool { return v == 1 }},
		{`ecr_refresher_build_info{version="` + version + `"}`, func(v float64) bool { return v == 1 }},
	} {
		var v float64
		if !within(10*time.Second, func() bool {
			got := query(c.expr)
			if len(got) != 1 {
				return false
			}
			v = got[0].value()
			return c.want(v)
		}) {
			t.Errorf("%s is %v (%d series)", c.expr, v, len(query(c.expr)))
		}
	}
	proved(t, "its gauges are what the stand-in for AWS knows: expiry, issue and success times, validity, acceptance, registry, task and build")

	res, err := http.Get("http://" + target + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(string(page))
	if r := command(check); !r.ok() || r.all != "" {
		t.Errorf("promtool check metrics: exit %d\n%s", r.code, r.all)
	}
	proved(t, "promtool check metrics is silent on %d lines of /metrics", strings.Count(string(page), "\n"))
}

type sample struct{ Value [2]any }

func (s sample) value() float64 {
	text, _ := s.Value[1].(string)
	v, _ := strconv.ParseFloat(text, 64)
	return v
}

func about(at time.Time) func(float64) bool {
	return func(v float64) bool { return v >= float64(at.Unix()-5) && v <= float64(at.Unix()+5) }
}
