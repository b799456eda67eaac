package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ecr-refresher/internal/refresh"
)

// state is the collector of the gauges. It asks for one view in each scrape, so that all gauges describe one moment.
type state struct{ src Source }

// What a consumer of the primary output finds for a registry, and what is known of its next renewal.
var (
	tokenExpiry = gauge("token_expiry_timestamp_seconds",
		"When the token in the primary output expires; 0 where there is none of ours.", "registry")
	tokenIssued = gauge("token_issued_timestamp_seconds",
		"When the token in the primary output was issued; 0 where there is none of ours.", "registry")
	tokenValid  = gauge("token_valid", "1 where a consumer that reads the primary output now finds a valid token.", "registry")
	lastSuccess = gauge("last_success_timestamp_seconds", "When a token was last obtained; 0 before the first.", "registry")
	lastAttempt = gauge("last_attempt_timestamp_seconds", "When a token was last asked for; 0 before the first.", "registry")
	nextRefresh = gauge("next_refresh_timestamp_seconds", "When the token is renewed next.", "registry")
	failures    = gauge("consecutive_failures", "Attempts that failed since the last success.", "registry")
	accepted    = gauge("token_accepted",
		"1 where the registry itself accepts the token, 0 where it rejects it; absent while it could not be asked.", "registry")
	registryInfo = gauge("registry_info", "What the name of a registry stands for; always 1.",
		"registry", "host", "account", "region", "partition")
)

// The state of an output.
var (
	contested = gauge("output_contested", "1 while another program changes our entries again and again.", "output")
	shadowed  = gauge("output_shadowed", "1 where a credential helper hides an entry of ours from docker.", "output")
	broken    = gauge("output_broken_entries", "Entries of others that keep programs from reading the file.", "output")
)

// The state of the process.
var (
	skew        = gauge("clock_skew_seconds", "How far the local clock is ahead of AWS's; 0 until AWS has answered.")
	credentials = gauge("credentials_expiry_timestamp_seconds",
		"When the credentials that last asked for a token expire; 0 where that is not known.", "identity")
)

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		tokenExpiry, tokenIssued, tokenValid, lastSuccess, lastAttempt, nextRefresh, failures, accepted, registryInfo,
		contested, shadowed, broken, skew, credentials,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s state) Collect(ch chan<- prometheus.Metric) {
	set := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	v := s.src.View()
	for i, r := range v.Registries {
		sc, e, h, name := v.Scopes[r.Scope], v.Entry(0, i), r.Spec.Host, r.Spec.Name
		set(tokenExpiry, seconds(e.Expires), name)
		set(tokenIssued, seconds(e.Issued), name)
		set(tokenValid, one(e.Valid), name)
		set(lastSuccess, seconds(sc.LastSuccess), name)
		set(lastAttempt, seconds(sc.LastAttempt), name)
		set(nextRefresh, seconds(sc.Due), name)
		set(failures, float64(sc.Failures), name)
		if r.Accepted != refresh.Unknown {
			set(accepted, one(r.Accepted == refresh.Accepted), name)
		}
		set(registryInfo, 1, name, h.Name, h.Account, h.Region, h.Partition)
	}
	for o, out := range v.Outputs {
		hidden := false
		for i := range v.Registries {
			hidden = hidden || v.Shadowed(o, i) != ""
		}
		set(contested, one(out.Contested), out.Name)
		set(shadowed, one(hidden), out.Name)
		set(broken, float64(v.OnDisk[o].Obstacles.BrokenCount), out.Name)
	}
	set(skew, v.Skew.Seconds())
	// Scopes of one identity have credentials of their own: the latest expiry counts.
	expiry := map[string]time.Time{}
	for _, sc := range v.Scopes {
		id := sc.Scope.Identity()
		if t, ok := expiry[id]; !ok || sc.CredentialsExpire.After(t) {
			expiry[id] = sc.CredentialsExpire
		}
	}
	for id, t := range expiry {
		set(credentials, seconds(t), id)
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
