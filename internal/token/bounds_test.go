package token

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The task role's credentials do not stay in the buffer of the answer that brought them.
func TestCredentialsAreErased(t *testing.T) {
	answer := `{"Token":"` + strings.Repeat("none", 500) + `"}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	lent := &lender{RoundTripper: http.DefaultTransport}
	res, err := survivable{lent}.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(res.Body); string(got) != answer || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	for i, b := range lent.buffers {
		if len(bytes.Trim(b, "\x00")) > 0 {
			t.Errorf("something is left in buffer %d of %d bytes", i, len(b))
		}
	}
	if len(lent.buffers) == 0 {
		t.Error("nothing was read")
	}
}

// lender keeps the buffers into which its answers were read.
type lender struct {
	http.RoundTripper
	buffers [][]byte
}

func (l *lender) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := l.RoundTripper.RoundTrip(req)
	if err == nil {
		res.Body = lentBody{res.Body, l}
	}
	return res, err
}

type lentBody struct {
	io.ReadCloser
	of *lender
}

func (b lentBody) Read(p []byte) (int, error) {
	b.of.buffers = append(b.of.buffers, p)
	return b.ReadCloser.Read(p)
}
