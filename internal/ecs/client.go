package ecs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

const (
	// requestTimeout bounds one request: the agent answers from memory on the same host, in milliseconds.
	requestTimeout = 2 * time.Second
	// maxAnswer bounds the answer: a task has at most 10 containers of a few KB each.
	maxAnswer = 1 << 20
	// The agent allows 40 requests/s (burst 60) to all tasks of its instance together: at 2 s, 80 waiting tasks still fit.
	firstRetry, lastRetry = 100 * time.Millisecond, 2 * time.Second
)

// Client asks the task metadata endpoint, version 4.
type Client struct {
	// HTTP, when nil, is a client of our own: no proxy (the endpoint is link-local), no redirect, no connection kept. The
	// request is made once or a few times in months.
	HTTP *http.Client
	// URI is the value of ECS_CONTAINER_METADATA_URI_V4, without /task.
	URI string
}

// Error is what went wrong between us and the endpoint. It names the endpoint's host, never the path, which is particular
// to the container, and quotes at most the beginning of an answer.
type Error struct {
	// Status is the HTTP status, 0 when there was no answer.
	Status int

	msg       string
	cure      string
	err       error
	temporary bool
}

func (e *Error) Error() string {
	if e.cure == "" {
		return e.msg
	}
	return e.msg + "; " + e.cure
}

// Cure is what the reader can do about it: the end of the text. It may be empty.
func (e *Error) Cure() string { return e.cure }

// Unwrap gives the error of the network, of the deadline or of the ARN, if that was the cause.
func (e *Error) Unwrap() error { return e.err }

// asked reports whether there was an endpoint to ask.
func (e *Error) asked() bool { return e.Status != 0 || e.temporary }

// Temporary reports whether the same request may succeed later: throttled, a server's error, no answer in time, no network.
func (e *Error) Temporary() bool { return e.temporary }

// Task makes one request, of at most 2 s and 1 MiB. Every error is an [*Error]; [Error.Temporary] tells whether to retry.
func (c Client) Task(ctx context.Context) (Task, error) {
	endpoint, err := url.Parse(c.URI)
	if err != nil || (endpoint.Scheme != "http" && endpoint.Scheme != "https") || endpoint.Hostname() == "" ||
		strings.ContainsFunc(endpoint.Host, notASCII) {
		// The parser's error would repeat the whole value.
		return Task{}, &Error{msg: "task metadata: ECS_CONTAINER_METADATA_URI_V4 is not an http URL", cure: "ECS sets it (agent 1.39.0, " +
			"Fargate platform 1.4.0 or later), so do not set it in the task definition; outside ECS, set AWS_REGION instead"}
	}
	at := "task metadata at " + endpoint.Host
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint.JoinPath("task").String(), nil)
	if err != nil {
		return Task{}, &Error{msg: at + ": the URI makes no request"}
	}
	resp, err := cmp.Or(c.HTTP, directClient()).Do(req)
	if err != nil {
		return Task{}, unreachable(at, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case resp.StatusCode != http.StatusOK:
		return Task{}, refused(at, resp.StatusCode, body)
	case err != nil:
		return Task{}, unreachable(at, err)
	case len(body) > maxAnswer:
		return Task{}, &Error{Status: resp.StatusCode, cure: foreign,
			msg: at + ": the answer is larger than 1 MiB, so it is not ECS that answers"}
	}
	task, err := parseTask(body)
	if err != nil {
		return Task{}, &Error{Status: resp.StatusCode, msg: at + ": " + err.Error(), cure: foreign, err: err}
	}
	return task, nil
}

// notASCII also keeps control characters out of the errors that name the host: the URL's parser has those of ASCII refused.
func notASCII(r rune) bool { return r > unicode.MaxASCII }

