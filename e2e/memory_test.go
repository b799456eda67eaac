//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
)

// group is a container's cgroup, which counts all that runs in the container: the refresher, its health checks, and what the
// engine starts them with.
type group struct {
	t   testing.TB
	dir string
	v2  bool
}

// group finds the cgroup of a running container.
func (k *task) group(name string) group {
	k.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%s/cgroup", docker(k.t, "inspect", "--format", "{{.State.Pid}}", k.id(name))))
	if err != nil {
		k.t.Fatal(err)
	}
	var g group
	for line := range strings.Lines(string(text)) {
		switch f := strings.SplitN(strings.TrimSpace(line), ":", 3); {
		case f[1] == "memory":
			return group{k.t, filepath.Join("/sys/fs/cgroup/memory", f[2]), false}
		case f[0] == "0":
			g = group{k.t, filepath.Join("/sys/fs/cgroup", f[2]), true}
		}
	}
	return g
}

// value is a file of the cgroup, or one line of it, by its name in version 1 and in version 2.
func (g group) value(v1, v2 string) int64 {
	file, key, _ := strings.Cut(map[bool]string{false: v1, true: v2}[g.v2], ":")
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		g.t.Error(err)
		return 0
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if key == "" || f[0] == key {
			n, _ := strconv.ParseInt(f[len(f)-1], 10, 64)
			return n
		}
	}
	g.t.Errorf("%s/%s has no line %s", g.dir, file, key)
	return 0
}

func (g group) peak() int64  { return g.value("memory.max_usage_in_bytes", "memory.peak") }
func (g group) anon() int64  { return g.value("memory.stat:rss", "memory.stat:anon") }
func (g group) kills() int64 { return g.value("memory.oom_control:oom_kill", "memory.events:oom_kill") }

// kernel is what the kernel holds for the container, in its sockets too.
func (g group) kernel() int64 {
	return g.value("memory.kmem.usage_in_bytes", "memory.stat:kernel") + g.value("memory.kmem.tcp.usage_in_bytes", "memory.stat:sock")
}

// watch looks, until it is told to stop, at that of which the kernel keeps no peak: anonymous memory, and with the kernel's own all
// that is kept, whoever else wants it. Without swap, the rest is pages of files.
func (g group) watch(stop <-chan struct{}, anon, kept *atomic.Int64) {
	for every(10*time.Millisecond, stop) {
		now := g.anon()
		anon.Store(max(anon.Load(), now))
		kept.Store(max(kept.Load(), now+g.kernel()))
	}
}

