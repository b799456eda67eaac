package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Failed reports whether anything failed.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.Status == Fail {
			return true
		}
	}
	return false
}

// row is a finding as JSON.
type row struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Of     string `json:"of,omitempty"`
	Status Status `json:"status"`
	Seen   string `json:"seen"`
	Cure   string `json:"cure,omitempty"`
}

// JSON writes findings for a program.
func JSON(w io.Writer, findings []Finding) error {
	report := struct {
		OK     bool  `json:"ok"`
		Checks []row `json:"checks"`
	}{OK: !Failed(findings)}
	for _, f := range findings {
		report.Checks = append(report.Checks, row{f.ID, strings.ReplaceAll(f.Title, "`", ""), f.Of, f.Status, f.Seen, f.Cure})
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}

// The table's form: what is not to be pasted is wrapped at width columns.
const (
	width  = 100
	indent = 21 // of the text: the status and the longest id stand before it
)

// Table writes findings for a person. What can be pasted stands on lines of its own, whole.
func Table(w io.Writer, findings []Finding) error {
	var b strings.Builder
	count := map[Status]int{}
	margin := strings.Repeat(" ", indent)
	paths := map[string]bool{}
	for _, f := range findings {
		if strings.HasPrefix(f.Of, "/") {
			paths[f.Of] = true
		}
	}
	for _, f := range findings {
		count[f.Status]++
		text := f.Seen
		// The one output that most have is told once.
		if f.Of != "" && (f.ID == "volume" || len(paths) != 1 || !paths[f.Of]) {
			text = f.Of + ": " + f.Seen
		}
		fmt.Fprintf(&b, "%-4s  %-13s  %s\n", f.Status, f.ID, strings.Join(wrap(text, width-indent), "\n"+margin))
		if f.Cure == "" {
			continue
		}
		words, paste, _ := strings.Cut(f.Cure, "\n")
		fmt.Fprintf(&b, "%s-> %s\n", margin, strings.Join(wrap(words, width-indent-3), "\n"+margin+"   "))
		for line := range strings.Lines(paste) {
			fmt.Fprintf(&b, "%s   %s\n", margin, strings.TrimRight(line, "\n"))
		}
	}
	fmt.Fprintf(&b, "\n%d failed, %d to look at, %d ok, %d skipped\n", count[Fail], count[Warn], count[OK], count[Skip])
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap breaks a text between words; a longer word stays whole.
func wrap(text string, most int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > most:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
