package deploy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ecr-refresher/internal/fault"
)

const runbook = "../docs/operations.md"

// section is the text below a heading, up to the next one.
func section(t *testing.T, doc, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(doc, "\n"+heading+"\n")
	if !ok {
		t.Errorf("no heading %q", heading)
		return ""
	}
	if end := regexp.MustCompile(`(?m)^(##|<a id=)`).FindStringIndex(rest); end != nil {
		rest = rest[:end[0]]
	}
	return rest
}

// The runbook has a section for each class, in the order a request travels, with message, cause and cure, and for no other.
func TestEveryClassHasItsSection(t *testing.T) {
	doc := read(t, runbook)
	var want []string
	for _, c := range fault.Classes() {
		want = append(want, string(c))
		s := section(t, doc, "### "+string(c))
		for _, part := range []string{"- says: `", "- because: ", "- cure"} {
			if !strings.Contains(s, part) {
				t.Errorf("%s has no %q", c, part)
			}
		}
	}
	_, classes, _ := strings.Cut(doc, "\n## Error classes\n")
	classes, _, _ = strings.Cut(classes, "\n## ")
	var got []string
	for _, h := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(classes, -1) {
		got = append(got, h[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("sections %v, want %v", got, want)
	}
}

// literals are the texts of the program's source that a predicate chooses, cut at what varies.
func literals(t *testing.T, dirs []string, chosen func(ast.Node) []ast.Expr) []string {
	t.Helper()
	var texts []string
	for _, dir := range dirs {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				for _, e := range chosen(n) {
					ast.Inspect(e, func(n ast.Node) bool {
						text, ok := literal(n)
						if ok {
							texts = append(texts, text)
						}
						return !ok // its parts are no texts of their own
					})
				}
				return true
			})
		}
	}
	return texts
}

// literal is the text of a string, or of several that are added up because a line has an end.
func literal(n ast.Node) (text string, ok bool) {
	switch n := n.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(n.Value)
		return text, err == nil && n.Kind == token.STRING
	case *ast.BinaryExpr:
		x, okX := literal(n.X)
		y, okY := literal(n.Y)
		return x + y, okX && okY && n.Op == token.ADD
	}
	return "", false
}

// varying is what stands for something else: a verb of fmt in the program, an ellipsis in the runbook.
var varying = regexp.MustCompile(`%#?[a-z]|…`)

func fragments(s string) []string {
	var parts []string
	for _, p := range varying.Split(s, -1) {
		if p = strings.Trim(p, " :;\n"); len(p) > 3 {
			parts = append(parts, p)
		}
	}
	return parts
}

// cures chooses what is assigned to a cure, under whatever name this code base does that.
func cures(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		if k, ok := n.Key.(*ast.Ident); ok && strings.EqualFold(k.Name, "cure") {
			return []ast.Expr{n.Value}
		}
	case *ast.AssignStmt:
		var chosen []ast.Expr
		for i, l := range n.Lhs {
			if s, ok := l.(*ast.SelectorExpr); ok {
				l = s.Sel
			}
			if id, ok := l.(*ast.Ident); ok && id.Name == "cure" && len(n.Lhs) == len(n.Rhs) {
				chosen = append(chosen, n.Rhs[i])
			}
		}
		return chosen
	case *ast.CompositeLit:
		if typ, ok := n.Type.(*ast.Ident); ok && typ.Name == "verdict" && len(n.Elts) == 3 {
			if _, keyed := n.Elts[0].(*ast.KeyValueExpr); !keyed {
				return n.Elts[2:]
			}
		}
	case *ast.FuncDecl:
		if n.Name.Name == "permissionCure" {
			return []ast.Expr{&ast.FuncLit{Type: n.Type, Body: n.Body}}
		}
	case *ast.ValueSpec:
		if len(n.Names) == 1 && slices.Contains([]string{"notAWS", "useProxy", "cutShort", "ContestedCure"}, n.Names[0].Name) {
			return n.Values
		}
	}
	return nil
}

// The packages at whose edge an error is classified.
var edges = []string{"../internal/token", "../internal/writer", "../internal/refresh"}

// Every cure in the runbook is what the program prints, and every cure that the program prints is in the runbook.
func TestCuresAreThePrograms(t *testing.T) {
	doc := read(t, runbook)
	printed := literals(t, edges, cures)
	if len(printed) < 30 {
		t.Fatalf("only %d cures found in the source", len(printed))
	}
	for _, cure := range printed {
		for _, f := range fragments(cure) {
			if !strings.Contains(doc, f) {
				t.Errorf("the program prints a cure that the runbook lacks: %q", f)
			}
		}
	}
	all := strings.Join(printed, "\n")
	told := regexp.MustCompile("(?m)^- cure[^:\n]*: (.*)$").FindAllStringSubmatch(doc, -1)
	if len(told) < 30 {
		t.Fatalf("only %d cures found in the runbook", len(told))
	}
	for _, line := range told {
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line[1], -1) {
			for _, f := range fragments(span[1]) {
				if !strings.Contains(all, f) {
					t.Errorf("the runbook has a cure that the program does not print: %q", f)
				}
			}
		}
	}
}

