package writer

import (
	"bufio"
	"encoding/json"
	"io"
	"slices"
	"strings"
)

// merge collects the patches that turn a document into the wanted one, in the order of the file.
type merge struct {
	*document
	own     []own
	index   map[string]int // own by host
	wanted  bool           // one of ours has to be set
	patches []patch
	pieces  []piece
}

// piece is JSON as it is, or the content of a string that may need escapes.
type piece struct {
	text string
	raw  bool
}

// own is one of our hosts; without auth its entry has to go.
type own struct {
	host, auth string
	placed     bool // has an entry in the target already

	// What was found of it: an entry under just this name; one with another token; one that is not as we write it.
	stands, stale, odd bool
}

// patch replaces a range of the document by the pieces from first on, up to those of the next patch.
type patch struct {
	span
	first int
}

// Merge returns the document with exactly these entries for their hosts: each is set, in its place or at the end of auths, or
// removed. Our entry is "auth" and nothing else, because clients disagree about what to use when there is more, and it is the
// only one for its host: a second one, or one under an old spelling such as https://HOST/v1/, leaves it to chance which docker
// uses. Every other byte stays. When no value would change, it is the bytes given to Parse, and changed is false.
func (d Document) Merge(entries []Entry) (out Content, changed bool) {
	m := merge{document: d.get(), own: make([]own, 0, len(entries)), index: make(map[string]int, len(entries))}
	for _, e := range entries {
		o := own{host: e.Host, auth: e.Auth.Reveal()}
		m.wanted = m.wanted || o.auth != ""
		if i, again := m.index[o.host]; again {
			m.own[i] = o
			continue
		}
		m.index[o.host] = len(m.own)
		m.own = append(m.own, o)
	}
	for i := range m.auths {
		m.section(i)
	}
	if m.target < 0 {
		m.addAuths()
	}
	if len(m.patches) == 0 {
		m.b = m.given
	}
	return Content{m.writeTo, m.size(), m.found()}, len(m.patches) > 0
}

// found says in words what was there of the first of ours that is not as it should be.
func (m *merge) found() string {
	for _, o := range m.own {
		switch {
		case !o.stands && o.auth != "":
			return "the entry of " + o.host + " was missing"
		case o.stale:
			return "the entry of " + o.host + " had another token"
		case o.odd:
			return "the entry of " + o.host + " was doubled or in another form"
		}
	}
	if len(m.patches) > 0 && len(m.own) > 0 {
		return "the entry of " + m.own[0].host + " was hidden by a null"
	}
	return ""
}

// size is that of the document with its patches, escapes aside.
func (m *merge) size() int {
	size := len(m.b)
	for _, p := range m.pieces {
		size += len(p.text)
	}
	for _, p := range m.patches {
		size -= p.to - p.from
	}
	return size
}

// Content is a document that is put together as it is written. Like [Document] it hides behind a function.
type Content struct {
	write func(*bufio.Writer)
	size  int
	found string // what the document that it replaces had instead, in words
}

// WriteTo implements io.WriterTo.
func (c Content) WriteTo(w io.Writer) (int64, error) {
	count := &counter{w: w}
	buf := bufio.NewWriterSize(count, min(c.size, 256<<10))
	c.write(buf)
	err := buf.Flush()
	buf.Reset(nil)
	b := buf.AvailableBuffer()
	clear(b[:cap(b)]) // it had tokens in it
	return count.n, err
}

// counter counts what passes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// cut starts a patch; text and raw add to it.
func (m *merge) cut(from, to int) {
	m.patches = append(m.patches, patch{span{from, to}, len(m.pieces)})
}
func (m *merge) text(s string) { m.pieces = append(m.pieces, piece{text: s}) }
func (m *merge) raw(s string)  { m.pieces = append(m.pieces, piece{text: s, raw: true}) }

// section patches one auths. Our entries go into the target; everywhere else they are removed.
func (m *merge) section(i int) {
	sec, isTarget := &m.auths[i], i == m.target
	const drop, keep = -2, -1
	fate, kept := make([]int, len(sec.hosts)), 0 // drop, keep, or the own that has this place
	for j := len(fate) - 1; j >= 0; j-- {        // backwards: of repeated keys the last one is in use
		key := text(m.b, sec.hosts[j].key)
		o, exact := m.index[string(key)]
		alias := exact
		if !exact {
			o, alias = m.index[string(bareHost(key))]
		}
		if exact {
			m.own[o].stands = true
		}
		if exact && isTarget && !m.own[o].placed && m.own[o].auth != "" {
			m.own[o].placed = true
			fate[j] = o
		} else if alias {
			m.own[o].odd = true
			fate[j] = drop
			continue
		} else {
			fate[j] = keep
		}
		kept++
	}
	outer, inner := m.layouts(sec)
	if kept == 0 {
		switch add := isTarget && slices.ContainsFunc(m.own, own.missing); {
		case add:
			m.cut(sec.val.from, sec.val.to)
			m.object(outer, inner)
		case len(fate) > 0, sec.null && m.wanted && 0 <= m.target && m.target < i: // it would hide ours
			m.cut(sec.val.from, sec.val.to)
			m.text("{}")
		}
		return
	}
	kept = 0
	for j := range fate {
		switch h := &sec.hosts[j]; {
		case fate[j] >= 0:
			m.set(h, &m.own[fate[j]], inner)
			kept++
		case fate[j] == keep:
			kept++
		case kept > 0: // with the comma before it
			m.cut(sec.hosts[j-1].val.to, h.val.to)
		default: // with the comma behind it
			m.cut(h.key.from, sec.hosts[j+1].key.from)
		}
	}
	if isTarget && slices.ContainsFunc(m.own, own.missing) {
		end := sec.hosts[len(sec.hosts)-1].val.to
		m.cut(end, end)
		m.entries(","+inner.gap, inner)
	}
}

