package token

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The task role's credentials do not stay in the buffer of the answer that brought them.
func TestCredentialsAreErased(t *testing.T) {
	const answer = `{"SecretAccessKey":"none"}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := survivable{http.DefaultTransport}.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	b := res.Body.(erased).b
	if got, err := io.ReadAll(res.Body); string(got) != answer || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	for i, c := range b {
		if c != 0 {
			t.Fatalf("byte %d is left", i)
		}
	}
}
