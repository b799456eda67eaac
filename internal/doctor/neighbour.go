package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"

	"ecr-refresher/internal/writer"
)

// neighbour is what a refresher in the same task says of itself on /status: the few fields that matter here.
type neighbour struct {
	Version string
	Task    string
	Healthy *bool // never absent in an answer of ours
	Ready   bool
	Reasons []string
	Outputs []struct {
		Path      string
		Contested bool
		Repairs   int
	}
}

func (e *exam) port(ctx context.Context) []Result {
	if e.Listen == "" {
		return skip("because the address to listen on is not known (settings)")
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", e.Listen)
	if err == nil {
		_ = l.Close()
		return ok("%s is free: no refresher runs beside this", e.Listen)
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fail(err.Error(), "listen on an address of this container, and on a port above 1023 where it does not run as root\nREFRESHER_LISTEN=:9327")
	}
	n, err := e.neighbourStatus(ctx)
	if err != nil {
		return fail(fmt.Sprintf("another program listens on %s, and it is no refresher: %v", e.Listen, err),
			"let the refresher listen elsewhere; with network mode host or awsvpc all containers share the ports\nREFRESHER_LISTEN=:9328")
	}
	e.status = n
	return ok("a refresher %s listens on %s", cmp.Or(n.Version, "of unknown version"), e.Listen)
}

func (e *exam) neighbourStatus(ctx context.Context) (*neighbour, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.StatusURL, nil)
	if err != nil {
		return nil, errors.New("its address makes no URL")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this very host
	res, err := client.Do(req)
	if err != nil {
		return nil, errors.New("it does not answer /status")
	}
	defer res.Body.Close()
	var n neighbour
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil || json.Unmarshal(body, &n) != nil || n.Healthy == nil {
		return nil, fmt.Errorf("it answers /status with %d", res.StatusCode)
	}
	return &n, nil
}

func (e *exam) neighbourCheck(context.Context) []Result {
	n := e.status
	if n == nil {
		return skip("because no refresher runs beside this (port)")
	}
	var results []Result
	for _, o := range n.Outputs {
		if o.Contested {
			results = append(results, of(o.Path, warn(fmt.Sprintf("contested: it was repaired %d times; another program changes it again and again", o.Repairs),
				writer.ContestedCure+"\n"+
					`"mountPoints": [{"sourceVolume": "ecr-auth", "containerPath": "`+dirOf(Output{Path: o.Path})+`", "readOnly": true}]`))...)
		}
	}
	switch {
	case !*n.Healthy && len(n.Reasons) > 0:
		return append(results, fail("it is not healthy: "+n.Reasons[0], "see its log, and the checks above")...)
	case !*n.Healthy:
		return append(results, fail("it is not healthy", "see its log, and the checks above")...)
	case results != nil:
		return results
	case !n.Ready && len(n.Reasons) > 0:
		return warn("it is healthy, and not ready: "+n.Reasons[0], "see its log, and the checks above")
	}
	repairs := 0
	for _, o := range n.Outputs {
		repairs += o.Repairs
	}
	return ok("healthy; its files were repaired %d times since it started", repairs)
}
