package disktest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// unsettled is a disk in the middle of a write: a file that is overwritten, one that is renamed, one that was removed.
func unsettled(t *testing.T) *Disk {
	t.Helper()
	d := New()
	d.Put("state", 0o600, []byte("old"))
	d.Put(Config, 0o640, []byte("old"))
	d.Put("gone", 0o600, nil)
	f, err := d.Create("tmp")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write([]byte("new"))
	for _, err := range []error{err, f.Chmod(0o640), f.Sync(), d.Overwrite("state", []byte("new")), d.Rename("tmp", Config), d.Remove("gone")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func show(d *Disk) string {
	var b strings.Builder
	for _, name := range d.Files() {
		fmt.Fprintf(&b, "%s %#o %q\n", name, d.File(name).Mode, d.File(name).Content)
	}
	return b.String()
}

// A power cut leaves one of the survivors, and each of them can be left.
func TestCutPowerLeavesASurvivor(t *testing.T) {
	survivors := map[string]bool{}
	unsettled(t).Survivors(func(d *Disk) { survivors[show(d)] = false })
	for seed := range uint64(5000) {
		d := unsettled(t)
		d.CutPower(rand.New(rand.NewPCG(seed, 0)).IntN)
		left := show(d)
		if _, ok := survivors[left]; !ok {
			t.Fatalf("not a survivor:\n%s", left)
		}
		survivors[left] = true
		d.CutPower(func(int) int { return 0 })
		if again := show(d); again != left {
			t.Fatalf("what a power cut left is not durable:\n%s%s", left, again)
		}
	}
	for s, seen := range survivors {
		if !seen {
			t.Errorf("never left:\n%s", s)
		}
	}
	t.Logf("%d states", len(survivors))
}

// What was synced survives, whatever is picked.
func TestSettled(t *testing.T) {
	d := unsettled(t)
	d.Settle(Config)
	d.Settle("state")
	want := show(d)
	d.Survivors(func(left *Disk) {
		if got := show(left); got != want {
			t.Errorf("%s\nis left of\n%s", got, want)
		}
	})
	if !d.Durable(Config) || !d.File("state").Durable() {
		t.Error("not durable")
	}
}
