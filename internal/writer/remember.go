package writer

import (
	"bytes"
	"encoding/hex"
	"maps"
	"slices"

	"ecr-refresher/internal/secret"
)

// saveState writes the state file where it lacks a token that is wanted, or could not be written the last time. It keeps all that
// were known before, as the document may hold them until it is replaced. It is a hint: a failure costs one call after the next
// restart.
func (f *File) saveState(d dir, want []Want) {
	tokens := tokensOf(want)
	if !f.behind && !slices.ContainsFunc(tokens, func(t tokenState) bool { return f.known[t.Sum] != t }) {
		return
	}
	known := maps.Clone(f.known)
	if known == nil {
		known = make(map[string]tokenState, len(tokens))
	}
	for _, t := range tokens {
		known[t.Sum] = t
	}
	b, err := encodeState(f.task, slices.SortedFunc(maps.Values(known), tokenState.compare))
	if err != nil {
		return
	}
	// In place, where there is one of that length: a second new file would make the fsync beside it take half as long again, and
	// on a full disk there is no room for one.
	name := stateName(f.base)
	if err = d.overwrite(name, b); err != nil {
		err = replace(d, name, bytes.NewReader(b), found{}, 0o600, nil)
	}
	f.known, f.behind = known, err != nil
}

// forgetOthers drops the tokens that are neither wanted nor in the file for another host of ours; the state file follows at its next
// write.
func (f *File) forgetOthers(want []Want) {
	known := make(map[string]tokenState, len(f.known))
	keep := func(sum string) {
		if k, ok := f.known[sum]; ok {
			known[sum] = k
		}
	}
	wanted := make(map[string]bool, len(want))
	for _, w := range want {
		wanted[w.Host] = true
	}
	for _, t := range tokensOf(want) {
		keep(t.Sum)
	}
	for host, sum := range f.view.Sums {
		if !wanted[host] {
			keep(hex.EncodeToString(sum[:]))
		}
	}
	f.known = known
}

// Recall returns, by host, the tokens in the file that an earlier process of this task wrote and remembered. Whether they
// are still good is the caller's to judge: anybody who can write to the directory can forge a state file.
func (f *File) Recall() map[string]Grant {
	f.writing.Lock()
	defer f.writing.Unlock()
	d, err := f.openDir(f.dir)
	if err != nil {
		return nil
	}
	defer d.close()
	known := f.readState(d)
	if len(known) == 0 {
		return nil
	}
	name, _, err := f.find(d, &f.sight)
	if err != nil {
		return nil
	}
	b, err := f.load(d, name, &f.sight)
	if err != nil {
		return nil
	}
	defer clear(b)
	if _, err := f.describe(d, &f.sight, b); err != nil {
		return nil
	}
	return f.grants(b, f.view.Sums, known)
}

// peers looks for tokens in the file that this process does not know, that the state file knows, and that live longer than what is
// wanted in their place.
func (f *File) peers(d dir, b []byte, want []Want) map[string]Grant {
	wanted := make(map[string]*Grant, len(want))
	for _, w := range want {
		wanted[w.Host] = w.Grant
	}
	strange := map[string]Sum{}
	for host, sum := range f.view.Sums {
		_, known := f.known[hex.EncodeToString(sum[:])]
		if g := wanted[host]; !known && (g == nil || g.Sum != sum) {
			strange[host] = sum
		}
	}
	if len(strange) == 0 {
		return nil
	}
	grants := f.grants(b, strange, f.readState(d))
	maps.DeleteFunc(grants, func(host string, found Grant) bool {
		g := wanted[host]
		return g != nil && (found.Scope != g.Scope || !found.Expires.After(g.Expires))
	})
	return grants
}

// readState returns what the state file remembers.
func (f *File) readState(d dir) map[Sum]tokenState {
	b, _, err := d.read(stateName(f.base), stateMost+stateEach*int64(len(f.hosts)))
	if err != nil {
		return nil
	}
	return decodeState(b, f.task)
}

// grants are the tokens of a document, by host, that are both among the entries and known to the state file. They are remembered; what
// else a state file has, which anybody may have written, is not.
func (f *File) grants(b []byte, entries map[string]Sum, known map[Sum]tokenState) map[string]Grant {
	if !slices.ContainsFunc(slices.Collect(maps.Values(entries)), func(sum Sum) bool { _, ok := known[sum]; return ok }) {
		return nil
	}
	doc, err := f.parse(b)
	if err != nil {
		return nil
	}
	grants := map[string]Grant{}
	for host, sum := range entries {
		t, ok := known[sum]
		if !ok {
			continue
		}
		if auth, ok := doc.Auth(host); ok {
			if f.known == nil {
				f.known = map[string]tokenState{}
			}
			f.known[t.Sum] = t
			grants[host] = Grant{Auth: secret.New(string(auth)), Sum: sum, Scope: t.Scope, Issued: t.Issued, Expires: t.Expires}
		}
	}
	return grants
}
