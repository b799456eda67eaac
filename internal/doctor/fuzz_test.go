package doctor

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"unicode"
)

// FuzzNeighbours puts the answers of the credential endpoint, and of whatever listens where a refresher would, before the
// doctor: every result is one of its words, a line, with a cure where one is needed, and without the way to the credentials.
func FuzzNeighbours(f *testing.F) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
	for _, raw := range []string{
		ok + `{"RoleArn":"arn:aws:iam::123456789012:role/t","AccessKeyId":"A","SecretAccessKey":"S","Token":"T","Expiration":"2100-01-01T00:00:00Z"}`,
		ok + `{"version":"1","healthy":true,"ready":false,"reasons":["a\nb"],"outputs":[{"path":"/a","contested":true,"repairs":9}]}`,
		ok + `{"healthy":false,"reasons":["\u001b[31m"]}`, ok + `{"healthy":false}`, ok + `{"healthy":true,"outputs":[{}]}`, ok + "null", ok + "[]", ok, "",
		"HTTP/1.1 400 Bad\r\n\r\n{\"code\":\"InvalidIdInRequest\",\"message\":\"" + strings.Repeat("é\\n", 99) + "\"}", "HTTP/1.1 500 Oops\r\n\r\n{\"Code\":7}", "HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "HTTP/1.1 000 \r\n\r\n", "\x00",
	} {
		f.Add([]byte(raw))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	var answer atomic.Pointer[[]byte]
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = c.Write(*answer.Load())
				}
			}()
		}
	}()
	const id = "planted-credentials-id"
	cfg := Config{
		Environ: []string{fullURI + "=http://" + l.Addr().String() + "/v2/credentials/" + id}, ConsumerUID: -1,
		Listen: l.Addr().String(), StatusURL: "http://" + l.Addr().String() + "/status",
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		answer.Store(&raw)
		findings := newExam(cfg, make(chan struct{}, 1)).all(t.Context(), func(c Check) bool {
			return c.ID == "endpoint" || c.ID == "port" || c.ID == "neighbour"
		})
		if len(findings) < 3 {
			t.Errorf("%d findings: %+v", len(findings), findings)
		}
		for _, one := range findings {
			if one.Seen == "" || (one.Status == Fail || one.Status == Warn) == (one.Cure == "") {
				t.Errorf("%+v", one)
			}
			if strings.ContainsFunc(one.Seen+one.Of, unicode.IsControl) || len(one.Seen) > mostText+len("…") {
				t.Errorf("not a line that ends (%d): %q", len(one.Seen), one.Seen)
			}
			if strings.Contains(one.Seen+one.Cure, id) && !strings.Contains(string(raw), id) {
				t.Errorf("%q shows the way to the credentials", one.Seen)
			}
			if _, err := json.Marshal(one); err != nil {
				t.Error(err)
			}
		}
	})
}
