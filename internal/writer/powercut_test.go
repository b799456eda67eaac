package writer_test

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/writer"
	"ecr-refresher/internal/writer/disktest"
)

const (
	hostA = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
	hostB = "444455556666.dkr.ecr.us-east-1.amazonaws.com"
)

// want asks for a token whose scope names it.
func want(host, name string) writer.Want {
	auth := secret.New(base64.StdEncoding.EncodeToString([]byte("AWS:" + name)))
	issued := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	return writer.Want{Host: host, Grant: &writer.Grant{Auth: auth, Sum: auth.Sum(), Scope: "scope of " + name, Issued: issued, Expires: issued.Add(12 * time.Hour)}}
}

// rounds are what is wanted, one after another.
var rounds = [][]writer.Want{{want(hostA, "1")}, {want(hostA, "2"), want(hostB, "2")}, {want(hostA, "2"), want(hostB, "3")}}

const none = "-" // instead of a document, where there is no file

func fileOn(l writer.Layer) *writer.File {
	return writer.New(writer.Options{Path: disktest.Config, Mode: 0o640, Hosts: []string{hostA, hostB}, Task: "arn:task", Layer: l})
}

// sync makes a round, and returns the document that is there then.
func sync(t *testing.T, f *writer.File, d *disktest.Disk, round int) string {
	t.Helper()
	if r, err := f.Sync(rounds[round]); err != nil || !r.Wrote {
		t.Fatalf("round %d: %+v %v", round, r, err)
	}
	doc := string(d.File(disktest.Config).Content)
	for _, w := range rounds[round] {
		if !strings.Contains(doc, w.Grant.Auth.Reveal()) {
			t.Fatalf("round %d: no token for %s", round, w.Host)
		}
	}
	return doc
}

// cutPower syncs a file again and again on a disk whose power may go after every step, and returns what a reader could find
// there afterwards that he must not.
func cutPower(t *testing.T, before string, mistakes disktest.Faulty) (states int, wrong []string) {
	t.Helper()
	fresh := func() *disktest.Disk {
		d := disktest.New()
		if before != none {
			d.Put(disktest.Config, 0o640, []byte(before))
		}
		return d
	}
	var docs []string // what each round leaves
	quiet := fresh()
	for i, f := 0, fileOn(quiet); i < len(rounds); i++ {
		docs = append(docs, sync(t, f, quiet, i))
		quiet.Settle(disktest.Config)
	}

	d, now := fresh(), before // the documents that may be there: one or the other
	check := func() {
		if len(wrong) > 0 {
			return // one is enough
		}
		d.Survivors(func(left *disktest.Disk) {
			states++
			got, mode := none, fs.FileMode(0o640)
			if f := left.File(disktest.Config); f != nil {
				got, mode = string(f.Content), f.Mode
			}
			switch {
			case got != before && got != now:
				wrong = append(wrong, fmt.Sprintf("%q is there, which is neither %q nor %q", got, before, now))
			case mode != 0o640:
				wrong = append(wrong, fmt.Sprintf("mode %#o", mode))
			}
			if got == none || len(wrong) > 0 {
				return
			}
			doc, err := writer.Parse([]byte(got))
			if err != nil {
				t.Fatal(err)
			}
			for host, g := range fileOn(left).Recall() {
				auth, _ := doc.Auth(host)
				if name, _ := base64.StdEncoding.DecodeString(string(auth)); string(auth) != g.Auth.Reveal() || "AWS:"+strings.TrimPrefix(g.Scope, "scope of ") != string(name) {
					wrong = append(wrong, fmt.Sprintf("recalled %q from %q", g.Scope, got))
				}
			}
		})
	}
	d.After = check
	mistakes.Layer = d
	f := fileOn(&mistakes)
	for i := range rounds {
		now = docs[i]
		if got := sync(t, f, d, i); got != now {
			t.Fatalf("round %d: %s", i, got)
		}
		before = now // it was said to be durable
		check()
		_ = d.Sync("") // the disk gets round to the rest
	}
	return states, wrong
}

var starts = []string{none, `{"n":1}`}

func TestPowerCut(t *testing.T) {
	for _, before := range starts {
		states, wrong := cutPower(t, before, disktest.Faulty{})
		for _, w := range wrong {
			t.Error(w)
		}
		if states < 500 {
			t.Errorf("only %d states", states)
		}
		t.Logf("%d states after a power cut", states)
	}
}

// A check that cannot fail is none: each way to get the order wrong is seen.
func TestPowerCutSeesMistakes(t *testing.T) {
	for name, mistakes := range map[string]disktest.Faulty{
		"no fsync of the file":         {NoFsync: true},
		"fsync after the rename":       {LateFsync: true},
		"no fsync of the directory":    {NoSyncDir: true},
		"fsync before the last change": {EarlyFsync: true},
	} {
		for _, before := range starts {
			if _, wrong := cutPower(t, before, mistakes); len(wrong) == 0 {
				t.Errorf("%s: not seen", name)
			} else {
				t.Logf("%s: %s", name, wrong[0])
			}
		}
	}
}
