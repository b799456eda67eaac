package textfile

import "testing"

func TestEncodingOf(t *testing.T) {
	for text, want := range map[string]Encoding{
		"":                              "",
		"{":                             "",
		"{}":                            "",
		"\x1f\x8b\x08\x00":              "", // gzip
		"\x00":                          "",
		"é{":                            "",
		"\xef\xbb":                      "",
		"\xef\xbb\xbf":                  UTF8BOM,
		"\xef\xbb\xbf{}":                UTF8BOM,
		"\xff\xfe":                      UTF16,
		"\xff\xfe{\x00}\x00":            UTF16,
		"\xfe\xff\x00{\x00}":            UTF16,
		"{\x00}\x00":                    UTF16LE,
		"\x00{\x00}":                    UTF16BE,
		"\xff\xfe\x00\x00{\x00\x00\x00": UTF32,
		"\x00\x00\xfe\xff\x00\x00\x00{": UTF32,
		"{\x00\x00\x00}\x00\x00\x00":    UTF32LE,
		"\x00\x00\x00{\x00\x00\x00}":    UTF32BE,
		"\x00\x00\x00\x00\x00":          "", // nothing but zeros
	} {
		if got := EncodingOf([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
