package taskdef

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
)

// fields is a JSON object that keeps its order, and of each value the very bytes: what we do not touch comes out as it went in.
type fields []field

type field struct {
	key   string
	value json.RawMessage
}

// readFields takes an object apart. A key that is there twice is refused: which of them ECS would take is anybody's guess.
func readFields(doc []byte) (fields, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, cannot(doc, dec, err, "it is no JSON object")
	}
	var f fields
	for dec.More() {
		key, err := dec.Token()
		var value json.RawMessage
		if err == nil {
			err = dec.Decode(&value)
		}
		if err != nil {
			return nil, cannot(doc, dec, err, "")
		}
		if f.at(key.(string)) >= 0 {
			return nil, fmt.Errorf("the key %q is there twice", key)
		}
		f = append(f, field{key.(string), value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, cannot(doc, dec, err, "")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after its end")
	}
	return f, nil
}

// cannot says in which line a document stops being JSON.
func cannot(doc []byte, dec *json.Decoder, err error, otherwise string) error {
	at := dec.InputOffset()
	syntax := (*json.SyntaxError)(nil)
	switch {
	case errors.As(err, &syntax):
		if whole := json.Unmarshal(doc, new(any)); errors.As(whole, &syntax) { // the decoder may count from the value
			err = whole
		}
		at = syntax.Offset
	case err == nil:
		return errors.New(otherwise)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if len(bytes.TrimSpace(doc)) == 0 {
			return errors.New("it is empty")
		}
		return errors.New("it ends too early")
	}
	at = min(at, int64(len(doc)))
	line := 1 + bytes.Count(doc[:at], []byte("\n"))
	return fmt.Errorf("line %d: %w%s", line, err, hint(doc, int(at)-1))
}

// hint says what stands where JSON ends, where that is known.
func hint(doc []byte, at int) string {
	if at < 1 {
		return ""
	}
	if doc[at-1] == '{' {
		at--
	}
	rest := doc[at:]
	for _, known := range []struct{ begin, what string }{
		{"${", "; a placeholder stands there: fill it in first"}, {"{{", "; a placeholder stands there: fill it in first"},
		{"<", "; a placeholder stands there: fill it in first"},
		{"//", "; JSON has no comments"}, {"/*", "; JSON has no comments"}, {"#", "; JSON has no comments"},
	} {
		if bytes.HasPrefix(rest, []byte(known.begin)) {
			return known.what
		}
	}
	return ""
}

// mustFields is for a value whose shape has been checked.
func mustFields(doc []byte) fields {
	f, err := readFields(doc)
	if err != nil {
		return nil
	}
	return f
}

func (f fields) at(key string) int {
	return slices.IndexFunc(f, func(m field) bool { return m.key == key })
}

// get returns the value of a key, nil where there is none.
func (f fields) get(key string) json.RawMessage {
	if i := f.at(key); i >= 0 {
		return f[i].value
	}
	return nil
}

// text returns a value that is a string.
func (f fields) text(key string) string {
	var s string
	_ = json.Unmarshal(f.get(key), &s)
	return s
}

// items returns the elements of a value that is a list.
func (f fields) items(key string) []json.RawMessage {
	var l []json.RawMessage
	_ = json.Unmarshal(f.get(key), &l)
	return l
}

// set gives a key a value. One that says the same already keeps its bytes, its order and its spaces.
func (f *fields) set(key string, v any) {
	raw := encode(v)
	i := f.at(key)
	switch {
	case i < 0:
		*f = append(*f, field{key, raw})
	case !same((*f)[i].value, raw):
		(*f)[i].value = raw
	}
}

// setIfAbsent leaves to the user what the user has decided.
func (f *fields) setIfAbsent(key string, v any) {
	if f.at(key) < 0 {
		f.set(key, v)
	}
}

func (f *fields) drop(keys ...string) {
	*f = slices.DeleteFunc(*f, func(m field) bool { return slices.Contains(keys, m.key) })
}

// edit changes an object below a key; where there is none, it begins empty.
func (f *fields) edit(key string, change func(*fields)) {
	inner := mustFields(f.get(key))
	change(&inner)
	f.set(key, inner)
}

// upsert changes the first element of a list of objects that is meant, or adds one at the end.
func (f *fields) upsert(key string, meant func(fields) bool, change func(*fields)) {
	items := f.items(key)
	i := slices.IndexFunc(items, func(raw json.RawMessage) bool { return meant(mustFields(raw)) })
	var item fields
	if i >= 0 {
		item = mustFields(items[i])
	}
	change(&item)
	if i >= 0 {
		items[i] = encode(item)
	} else {
		items = append(items, encode(item))
	}
	f.set(key, items)
}

// named means the element whose key has a value.
func named(key, value string) func(fields) bool {
	return func(f fields) bool { return f.text(key) == value }
}

// encode writes a value without escaping what needs none.
func encode(v any) json.RawMessage {
	switch v := v.(type) {
	case json.RawMessage:
		return v
	case fields:
		b := []byte{'{'}
		for i, m := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, encode(m.key)...), ':'), m.value...)
		}
		return append(b, '}')
	case []json.RawMessage:
		return append(append([]byte{'['}, bytes.Join(raws(v), []byte{','})...), ']')
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // strings, numbers, booleans and lists of them
	return bytes.TrimSpace(b.Bytes())
}

func raws(items []json.RawMessage) [][]byte {
	all := make([][]byte, len(items))
	for i, item := range items {
		all[i] = item
	}
	return all
}

// same reports whether two documents have one value; numbers are compared by their digits.
func same(a, b []byte) bool { return bytes.Equal(a, b) || reflect.DeepEqual(value(a), value(b)) }

func value(doc []byte) any {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return doc
	}
	return v
}
