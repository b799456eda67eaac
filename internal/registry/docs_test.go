package registry

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The documentation shows lines to copy: each must work.
func TestDocumentedLinesParse(t *testing.T) {
	var doc []byte
	for _, file := range []string{"../../README.md", "../../docs/registries.md"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc = append(doc, b...)
	}
	spans := regexp.MustCompile("(?m)(?:`|^\\s*)--registry ['\"]?([^`'\"\\s]+)").FindAllSubmatch(doc, -1)
	if n := strings.Count(string(doc), "--registry "); n != len(spans) {
		t.Errorf("%d mentions of --registry, %d of them read: this test overlooks some", n, len(spans))
	}
	shown := map[string]bool{}
	for _, span := range spans {
		s, err := ParseSpec(string(span[1]))
		if err != nil {
			t.Errorf("%s: %v", span[1], err)
			continue
		}
		shown[s.Host.Partition] = true
		for key := range strings.SplitSeq(s.String(), "&") {
			_, key, _ = strings.Cut("&"+key[strings.IndexByte(key, '?')+1:], "&")
			key, _, _ = strings.Cut(key, "=")
			shown[key] = true
		}
	}
	for _, p := range partitions {
		if !shown[p.id] {
			t.Errorf("no example for partition %s", p.id)
		}
	}
	for _, name := range optionNames {
		if !shown[name] {
			t.Errorf("no example for option %s", name)
		}
	}
}
