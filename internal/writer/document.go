package writer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"

	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/textfile"
)

// Entry is one auths entry that we own.
type Entry struct {
	Host string        // as docker looks it up: the bare host, with its port if it has one
	Auth secret.Secret // base64("AWS:"+password); empty removes the entry
}

// Document is a docker config.json whose bytes have been checked to be one JSON object. It keeps the bytes that it was
// given, whose owner clears them when it is done with the document. The zero Document is an empty file. The content is full of passwords, so
// it hides behind a function: in a field of a printed struct no method of ours is called, and a pointer to a struct is not
// enough, because fmt follows one under %s.
type Document struct{ open func() *document }

// document is where things are in b.
//
// encoding/json, and so every Go client, takes "Auths" and "AUTHS" for auths as well, reads repeated objects on top of each
// other (the last entry of a host wins) and lets a null forget what came before. Everybody else (python, java) knows the exact
// spelling only, and the last of repeated keys wins whole. Such a file is odd, but to refuse it would leave the task without a
// login because of a key that its readers tolerate. So every spelling counts as auths here, and Merge leaves what both kinds of
// reader understand alike: our entries once, in the last exact "auths", with nothing behind it that takes them back.
type document struct {
	given       []byte // what Parse got
	b           []byte // the same, or {} for an empty file
	braces      span
	last        member // the last member of all; empty when there is none
	auths       []section
	target      int // the auths that Merge adds to: the last with the exact name, or -1
	credsStore  lit // empty when there is none
	credHelpers []span
	typed       []typed // members of which docker knows the type
	members     int     // of the objects that are looked into
	index       func() map[string]sighting
}

type member struct {
	key lit
	val span
}

// section is one auths: an object, or null.
type section struct {
	member
	null  bool
	hosts []host
}

// host is one member of auths. auth is there when the value has the form that Merge writes: "auth", a string, and nothing else.
type host struct {
	member
	auth lit
}

// sighting is what readers find under a key of auths.
type sighting struct {
	host      *host // what Go clients use: the last one; nil when there is none or a later null hides it
	section   int   // the auths that it is in
	spellings int   // how many keys mean this host
}

// SyntaxError says where a document is not what it should be, and nothing of its content.
type SyntaxError struct {
	Line, Column int    // from 1; columns count bytes
	Expected     string // what belongs there

	Encoding textfile.Encoding // that it seems to have, where that is why
}

func (e *SyntaxError) Error() string {
	if e.Encoding != "" {
		return fmt.Sprintf("it is %s, which is not valid JSON: docker config files are UTF-8 without a byte order mark", e.Encoding)
	}
	return fmt.Sprintf("%d:%d: expected %s", e.Line, e.Column, e.Expected)
}

// membersMost bounds the members of the objects that a document is looked into: its own, those of auths, and all that is in the members
// of which docker knows the type. A member of three bytes takes a hundred of memory.
const membersMost = 20_000

var errTooMany = fmt.Errorf("it has more than %d logins and settings", membersMost)

// Parse checks b. A file that is empty or all white space counts as {}; everything else must be one object of strict JSON, with
// an object or null as auths. The error is a [SyntaxError], or says that there are too many members.
func Parse(b []byte) (Document, error) {
	d := &document{given: b, b: b, target: -1}
	s := scanner{b: b}
	if s.space(); s.i == len(b) {
		d.b = []byte("{}")
		s = scanner{b: d.b}
	}
	d.braces.from = s.i
	ok := s.object(func(key lit) bool { return d.member(&s, key) })
	d.braces.to = s.i
	if d.members > membersMost {
		return Document{}, errTooMany
	}
	if !ok || !s.end() {
		before := d.b[:s.i]
		return Document{}, &SyntaxError{
			Line: 1 + bytes.Count(before, []byte("\n")), Column: s.i - bytes.LastIndexByte(before, '\n'), Expected: s.want,
			Encoding: textfile.EncodingOf(b),
		}
	}
	d.index = sync.OnceValue(d.lookup)
	return Document{func() *document { return d }}, nil
}

// member reads one member of the document.
func (d *document) member(s *scanner, key lit) bool {
	name, from, count, ok := text(s.b, key), s.i, s.count, false
	if d.members++; d.members > membersMost {
		return false
	}
	switch {
	case bytes.EqualFold(name, []byte("auths")):
		sec := section{null: s.peek() == 'n'}
		if sec.null {
			ok = s.value()
		} else if ok = s.object(func(key lit) bool {
			d.members++
			return d.members <= membersMost && sec.host(s, key)
		}); s.i == from {
			s.want = "an object or null as auths"
		}
		sec.member = member{key, span{from, s.i}}
		if string(name) == "auths" {
			d.target = len(d.auths)
		}
		d.auths = append(d.auths, sec)
	case bytes.EqualFold(name, []byte("credsStore")) && s.peek() == '"':
		d.credsStore, ok = s.str()
	case bytes.EqualFold(name, []byte("credHelpers")) && s.peek() == '{':
		ok = s.object(func(lit) bool {
			d.members++
			return d.members <= membersMost && s.value()
		})
		d.credHelpers = append(d.credHelpers, span{from, s.i})
	default:
		ok = s.value()
	}
	if k := knownMember(name); ok && k != nil && !bytes.EqualFold(name, []byte("auths")) {
		if d.members += s.count - count; d.members > membersMost { // its type is checked by building it
			return false
		}
		d.typed = append(d.typed, typed{k, span{from, s.i}})
	}
	d.last = member{key, span{from, s.i}}
	return ok
}

