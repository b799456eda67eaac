package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ecr-refresher/internal/sandbox"
)

// TestPanicOfTheSDK has an endpoint whose answers make the AWS SDK panic, for an optional registry: the process goes on, the other
// registry is logged in to, and the stack is in the log at debug level alone.
func TestPanicOfTheSDK(t *testing.T) {
	for _, level := range []string{"debug", "info"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, `{"authorizationData":{"authorizationToken":"QVdTOnBhc3N3b3Jk","expiresAt":"NaN"}}`)
			}))
			t.Cleanup(srv.Close)
			p := newProgram(t, sandbox.Config{}, "REFRESHER_REGISTRIES=default public.ecr.aws?optional", "AWS_ENDPOINT_URL_ECR_PUBLIC="+srv.URL)
			p.start("run", "--log-level="+level)
			p.until("the failure is logged", func() bool { return p.line("renewal failed", "invalid_response") != nil })
			p.until("the other registry is ready", func() bool { code, _ := p.get("/healthz"); return code == 200 })
			stack, _ := p.line("panic in the AWS SDK", "")["stack"].(string)
			if (level == "debug") != strings.Contains(stack, "ParseEpochSeconds") {
				t.Errorf("the stack is %q", stack)
			}
			if text := p.out.String(); strings.Contains(text, "QVdTOnBhc3N3b3Jk") {
				t.Error("the answer's token is in the log")
			}
			if code := p.stop(); code != 0 {
				t.Errorf("exit status %d", code)
			}
			if p.err.String() != "" {
				t.Errorf("it says %q", p.err.String())
			}
		})
	}
}
