package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const controlPath = "/control/"

// control is for people and for the demo: it changes and shows what the Go API does.
func (s *Sandbox) control(x *exchange) {
	w, r := x.w, x.r
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, controlPath) {
	case "GET ":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprint(w, controlHelp())
	case "GET faults":
		controlJSON(w, s.Faults())
	case "PUT faults":
		var faults []Fault
		if controlRead(x, &faults) {
			s.Set(faults...)
			controlJSON(w, s.Faults())
		}
	case "DELETE faults":
		s.Set()
		w.WriteHeader(http.StatusNoContent)
	case "PUT settings":
		s.controlSettings(x)
	case "POST revoke":
		s.RevokeTokens()
		w.WriteHeader(http.StatusNoContent)
	case "POST expire-credentials":
		s.ExpireCredentials()
		w.WriteHeader(http.StatusNoContent)
	case "GET calls":
		controlJSON(w, s.Calls())
	case "GET requests":
		controlJSON(w, s.Requests())
	default:
		http.Error(w, fmt.Sprintf("sandbox: no %s %s. GET %s says what there is.", r.Method, r.URL.Path, controlPath), http.StatusNotFound)
	}
}

// controlSettings changes the settings that are given, all or none.
func (s *Sandbox) controlSettings(x *exchange) {
	var in struct {
		TokenLife      *string `json:"token_life"`
		CredentialLife *string `json:"credential_life"`
		Latency        *string `json:"latency"`
		ClockOffset    *string `json:"clock_offset"`
	}
	if !controlRead(x, &in) {
		return
	}
	var apply []func()
	for _, f := range []struct {
		name     string
		text     *string
		set      func(time.Duration)
		positive bool
	}{
		{"token_life", in.TokenLife, s.SetTokenLife, true},
		{"credential_life", in.CredentialLife, s.SetCredentialLife, true},
		{"latency", in.Latency, s.SetLatency, false},
		{"clock_offset", in.ClockOffset, s.SetClockOffset, false},
	} {
		if f.text == nil {
			continue
		}
		d, err := time.ParseDuration(*f.text)
		if err == nil && f.positive && d <= 0 {
			err = fmt.Errorf("%v is not positive", d)
		}
		if err != nil {
			http.Error(x.w, fmt.Sprintf("sandbox: %s: %v", f.name, err), http.StatusBadRequest)
			return
		}
		apply = append(apply, func() { f.set(d) })
	}
	for _, f := range apply {
		f()
	}
	v := s.settings.values()
	controlJSON(x.w, map[string]string{
		"token_life": v.tokenLife.String(), "credential_life": v.credentialLife.String(),
		"latency": v.latency.String(), "clock_offset": v.offset.String(),
	})
}

func controlRead(x *exchange, v any) bool {
	err := decodeStrict(http.MaxBytesReader(x.w, x.r.Body, maxBody), v)
	if err != nil {
		http.Error(x.w, "sandbox: "+err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

func controlJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client may be gone
}

func controlHelp() string {
	var b strings.Builder
	b.WriteString(`The sandbox's control endpoint.

GET    /control/faults               what is armed
PUT    /control/faults               replace: [{"service":"ecr","kind":"throttled","count":3,"region":"","host":"","role":"","latency":""}]
DELETE /control/faults               clear
PUT    /control/settings             {"token_life":"12h","credential_life":"6h","latency":"1ms","clock_offset":"0s"}, each optional
POST   /control/revoke               the registry refuses every token issued so far
POST   /control/expire-credentials   every access key issued so far is expired
GET    /control/calls                counts
GET    /control/requests             the last AWS API calls

Faults by service:
`)
	for _, service := range Services() {
		fmt.Fprintf(&b, "  %s:", service)
		for _, k := range Kinds(service) {
			b.WriteString(" " + string(k))
		}
		b.WriteString("\n")
	}
	return b.String()
}
