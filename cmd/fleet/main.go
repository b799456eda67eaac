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

	"ecr-refresher/internal/cli"
)

func main() {
	os.Exit(run(os.Args[1:], func() string { return Report(Sizes(), runAll) }, os.Stdout, os.Stderr))
}

// settings are what the program is called with.
type settings struct{ page string } // the FILE; empty: none is given

var program = cli.Program[settings]{Name: "fleet", Commands: []cli.Command[settings]{{
	Summary:  "Simulate 1,000 to 1,000,000 refreshers that start together, and print what they do to the quota they share.",
	FileHelp: "The page with the markers between which the tables are put. Default: they are printed only.",
	File:     func(s *settings, path string) { s.page = path },
}}}

func run(args []string, tables func() string, out, errOut io.Writer) int {
	s, _, err := program.Parse(args, nil, out)
	if err != nil {
		return cli.Explain(errOut, err)
	}
	var doc []byte
	if s.page != "" { // before the minute that the tables take
		if doc, err = os.ReadFile(s.page); err == nil {
			_, err = Splice(string(doc), "")
		}
		if err != nil {
			fmt.Fprintln(errOut, "fleet:", err)
			return 1
		}
	}
	report := tables()
	fmt.Fprint(out, report)
	if s.page == "" {
		return 0
	}
	text, err := Splice(string(doc), report)
	if err == nil {
		err = os.WriteFile(s.page, []byte(text), 0o644) //nolint:gosec // G306: a page of documentation
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
