package iam

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ecr-refresher/internal/registry"
)

const (
	here   = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
	there  = "210987654321.dkr.ecr.eu-west-1.amazonaws.com"
	china  = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"
	task   = "arn:aws:iam::123456789012:role/task"
	hub    = "arn:aws:iam::123456789012:role/team/hub"
	far    = "arn:aws:iam::210987654321:role/far"
	repo   = "arn:aws:ecr:us-west-2:123456789012:repository/"
	abroad = "arn:aws:ecr:eu-west-1:210987654321:repository/"
)

var (
	tokens = []string{"ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"}
	pulls  = []string{"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
	pushes = []string{"ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"}
	caches = []string{"ecr:BatchImportUpstreamImage", "ecr:CreateRepository"}
	// others are actions that nobody is to have.
	others = []string{"ecr:DeleteRepository", "ecr:BatchDeleteImage", "ecr:SetRepositoryPolicy", "ecr:PutLifecyclePolicy", "ecr:TagResource",
		"ecr:PutImageTagMutability", "ecr:ListImages", "ecr:DescribeRepositories", "ecr-public:PutImage", "iam:PassRole", "sts:TagSession",
		"sts:SetSourceIdentity", "s3:GetObject", "logs:PutLogEvents"}
	resources = []string{"*", repo + "app", repo + "app2", repo + "team/a", repo + "team/a/b", repo + "team", abroad + "app", abroad + "other",
		"arn:aws:ecr:us-east-1:123456789012:repository/app", "arn:aws:ecr:us-west-2:999999999999:repository/app",
		"arn:aws-cn:ecr:cn-north-1:123456789012:repository/app", task, hub, far, "arn:aws:iam::123456789012:role/admin"}
)

// allows evaluates a policy as IAM does: some statement allows, as there are none that deny. Conditions count as met.
func allows(p *Policy, action, resource string) bool {
	return slices.ContainsFunc(p.Statement, func(s Statement) bool {
		return s.Effect == "Allow" &&
			slices.ContainsFunc(s.Action, func(a string) bool { return match(strings.ToLower(a), strings.ToLower(action)) }) &&
			slices.ContainsFunc(s.Resource, func(r string) bool { return match(r, resource) })
	})
}

// match knows the two wildcards of IAM: * for any text, slashes too, and ? for one character.
func match(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	switch pattern[0] {
	case '*':
		return match(pattern[1:], s) || s != "" && match(pattern, s[1:])
	case '?':
		return s != "" && match(pattern[1:], s[1:])
	}
	return s != "" && s[0] == pattern[0] && match(pattern[1:], s[1:])
}

// Every action on every resource is allowed exactly where the row says so; tokens, which know no resource, wherever they are.
func TestPoliciesAllowExactlyWhatIsNeeded(t *testing.T) {
	type grants map[string][]string // resource → actions
	for _, row := range []struct {
		name       string
		registries string
		r          Request
		want       map[string]grants // role → what it may
	}{
		{"refresh", here, Request{Access: Refresh}, map[string]grants{TaskRole: {"": tokens[:1]}}},
		{"refresh public", "public.ecr.aws", Request{Access: Refresh}, map[string]grants{TaskRole: {"": tokens[1:]}}},
		{"pull public", "public.ecr.aws", Request{Access: Pull}, map[string]grants{TaskRole: {"": tokens[1:]}}},
		{"both", here + " public.ecr.aws?optional", Request{Access: Refresh}, map[string]grants{TaskRole: {"": tokens}}},
		{"pull", here, Request{Access: Pull, Repositories: []string{"app"}}, map[string]grants{TaskRole: {"": tokens[:1], repo + "app": pulls}}},
		{"push", here, Request{Access: Push, Repositories: []string{"app"}}, map[string]grants{
			TaskRole: {"": tokens[:1], repo + "app": slices.Concat(pulls, pushes)}}},
		{"several", here, Request{Access: Pull, Repositories: []string{"app", "team/*"}}, map[string]grants{
			TaskRole: {"": tokens[:1], repo + "app": pulls, repo + "team/a": pulls, repo + "team/a/b": pulls}}},
		{"all", here, Request{Access: Pull, Repositories: []string{"*"}}, map[string]grants{TaskRole: {"": tokens[:1],
			repo + "app": pulls, repo + "app2": pulls, repo + "team": pulls, repo + "team/a": pulls, repo + "team/a/b": pulls}}},
		{"pull-through cache", here, Request{Access: Pull, Repositories: []string{"app"}, PullThrough: true}, map[string]grants{
			TaskRole: {"": tokens[:1], repo + "app": slices.Concat(pulls, caches)}}},
		{"FIPS and dual-stack are the same repositories", strings.Replace(here, "dkr.ecr.", "dkr.ecr-fips.", 1) + " 123456789012.dkr-ecr.us-west-2.on.aws",
			Request{Access: Pull, Repositories: []string{"app"}}, map[string]grants{TaskRole: {"": tokens[:1], repo + "app": pulls}}},
		{"China", china, Request{Access: Pull, Repositories: []string{"app"}}, map[string]grants{
			TaskRole: {"": tokens[:1], "arn:aws-cn:ecr:cn-north-1:123456789012:repository/app": pulls}}},
		{"another account", there, Request{Access: Pull, Repositories: []string{"app"}}, map[string]grants{TaskRole: {"": tokens[:1], abroad + "app": pulls}}},
		{"one role", there + "?role_arn=" + far, Request{Access: Push, Repositories: []string{"app"}, TaskRole: task}, map[string]grants{
			TaskRole: {far: {"sts:AssumeRole"}}, far: {"": tokens[:1], abroad + "app": slices.Concat(pulls, pushes)}}},
		{"a chain beside the own", here + " " + there + "?role_arn=" + hub + "&role_arn=" + far, Request{Access: Pull, Repositories: []string{"app"}, TaskRole: task}, map[string]grants{
			TaskRole: {"": tokens[:1], repo + "app": pulls, hub: {"sts:AssumeRole"}},
			hub:      {far: {"sts:AssumeRole"}},
			far:      {"": tokens[:1], abroad + "app": pulls}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.r.Registries = specs(t, row.registries)
			got := map[string]bool{}
			for _, role := range mustRoles(t, row.r) {
				got[role.Name] = true
				want, ok := row.want[role.Name]
				if !ok {
					t.Errorf("nobody asked for %s", role.Name)
				}
				for _, action := range slices.Concat(tokens, pulls, pushes, caches, others, []string{"sts:AssumeRole"}) {
					for _, resource := range resources {
						may := slices.Contains(want[resource], action) || slices.Contains(want[""], action)
						if is := allows(role.Permissions, action, resource); is != may {
							t.Errorf("%s on %s by %s: %v, want %v", action, resource, role.Name, is, may)
						}
					}
				}
			}
			if len(got) != len(row.want) {
				t.Errorf("roles %v", got)
			}
		})
	}
}

// Each role of a chain trusts the one before it and nobody else, the last one with the external id; ECS gives the task's roles
// to tasks of its account and region only.
func TestTrust(t *testing.T) {
	roles := mustRoles(t, Request{Access: Refresh, TaskRole: task, Account: "123456789012", Region: "us-west-2",
		Registries: specs(t, here+"?role_arn="+hub+"&role_arn="+far+"&external_id=x-1 "+there+"?role_arn="+far+" "+
			strings.Replace(there, "eu-west-1", "eu-west-2", 1)+"?role_arn="+far)})
	ecs := &Policy{version, []Statement{{Sid: "OnlyTasksOfThisAccountAndRegion", Effect: "Allow", Principal: map[string]Strings{"Service": {"ecs-tasks.amazonaws.com"}}, Action: Strings{"sts:AssumeRole"},
		Condition: map[string]map[string]Strings{"StringEquals": {"aws:SourceAccount": {"123456789012"}}, "ArnLike": {"aws:SourceArn": {"arn:aws:ecs:us-west-2:123456789012:*"}}}}}}
	want := map[string]*Policy{
		TaskRole: ecs, ExecutionRole: ecs,
		hub: {version, []Statement{{Sid: "Assume1", Effect: "Allow", Principal: map[string]Strings{"AWS": {task}}, Action: Strings{"sts:AssumeRole"}}}},
		far: {version, []Statement{
			{Sid: "Assume1", Effect: "Allow", Principal: map[string]Strings{"AWS": {hub}}, Action: Strings{"sts:AssumeRole"},
				Condition: map[string]map[string]Strings{"StringEquals": {"sts:ExternalId": {"x-1"}}}},
			{Sid: "Assume2", Effect: "Allow", Principal: map[string]Strings{"AWS": {task}}, Action: Strings{"sts:AssumeRole"}},
		}},
	}
	got := map[string]*Policy{}
	for _, r := range roles {
		got[r.Name] = r.Trust
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The files of deploy/iam are what this package generates; where they are not, the difference is here.
func TestShippedPolicies(t *testing.T) {
	generated := func(access Access, repositories ...string) Role {
		return mustRoles(t, Request{Access: access, Repositories: repositories, Account: "123456789012", Region: "us-west-2", Registries: specs(t, here)})[0]
	}
	for name, want := range map[string]*Policy{
		"refresh-only": generated(Refresh).Permissions, "pull": generated(Pull, "nodejs").Permissions, "trust": generated(Refresh).Trust,
	} {
		if diff := cmp.Diff(want, shipped(t, name)); diff != "" {
			t.Errorf("%s (-generated +shipped):\n%s", name, diff)
		}
	}
	// The execution role may pull the sidecar's image as anybody may pull; it writes logs besides.
	execution := shipped(t, "execution")
	if diff := cmp.Diff(generated(Pull, "ecr-refresher").Permissions.Statement, execution.Statement[:2]); diff != "" {
		t.Errorf("execution (-generated +shipped):\n%s", diff)
	}
	// The shipped push policy is AWS's PowerUser, cut to one repository: it may read more than a push needs, and write no more.
	least, power := generated(Push, "nodejs").Permissions, shipped(t, "push")
	for _, a := range power.Statement[1].Action {
		write := !strings.HasPrefix(a, "ecr:Describe") && !strings.HasPrefix(a, "ecr:Get") && !strings.HasPrefix(a, "ecr:List")
		if write && !allows(least, a, repo+"nodejs") {
			t.Errorf("push: shipped and not generated: %s", a)
		}
	}
	for _, a := range slices.Concat(tokens[:1], pulls, pushes) {
		if !allows(power, a, repo+"nodejs") {
			t.Errorf("push: generated and not shipped: %s", a)
		}
	}
}

func TestWrongRequests(t *testing.T) {
	chain := specs(t, there+"?role_arn="+far)
	own := specs(t, here)
	for want, r := range map[string]Request{
		`access: "write" is none of`:            {Access: "write", Registries: own},
		"registry: none is given":               {Access: Refresh},
		`registry: "default" is the task's own`: {Access: Refresh, Registries: []registry.Spec{{Name: "default"}}},
		"task-role: ":                           {Access: Refresh, Registries: chain},
		`task-role: "admin" is no ARN`:          {Access: Refresh, Registries: chain, TaskRole: "admin"},
		"is not in the task's account":          {Access: Refresh, Registries: own, TaskRole: far, Account: "123456789012", Region: "us-west-2"},
		"repository: a token is for all":        {Access: Refresh, Registries: own, Repositories: []string{"app"}},
		"repository: name those":                {Access: Push, Registries: own},
		`repository: "App" is no name`:          {Access: Pull, Registries: own, Repositories: []string{"App"}},
		`repository: "arn:aws:ecr" is no name`:  {Access: Pull, Registries: own, Repositories: []string{"arn:aws:ecr"}},
		`has the registry in it; give the repository's name without it: team/app`: {Access: Pull, Registries: own, Repositories: []string{here + "/team/app"}},
		`name without it: app`:       {Access: Pull, Registries: own, Repositories: []string{"public.ecr.aws/x/app"}},
		`without it: tagged`:         {Access: Pull, Registries: own, Repositories: []string{"https://" + here + "/tagged:1@sha256:0"}},
		`"` + here + `" is no name`:  {Access: Pull, Registries: own, Repositories: []string{here}},
		"pull-through-cache: ":       {Access: Refresh, Registries: own, PullThrough: true},
		"account, region: give both": {Access: Refresh, Registries: own, Account: "123456789012"},
		"it is in partition aws-cn, and the task's role is in aws;":                            {Access: Refresh, Registries: specs(t, "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"), TaskRole: task},
		"it is in partition aws, and the task's role is in aws-us-gov":                         {Access: Refresh, Registries: specs(t, "public.ecr.aws?optional"), Account: "123456789012", Region: "us-gov-west-1"},
		`is in partition aws, and "123456789012.dkr.ecr.cn-north-1`:                            {Access: Refresh, Registries: specs(t, "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn public.ecr.aws")},
		"task-role: \"" + task + "\" is in partition aws, and the region cn-north-1 in aws-cn": {Access: Refresh, Registries: own, TaskRole: task, Account: "123456789012", Region: "cn-north-1"},
		`account, region: "us-west-2a"`:                                                        {Access: Refresh, Registries: own, Account: "123456789012", Region: "us-west-2a"},
	} {
		if _, err := Roles(r); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want one that says %q", err, want)
		}
	}
	if _, err := Roles(Request{Access: "x", Repositories: []string{"A"}, Account: "1"}); err == nil || strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("not all at once: %v", err)
	}
}

func TestForeign(t *testing.T) {
	for _, row := range []struct {
		registries, taskRole string
		access               Access
		want                 string
	}{
		{here, task, Pull, ""},
		{there, task, Refresh, ""},
		{there, task, Pull, task},
		{there + "?role_arn=" + far, task, Pull, ""},
		{here + "?role_arn=" + far, task, Pull, far},
		{"public.ecr.aws", task, Pull, ""},
		{there, "", Pull, "the task role"},
	} {
		r := Request{Access: row.access, TaskRole: row.taskRole, Registries: specs(t, row.registries)}
		if row.taskRole == "" {
			r.Account = "123456789012"
		}
		got := strings.Join(Foreign(r), "\n")
		if (got == "") != (row.want == "") || !strings.HasSuffix(got, row.want) {
			t.Errorf("%s: %q, want %q", row.registries, got, row.want)
		}
	}
}

func specs(t *testing.T, s string) []registry.Spec {
	t.Helper()
	all, err := registry.ParseSpecs(s)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func mustRoles(t *testing.T, r Request) []Role {
	t.Helper()
	roles, err := Roles(r)
	if err != nil {
		t.Fatal(err)
	}
	return roles
}

func shipped(t *testing.T, name string) *Policy {
	t.Helper()
	doc, err := os.ReadFile("../../deploy/iam/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var p Policy
	if err := json.Unmarshal(doc, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}
