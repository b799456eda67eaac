package plain

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for _, test := range []struct {
		name, in, want string
		most           int // 0: 100
	}{
		{name: "empty"},
		{name: "as it is", in: `docker-credential-ecr "a" 'b' <c> & \n é 日本 ✕`, want: `docker-credential-ecr "a" 'b' <c> & \n é 日本 ✕`},
		{name: "escape sequence", in: "a\x1b[2Jb", want: `a\x1b[2Jb`},
		{name: "line breaks", in: "a\r\nb\vc\fd\u0085e\u2028f\u2029g", want: `a\r\nb\vc\fd\u0085e\u2028f\u2029g`},
		{name: "NUL, backspace, bell, tab, DEL", in: "\x00\b\a\t\x7f", want: `\x00\b\a\t\x7f`},
		{name: "C1 controls", in: "\u009b31m\u009d", want: `\u009b31m\u009d`},
		{name: "bidi overrides", in: "\u202da\u202eb\u202c", want: `\u202da\u202eb\u202c`},
		{name: "bidi embeddings", in: "\u202aa\u202bb", want: `\u202aa\u202bb`},
		{name: "bidi isolates", in: "\u2066a\u2067b\u2068c\u2069", want: `\u2066a\u2067b\u2068c\u2069`},
		{name: "bidi marks", in: "\u200ea\u200fb\u061c", want: `\u200ea\u200fb\u061c`},
		{name: "zero width", in: "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg", want: `a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg`},
		{name: "blank letters and selectors", in: "\u3164\u115f\u1160\uffa0\u034f\ufe0f\u180b", want: `\u3164\u115f\u1160\uffa0\u034f\ufe0f\u180b`},
		{name: "tags", in: "\U000e0041\U000e0100", want: `\U000e0041\U000e0100`},
		{name: "other spaces", in: "a\u00a0b\u3000c\u2003d", want: `a\u00a0b\u3000c\u2003d`},
		{name: "private use, not assigned", in: "\ue000\U0010ffff\u0378", want: `\ue000\U0010ffff\u0378`},
		{name: "not UTF-8", in: "a\xff\xc3", want: `a\xff\xc3`},
		{name: "a replacement character is a character", in: "\ufffd", want: "\ufffd"},
		{name: "surrogate half", in: "\xed\xa0\x80", want: `\xed\xa0\x80`},

		{name: "just fits", in: strings.Repeat("a", 40), most: 40, want: strings.Repeat("a", 40)},
		{name: "one too many", in: strings.Repeat("a", 20) + strings.Repeat("b", 21), most: 40,
			want: "aaaaaaaa…(26 bytes left out)…bbbbbbb"},
		{name: "start and end stay", in: "begins " + strings.Repeat("x", 1000) + " ends", most: 60,
			want: "begins xxxxxxxxxx…(979 bytes left out)…xxxxxxxxxxx ends"},
		{name: "no escape is cut", in: strings.Repeat("\u202e", 20), most: 50, want: `\u202e\u202e…(48 bytes left out)…\u202e\u202e`},
		{name: "no character is cut", in: strings.Repeat("日", 20), most: 40, want: "日日日…(45 bytes left out)…日日"},
		{name: "no room at all", in: "abc", most: 1, want: "…(3 bytes left out)…"},
	} {
		most := test.most
		if most == 0 {
			most = 100
		}
		got := Text(test.in, most)
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		if test.most != 1 && Text(got, most) != got {
			t.Errorf("%s: %s is not left alone", test.name, got)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\u202e\xff"+strings.Repeat("é", 99), uint16(50))
	f.Fuzz(func(t *testing.T, s string, n uint16) {
		most := int(n)
		got := Text(s, most)
		if len(got) > max(most, len(mark(len(s)))) || !utf8.ValidString(got) {
			t.Errorf("%d bytes of at most %d: %q", len(got), most, got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("not printable: %q", got)
		}
	})
}
