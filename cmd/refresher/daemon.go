package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"ecr-refresher/internal/health"
	"ecr-refresher/internal/httpd"
	"ecr-refresher/internal/metrics"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/statuspage"
)

// daemon is the command run: it keeps the files good until ctx ends.
func daemon(ctx context.Context, inv invocation, cli parsed) int {
	set := cli.settings
	limitMemory(inv.getenv, readFile)
	queue := newLogQueue(inv.out, func(lines int64) {
		log := newLogger(inv.out, set)
		log.Warn("log lines lost", zap.Int64("lines", lines))
	})
	defer queue.end(lastWords)
	log := newLogger(queue, set)
	front := &front{}
	server, err := httpd.Listen(ctx, set.listen, front, zap.NewStdLog(log))
	if err != nil {
		fmt.Fprintln(inv.err, "refresher:", err)
		return exitFailed
	}
	log.Info("refresher started", zap.String("version", buildInfo().version), zap.String("listen", server.Addr().String()))
	warnEnvironment(inv, log)

	late := make(chan time.Duration, 1)
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(running) })
	group.Go(func() error { return keep(running, inv, set, log, queue, front, func(d time.Duration) { late <- d }) })
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	select {
	case err = <-done:
	case d := <-late: // whatever hangs may never end
		log.Error("the loop hangs: ending, so that the container is restarted", zap.Duration("late_by", d.Round(time.Second)))
		return exitFailed
	case <-overdue(ctx): // nor may it when it was asked to
		return exitOK
	}
	var wrong *wrongSetting
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintln(inv.err, "refresher:", wrong)
		return exitUsage
	case err != nil:
		log.Error("refresher failed", zap.Error(err))
		return exitFailed
	}
	log.Info("refresher stopped: the files stay")
	return exitOK
}

// lastWords is how long the last lines may take.
const lastWords = 100 * time.Millisecond

// overdue is closed when a stop has taken longer than anything that was waited for may take.
func overdue(ctx context.Context) <-chan struct{} {
	late := make(chan struct{})
	context.AfterFunc(ctx, func() { time.AfterFunc(stopMost, func() { close(late) }) })
	return late
}

// stopMost is above the 5 s that the loop waits for a file system, and below the 10 s of stopTimeout in deploy/taskdef.json.
const stopMost = 7 * time.Second

// keep assembles the loop, opens the front door for it, and runs it.
func keep(ctx context.Context, inv invocation, set settings, log *zap.Logger, queue *logQueue, front *front, onLate func(time.Duration)) error {
	late := &lateObserver{}
	a, err := assemble(ctx, inv, set, log, func(c *refresh.Config) {
		c.Observer = late
		c.OnLate = onLate
	})
	if ctx.Err() != nil { // asked to stop, perhaps while it waited for the task metadata
		return nil //nolint:nilerr // then nothing is wrong with the settings
	}
	if err != nil {
		return &wrongSetting{err}
	}
	t, b := a.task, buildInfo()
	counted := metrics.New(metrics.Build{Version: b.version, Revision: b.revision, GoVersion: b.goVersion},
		metrics.Task{ARN: t.ARN, Cluster: t.Cluster, Family: t.Family, Revision: t.Revision, Service: t.ServiceName}, a.names, a.paths)
	counted.LinesLost = queue.lost.Load
	late.Observer = counted
	mux := http.NewServeMux()
	about := health.About{Version: b.version, Task: t.ARN, Checks: cheapChecks(ctx, inv, set, a)}
	health.Routes(mux, a.loop, about)
	mux.Handle("GET /{$}", statuspage.Handler(func() health.Status { return health.StatusOf(a.loop.View(), about) }))
	mux.Handle("GET /metrics", counted.Handler(a.loop))
	front.open(mux)
	log.Info("keeping logged in", zap.Strings("registries", a.names), zap.Strings("outputs", a.paths), zap.String("task", t.ARN))

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.loop.Run(ctx) })
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-inv.hup:
				a.loop.Renew()
			}
		}
	})
	return group.Wait()
}

// lateObserver is the loop's observer: which series there are is known only once the registries are.
type lateObserver struct{ refresh.Observer }

// wrongSetting is a setting that only turned out to be wrong once the surroundings were known.
type wrongSetting struct{ error }

func (e *wrongSetting) Unwrap() error { return e.error }

// front is the door of the HTTP server: alive from the start, healthy once there is a loop to speak of.
type front struct{ inner atomic.Pointer[http.ServeMux] }

func (f *front) open(mux *http.ServeMux) { f.inner.Store(mux) }

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if mux := f.inner.Load(); mux != nil {
		mux.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.URL.Path == "/livez" {
		fmt.Fprintln(w, "ok")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, "starting: waiting for the task metadata of ECS")
}
