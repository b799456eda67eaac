// Package metrics is what Prometheus sees: gauges computed at each scrape from a [refresh.View], so that they describe the
// files as they are, and counters of events. It is the only place that imports client_golang.
//
// It refuses to know why anything happened. Names, labels and label values are an API: they are added, never renamed. Every
// label value comes from the configuration or from a closed set, and every series exists from the start.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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

// Metrics counts events and describes views. It implements refresh.Observer. Safe for use by many goroutines.
type Metrics struct {
	// LinesLost returns how many log lines could not be written so far; nil where that is not known. Set it before the
	// first scrape.
	LinesLost func() int64

	refreshes, refreshErrors     *prometheus.CounterVec
	durations                    *prometheus.HistogramVec
	writes, writeErrors, repairs *prometheus.CounterVec

	constant []prometheus.Collector
}

// New makes the series of all registries and outputs, named as configured. Names must not repeat.
func New(build Build, task Task, registries, outputs []string) *Metrics {
	m := &Metrics{
		refreshes: counters("refresh_total", "Attempts to renew the token of a registry.", "registry", "status"),
		refreshErrors: counters("refresh_errors_total",
			"Attempts that failed, and tokens that the registry rejected, by class.", "registry", "class"),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "refresh_duration_seconds", Help: "How long an attempt to renew a token took.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"registry"}),
		writes:      counters("output_writes_total", "Attempts to write an output.", "output", "status"),
		writeErrors: counters("output_errors_total", "Attempts to write an output that failed, by class.", "output", "class"),
		repairs:     counters("output_repairs_total", "Writes that put back what another program had changed.", "output"),
		constant: []prometheus.Collector{
			info("build_info", "The program; always 1.", prometheus.Labels{
				"version": build.Version, "revision": build.Revision, "goversion": build.GoVersion,
			}),
			info("task_info", "The ECS task; always 1.", prometheus.Labels{
				"task_arn": task.ARN, "cluster": task.Cluster, "family": task.Family, "revision": task.Revision, "service": task.Service,
			}),
		},
	}
	for _, name := range registries {
		m.refreshes.WithLabelValues(name, success)
		m.refreshes.WithLabelValues(name, failure)
		m.durations.WithLabelValues(name)
	}
	for _, name := range outputs {
		m.writes.WithLabelValues(name, success)
		m.writes.WithLabelValues(name, failure)
		m.repairs.WithLabelValues(name)
	}
	for _, class := range fault.Classes() {
		of, names := m.refreshErrors, registries
		if class.OfOutput() {
			of, names = m.writeErrors, outputs
		}
		for _, name := range names {
			of.WithLabelValues(name, string(class))
		}
	}
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// info is a series that is always 1, for its labels.
func info(name, help string, labels prometheus.Labels) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels})
	g.Set(1)
	return g
}

// Handler answers scrapes, with the gauges that are computed from src.
func (m *Metrics) Handler(src Source) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(m.collectors(src)...)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// maxScrapes is how many scrapes there may be at the same time: a file system that hangs holds up each of them.
const maxScrapes = 4

// collectors are all that a scrape shows.
func (m *Metrics) collectors(src Source) []prometheus.Collector {
	lost := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "log_lines_lost_total",
		Help: "Log lines that nobody took: the log driver was blocked, or the reader of standard output has gone.",
	}, func() float64 {
		if m.LinesLost == nil {
			return 0
		}
		return float64(m.LinesLost())
	})
	return append([]prometheus.Collector{
		state{src}, lost, m.refreshes, m.refreshErrors, m.durations, m.writes, m.writeErrors, m.repairs,
	}, m.constant...)
}

// Attempted implements refresh.Observer.
func (m *Metrics) Attempted(registries []string, took time.Duration, class fault.Class) {
	for _, name := range registries {
		m.durations.WithLabelValues(name).Observe(took.Seconds())
		if class == "" {
			m.refreshes.WithLabelValues(name, success).Inc()
			continue
		}
		m.refreshes.WithLabelValues(name, failure).Inc()
		m.refreshErrors.WithLabelValues(name, string(class)).Inc()
	}
}

// Rejected implements refresh.Observer.
func (m *Metrics) Rejected(registry string) {
	m.refreshErrors.WithLabelValues(registry, string(fault.TokenRejected)).Inc()
}

// Written implements refresh.Observer.
func (m *Metrics) Written(output string, repair bool, err error) {
	if err != nil {
		m.writes.WithLabelValues(output, failure).Inc()
		m.writeErrors.WithLabelValues(output, string(refresh.Class(err))).Inc()
		return
	}
	m.writes.WithLabelValues(output, success).Inc()
	if repair {
		m.repairs.WithLabelValues(output).Inc()
	}
}
