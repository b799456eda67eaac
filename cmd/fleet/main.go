// Command fleet shows what 1,000 to 1,000,000 refreshers that start together do to the quota they share. It is no part of
// what is shipped.
//
//	fleet [FILE]
//
// It prints the tables, and puts them between the markers in FILE where one is given. It ends with 0, with 2 when called
// wrongly, with 1 when FILE cannot be rewritten.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

func main() {
	os.Exit(run(os.Args[1:], func() string { return Report(Sizes(), runAll) }, os.Stdout, os.Stderr))
}

func run(args []string, tables func() string, out, errOut io.Writer) int {
	if len(args) > 1 {
		fmt.Fprintln(errOut, "usage: fleet [FILE]")
		return 2
	}
	var doc []byte
	if len(args) == 1 { // before the minute that the tables take
		var err error
		if doc, err = os.ReadFile(args[0]); err == nil { //nolint:gosec // G703: the page that the caller names
			_, err = Splice(string(doc), "")
		}
		if err != nil {
			fmt.Fprintln(errOut, "fleet:", err)
			return 1
		}
	}
	report := tables()
	fmt.Fprint(out, report)
	if len(args) == 0 {
		return 0
	}
	text, err := Splice(string(doc), report)
	if err == nil {
		err = os.WriteFile(args[0], []byte(text), 0o644) //nolint:gosec // G306: a page of documentation
	}
	if err != nil {
		fmt.Fprintln(errOut, "fleet:", err)
		return 1
	}
	return 0
}

// runAll runs the worlds side by side, one per processor, the last ones first: these are the largest.
func runAll(worlds []World) []Result {
	results := make([]Result, len(worlds))
	var left atomic.Int64
	left.Store(int64(len(worlds)))
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				results[i] = Run(worlds[i])
			}
		})
	}
	wg.Wait()
	return results
}
