package writer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// crashChild syncs a file that holds the token old, and kills itself before step N. It tells the steps that it has come to on
// a descriptor that survives it.
func crashChild(args []string) {
	at, err := strconv.Atoi(args[1])
	must(err)
	f := newFile(args[0])
	tap(f, func(op, name string) error {
		fmt.Println(op, name)
		if at--; at < 0 {
			must(syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {}
		}
		return nil
	})
	_, err = f.Sync(wants(hostA, "new", hostB, "new"))
	must(err)
}

// The process is killed before every step of the config and the state: a reader sees the old or the new document whole, never
// a mixture, and the next process is bothered by nothing that was left.
func TestKilled(t *testing.T) {
	var came []string
	sawOld, sawNew, adopted := 0, 0, 0
	for step, killed := 0, true; killed; step++ {
		at := t.TempDir()
		path := filepath.Join(at, "config.json")
		mustSync(t, newFile(path), wants(hostA, "old", hostB, "old"))
		before := string(slurp(t, path))
		out, err := child(t, "crash", path, strconv.Itoa(step)).Output()
		killed = err != nil
		if killed && !strings.Contains(err.Error(), "killed") {
			t.Fatalf("step %d: %v %s", step, err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		last := lines[len(lines)-1]
		came = append(came, strings.Fields(last)[0])
		content := slurp(t, path)
		switch a, b := tokenOf(t, content, hostA), tokenOf(t, content, hostB); {
		case a == "old" && string(content) == before:
			sawOld++
		case a == "new" && b == "new":
			sawNew++
		default:
			t.Errorf("before %s: %s", last, content)
		}
		// Of what is in the file the state says the truth or nothing.
		recalled := newFile(path).Recall()
		for host, g := range recalled {
			if name := tokenOf(t, content, host); g.Scope != "scope of "+name || g.Sum != grant(name).Sum {
				t.Errorf("before %s: recalled %q for the token %q", last, g.Scope, name)
			}
			adopted++
		}
		f := newFile(path)
		mustSync(t, f, wants(hostA, "next"))
		if c := slurp(t, path); tokenOf(t, c, hostA) != "next" || strays(t, at) != nil || f.Recall()[hostA].Sum != grant("next").Sum {
			t.Errorf("after a death before %s: %s, strays %q, recalled %v", last, c, strays(t, at), f.Recall())
		}
	}
	for _, s := range append([]string{"overwrite"}, steps...) {
		if s != "lstat" && !slices.Contains(came, s) {
			t.Errorf("never killed before %s: %q", s, came)
		}
	}
	if sawOld == 0 || sawNew == 0 || adopted == 0 {
		t.Errorf("old %d times, new %d times, adopted %d", sawOld, sawNew, adopted)
	}
	t.Logf("killed before each of %q", came)
}
