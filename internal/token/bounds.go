package token

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"ecr-refresher/internal/secret"
)

// maxAnswer bounds the body of an answer, and its header: AWS's have a few KB. The SDK reads both to whatever end there is, into
// memory.
const maxAnswer = 1 << 20

// bounded is a transport whose answers end. It holds a request's body in memory, a few hundred bytes: the SDK closes the body as
// soon as an answer begins, and net/http may still be reading it then, and would close the connection in the middle of the answer.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		body, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("read the request's body: %w", err)
		}
		req = req.WithContext(req.Context()) // a copy
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	res, err := b.RoundTripper.RoundTrip(req)
	if err == nil {
		res.Body = http.MaxBytesReader(nil, res.Body, maxAnswer)
	}
	return res, err
}

// CloseIdleConnections is for http.Client.
func (b bounded) CloseIdleConnections() {
	if c, ok := b.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// survivable is for the container's credential endpoint: it turns an answer that is the JSON null into an error. The SDK's
// provider makes a nil pointer of it and follows that, in a goroutine of its own, where the panic ends the process.
type survivable struct{ http.RoundTripper }

func (s survivable) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := s.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := secret.ReadAll(res.Body, 8<<10, maxAnswer) // one is 1 to 2 KB
	_ = res.Body.Close()
	switch {
	case err != nil:
		return nil, err
	case bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("null")):
		clear(body)
		return nil, errors.New("the answer is null")
	}
	res.Body = erased{bytes.NewReader(body), body}
	return res, nil
}

// erased is an answer whose bytes are zeroed when it is closed: they are credentials.
type erased struct {
	*bytes.Reader
	b []byte
}

func (e erased) Close() error {
	clear(e.b)
	return nil
}
