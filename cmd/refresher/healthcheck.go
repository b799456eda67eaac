package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// healthcheck asks the refresher of this container whether a consumer finds valid tokens: 0 for yes, 1 for everything else,
// with one line that says why. It ends within 4 s: ECS gives it 5.
func healthcheck(ctx context.Context, inv invocation, listen string) int {
	if _, port, _ := net.SplitHostPort(listen); port == "0" {
		fmt.Fprintln(inv.out, "unhealthy: --listen names port 0, so nobody can know where the refresher listens; give it a port")
		return exitFailed
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local(listen)+"/healthz", nil)
	if err != nil {
		fmt.Fprintln(inv.out, "unhealthy:", err)
		return exitFailed
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this very host
	res, err := client.Do(req)
	for again := 10 * time.Millisecond; cutOff(err) && pause(ctx, again); again *= 2 {
		res, err = client.Do(req)
	}
	if err != nil {
		fmt.Fprintln(inv.out, "unhealthy: the refresher does not answer; see that it runs and that it has the same REFRESHER_LISTEN:", err)
		return exitFailed
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if res.StatusCode != http.StatusOK {
		fmt.Fprintln(inv.out, "unhealthy:", strings.ReplaceAll(strings.TrimSpace(string(body)), "\n", "; "))
		return exitFailed
	}
	fmt.Fprintln(inv.out, "healthy")
	return exitOK
}

// cutOff reports whether the server closed the connection before it answered: so it does where more connections come than it
// keeps, and the next one may have better luck.
func cutOff(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}

// pause waits for d; false where ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// local is the address at which a server that listens on another one is reached from here.
func local(listen string) string {
	host, port, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
