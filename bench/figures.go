package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
)

// figures are what was measured: a value for each round, by stage, program and quantity, such as "start", "naive", "cpu".
// Seconds and bytes throughout.
type figures struct {
	Samples map[string][]float64
	Notes   map[string]string // why a program has no figures, by stage and program
}

func newFigures() *figures {
	return &figures{Samples: map[string][]float64{}, Notes: map[string]string{}}
}

func (f *figures) add(stage, program, quantity string, value float64) {
	key := stage + "/" + program + "/" + quantity
	f.Samples[key] = append(f.Samples[key], value)
}

// note says why a program has no figures, in the one line that a table has room for.
func (f *figures) note(stage, program, why string) {
	f.Notes[stage+"/"+program] = strings.ReplaceAll(strings.Join(strings.Fields(why), " "), "|", "/")
}

func (f *figures) of(stage, program, quantity string) []float64 {
	return f.Samples[stage+"/"+program+"/"+quantity]
}

// median of a sample, 0 of an empty one.
func (f *figures) median(stage, program, quantity string) float64 {
	return median(f.of(stage, program, quantity))
}

func median(sample []float64) float64 {
	if len(sample) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(sample))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// ratio is the median of the ratios round by round, so that a machine that becomes slower in the middle does no harm.
func ratio(a, b []float64) (float64, bool) {
	n := min(len(a), len(b))
	if n == 0 {
		return 0, false
	}
	ratios := make([]float64, 0, n)
	for i := range n {
		if b[i] > 0 {
			ratios = append(ratios, a[i]/b[i])
		}
	}
	return median(ratios), len(ratios) > 0
}

func (f *figures) merge(other *figures) {
	for k, v := range other.Samples {
		f.Samples[k] = v
	}
	for k, v := range other.Notes {
		f.Notes[k] = v
	}
}

func (f *figures) write(path string) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

func readFigures(path string) (*figures, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := newFigures()
	return f, json.Unmarshal(text, f)
}
