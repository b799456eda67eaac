//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
)

// document is a config.json with n members in auths.
func document(n int, member func(i int) string) string {
	var b strings.Builder
	b.WriteString(`{"auths":{`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(member(i))
	}
	b.WriteString("}}")
	return b.String()
}

// TestMemoryWithHostileFiles puts files into the volume that are made to exhaust the memory that deploy/taskdef.json gives, starts
// the refresher anew with them in place, and floods /status. It must live, renew the output that is well, and say what is wrong.
func TestMemoryWithHostileFiles(t *testing.T) {
	login := base64.StdEncoding.EncodeToString([]byte("joe:" + strings.Repeat("x", 60)))
	tiny := document(400_000, func(int) string { return `"":0` })
	ordinary := document(5_500_000/140, func(i int) string { return fmt.Sprintf(`"registry-%d.example.com":{"auth":"%s"}`, i, login) })
	long := `{"x":"` + strings.Repeat("y", 6<<20) + `"}`
	dense := document(19_990, func(i int) string { return fmt.Sprintf(`"%0120d.example.com":{"auth":"%s"}`, i, login[:28]) })
	padded := func(filler string) string { // the largest that is read
		return strings.TrimSuffix(dense, "}}") + `},"x":"` + strings.Repeat(filler, 4_190_000-len(dense)) + `"}`
	}
	write := func(name, content string) func(dir string) error {
		return func(dir string) error { // by a rename: of a file that is half written the refresher would make a good one
			if err := os.WriteFile(filepath.Join(dir, "foreign"), []byte(content), 0o666); err != nil {
				return err
			}
			return os.Rename(filepath.Join(dir, "foreign"), filepath.Join(dir, name))
		}
	}
	for _, c := range []struct {
		name             string
		put              func(dir string) error
		healthz, readyz  int
		good             string // the output that must be renewed
		class            string
		whileItIsFlooded func(dir string) error
	}{
		{name: "400,000 tiny logins in the first output", put: write("config.json", tiny), healthz: 503, readyz: 503, good: "second.json", class: "output_invalid"},
		{name: "400,000 tiny logins in the second output", put: write("second.json", tiny), healthz: 200, readyz: 503, good: "config.json", class: "output_invalid"},
		{name: "5.5 MB of ordinary logins in the first output", put: write("config.json", ordinary), healthz: 503, readyz: 503, good: "second.json", class: "output_invalid"},
		{name: "5.5 MB of ordinary logins in the second output", put: write("second.json", ordinary), healthz: 200, readyz: 503, good: "config.json", class: "output_invalid"},
		{name: "a string of 6 MiB in the first output", put: write("config.json", long), healthz: 503, readyz: 503, good: "second.json", class: "output_invalid"},
		{name: "the most that is read, in both outputs", put: func(dir string) error {
			if err := write("second.json", padded("y"))(dir); err != nil {
				return err
			}
			return write("config.json", padded("y"))(dir)
		}, healthz: 200, readyz: 200, good: "config.json"},
		{name: "the most that is read, another content all the time", put: write("config.json", padded("y")), good: "second.json",
			whileItIsFlooded: func(dir string) error {
				return write("config.json", padded(string(rune('a'+time.Now().UnixNano()%26))))(dir)
			}},
		{name: "a state file of 60 MB", put: write(".config.json.state", `{"version":2,"tokens":[`+strings.Repeat("{},", 20_000_000)+"{}]}\n"), healthz: 200, readyz: 200, good: "config.json"},
		{name: "300,000 foreign files with long names", put: func(dir string) error {
			for i := range 300_000 {
				f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%0240d", i)))
				if err != nil {
					return err
				}
				_ = f.Close()
			}
			return nil
		}, healthz: 200, readyz: 200, good: "config.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, sandbox.Config{TokenLife: 20 * time.Second})
			def := alone(readDefinition(t, "taskdef.json"))
			r := def.refresher()
			r.setenv("REFRESHER_OUTPUTS", "/run/ecr/config.json /run/ecr/second.json")
			r.setenv("REFRESHER_RENEW_AT", "0.1")
			k := w.newTask(t, def)
			if err := k.start(); err != nil {
				t.Fatal(err)
			}
			addr := "http://" + net.JoinHostPort(k.ip(), "9327")
			client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			get := func(path string) (int, string) {
				res, err := client.Get(addr + path)
				if err != nil {
					return 0, err.Error()
				}
				defer res.Body.Close()
				b, _ := io.ReadAll(res.Body)
				return res.StatusCode, string(b)
			}
			ready := func(want int) func() bool { return func() bool { code, _ := get("/readyz"); return code == want } }
			until(t, time.Minute, "it is ready", ready(200))
			dir := docker(t, "volume", "inspect", "--format", "{{.Mountpoint}}", k.refresherVolume())
			token := func() string { b, _ := os.ReadFile(filepath.Join(dir, c.good)); return string(b) }
			g := k.group("refresher")
			if err := c.put(dir); err != nil {
				t.Fatal(err)
			}
			flood := func(d time.Duration) (asked int64) {
				var n atomic.Int64
				var all sync.WaitGroup
				stop := make(chan struct{})
				time.AfterFunc(d, func() { close(stop) })
				for i := range 16 {
					all.Go(func() {
						for every(time.Millisecond, stop) {
							get([]string{"/status", "/"}[i%2])
							n.Add(1)
						}
					})
				}
				if c.whileItIsFlooded != nil {
					all.Go(func() {
						for every(20*time.Millisecond, stop) {
							if err := c.whileItIsFlooded(dir); err != nil {
								t.Error(err)
							}
						}
					})
				}
				all.Wait()
				return n.Load()
			}
			asked, before := flood(4*time.Second), token()
			alive := func(when string) {
				t.Helper()
				if s := k.state("refresher"); s.Status != "running" || s.OOMKilled || g.kills() != 0 {
					t.Fatalf("%s: %+v, %d kills", when, s, g.kills())
				}
			}
			alive("with the file put into the volume")
			docker(t, "restart", "-t", "5", k.id("refresher"))
			g = k.group("refresher")
			asked += flood(4 * time.Second)
			alive("after a restart with the file in place")
			until(t, 20*time.Second, c.good+" is renewed", func() bool { return token() != before })
			if c.whileItIsFlooded != nil {
				proved(t, "%s: lives, renews the other output; peak %s, %d questions", c.name, mib(g.peak()), asked)
				return
			}
			until(t, 30*time.Second, "/readyz says so", ready(c.readyz))
			code, text := get("/healthz")
			_, status := get("/status")
			if code != c.healthz || !strings.Contains(status, c.class) || code == 503 && !strings.Contains(text, "config.json") {
				t.Errorf("/healthz %d %s; /status %.3000s", code, text, status)
			}
			proved(t, "%s: lives, renews the other output, /healthz %d, /readyz %d; peak %s of %d MiB, %d questions",
				c.name, c.healthz, c.readyz, mib(g.peak()), r.Memory, asked)
		})
	}
}
