package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	startMost = 30 * time.Second // far beyond any start
	warmCache = "ecr-login, warm cache"
	coldCache = "ecr-login, cold cache"
	awsCLI    = "AWS CLI"
)

// command is the environment and the arguments of a sidecar that keeps dir/config.json, for some registries; none are the
// task's own.
func (w *world) command(program, dir, address string, registries []string) (env, args []string) {
	file := filepath.Join(dir, configFile)
	if program == naive {
		args = []string{w.Programs[naive], "-listen", address, "-output", file}
		if len(registries) > 0 {
			args = append(args, "-registries", strings.Join(registries, ","))
		}
		return nil, args
	}
	env = []string{"REFRESHER_OUTPUTS=" + file, "REFRESHER_LISTEN=" + address}
	if len(registries) > 0 {
		env = append(env, "REFRESHER_REGISTRIES="+strings.Join(registries, " "))
	}
	return env, []string{w.Programs[ours], "run"}
}

// sidecar starts one and waits for its file. wall is the time until then. before, if any, are words in front of the command.
func (w *world) sidecar(program string, registries []string, before ...string) (p *process, wall float64, err error) {
	dir, err := w.dir()
	if err != nil {
		return nil, 0, err
	}
	seen, err := newWatch(dir)
	if err != nil {
		return nil, 0, err
	}
	defer seen.close()
	address := w.listen()
	env, args := w.command(program, dir, address, registries)
	start := time.Now()
	if p, err = w.launch(env, append(before, args...)...); err != nil {
		return nil, 0, err
	}
	p.address = address
	err = seen.next(startMost)
	wall = time.Since(start).Seconds()
	if err != nil {
		p.kill()
		return nil, 0, fmt.Errorf("%s: %w", program, err)
	}
	return p, wall, nil
}

// startOnce is one start until the file is there.
func (w *world) startOnce(program string, before ...string) (cost, error) {
	p, wall, err := w.sidecar(program, nil, before...)
	if err != nil {
		return cost{}, err
	}
	c := cost{wall: wall, cpu: p.kill()}
	dir := filepath.Join(w.Scratch, fmt.Sprint("dir", w.dirs))
	if n, err := usable(filepath.Join(dir, configFile)); err != nil || n != 1 {
		return cost{}, fmt.Errorf("%s wrote %d usable entries: %w", program, n, err)
	}
	return c, os.RemoveAll(dir)
}

// subject is something that is measured once in each round.
type subject struct {
	name string
	run  func() (cost, error)
}

// inTurns runs the subjects A B C A B C …; the first round is not counted.
func (w *world) inTurns(stage string, rounds int, subjects []subject) error {
	for round := range rounds + 1 {
		for _, s := range subjects {
			c, err := s.run()
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if round == 0 {
				continue
			}
			w.figures.add(stage, s.name, "wall", c.wall)
			w.figures.add(stage, s.name, "cpu", c.cpu)
			if c.rss > 0 {
				w.figures.add(stage, s.name, "rss", c.rss)
			}
		}
	}
	return nil
}

// starts measures processes from their start to what they are started for: a usable config.json, a login on stdout, an answer
// of the health endpoint.
func (w *world) starts() error {
	w.say("starts")
	trips, err := newTrips(w.env)
	if err != nil {
		return err
	}
	subjects := []subject{
		{ours, func() (cost, error) { return w.startOnce(ours) }},
		{naive, func() (cost, error) { return w.startOnce(naive) }},
		{"round trips", trips.run},
		{"empty", func() (cost, error) { return w.once(nil, "", w.Programs["empty"]) }},
	}
	logins, err := w.logins()
	if err != nil {
		return err
	}
	subjects = append(subjects, logins...)
	if err := w.inTurns("start", w.Effort.Starts, subjects); err != nil {
		return err
	}
	checks, end, err := w.healthChecks()
	if err != nil {
		return err
	}
	defer end()
	w.say("health checks")
	return w.inTurns("check", w.Effort.Starts, checks)
}

