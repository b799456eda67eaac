// Command promhttp serves the series of another program through client_golang's ordinary gauges, counters and histograms:
// what a scrape of the same text costs when nothing about it is special.
//
//	promhttp ADDRESS URL
package main

import (
	"log"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func main() {
	res, err := http.Get(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		log.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	for _, f := range families {
		for _, m := range f.GetMetric() {
			add(registry, f, m)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := http.Server{Addr: os.Args[1], Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// vecs are the vectors made so far, by the name of their family.
var (
	gauges     = map[string]*prometheus.GaugeVec{}
	counters   = map[string]*prometheus.CounterVec{}
	histograms = map[string]*prometheus.HistogramVec{}
)

// add makes one series with the same name, labels and value.
func add(registry *prometheus.Registry, f *dto.MetricFamily, m *dto.Metric) {
	labels := prometheus.Labels{}
	for _, l := range m.GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	names := slices.Sorted(maps.Keys(labels))
	name, help := f.GetName(), f.GetHelp()
	switch f.GetType() {
	case dto.MetricType_GAUGE:
		vec := made(gauges, registry, name, func() *prometheus.GaugeVec {
			return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, names)
		})
		vec.With(labels).Set(m.GetGauge().GetValue())
	case dto.MetricType_COUNTER:
		vec := made(counters, registry, name, func() *prometheus.CounterVec {
			return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, names)
		})
		vec.With(labels).Add(m.GetCounter().GetValue())
	case dto.MetricType_HISTOGRAM:
		buckets := m.GetHistogram().GetBucket()
		var bounds []float64
		for _, b := range buckets {
			bounds = append(bounds, b.GetUpperBound())
		}
		vec := made(histograms, registry, name, func() *prometheus.HistogramVec {
			return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: bounds}, names)
		})
		observe(vec.With(labels), buckets)
	default:
		log.Fatalf("%s is of a type that this program does not know: %s", name, f.GetType())
	}
}

// observe fills the buckets with as many observations as they had.
func observe(o prometheus.Observer, buckets []*dto.Bucket) {
	var below uint64
	for _, b := range buckets {
		for ; below < b.GetCumulativeCount(); below++ {
			o.Observe(b.GetUpperBound())
		}
	}
}

// made is the vector of a name, registered when it is first asked for.
func made[V prometheus.Collector](vecs map[string]V, registry *prometheus.Registry, name string, make func() V) V {
	vec, ok := vecs[name]
	if !ok {
		vec = make()
		registry.MustRegister(vec)
		vecs[name] = vec
	}
	return vec
}