// host reads one member of auths.
func (sec *section) host(s *scanner, key lit) bool {
	h := host{member: member{key: key, val: span{from: s.i}}}
	members, ok := 0, false
	if s.peek() == '{' {
		ok = s.object(func(key lit) bool {
			members++
			if s.peek() != '"' || string(text(s.b, key)) != "auth" {
				return s.value()
			}
			var ok bool
			h.auth, ok = s.str()
			return ok
		})
	} else {
		ok = s.value()
	}
	if members != 1 {
		h.auth = lit{}
	}
	h.val.to = s.i
	sec.hosts = append(sec.hosts, h)
	return ok
}

// bareHost is the host that docker's old spellings of a registry stand for: a URL, with the path of an API version. A path
// without a scheme is not one of them: to podman HOST/v1 is the repository v1.
func bareHost(key []byte) []byte {
	h := key
	for _, scheme := range []string{"https://", "http://"} {
		if len(h) >= len(scheme) && bytes.EqualFold(h[:len(scheme)], []byte(scheme)) {
			h = bytes.TrimSuffix(h[len(scheme):], []byte("/"))
			if v := bytes.TrimSuffix(h, []byte("/v1")); len(v) < len(h) {
				return v
			}
			return bytes.TrimSuffix(h, []byte("/v2"))
		}
	}
	return bytes.TrimSuffix(h, []byte("/"))
}

func (d Document) get() *document {
	if d.open == nil {
		d, _ = Parse(nil) // {} parses
	}
	return d.open()
}

// lookup is run once per document, and only when somebody asks for single hosts: Merge needs no index.
func (d *document) lookup() map[string]sighting {
	n := 0
	for i := range d.auths {
		n += len(d.auths[i].hosts)
	}
	index := make(map[string]sighting, n)
	for i := range d.auths {
		if d.auths[i].null {
			for k, f := range index {
				f.host = nil
				index[k] = f
			}
		}
		for j := range d.auths[i].hosts {
			h := &d.auths[i].hosts[j]
			key := text(d.b, h.key)
			index[string(key)] = sighting{h, i, index[string(key)].spellings + 1}
			if bare := bareHost(key); len(bare) < len(key) {
				f := index[string(bare)]
				f.spellings++
				index[string(bare)] = f
			}
		}
	}
	return index
}

// each calls f with every host of auths in the order of the file; inUse is false for one that a later key overrides.
func (d *document) each(f func(key []byte, h *host, inUse bool)) {
	for i := range d.auths {
		for j := range d.auths[i].hosts {
			h := &d.auths[i].hosts[j]
			key := text(d.b, h.key)
			f(key, h, d.index()[string(key)].host == h)
		}
	}
}

// Auth returns the "auth" of auths[host], still in base64, as docker would use it: of repeated keys the last one counts. ok is
// false when there is none, when the entry has anything beside it (docker may then prefer that), or when it does not decode to
// a user and a password. The caller must not change the bytes.
func (d Document) Auth(host string) (auth []byte, ok bool) {
	auth, ok = d.entry(host)
	if !ok {
		return nil, false
	}
	if user, ok := decode(auth); !ok || user == "" {
		return nil, false
	}
	return auth, true
}

// entry is Auth without asking whether it decodes.
func (d Document) entry(host string) (auth []byte, ok bool) {
	p := d.get()
	h := p.index()[host].host
	if h == nil || h.auth.to == 0 {
		return nil, false
	}
	return text(p.b, h.auth), true
}

// Owned reports whether the entry of host looks like ours: of the form that Merge writes, with ECR's user name AWS, and the
// only one that means host. It is false after somebody else's docker login with another user or another spelling.
func (d Document) Owned(host string) bool {
	auth, ok := d.Auth(host)
	if !ok {
		return false
	}
	user, _ := decode(auth)
	at := d.get().index()[host]
	return user == "AWS" && at.spellings == 1 && at.section == d.get().target
}

// CredsStore is the credential helper that docker asks instead of reading auths, or "". A case variant of the key counts: Go
// clients obey it, and it hides our entries all the same.
func (d Document) CredsStore() string {
	p := d.get()
	if p.credsStore.to == 0 {
		return ""
	}
	return string(text(p.b, p.credsStore))
}

// CredHelpers are the credential helpers by host, read as docker reads them: case variants count, repeated objects add up.
func (d Document) CredHelpers() map[string]string {
	var m map[string]string
	p := d.get()
	for _, s := range p.credHelpers {
		_ = json.Unmarshal(p.b[s.from:s.to], &m) // of a wrong type: docker refuses the file, we still see the others
	}
	return m
}

// logins is how many keys of auths Go clients see.
func (d Document) logins() (n int) {
	d.get().each(func(_ []byte, _ *host, inUse bool) {
		if inUse {
			n++
		}
	})
	return n
}

// decode returns the user name in an "auth", by docker's rules.
func decode(auth []byte) (user string, ok bool) {
	plain := make([]byte, base64.StdEncoding.DecodedLen(len(auth)))
	defer clear(plain)
	n, err := base64.StdEncoding.Decode(plain, auth)
	name, _, ok := bytes.Cut(plain[:n], []byte(":"))
	return string(name), ok && err == nil
}
