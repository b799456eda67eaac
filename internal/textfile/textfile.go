// Package textfile owns how the encoding of a text file is recognised where UTF-8 is expected: task definitions and docker
// config files, which some programs write in another one. It refuses to know what the text means, and it converts nothing.
package textfile

import "bytes"

// Encoding is what a file seems to be encoded in, for people. Empty is UTF-8, or nothing that is recognised.
type Encoding string

// The encodings that are recognised.
const (
	UTF8BOM Encoding = "UTF-8 with a byte order mark"
	UTF16   Encoding = "UTF-16" // with a byte order mark
	UTF16LE Encoding = "UTF-16LE"
	UTF16BE Encoding = "UTF-16BE"
	UTF32   Encoding = "UTF-32" // with a byte order mark
	UTF32LE Encoding = "UTF-32LE"
	UTF32BE Encoding = "UTF-32BE"
)

// EncodingOf looks at the first bytes of a file that begins with an ASCII character, as JSON does, with or without a byte order
// mark. Without one, the name says the byte order: iconv guesses otherwise.
func EncodingOf(b []byte) Encoding {
	switch {
	case len(bytes.Trim(b, "\x00")) == 0: // what a power cut may leave
	case bytes.HasPrefix(b, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(b, []byte("\x00\x00\xfe\xff")):
		return UTF32
	case bytes.HasPrefix(b, []byte("\x00\x00\x00")):
		return UTF32BE
	case len(b) > 3 && b[0] != 0 && b[1] == 0 && b[2] == 0 && b[3] == 0:
		return UTF32LE
	case bytes.HasPrefix(b, []byte("\xff\xfe")), bytes.HasPrefix(b, []byte("\xfe\xff")):
		return UTF16
	case len(b) > 1 && b[0] == 0 && b[1] != 0:
		return UTF16BE
	case len(b) > 1 && b[0] != 0 && b[1] == 0:
		return UTF16LE
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		return UTF8BOM
	}
	return ""
}
