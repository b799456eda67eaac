package ecs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ecr-refresher/internal/fault"
)

const taskARN = "arn:aws:ecs:us-west-2:111122223333:task/default/" + id

// fargate is cut down from the example in the ECS developer guide.
const fargate = `{
  "Cluster": "arn:aws:ecs:us-west-2:111122223333:cluster/prod", "TaskARN": "` + taskARN + `",
  "Family": "curltest", "ServiceName": "MyService", "Revision": "3", "DesiredStatus": "RUNNING", "KnownStatus": "RUNNING",
  "Limits": {"CPU": 0.25, "Memory": 512}, "AvailabilityZone": "us-west-2-lax-1a", "LaunchType": "FARGATE",
  "Containers": [{"DockerId": "cd18", "Labels": {"com.amazonaws.ecs.task-arn": "other"}}],
  "ClockDrift": {"ClockErrorBound": 0.5458234999999999, "ReferenceTimestamp": "2021-09-07T16:57:44Z", "ClockSynchronizationStatus": "SYNCHRONIZED"}
}`

var fargateTask = Task{
	ARN: taskARN, Partition: "aws", Region: "us-west-2", Account: "111122223333", ID: id, Cluster: "prod",
	Family: "curltest", Revision: "3", ServiceName: "MyService", LaunchType: "FARGATE",
	ClockDrift: ClockDrift{ErrorBoundMillis: 0.5458234999999999, Status: "SYNCHRONIZED"},
}

// bare is what a Task is when the answer has a TaskARN and nothing else.
var bare = Task{ARN: taskARN, Partition: "aws", Region: "us-west-2", Account: "111122223333", ID: id, Cluster: "default"}

// endpoint serves at /v4/SECRET/task, whose path must not be in an error.
func endpoint(t *testing.T, h http.HandlerFunc) Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v4/SECRET/task", h)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return Client{URI: server.URL + "/v4/SECRET"}
}

func TestTask(t *testing.T) {
	with := func(change func(*Task)) Task { task := bare; change(&task); return task }
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   Task
		errs   []string // parts of the error; none: success
		class  fault.Class
	}{
		{name: "fargate", body: fargate, want: fargateTask},
		{name: "only an ARN", body: `{"TaskARN":"` + taskARN + `"}`, want: bare},
		{name: "short cluster name", body: `{"Cluster":"prod","TaskARN":"` + taskARN + `"}`, want: with(func(t *Task) { t.Cluster = "prod" })},
		{name: "cluster ARN that ends early", body: `{"Cluster":"arn:aws:ecs:x:y:cluster/","TaskARN":"` + taskARN + `"}`, want: bare},
		{name: "old ARN, cluster beside it", body: `{"Cluster":"old","TaskARN":"arn:aws:ecs:us-west-2:111122223333:task/` + id + `"}`,
			want: with(func(t *Task) { t.Cluster, t.ARN = "old", "arn:aws:ecs:us-west-2:111122223333:task/"+id })},
		{name: "clock without a time", body: `{"TaskARN":"` + taskARN + `","ClockDrift":{"ClockErrorBound":1234,"ClockSynchronizationStatus":"NOT_SYNCHRONIZED"}}`,
			want: with(func(t *Task) { t.ClockDrift = ClockDrift{ErrorBoundMillis: 1234, Status: "NOT_SYNCHRONIZED"} })},
		{name: "other types elsewhere", body: `{"Family":["x"],"Revision":7,"ClockDrift":"none","ServiceName":null,"TaskARN":"` + taskARN + `"}`, want: bare},

		{name: "429", status: 429, body: "rate exceeded", errs: []string{"status 429", `"rate exceeded"`, "40 requests a second"}, class: fault.Throttled},
		{name: "500", status: 500, body: "oops", errs: []string{"status 500", `"oops"`, "wait"}, class: fault.ServerError},
		{name: "503", status: 503, errs: []string{"status 503", "wait"}, class: fault.ServerError},
		{name: "404", status: 404, body: "V4 task metadata handler: unable to get task arn", errs: []string{"status 404", "unable to get", "ECS_CONTAINER_METADATA_URI_V4"}, class: fault.BadRequest},
		{name: "403", status: 403, errs: []string{"status 403", "proxy", "AWS_REGION"}, class: fault.BadRequest},
		{name: "no body", errs: []string{"not JSON", "proxy"}, class: fault.InvalidResponse},
		{name: "html", body: "<html>" + strings.Repeat("long", 1000), errs: []string{`not JSON: it begins "<html>long`, "proxy"}, class: fault.InvalidResponse},
		{name: "cut off", body: fargate[:200], errs: []string{"not JSON"}, class: fault.InvalidResponse},
		{name: "two documents", body: fargate + fargate, errs: []string{"not JSON"}, class: fault.InvalidResponse},
		{name: "no ARN", body: `{"Cluster":"x"}`, errs: []string{"no TaskARN", "proxy"}, class: fault.InvalidResponse},
		{name: "null", body: `null`, errs: []string{"no TaskARN"}, class: fault.InvalidResponse},
		{name: "a list", body: `[1,2]`, errs: []string{"no TaskARN"}, class: fault.InvalidResponse},
		{name: "ARN of another type", body: `{"TaskARN":7}`, errs: []string{"no TaskARN"}, class: fault.InvalidResponse},
		{name: "ARN of a service", body: `{"TaskARN":"arn:aws:ecs:us-west-2:111122223333:service/x/y"}`, errs: []string{"not the ARN of a task", "arn:PARTITION"}, class: fault.InvalidResponse},
		{name: "1 MiB", body: pad(fargate, 1<<20), want: fargateTask},
		{name: "1 MiB and a byte", body: pad(fargate, 1<<20+1), errs: []string{"larger than 1 MiB"}, class: fault.InvalidResponse},
		{name: "more than 1 MiB of an error", status: 500, body: strings.Repeat("x", 2<<20), errs: []string{"status 500"}, class: fault.ServerError},
	} {
		t.Run(test.name, func(t *testing.T) {
			requests := 0
			client := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
				requests++
				if test.status != 0 {
					w.WriteHeader(test.status)
				}
				_, _ = io.WriteString(w, test.body)
			})
			got, err := client.Task(t.Context())
			if requests != 1 {
				t.Errorf("%d requests, want 1", requests)
			}
			if got != test.want {
				t.Errorf("\n got %+v\nwant %+v", got, test.want)
			}
			checkError(t, err, test.errs, test.class)
		})
	}
}

