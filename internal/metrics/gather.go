package metrics

import (
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
)

const (
	gauge     = dto.MetricType_GAUGE
	counter   = dto.MetricType_COUNTER
	durations = dto.MetricType_HISTOGRAM
)

// gatherer implements prometheus.Gatherer for one page: what was counted, and the state of things as it is.
type gatherer struct {
	m   *Metrics
	src Source
}

// Gather looks once, so that all gauges of a scrape speak of one moment. There is never an error.
func (g gatherer) Gather() ([]*dto.MetricFamily, error) {
	v := g.src.View()
	var page []*dto.MetricFamily
	for _, f := range slices.Concat(byRegistry(v), g.m.counted(), byOutput(v), byProcess(v), g.m.logged(), g.m.constant()) {
		page = append(page, f.MetricFamily)
	}
	return page, nil
}

// constant is what never changes.
func (m *Metrics) constant() []*family {
	build := newFamily(gauge, "build_info", "The program; always 1.", 1, 3)
	build.add(1, label("goversion", m.build.GoVersion), label("revision", m.build.Revision), label("version", m.build.Version))
	task := newFamily(gauge, "task_info", "The ECS task; always 1.", 1, 5)
	task.add(1, label("cluster", m.task.Cluster), label("family", m.task.Family), label("revision", m.task.Revision),
		label("service", m.task.Service), label("task_arn", m.task.ARN))
	return []*family{build, task}
}

// logged is what happened to the log.
func (m *Metrics) logged() []*family {
	lost := newFamily(counter, "log_lines_lost_total",
		"Log lines that nobody took: the log driver was blocked, or the reader of standard output has gone.", 1, 0)
	n := int64(0)
	if m.LinesLost != nil {
		n = m.LinesLost()
	}
	lost.add(float64(n))
	return []*family{lost}
}

// counted is the events so far.
func (m *Metrics) counted() []*family {
	m.mu.Lock()
	registries, outputs := m.registries, m.outputs
	registries.counts, outputs.counts = slices.Clone(registries.counts), slices.Clone(outputs.counts)
	m.mu.Unlock()
	succeeded, failed := label("status", success), label("status", failure)
	of := make([]*dto.LabelPair, 0, classes)
	for _, c := range fault.Classes() {
		of = append(of, label("class", string(c)))
	}

	n := len(registries.names)
	refreshes := newFamily(counter, "refresh_total", "Attempts to renew the token of a registry.", 2*n, 2)
	failures := newFamily(counter, "refresh_errors_total", "Attempts that failed, and tokens that the registry rejected, by class.", classes*n, 2)
	duration := newFamily(durations, "refresh_duration_seconds", "How long an attempt to renew a token took.", 0, 0)
	for i, name := range labelsOf("registry", registries.names) {
		a := &registries.counts[i]
		refreshes.add(float64(a.failures), name, failed)
		refreshes.add(float64(a.successes), name, succeeded)
		for j, class := range fault.Classes() {
			if !class.OfOutput() {
				failures.add(float64(a.classes[j]), of[j], name)
			}
		}
		duration.observe(&a.took, name)
	}

	n = len(outputs.names)
	written := newFamily(counter, "output_writes_total", "Attempts to write an output.", 2*n, 2)
	unwritten := newFamily(counter, "output_errors_total", "Attempts to write an output that failed, by class.", classes*n, 2)
	repairs := newFamily(counter, "output_repairs_total", "Writes that put back what another program had changed.", n, 1)
	for i, name := range labelsOf("output", outputs.names) {
		w := &outputs.counts[i]
		written.add(float64(w.failures), name, failed)
		written.add(float64(w.successes), name, succeeded)
		repairs.add(float64(w.repairs), name)
		for j, class := range fault.Classes() {
			if class.OfOutput() {
				unwritten.add(float64(w.classes[j]), of[j], name)
			}
		}
	}
	return []*family{refreshes, failures, duration, written, unwritten, repairs}
}

