package registry

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseSpecs(t *testing.T) {
	for in, want := range map[string][]string{
		"":               nil,
		" ,\n, ":         nil,
		std:              {std},
		std + " default": {std, "default"},
		"\t" + std + ",public.ecr.aws , default\n":                   {std, "public.ecr.aws", "default"},
		std + "\u2003" + euName:                                      {std, euName},
		std + "?role_arn=" + role1 + "&session_name=a%2Cb," + euName: {std + "?role_arn=" + role1 + "&session_name=a%2Cb", euName},
		std + "?alias=a.example " + euName + "?alias=a.example:443":  {std + "?alias=a.example", euName + "?alias=a.example:443"},
	} {
		specs, err := ParseSpecs(in)
		if err != nil || len(specs) != len(want) {
			t.Errorf("%q: %v, %v", in, specs, err)
			continue
		}
		for i, s := range specs {
			if s.String() != want[i] {
				t.Errorf("%q: %d is %s, want %s", in, i, s, want[i])
			}
		}
	}
	for in, whys := range map[string][]string{
		std + " " + std: {`given more than once`},
		std + "?alias=a.example " + std + "?alias=a.example": {"given more than once"},
		"default,default":                                       {`"default": given more than once`},
		std + "?optional," + std:                                {"given more than once"},
		std + "?alias=" + dualName + "," + dualName:             {"both"},
		dualName + "," + std + "?alias=" + dualName:             {"both"},
		std + "?alias=a.example," + euName + "?alias=a.example": {`"a.example": both "` + std + `" and "` + euName + `" write this host`},
		"default?alias=" + std + " " + std:                      {"both"},
		"docker.io, 12.dkr.ecr.us-west-2.amazonaws.com ," + std + "?x=y," + euName + "," + euName: {
			"not the name of an ECR registry", "(2 given)", `no option "x"`, "more than once"},
	} {
		specs, err := ParseSpecs(in)
		for _, why := range whys {
			if err == nil || specs != nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%q:\n got %v, %v\nwant …%s…", in, specs, err, why)
			}
		}
		if err != nil && strings.Count(err.Error(), "\n") != len(whys)-1 {
			t.Errorf("%q: %d problems wanted: %v", in, len(whys), err)
		}
	}
}

func TestResolve(t *testing.T) {
	s, err := ParseSpec("default?role_arn=" + role1 + "&alias=a.example&optional")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Hosts(); !reflect.DeepEqual(got, []string{"a.example"}) {
		t.Errorf("before: %v", got)
	}
	got, err := s.Resolve(acct, "us-west-2")
	if err != nil {
		t.Fatal(err)
	}
	want := s
	want.Host = private(std, "us-west-2", "aws")
	if !reflect.DeepEqual(got, want) || got.String() != s.String() {
		t.Errorf("got %+v", got)
	}
	if hosts := got.Hosts(); !reflect.DeepEqual(hosts, []string{std, "a.example"}) {
		t.Errorf("hosts %v", hosts)
	}
	if again, err := got.Resolve("210987654321", "eu-west-1"); err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("resolved again: %+v, %v", again, err)
	}
	named := spec(t, euName, nil)
	if same, err := named.Resolve("", ""); err != nil || !reflect.DeepEqual(same, named) {
		t.Errorf("a named one: %+v, %v", same, err)
	}
	// Only now is it known that these two are one host.
	if err := CheckSpecs([]Spec{s, spec(t, std, nil)}); err != nil {
		t.Errorf("before: %v", err)
	}
	if err := CheckSpecs([]Spec{got, spec(t, std, nil)}); err == nil || !strings.Contains(err.Error(), `both "default" and`) {
		t.Errorf("after: %v", err)
	}

	for _, row := range []struct{ in, account, region, why string }{
		{"default", "", "us-west-2", `"default": "": the account is missing`},
		{"default", acct, "", "the region is missing"},
		{"default", acct, "mars", "does not look like an AWS region"},
		{"default?role_arn=" + role1, acct, "cn-north-1", "is in partition aws, the registry in aws-cn"},
		{"default?alias=" + std, acct, "us-west-2", "is the registry itself"},
		{"default?alias=" + euName, acct, "us-west-2", "is in another region or service"},
		{"default?alias=" + euName + ":443", acct, "us-west-2", "is in another region or service"},
	} {
		s, err := ParseSpec(row.in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Resolve(row.account, row.region)
		if err == nil || !strings.Contains(err.Error(), row.why) || !reflect.DeepEqual(got, Spec{}) {
			t.Errorf("%s for %q in %q: %+v, %v", row.in, row.account, row.region, got, err)
		}
	}
}

func TestHostsIsACopy(t *testing.T) {
	s := spec(t, std, func(s *Spec) { s.Aliases = []string{"a.example"} })
	s.Hosts()[1] = "changed"
	if s.Aliases[0] != "a.example" {
		t.Error("the caller reached into the spec")
	}
}
