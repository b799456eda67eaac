package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ecr-refresher/internal/sandbox"
)

// A write of which the kernel reports nothing to the watch of the directory is repaired as soon as health has been asked for.
func TestBlindWriteIsRepaired(t *testing.T) {
	t.Parallel()
	junk := []byte(`{"auths":{"` + ownHost + `":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("AWS:junk")) + `"}}}`)
	for name, write := range map[string]func(t *testing.T, path string){
		"through another name": func(t *testing.T, path string) {
			other := filepath.Join(filepath.Dir(filepath.Dir(path)), "link")
			_ = os.Remove(other)
			if err := os.Link(path, other); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(other, junk, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"through a mapping": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Munmap(b) }()
			at := bytes.Index(b, []byte(`"auth":`)) + len(`"auth": "`) + 20
			b[at] ^= 1 // the page is dirty now, and the next write leaves the file's times as they are
			time.Sleep(20 * time.Millisecond)
			b[at] ^= 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, sandbox.Config{})
			p.start()
			p.until("it is healthy", func() bool { code, _ := p.get("/healthz"); return code == 200 })
			good, err := os.ReadFile(p.file())
			if err != nil {
				t.Fatal(err)
			}
			entry := regexp.MustCompile(`"[A-Za-z0-9+/=]{100,}"`).FindString(string(good))
			whole := func() bool { now, _ := os.ReadFile(p.file()); return strings.Contains(string(now), entry) }
			write(t, p.file())
			p.until("health has seen it, or it is repaired", func() bool {
				code, _ := p.get("/healthz")
				return code == 503 || whole()
			})
			p.until("it is repaired", whole)
			p.stop()
		})
	}
}

// forge writes a login into the file, and a state file that claims it for the task.
func (p *program) forge(login string) {
	p.t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(login))
	state, err := os.ReadFile(filepath.Join(p.dir, ".config.json.state"))
	if err != nil {
		p.t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(state), "\n")
	var s map[string]any
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		p.t.Fatal(err)
	}
	token := s["tokens"].([]any)[0].(map[string]any)
	now := time.Now().UTC()
	token["issued"], token["expires"] = now, now.Add(12*time.Hour)
	token["sha256"] = fmt.Sprintf("%x", sha256.Sum256([]byte(auth)))
	forged, err := json.Marshal(s)
	if err != nil {
		p.t.Fatal(err)
	}
	for path, content := range map[string]string{
		p.file(): `{"auths":{"` + ownHost + `":{"auth":"` + auth + `"}}}`,
		filepath.Join(p.dir, ".config.json.state"): fmt.Sprintf("%s\n\"%x\"\n", forged, sha256.Sum256(forged)),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

// A forged state file is believed for an hour at most: the adopted token is shown as such, and its renewal is planned within the hour.
func TestForgedStateIsBelievedForAnHour(t *testing.T) {
	t.Parallel()
	p := newProgram(t, sandbox.Config{}, "REFRESHER_VERIFY=off")
	if code := p.command("once"); code != exitOK {
		t.Fatalf("once: %d", code)
	}
	p.forge("AWS:somebody's own")
	p.start()
	p.until("it is healthy", func() bool { code, _ := p.get("/healthz"); return code == 200 })
	var status struct {
		Now        time.Time
		Registries []struct {
			Adopted     bool
			NextRefresh time.Time `json:"next_refresh"`
		}
	}
	_, body := p.get("/status")
	if err := json.Unmarshal([]byte(body), &status); err != nil || len(status.Registries) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	if r := status.Registries[0]; !r.Adopted || r.NextRefresh.IsZero() || r.NextRefresh.Sub(status.Now) > time.Hour {
		t.Errorf("adopted %t, to be renewed in %s", r.Adopted, r.NextRefresh.Sub(status.Now))
	}
	if n := p.aws.Calls()["ecr:GetAuthorizationToken"]; n != 1 {
		t.Errorf("%d calls: one by once, and none at the start", n)
	}
	p.signal(1) // SIGHUP: AWS answers, and the login of somebody else is gone
	p.until("the token is AWS's", func() bool {
		b, _ := os.ReadFile(p.file())
		return !strings.Contains(string(b), base64.StdEncoding.EncodeToString([]byte("AWS:somebody's own")))
	})
	p.until("it is not adopted any more", func() bool { _, body := p.get("/status"); return !strings.Contains(body, `"adopted": true`) })
	p.stop()
}

// Two processes of one task that keep the same file recognise each other's tokens: both are healthy all the time, and neither fights.
func TestTwoProcessesOfOneTask(t *testing.T) {
	t.Parallel()
	p := newProgram(t, sandbox.Config{TokenLife: 20 * time.Second})
	p.start()
	p.until("the first is healthy", func() bool { code, _ := p.get("/healthz"); return code == 200 })
	q := &program{t: t, aws: p.aws, dir: p.dir}
	addr := freeAddr(t)
	q.url = "http://" + addr
	q.environ = append(append([]string(nil), p.environ...), "REFRESHER_LISTEN="+addr)
	q.start()
	q.until("the second is healthy", func() bool { code, _ := q.get("/healthz"); return code == 200 })
	began := p.aws.Calls()["ecr:GetAuthorizationToken"]
	bad := map[string]int{}
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline) || p.aws.Calls()["ecr:GetAuthorizationToken"] < began+2; time.Sleep(100 * time.Millisecond) {
		for _, one := range []*program{p, q} {
			if code, body := one.get("/readyz"); code != http.StatusOK {
				bad[body]++
			}
		}
		if time.Since(deadline) > 20*time.Second {
			t.Fatal("no renewal")
		}
	}
	// A probe may fall between a rename and the look that follows it.
	for why, n := range bad {
		if n > 2 {
			t.Errorf("%d of the answers: %s", n, why)
		}
	}
	p.stop()
	q.stop()
}
