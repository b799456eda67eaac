package main

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// The ways in which a scrape may be asked for.
const (
	asPrometheus = "gzip"
	asText       = "plain"
)

// header is what Prometheus 3 sends.
var header = map[string]http.Header{
	asPrometheus: {
		"Accept":          {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"},
		"Accept-Encoding": {"gzip"},
	},
	asText: {"Accept": {"text/plain;version=0.0.4"}, "Accept-Encoding": {"identity"}},
}

// scraper asks one program for its metrics, over one connection, as Prometheus does.
type scraper struct {
	client *http.Client
	url    string
	pid    int
}

func newScraper(p *process) *scraper {
	return &scraper{&http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: startMost}, "http://" + p.address + "/metrics", p.pid}
}

func (s *scraper) scrape(how string) (size int64, err error) {
	req, err := http.NewRequest(http.MethodGet, s.url, nil)
	if err != nil {
		return 0, err
	}
	req.Header = header[how].Clone()
	res, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", s.url, res.Status)
	}
	return io.Copy(io.Discard, res.Body)
}

// cpu is what the server used for one of n scrapes, and the size of the last.
func (s *scraper) cpu(how string, n int) (seconds float64, size int64, err error) {
	before, err := cpuClock(s.pid)
	if err != nil {
		return 0, 0, err
	}
	for range n {
		if size, err = s.scrape(how); err != nil {
			return 0, 0, err
		}
	}
	after, err := cpuClock(s.pid)
	return (after - before) / float64(n), size, err
}

// scrapes measures what the scraped programs use.
func (w *world) scrapes() error {
	for _, n := range []int{1, 1000} {
		if err := w.scrapesOf(n); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) scrapesOf(registries int) error {
	w.say("scrapes, registries: %d", registries)
	stage, times := "scrape 1", w.Effort.Scrapes
	var hosts []string
	if registries > 1 {
		stage, times = "scrape 1,000", w.Effort.Many
		hosts = registryHosts(registries)
		if err := w.manyHosts(); err != nil {
			return err
		}
	}
	programs := map[string]*process{}
	defer func() {
		for _, p := range programs {
			p.kill()
		}
	}()
	for _, program := range []string{ours, naive} {
		p, _, err := w.sidecar(program, hosts)
		if err != nil {
			return err
		}
		settle(p.address)
		programs[program] = p
	}
	quiet(programs[ours].pid)
	if err := w.peers(stage, registries, programs); err != nil {
		return err
	}
	scrapers := map[string]*scraper{}
	for name, p := range programs {
		scrapers[name] = newScraper(p)
	}
	for round := range w.Effort.ScrapeRounds + 1 {
		for _, name := range []string{ours, naive, "promhttp", nodeExporter, blackbox} {
			s := scrapers[name]
			if s == nil {
				continue
			}
			for how := range header {
				cpu, size, err := s.cpu(how, times)
				if err != nil {
					return fmt.Errorf("scrape of %s: %w", name, err)
				}
				if round == 0 {
					w.figures.add(stage, name, "size "+how, float64(size))
					continue
				}
				w.figures.add(stage, name, how, cpu)
			}
		}
	}
	return nil
}

const (
	nodeExporter = "prometheus-node-exporter"
	blackbox     = "prometheus-blackbox-exporter"
)

// peers starts what our scrapes are compared with: promhttp with our own series, and for one registry Prometheus's exporters.
func (w *world) peers(stage string, registries int, programs map[string]*process) error {
	start := func(name string, args ...string) error {
		address := w.listen()
		for i := range args {
			if args[i] == "ADDRESS" {
				args[i] = address
			}
		}
		p, err := w.launch(nil, args...)
		if err != nil {
			return err
		}
		p.address = address
		programs[name] = p
		for end := time.Now().Add(startMost); ; time.Sleep(20 * time.Millisecond) {
			if _, err = newScraper(p).scrape(asText); err == nil || time.Now().After(end) {
				return err
			}
		}
	}
	if err := start("promhttp", w.Programs["promhttp"], "ADDRESS", "http://"+programs[ours].address+"/metrics"); err != nil {
		return err
	}
	if registries > 1 {
		return nil
	}
	for name, flags := range map[string][]string{
		nodeExporter: {"--web.listen-address", "ADDRESS"},
		blackbox:     {"--web.listen-address", "ADDRESS", "--config.file", "/etc/prometheus/blackbox.yml"},
	} {
		path := w.Programs[name]
		if path == "" {
			w.figures.note(stage, name, "not installed")
			continue
		}
		if err := start(name, append([]string{path}, flags...)...); err != nil {
			w.figures.note(stage, name, "does not run: "+err.Error())
			programs[name].kill()
			delete(programs, name)
		}
	}
	return nil
}

// quiet waits until a process has used next to no processor for a second: until it has asked all its registries.
func quiet(pid int) {
	for end := time.Now().Add(startMost); time.Now().Before(end); {
		before, err := cpuClock(pid)
		if err != nil {
			return
		}
		time.Sleep(time.Second)
		if after, err := cpuClock(pid); err != nil || after-before < 0.005 {
			return
		}
	}
}
