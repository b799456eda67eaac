package health

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"ecr-refresher/internal/health/healthtest"
)

// What others write into the volume reaches /readyz and /status only in printable characters.
func TestForeignTextIsPrintable(t *testing.T) {
	for name, view := range healthtest.ForeignViews(t) {
		for _, path := range []string{"/readyz", "/status"} {
			body := ask(routes(fixed{view}), "GET", path).Body.String()
			if path == "/status" {
				body = strings.Join(texts(t, body), "\n") // as jq -r prints it
			}
			if !strings.Contains(body, healthtest.ForeignShown) {
				t.Errorf("%s, %s: the text is not there:\n%s", name, path, body)
			}
			if i := strings.IndexFunc(body, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%s, %s: %q", name, path, body[max(0, i-20):min(len(body), i+20)])
			}
		}
	}
}

// texts are all strings of a JSON document.
func texts(t *testing.T, body string) (all []string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			all = append(all, v)
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for k, e := range v {
				all = append(all, k)
				walk(e)
			}
		}
	}
	walk(v)
	return all
}
