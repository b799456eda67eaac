package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"healthcheck": main})
}

// TestScript calls the program as ECS does, and as people do. GOOD and BAD are where a refresher says that it is healthy, and not.
func TestScript(t *testing.T) {
	listen := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	good, bad := listen(http.StatusOK, "ok\n"), listen(http.StatusServiceUnavailable, "no token\n")
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GOOD", good)
			env.Setenv("BAD", bad)
			return nil
		},
	})
}