// Of each message that the runbook shows, what was being done is as the program says it.
func TestMessagesAreThePrograms(t *testing.T) {
	all := strings.Join(literals(t, edges, func(n ast.Node) []ast.Expr {
		if lit, ok := n.(*ast.BasicLit); ok {
			return []ast.Expr{lit}
		}
		return nil
	}), "\n")
	for _, line := range regexp.MustCompile("(?m)^- says: (.*)$").FindAllStringSubmatch(read(t, runbook), -1) {
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line[1], -1) {
			doing, _, _ := strings.Cut(span[1], ": ")
			for _, f := range fragments(doing) {
				if strings.HasPrefix(span[1], "…") {
					continue // the end of the message before it: the system's words, or AWS's
				}
				if !strings.Contains(all, f) {
					t.Errorf("the program says nowhere %q, of %q", f, span[1])
				}
			}
		}
	}
}

// Every line that the program logs is in the runbook's table, with its level, and no other.
func TestLogLinesAreThePrograms(t *testing.T) {
	dirs := []string{"../internal/refresh", "../cmd/refresher"}
	lines := literals(t, dirs, func(n ast.Node) []ast.Expr {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return nil
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.Ident:
			name = f.Name
		case *ast.SelectorExpr:
			if name = f.Sel.Name; chain(f.X) == "l" && (name == "say" || name == "within") {
				return call.Args[2:3] // after the level
			}
			if !strings.HasSuffix(chain(f.X), "log") {
				return nil
			}
		}
		if slices.Contains([]string{"Debug", "Info", "Warn", "Error", "say"}, name) && len(call.Args) > 0 {
			return call.Args[:1]
		}
		return nil
	})
	table := section(t, read(t, runbook), "## The log")
	var told []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(table, -1) {
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			told = append(told, span[1])
		}
	}
	slices.Sort(lines)
	lines = slices.Compact(lines)
	slices.Sort(told)
	if len(lines) < 20 {
		t.Fatalf("only %d log lines found in the source", len(lines))
	}
	for _, l := range lines {
		if !slices.Contains(told, l) {
			t.Errorf("the program logs a line that the runbook lacks: %q", l)
		}
	}
	for _, l := range told {
		if !slices.Contains(lines, l) {
			t.Errorf("the runbook has a line that the program does not log: %q", l)
		}
	}
}

// chain is the last name of an expression such as l.log.
func chain(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// Each alert leads to a section that names it, and can be reached by its own name in lower case too.
func TestEveryAlertHasItsRunbook(t *testing.T) {
	doc := read(t, runbook)
	alerts := regexp.MustCompile(`(?s)- alert: (\w+)\n.*?runbook: docs/operations\.md#([\w-]+)\n`).FindAllStringSubmatch(read(t, "prometheus/alerts.yaml"), -1)
	if n := strings.Count(read(t, "prometheus/alerts.yaml"), "- alert: "); len(alerts) != n || n < 9 {
		t.Fatalf("%d alerts, %d of them with a runbook here", n, len(alerts))
	}
	anchors := anchorsOf(doc)
	for _, a := range alerts {
		name, anchor := a[1], a[2]
		if !anchors[anchor] {
			t.Errorf("%s leads to #%s, which is not there", name, anchor)
			continue
		}
		heading := strings.ToUpper(anchor[:1]) + strings.ReplaceAll(anchor[1:], "-", " ")
		if s := section(t, doc, "### "+heading); !strings.Contains(s, "`"+name+"`") {
			t.Errorf("the section of #%s does not name %s", anchor, name)
		}
		if !anchors[strings.ToLower(name)] {
			t.Errorf("no anchor %s", strings.ToLower(name))
		}
	}
	for _, id := range regexp.MustCompile(`<a id="(\w+)">`).FindAllStringSubmatch(doc, -1) {
		if !slices.ContainsFunc(alerts, func(a []string) bool { return strings.ToLower(a[1]) == id[1] }) {
			t.Errorf("no alert is called %s", id[1])
		}
	}
}

// Links within the runbook lead somewhere.
func TestRunbookLinks(t *testing.T) {
	doc := read(t, runbook)
	for _, l := range regexp.MustCompile(`\]\(([\w.]*)#([\w-]+)\)`).FindAllStringSubmatch(doc, -1) {
		in := doc
		if l[1] != "" {
			in = read(t, "../docs/"+l[1])
		}
		if !anchorsOf(in)[l[2]] {
			t.Errorf("%s#%s leads nowhere", l[1], l[2])
		}
	}
}

// anchorsOf are the anchors that GitHub makes of headings, and those that are written out.
func anchorsOf(doc string) map[string]bool {
	anchors := map[string]bool{}
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(doc, -1) {
		slug := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(h[1]), "")
		anchors[strings.ReplaceAll(slug, " ", "-")] = true
	}
	for _, id := range regexp.MustCompile(`<a id="([\w-]+)">`).FindAllStringSubmatch(doc, -1) {
		anchors[id[1]] = true
	}
	return anchors
}

// The runbook's table of /status has the fields that /status has; the golden file of internal/health holds every one.
func TestStatusFieldsExist(t *testing.T) {
	table := section(t, read(t, runbook), "## How to read `/status`")
	golden := read(t, "../internal/health/testdata/status.json")
	var fields int
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(table, -1) {
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			name := strings.TrimSuffix(span[1][strings.LastIndexByte(span[1], '.')+1:], "[]")
			if fields++; !strings.Contains(golden, `"`+name+`":`) {
				t.Errorf("/status has no field %s", span[1])
			}
		}
	}
	if fields < 15 {
		t.Errorf("only %d fields", fields)
	}
}

// The scripts are free of the shell's traps, where shellcheck is installed to say so.
func TestScriptsPassShellcheck(t *testing.T) {
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("no shellcheck here")
	}
	if out, err := exec.CommandContext(t.Context(), shellcheck, "../scripts/aws-verify.sh").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
