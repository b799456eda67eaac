// Package plain makes text that somebody else wrote safe to print: a key of the shared file, the name of a credential helper,
// the target of a link, the answer of a server.
//
// It owns one rule for all of them. It refuses to know where a text comes from, where it is shown and whether it is a secret.
package plain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s as one line that a terminal, a log viewer and a browser show as it is. What is not printable is escaped as
// in a Go string: control characters, line breaks, characters that change the direction of the text, spaces other than the
// ASCII one, characters without a width, bytes that are not UTF-8. Printable text stays as it is, and so does a result of Text.
//
// A result of more than most bytes is cut in the middle, because the reason often comes last; the number of bytes of s that
// are left out is in its place. The mark itself is never cut, however small most is.
func Text(s string, most int) string {
	whole, n := start(s, most)
	if n == len(s) {
		return whole
	}
	room := max(0, most-len(mark(len(s))))
	end, m := tail(s, room/2)
	begin, n := start(s[:len(s)-m], room-len(end))
	return begin + mark(len(s)-n-m) + end
}

func mark(bytes int) string { return fmt.Sprintf("…(%d bytes left out)…", bytes) }

// start is as much of the start of s as fits into room bytes, and how many bytes of s that is.
func start(s string, room int) (text string, n int) {
	var b strings.Builder
	for n < len(s) {
		r, size := utf8.DecodeRuneInString(s[n:])
		piece := escape(r, s[n:n+size])
		if b.Len()+len(piece) > room {
			break
		}
		b.WriteString(piece)
		n += size
	}
	return b.String(), n
}

// tail is as much of the end of s as fits into room bytes, and how many bytes of s that is.
func tail(s string, room int) (text string, n int) {
	var pieces []string
	for n < len(s) {
		r, size := utf8.DecodeLastRuneInString(s[:len(s)-n])
		piece := escape(r, s[len(s)-n-size:len(s)-n])
		if room -= len(piece); room < 0 {
			break
		}
		pieces = append(pieces, piece)
		n += size
	}
	slices.Reverse(pieces)
	return strings.Join(pieces, ""), n
}

// escape returns r, which is encoded as s, or its escape.
func escape(r rune, s string) string {
	switch {
	case r == utf8.RuneError && len(s) == 1:
		return fmt.Sprintf(`\x%02x`, s[0])
	case unicode.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return s
	}
	// QuoteRuneToASCII escapes all that is not ASCII, and the controls among ASCII.
	q := strconv.QuoteRuneToASCII(r)
	return q[1 : len(q)-1]
}
