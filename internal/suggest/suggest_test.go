package suggest_test

import (
	"strings"
	"testing"

	"ecr-refresher/internal/suggest"
)

func TestNearest(t *testing.T) {
	known := []string{"role_arn", "alias", "optional"}
	for word, want := range map[string]string{
		"alias":                      "alias",
		"alais":                      "alias", // two letters changed
		"rolearn":                    "role_arn",
		"role_arns":                  "role_arn",
		"optnl":                      "", // three away
		"":                           "",
		"x":                          "",
		strings.Repeat("alias", 1e6): "",
	} {
		if got := suggest.Nearest(word, known, 2); got != want {
			t.Errorf("Nearest(%.20q) = %q, not %q", word, got, want)
		}
	}
	if got := suggest.Nearest("optnl", known, 3); got != "optional" {
		t.Errorf("three letters away, three allowed: %q", got)
	}
}
