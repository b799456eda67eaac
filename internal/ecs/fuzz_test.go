package ecs

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"ecr-refresher/internal/fault"
)

// FuzzMetadata puts whole HTTP answers, byte by byte as the fuzzer likes, before the client that a task uses, in a bubble: an
// answer that never ends costs nothing.
func FuzzMetadata(f *testing.F) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
	for _, raw := range []string{
		ok + fargate, ok + `{"TaskARN":"` + taskARN + `"}`, ok + `{"TaskARN":7}`, ok + "null", ok + "[]", ok + "\xef\xbb\xbf{}", ok + `{"TaskARN":"`, ok,
		"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + fargate, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n{",
		"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08", "HTTP/1.1 404 No\r\n\r\nV4 metadata handler: unable to get task arn",
		"HTTP/1.1 429 Slow\r\n\r\n", "HTTP/1.1 500 Oops\r\n\r\n\x00\xff\u202e", "HTTP/1.1 307 There\r\nLocation: http://evil.example/\r\n\r\n",
		"HTTP/1.1 103 Hint\r\n\r\n", "HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nX: y\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "\x16\x03\x01", "",
	} {
		for _, tail := range []byte{0, 'h', 'e'} {
			f.Add([]byte(raw), tail)
		}
	}
	const most = maxAnswer + 256<<10
	f.Fuzz(func(t *testing.T, raw []byte, tail byte) {
		synctest.Test(t, func(t *testing.T) {
			var dialled, took atomic.Int64
			client := directClient()
			client.Transport.(*http.Transport).DialContext = func(_ context.Context, _, addr string) (net.Conn, error) {
				if dialled.Add(1); addr != "169.254.170.2:80" {
					t.Errorf("asked %s", addr)
				}
				near, far := net.Pipe()
				go func() {
					defer far.Close()
					r := bufio.NewReader(far)
					if _, err := http.ReadRequest(r); err != nil {
						return
					}
					n, err := far.Write(raw)
					took.Add(int64(n))
					switch {
					case tail == 'h':
						_, _ = io.Copy(io.Discard, r)
					case tail == 'e' && len(raw) > 0:
						last := bytes.Repeat(raw[len(raw)-min(len(raw), 64):], 64)
						for err == nil && took.Load() <= most {
							n, err = far.Write(last)
							took.Add(int64(n))
						}
					}
				}()
				return near, nil
			}
			began := time.Now()
			task, err := Client{URI: "http://169.254.170.2/v4/SECRET", HTTP: client}.Task(t.Context())
			if spent := time.Since(began); spent > requestTimeout {
				t.Errorf("took %v", spent)
			}
			synctest.Wait()
			if took.Load() > most || dialled.Load() != 1 {
				t.Errorf("%d bytes read over %d connections", took.Load(), dialled.Load())
			}
			if err != nil {
				checkAnswerError(t, task, err, raw)
				return
			}
			again, err := ParseTaskARN(task.ARN)
			if err != nil || again.Region != task.Region || again.Account != task.Account || again.ID != task.ID || again.Partition != task.Partition || strings.Contains(task.Cluster, "/") {
				t.Errorf("read as %+v", task)
			}
		})
	})
}

// checkAnswerError: the error has a class of its own kind and a cure, names the host and not the path, and is one line.
func checkAnswerError(t *testing.T, task Task, err error, raw []byte) {
	t.Helper()
	class, _ := fault.ClassOf(err)
	known := []fault.Class{fault.Network, fault.Timeout, fault.Throttled, fault.ServerError, fault.BadRequest, fault.InvalidResponse}
	if !slices.Contains(known, class) || fault.CureOf(err) == "" || task != (Task{}) {
		t.Fatalf("%+v, class %q, cure %q: %v", task, class, fault.CureOf(err), err)
	}
	text := err.Error()
	if strings.Contains(text, "SECRET") && !bytes.Contains(raw, []byte("SECRET")) || !strings.Contains(text, "169.254.170.2") {
		t.Errorf("%q", text)
	}
	if len(text) > 800 || strings.ContainsFunc(text, unicode.IsControl) {
		t.Errorf("not one line of at most 800 bytes: %q", text)
	}
}

// FuzzMetadataURI: nobody is asked but the host that the variable names, and no error repeats what else is in it.
func FuzzMetadataURI(f *testing.F) {
	for _, uri := range []string{
		"http://169.254.170.2/v4/PLANTED-container-id", "http://169.254.170.2/v4/PLANTED-container-id/", "https://[fd00:ec2::23]:80/PLANTED-container-id?a#b",
		"http://user:PLANTED-container-id@169.254.170.2/", "http:///PLANTED-container-id", "PLANTED-container-id", "ftp://x/PLANTED-container-id", "http://%zz/PLANTED-container-id", "http://a b/", "http://x:y/PLANTED-container-id",
		"http://x/%2e%2e/PLANTED-container-id", "http://x/\x7f", "http:opaque", "HTTP://X/..//../PLANTED-container-id", "",
	} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		var asked *url.URL
		_, err := Client{URI: uri, HTTP: &http.Client{Transport: &script{steps: []func(*http.Request) (*http.Response, error){
			func(r *http.Request) (*http.Response, error) {
				asked = r.URL
				return reply(404, "")(r)
			}}}}}.Task(t.Context())
		class, _ := fault.ClassOf(err)
		if class != fault.BadRequest { // the URI is not valid, or 404
			t.Fatalf("%v", err)
		}
		at, bad := url.Parse(uri)
		if asked != nil && (bad != nil || asked.Hostname() != at.Hostname() || asked.Port() != at.Port() || asked.Scheme != at.Scheme || !strings.HasSuffix(asked.Path, "task")) {
			t.Errorf("%q made us ask %s", uri, asked)
		}
		if told := strings.Contains(err.Error(), "is not an http URL"); told != (asked == nil) {
			t.Errorf("%q: asked %v, and the error is %v", uri, asked, err)
		}
		if text := err.Error(); strings.Contains(text, "PLANTED-container-id") && (at == nil || !strings.Contains(at.Host, "PLANTED-container-id")) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("%q: %q", uri, text)
		}
	})
}
