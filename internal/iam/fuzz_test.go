package iam

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"ecr-refresher/internal/registry"
)

var (
	plainARN   = regexp.MustCompile(`^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$`)
	repository = regexp.MustCompile(`^arn:aws[a-z-]*:ecr:[a-z0-9-]+:\d{12}:repository/[a-z0-9._/*?-]+$`)
)

// FuzzRoles: whatever is asked for, the documents are JSON that AWS reads, and allow no more than was asked for.
func FuzzRoles(f *testing.F) {
	const task = "arn:aws:iam::111122223333:role/task"
	f.Add("default", "pull", "team/app", false, "111122223333", "us-west-2", task)
	f.Add("444455556666.dkr.ecr.eu-west-1.amazonaws.com?role_arn=arn:aws:iam::444455556666:role/push&external_id=x%22y", "push", "* team/*", true, "", "", task)
	f.Add("default?role_arn=arn:aws:iam::1:role/x public.ecr.aws", "refresh", "", false, "111122223333", "cn-north-1", "")
	f.Add("public.ecr.aws?optional", "pull", "", false, "111122223333", "us-gov-west-1", "arn:aws:iam::444455556666:role/a/b/c")
	f.Add("444455556666.dkr.ecr.us-east-1.amazonaws.com?role_arn=arn:aws:iam::444455556666:role/a&role_arn=arn:aws:iam::444455556666:role/b", "pull", "a\"b", false, "1", "x", "arn:::::role/")
	f.Add("", "admin", "A/B //", true, "\x00", "us-west-2\n", "arn:aws:iam::*:role/*")
	f.Fuzz(func(t *testing.T, registries, access, repositories string, through bool, account, region, role string) {
		specs, err := registry.ParseSpecs(registries)
		if err != nil {
			return
		}
		for i, s := range specs {
			if r, err := s.Resolve(account, region); err == nil {
				specs[i] = r
			}
		}
		r := Request{Registries: specs, Access: Access(access), Repositories: strings.Fields(repositories), PullThrough: through, Account: account, Region: region, TaskRole: role}
		roles, err := Roles(r)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if line == "" || strings.ContainsFunc(line, unicode.IsControl) || len(line) > 600+4*(len(account)+len(region)+len(role)+len(access)+len(repositories)) {
					t.Errorf("a reason that cannot be read: %q", line)
				}
			}
			if roles != nil {
				t.Error("roles beside the error")
			}
			return
		}
		allowed := []string{"ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken", "sts:AssumeRole"}
		if r.Access != Refresh {
			allowed = append(allowed, pull...)
		}
		if r.Access == Push {
			allowed = append(allowed, push...)
		}
		if r.PullThrough {
			allowed = append(allowed, pullThrough...)
		}
		for _, one := range roles {
			for _, p := range []*Policy{one.Permissions, one.Trust} {
				if p == nil {
					continue
				}
				doc, err := p.JSON()
				var again Policy
				if err != nil || !utf8.Valid(doc) || json.Unmarshal(doc, &again) != nil || len(again.Statement) != len(p.Statement) {
					t.Fatalf("%v: %s", err, doc)
				}
				for _, s := range again.Statement {
					checkStatement(t, s, allowed, r)
				}
			}
		}
		for _, doc := range documentsOf(t, roles, account) {
			if !json.Valid(doc) {
				t.Errorf("%s", doc)
			}
		}
		for _, note := range Foreign(r) {
			if strings.ContainsFunc(note, unicode.IsControl) {
				t.Errorf("%q", note)
			}
		}
	})
}

func documentsOf(t *testing.T, roles []Role, account string) [][]byte {
	t.Helper()
	list, err := JSON(roles)
	if err != nil {
		t.Fatal(err)
	}
	template, err := CloudFormation(roles, account)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{list, template}
}

// checkStatement: known actions; a resource by name, but for the tokens, which know none; nobody trusted but ECS, for this
// account, and roles by name.
func checkStatement(t *testing.T, s Statement, allowed []string, r Request) {
	t.Helper()
	if s.Effect != "Allow" || s.Sid == "" || len(s.Action) == 0 {
		t.Errorf("%+v", s)
	}
	tokens := true
	for _, a := range s.Action {
		tokens = tokens && (strings.HasSuffix(a, ":GetAuthorizationToken") || a == "sts:GetServiceBearerToken")
		if !slices.Contains(allowed, a) {
			t.Errorf("%q was not asked for", a)
		}
	}
	for _, on := range s.Resource {
		if !(tokens && on == "*" || repository.MatchString(on) || slices.Equal(s.Action, Strings{"sts:AssumeRole"}) && plainARN.MatchString(on)) {
			t.Errorf("%q on %q", s.Action, on)
		}
	}
	if s.Principal == nil {
		if len(s.Resource) == 0 {
			t.Errorf("on nothing: %+v", s)
		}
		return
	}
	for kind, who := range s.Principal {
		for _, w := range who {
			ecs := kind == "Service" && w == "ecs-tasks.amazonaws.com" && slices.Equal(s.Condition["StringEquals"]["aws:SourceAccount"], Strings{r.Account})
			if !ecs && !(kind == "AWS" && plainARN.MatchString(w)) {
				t.Errorf("trusts %s %q", kind, w)
			}
		}
	}
}
