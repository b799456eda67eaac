package sandbox

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestControl(t *testing.T) {
	s := start(t, Config{})
	cfg := taskConfig(t, s, "us-west-2")
	control := func(method, path, body string, status int, want string) {
		t.Helper()
		res, got := request(t, method, s.URL()+"/control/"+path, body)
		if res.StatusCode != status || !strings.Contains(got, want) {
			t.Errorf("%s %s %s: %d %s", method, path, body, res.StatusCode, got)
		}
	}
	control("GET", "", "", 200, "  registry: forbidden")
	control("GET", "faults", "", 200, "[]")
	control("PUT", "faults", `[{"service":"ecr","kind":"throttled","count":2},{"service":"sts","kind":"slow","latency":"1s"}]`, 200, `"latency": "1s"`)
	if _, err := getToken(t.Context(), cfg); codeOf(err) != "Bad Request ThrottlingException" {
		t.Errorf("with the fault: %v", err)
	}
	control("GET", "faults", "", 200, `"count": 1`)
	control("DELETE", "faults", "", 204, "")
	control("GET", "faults", "", 200, "[]")
	for body, want := range map[string]string{
		`[{"service":"ecr","kind":"bogus"}]`:                    "valid: access_denied",
		`[{"service":"s3","kind":"slow"}]`:                      "valid: credentials",
		`[{"service":"ecr","kind":"throttled","cuont":1}]`:      "cuont",
		`[{"service":"ecr","kind":"throttled","count":-1}]`:     "negative",
		`[{"service":"ecr","kind":"slow","latency":"1"}]`:       "latency",
		`[{"service":"ecr","kind":"throttled","latency":"1s"}]`: "latency",
		`[] []`: "follows",
		`{}`:    "object",
		``:      "EOF",
	} {
		control("PUT", "faults", body, 400, want)
	}

	control("PUT", "settings", `{"token_life":"1h"}`, 200, `"token_life": "1h0m0s"`)
	if _, err := getToken(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	tok := s.Tokens()[0]
	if d := tok.Expires.Sub(tok.Issued); d != time.Hour {
		t.Errorf("token life = %v", d)
	}
	control("PUT", "settings", `{"token_life":"2h","clock_offset":"soon"}`, 400, "clock_offset")
	control("PUT", "settings", `{"token_life":"0s"}`, 400, "not positive")
	control("PUT", "settings", `{"life":"1h"}`, 400, "life")
	control("PUT", "settings", `{"credential_life":"1h","latency":"0s","clock_offset":"-1m"}`, 200, `"token_life": "1h0m0s"`)

	control("POST", "revoke", "", 204, "")
	if !s.Tokens()[0].Revoked {
		t.Error("revoke did nothing")
	}
	before, _ := cfg.Credentials.Retrieve(t.Context())
	control("POST", "expire-credentials", "", 204, "")
	if k, ok := s.vault.key(before.AccessKeyID); !ok || !k.expiredAt(s.now()) {
		t.Error("expire-credentials did nothing")
	}
	control("GET", "calls", "", 200, `"ecr:GetAuthorizationToken": 2`)
	_, body := request(t, "GET", s.URL()+"/control/requests", "")
	var reqs []Request
	if err := json.Unmarshal([]byte(body), &reqs); err != nil || len(reqs) != 2 || reqs[0].Status != 400 || reqs[1].Status != 200 {
		t.Errorf("requests = %s", body)
	}
	control("POST", "faults", "", 404, "GET /control/")
	s.ResetCalls()
	if len(s.Calls()) != 0 || len(s.Requests()) != 0 {
		t.Error("ResetCalls kept something")
	}
}
