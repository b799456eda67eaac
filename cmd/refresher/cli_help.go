package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// about is what the program is for.
const about = `Keeps the other containers of an Amazon ECS task logged in to ECR: obtains tokens with the task role, keeps them in a docker config.json on a shared volume, renews them long before they expire.`

// writeProgramHelp is the help of the program.
func writeProgramHelp(w io.Writer) {
	fmt.Fprint(w, "Usage: refresher [COMMAND] [FLAG…]\n\n")
	fmt.Fprint(w, wrapped(about, 0), "\n\n")
	fmt.Fprint(w, wrapped("In a task nothing needs to be set. Every flag has a variable; the flag wins.", 0), "\n\nCommands:\n")
	var rows [][2]string
	for _, c := range commands {
		rows = append(rows, [2]string{c.name, c.help})
	}
	writeColumns(w, rows)
	fmt.Fprint(w, "\nRun \"refresher COMMAND --help\" for the flags of a command.\n")
}

// writeHelp is the help of one command.
func (c *command) writeHelp(w io.Writer) {
	usage := "Usage: refresher " + c.name
	if c.argument != "" {
		usage += " [FILE]"
	}
	options := c.options(new(parsed))
	if len(options) > 0 {
		usage += " [FLAG…]"
	}
	fmt.Fprint(w, usage, "\n\n", wrapped(c.help, 0), "\n")
	if c.argument != "" {
		fmt.Fprint(w, "\nArgument:\n")
		writeColumns(w, [][2]string{{"FILE", c.argument}})
	}
	if len(options) == 0 {
		return
	}
	var rows [][2]string
	for _, o := range options {
		rows = append(rows, [2]string{o.usage(), o.fullHelp()})
	}
	fmt.Fprint(w, "\nFlags:\n")
	writeColumns(w, append(rows, [2]string{"-h, --help", "Show this help."}))
}

// usage is the flag as it is typed.
func (o *option) usage() string {
	if o.value == "" {
		return "--" + o.name
	}
	return "--" + o.name + "=" + o.value
}

// fullHelp is the help with the default and the variable.
func (o *option) fullHelp() string {
	text := o.help
	if o.preset != "" {
		text += " Default:" + hardSpace + o.preset + "."
	}
	if v := o.variable(); v != "" {
		text += " ($" + v + ")"
	}
	return text
}

// helpWidth is that of a terminal which nobody has widened.
const helpWidth = 80

// writeColumns writes names, and beside them what they mean.
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

// hardSpace is where a line is not broken.
const hardSpace = "\u00a0"

// wrapped breaks a text that begins in a column into lines that begin there too.
func wrapped(text string, column int) string {
	var b strings.Builder
	at := column
	for i, word := range strings.Split(text, " ") {
		wide := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+wide > helpWidth:
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