// byRegistry is what a consumer of the primary output finds, and what is known of the next call.
func byRegistry(v refresh.View) []*family {
	n := len(v.Registries)
	of := func(name, help string) *family { return newFamily(gauge, name, help, n, 1) }
	expiry := of("token_expiry_timestamp_seconds", "When the token in the primary output expires; 0 where there is none of ours.")
	issued := of("token_issued_timestamp_seconds", "When the token in the primary output was issued; 0 where there is none of ours.")
	valid := of("token_valid", "1 where a consumer that reads the primary output now finds a valid token.")
	succeeded := of("last_success_timestamp_seconds", "When a token was last obtained; 0 before the first.")
	attempt := of("last_attempt_timestamp_seconds", "When a token was last asked for; 0 before the first.")
	next := of("next_refresh_timestamp_seconds", "When the token is renewed next.")
	failures := of("consecutive_failures", "Attempts that failed since the last success.")
	accepted := of("token_accepted", "1 where the registry itself accepts the token, 0 where it rejects it; absent while it could not be asked.")
	info := newFamily(gauge, "registry_info", "What the name of a registry stands for; always 1.", n, 5)
	for i, r := range v.Registries {
		sc, e, h := v.Scopes[r.Scope], v.Entry(0, i), r.Spec.Host
		name := label("registry", r.Spec.Name)
		expiry.add(seconds(e.Expires), name)
		issued.add(seconds(e.Issued), name)
		valid.add(one(e.Valid), name)
		succeeded.add(seconds(sc.LastSuccess), name)
		attempt.add(seconds(sc.LastAttempt), name)
		next.add(seconds(sc.Due), name)
		failures.add(float64(sc.Failures), name)
		if r.Accepted != refresh.Unknown {
			accepted.add(one(r.Accepted == refresh.Accepted), name)
		}
		info.add(1, label("account", h.Account), label("host", h.Name), label("partition", h.Partition), label("region", h.Region), name)
	}
	all := []*family{expiry, issued, valid, succeeded, attempt, next, failures, info}
	if len(accepted.Metric) > 0 {
		all = append(all, accepted)
	}
	return all
}

func byOutput(v refresh.View) []*family {
	n := len(v.Outputs)
	contested := newFamily(gauge, "output_contested", "1 while another program changes our entries again and again.", n, 1)
	shadowed := newFamily(gauge, "output_shadowed", "1 where a credential helper hides an entry of ours from docker.", n, 1)
	broken := newFamily(gauge, "output_broken_entries", "Entries of others that keep programs from reading the file.", n, 1)
	for o, out := range v.Outputs {
		name := label("output", out.Name)
		broken.add(float64(v.OnDisk[o].Obstacles.BrokenCount), name)
		contested.add(one(out.Contested), name)
		var hidden bool
		for i := range v.Registries {
			hidden = hidden || v.Shadowed(o, i) != ""
		}
		shadowed.add(one(hidden), name)
	}
	return []*family{contested, shadowed, broken}
}

func byProcess(v refresh.View) []*family {
	skew := newFamily(gauge, "clock_skew_seconds", "How far the local clock is ahead of AWS's; 0 until AWS has answered.", 1, 0)
	skew.add(v.Skew.Seconds())
	credentials := newFamily(gauge, "credentials_expiry_timestamp_seconds", "When the credentials that last asked for a token expire; 0 where that is not known.", len(v.Scopes), 1)
	expiry := map[string]time.Time{}
	for _, sc := range v.Scopes {
		id := sc.Scope.Identity()
		if t, ok := expiry[id]; !ok || sc.CredentialsExpire.After(t) {
			expiry[id] = sc.CredentialsExpire
		}
	}
	for _, sc := range v.Scopes {
		id := sc.Scope.Identity()
		if t, ok := expiry[id]; ok {
			credentials.add(seconds(t), label("identity", id))
			delete(expiry, id)
		}
	}
	return []*family{skew, credentials}
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
