package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	roleCount   = 100
	roleLatency = 20 * time.Millisecond

	sequential = "one after another"
	atOnce     = "all at once"
)

// control speaks to the sandbox.
func (w *world) control(method, path, body string, answer any) error {
	req, err := http.NewRequest(method, "http://"+agentAddress+":80/control/"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the sandbox's control endpoint: %s", res.Status)
	}
	return json.NewDecoder(res.Body).Decode(answer)
}

func (w *world) calls() (map[string]float64, error) {
	counts := map[string]float64{}
	return counts, w.control(http.MethodGet, "calls", "", &counts)
}

func (w *world) latency(d time.Duration) error {
	var settings map[string]string
	return w.control(http.MethodPut, "settings", fmt.Sprintf(`{"latency":%q}`, d), &settings)
}

// roles measures a hundred registries, each with a role of its own, from the start to the file that has them all.
func (w *world) roles() error {
	w.say("%d roles at %s a call", roleCount, roleLatency)
	if err := w.latency(roleLatency); err != nil {
		return err
	}
	counted := map[string]func() (cost, error){
		ours:       w.ourRoles,
		sequential: func() (cost, error) { return w.naiveRoles() },
		atOnce:     func() (cost, error) { return w.naiveRoles("-at-once") },
	}
	for range w.Effort.Roles {
		for _, name := range []string{ours, sequential, atOnce} {
			before, err := w.calls()
			if err != nil {
				return err
			}
			c, err := counted[name]()
			if err != nil {
				return fmt.Errorf("roles, %s: %w", name, err)
			}
			after, err := w.calls()
			if err != nil {
				return err
			}
			w.figures.add("roles", name, "wall", c.wall)
			w.figures.add("roles", name, "cpu", c.cpu)
			w.figures.add("roles", name, "rss", c.rss)
			w.figures.add("roles", name, "credential calls", after["credentials"]-before["credentials"])
		}
	}
	return w.latency(time.Millisecond)
}

func roleOf(host string) string {
	return "arn:aws:iam::" + strings.SplitN(host, ".", 2)[0] + ":role/push"
}

// ourRoles is one start of the refresher. Its memory is its peak half a second after the file was whole, with all that follows.
func (w *world) ourRoles() (cost, error) {
	dir, err := w.dir()
	if err != nil {
		return cost{}, err
	}
	defer os.RemoveAll(dir)
	seen, err := newWatch(dir)
	if err != nil {
		return cost{}, err
	}
	defer seen.close()
	var registries []string
	for _, host := range registryHosts(roleCount) {
		registries = append(registries, host+"?role_arn="+roleOf(host))
	}
	env, args := w.command(ours, dir, w.listen(), registries)
	start := time.Now()
	p, err := w.launch(env, args...)
	if err != nil {
		return cost{}, err
	}
	var c cost
	for entries := 0; entries < roleCount; c.wall = time.Since(start).Seconds() {
		if err := seen.next(startMost); err != nil {
			p.kill()
			return cost{}, err
		}
		if entries, err = usable(filepath.Join(dir, configFile)); err != nil {
			p.kill()
			return cost{}, err
		}
	}
	c.cpu, err = cpuClock(p.pid)
	if next := seen.next(500 * time.Millisecond); next != nil && !errors.Is(next, errSilent) {
		err = errors.Join(err, next)
	}
	v, more := look(p.pid)
	c.rss = v.peak
	p.kill()
	w.figures.add("roles", ours, "writes", float64(seen.writes))
	return c, errors.Join(err, more)
}

func (w *world) naiveRoles(flags ...string) (cost, error) {
	dir, err := w.dir()
	if err != nil {
		return cost{}, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, configFile)
	args := append(append([]string{w.Programs["roles"]}, flags...), file)
	for _, host := range registryHosts(roleCount) {
		args = append(args, roleOf(host)+"="+host)
	}
	c, err := w.once(nil, "", args...)
	if err != nil {
		return cost{}, err
	}
	if n, err := usable(file); err != nil || n != roleCount {
		return cost{}, fmt.Errorf("%d usable entries: %w", n, err)
	}
	return c, nil
}
