package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"ecr-refresher/internal/fault"
)

// counters shows what Metrics has counted.
type counters struct {
	m *Metrics
	counterDescs
}

type counterDescs struct{ refreshes, errors, duration, writes, outputErrors, repairs *prometheus.Desc }

func newCounterDescs() counterDescs {
	return counterDescs{
		refreshes:    desc("refresh_total", "Attempts to renew the token of a registry.", "registry", "status"),
		errors:       desc("refresh_errors_total", "Attempts that failed, and tokens that the registry rejected, by class.", "registry", "class"),
		duration:     desc("refresh_duration_seconds", "How long an attempt to renew a token took.", "registry"),
		writes:       desc("output_writes_total", "Attempts to write an output.", "output", "status"),
		outputErrors: desc("output_errors_total", "Attempts to write an output that failed, by class.", "output", "class"),
		repairs:      desc("output_repairs_total", "Writes that put back what another program had changed.", "output"),
	}
}

// Describe implements prometheus.Collector.
func (c counters) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.refreshes, c.errors, c.duration, c.writes, c.outputErrors, c.repairs} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c counters) Collect(ch chan<- prometheus.Metric) {
	c.m.mu.Lock()
	registries, outputs := c.m.registries, c.m.outputs
	registries.counts, outputs.counts = slices.Clone(registries.counts), slices.Clone(outputs.counts)
	c.m.mu.Unlock()
	send := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for i, name := range registries.names {
		a := &registries.counts[i]
		send(c.refreshes, a.successes, name, success)
		send(c.refreshes, a.failures, name, failure)
		for j, class := range fault.Classes() {
			if !class.OfOutput() {
				send(c.errors, a.classes[j], name, string(class))
			}
		}
		buckets := make(map[float64]uint64, len(bounds))
		for j, b := range bounds {
			buckets[b] = a.took.buckets[j]
		}
		ch <- prometheus.MustNewConstHistogram(c.duration, a.took.count, a.took.sum, buckets, name)
	}
	for i, name := range outputs.names {
		w := &outputs.counts[i]
		send(c.writes, w.successes, name, success)
		send(c.writes, w.failures, name, failure)
		send(c.repairs, w.repairs, name)
		for j, class := range fault.Classes() {
			if class.OfOutput() {
				send(c.outputErrors, w.classes[j], name, string(class))
			}
		}
	}
}
