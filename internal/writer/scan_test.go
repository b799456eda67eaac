package writer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
)

// accepts reads b as one JSON value.
func accepts(b []byte) (ok bool, at int, want string) {
	s := scanner{b: b}
	ok = s.value() && s.end()
	return ok, s.i, s.want
}

// rawMember is a member as it stands in the document.
type rawMember struct{ key, val, rawKey string }

// membersOf lists the members of an object by the scanner.
func membersOf(t testing.TB, b []byte) (members []rawMember) {
	t.Helper()
	s := scanner{b: b}
	ok := s.object(func(key lit) bool {
		from := s.i
		ok := s.value()
		members = append(members, rawMember{string(text(b, key)), string(b[from:s.i]), string(b[key.from:key.to])})
		return ok
	})
	if !ok || !s.end() {
		t.Fatalf("not an object: stopped at %d, expected %s", s.i, s.want)
	}
	return members
}

// decodedMembers lists the same by json.Decoder.
func decodedMembers(t testing.TB, b []byte) (members []rawMember) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		key, err := d.Token()
		var val json.RawMessage
		if err == nil {
			err = d.Decode(&val)
		}
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, rawMember{key.(string), string(val), ""})
	}
	return members
}

// nesting is how deep a valid text goes.
func nesting(b []byte) (deepest int) {
	depth := 0
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		switch token, err := d.Token(); token {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		default:
			if err == io.EOF {
				return deepest
			}
		}
	}
}

func checkScan(t *testing.T, b []byte) {
	t.Helper()
	ok, at, want := accepts(b)
	valid := json.Valid(b)
	if valid && nesting(b) > maxDepth {
		valid = false
	}
	if ok != valid {
		t.Fatalf("%q: accepted %v, encoding/json %v (stopped at %d, expected %s)", b, ok, valid, at, want)
	}
	if !ok && (at > len(b) || want == "") {
		t.Fatalf("%q: refused at %d, expected %q", b, at, want)
	}
	if b = bytes.TrimSpace(b); !ok || b[0] != '{' {
		return
	}
	ours, theirs := membersOf(t, b), decodedMembers(t, b)
	if len(ours) != len(theirs) {
		t.Fatalf("%q: %d members, json.Decoder sees %d", b, len(ours), len(theirs))
	}
	for i := range ours {
		ours[i].rawKey = ""
		ours[i].key = string([]rune(ours[i].key)) // encoding/json turns each invalid byte into U+FFFD
		if ours[i] != theirs[i] {
			t.Fatalf("%q: member %d is %q, json.Decoder sees %q", b, i, ours[i], theirs[i])
		}
		if len(b) < 10_000 { // of what is nested ten thousand times, each level would be looked at that often
			checkScan(t, []byte(ours[i].val))
		}
	}
}

// texts are JSON and nearly JSON: the seeds of the fuzzing, and a test on their own.
var texts = []string{
	``, ` `, `{}`, ` { } `, `[]`, `[ ]`, `{"a":1}`, `{"a" : [1, {"b":null}] , "a":"\u00e9\ud800\/\"" }`, `{"a":{},"b":[{}],"c":[[],[]]}`,
	`{,}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`, `{a:1}`, `{"a":1}}`, `{"a":1} x`, `{"a":[1,]}`, `[1 2]`, `[,1]`, `{"a":[1}`, `[{"a":1]`,
	`{"a":1]`, `[1}`, `[{}`, `{"a":{"b":1}`, `0`, `-0`, `-`, `01`, `-01`, `1.`, `.1`, `1.5e+10`, `1e400`, `1e`, `1e+`, `1E-2`, `+1`, `0x1`, `0e1`, `0.0`,
	`12345678901234567890`, `true`, `tru`, `truex`, `false`, `null`, `nul`, `NaN`, `"`, `"a`, `"a\`, `"\x"`, `"\u12g4"`, `"\u123"`, `"\uD83D\uDE00"`,
	`"\uABcd"`, "\"\\u\x10\x11\x12\x13\"", "\"a\x00\"", "\"a\x1f\"", "\"\x7f\x80\xff\"", "\"\n\"", "\xef\xbb\xbf{}", "{}\x00", "{\x00}", "\x0b{}", "\u00a0{}",
	`{"` + strings.Repeat("x", 100) + `":"` + strings.Repeat("y", 31) + `\n"}`, `'a'`, `{"a":1}{"b":2}`, `// c`, `[1/**/]`, `{"\ud800":1,"\ufffd":2,"` + "\xff" + `":3}`,
	strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
	strings.Repeat(`{"a":`, maxDepth) + `1` + strings.Repeat("}", maxDepth), strings.Repeat(`{"a":[`, maxDepth) + strings.Repeat("]}", maxDepth),
	`{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`, strings.Repeat("[", 100_000),
}

