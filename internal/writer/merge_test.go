package writer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ecr-refresher/internal/secret"
)

func set(host, auth string) Entry { return Entry{host, secret.New(auth)} }

// Merge by example: what it writes, in whose style, and what it leaves.
// mergeBytes is Merge with the content put together.
func mergeBytes(d Document, entries []Entry) (out []byte, changed bool) {
	content, changed := d.Merge(entries)
	var b bytes.Buffer
	if _, err := content.WriteTo(&b); err != nil {
		panic(err)
	}
	return b.Bytes(), changed
}

func TestMerge(t *testing.T) {
	ours := []Entry{set("h", "QQ==")}
	for name, c := range map[string]struct {
		in, want string
		entries  []Entry
	}{
		"empty file":         {"", "{\n\t\"auths\": {\n\t\t\"h\": {\n\t\t\t\"auth\": \"QQ==\"\n\t\t}\n\t}\n}", ours},
		"white space":        {" \r\n", "{\n\t\"auths\": {\n\t\t\"h\": {\n\t\t\t\"auth\": \"QQ==\"\n\t\t}\n\t}\n}", ours},
		"empty object":       {"{ }\n", "{\n\t\"auths\": {\n\t\t\"h\": {\n\t\t\t\"auth\": \"QQ==\"\n\t\t}\n\t}\n}\n", ours},
		"empty auths":        {"{\n\t\"auths\": {}\n}", "{\n\t\"auths\": {\n\t\t\"h\": {\n\t\t\t\"auth\": \"QQ==\"\n\t\t}\n\t}\n}", ours},
		"null auths":         {"{\n\t\"auths\": null,\n\t\"x\": 1\n}", "{\n\t\"auths\": {\n\t\t\"h\": {\n\t\t\t\"auth\": \"QQ==\"\n\t\t}\n\t},\n\t\"x\": 1\n}", ours},
		"absent auths":       {"{\n\t\"x\": 1\n}\n", "{\n\t\"x\": 1,\n\t\"auths\": {\n\t\t\"h\": {\n\t\t\t\"auth\": \"QQ==\"\n\t\t}\n\t}\n}\n", ours},
		"behind another":     {"{\n\t\"auths\": {\n\t\t\"a\": {}\n\t}\n}", "{\n\t\"auths\": {\n\t\t\"a\": {},\n\t\t\"h\": {\n\t\t\t\"auth\": \"QQ==\"\n\t\t}\n\t}\n}", ours},
		"two blanks":         {"{\n  \"auths\": {\n    \"a\": {}\n  }\n}", "{\n  \"auths\": {\n    \"a\": {},\n    \"h\": {\n      \"auth\": \"QQ==\"\n    }\n  }\n}", ours},
		"two blanks, empty":  {"{\n  \"auths\": {}\n}", "{\n  \"auths\": {\n    \"h\": {\n      \"auth\": \"QQ==\"\n    }\n  }\n}", ours},
		"CRLF":               {"{\r\n\t\"x\":1\r\n}", "{\r\n\t\"x\":1,\r\n\t\"auths\":{\r\n\t\t\"h\":{\r\n\t\t\t\"auth\":\"QQ==\"\r\n\t\t}\r\n\t}\r\n}", ours},
		"compact":            {`{"auths":{"a":{}},"x":1}`, `{"auths":{"a":{},"h":{"auth":"QQ=="}},"x":1}`, ours},
		"compact, no auths":  {`{"x":1}`, `{"x":1,"auths":{"h":{"auth":"QQ=="}}}`, ours},
		"one line, blanks":   {`{"x": 1}`, `{"x": 1, "auths": {"h": {"auth": "QQ=="}}}`, ours},
		"deep indentation":   {"{\n" + strings.Repeat(" ", 99) + `"x":1}`, "{\n" + strings.Repeat(" ", 99) + `"x":1,"auths":{"h":{"auth":"QQ=="}}}`, ours},
		"in place":           {`{"auths":{"h":{"auth":"Qg=="},"a":{}}}`, `{"auths":{"h":{"auth":"QQ=="},"a":{}}}`, ours},
		"escaped, equal":     {`{"\u0061uths":{"\u0068":{"a\u0075th":"\u0051Q=="}}}`, "", ours},
		"escaped, other":     {`{"\u0061uths":{"\u0068":{"a\u0075th":"\u0052Q=="}}}`, `{"\u0061uths":{"\u0068":{"a\u0075th":"QQ=="}}}`, ours},
		"extra key":          {`{"auths":{"h":{"auth":"QQ==","email":""}}}`, `{"auths":{"h":{"auth":"QQ=="}}}`, ours},
		"extra key, removed": {`{"auths":{"h":{"auth":"QQ==","email":""}}}`, `{"auths":{}}`, []Entry{set("h", "")}},
		"repeated auth":      {`{"auths":{"h":{"auth":"QQ==","auth":"QQ=="}}}`, `{"auths":{"h":{"auth":"QQ=="}}}`, ours},
		"auth in capitals":   {`{"auths":{"h":{"AUTH":"QQ=="}}}`, `{"auths":{"h":{"auth":"QQ=="}}}`, ours},
		"not an object":      {`{"auths":{"h":"QQ=="}}`, `{"auths":{"h":{"auth":"QQ=="}}}`, ours},
		"not a string":       {`{"auths":{"h":{"auth":null}}}`, `{"auths":{"h":{"auth":"QQ=="}}}`, ours},
		"repeated host":      {`{"auths":{"h":{"auth":"QQ=="},"a":1,"h":{"auth":"Qg=="},"b":2}}`, `{"auths":{"a":1,"h":{"auth":"QQ=="},"b":2}}`, ours},
		"old spellings": {`{"auths":{"https://h":{},"a":1,"HTTP://h/v1/":{},"https://h/v2":0,"h/":{},"https://h/v1":{},"h/v1":2,"https://h/v3/":3,"https://hh":4}}`,
			`{"auths":{"a":1,"h/v1":2,"https://h/v3/":3,"https://hh":4,"h":{"auth":"QQ=="}}}`, ours},
		"only an old spelling":    {`{"auths":{"https://h/v2/":{"auth":"QQ=="}}}`, `{"auths":{"h":{"auth":"QQ=="}}}`, ours},
		"old spelling, removed":   {`{"auths":{"a":1,"http://h/":{"auth":"QQ=="}}}`, `{"auths":{"a":1}}`, []Entry{set("h", "")}},
		"ours has an old name":    {`{"auths":{"https://h":{"auth":"QQ=="}}}`, `{"auths":{"https://h":{"auth":"QQ=="},"h":{"auth":"Qg=="}}}`, []Entry{set("https://h", "QQ=="), set("h", "Qg==")}},
		"remove first":            {`{"auths":{ "h":{"auth":"QQ=="} , "a":1 }}`, `{"auths":{ "a":1 }}`, []Entry{set("h", "")}},
		"remove last":             {`{"auths":{ "a":1 , "h":{"auth":"QQ=="} }}`, `{"auths":{ "a":1 }}`, []Entry{set("h", "")}},
		"remove all":              {"{\n\t\"auths\": {\n\t\t\"h\": {}\n\t}\n}", "{\n\t\"auths\": {}\n}", []Entry{set("h", "")}},
		"remove what is not":      {`{"x":1}`, "", []Entry{set("h", "")}},
		"set, remove and add":     {`{"auths":{"a":1,"b":{},"c":{},"h":{}}}`, `{"auths":{"a":1,"c":{"auth":"Qg=="},"x":{"auth":"Qw=="},"y":{"auth":"RA=="}}}`, []Entry{set("x", "Qw=="), set("h", ""), set("b", ""), set("c", "Qg=="), set("y", "RA==")}},
		"last of two entries":     {`{}`, "{\n\t\"auths\": {\n\t\t\"h\": {\n\t\t\t\"auth\": \"Qg==\"\n\t\t}\n\t}\n}", []Entry{set("h", "QQ=="), set("h", "Qg==")}},
		"nothing to do":           {" \n", "", nil},
		"auths twice":             {`{"auths":{"h":{},"a":1},"auths":{"b":2}}`, `{"auths":{"a":1},"auths":{"b":2,"h":{"auth":"QQ=="}}}`, ours},
		"capitals":                {`{"AUTHS":{"h":{},"a":1}}`, `{"AUTHS":{"a":1},"auths":{"h":{"auth":"QQ=="}}}`, ours},
		"capitals, null, behind":  {`{"auths":{"a":1},"Auths":null}`, `{"auths":{"a":1,"h":{"auth":"QQ=="}},"Auths":{}}`, ours},
		"capitals, null, before":  {`{"Auths":null,"auths":{"a":1}}`, `{"Auths":null,"auths":{"a":1,"h":{"auth":"QQ=="}}}`, ours},
		"null behind, removing":   {`{"auths":{"h":{}},"Auths":null}`, `{"auths":{},"Auths":null}`, []Entry{set("h", "")}},
		"foreign bytes":           {`{"n":[1e400,12345678901234567890,-0.0],"s":"<&>\ud800\/` + "\xff" + `","d":1,"d":2,"auths":{}}`, `{"n":[1e400,12345678901234567890,-0.0],"s":"<&>\ud800\/` + "\xff" + `","d":1,"d":2,"auths":{"h":{"auth":"QQ=="}}}`, ours},
		"auth that needs escapes": {`{"auths":{}}`, `{"auths":{"a\"b":{"auth":"\\"}}}`, []Entry{set(`a"b`, `\`)}},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Parse([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			out, changed := mergeBytes(d, c.entries)
			if want := cmp.Or(c.want, c.in); string(out) != want || changed != (c.want != "") {
				t.Errorf("%v\n%s\nwant\n%s", changed, out, want)
			}
			checkMerge(t, []byte(c.in), c.entries)
		})
	}
}

// checkMerge holds every property of Merge against one document. Hosts have no slash, as in life.
func checkMerge(t *testing.T, in []byte, entries []Entry) {
	t.Helper()
	before := bytes.Clone(in)
	d, err := Parse(in)
	if err != nil {
		t.Fatalf("%q: %v", in, err)
	}
	want, ours, remove := map[string]string{}, spellings{}, []Entry{}
	for _, e := range entries {
		want[e.Host] = e.Auth.Reveal()
		ours.add(e.Host)
		remove = append(remove, Entry{Host: e.Host})
	}
	out, changed := mergeBytes(d, entries)
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("%s\n in: %q\nout: %q\nentries: %q", fmt.Sprintf(format, args...), in, out, want)
	}
	merged, err := Parse(out)
	switch again, repeated := mergeBytes(merged, entries); {
	case !bytes.Equal(in, before):
		fail("the input was written to")
	case err != nil || changed && !json.Valid(out):
		fail("the output does not parse: %v", err)
	case changed == bytes.Equal(in, out):
		fail("changed is %v", changed)
	case repeated || !bytes.Equal(again, out):
		fail("not idempotent: %q", again)
	}
	removed, _ := mergeBytes(merged, remove)
	for _, b := range [][]byte{out, removed} {
		if !slices.Equal(foreign(t, in, ours), foreign(t, b, ours)) {
			fail("foreign members differ: %q", b)
		}
		if !reflect.DeepEqual(values(t, in, ours), values(t, b, ours)) {
			fail("values differ: %q", b)
		}
	}
	for view, auths := range map[string][2]map[string]any{"Go": {goAuths(out), goAuths(removed)}, "python": {pythonAuths(out), pythonAuths(removed)}} {
		for key := range auths[0] {
			if _, exact := want[key]; ours.has(key) && !exact {
				fail("%s still sees %q", view, key)
			}
		}
		for key := range auths[1] {
			if ours.has(key) {
				fail("%s sees %q after the removal", view, key)
			}
		}
		for host, auth := range want {
			entry, there := auths[0][host]
			if there != (auth != "") || there && !reflect.DeepEqual(entry, map[string]any{"auth": auth}) {
				fail("%s sees %v for %q", view, entry, host)
			}
		}
	}
	for host, auth := range want {
		user, decodes := decode([]byte(auth))
		if got, ok := merged.Auth(host); ok != (decodes && user != "") || ok && string(got) != auth {
			fail("Auth(%q) is %q, %v", host, got, ok)
		}
		if owned := merged.Owned(host); owned != (decodes && user == "AWS") {
			fail("Owned(%q) is %v", host, owned)
		}
		auth, ok := d.Auth(host)
		user, _ = decode(auth)
		_, changed := mergeBytes(d, []Entry{set(host, string(auth))})
		if owned := d.Owned(host); owned != (ok && user == "AWS" && !changed) {
			fail("before: Owned(%q) is %v, Auth %q %v, a merge changes: %v", host, owned, auth, ok, changed)
		}
	}
}

// spellings are the keys that mean our hosts.
type spellings map[string]bool

func (s spellings) add(host string) {
	s[host], s[host+"/"] = true, true
	for _, path := range []string{"", "/", "/v1", "/v1/", "/v2", "/v2/"} {
		s["http://"+host+path], s["https://"+host+path] = true, true
	}
}

func (s spellings) has(key string) bool {
	if scheme, rest, ok := strings.Cut(key, "://"); ok {
		return s[strings.ToLower(scheme)+"://"+rest] || s[key]
	}
	return s[key]
}

func orEmpty(b []byte) []byte {
	if len(bytes.Trim(b, " \t\r\n")) == 0 {
		return []byte("{}")
	}
	return b
}

// foreign lists, byte for byte and in order, what is not ours.
func foreign(t *testing.T, b []byte, ours spellings) (members []rawMember) {
	t.Helper()
	for _, m := range membersOf(t, orEmpty(b)) {
		if !strings.EqualFold(m.key, "auths") {
			members = append(members, m)
		} else if m.val != "null" {
			for _, h := range membersOf(t, []byte(m.val)) {
				if !ours.has(h.key) {
					members = append(members, h)
				}
			}
		}
	}
	return members
}

// values is the document without what is ours; absent, null and empty auths are the same.
func values(t *testing.T, b []byte, ours spellings) map[string]any {
	t.Helper()
	v := map[string]any{"auths": nil}
	d := json.NewDecoder(bytes.NewReader(orEmpty(b)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	for key := range v {
		if strings.EqualFold(key, "auths") {
			auths, _ := v[key].(map[string]any)
			maps.DeleteFunc(auths, func(host string, _ any) bool { return ours.has(host) })
			if len(auths) == 0 {
				v[key] = nil
			}
		}
	}
	return v
}

// goAuths is what encoding/json makes of auths, as in docker, podman and go-containerregistry.
func goAuths(b []byte) map[string]any {
	var v struct {
		Auths map[string]any `json:"auths"`
	}
	_ = json.Unmarshal(b, &v)
	return v.Auths
}

// pythonAuths is what a reader makes of it that knows the exact name only and takes the last of repeated keys.
func pythonAuths(b []byte) map[string]any {
	var v map[string]any
	_ = json.Unmarshal(b, &v)
	auths, _ := v["auths"].(map[string]any)
	return auths
}

// randomDocument writes an object with everything that Merge has to cope with, in any layout.
func randomDocument(r *rand.Rand) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	space := func() string { return pick("", "", "", " ", "\n", "\n\t", "\r\n  ", "\t \n\n") }
	object := func(n int, member func() string) string {
		members := make([]string, r.IntN(n))
		for i := range members {
			members[i] = space() + member() + space()
		}
		return "{" + space() + strings.Join(members, ",") + "}"
	}
	colon := func() string { return space() + ":" + space() }
	foreign := func() string {
		return pick(`1e400`, `12345678901234567890`, `"<&>\ud800\/`+"\xff\"", `[{"auths":{"h":{}}}, null ]`, `{"d":1,"d":2}`, `true`)
	}
	entry := func() string {
		key := pick(`h`, `h`, `\u0068`, `i`, `i:5000`, `a`, `b`, `https://h`, `HTTP://i/v1/`, `h/`, `https:\/\/h\/v2`, `h/v1`, `A`, ``)
		val := pick(`{}`, `null`, `1`, `{"auth":"QVdTOngK"}`, `{"auth": "QVdTOngK"}`, `{"\u0061uth":"QVdTOng\u004b"}`, `{"auth":"eDp5"}`, `{"auth":"QVdTOngK","email":""}`,
			`{"auth":"QVdTOngK","auth":"QVdTOngK"}`, `{"AUTH":"QVdTOngK"}`, `{"auth":1}`, `{"identitytoken":"x"}`, "{\n\t\"auth\":\n\"QQ==\" }", foreign())
		return `"` + key + `"` + colon() + val
	}
	return space() + object(7, func() string {
		switch key := pick(`auths`, `auths`, `\u0061uths`, `AUTHS`, `auth\u017f`, `credsStore`, `credHelpers`, `x`, ``); key {
		case `credsStore`, `credHelpers`, `x`, ``:
			return `"` + key + `"` + colon() + foreign()
		default:
			if r.IntN(5) == 0 {
				return `"` + key + `"` + colon() + "null"
			}
			return `"` + key + `"` + colon() + object(6, entry)
		}
	}) + space()
}

func documents() (docs []string) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		docs = append(docs, randomDocument(r))
	}
	return docs
}

