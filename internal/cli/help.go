package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// HelpWidth is the width of the help: that of a terminal which nobody has widened.
const HelpWidth = 80

// writeHelp writes the help of the program.
func (p Program[S]) writeHelp(w io.Writer) {
	fmt.Fprintf(w, "Usage: %s [COMMAND] [FLAG…]\n\n", p.Name)
	for _, paragraph := range p.About {
		fmt.Fprint(w, wrapped(paragraph, 0), "\n\n")
	}
	fmt.Fprint(w, "Commands:\n")
	var rows [][2]string
	for _, c := range p.Commands {
		rows = append(rows, [2]string{c.Name, c.Summary})
	}
	writeColumns(w, rows)
	fmt.Fprintf(w, "\nRun \"%s COMMAND --help\" for the flags of a command.\n", p.Name)
}

// writeCommandHelp writes the help of one command.
func (p Program[S]) writeCommandHelp(w io.Writer, c Command[S]) {
	options := c.options(new(S))
	usage := "Usage: " + p.call(c)
	if c.File != nil {
		usage += " [FILE]"
	}
	if len(options) > 0 {
		usage += " [FLAG…]"
	}
	fmt.Fprint(w, usage, "\n\n", wrapped(c.Summary, 0), "\n")
	if c.File != nil {
		fmt.Fprint(w, "\nArgument:\n")
		writeColumns(w, [][2]string{{"FILE", c.FileHelp}})
	}
	if len(options) == 0 {
		return
	}
	var rows [][2]string
	for _, o := range options {
		rows = append(rows, [2]string{o.Usage(), o.fullHelp()})
	}
	fmt.Fprint(w, "\nFlags:\n")
	writeColumns(w, append(rows, [2]string{"-h, --help", "Show this help."}))
}

// fullHelp is the help with the default and the variable.
func (o *Option) fullHelp() string {
	text := o.Help
	if o.Default != "" {
		text += " Default:" + hardSpace + o.Default + "."
	}
	if o.Variable != "" {
		text += " ($" + o.Variable + ")"
	}
	return text
}

// writeColumns writes names, and next to each what it means. (pflag's own help counts bytes, not characters, and writes flags
// only.)
func writeColumns(w io.Writer, rows [][2]string) {
	column := 0
	for _, row := range rows {
		column = max(column, utf8.RuneCountInString(row[0])+4)
	}
	for _, row := range rows {
		gap := strings.Repeat(" ", column-2-utf8.RuneCountInString(row[0]))
		fmt.Fprint(w, "  ", row[0], gap, wrapped(row[1], column), "\n")
	}
}

// hardSpace is a space at which a line is not broken.
const hardSpace = "\u00a0"

// wrapped breaks a text that begins in a column into lines that begin there too.
func wrapped(text string, column int) string {
	var b strings.Builder
	at := column
	for i, word := range strings.Split(text, " ") {
		wide := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+wide > HelpWidth:
			b.WriteString("\n" + strings.Repeat(" ", column))
			at = column
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(strings.ReplaceAll(word, hardSpace, " "))
		at += wide
	}
	return b.String()
}