func (o own) missing() bool { return o.auth != "" && !o.placed }

// set gives h, which is there already, our value.
func (m *merge) set(h *host, o *own, l layout) {
	if h.auth.to == 0 {
		o.odd = true
		m.cut(h.val.from, h.val.to)
		m.text("{" + l.deeper() + `"auth"` + l.colon + `"`)
		m.raw(o.auth)
		m.text(`"` + l.line + "}")
		return
	}
	if string(text(m.b, h.auth)) == o.auth {
		return
	}
	o.stale = true
	m.cut(h.auth.from+1, h.auth.to-1)
	m.raw(o.auth)
}

// entries writes the missing entries; before stands in front of the first one.
func (m *merge) entries(before string, l layout) {
	before += `"`
	open, end := `"`+l.colon+"{"+l.deeper()+`"auth"`+l.colon+`"`, `"`+l.line+"}"
	for _, o := range m.own {
		if o.missing() {
			m.text(before)
			m.raw(o.host)
			m.text(open)
			m.raw(o.auth)
			m.text(end)
			before = "," + l.gap + `"`
		}
	}
}

// object writes an auths object with the missing entries.
func (m *merge) object(outer, inner layout) {
	m.entries("{"+inner.line, inner)
	m.text(outer.line + "}")
}

// addAuths puts the missing entries into an auths of their own, at the end of the document.
func (m *merge) addAuths() {
	if !slices.ContainsFunc(m.own, own.missing) {
		return
	}
	if m.last.key.to == 0 {
		m.cut(m.braces.from, m.braces.to)
		m.text("{" + docker.line + `"auths": `)
		m.object(docker, docker.inside())
		m.text("\n}")
		return
	}
	outer := m.layoutOf(m.last)
	m.cut(m.last.val.to, m.last.val.to)
	m.text("," + outer.gap + `"auths"` + outer.colon)
	m.object(outer, outer.inside())
}

// writeTo writes the document with its patches, piece by piece: a thousand tokens are 4 MB, which nobody needs twice in memory.
func (m *merge) writeTo(w *bufio.Writer) {
	done, plain := 0, ""
	for i, p := range m.patches {
		last := len(m.pieces)
		if i+1 < len(m.patches) {
			last = m.patches[i+1].first
		}
		_, _ = w.Write(m.b[done:p.from])
		for _, p := range m.pieces[p.first:last] {
			switch {
			case !p.raw || p.text == plain: // one token serves many hosts: to compare a string with itself costs nothing
			case special([]byte(p.text)) < len(p.text):
				p.text = quote(p.text)
			case len(p.text) > longString: // not the name of a host
				plain = p.text
			}
			_, _ = w.WriteString(p.text)
		}
		done = p.to
	}
	_, _ = w.Write(m.b[done:]) // bufio keeps the first error for Flush
}

// quote is s as it stands between quotes.
func quote(s string) string {
	q, _ := json.Marshal(s) // cannot fail for a string
	return string(q[1 : len(q)-1])
}

// layout is how an object's members are set out, so that ours look like their neighbours.
type layout struct {
	line  string // the line break and indentation before a member; nothing when the members share a line
	gap   string // what follows a comma: line, or a blank, or nothing
	unit  string // one more level of indentation
	colon string
}

// docker is how docker sets out the members of the document.
var docker = layout{line: "\n\t", gap: "\n\t", unit: "\t", colon: ": "}

// layoutOf reads the layout off a member.
func (d *document) layoutOf(m member) layout {
	l, from := layout{unit: docker.unit, colon: ":"}, m.key.from
	if d.b[m.val.from-1] == ' ' {
		l.gap, l.colon = " ", ": "
	}
	for m.key.from-from < 32 && (d.b[from-1] == ' ' || d.b[from-1] == '\t') { // not for ever: each of our entries repeats it
		from--
	}
	if d.b[from-1] != '\n' {
		return l
	}
	if from < m.key.from {
		l.unit = string(d.b[from:m.key.from])
	}
	from--
	if d.b[from-1] == '\r' {
		from--
	}
	l.line = string(d.b[from:m.key.from])
	l.gap = l.line
	return l
}

// deeper is line for the members of a member.
func (l layout) deeper() string {
	if l.line == "" {
		return ""
	}
	return l.line + l.unit
}

// layouts returns the layout of sec in the document and that of its hosts.
func (m *merge) layouts(sec *section) (outer, inner layout) {
	outer = m.layoutOf(sec.member)
	if n := len(sec.hosts); n > 0 {
		inner = m.layoutOf(sec.hosts[n-1].member)
		unit, ok := strings.CutPrefix(inner.line, outer.line)
		if inner.unit = outer.unit; ok && unit != "" && outer.line != "" {
			inner.unit = unit
		}
		return outer, inner
	}
	return outer, outer.inside()
}

// inside is the layout of a new object's members.
func (l layout) inside() layout {
	if l.line != "" {
		l.line = l.deeper()
		l.gap = l.line
	}
	return l
}
