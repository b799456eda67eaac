package sandbox

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// fuzzed is a sandbox whose handler is called without a socket.
func fuzzed(f *testing.F) *Sandbox {
	f.Helper()
	s, err := Start(Config{Latency: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	return s
}

// FuzzControl: what people and scripts send to the control endpoint is done or refused in words, all of it or nothing.
func FuzzControl(f *testing.F) {
	for _, add := range []struct{ method, path, body string }{
		{"PUT", "faults", `[{"service":"ecr","kind":"throttled","count":2},{"service":"sts","kind":"slow","latency":"1s"}]`},
		{"PUT", "faults", `[{"service":"ecr","kind":"throttled","count":-1}]`}, {"PUT", "faults", `[{"service":"ecr","kind":"slow","latency":"1e9h"}]`}, {"PUT", "faults", `{}`}, {"PUT", "faults", `null`}, {"PUT", "faults", `[null]`}, {"PUT", "faults", `[] []`},
		{"PUT", "settings", `{"token_life":"1ns","credential_life":"-1s"}`}, {"PUT", "settings", `{"latency":"2540400h","clock_offset":"-2540400h"}`}, {"PUT", "settings", `{"token_life":null}`}, {"PUT", "settings", `null`},
		{"DELETE", "faults", ""}, {"POST", "revoke", "x"}, {"POST", "expire-credentials", ""}, {"GET", "calls", ""}, {"GET", "requests", ""}, {"GET", "", ""}, {"PATCH", "../..", ""}, {"GET", "\x00", ""},
	} {
		f.Add(add.method, add.path, add.body)
	}
	s := fuzzed(f)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		s.Set()
		before := s.settings.values()
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", strings.NewReader(body))
		r.Method, r.URL.Path = method, controlPath+path
		s.handle(w, r)
		switch after := s.settings.values(); {
		case w.Code == http.StatusMethodNotAllowed || w.Code == http.StatusNotFound || w.Code == http.StatusOK || w.Code == http.StatusNoContent:
			if after.tokenLife <= 0 || after.credentialLife <= 0 || after.latency < 0 {
				t.Errorf("settings %+v by %q", after, body)
			}
		case w.Code == http.StatusBadRequest:
			if after != before || len(s.Faults()) > 0 {
				t.Errorf("%q was refused, and changed something", body)
			}
			if w.Body.Len() == 0 {
				t.Errorf("%q was refused without a word", body)
			}
		default:
			if method != http.MethodConnect {
				t.Errorf("%s %q %q: %d %s", method, path, body, w.Code, w.Body)
			}
		}
		for _, fault := range s.Faults() {
			if err := fault.Validate(); err != nil {
				t.Errorf("armed, and not valid: %v", err)
			}
		}
		s.SetTokenLife(before.tokenLife)
		s.SetCredentialLife(before.credentialLife)
		s.SetLatency(before.latency)
		s.SetClockOffset(before.offset)
	})
}

// FuzzHandler: no request makes the sandbox panic, fail, or give out a secret to one who does not know how to sign.
func FuzzHandler(f *testing.F) {
	const sig = "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-west-2/ecr/aws4_request, SignedHeaders=host;x-amz-date, Signature=00\r\nX-Amz-Date: 20260101T000000Z\r\n"
	for _, raw := range []string{
		"POST / HTTP/1.1\r\nHost: api.ecr.us-west-2.amazonaws.com\r\nX-Amz-Target: AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken\r\n" + sig + "Content-Type: application/x-amz-json-1.1\r\nContent-Length: 2\r\n\r\n{}",
		"POST / HTTP/1.1\r\nHost: api.ecr-public.us-east-1.amazonaws.com\r\nX-Amz-Target: SpencerFrontendService.GetAuthorizationToken\r\nContent-Length: 2\r\n\r\n{}",
		"POST / HTTP/1.1\r\nHost: sts.us-west-2.amazonaws.com\r\n" + sig + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 43\r\n\r\nAction=AssumeRole&Version=2011-06-15&RoleArn=%zz",
		"GET /v2/ HTTP/1.1\r\nHost: 123456789012.dkr.ecr.us-west-2.amazonaws.com\r\nAuthorization: Basic QVdTOng=\r\n\r\n",
		"PUT /v2/a/b/manifests/latest HTTP/1.1\r\nHost: public.ecr.aws\r\nAuthorization: Basic !\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n\r\n",
		"GET /v2/credentials/x HTTP/1.1\r\nHost: 169.254.170.2\r\n\r\n", "GET /v4/x/task HTTP/1.1\r\nHost: x\r\n\r\n", "GET //v2/../control/faults HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: \xff\r\n\r\n",
		"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx",
	} {
		f.Add([]byte(raw))
	}
	s := fuzzed(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil || r.Method == http.MethodConnect { // which takes the connection
			return
		}
		s.Set()
		w := httptest.NewRecorder()
		began := time.Now()
		s.handle(w, r)
		if w.Code >= 500 || time.Since(began) > 5*time.Second {
			t.Errorf("%d after %v: %s", w.Code, time.Since(began), w.Body)
		}
		if strings.HasPrefix(r.URL.Path, controlPath) {
			s.SetLatency(0)
			return
		}
		for _, secret := range s.Secrets() {
			if strings.Contains(w.Body.String(), secret) {
				t.Error("a secret was given out")
			}
		}
	})
}
