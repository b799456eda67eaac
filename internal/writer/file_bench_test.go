package writer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ecr-refresher/internal/secret"
)

// What a renewal costs: new tokens for every host of an existing file, each token for 20 of them, beside the same bytes written bare in the same order
// (temporary file, fsync, rename, fsync of the directory), in turns. ratio is the median of the one by the median of the other.
//
//	go test -run '^$' -bench BenchmarkPublish -benchtime 100x ./internal/writer
//
// TMPDIR says on which disk.
func BenchmarkPublish(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkPublish(b, n) })
	}
}

func benchmarkPublish(b *testing.B, n int) {
	var hosts []string
	var turns [2][]Want
	doc, renewed := manyEntries(n)
	d := parse(b, string(doc))
	var grants [2]*Grant
	for j, e := range renewed {
		if j%20 == 0 { // a token serves all registries of its region
			auth, _ := d.Auth(e.Host)
			for i, s := range []secret.Secret{e.Auth, secret.New(string(auth))} {
				grants[i] = &Grant{Auth: s, Sum: s.Sum()}
			}
		}
		for i := range turns {
			turns[i] = append(turns[i], Want{e.Host, grants[i]})
		}
		hosts = append(hosts, e.Host)
	}
	at := b.TempDir()
	f := New(Options{Path: filepath.Join(at, "config.json"), Mode: 0o600, Hosts: hosts})
	mustSync(b, f, turns[0])
	bare := filepath.Join(b.TempDir(), "config.json")
	if err := writeBare(bare, doc); err != nil {
		b.Fatal(err)
	}
	var ours, theirs []time.Duration
	b.SetBytes(int64(len(doc)))
	for i := 1; b.Loop(); i++ {
		start := time.Now()
		if r, err := f.Sync(turns[i%2]); err != nil || !r.Wrote {
			b.Fatal(r, err)
		}
		ours = append(ours, time.Since(start))
		start = time.Now()
		if err := writeBare(bare, doc); err != nil {
			b.Fatal(err)
		}
		theirs = append(theirs, time.Since(start))
	}
	a, c := median(ours), median(theirs)
	b.ReportMetric(float64(a.Microseconds())/1000, "ms/publish")
	b.ReportMetric(float64(c.Microseconds())/1000, "ms/bare")
	b.ReportMetric(float64(a)/float64(c), "ratio")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// writeBare is what everybody writes who has heard of fsync.
func writeBare(path string, content []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
