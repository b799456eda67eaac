package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ecr-refresher/internal/refresh"
)

// gauges describes the view of the moment of a scrape.
type gauges struct {
	src Source

	expiry, issued, valid, success, attempt, next, failures, accepted, info *prometheus.Desc // by registry
	contested, shadowed                                                     *prometheus.Desc // by output
	skew, credentials                                                       *prometheus.Desc
}

func newGauges(src Source) *gauges {
	return &gauges{
		src:         src,
		expiry:      desc("token_expiry_timestamp_seconds", "When the token in the primary output expires; 0 where there is none of ours.", "registry"),
		issued:      desc("token_issued_timestamp_seconds", "When the token in the primary output was issued; 0 where there is none of ours.", "registry"),
		valid:       desc("token_valid", "1 where a consumer that reads the primary output now finds a valid token.", "registry"),
		success:     desc("last_success_timestamp_seconds", "When a token was last obtained; 0 before the first.", "registry"),
		attempt:     desc("last_attempt_timestamp_seconds", "When a token was last asked for; 0 before the first.", "registry"),
		next:        desc("next_refresh_timestamp_seconds", "When the token is renewed next.", "registry"),
		failures:    desc("consecutive_failures", "Attempts that failed since the last success.", "registry"),
		accepted:    desc("token_accepted", "1 where the registry itself accepts the token, 0 where it rejects it; absent while it could not be asked.", "registry"),
		info:        desc("registry_info", "What the name of a registry stands for; always 1.", "registry", "host", "account", "region", "partition"),
		contested:   desc("output_contested", "1 while another program changes our entries again and again.", "output"),
		shadowed:    desc("output_shadowed", "1 where a credential helper hides an entry of ours from docker.", "output"),
		skew:        desc("clock_skew_seconds", "How far the local clock is ahead of AWS's; 0 until AWS has answered."),
		credentials: desc("credentials_expiry_timestamp_seconds", "When the credentials that last asked for a token expire; 0 where that is not known.", "identity"),
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.expiry, g.issued, g.valid, g.success, g.attempt, g.next, g.failures, g.accepted, g.info, g.contested, g.shadowed, g.skew, g.credentials} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It looks once, so that all gauges of a scrape speak of one moment.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	v := g.src.View()
	send := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for i, r := range v.Registries {
		sc, e, name := v.Scopes[r.Scope], v.Entry(0, i), r.Spec.Name
		send(g.expiry, seconds(e.Expires), name)
		send(g.issued, seconds(e.Issued), name)
		send(g.valid, one(e.Valid), name)
		send(g.success, seconds(sc.LastSuccess), name)
		send(g.attempt, seconds(sc.LastAttempt), name)
		send(g.next, seconds(sc.Due), name)
		send(g.failures, float64(sc.Failures), name)
		if r.Accepted != refresh.Unknown {
			send(g.accepted, one(r.Accepted == refresh.Accepted), name)
		}
		h := r.Spec.Host
		send(g.info, 1, name, h.Name, h.Account, h.Region, h.Partition)
	}
	for o, out := range v.Outputs {
		send(g.contested, one(out.Contested), out.Name)
		var hidden bool
		for i := range v.Registries {
			hidden = hidden || v.Shadowed(o, i) != ""
		}
		send(g.shadowed, one(hidden), out.Name)
	}
	send(g.skew, v.Skew.Seconds())
	expiry := map[string]time.Time{}
	for _, sc := range v.Scopes {
		id := sc.Scope.Identity()
		if t, ok := expiry[id]; !ok || sc.CredentialsExpire.After(t) {
			expiry[id] = sc.CredentialsExpire
		}
	}
	for id, t := range expiry {
		send(g.credentials, seconds(t), id)
	}
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
