// Package metrics is what Prometheus sees: gauges computed at each scrape from a [refresh.View], so that they speak of the
// files as they are, and counters of events. It is the only place that imports client_golang.
//
// It refuses to know why anything happened. Names, labels and label values are an API: they are added, never renamed. Every
// label value comes from the configuration or from a closed set, and every series exists from the start.
package metrics

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
)

const namespace = "ecr_refresher"

// The values of the label status.
const (
	success = "success"
	failure = "error"
)

// Build says what program this is.
type Build struct{ Version, Revision, GoVersion string }

// Task says which ECS task this is; every field is empty outside ECS.
type Task struct{ ARN, Cluster, Family, Revision, Service string }

// Source gives the state of things as it is now.
type Source interface {
	View() refresh.View
}

// Metrics counts events and describes views. Safe for use by many goroutines.
type Metrics struct {
	// LinesLost returns how many log lines could not be written so far; nil where that is not known. Set it before the
	// first scrape.
	LinesLost func() int64

	build Build
	task  Task

	mu         sync.Mutex
	registries tallies[attempts]
	outputs    tallies[writes]
}

// New makes the series of all registries and outputs, named as configured. Names must not repeat.
func New(build Build, task Task, registries, outputs []string) *Metrics {
	return &Metrics{build: build, task: task, registries: newTallies[attempts](registries), outputs: newTallies[writes](outputs)}
}

// Handler answers scrapes, with the gauges that are computed from src.
func (m *Metrics) Handler(src Source) http.Handler {
	few := len(m.registries.names) < manyRegistries
	page := promhttp.HandlerFor(gatherer{m, src}, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, DisableCompression: few})
	if few {
		return page
	}
	admitted, turn := make(chan struct{}, maxScrapes), make(chan struct{}, 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case admitted <- struct{}{}:
			defer func() { <-admitted }()
		default:
			http.Error(w, fmt.Sprintf("%d scrapes are under way: try again later", maxScrapes), http.StatusServiceUnavailable)
			return
		}
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
			page.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

// maxScrapes is how many scrapes there may be at the same time: a file system that hangs holds up each of them.
const maxScrapes = 4

// manyRegistries is the number of registries from which on a page is compressed, and made for one scraper at a time: it takes some
// 10 KB of memory a registry while it is made. A small one is a few packets either way, and to compress it would be most of what
// a scrape costs.
const manyRegistries = 20

// Attempted implements refresh.Observer.
func (m *Metrics) Attempted(registries []string, took time.Duration, class fault.Class) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range registries {
		t := m.registries.of(name)
		t.took.observe(took.Seconds())
		if class == "" {
			t.successes++
			continue
		}
		t.failures++
		t.classes.count(class)
	}
}

// Rejected implements refresh.Observer.
func (m *Metrics) Rejected(registry string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.registries.of(registry).classes.count(fault.TokenRejected)
}

// Written implements refresh.Observer.
func (m *Metrics) Written(output string, repair bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.outputs.of(output)
	switch {
	case err != nil:
		t.failures++
		t.classes.count(refresh.Class(err))
		return
	case repair:
		t.repairs++
	}
	t.successes++
}

// tallies are counts by name, in the order of the configuration. A thousand registries would take 8 KB each as counters of
// client_golang, and take a few hundred bytes like this.
type tallies[T any] struct {
	names  []string
	counts []T
	index  map[string]int
}

func newTallies[T any](names []string) tallies[T] {
	t := tallies[T]{names: names, counts: make([]T, len(names)), index: make(map[string]int, len(names))}
	for i, n := range names {
		t.index[n] = i
	}
	return t
}

// of returns the counts of a name; of one that is not configured, counts that nobody sees.
func (t tallies[T]) of(name string) *T {
	i, ok := t.index[name]
	if !ok {
		return new(T)
	}
	return &t.counts[i]
}

// attempts counts what happened to one registry.
type attempts struct {
	successes, failures uint64
	classes             byClass
	took                histogram
}

// writes counts what happened to one output.
type writes struct {
	successes, failures, repairs uint64
	classes                      byClass
}

// byClass counts errors, by the place of their class in fault.Classes.
type byClass [classes]uint64

const classes = 17

func (b *byClass) count(c fault.Class) {
	if i := slices.Index(fault.Classes(), c); i >= 0 {
		b[i]++
	}
}

// bounds of the histogram, in seconds.
var bounds = [...]float64{.05, .1, .25, .5, 1, 2.5, 5, 10}

type histogram struct {
	buckets [len(bounds)]uint64 // each with all below it
	count   uint64
	sum     float64
}

func (h *histogram) observe(v float64) {
	h.count++
	h.sum += v
	for i, b := range bounds {
		if v <= b {
			h.buckets[i]++
		}
	}
}