func TestScan(t *testing.T) {
	for _, s := range texts {
		checkScan(t, []byte(s))
		for _, cut := range []int{1, len(s) / 2, len(s) - 1} { // every text cut short, and with something behind it
			if 0 < cut && cut < min(len(s), 1000) {
				checkScan(t, []byte(s[:cut]))
				checkScan(t, []byte(s+s[:cut]))
			}
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, s := range append(documents(), texts...) {
		f.Add([]byte(s))
	}
	f.Fuzz(checkScan)
}

// Every byte at every place of a block, behind bytes that could lend it a borrow.
func TestSpecial(t *testing.T) {
	for _, fill := range []byte{'A', '!', '#', ' ', '[', ']', 0x7f, 0x80, 0xa2, 0xdc, 0xff} {
		for at := range 70 {
			b := bytes.Repeat([]byte{fill}, 75)
			for c := range 256 {
				b[at] = byte(c)
				want := len(b)
				if c < 0x20 || c == '"' || c == '\\' {
					want = at
				}
				if got := special(b); got != want {
					t.Fatalf("%#x at %d among %#x: special is %d, want %d", c, at, fill, got, want)
				}
				if b[at+1] = '"'; want == len(b) {
					want = at + 1
				}
				if got := special(b); got != want {
					t.Fatalf("%#x at %d among %#x, then a quote: special is %d, want %d", c, at, fill, got, want)
				}
				b[at+1] = fill
			}
		}
	}
}

func TestSyntaxError(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"x", "1:1: expected an object"},
		{"[]", "1:1: expected an object"},
		{"\xef\xbb\xbf{}", "it is UTF-8 with a byte order mark, which is not valid JSON: docker config files are UTF-8 without a byte order mark"},
		{"\xff\xfe{\x00}\x00", "it is UTF-16, which is not valid JSON: docker config files are UTF-8 without a byte order mark"},
		{"{\x00}\x00", "it is UTF-16LE, which is not valid JSON: docker config files are UTF-8 without a byte order mark"},
		{"{", "1:2: expected a key in quotes"},
		{"{\n\t\"a\": 1,\n}", "3:1: expected a key in quotes"},
		{`{"a" 1}`, "1:6: expected a colon"},
		{`{"a":}`, "1:6: expected a value"},
		{"{\"a\":1\n  \"b\":2}", "2:3: expected a comma or }"},
		{`{"a":[1 2]}`, "1:9: expected a comma or ]"},
		{`{"a":[{"b":1 2}]}`, "1:14: expected a comma or }"},
		{"{}\n\n{}", "3:1: expected the end of the file"},
		{`{"a":"b`, "1:8: expected the closing quote of a string"},
		{"{\"a\":\"b\n\"}", "1:8: expected no control character inside a string"},
		{`{"a":"\x"}`, "1:8: expected an escape character"},
		{`{"a":"\u00g0"}`, "1:11: expected a hexadecimal digit"},
		{`{"a":-}`, "1:7: expected a digit"},
		{`{"a":trux}`, "1:6: expected true"},
		{`{"a":01}`, "1:7: expected a comma or }"},
		{`{"auths": []}`, "1:11: expected an object or null as auths"},
		{`{"\u0061uths": "x"}`, "1:16: expected an object or null as auths"},
		{`{"auths": {}, "AUTHS": 1}`, "1:24: expected an object or null as auths"},
		{`{"auths": {"h": {"auth": tru}}}`, "1:26: expected true"},
		{`{"auths": {"h": {"auth": "x"} "i": 1}}`, "1:31: expected a comma or }"},
		{`{"a":` + strings.Repeat("[", maxDepth), fmt.Sprintf("1:%d: expected at most 10000 levels of nesting", 5+maxDepth)},
	} {
		_, err := Parse([]byte(c.in))
		if _, ok := err.(*SyntaxError); !ok || err.Error() != c.want {
			t.Errorf("%.40q: %v, want %s", c.in, err, c.want)
		}
	}
}

// A long string that is compared with the one before is read as if it were the first.
func TestRepeatedString(t *testing.T) {
	long := strings.Repeat("x", longString)
	for name, c := range map[string]struct {
		second string // with its quotes
		ok     bool
	}{
		"the same":          {`"` + long + `"`, true},
		"longer":            {`"` + long + `x"`, true},
		"shorter":           {`"` + long[1:] + `"`, true},
		"other end":         {`"` + long[1:] + `y"`, true},
		"escape at its end": {`"` + long + `\""`, true},
		"backslash inside":  {`"` + long[1:] + `\x"`, false},
		"control":           {`"` + long + "\n" + `"`, false},
		"not closed":        {`"` + long, false},
	} {
		b := []byte(`{"a":"` + long + `","b":` + c.second + `}`)
		if ok, at, want := accepts(b); ok != c.ok || ok != json.Valid(b) {
			t.Errorf("%s: %v at %d, expected %s", name, ok, at, want)
		}
		if !c.ok {
			continue
		}
		if m := membersOf(t, b); len(m) != 2 || m[1].val != c.second {
			t.Errorf("%s: %q", name, m)
		}
	}
}
