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

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/plain"
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

// Task makes one request, of at most 2 s and 1 MiB. Every error is a [fault.Error]. It names the endpoint's host, never the
// path, which is particular to the container, and quotes at most the beginning of an answer.
func (c Client) Task(ctx context.Context) (Task, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := c.request(ctx)
	if err != nil {
		return Task{}, err
	}
	at := "task metadata at " + req.URL.Host
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
		return Task{}, &fault.Error{Class: fault.InvalidResponse, Op: at, Cure: foreign,
			Err: errors.New("the answer is larger than 1 MiB, so it is not ECS that answers")}
	}
	task, err := parseTask(body)
	if err != nil {
		return Task{}, &fault.Error{Class: fault.InvalidResponse, Op: at, Cure: foreign, Err: err}
	}
	return task, nil
}

// request is the request to the endpoint, or the reason why the URI makes none. That reason does not quote the URI.
func (c Client) request(ctx context.Context) (*http.Request, error) {
	endpoint, err := url.Parse(c.URI)
	if err == nil && (endpoint.Scheme == "http" || endpoint.Scheme == "https") && endpoint.Hostname() != "" &&
		!strings.ContainsFunc(endpoint.Host, notASCII) {
		if req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint.JoinPath("task").String(), nil); err == nil {
			return req, nil
		}
	}
	return nil, &fault.Error{
		Class: fault.BadRequest, Op: "task metadata", Err: errors.New("ECS_CONTAINER_METADATA_URI_V4 is not an http URL"),
		Cure: "ECS sets it (agent 1.39.0, Fargate platform 1.4.0 or later), so do not set it in the task definition; outside ECS, " +
			"set AWS_REGION instead",
	}
}

// notASCII also keeps control characters out of the errors that name the host: the URL's parser has those of ASCII refused.
func notASCII(r rune) bool { return r > unicode.MaxASCII }

// WaitTask asks until there is an answer or the end of ctx: after 100 ms, doubling to 2 s. Errors that seem to stay are retried
// too, as an agent that starts or a proxy that hiccups must not end a container for good; only a URI that is not valid ends it
// at once. logRetry, if not nil, hears of each failure that is retried and of the pause before it.
func (c Client) WaitTask(ctx context.Context, logRetry func(err error, in time.Duration)) (Task, error) {
	var last error // of the last request that failed by itself: it says more than "deadline exceeded"
	requests, pause := 0, firstRetry
	if _, err := c.request(ctx); err != nil {
		return Task{}, err
	}
	for {
		task, err := c.Task(ctx)
		requests++
		if err == nil {
			return task, nil
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

func unreachable(at string, err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without the URL
	}
	if t := (interface{ Timeout() bool })(nil); errors.As(err, &t) && t.Timeout() {
		return &fault.Error{Class: fault.Timeout, Op: at, Cure: "the ECS agent is starting or overloaded",
			Err: fmt.Errorf("no answer in time: %w", err)}
	}
	if text := err.Error(); len(text) > 200 { // net/http quotes the whole first line of an answer that is not HTTP
		err = errors.New(plain.Text(text, 200))
	}
	return &fault.Error{Class: fault.Network, Op: at, Err: err,
		Cure: "the ECS agent is starting, or a firewall rule keeps the container from it"}
}

func refused(at string, status int, body []byte) error {
	class, cure := fault.InvalidResponse, foreign
	switch {
	case status == http.StatusTooManyRequests:
		class, cure = fault.Throttled, "the agent allows 40 requests a second to all tasks of the instance together: wait"
	case status == http.StatusNotFound:
		class, cure = fault.BadRequest, "the agent does not know this container: ECS_CONTAINER_METADATA_URI_V4 must be the one ECS set for it"
	case status >= 500:
		class, cure = fault.ServerError, "the ECS agent is starting or in trouble: wait; if it stays, look at its log"
	case status >= 400:
		class = fault.BadRequest
	}
	return &fault.Error{Class: class, Op: at, Cure: cure, Err: fmt.Errorf("status %d %s", status, excerpt(string(body)))}
}

// parseTask reads the answer. Only TaskARN must be there and well formed: a field of an unexpected type is left empty, for
// nothing else is worth not starting for.
func parseTask(body []byte) (Task, error) {
	var answer struct {
		TaskARN, Cluster, Family, Revision, ServiceName, LaunchType string

		ClockDrift struct {
			ClockErrorBound            float64 // milliseconds, by the ECS developer guide
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
	task.LaunchType = answer.LaunchType
	drift := answer.ClockDrift
	task.ClockDrift = ClockDrift{ErrorBoundMillis: drift.ClockErrorBound, Status: drift.ClockSynchronizationStatus}
	return task, nil
}