func pad(json string, size int) string { return json + strings.Repeat(" ", size-len(json)) }

func checkError(t *testing.T, err error, parts []string, class fault.Class) {
	t.Helper()
	if len(parts) == 0 {
		if err != nil {
			t.Errorf("error %v", err)
		}
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error()+"; "+fault.CureOf(err), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
	if got, _ := fault.ClassOf(err); got != class {
		t.Errorf("%q: class %q, want %q", err, got, class)
	}
	if len(err.Error()) > 400 || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("error is a dump or names the path: %s", err)
	}
}

func TestTaskWithoutAnEndpoint(t *testing.T) {
	for _, uri := range []string{"", "/v4/SECRET", "169.254.170.2/v4/SECRET", "http://", "file:///v4/SECRET", "unix://host/v4/SECRET", "http://[/SECRET", "http://a b/SECRET"} {
		_, err := Client{URI: uri}.Task(t.Context())
		checkError(t, err, []string{"ECS_CONTAINER_METADATA_URI_V4", "AWS_REGION"}, fault.BadRequest)
	}
}

func TestTaskUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, err = Client{URI: "http://" + addr + "/v4/SECRET"}.Task(t.Context())
	checkError(t, err, []string{addr, "connection refused", "agent is starting"}, fault.Network)
}

func TestTaskAnswerCutOff(t *testing.T) {
	client := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(fargate)))
		_, _ = io.WriteString(w, fargate[:20])
	})
	_, err := client.Task(t.Context())
	checkError(t, err, []string{"unexpected EOF"}, fault.Network)
}

// The server would go on for ever: what is too large is not waited for.
func TestTaskEndlessAnswer(t *testing.T) {
	client := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, pad("", 1<<20+1))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	_, err := client.Task(t.Context())
	checkError(t, err, []string{"larger than 1 MiB"}, fault.InvalidResponse)
}

