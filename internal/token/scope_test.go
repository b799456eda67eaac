package token

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/registry"
)

func TestScopeOf(t *testing.T) {
	rows := []struct {
		spec     string
		want     Scope
		identity string
		name     string
	}{
		{"123456789012.dkr.ecr.us-west-2.amazonaws.com", Scope{Region: "us-west-2"}, "task", "ecr us-west-2"},
		{"999999999999.dkr.ecr.us-west-2.amazonaws.com?alias=r.example.com&optional", Scope{Region: "us-west-2"}, "task", "ecr us-west-2"},
		{"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Scope{Region: "us-gov-west-1", FIPS: true}, "task", "ecr-fips us-gov-west-1"},
		{"123456789012.dkr-ecr.eu-west-1.on.aws", Scope{Region: "eu-west-1", DualStack: true}, "task", "ecr eu-west-1 dual-stack"},
		{"123456789012.dkr-ecr-fips.us-east-1.on.aws", Scope{Region: "us-east-1", FIPS: true, DualStack: true}, "task", "ecr-fips us-east-1 dual-stack"},
		{"public.ecr.aws", public, "task", "ecr-public us-east-1"},
		{"ecr-public.aws.com", Scope{Public: true, Region: "us-east-1", DualStack: true}, "task", "ecr-public us-east-1 dual-stack"},
		{"123456789012.dkr.ecr.us-west-2.amazonaws.com?endpoint=http://127.0.0.1:1", Scope{Region: "us-west-2", Endpoint: "http://127.0.0.1:1"},
			"task", "ecr us-west-2 at http://127.0.0.1:1"},
		{"123456789012.dkr.ecr.us-west-2.amazonaws.com?role_arn=" + roleOne + "&role_arn=" + roleTwo + "&external_id=team-42&session_name=ci&duration=15m",
			Scope{Region: "us-west-2", Roles: roleOne + " " + roleTwo, ExternalID: "team-42", SessionName: "ci", Duration: 15 * time.Minute},
			roleTwo, "ecr us-west-2 as " + roleOne + " then " + roleTwo + " with an external id (dd1d599e) in session ci of 15m0s"},
	}
	for _, r := range rows {
		spec, err := registry.ParseSpec(r.spec)
		if err != nil {
			t.Fatal(err)
		}
		s := ScopeOf(spec)
		if s != r.want {
			t.Errorf("%s:\n%+v; want\n%+v", r.spec, s, r.want)
		}
		if s.Identity() != r.identity {
			t.Errorf("%s: identity %q; want %q", r.spec, s.Identity(), r.identity)
		}
		if s.String() != r.name {
			t.Errorf("%s: named %q; want %q", r.spec, s, r.name)
		}
	}
}

// Different scopes have different names, also where a value looks like a word of ours. No value has a space: registry
// refuses it.
func TestScopeNamesDiffer(t *testing.T) {
	values := func(vs ...string) []string { return append([]string{""}, vs...) }
	bools := []bool{false, true}
	names := map[string]Scope{}
	for _, public := range bools {
		for _, fips := range bools {
			for _, dual := range bools {
				for _, region := range values("us-east-1", "us-west-2", "dual-stack") {
					for _, endpoint := range values("http://a", "as", "of") {
						for _, roles := range values("a", "then", "a then", "then a", "a b", "with", "with external", "in") {
							for _, external := range values("x", "in", "as") {
								for _, session := range values("s", "of", "in") {
									for _, d := range []time.Duration{0, time.Hour, 15 * time.Minute} {
										s := Scope{public, region, fips, dual, endpoint, roles, external, session, d}
										name := s.String()
										if other, taken := names[name]; taken {
											t.Fatalf("%+v and %+v are both %q", other, s, name)
										}
										names[name] = s
										if strings.ContainsAny(name, "\n\t") {
											t.Fatalf("%q is not one line", name)
										}
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

// Scopes that differ in anything have different keys, and equal ones have the same.
func TestScopeKey(t *testing.T) {
	base := Scope{Region: "us-west-2", Roles: "arn:aws:iam::111111111111:role/a"}
	seen := map[string]Scope{base.Key(): base}
	for i := range reflect.TypeFor[Scope]().NumField() {
		other := base
		switch f := reflect.ValueOf(&other).Elem().Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		case reflect.String:
			f.SetString(f.String() + "x")
		case reflect.Int64:
			f.SetInt(1)
		default:
			t.Fatalf("a field of kind %s", f.Kind())
		}
		key := other.Key()
		if same, ok := seen[key]; ok {
			t.Errorf("%+v and %+v have one key", other, same)
		}
		seen[key] = other
		if again := other; again.Key() != key || strings.Contains(key, "x") {
			t.Errorf("%+v: %s", other, key)
		}
	}
}
