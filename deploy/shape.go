//go:build ignore

// Shape fails where a YAML file cannot be read, is empty, or has a key twice: go run -modfile=tools/go.mod deploy/shape.go FILE…
// It is for the files whose own checker is not at hand; what has one is checked by it. It is no package of the program: the
// YAML library comes from the linters' dependencies.
package main

import (
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
)

func main() {
	var failed bool
	for _, name := range os.Args[1:] {
		doc, err := os.ReadFile(name)
		var v map[string]any
		if err == nil {
			err = yaml.Unmarshal(doc, &v)
		}
		if err == nil && len(v) == 0 {
			err = fmt.Errorf("it is empty")
		}
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			continue
		}
		fmt.Printf("%s: YAML\n", name)
	}
	if failed || len(os.Args) < 2 {
		os.Exit(1)
	}
}
