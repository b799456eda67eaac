package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// mostInput is far more than the 64 KiB that ECS takes.
const mostInput = 4 << 20

// readInput reads the file, or standard input; who waits at a terminal is told for what.
func readInput(inv invocation, file string) ([]byte, error) {
	in := inv.in
	switch {
	case file != "" && file != "-":
		f, err := os.Open(file) //nolint:gosec // the file that the user names
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	case file == "" && terminal(in):
		fmt.Fprintln(inv.err, "refresher: no FILE is given: the task definition is read from standard input")
	}
	doc, err := io.ReadAll(io.LimitReader(in, mostInput+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the task definition: %w", err)
	case len(doc) > mostInput:
		return nil, errors.New("this is no task definition: it has more than 4 MiB")
	case file == "" && len(bytes.TrimSpace(doc)) == 0:
		return nil, errors.New("task definition: it is empty: is the file's name missing?")
	}
	return doc, nil
}

// terminal takes every character device for one: of /dev/null it is true too, and does no harm.
func terminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
