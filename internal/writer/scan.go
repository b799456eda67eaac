package writer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

// maxDepth bounds the nesting, as encoding/json does: what is open is kept in a fixed bitmap, so hostile nesting costs neither stack
// nor heap.
const maxDepth = 10_000

// span is a half-open range of a document's bytes.
type span struct{ from, to int }

// lit is the span of a string with its quotes.
type lit struct {
	span
	escaped bool // has a backslash: the bytes between the quotes are not the value
}

// scanner walks over strict JSON (RFC 8259) and finds where things are; it never copies and never builds values. Its methods
// start at the byte i and stop behind what they read; after a false, i is where reading stopped and want says what belongs
// there. Like encoding/json it takes any bytes of 0x80 and above, and any four hex digits after \u.
type scanner struct {
	b     []byte
	i     int
	depth int // objects opened by object
	count int // members and elements in values that nobody looked into
	want  string
	last  []byte // the long string read last, with its closing quote
}

func (s *scanner) fail(want string) bool {
	s.want = want
	return false
}

// peek is the next byte, or 0, which JSON has nowhere outside of a string, at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// end checks that only white space is left.
func (s *scanner) end() bool {
	s.space()
	return s.i == len(s.b) || s.fail("the end of the file")
}

// object reads an object and calls member with every key; member reads the value. Only the levels that somebody looks into
// are read this way, so the recursion is as deep as the callers' closures.
func (s *scanner) object(member func(key lit) bool) bool {
	s.space()
	if s.peek() != '{' {
		return s.fail("an object")
	}
	s.i++
	s.depth++
	s.space()
	if s.peek() == '}' {
		s.i++
		s.depth--
		return true
	}
	for {
		key, ok := s.key()
		if !ok {
			return false
		}
		s.space()
		if !member(key) {
			return false
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
		case '}':
			s.i++
			s.depth--
			return true
		default:
			return s.fail("a comma or }")
		}
	}
}

// key reads a member's name and the colon.
func (s *scanner) key() (lit, bool) {
	s.space()
	if s.peek() != '"' {
		return lit{}, s.fail("a key in quotes")
	}
	key, ok := s.str()
	if !ok {
		return lit{}, false
	}
	s.space()
	if s.peek() != ':' {
		return lit{}, s.fail("a colon")
	}
	s.i++
	return key, true
}

// value reads any value without looking into it.
func (s *scanner) value() bool {
	s.space()
	if c := s.peek(); c != '{' && c != '[' {
		return s.scalar(c)
	}
	var objects [maxDepth/64 + 1]uint64 // bit n: what is open at depth n is an object, not an array
	depth := s.depth
	for {
		s.space()
		switch c := s.peek(); c {
		case '{', '[':
			if depth == maxDepth {
				return s.fail("at most 10000 levels of nesting")
			}
			s.i++
			s.space()
			if s.peek() == c+2 { // '{'+2 is '}', '['+2 is ']'
				s.i++
				break
			}
			depth++
			s.count++
			if bit := uint64(1) << (depth % 64); c == '[' {
				objects[depth/64] &^= bit
				continue
			} else {
				objects[depth/64] |= bit
			}
			if _, ok := s.key(); !ok {
				return false
			}
			continue
		default:
			if !s.scalar(c) {
				return false
			}
		}
		for next := false; !next; { // close all that ends here
			if depth == s.depth {
				return true
			}
			isObject := objects[depth/64]>>(depth%64)&1 == 1
			s.space()
			switch c := s.peek(); {
			case c == ',' && isObject:
				s.i++
				s.count++
				if _, ok := s.key(); !ok {
					return false
				}
				next = true
			case c == ',':
				s.i++
				s.count++
				next = true
			case c == '}' && isObject, c == ']' && !isObject:
				s.i++
				depth--
			case isObject:
				return s.fail("a comma or }")
			default:
				return s.fail("a comma or ]")
			}
		}
	}
}

func (s *scanner) scalar(c byte) bool {
	switch {
	case c == '"':
		_, ok := s.str()
		return ok
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	return s.fail("a value")
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return s.fail(w)
	}
	s.i += len(w)
	return true
}

func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' { // no digit may follow: what comes next is not a comma or an end
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	from := s.i
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.i++
	}
	return s.i > from || s.fail("a digit")
}

// longString is about where a comparison begins to be cheaper than a search. Tokens are some thousand bytes long.
const longString = 256

// str reads a string; i is at its opening quote. One token serves many hosts, so a string is first compared with the one before.
func (s *scanner) str() (lit, bool) {
	l := lit{span: span{from: s.i}}
	s.i++
	if len(s.last) > 0 && bytes.HasPrefix(s.b[s.i:], s.last) {
		s.i += len(s.last)
		l.to = s.i
		return l, true
	}
	for {
		s.i += special(s.b[s.i:])
		switch c := s.peek(); {
		case s.i == len(s.b):
			return l, s.fail("the closing quote of a string")
		case c == '"':
			s.i++
			l.to = s.i
			if !l.escaped && l.to-l.from > longString {
				s.last = s.b[l.from+1 : l.to]
			}
			return l, true
		case c != '\\':
			return l, s.fail("no control character inside a string")
		}
		l.escaped = true
		s.i++
		switch s.peek() {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			s.i++
		case 'u':
			s.i++
			for range 4 {
				if !isHex(s.peek()) {
					return l, s.fail("a hexadecimal digit")
				}
				s.i++
			}
		default:
			return l, s.fail("an escape character")
		}
	}
}

// text is the value of a string: a part of b, or a copy when it has escapes. Invalid UTF-8 stays as it is.
func text(b []byte, l lit) []byte {
	if !l.escaped {
		return b[l.from+1 : l.to-1 : l.to-1]
	}
	var s string
	_ = json.Unmarshal(b[l.from:l.to], &s) // cannot fail: it has been scanned
	return []byte(s)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// special is the index of the first byte of b that cannot stand in a string as it is (a quote, a backslash, a control
// character), or len(b). A large document is nearly all base64 inside strings, so this loop is the cost of a scan: it looks at
// 32 bytes per turn.
func special(b []byte) int {
	i := 0
	for ; len(b)-i >= 32; i += 32 {
		c := b[i : i+32 : i+32]
		m := marks(binary.LittleEndian.Uint64(c)) | marks(binary.LittleEndian.Uint64(c[8:])) |
			marks(binary.LittleEndian.Uint64(c[16:])) | marks(binary.LittleEndian.Uint64(c[24:]))
		if m&tops != 0 {
			break
		}
	}
	for ; len(b)-i >= 8; i += 8 {
		if m := marks(binary.LittleEndian.Uint64(b[i:])) & tops; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == '"' || c == '\\' {
			return i
		}
	}
	return i
}

const ones, tops = 0x0101010101010101, 0x8080808080808080

// marks sets the top bit of each byte of x that is special; the other bits mean nothing. A subtraction per byte borrows only
// when that byte is one, so the lowest mark is exact and those above it may not be: callers use the lowest. x^2 swaps '"' (0x22)
// with the blank (0x20) and keeps the control characters below, so one comparison, < 0x21, covers both.
func marks(x uint64) uint64 {
	return (((x ^ 0x02*ones) - 0x21*ones) | ((x ^ '\\'*ones) - ones)) &^ x
}
