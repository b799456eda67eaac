package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var publishLine = regexp.MustCompile(`(?m)^BenchmarkPublish/(\d+)\S*\s.*$`)

// publish runs the benchmark that internal/writer has of itself, which writes the same bytes bare in turns.
func (w *world) publish() error {
	w.say("publishing")
	for range w.Effort.Publish {
		cmd := exec.Command(w.Programs["writer.test"], "-test.run", "^$", "-test.bench", "BenchmarkPublish", "-test.benchtime", w.Effort.PublishIterations)
		cmd.Dir = filepath.Join(w.Repo, "internal", "writer")
		cmd.Env = append([]string{"TMPDIR=" + w.Scratch}, w.env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("the benchmark of internal/writer: %w\n%s", err, out)
		}
		lines := publishLine.FindAllSubmatch(out, -1)
		if len(lines) == 0 {
			return fmt.Errorf("the benchmark of internal/writer printed no figures:\n%s", bytes.TrimSpace(out))
		}
		for _, line := range lines {
			stage := "publish " + string(line[1])
			fields := strings.Fields(string(line[0]))
			for i := 1; i < len(fields); i++ {
				value, err := strconv.ParseFloat(fields[i-1], 64)
				switch {
				case err != nil:
				case fields[i] == "ms/publish":
					w.figures.add(stage, ours, "wall", value/1000)
				case fields[i] == "ms/bare":
					w.figures.add(stage, "bare write", "wall", value/1000)
				}
			}
		}
	}
	return nil
}