func TestMergeRandomDocuments(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for range 4000 {
		var entries []Entry
		for _, host := range []string{"h", "i", "i:5000", "new", "h"}[r.IntN(4):] {
			entries = append(entries, set(host, []string{"QVdTOngK", "eDp5", "", `"\`}[r.IntN(4)]))
		}
		checkMerge(t, []byte(randomDocument(r)), entries)
	}
}

func FuzzMerge(f *testing.F) {
	for _, s := range append(documents(), texts...) {
		f.Add([]byte(s), "h", "QVdTOngK", "i:5000", "")
	}
	f.Fuzz(func(t *testing.T, b []byte, host1, auth1, host2, auth2 string) {
		if _, err := Parse(b); err != nil {
			var object map[string]json.RawMessage
			var v struct {
				Auths map[string]json.RawMessage `json:"auths"`
			}
			if json.Unmarshal(b, &object) == nil && object != nil && json.Unmarshal(b, &v) == nil && nesting(b) <= maxDepth {
				t.Fatalf("%q: %v, but docker reads it", b, err)
			}
			return
		}
		valid := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
		// encoding/json reads any key of bytes that are no UTF-8 as U+FFFD, and so would take it for that host.
		host := func(s string) string { return strings.NewReplacer("/", ".", "\uFFFD", ".").Replace(valid(s)) }
		checkMerge(t, b, []Entry{set(host(host1), valid(auth1)), set(host(host2), valid(auth2))})
	})
}
