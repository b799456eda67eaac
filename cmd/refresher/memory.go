package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"ecr-refresher/internal/token"
)

// tidy gives back what some calls leave behind, whenever a moment of quiet was told and has lasted: connections, which nobody
// needs for hours, and what the handshakes and the answers of many of them have left to the garbage collector. A process that
// is small enough never to have run that stays so: once it has run, Go runs it every two minutes for ever.
func tidy(ctx context.Context, quiet <-chan struct{}, client *token.Client) {
	var seen uint64
	lasted := time.NewTimer(0)
	lasted.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-quiet:
			client.CloseIdle()
			lasted.Reset(quietFor)
		case <-lasted.C:
			if collections() == seen {
				continue
			}
			runtime.GC() // what lies in pools outlives one collection
			debug.FreeOSMemory()
			seen = collections()
		}
	}
}

// quietFor is how long nothing happens before the process tidies up: the first file and its consumers come first.
const quietFor = 500 * time.Millisecond

// collections is how often the garbage collector has run.
func collections() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
