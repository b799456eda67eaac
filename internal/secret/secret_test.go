package secret_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"ecr-refresher/internal/secret"
)

const content = "correct horse battery staple"

// holder has the secret where fmt may not call its methods.
type holder struct {
	Public  secret.Secret
	private secret.Secret
	list    []secret.Secret
}

func TestNothingPrintsTheContent(t *testing.T) {
	s := secret.New(content)
	h := holder{Public: s, private: s, list: []secret.Secret{s}}
	var out strings.Builder
	for _, v := range []any{s, &s, h, &h, []secret.Secret{s}, map[string]secret.Secret{"k": s}, fmt.Errorf("with %v", s)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if js, err := json.Marshal(v); err == nil {
			out.Write(js)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("a line", "value", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("a line", "value", v)
	}
	for _, leak := range []string{content, fmt.Sprintf("%x", content), fmt.Sprintf("%X", content)} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("the content was printed: %s", strings.ReplaceAll(out.String(), leak, "<<LEAK>>"))
		}
	}
}

func TestValue(t *testing.T) {
	var zero secret.Secret
	a, b, other := secret.New(content), secret.New(content), secret.New("other")
	if zero.Reveal() != "" || secret.New("").Reveal() != "" {
		t.Error("the zero Secret is not empty")
	}
	if a.Reveal() != content {
		t.Error("Reveal does not return what New was given")
	}
	if a.Sum() != b.Sum() || a.Sum() == other.Sum() || a.Sum() == zero.Sum() || zero.Sum() != secret.New("").Sum() {
		t.Error("Sum does not identify the content")
	}
}
