package metrics

import (
	dto "github.com/prometheus/client_model/go"
)

// family is the samples of one name. They are allocated in one block: client_golang's own collectors allocate ten times for each
// sample of each scrape, and check again what is fixed here, that names and labels are sound and unique.
type family struct {
	*dto.MetricFamily

	kind   dto.MetricType
	block  []sample // what is left of it
	labels []*dto.LabelPair
}

// sample is one, with all that it points to.
type sample struct {
	metric dto.Metric
	gauge  dto.Gauge
	count  dto.Counter
	value  float64
}

// newFamily makes room for n samples of some labels each. More may be added.
func newFamily(kind dto.MetricType, name, help string, n, labels int) *family {
	name = namespace + "_" + name
	f := &family{MetricFamily: &dto.MetricFamily{Name: &name, Help: &help, Type: &kind}, kind: kind}
	f.Metric = make([]*dto.Metric, 0, n)
	f.block = make([]sample, n)
	f.labels = make([]*dto.LabelPair, 0, n*labels)
	return f
}

// add appends a sample, with its labels in the order of their names.
func (f *family) add(value float64, labels ...*dto.LabelPair) {
	if len(f.block) == 0 {
		f.block = make([]sample, 8)
	}
	s := &f.block[0]
	f.block = f.block[1:]
	s.value = value
	if f.kind == dto.MetricType_COUNTER {
		s.count.Value = &s.value
		s.metric.Counter = &s.count
	} else {
		s.gauge.Value = &s.value
		s.metric.Gauge = &s.gauge
	}
	s.metric.Label = f.keep(labels)
	f.Metric = append(f.Metric, &s.metric)
}

// observe appends a histogram.
func (f *family) observe(h *histogram, labels ...*dto.LabelPair) {
	d := &dto.Histogram{SampleCount: &h.count, SampleSum: &h.sum, Bucket: make([]*dto.Bucket, len(bounds))}
	buckets := make([]dto.Bucket, len(bounds))
	for i := range bounds {
		buckets[i].UpperBound, buckets[i].CumulativeCount = &bounds[i], &h.buckets[i]
		d.Bucket[i] = &buckets[i]
	}
	f.Metric = append(f.Metric, &dto.Metric{Label: f.keep(labels), Histogram: d})
}

// keep puts labels beside those of the other samples, and returns them from there.
func (f *family) keep(labels []*dto.LabelPair) []*dto.LabelPair {
	start := len(f.labels)
	f.labels = append(f.labels, labels...)
	return f.labels[start:len(f.labels):len(f.labels)]
}

// label is a pair, which any number of samples may share.
func label(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

// labelsOf makes a pair of each value.
func labelsOf(name string, values []string) []*dto.LabelPair {
	pairs := make([]*dto.LabelPair, len(values))
	for i, v := range values {
		pairs[i] = label(name, v)
	}
	return pairs
}
