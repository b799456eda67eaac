package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"ecr-refresher/internal/fault"
)

// declared are the constants of type Class in fault.go, in order.
func declared(t *testing.T) []fault.Class {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var cs []fault.Class
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != "Class" {
			return true
		}
		for _, v := range spec.Values {
			lit, ok := v.(*ast.BasicLit)
			if !ok {
				t.Fatalf("%v is no plain word", spec.Names)
			}
			word, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			cs = append(cs, fault.Class(word))
		}
		if spec.Comment == nil {
			t.Errorf("%v does not say what it means", spec.Names)
		}
		return true
	})
	return cs
}

func TestClasses(t *testing.T) {
	got := fault.Classes()
	if want := declared(t); !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("Classes() = %q; declared are %q", got, want)
	}
	seen := map[fault.Class]bool{}
	for _, c := range got {
		if seen[c] {
			t.Errorf("%s is there twice", c)
		}
		seen[c] = true
		if !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(string(c)) {
			t.Errorf("%q is no metric label", c)
		}
	}
	got[0] = "changed"
	if fault.Classes()[0] == "changed" {
		t.Error("the caller does not own the slice")
	}
}

// The set is an interface: dashboards and alerts name these words. The table is complete.
func TestKinds(t *testing.T) {
	type kind struct{ permanent, ofOutput bool }
	want := map[fault.Class]kind{
		"no_credentials":          {permanent: true},
		"credentials_unavailable": {},
		"access_denied":           {permanent: true},
		"assume_role":             {permanent: true},
		"throttled":               {},
		"network":                 {},
		"timeout":                 {},
		"tls":                     {permanent: true},
		"clock_skew":              {},
		"bad_request":             {permanent: true},
		"server_error":            {},
		"invalid_response":        {},
		"token_rejected":          {},
		"output_denied":           {permanent: true, ofOutput: true},
		"output_full":             {ofOutput: true},
		"output_invalid":          {permanent: true, ofOutput: true},
		"output_other":            {ofOutput: true},
	}
	for _, c := range fault.Classes() {
		if _, ok := want[c]; !ok {
			t.Errorf("%s is not in this table", c)
		}
	}
	if len(want) != len(fault.Classes()) {
		t.Errorf("%d classes; want %d", len(fault.Classes()), len(want))
	}
	want[""], want["unheard_of"] = kind{}, kind{}
	for c, k := range want {
		if c.Permanent() != k.permanent || c.OfOutput() != k.ofOutput {
			t.Errorf("%q: permanent %v, of output %v; want %v", c, c.Permanent(), c.OfOutput(), k)
		}
	}
}

func TestError(t *testing.T) {
	inner := &fault.Error{Class: fault.Network, Op: "dial", Cure: "see the route", Err: fs.ErrPermission}
	outer := &fault.Error{Class: fault.AssumeRole, Op: "assume a role", Err: inner}
	plain := errors.New("plain")
	rows := []struct {
		name  string
		err   error
		class fault.Class // empty: none
		cure  string
	}{
		{"nil", nil, "", ""},
		{"plain", plain, "", ""},
		{"alone", inner, fault.Network, "see the route"},
		{"wrapped", fmt.Errorf("b: %w", fmt.Errorf("a: %w", inner)), fault.Network, "see the route"},
		{"joined", errors.Join(plain, inner), fault.Network, "see the route"},
		{"the first of two", errors.Join(inner, outer), fault.Network, "see the route"},
		{"the outer hides the inner, its cure too", outer, fault.AssumeRole, ""},
		{"text alone", fmt.Errorf("%v", inner), "", ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			class, ok := fault.ClassOf(r.err)
			if class != r.class || ok != (r.class != "") {
				t.Errorf("class %q, %v; want %q", class, ok, r.class)
			}
			if cure := fault.CureOf(r.err); cure != r.cure {
				t.Errorf("cure %q; want %q", cure, r.cure)
			}
		})
	}
	if !errors.Is(fmt.Errorf("a: %w", outer), fs.ErrPermission) {
		t.Error("the cause is lost")
	}
	if got, want := outer.Error(), "assume a role: dial: "+fs.ErrPermission.Error(); got != want {
		t.Errorf("text %q; want %q", got, want)
	}
	if _, err := json.Marshal(outer); err != nil {
		t.Errorf("JSON: %v", err)
	}
}
