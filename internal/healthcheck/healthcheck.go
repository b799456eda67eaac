// Package healthcheck asks the refresher of this container whether a consumer finds valid tokens. ECS starts the process that
// does so every few seconds for ever: it is the largest cost of the whole sidecar. So this package knows of HTTP only the one
// request that it makes, and imports nothing that takes time to start.
//
// It refuses to know what healthy means.
package healthcheck

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DefaultListen is where a refresher listens unless it is told otherwise.
const DefaultListen = ":9327"

// within is how long an answer is waited for: ECS gives the health check of deploy/taskdef.json 5 s.
const within = 4 * time.Second

// Ask asks the refresher that was told to listen on an address, and returns its verdict in a line of words. It takes 4 s at the
// most.
func Ask(listen string) (healthy bool, verdict string) {
	switch _, port, err := net.SplitHostPort(listen); {
	case err != nil || port == "":
		return false, "unhealthy: --listen (REFRESHER_LISTEN) is no address, such as :9327: " + strconv.Quote(listen)
	case port == "0":
		return false, "unhealthy: --listen names port 0, so nobody can know where the refresher listens; give it a port"
	}
	status, body, err := get(Local(listen), time.Now().Add(within))
	switch {
	case err != nil:
		return false, "unhealthy: the refresher does not answer; see that it runs and that it has the same REFRESHER_LISTEN: " + err.Error()
	case status != "200":
		return false, "unhealthy: " + strings.ReplaceAll(strings.TrimSpace(body), "\n", "; ")
	}
	return true, "healthy"
}

// Local is the address at which a server that listens on another one is reached from here.
func Local(listen string) string {
	host, port, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

// get asks for /healthz until it is answered or the time is up. A server that has more connections than it keeps cuts some off:
// the next one may have better luck.
func get(addr string, deadline time.Time) (status, body string, err error) {
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		status, body, err = once(addr, deadline)
		if !cutOff(err) || time.Until(deadline) < wait {
			return status, body, err
		}
		time.Sleep(wait) //nolint:forbidigo // in a process that does nothing else, and ends by a signal
	}
}

func once(addr string, deadline time.Time) (status, body string, err error) {
	dialer := net.Dialer{Deadline: deadline}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", "", err
	}
	// HTTP/1.0: nothing is chunked, and the server closes after its answer.
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"); err != nil {
		return "", "", err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 8<<10))
	if err != nil {
		return "", "", err
	}
	if len(answer) == 0 {
		return "", "", io.EOF
	}
	head, rest, whole := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !whole || len(head) < len("HTTP/1.0 200") || !bytes.HasPrefix(head, []byte("HTTP/1.")) {
		return "", "", errors.New("what answers there is no refresher")
	}
	return string(head[9:12]), string(rest), nil
}

// cutOff reports whether the server closed the connection before it answered.
func cutOff(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}
