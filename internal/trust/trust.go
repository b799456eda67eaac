// Package trust owns the question whose certificates are believed: those of the machine's CA bundle, as by any Go program,
// without the price of parsing the 140 that AWS never uses before the first call.
//
// AWS's endpoints chain to roots of Amazon or of Starfield (https://www.amazontrust.com/repository/). So the roots of the
// bundle that name either are tried first, and what does not verify against them is verified against the whole bundle. Nothing
// is trusted that is not in the bundle, and nothing in it is not trusted.
//
// It refuses to know what the requests are for, and where the bundle is: the caller names the file.
package trust

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// Transport returns a transport like t that verifies servers against the machine's CA bundle, the few roots of it first. It
// returns t itself where few is nil, and where t has roots of its own, those of AWS_CA_BUNDLE: they are the only ones. The caller
// must not use t afterwards.
func Transport(t *http.Transport, few *x509.CertPool) http.RoundTripper {
	if few == nil || t.TLSClientConfig != nil && t.TLSClientConfig.RootCAs != nil {
		return t
	}
	quick := t.Clone()
	if quick.TLSClientConfig == nil {
		quick.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	quick.TLSClientConfig.RootCAs = few
	return &transport{quick: quick, whole: t, others: map[string]bool{}}
}

// transport sends requests by way of quick, and by way of whole to hosts whose certificate quick cannot verify.
type transport struct {
	quick, whole *http.Transport

	mu     sync.Mutex
	others map[string]bool // hosts whose certificate quick could not verify
}

// RoundTrip implements http.RoundTripper. A request's body is held in memory: those of the APIs are a few hundred bytes.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	t.mu.Lock()
	other := t.others[host]
	t.mu.Unlock()
	if other {
		return t.whole.RoundTrip(req)
	}
	again := req
	if req.Body != nil && req.Body != http.NoBody {
		body, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("read the request's body: %w", err)
		}
		req, again = withBody(req, body), withBody(req, body)
	}
	resp, err := t.quick.RoundTrip(req)
	// Whatever was wrong with it: where one root of AWS has expired, say, another root of the bundle may do.
	if _, refused := errors.AsType[*tls.CertificateVerificationError](err); !refused {
		return resp, err
	}
	t.mu.Lock()
	t.others[host] = true
	t.mu.Unlock()
	return t.whole.RoundTrip(again)
}

// CloseIdleConnections is for http.Client.
func (t *transport) CloseIdleConnections() {
	t.quick.CloseIdleConnections()
	t.whole.CloseIdleConnections()
}

func withBody(req *http.Request, body []byte) *http.Request {
	req = req.WithContext(req.Context()) // a copy
	req.Body = io.NopCloser(bytes.NewReader(body))
	return req
}
