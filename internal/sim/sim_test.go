package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	oneSeed  = flag.Uint64("seed", 0, "replay the world of one seed")
	aloud    = flag.Bool("aloud", false, "with -seed: print every event")
	budget   = flag.Duration("budget", 2*time.Second, "how long TestWorld makes new worlds")
	renewals = flag.Int("renewals", 0, "how many renewals TestWorld makes; takes the place of -budget")
	years    = flag.Int("years", 0, "how many task-years TestYears lives through, with tokens of 12 hours")
	replays  = flag.Int("replays", 1, "how many worlds TestReplay lives through twice")
	first    = flag.Uint64("first", 1, "the first seed")
)

func sumOf(auth string) string {
	sum := sha256.Sum256([]byte(auth))
	return hex.EncodeToString(sum[:])
}

// live runs the world of a seed.
func live(t *testing.T, seed uint64, pl plant, loud bool) *world {
	var w *world
	defer func() {
		if p := recover(); p != nil { // of the bubble: a goroutine is left in it
			panic(fmt.Sprintf("in the world of seed %d: %v", seed, p))
		}
	}()
	synctest.Test(t, func(*testing.T) {
		w = newWorld(settle(seed), pl)
		if loud {
			w.trace = func(format string, args ...any) {
				fmt.Fprintf(os.Stderr, "%16s  %s\n", w.mono(), fmt.Sprintf(format, args...))
			}
			fmt.Fprintf(os.Stderr, "%+v\n", w.cfg)
		}
		w.run()
	})
	return w
}

func report(t *testing.T, w *world) {
	t.Helper()
	for _, b := range w.breaches {
		t.Error(b)
	}
	if w.failed() {
		t.Errorf("replay with: go test ./internal/sim -run TestWorld -seed %d", w.cfg.seed)
	}
}

// many lives through the worlds of consecutive seeds, as many at a time as there are cores, until enough is told.
func many(t *testing.T, from uint64, pl plant, enough func(worlds int, all *tally) bool) (all tally) {
	var mu sync.Mutex
	var group sync.WaitGroup
	next, stop := from, false
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for {
				mu.Lock()
				seed := next
				next++
				done := stop || enough(int(seed-from), &all)
				mu.Unlock()
				if done {
					return
				}
				w := live(t, seed, pl, false)
				mu.Lock()
				all.add(w.stats)
				report(t, w)
				stop = stop || w.failed()
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return all
}

func TestWorld(t *testing.T) {
	if *oneSeed != 0 {
		w := live(t, *oneSeed, plant{}, *aloud)
		report(t, w)
		t.Logf("digest %016x: %s", w.digest, &w.stats)
		return
	}
	start := time.Now()
	all := many(t, *first, plant{}, func(worlds int, all *tally) bool {
		if *renewals > 0 {
			return all.renewals >= *renewals && all.faults() >= *renewals/10
		}
		return worlds >= 1 && time.Since(start) > *budget
	})
	t.Logf("%s; %s on %d cores", &all, time.Since(start).Round(time.Second), runtime.GOMAXPROCS(0))
}

// TestYears lives through years of a task whose tokens live 12 hours, as ECR's do.
func TestYears(t *testing.T) {
	if *years == 0 {
		t.Skip("-years N")
	}
	start := time.Now()
	all := many(t, 1<<32+*first, plant{}, func(worlds int, _ *tally) bool { return worlds >= *years })
	t.Logf("%s; %s on %d cores", &all, time.Since(start).Round(time.Second), runtime.GOMAXPROCS(0))
}

// A seed is a world: twice the same, to the event.
func TestReplay(t *testing.T) {
	for n := range uint64(*replays) {
		seed := *first + 106 + n // with small ones first
		one, two := live(t, seed, plant{}, false), live(t, seed, plant{}, false)
		if one.digest != two.digest || one.stats != two.stats {
			t.Errorf("seed %d: %016x %s\n%016x %s", seed, one.digest, &one.stats, two.digest, &two.stats)
		}
	}
}
