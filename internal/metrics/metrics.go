// Package metrics is what Prometheus sees: gauges computed at each scrape from a [refresh.View], so that they speak of the
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

// Metrics counts events and describes views. Safe for use by many goroutines.
type Metrics struct {
	registry *prometheus.Registry

	refreshes *prometheus.CounterVec
	errors    *prometheus.CounterVec
	duration  *prometheus.HistogramVec

	writes       *prometheus.CounterVec
	outputErrors *prometheus.CounterVec
	repairs      *prometheus.CounterVec
}

// New makes the series of all registries and outputs, named as configured.
func New(build Build, task Task, registries, outputs []string) *Metrics {
	m := &Metrics{
		registry:     prometheus.NewRegistry(),
		refreshes:    counter("refresh_total", "Attempts to renew the token of a registry.", "registry", "status"),
		errors:       counter("refresh_errors_total", "Attempts that failed, and tokens that the registry rejected, by class.", "registry", "class"),
		writes:       counter("output_writes_total", "Attempts to write an output.", "output", "status"),
		outputErrors: counter("output_errors_total", "Attempts to write an output that failed, by class.", "output", "class"),
		repairs:      counter("output_repairs_total", "Writes that put back what another program had changed.", "output"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "refresh_duration_seconds", Help: "How long an attempt to renew a token took.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"registry"}),
	}
	m.registry.MustRegister(m.refreshes, m.errors, m.duration, m.writes, m.outputErrors, m.repairs,
		constant("build_info", "The program; always 1.", prometheus.Labels{"version": build.Version, "revision": build.Revision, "goversion": build.GoVersion}),
		constant("task_info", "The ECS task; always 1.", prometheus.Labels{"task_arn": task.ARN, "cluster": task.Cluster, "family": task.Family, "revision": task.Revision, "service": task.Service}))
	for _, r := range registries {
		m.refreshes.WithLabelValues(r, success)
		m.refreshes.WithLabelValues(r, failure)
		m.duration.WithLabelValues(r)
		for _, c := range fault.Classes() {
			if !c.OfOutput() {
				m.errors.WithLabelValues(r, string(c))
			}
		}
	}
	for _, o := range outputs {
		m.writes.WithLabelValues(o, success)
		m.writes.WithLabelValues(o, failure)
		m.repairs.WithLabelValues(o)
		for _, c := range fault.Classes() {
			if c.OfOutput() {
				m.outputErrors.WithLabelValues(o, string(c))
			}
		}
	}
	return m
}

// Handler answers scrapes. It adds the gauges that are computed from src, so it is called once.
func (m *Metrics) Handler(src Source) http.Handler {
	m.registry.MustRegister(newGauges(src))
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Attempted implements refresh.Observer.
func (m *Metrics) Attempted(registries []string, took time.Duration, class fault.Class) {
	for _, r := range registries {
		m.duration.WithLabelValues(r).Observe(took.Seconds())
		if class == "" {
			m.refreshes.WithLabelValues(r, success).Inc()
			continue
		}
		m.refreshes.WithLabelValues(r, failure).Inc()
		m.errors.WithLabelValues(r, string(class)).Inc()
	}
}

// Rejected implements refresh.Observer.
func (m *Metrics) Rejected(registry string) {
	m.errors.WithLabelValues(registry, string(fault.TokenRejected)).Inc()
}

// Written implements refresh.Observer.
func (m *Metrics) Written(output string, repair bool, err error) {
	switch {
	case err != nil:
		m.writes.WithLabelValues(output, failure).Inc()
		m.outputErrors.WithLabelValues(output, string(refresh.Class(err))).Inc()
		return
	case repair:
		m.repairs.WithLabelValues(output).Inc()
	}
	m.writes.WithLabelValues(output, success).Inc()
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func constant(name, help string, labels prometheus.Labels) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels})
	g.Set(1)
	return g
}