// logins are the programs that print a login and end.
func (w *world) logins() ([]subject, error) {
	host := registryHosts(1)[0]
	ask := func(home string) (cost, error) {
		return w.once([]string{"HOME=" + home}, host, w.Programs[helper], "get")
	}
	home, err := w.dir()
	if err != nil {
		return nil, err
	}
	subjects := []subject{
		{coldCache, func() (cost, error) {
			empty, err := w.dir()
			if err != nil {
				return cost{}, err
			}
			defer os.RemoveAll(empty)
			return ask(empty)
		}},
		{warmCache, func() (cost, error) { return ask(home) }},
	}
	cli := w.Programs["aws"]
	if cli == "" {
		w.figures.note("start", awsCLI, "not installed")
		return subjects, nil
	}
	run := func() (cost, error) { // it brings roots of its own
		return w.once([]string{"AWS_CA_BUNDLE=" + certificates + "/ca-certificates.crt"}, "", cli, "ecr", "get-login-password")
	}
	if _, err := run(); err != nil {
		w.figures.note("start", awsCLI, "does not run: "+err.Error())
		return subjects, nil
	}
	return append(subjects, subject{awsCLI, run}), nil
}

// healthChecks are the processes that ECS would start every few seconds, with something to ask.
func (w *world) healthChecks() (subjects []subject, end func(), err error) {
	end = func() {}
	mine, _, err := w.sidecar(ours, nil)
	if err != nil {
		return nil, end, err
	}
	theirs, _, err := w.sidecar(naive, nil)
	if err != nil {
		mine.kill()
		return nil, end, err
	}
	end = func() { mine.kill(); theirs.kill() }
	settle(mine.address)
	settle(theirs.address)
	env := []string{"REFRESHER_LISTEN=" + mine.address}
	subjects = []subject{
		{ours, func() (cost, error) { return w.once(env, "", w.Programs[ours], "healthcheck") }},
		{naive, func() (cost, error) {
			return w.once(nil, "", w.Programs[naive], "-healthcheck", "-listen", theirs.address)
		}},
		{"empty", func() (cost, error) { return w.once(nil, "", w.Programs["empty"]) }},
	}
	if own := w.Programs[check]; own != "" {
		subjects = append(subjects, subject{check, func() (cost, error) { return w.once(env, "", own) }})
	}
	if curl := w.Programs["curl"]; curl != "" {
		subjects = append(subjects, subject{"curl -f", func() (cost, error) {
			return w.once(nil, "", curl, "-fsS", "-o", "/dev/null", "http://"+mine.address+"/healthz")
		}})
	} else {
		w.figures.note("check", "curl -f", "not installed")
	}
	return subjects, end, nil
}

// settle waits until a server says that it is healthy.
func settle(address string) {
	client := http.Client{Timeout: time.Second}
	for end := time.Now().Add(startMost); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		res, err := client.Get("http://" + address + "/healthz")
		if err != nil {
			continue
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return
		}
	}
}

// trips are the two calls that no start can do without, over connections that are open already.
type trips struct {
	client      *http.Client
	credentials string
}

func newTrips(env []string) (*trips, error) {
	t := &trips{client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}, Timeout: startMost}}
	for _, kv := range env {
		if uri, ok := strings.CutPrefix(kv, "AWS_CONTAINER_CREDENTIALS_FULL_URI="); ok {
			t.credentials = uri
		}
	}
	_, err := t.run()
	return t, err
}

// run is one of each. The token is asked for with a signature that is refused, after the same time.
func (t *trips) run() (cost, error) {
	start := time.Now()
	for _, uri := range []string{t.credentials, "https://" + apiHost + "/"} {
		method := http.MethodGet
		if strings.HasPrefix(uri, "https") {
			method = http.MethodPost
		}
		req, err := http.NewRequest(method, uri, bytes.NewReader([]byte("{}")))
		if err != nil {
			return cost{}, err
		}
		req.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		res, err := t.client.Do(req)
		if err != nil {
			return cost{}, err
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	return cost{wall: time.Since(start).Seconds()}, nil
}
