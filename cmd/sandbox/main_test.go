package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// buffer is written to by the server's goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestWrongCalls(t *testing.T) {
	for _, row := range []struct {
		args string
		code int
		text string
	}{
		{"--help", 0, "Usage: sandbox"},
		{"serve --help", 0, "--clock-offset"},
		{"--bogus", 2, "--bogus"},
		{"run", 2, "run"},
		{"--account 12", 2, "12 digits"},
		{"--region moon-1", 2, "moon-1"},
		{"--token-life 0s --account=1", 2, `sandbox: --token-life: "0s" is not a duration from 1ms`},
		{"--token-life=-1h", 2, "--token-life: "},
		{"--credential-life=0s", 2, "--credential-life: "},
		{"--latency=-1s", 2, "--latency: "},
		{"--clock-offset soon", 2, "clock-offset"},
		{"--clock-offset -1h --addr 127.0.0.1:port", 1, "port"},
		{"demo", 2, "--refresher: "},
		{"demo --refresher /none --token-life x", 2, "/none"},
		{"demo --refresher / --seconds=-1", 2, "directory"},
		{"demo --help", 0, "--seconds=N"},
		{"--fault ecr:bogus", 2, "valid: access_denied"},
		{"--fault ecr", 2, "SERVICE:KIND"},
		{"--addr 127.0.0.1:port", 1, "port"},
	} {
		var out, errOut buffer
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if code := run(ctx, strings.Fields(row.args), &out, &errOut); code != row.code || !strings.Contains(out.String()+errOut.String(), row.text) {
			t.Errorf("%s: %d\n%s%s", row.args, code, out.String(), errOut.String())
		}
	}
}

func TestServe(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		var out, errOut buffer
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		args := []string{"--fault", "metadata:unavailable:1", "--fault", "ecr:throttled", "--latency", "0s"}
		if quiet {
			args = append([]string{"serve", "--quiet"}, args...)
		}
		code := make(chan int, 1)
		go func() { code <- run(ctx, args, &out, &errOut) }()
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), "Ctrl-C"); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("nothing said: %s%s", out.String(), errOut.String())
			}
		}
		if !strings.Contains(out.String(), "Fault: metadata shows unavailable, 1 times") {
			t.Errorf("the faults are not named:\n%s", out.String())
		}
		_, rest, _ := strings.Cut(out.String(), "export ECS_CONTAINER_METADATA_URI_V4=")
		url, _, _ := strings.Cut(rest, "\n")
		client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
		for _, want := range []int{503, 200} {
			res, err := client.Get(url + "/task")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s: %d, want %d", url, res.StatusCode, want)
			}
		}
		cancel()
		if c := <-code; c != 0 {
			t.Errorf("code %d: %s", c, errOut.String())
		}
		if got := strings.Count(out.String(), "GET metadata GetMetadata"); got != map[bool]int{false: 2, true: 0}[quiet] {
			t.Errorf("quiet %v: %d lines\n%s", quiet, got, out.String())
		}
	}
}