func TestTaskHungServerEndsWithTheContext(t *testing.T) {
	asked := make(chan struct{})
	client := endpoint(t, func(_ http.ResponseWriter, r *http.Request) { close(asked); <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	_, err := client.Task(ctx)
	checkError(t, err, []string{"canceled"}, fault.Network)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v is not the context's error", err)
	}
}

func TestDefaultClientUsesNoProxyAndFollowsNothing(t *testing.T) {
	// net/http reads the proxy variables once per process: what counts is that the transport never asks.
	if transport := directClient().Transport.(*http.Transport); transport.Proxy != nil {
		t.Error("the default client has a proxy")
	}
	client := endpoint(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	_, err := client.Task(t.Context())
	checkError(t, err, []string{"status 302", "proxy"}, fault.InvalidResponse)
}

// script is a RoundTripper for a bubble: each request takes the next step, the last one again and again.
type script struct {
	mu    sync.Mutex
	steps []func(*http.Request) (*http.Response, error)
	at    []time.Duration // when each request came
	began time.Time
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	step := s.steps[min(len(s.at), len(s.steps)-1)]
	s.at = append(s.at, time.Since(s.began))
	s.mu.Unlock()
	return step(r)
}

func reply(status int, body string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

func refuse(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestWaitTask(t *testing.T) {
	type steps = []func(*http.Request) (*http.Response, error)
	ms := func(n ...int) (d []time.Duration) {
		for _, n := range n {
			d = append(d, time.Duration(n)*time.Millisecond)
		}
		return d
	}
	for _, test := range []struct {
		name    string
		steps   steps
		timeout time.Duration
		at      []time.Duration // requests
		pauses  []time.Duration
		errs    []string
		class   fault.Class
		ended   error
	}{
		{"at once", steps{reply(200, fargate)}, time.Hour, ms(0), nil, nil, "", nil},
		{"throttled, then an answer", steps{reply(429, ""), reply(200, fargate)}, time.Hour, ms(0, 100), ms(100), nil, "", nil},
		{"doubling to 2 s", steps{refuse, reply(500, ""), reply(503, ""), refuse, refuse, refuse, refuse, reply(200, fargate)}, time.Hour,
			ms(0, 100, 300, 700, 1500, 3100, 5100, 7100), ms(100, 200, 400, 800, 1600, 2000, 2000), nil, "", nil},
		{"hung for its 2 s, then an answer", steps{hang, reply(200, fargate)}, time.Hour, ms(0, 2100), ms(100), nil, "", nil},
		{"what seems to stay passes", steps{reply(404, ""), reply(200, "{}"), reply(200, "<html>"), reply(200, fargate)}, time.Hour, ms(0, 100, 300, 700), ms(100, 200, 400), nil, "", nil},
		{"the end during a pause", steps{reply(429, "slow")}, 250 * time.Millisecond, ms(0, 100), ms(100, 200),
			[]string{"2 request(s)", "deadline exceeded", "status 429", `"slow"`}, fault.Throttled, context.DeadlineExceeded},
		{"the end during a request", steps{reply(429, "slow"), hang}, 250 * time.Millisecond, ms(0, 100), ms(100),
			[]string{"2 request(s)", "deadline exceeded", "status 429"}, fault.Throttled, context.DeadlineExceeded},
		{"the end during the first request", steps{hang}, 250 * time.Millisecond, ms(0), nil,
			[]string{"1 request(s)", "no answer in time"}, fault.Timeout, context.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := &script{steps: test.steps, began: time.Now()}
				client := Client{URI: "http://169.254.170.2/v4/SECRET", HTTP: &http.Client{Transport: transport}}
				ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
				defer cancel()
				var pauses []time.Duration
				task, err := client.WaitTask(ctx, func(err error, in time.Duration) {
					if !strings.Contains(err.Error(), "169.254.170.2") {
						t.Errorf("%v does not name the endpoint", err)
					}
					pauses = append(pauses, in)
				})
				checkError(t, err, test.errs, test.class)
				if err == nil && task != fargateTask {
					t.Errorf("task %+v", task)
				}
				if test.ended != nil && !errors.Is(err, test.ended) {
					t.Errorf("%v is not %v", err, test.ended)
				}
				if got, want := fmt.Sprint(transport.at), fmt.Sprint(test.at); got != want {
					t.Errorf("requests at %s, want %s", got, want)
				}
				if got, want := fmt.Sprint(pauses), fmt.Sprint(test.pauses); got != want {
					t.Errorf("pauses %s, want %s", got, want)
				}
				if test.ended != nil && time.Since(transport.began) != test.timeout {
					t.Errorf("returned after %v, want %v", time.Since(transport.began), test.timeout)
				}
			})
		})
	}
}

func TestWaitTaskSaysWhyItWasStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		client := Client{URI: "http://169.254.170.2/v4", HTTP: &http.Client{Transport: &script{steps: []func(*http.Request) (*http.Response, error){refuse}}}}
		why := errors.New("asked to stop")
		time.AfterFunc(time.Minute, func() { cancel(why) })
		if _, err := client.WaitTask(ctx, nil); !errors.Is(err, why) {
			t.Errorf("%v does not say %v", err, why)
		}
	})
}

func FuzzTask(f *testing.F) {
	f.Add([]byte(fargate))
	f.Add([]byte(`{"TaskARN":"` + taskARN + `"}`))
	f.Add([]byte(`{"TaskARN":7,"ClockDrift":[]}`))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		client := Client{URI: "http://169.254.170.2/v4/SECRET", HTTP: &http.Client{
			Transport: &script{steps: []func(*http.Request) (*http.Response, error){reply(200, string(body))}}}}
		task, err := client.Task(t.Context())
		if err != nil {
			if class, _ := fault.ClassOf(err); class != fault.InvalidResponse || len(err.Error()) > 800 || task != (Task{}) {
				t.Errorf("task %+v, error %v", task, err)
			}
			return
		}
		again, err := ParseTaskARN(task.ARN)
		if err != nil || again.Region != task.Region || again.Account != task.Account || again.ID != task.ID || strings.Contains(task.Cluster, "/") {
			t.Errorf("%s was read as %+v", body, task)
		}
	})
}
