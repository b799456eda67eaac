package doctor

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"ecr-refresher/internal/registry"
)

const host = "123456789012.dkr.ecr.us-west-2.amazonaws.com"

// inVolume is a configuration whose output is in a directory of its own, with this content; empty is no file. The mount table
// says that the directory is a mount.
func inVolume(t *testing.T, content string) Config {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	if content != "" {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{Outputs: []Output{{Path: path, Mode: 0o644}}, Registries: specs(t, host), ConsumerUID: -1}
	return mountTable(t, cfg, "/data "+dir+" ext4 /dev/nvme1n1")
}

func specs(t *testing.T, text string) []registry.Spec {
	t.Helper()
	s, err := registry.ParseSpecs(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mountTable writes lines of root, mount point, type and device as the kernel does.
func mountTable(t *testing.T, cfg Config, lines ...string) Config {
	t.Helper()
	var b strings.Builder
	for i, l := range append([]string{"/ / overlay overlay"}, lines...) {
		f := strings.Fields(l)
		fmt.Fprintf(&b, "%d 1 8:1 %s %s rw,relatime shared:1 - %s %s rw\n", i+20, f[0], f[1], f[2], f[3])
	}
	cfg.MountInfo = filepath.Join(t.TempDir(), "mountinfo")
	if err := os.WriteFile(cfg.MountInfo, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// look runs one check; what the others would have found out is given.
func look(t *testing.T, id string, cfg Config, given ...func(*exam)) []Result {
	t.Helper()
	e := newExam(cfg, make(chan struct{}, 1))
	e.specs = cfg.Registries
	for _, g := range given {
		g(e)
	}
	for _, c := range Checks() {
		if c.ID == id {
			return e.one(t.Context(), c)
		}
	}
	t.Fatalf("no check %s", id)
	return nil
}

// want holds one result against what it must say.
func want(t *testing.T, got []Result, status Status, seen, cure string) {
	t.Helper()
	for _, r := range got {
		if r.Status == status && strings.Contains(r.Seen, seen) && strings.Contains(r.Cure, cure) && (status == OK || status == Skip || r.Cure != "") {
			return
		}
	}
	t.Errorf("got %+v\nwant %s, seen %q, cure %q", got, status, seen, cure)
}

func entry(user string) string {
	return `{"auth": "` + base64.StdEncoding.EncodeToString([]byte(user+":password")) + `"}`
}

// Each check of the volume, in a directory that has this one thing wrong.
func TestVolume(t *testing.T) {
	good := `{"auths": {"` + host + `": ` + entry("AWS") + `}}`
	for _, tt := range []struct {
		name, id, content string
		spoil             func(t *testing.T, cfg *Config)
		status            Status
		seen, cure        string
	}{
		{name: "there", id: "volume", status: OK, seen: "is there"},
		{name: "missing", id: "volume", spoil: func(_ *testing.T, c *Config) { c.Outputs[0].Path = "/nowhere/at/all/config.json" },
			status: Fail, seen: "is not there", cure: `"containerPath": "/nowhere/at/all"`},
		{name: "below a file", id: "volume", content: good, spoil: func(_ *testing.T, c *Config) { c.Outputs[0].Path += "/config.json" },
			status: Fail, seen: "none", cure: "REFRESHER_OUTPUTS="},
		{name: "own", id: "mount", status: OK, seen: "a mount of its own"},
		{name: "below another", id: "mount", spoil: func(t *testing.T, c *Config) {
			*c = mountTable(t, *c, "/x "+filepath.Dir(dirOf(c.Outputs[0]))+" nfs4 fs-1:/")
		}, status: OK, seen: "on the mount"},
		{name: "none", id: "mount", spoil: func(t *testing.T, c *Config) { *c = mountTable(t, *c) },
			status: Warn, seen: "no other container sees", cure: `"sourceVolume"`},
		{name: "tmpfs", id: "mount", spoil: func(t *testing.T, c *Config) { *c = mountTable(t, *c, "/ "+dirOf(c.Outputs[0])+" tmpfs tmpfs") },
			status: Warn, seen: "one container", cure: `"sourceVolume"`},
		{name: "a name like it", id: "mount", spoil: func(t *testing.T, c *Config) {
			*c = mountTable(t, *c, "/x "+dirOf(c.Outputs[0])[:len(dirOf(c.Outputs[0]))-1]+" ext4 /dev/x")
		}, status: Warn, seen: "no other container sees"},
		{name: "unknown", id: "mount", spoil: func(_ *testing.T, c *Config) { c.MountInfo = "/nowhere" }, status: Skip, seen: "not known"},
		{name: "no", id: "file_mount", content: good, status: OK, seen: "its directory is shared"},
		{name: "yes", id: "file_mount", content: good, spoil: func(t *testing.T, c *Config) { *c = mountTable(t, *c, "/f "+c.Outputs[0].Path+" ext4 /dev/x") },
			status: Fail, seen: "cannot be replaced", cure: "share the directory"},
		{name: "ours", id: "owner", status: OK, seen: "we are uid"},
		{name: "everybody's", id: "owner", spoil: func(t *testing.T, c *Config) { chmod(t, dirOf(c.Outputs[0]), 0o777) },
			status: Warn, seen: "may replace", cure: "chmod o-w"},
		{name: "sticky", id: "owner", spoil: func(t *testing.T, c *Config) { chmod(t, dirOf(c.Outputs[0]), 0o777|os.ModeSticky) }, status: OK},
		{name: "yes", id: "writable", status: OK, seen: "removed"},
		{name: "a link out", id: "writable", spoil: func(t *testing.T, c *Config) {
			if err := os.Symlink("/etc/passwd", c.Outputs[0].Path); err != nil {
				t.Fatal(err)
			}
		}, status: Fail, seen: "leads out", cure: "relative link"},
		{name: "enough", id: "space", status: OK, seen: "free"},
		{name: "full", id: "space", spoil: space(4096, 9), status: Fail, seen: "output_full: 4 KiB free", cure: "ephemeralStorage"},
		{name: "too little for this file", id: "space", content: `{"x": "` + strings.Repeat("x", 200<<10) + `"}`, spoil: space(200<<10, 9), status: Fail, seen: "328 KiB are needed", cure: "free space"},
		{name: "no inode", id: "space", spoil: space(1<<30, 0), status: Fail, seen: "no inode", cure: "free space"},
		{name: "little", id: "space", spoil: space(5<<20, 9), status: Warn, seen: "5 MiB", cure: "free space"},
		{name: "unknown", id: "space", spoil: func(_ *testing.T, c *Config) {
			c.Room = func(string) (uint64, uint64, error) { return 0, 0, errors.New("stale handle") }
		}, status: Fail, seen: "stale handle", cure: "reachable"},
		{name: "none", id: "document", status: OK, seen: "none yet"},
		{name: "good", id: "document", content: good, status: OK, seen: "1 of our 1"},
		{name: "no JSON", id: "document", content: `{"auths": {`, status: Fail, seen: "output_invalid: 1:12: expected", cure: "mend or delete"},
		{name: "everybody", id: "consumer", content: good, status: OK, seen: "every user"},
		{name: "not yet there", id: "consumer", spoil: func(_ *testing.T, c *Config) { c.Outputs[0].Mode = 0o600 }, status: Warn, seen: "once it is there", cure: "REFRESHER_OUTPUT_MODE=0644"},
		{name: "another user", id: "consumer", content: good, spoil: func(t *testing.T, c *Config) { chmod(t, c.Outputs[0].Path, 0o640); c.ConsumerUID = 4711 },
			status: Fail, seen: "uid 4711 cannot read it", cure: "REFRESHER_OUTPUT_MODE=0644"},
		{name: "the owner", id: "consumer", content: good, spoil: func(t *testing.T, c *Config) {
			chmod(t, c.Outputs[0].Path, 0o600)
			chmod(t, dirOf(c.Outputs[0]), 0o700)
			c.ConsumerUID = os.Geteuid()
		}, status: OK},
		{name: "closed directory", id: "consumer", content: good, spoil: func(t *testing.T, c *Config) { chmod(t, dirOf(c.Outputs[0]), 0o700); c.ConsumerUID = 4711 },
			status: Fail, seen: "cannot enter", cure: "chmod o+x"},
		{name: "closed directory, any consumer", id: "consumer", content: good, spoil: func(t *testing.T, c *Config) { chmod(t, dirOf(c.Outputs[0]), 0o700) },
			status: Warn, seen: "another user (--consumer-uid says which) cannot enter the directory", cure: "chmod o+x"},
		{name: "closed file, any consumer", id: "consumer", content: good, spoil: func(t *testing.T, c *Config) { chmod(t, c.Outputs[0].Path, 0o640) },
			status: Warn, seen: "another user (--consumer-uid says which) cannot read it", cure: "REFRESHER_OUTPUT_MODE=0644"},
		{name: "root", id: "consumer", content: good, spoil: func(t *testing.T, c *Config) { chmod(t, c.Outputs[0].Path, 0o600); c.ConsumerUID = 0 }, status: OK},
		{name: "none", id: "helpers", content: good, status: OK},
		{name: "store", id: "helpers", content: `{"credsStore": "desktop"}`, status: Fail, seen: "docker-credential-desktop", cure: `"credHelpers": {"` + host + `": ""}`},
		{name: "excepted", id: "helpers", content: `{"credsStore": "desktop", "credHelpers": {"` + host + `": ""}}`, status: OK},
		{name: "helper", id: "helpers", content: `{"credHelpers": {"` + host + `": "ecr-login"}}`, status: Fail, seen: host + " by docker-credential-ecr-login", cure: "remove"},
		{name: "another's helper", id: "helpers", content: `{"credHelpers": {"gcr.io": "gcloud"}}`, status: OK},
		{name: "of an optional one", id: "helpers", content: `{"credsStore": "desktop"}`, spoil: func(t *testing.T, c *Config) { c.Registries = specs(t, host+"?optional") },
			status: Warn, seen: "docker-credential-desktop"},
		{name: "good", id: "foreign_auths", content: good, status: OK},
		{name: "broken", id: "foreign_auths", content: `{"auths": {"ghcr.io": {"auth": "hunter2!"}}}`, status: Fail, seen: `auths["ghcr.io"]: its auth is not base64 of USER:PASSWORD`, cure: `jq 'del(.auths["ghcr.io"])'`},
		{name: "broken with a password as its key", id: "foreign_auths", content: `{"auths": {"me:hunter2@ghcr.io": 1}}`, status: Fail, seen: "…@ghcr.io"},
		{name: "broken with a key that ends the shell's quotes", id: "foreign_auths", content: `{"auths": {"a'; rm -rf /; '": 1}}`, status: Fail, seen: "it is not an object"},
		{name: "another member that is broken", id: "foreign_auths", content: `{"credHelpers": 5}`, status: Fail, seen: "skopeo", cure: `jq 'del(.credHelpers)'`},
		{name: "a login for a repository of ours", id: "foreign_auths", content: `{"auths": {"` + host + `/team": {"auth": "YTpi"}}}`, status: Warn, seen: "podman"},
		{name: "ours", id: "writers", content: good, status: OK, seen: "written by uid"},
		{name: "none", id: "writers", status: OK, seen: "nobody"},
	} {
		t.Run(tt.id+"/"+tt.name, func(t *testing.T) {
			cfg := inVolume(t, tt.content)
			if tt.spoil != nil {
				tt.spoil(t, &cfg)
			}
			got := look(t, tt.id, cfg)
			want(t, got, tt.status, tt.seen, tt.cure)
			if len(got) != 1 || got[0].Of != cfg.Outputs[0].Path {
				t.Errorf("of %+v", got)
			}
			if strings.Contains(fmt.Sprint(got), "hunter2") {
				t.Error("a secret is told")
			}
			if left, _ := filepath.Glob(dirOf(cfg.Outputs[0]) + "/.*"); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func space(bytes, files uint64) func(*testing.T, *Config) {
	return func(_ *testing.T, c *Config) {
		c.Room = func(string) (uint64, uint64, error) { return bytes, files, nil }
	}
}

// What only root can prepare: a file and a directory of another user.
func TestOtherOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	cfg := inVolume(t, `{}`)
	if err := os.Chown(cfg.Outputs[0].Path, 4711, 4711); err != nil {
		t.Fatal(err)
	}
	want(t, look(t, "writers", cfg), Warn, "uid 4711", `"readOnly": true`)
	if got := aboutOwner("/d", 4711, 65532, 0o755); got.Status != Warn || !strings.Contains(got.Cure, `"user": "4711"`) {
		t.Errorf("%+v", got)
	}
}

func TestOwner(t *testing.T) {
	for _, tt := range []struct {
		uid, us int
		status  Status
	}{{1, 1, OK}, {1, 0, OK}, {0, 1, Warn}, {2, 1, Warn}} {
		if got := aboutOwner("/d", tt.uid, tt.us, 0o755); got.Status != tt.status {
			t.Errorf("%d, %d: %+v", tt.uid, tt.us, got)
		}
	}
}

// A directory that is not there is told once.
func TestMissingVolumeIsToldOnce(t *testing.T) {
	cfg := inVolume(t, "")
	cfg.Outputs[0].Path = "/nowhere/config.json"
	for _, f := range Watch(cfg)(t.Context()) {
		if f.Of != cfg.Outputs[0].Path {
			continue
		}
		if wanted := map[bool]Status{true: Fail, false: Skip}[f.ID == "volume"]; f.Status != wanted {
			t.Errorf("%s: %+v", f.ID, f.Result)
		}
	}
}

// A file system that hangs is waited for once, keeps one goroutine however often it is asked, and says so.
func TestHungFileSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := inVolume(t, "")
		release := make(chan struct{})
		var inside atomic.Int32
		cfg.Room = func(string) (uint64, uint64, error) {
			inside.Add(1)
			<-release
			return 0, 0, nil
		}
		watch := Watch(cfg)
		start := time.Now()
		var goroutines [2]int
		for i := range goroutines {
			findings := watch(t.Context())
			synctest.Wait()
			goroutines[i] = runtime.NumGoroutine()
			seen := fmt.Sprint(findings)
			if !strings.Contains(seen, "the file system does not answer") || !strings.Contains(seen, "skipped because the file system does not answer") {
				t.Error(seen)
			}
		}
		if n, d := inside.Load(), time.Since(start); n != 1 || d != 2*diskMost || goroutines[0] != goroutines[1] {
			t.Errorf("asked %d times, within %s, by %d goroutines", n, d, goroutines)
		}
		close(release)
		synctest.Wait()
		if findings := fmt.Sprint(watch(t.Context())); strings.Contains(findings, "does not answer") {
			t.Errorf("it does not recover: %s", findings)
		}
	})
}

func TestEnvironment(t *testing.T) {
	const inTask = relativeURI + "=/v2/credentials/1"
	pem := filepath.Join(t.TempDir(), "no.pem")
	if err := os.WriteFile(pem, []byte("no certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		id         string
		env        string // separated by spaces
		status     Status
		seen, cure string
	}{
		{"settings", "", OK, "no REFRESHER_ variable", ""},
		{"settings", "REFRESHER_VERIFY=off", OK, "REFRESHER_VERIFY", ""},
		{"role_hidden", inTask, OK, "none of", ""},
		{"role_hidden", "AWS_PROFILE=dev", OK, "no task role", ""},
		{"role_hidden", inTask + " AWS_PROFILE=dev", Warn, "AWS_PROFILE", "remove it"},
		{"role_hidden", inTask + " AWS_ACCESS_KEY_ID=x AWS_WEB_IDENTITY_TOKEN_FILE=y", Warn, "AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE", "remove it"},
		{"proxy", "", OK, "no proxy", ""},
		{"proxy", "HTTPS_PROXY=http://u:hunter2@p:3128 NO_PROXY=a,169.254.170.2", OK, "by way of p:3128", ""},
		{"proxy", "https_proxy=p:3128 no_proxy=169.254.0.0/16", OK, "by way of p:3128", ""},
		{"proxy", "https_proxy=p:3128 NO_PROXY=*", OK, "by way of p:3128", ""},
		{"proxy", "HTTP_PROXY=http://u:hunter2@p:3128 NO_PROXY=a.example", Warn, "does not name 169.254.170.2", "NO_PROXY=169.254.170.2,a.example"},
		{"proxy", "HTTPS_PROXY=http://u:hunter2@p:31x28", Fail, "HTTPS_PROXY is not a valid URL", "http://HOST:PORT"},
		{"proxy", "https_proxy=http://u:hunter2%zz@p:3128", Fail, "https_proxy is not a valid URL", "%25"},
		{"proxy", "NO_PROXY=https://a.example", Warn, "NO_PROXY entry 1", "commas"},
		{"proxy", "ALL_PROXY=http://u:hunter2@p:3128", Warn, "ALL_PROXY is not used", "HTTPS_PROXY"},
		{"proxy", "HTTPS_PROXY=http://a:1 https_proxy=http://b:1 NO_PROXY=*", Warn, "differ", "same value"},
		{"ca_bundle", "", OK, "system's", ""},
		{"ca_bundle", "AWS_CA_BUNDLE=/nowhere.pem", Fail, "AWS_CA_BUNDLE: open /nowhere.pem", "mount the certificates"},
		{"ca_bundle", "SSL_CERT_FILE=" + pem, Fail, "no certificate", "remove SSL_CERT_FILE"},
		{"region", "", Fail, "nobody says", "AWS_REGION="},
		{"region", "AWS_DEFAULT_REGION=eu-west-1", OK, "eu-west-1, by AWS_DEFAULT_REGION", ""},
		{"region", "AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=us-east-1", Warn, "eu-west-1, by AWS_REGION; but AWS_DEFAULT_REGION says us-east-1", "remove AWS_REGION"},
		{"region", "AWS_REGION=eu-west-1a", Fail, "no AWS region", "AWS_REGION"},
		{"metadata", "", Fail, metadataURI + " is not set", "REFRESHER_REGISTRIES="},
		{"endpoint", "", Fail, "no_credentials", `"taskRoleArn"`},
		{"endpoint", "AWS_PROFILE=dev", Skip, "AWS_PROFILE is used", ""},
		{"endpoint", fullURI + "=://hunter2", Fail, "not a URL", "ECS does"},
		{"endpoint", fullURI + "=http://127.0.0.1:1/hunter2", Fail, "127.0.0.1:1: dial tcp", "ECS agent runs"},
		{"endpoint", fullURI + "=http://127.0.0.1:1/ AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/nowhere", Fail, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "mount the file"},
	} {
		t.Run(tt.id+" "+tt.env, func(t *testing.T) {
			got := look(t, tt.id, Config{Environ: strings.Fields(tt.env)})
			want(t, got, tt.status, tt.seen, tt.cure)
			if strings.Contains(fmt.Sprint(got), "hunter2") {
				t.Error("a secret is told")
			}
		})
	}
	want(t, look(t, "settings", Config{Problems: []string{"REFRESHER_X: unknown setting; did you mean REFRESHER_Y?"}}), Fail, "unknown setting", "did you mean")
	want(t, look(t, "metadata", Config{Registries: specs(t, host)}), Warn, "is not set", "")
	want(t, look(t, "region", Config{Registries: specs(t, host)}), OK, "us-west-2, by the name", "")
	want(t, look(t, "endpoint", Config{AllowInstanceRole: true}), Skip, "instance", "")
}

func TestHostClock(t *testing.T) {
	task := func(status string, bound time.Duration) func(*exam) {
		return func(e *exam) { e.task = &Task{ClockStatus: status, ClockBound: bound} }
	}
	want(t, look(t, "host_clock", Config{}), Skip, "metadata", "")
	want(t, look(t, "host_clock", Config{}, task("", 0)), OK, "does not measure", "")
	want(t, look(t, "host_clock", Config{}, task("SYNCHRONIZED", time.Millisecond)), OK, "at most 1ms", "")
	want(t, look(t, "host_clock", Config{}, task("SYNCHRONIZED", 3*time.Second)), Warn, "3s", "169.254.169.123")
	want(t, look(t, "host_clock", Config{}, task("NOT_SYNCHRONIZED", 0)), Warn, "NOT_SYNCHRONIZED", "169.254.169.123")
}

func TestClock(t *testing.T) {
	by := func(offs ...time.Duration) func(*exam) {
		return func(e *exam) {
			for _, d := range offs {
				e.skews = append(e.skews, skew{"h", d})
			}
		}
	}
	want(t, look(t, "clock", Config{}), Skip, "api", "")
	want(t, look(t, "clock", Config{}, by(time.Second)), OK, "within a second", "")
	want(t, look(t, "clock", Config{}, by(-4*time.Second)), OK, "4s behind", "")
	want(t, look(t, "clock", Config{}, by(6*time.Second)), Warn, "6s ahead", "chrony")
	want(t, look(t, "clock", Config{}, by(-6*time.Minute)), Fail, "clock_skew: the local clock is 6m0s behind", "chrony")
	want(t, look(t, "clock", Config{}, by(time.Hour, 0, 0)), OK, "within", "") // one host's clock is wrong
}

func TestPort(t *testing.T) {
	answer := func(body string) Config {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
		t.Cleanup(s.Close)
		return Config{Listen: s.Listener.Addr().String(), StatusURL: s.URL + "/status"}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	want(t, look(t, "port", Config{Listen: free.Addr().String()}), OK, "is free", "")
	want(t, look(t, "port", Config{Listen: "192.0.2.1:9327"}), Fail, "cannot assign", "REFRESHER_LISTEN")
	want(t, look(t, "port", Config{}), Skip, "settings", "")
	want(t, look(t, "port", answer("hello")), Fail, "it is no refresher", "REFRESHER_LISTEN=:9328")
	want(t, look(t, "port", answer(`{"version": "1.2.3", "healthy": true}`)), OK, "a refresher 1.2.3", "")

	status := func(body string) func(*exam) {
		return func(e *exam) {
			if err := json.Unmarshal([]byte(body), &e.status); err != nil {
				t.Fatal(err)
			}
		}
	}
	want(t, look(t, "neighbour", Config{}), Skip, "port", "")
	want(t, look(t, "neighbour", Config{}, status(`{"healthy": true, "ready": true, "outputs": [{"path": "/a/b", "repairs": 3}]}`)), OK, "repaired 3 times", "")
	want(t, look(t, "neighbour", Config{}, status(`{"healthy": false, "reasons": ["no entry"]}`)), Fail, "no entry", "log")
	want(t, look(t, "neighbour", Config{}, status(`{"healthy": true, "ready": false, "reasons": ["hidden"]}`)), Warn, "not ready: hidden", "log")
	want(t, look(t, "neighbour", Config{}, status(`{"healthy": true, "outputs": [{"path": "/a/b", "contested": true, "repairs": 9}]}`)), Warn, "9 times", `"containerPath": "/a", "readOnly": true`)
}

// A credential endpoint that answers in every way that it should not. What it sends is a secret: nothing of it is told.
func TestEndpoint(t *testing.T) {
	const keys = `"AccessKeyId": "hunter2", "SecretAccessKey": "hunter2", "Token": "hunter2"`
	for _, tt := range []struct {
		name       string
		status     int
		body       string
		want       Status
		seen, cure string
	}{
		{"good", 200, `{"RoleArn": "arn:aws:iam::1:role/a", ` + keys + `}`, OK, "for arn:aws:iam::1:role/a", ""},
		{"starting", 503, `{"code": "CredentialsUninitialized", "message": "not yet"}`, Fail, "status 503 CredentialsUninitialized: not yet", "ecs-tasks.amazonaws.com"},
		{"not JSON", 200, `<html>hunter2`, Fail, "not that of the ECS agent", "what else listens"},
		{"redirect", 302, `{` + keys + `}`, Fail, "status 302", "taskRoleArn"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "login" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
			}))
			defer s.Close()
			got := look(t, "endpoint", Config{Environ: []string{fullURI + "=" + s.URL + "/hunter2", "AWS_CONTAINER_AUTHORIZATION_TOKEN=login"}})
			want(t, got, tt.want, tt.seen, tt.cure)
			if strings.Contains(fmt.Sprint(got), "hunter2") {
				t.Errorf("a secret is told: %+v", got)
			}
		})
	}
}

// A run that is stopped does not look like one that found nothing.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stopped"))
	findings := Run(ctx, inVolume(t, ""))
	if !Failed(findings) || len(findings) != len(Checks()) || !strings.Contains(findings[0].Seen, "stopped") {
		t.Errorf("%+v", findings)
	}
}

func TestTable(t *testing.T) {
	long := strings.Repeat("word ", 40)
	paste := `{"Effect": "Allow", "Action": "` + strings.Repeat("x", 120) + `"}`
	findings := []Finding{
		{"settings", "?", Result{Status: OK, Seen: long}},
		{"volume", "?", Result{Of: "/a/b", Status: OK, Seen: "it is there"}},
		{"space", "?", Result{Of: "/a/b", Status: Fail, Seen: "full", Cure: long + "\n" + paste}},
		{"token", "?", Result{Of: "ecr", Status: Warn, Seen: "odd", Cure: "see"}},
		{"port", "?", Result{Status: Skip, Seen: "skipped"}},
	}
	var b bytes.Buffer
	if err := Table(&b, findings); err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimSpace(l)); n > width && !strings.Contains(l, paste) {
			t.Errorf("%d columns: %s", n, l)
		}
	}
	for _, text := range []string{"\nok    volume         /a/b: it is there\n", "\nfail  space          full\n", "\n                        " + paste + "\n", "ecr: odd\n", "1 failed, 1 to look at, 2 ok, 1 skipped"} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("no %q in\n%s", text, &b)
		}
	}
	b.Reset()
	if err := JSON(&b, findings); err != nil {
		t.Fatal(err)
	}
	var report struct {
		OK     bool
		Checks []row
	}
	if err := json.Unmarshal(b.Bytes(), &report); err != nil || report.OK || len(report.Checks) != len(findings) {
		t.Fatalf("%v %s", err, &b)
	}
	for i, f := range findings {
		if r := report.Checks[i]; r.Seen != f.Seen || r.Cure != f.Cure || r.Status != f.Status || r.ID != f.ID || r.Of != f.Of {
			t.Errorf("not the same words: %+v, %+v", r, f)
		}
	}
}

// What others wrote cannot steer a terminal.
func TestPrintable(t *testing.T) {
	cfg := inVolume(t, `{"credHelpers": {"`+host+`": "x\u001b[2J\ny"}}`)
	for _, f := range Watch(cfg)(t.Context()) {
		if strings.ContainsAny(f.Of+f.Seen, "\x1b\n") || strings.Contains(f.Cure, "\x1b") {
			t.Errorf("%+v", f)
		}
	}
	if got := printable(strings.Repeat("é", mostText)); len(got) > mostText+3 || !utf8.ValidString(got) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestChecksAreNamed(t *testing.T) {
	var ids []string
	for _, c := range Checks() {
		if slices.Contains(ids, c.ID) || len(c.ID) > 13 || !strings.HasSuffix(c.Title, "?") {
			t.Errorf("%q %q", c.ID, c.Title)
		}
		ids = append(ids, c.ID)
	}
}
