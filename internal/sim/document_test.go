package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ecr-refresher/internal/writer/disktest"
)

// document is a config as a program that does not share our parser reads it.
type document struct {
	version int
	ok      bool
	auths   map[string]string // by host, the "auth"
	rest    string            // all that is not ours
	origin  map[string]bool   // our hosts whose entry we put there
}

// parsed is the document in a file; nil for none. An empty file counts as {}.
func (v *volume) parsed(n *disktest.File) *document {
	if n == nil {
		return nil
	}
	if d, ok := n.Note.(*document); ok && d.version == n.Version {
		return d
	}
	d := &document{version: n.Version, auths: map[string]string{}, origin: map[string]bool{}}
	n.Note = d
	var all map[string]json.RawMessage
	b := n.Content
	if len(strings.TrimSpace(string(b))) == 0 {
		b = []byte("{}")
	}
	if json.Unmarshal(b, &all) != nil || all == nil {
		return d
	}
	var auths map[string]json.RawMessage
	if raw, ok := all["auths"]; ok && json.Unmarshal(raw, &auths) != nil {
		return d
	}
	d.ok = true
	var rest strings.Builder
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if key != "auths" {
			fmt.Fprintf(&rest, "%q=%s\n", key, compact(all[key]))
		}
	}
	for _, host := range slices.Sorted(maps.Keys(auths)) {
		if !v.w.ours[host] {
			fmt.Fprintf(&rest, "auth %q=%s\n", host, compact(auths[host]))
			continue
		}
		var e struct{ Auth string }
		if json.Unmarshal(auths[host], &e) == nil {
			d.auths[host] = e.Auth
		}
	}
	d.rest = rest.String()
	return d
}

func compact(raw json.RawMessage) string {
	var x any
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	_ = dec.Decode(&x)
	b, _ := json.Marshal(x)
	return string(b)
}

// inherit remembers which entries are still as we put them.
func (v *volume) inherit(n *disktest.File, was *document) {
	d := v.parsed(n)
	if was == nil {
		return
	}
	for host, ours := range was.origin {
		if ours && d.auths[host] == was.auths[host] {
			d.origin[host] = true
		}
	}
}

// disown forgets which entries are ours, where no process can know it any more.
func (v *volume) disown() {
	if d := v.parsed(v.config()); d != nil {
		clear(d.origin)
	}
}