// every waits; false when there is to be no other time.
func every(d time.Duration, stop <-chan struct{}) bool {
	select {
	case <-stop:
		return false
	case <-time.After(d):
		return true
	}
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// crowd is a number of registries, and the names that lead to the sandbox for them.
type crowd struct {
	name       string
	registries []string
	hosts      []string
}

// withRoles is n registries with a role each.
func withRoles(n int) crowd {
	c := crowd{name: fmt.Sprintf("%d registries with a role each", n)}
	for i := range n {
		account := fmt.Sprintf("%012d", 100000000000+i)
		host := account + ".dkr.ecr.us-west-2.amazonaws.com"
		c.registries, c.hosts = append(c.registries, host+"?role_arn=arn:aws:iam::"+account+":role/push"), append(c.hosts, host)
	}
	return c
}

// inRegions is n registries in a number of regions.
func inRegions(n, regions int) crowd {
	c := crowd{name: fmt.Sprintf("%d registries in %d regions", n, regions)}
	if n == 1 {
		c.name = "one registry"
	}
	for i := range n {
		region := fmt.Sprintf("us-west-%d", 1+i%regions)
		host := fmt.Sprintf("%012d.dkr.ecr.%s.amazonaws.com", 100000000000+i, region)
		c.registries, c.hosts = append(c.registries, host), append(c.hosts, host)
		if i < regions {
			c.hosts = append(c.hosts, "api.ecr."+region+".amazonaws.com")
		}
	}
	return c
}

// crowded prepares the refresher of deploy/taskdef.json alone, for a crowd; start starts it.
func (w *world) crowded(t testing.TB, c crowd, memory int64) *task {
	t.Helper()
	def := alone(readDefinition(t, "taskdef.json"))
	r := def.refresher()
	if memory > 0 {
		r.Memory = memory
	}
	r.setenv("REFRESHER_REGISTRIES", strings.Join(c.registries, " "))
	task := w.newTask(t, def)
	add := exec.Command("docker", "exec", "-i", task.pause, "sh", "-c", "cat >> /etc/hosts")
	add.Stdin = strings.NewReader(agentIP + " " + strings.Join(c.hosts, "\n"+agentIP+" ") + "\n")
	if r := command(add); !r.ok() {
		t.Fatal(r.all)
	}
	return task
}

// scrape is what Prometheus does. It returns the renewals so far, of a page on which n tokens are valid.
func scrape(client *http.Client, url string, n int) (renewals int, err error) {
	res, err := client.Get(url + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	valid := 0
	for line := range strings.Lines(string(page)) {
		if v, ok := strings.CutSuffix(line, "} 1\n"); ok && strings.HasPrefix(v, "ecr_refresher_token_valid{") {
			valid++
		}
		if strings.HasPrefix(line, "ecr_refresher_refresh_total{") && strings.Contains(line, `status="success"`) {
			f := strings.Fields(line)
			v, err := strconv.ParseFloat(f[len(f)-1], 64)
			if err != nil {
				return 0, err
			}
			renewals += int(v)
		}
	}
	if res.StatusCode != http.StatusOK || valid != n {
		return 0, fmt.Errorf("%s: %d of %d tokens are valid on a page of %d bytes", res.Status, valid, n, len(page))
	}
	return renewals, nil
}

// life is what would tell that a container, or the process in it, is another than before.
type life struct {
	RestartCount int
	State        struct {
		Pid       int
		OOMKilled bool
		StartedAt string
	}
}

func (k *task) life(name string) (l life) {
	k.t.Helper()
	if err := json.Unmarshal([]byte(docker(k.t, "inspect", "--format", "{{json .}}", k.id(name))), &l); err != nil {
		k.t.Fatal(err)
	}
	return l
}

// TestMemoryLimit has the container, with the memory that deploy/taskdef.json gives and no swap, renew a thousand times for 50
// registries with a role each, while it is scraped and its health is asked for each second. Then it is attacked.
func TestMemoryLimit(t *testing.T) {
	const least = 1000
	c := withRoles(50)
	w := newWorld(t, sandbox.Config{TokenLife: 20 * time.Second})
	renewing := func(memory int64) *task {
		k := w.crowded(t, c, memory)
		k.def.refresher().setenv("REFRESHER_RENEW_AT", "0.05") // each second, the most often that a scope may be renewed
		k.def.refresher().setenv("REFRESHER_JITTER", "0")
		return k
	}
	task := renewing(0)
	limit := task.def.refresher().Memory
	if err := task.start(); err != nil {
		t.Fatal(err)
	}
	url := "http://" + net.JoinHostPort(task.ip(), "9327")
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	until(t, time.Minute, "all are logged in", func() bool { _, err := scrape(client, url, len(c.registries)); return err == nil })
	before, g := task.life("refresher"), task.group("refresher")
	if got := g.value("memory.limit_in_bytes", "memory.max"); got != limit<<20 || limit == 0 {
		t.Fatalf("the limit is %d bytes, and deploy/taskdef.json says %d MiB", got, limit)
	}
	swap := g.value("memory.memsw.limit_in_bytes", "memory.swap.max")
	if want := map[bool]int64{false: limit << 20, true: 0}[g.v2]; swap != want {
		t.Fatalf("with swap the limit is %d bytes, want %d", swap, want)
	}

	began := time.Now()
	stop := make(chan struct{})
	var beside sync.WaitGroup
	var anon, kept, checks, scrapes, renewals atomic.Int64
	beside.Go(func() { g.watch(stop, &anon, &kept) })
	beside.Go(func() {
		for every(time.Second, stop) {
			if r := engine("exec", task.id("refresher"), "/healthcheck"); !r.ok() {
				t.Errorf("health check after %s: exit %d, %s", time.Since(began).Round(time.Second), r.code, r.all)
			}
			checks.Add(1)
		}
	})
	beside.Go(func() {
		for every(time.Second, stop) {
			n, err := scrape(client, url, len(c.registries))
			if err != nil {
				t.Errorf("scrape after %s: %v", time.Since(began).Round(time.Second), err)
			}
			scrapes.Add(1)
			renewals.Store(max(renewals.Load(), int64(n)))
		}
	})
	// A first token is no renewal. Half a minute at least: the engine's own probe comes every 10 s.
	enough := within(2*time.Minute, func() bool {
		return renewals.Load() >= least+int64(len(c.registries)) && time.Since(began) > 30*time.Second || task.state("refresher").Status != "running"
	})
	close(stop)
	beside.Wait()
	underAttack(t, task, g, client, len(c.registries))
	if after := task.life("refresher"); after != before || after.State.OOMKilled || after.RestartCount != 0 || task.restartsOf("refresher") != 0 {
		t.Fatalf("it was %+v and is %+v", before, after)
	}
	if n := g.kills(); n != 0 {
		t.Errorf("%d processes of the container were killed for want of memory", n)
	}
	if !enough {
		t.Errorf("%d tokens in %s", renewals.Load(), time.Since(began))
	}
	if h := task.health(); h != "healthy" {
		t.Errorf("the engine's own health check: %s", h)
	}
	if checks.Load() < 15 || scrapes.Load() < 15 {
		t.Errorf("%d health checks and %d scrapes in %s", checks.Load(), scrapes.Load(), time.Since(began))
	}
	proved(t, "deploy/taskdef.json's %d MiB without swap: %d renewals for %s in %.0f s, %d scrapes, %d health checks, none failed, nothing was killed, also under attack; peak %s, %s of it not to be taken back",
		limit, renewals.Load()-int64(len(c.registries)), c.name, time.Since(began).Seconds(), scrapes.Load(), checks.Load(), mib(g.peak()), mib(kept.Load()))
	task.stop("it has proved itself")

	const tooLittle = 12
	small := renewing(tooLittle)
	small.def.refresher().HealthCheck = nil           // nothing but the refresher itself is to be too large
	small.def.refresher().setenv("GOMEMLIMIT", "off") // otherwise it is not killed, but too slow for its renewals
	if err := small.start(); err != nil {
		t.Fatal(err)
	}
	until(t, time.Minute, fmt.Sprintf("with %d MiB it is killed", tooLittle), func() bool { return small.state("refresher").Status == "exited" })
	if s := small.state("refresher"); !s.OOMKilled || s.ExitCode != 137 {
		t.Errorf("with %d MiB it ended with %+v", tooLittle, s)
	}
	proved(t, "the same with %d MiB and GOMEMLIMIT=off is killed: OOMKilled, 137", tooLittle)
}

// attacks are those of cmd/refresher/attack_test.go that cost memory, by what a client does with its connection.
var attacks = []struct {
	name    string
	clients int
	request string
	reads   bool
}{
	{"idle connections", 3000, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"headers that are too large", 200, "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 16<<10), true},
	{"unread answers of /metrics", 400, strings.Repeat("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 100), false},
	{"unread answers of /", 400, strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 100), false},
	{"pages asked for again and again", 400, strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 100), true},
	{"answers of / that are read", 400, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", true},
}

// attack has a number of clients open connections again and again, until it is told to stop.
func attack(addr string, clients int, request string, reads bool, stop <-chan struct{}) (dials int64) {
	var n atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for every(time.Millisecond, stop) {
				c, err := net.DialTimeout("tcp", addr, time.Second)
				if err != nil {
					continue // the kernel's queue is full
				}
				n.Add(1)
				_ = c.(*net.TCPConn).SetLinger(0) // a reset at its end: it uses up no port of this host
				_ = c.SetDeadline(time.Now().Add(2 * time.Second))
				_, err = io.WriteString(c, request)
				if reads {
					_, _ = io.Copy(io.Discard, c)
				} else if err == nil {
					every(time.Second, stop)
				}
				c.Close()
			}
		})
	}
	all.Wait()
	return n.Load()
}

// underAttack has the refresher attacked, while its health is asked for each second. After each attack, n tokens are valid.
func underAttack(t *testing.T, task *task, g group, client *http.Client, n int) {
	addr := net.JoinHostPort(task.ip(), "9327")
	for _, a := range attacks {
		var anon, kept atomic.Int64
		var beside sync.WaitGroup
		over := make(chan struct{})
		time.AfterFunc(10*time.Second, func() { close(over) })
		beside.Go(func() { g.watch(over, &anon, &kept) })
		checks := 0
		beside.Go(func() {
			for every(time.Second, over) {
				if r := engine("exec", task.id("refresher"), "/healthcheck"); !r.ok() {
					t.Errorf("%s: health check: exit %d, %s", a.name, r.code, r.all)
				}
				checks++
			}
		})
		dials := attack(addr, a.clients, a.request, a.reads, over)
		beside.Wait()
		if checks == 0 {
			t.Errorf("%s: no health check", a.name)
		}
		if _, err := scrape(client, "http://"+addr, n); err != nil {
			t.Errorf("after %s: %v", a.name, err)
		}
		proved(t, "attacked, %d %s: %d health checks, none failed; %s not to be taken back", dials, a.name, checks, mib(kept.Load()))
	}
}

// TestMemoryPeak measures what the container needs where it is given all it wants: the table of docs/scale.md. What the limit is meant
// for has to fit into half of it, leaving aside the pages of its programs, which the kernel takes back when it wants them.
func TestMemoryPeak(t *testing.T) {
	limit := readDefinition(t, "taskdef.json").refresher().Memory << 20
	for _, c := range []struct {
		crowd
		meant bool // the limit of deploy/taskdef.json is meant for it
	}{{inRegions(1, 1), true}, {withRoles(50), true}, {withRoles(300), false}, {inRegions(1000, 50), false}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, sandbox.Config{Latency: 50 * time.Millisecond})
			task := w.crowded(t, c.crowd, 4096)
			if err := task.start(); err != nil {
				t.Fatal(err)
			}
			g := task.group("refresher")
			if !g.v2 { // which counts what sockets hold; version 1 does so once that has a limit
				if err := os.WriteFile(filepath.Join(g.dir, "memory.kmem.tcp.limit_in_bytes"), []byte("8000000000"), 0); err != nil {
					t.Fatal(err)
				}
			}
			var anon, kept atomic.Int64
			var watching sync.WaitGroup
			stop := make(chan struct{})
			end := sync.OnceFunc(func() { close(stop); watching.Wait() })
			defer end()
			watching.Go(func() { g.watch(stop, &anon, &kept) })
			addr := net.JoinHostPort(task.ip(), "9327")
			client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			check := func() {
				if r := engine("exec", task.id("refresher"), "/healthcheck"); !r.ok() {
					t.Errorf("health check: exit %d, %s", r.code, r.all)
				}
			}
			ready := func(renewals int) {
				until(t, 2*time.Minute, "all are logged in", func() bool {
					n, err := scrape(client, "http://"+addr, len(c.registries))
					return err == nil && n >= renewals
				})
			}
			ready(len(c.registries))
			first := g.peak()
			for n := range 3 {
				docker(t, "kill", "-s", "HUP", task.id("refresher"))
				check()
				ready((n + 2) * len(c.registries))
			}
			check()
			// What it says of this stand-in is no matter.
			if r := engine("exec", task.id("refresher"), "/refresher", "doctor"); !strings.Contains(r.out, "settings") {
				t.Errorf("doctor: exit %d, %s", r.code, r.all)
			}
			proved(t, "%s: peak %s at the first tokens, %s with 3 renewals of all at once, scrapes, health checks and doctor beside it; %s of it anonymous, %s not to be taken back",
				c.name, mib(first), mib(g.peak()), mib(anon.Load()), mib(kept.Load()))
			if c.meant && 2*kept.Load() > limit {
				t.Errorf("twice %s is above the %s of deploy/taskdef.json", mib(kept.Load()), mib(limit))
			}
			for _, a := range attacks {
				anon.Store(0)
				kept.Store(0)
				over := make(chan struct{})
				time.AfterFunc(3*time.Second, func() { close(over) })
				dials := attack(addr, a.clients, a.request, a.reads, over)
				t.Logf("attacked, %d %s: %s anonymous, %s not to be taken back; peak so far %s", dials, a.name, mib(anon.Load()), mib(kept.Load()), mib(g.peak()))
			}
			end()
			if n := g.kills(); n != 0 {
				t.Errorf("%d processes were killed for want of memory", n)
			}
		})
	}
}
