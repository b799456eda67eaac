package main

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"ecr-refresher/internal/health"
	"ecr-refresher/internal/refresh"
)

// once is the command of that name: it ends with 0 as soon as every output holds a valid token for every registry that is
// not optional. It asks no registry: a run that follows adopts the tokens and does.
func once(ctx context.Context, inv invocation, cli parsed) int {
	set := cli.settings
	limitMemory(inv.getenv, readFile)
	set.verify = verifyOff
	log := newLogger(inv.out, set)
	warnEnvironment(inv, log)
	ctx, cancel := context.WithTimeoutCause(ctx, set.deadline, errOnceDeadline)
	defer cancel()
	news := make(chan struct{}, 1)
	a, err := assemble(ctx, inv, set, log, func(c *refresh.Config) {
		c.OnSnapshot = func(*refresh.Snapshot) {
			select {
			case news <- struct{}{}:
			default:
			}
		}
	})
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(inv.err, "refresher:", err)
		return exitUsage
	}
	if err != nil {
		log.Error("not written", zap.Error(errors.Join(context.Cause(ctx), err)))
		return exitFailed
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = a.loop.Run(running) // nil after a stop
	}()
	defer func() { stop(); <-ended }()
	for {
		if health.Written(a.loop.View()).OK {
			log.Info("written", zap.Strings("outputs", a.paths))
			return exitOK
		}
		select {
		case <-news:
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errOnceDeadline) {
				log.Error("not written in time", zap.Duration("deadline", set.deadline), zap.Strings("reasons", health.Written(a.loop.View()).Reasons))
			}
			return exitFailed
		}
	}
}

var errOnceDeadline = errors.New("the deadline passed")