// WaitTask asks until there is an answer or the end of ctx: after 100 ms, doubling to 2 s. Errors that seem to stay are retried
// too, as an agent that starts or a proxy that hiccups must not end a container for good; only a URI that is none ends it at
// once. logRetry, if not nil, hears of each failure that is retried and of the pause before it.
func (c Client) WaitTask(ctx context.Context, logRetry func(err error, in time.Duration)) (Task, error) {
	var last error // of the last request that failed by itself: it says more than "deadline exceeded"
	requests, pause := 0, firstRetry
	for {
		task, err := c.Task(ctx)
		requests++
		var e *Error
		if err == nil || !errors.As(err, &e) || !e.asked() {
			return task, err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if ctx.Err() == nil {
			if logRetry != nil {
				logRetry(err, pause)
			}
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		}
		if ctx.Err() != nil {
			return Task{}, fmt.Errorf("waited for ECS to say which task this is, %d request(s), until %w: %w", requests, context.Cause(ctx), last)
		}
		pause = min(2*pause, lastRetry)
	}
}

// directClient is made for each request: it keeps nothing, so there is nothing to share or to close.
func directClient() *http.Client {
	return &http.Client{
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ // Proxy stays nil: a proxy cannot reach 169.254.170.2 of this task
			DialContext:            (&net.Dialer{Timeout: requestTimeout}).DialContext,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

const foreign = "look for a proxy or another program on that address, or set AWS_REGION"

func unreachable(at string, err error) *Error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without the URL
	}
	if t := (interface{ Timeout() bool })(nil); errors.As(err, &t) && t.Timeout() {
		return &Error{msg: at + ": no answer in time", cure: "the ECS agent is starting or overloaded", err: err, temporary: true}
	}
	text := err.Error()
	if len(text) > 200 { // net/http quotes the whole first line of an answer that is no HTTP
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return &Error{msg: at + ": " + text, cure: "the ECS agent is starting, or a firewall rule keeps the container from it", err: err, temporary: true}
}

func refused(at string, status int, body []byte) *Error {
	cure, temporary := foreign, status == 0 // HTTP/1.1 000, which [Error.asked] must tell from no answer
	switch {
	case status == http.StatusTooManyRequests:
		cure, temporary = "the agent allows 40 requests a second to all tasks of the instance together: wait", true
	case status >= 500:
		cure, temporary = "the ECS agent is starting or in trouble: wait; if it stays, look at its log", true
	case status == http.StatusNotFound:
		cure = "the agent does not know this container: ECS_CONTAINER_METADATA_URI_V4 must be the one ECS set for it"
	}
	return &Error{Status: status, temporary: temporary, cure: cure,
		msg: fmt.Sprintf("%s: status %d %s", at, status, excerpt(string(body)))}
}

// parseTask reads the answer. Only TaskARN must be there and well formed: a field of an unexpected type is left empty, for
// nothing else is worth not starting for.
func parseTask(body []byte) (Task, error) {
	var answer struct {
		TaskARN, Cluster, Family, Revision, ServiceName, LaunchType, AvailabilityZone string

		ClockDrift struct {
			ClockErrorBound            float64 // milliseconds, by the ECS developer guide
			ReferenceTimestamp         string
			ClockSynchronizationStatus string
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		if other := (*json.UnmarshalTypeError)(nil); !errors.As(err, &other) {
			return Task{}, fmt.Errorf("the answer is not JSON: it begins %s", excerpt(string(body)))
		}
	}
	if answer.TaskARN == "" {
		return Task{}, fmt.Errorf("the answer has no TaskARN: it begins %s", excerpt(string(body)))
	}
	task, err := ParseTaskARN(answer.TaskARN)
	if err != nil {
		return Task{}, err
	}
	if given := answer.Cluster[strings.LastIndexByte(answer.Cluster, '/')+1:]; given != "" {
		task.Cluster = given
	}
	task.Family, task.Revision, task.ServiceName = answer.Family, answer.Revision, answer.ServiceName
	task.LaunchType, task.AvailabilityZone = answer.LaunchType, answer.AvailabilityZone
	drift := answer.ClockDrift
	task.ClockDrift = ClockDrift{ErrorBoundMillis: drift.ClockErrorBound, Status: drift.ClockSynchronizationStatus}
	if at, err := time.Parse(time.RFC3339, drift.ReferenceTimestamp); err == nil {
		task.ClockDrift.ReferenceTimestamp = at
	}
	return task, nil
}
