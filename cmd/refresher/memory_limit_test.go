package main

import (
	"math"
	"os"
	"runtime/debug"
	"testing"
)

func TestLimitMemory(t *testing.T) {
	const v2, v1 = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
	for name, c := range map[string]struct {
		files map[string]string
		env   string
		want  int64
	}{
		"version 2":           {map[string]string{v2: "67108864\n"}, "", 67108864 * 6 / 10},
		"version 2, no limit": {map[string]string{v2: "max\n"}, "", math.MaxInt64},
		"version 1":           {map[string]string{v1: "67108864\n"}, "", 67108864 * 6 / 10},
		"version 1, no limit": {map[string]string{v1: "9223372036854771712\n"}, "", math.MaxInt64},
		"neither":             {nil, "", math.MaxInt64},
		"not a number":        {map[string]string{v2: "?"}, "", math.MaxInt64},
		"zero":                {map[string]string{v2: "0"}, "", math.MaxInt64},
		"set by somebody":     {map[string]string{v2: "67108864\n"}, "30MiB", math.MaxInt64}, // which Go's runtime has read
		"both, as it can be":  {map[string]string{v2: "max", v1: "1000000"}, "", 600000},
		"both limited":        {map[string]string{v2: "2000000", v1: "1000000"}, "", 1200000},
	} {
		before := debug.SetMemoryLimit(math.MaxInt64)
		limitMemory(func(string) string { return c.env }, func(file string) ([]byte, error) {
			if text, ok := c.files[file]; ok {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		})
		if got := debug.SetMemoryLimit(before); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
