package sandbox

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// exchange is one request and what became known of it on its way through the sandbox.
type exchange struct {
	s *Sandbox
	w *answer
	r *http.Request

	place     place
	service   string // as in Fault.Service; "control", "proxy" or "-" otherwise
	operation string
	region    string
	who       principal
}

// answer is the ResponseWriter: it dates on the server's clock and remembers the status.
type answer struct {
	http.ResponseWriter
	now    func() time.Time
	noDate bool
	status int
}

// WriteHeader adds the Date.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
		a.Header().Set("Date", a.now().Format(http.TimeFormat))
		if a.noDate {
			a.Header()["Date"] = nil // keeps net/http from adding one
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// handle is the one handler of all three listeners.
func (s *Sandbox) handle(w http.ResponseWriter, r *http.Request) {
	x := &exchange{s: s, r: r, w: &answer{ResponseWriter: w, now: s.now}, place: placeOf(r.Host), service: "-", operation: "-"}
	defer x.finish() // also when a fault ends the connection by a panic
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // the very value, as net/http compares it
			panic(p)
		} else if p != nil { // a mistake in here must not look like a network fault
			http.Error(x.w, fmt.Sprintf("sandbox: panic: %v\n%s", p, debug.Stack()), http.StatusInternalServerError)
		}
	}()
	x.route()
	if x.w.status == 0 { // a handler that wrote nothing means 200
		x.w.WriteHeader(http.StatusOK)
	}
}

func (x *exchange) route() {
	path, local := x.r.URL.Path, x.r.TLS == nil
	id, creds := strings.CutPrefix(path, credentialsPath)
	switch {
	case x.r.Method == http.MethodConnect:
		x.service, x.operation = "proxy", x.r.Host
		x.s.connect(x)
	case local && strings.HasPrefix(path, controlPath):
		x.service, x.operation = "control", path
		x.s.control(x)
	case local && x.r.Method == http.MethodGet && creds && !strings.Contains(id, "/"):
		x.s.credentials(x, id)
	case local && strings.HasPrefix(path, metadataPath):
		x.s.metadata(x)
	case x.place.kind == nowhere:
		x.notFound()
	case x.place.kind != registryPlace && isAPICall(x.r):
		x.s.api(x)
	case x.place.kind != apiPlace && (path == "/v2" || strings.HasPrefix(path, "/v2/")):
		x.s.registryCall(x)
	default:
		x.notFound()
	}
}

func (x *exchange) notFound() {
	http.Error(x.w, fmt.Sprintf("sandbox: nothing answers %s %q on host %q.\n"+
		"AWS APIs: POST / with X-Amz-Target or an STS form, on an API host of ECR, ECR Public or STS, or on a host that is not AWS's.\n"+
		"Registry: /v2/ on a registry host, or on a host that is not AWS's.\n"+
		"On the plain listener: %s<id>, %s<id>, %s",
		x.r.Method, x.r.URL.Path, x.r.Host, credentialsPath, metadataPath, controlPath), http.StatusNotFound)
}

// finish writes the record. It never sees a body, a query or an Authorization header, so it cannot leak one.
func (x *exchange) finish() {
	switch x.service {
	case "ecr", "ecr-public", "sts":
		x.s.journal.add(Request{
			Time: x.s.now(), Service: x.service, Operation: x.operation, Region: x.region, Host: x.r.Host,
			Principal: x.who.arn(), UserAgent: x.r.UserAgent(), Status: x.w.status,
		})
	}
	status := fmt.Sprint(x.w.status)
	if x.w.status == 0 {
		status = "none"
	}
	x.s.logLine(fmt.Sprintf("%s %s %s %s %s", x.r.Method, x.service, printable(x.operation), status, printable(x.r.Host)))
}

// printable keeps what a client sent from breaking the line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// target is what the faults of this exchange are matched with.
func (x *exchange) target() target {
	return target{service: x.service, region: x.region, host: hostOnly(x.r.Host), roleARN: x.who.roleARN, role: x.who.role}
}
