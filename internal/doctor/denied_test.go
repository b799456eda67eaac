package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/iam"
)

// What is pasted helps against the reason that AWS gives: a statement where one is missing, a look at the policy that denies.
func TestDeniedPaste(t *testing.T) {
	const (
		task     = "arn:aws:iam::123456789012:role/path/app"
		target   = "arn:aws:iam::210987654321:role/team/push"
		token    = `{"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"}`
		assume   = `{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "` + target + `"}`
		trust    = `{"Effect": "Allow", "Principal": {"AWS": "` + task + `"}, "Action": "sts:AssumeRole"}`
		external = `"Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": "THE-EXTERNAL-ID"}}}`
	)
	forToken := deniedCall{as: task, actions: iam.Strings{"ecr:GetAuthorizationToken"}}
	forRole := deniedCall{as: task, actions: iam.Strings{"sts:AssumeRole"}, role: target}
	withID := forRole
	withID.external = true
	for _, r := range []struct {
		call       deniedCall
		reason     string
		has, hasnt string // separated by |
	}{
		{forToken, "", token, "aws "},
		{forToken, "because no identity-based policy allows the action", token, "aws "},
		{forToken, "with an explicit deny in an identity-based policy", "aws iam list-attached-role-policies --role-name app", "Allow"},
		{forToken, "with an explicit deny", "aws iam list-role-policies --role-name app", "Allow"},
		{forToken, "because no permissions boundary allows the action", "--role-name app --query Role.PermissionsBoundary|" + token, "organizations"},
		{forToken, "with an explicit deny in a permissions boundary", "--query Role.PermissionsBoundary", "Allow"},
		{forToken, "because no service control policy allows the action", "--target-id 123456789012 --filter SERVICE_CONTROL_POLICY|" + token, "aws iam"},
		{forToken, "with an explicit deny in a service control policy", "--target-id 123456789012 --filter SERVICE_CONTROL_POLICY", "Allow|aws iam"},
		{forToken, "with an explicit deny in a resource control policy", "--filter RESOURCE_CONTROL_POLICY", "Allow|aws iam"},
		{forToken, "because no VPC endpoint policy allows the action", "`.ecr.api`|" + `"Principal": {"AWS": "` + task + `"}, "Action": "ecr:GetAuthorizationToken"`, "aws iam"},
		{forToken, "with an explicit deny in a VPC endpoint policy", "describe-vpc-endpoints", "Allow"},
		{forToken, "because no session policy allows the action", token, "aws "},
		{forToken, "with an explicit deny in a session policy", "", "Allow|aws"},
		{forToken, "because no resource-based policy allows the action", "", "Allow|aws"},
		{forRole, "", assume + "|" + trust, "aws "},
		{withID, "", assume + "|" + external, "aws "},
		{forRole, "because no identity-based policy allows the action", assume + "|" + trust, "aws "},
		{withID, "because no role trust policy allows the action", "--role-name push --query Role.AssumeRolePolicyDocument|" + external, `"Resource"`},
		{forRole, "with an explicit deny in the role trust policy", "--role-name push", "Allow"},
		{forRole, "because no VPC endpoint policy allows the action", "`.sts`|" + `"Principal": {"AWS": "` + task + `"}`, "aws iam"},
		{forRole, "with an explicit deny in a service control policy", "--target-id 123456789012", "Allow"},
	} {
		message := "User: arn:aws:sts::123456789012:assumed-role/app/session is not authorized to perform: x:Y on resource: * " + r.reason
		got := r.call.paste(fmt.Errorf("ask: %w", &smithy.GenericAPIError{Code: "AccessDenied", Message: message}))
		for has := range strings.SplitSeq(r.has, "|") {
			if !strings.Contains(got, has) || (got == "") != (r.has == "") {
				t.Errorf("%s: no %q in\n%s", r.reason, has, got)
			}
		}
		for hasnt := range strings.SplitSeq(r.hasnt, "|") {
			if strings.Contains(got, hasnt) {
				t.Errorf("%s: %q in\n%s", r.reason, hasnt, got)
			}
		}
	}
	// Keys in the environment are somebody else's.
	other := &smithy.GenericAPIError{Code: "AccessDenied", Message: "User: arn:aws-cn:sts::999999999999:assumed-role/ci/x is not authorized to perform: sts:AssumeRole"}
	if got := forRole.paste(other); !strings.Contains(got, `{"AWS": "arn:aws-cn:iam::999999999999:role/ci"}`) {
		t.Error(got)
	}
	if got := forRole.paste(errors.New("a page")); !strings.Contains(got, trust) {
		t.Error(got)
	}
}

// The policy of a VPC endpoint gets what this role needs of this registry, and no more.
func TestTransfer(t *testing.T) {
	e := newExam(Config{}, nil)
	e.agent = &agentAnswer{RoleArn: "arn:aws:iam::123456789012:role/app"}
	for text, role := range map[string]string{
		host: "arn:aws:iam::123456789012:role/app",
		host + "?role_arn=arn:aws:iam::210987654321:role/push": "arn:aws:iam::210987654321:role/push",
	} {
		got := e.transfer(specs(t, text)[0])
		for _, want := range []string{`"Principal": {"AWS": "` + role + `"}`, "ecr:BatchGetImage", "ecr:PutImage", "arn:aws:ecr:us-west-2:123456789012:repository/*"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, got)
			}
		}
		if strings.Contains(got, `"*", "Action"`) || strings.Contains(got, "ecr:*") || strings.Contains(got, `"Principal": "*"`) {
			t.Error(got)
		}
	}
	if got := e.transfer(specs(t, "public.ecr.aws")[0]); got != "" {
		t.Errorf("ECR Public has no such endpoint: %s", got)
	}
	e.Environ = []string{"AWS_ACCESS_KEY_ID=x"}
	if got := e.transfer(specs(t, host)[0]); strings.Contains(got, "role/app") {
		t.Errorf("it is not the task role that asks: %s", got)
	}
}

func TestCutCure(t *testing.T) {
	for text, want := range map[string][2]string{
		"":                          {},
		"a":                         {"a", ""},
		"a; b":                      {"a", "b"},
		"a; b; c":                   {"a", "b; c"},
		`--x: "1; 2" is no number`:  {`--x: "1; 2" is no number`, ""},
		`"1; 2" is wrong; write 12`: {`"1; 2" is wrong`, "write 12"},
		`"\"; " is wrong; write it`: {`"\"; " is wrong`, "write it"},
		"a;b":                       {"a;b", ""},
	} {
		if seen, cure := cutCure(text); [2]string{seen, cure} != want {
			t.Errorf("%s: %q, %q", text, seen, cure)
		}
	}
}

// The name of a setting in the text of another's problem says nothing about it.
func TestRegistriesAreKnown(t *testing.T) {
	problem := []string{"REFRESHER_REGISTRY: unknown setting; did you mean REFRESHER_REGISTRIES?"}
	want(t, look(t, "registries", Config{Problems: problem, Registries: specs(t, host)}), OK, "account 123456789012", "")
	want(t, look(t, "registries", Config{Problems: problem, Registries: specs(t, host), Wrong: true}), Skip, "REFRESHER_REGISTRIES is wrong", "")
}

// A registry of another partition is refused as the refresher refuses it, whatever its account.
func TestRegistriesOfAnotherPartition(t *testing.T) {
	task := func(partition string) func(*exam) {
		return func(e *exam) {
			e.task = &Task{ARN: "arn:" + partition + ":ecs:r:123456789012:task/c/1", Account: "123456789012"}
		}
	}
	const cn = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"
	want(t, look(t, "registries", Config{Registries: specs(t, cn)}, task("aws")), Fail, "partition aws-cn", "take the registry off")
	want(t, look(t, "registries", Config{Registries: specs(t, cn)}, task("aws-cn")), OK, "the task's own", "")
	want(t, look(t, "registries", Config{Registries: specs(t, "public.ecr.aws?optional")}, task("aws-us-gov")), Fail, "partition aws,", "")
	want(t, look(t, "registries", Config{Registries: specs(t, cn+" "+host)}), Fail, "partition aws,", "")
	want(t, look(t, "registries", Config{}, task("aws"), func(e *exam) { e.region = "cn-north-1" }), Fail, "partition aws-cn", "")
	keys := Config{Registries: specs(t, cn), Environ: []string{"AWS_ACCESS_KEY_ID=x"}}
	want(t, look(t, "registries", keys, task("aws")), OK, "account", "")
}

// What an endpoint answered is not taken for the cure.
func TestMetadataCure(t *testing.T) {
	by := func(err error) Config {
		return Config{Task: func(context.Context) (Task, error) { return Task{}, err }}
	}
	odd := &fault.Error{Class: fault.ServerError, Op: "ask", Cure: "look at its log", Err: errors.New(`status 500 "try; rm -rf /"`)}
	for _, r := range look(t, "metadata", by(fmt.Errorf("waited: %w", odd))) {
		if r.Status != Fail || r.Cure != "look at its log" || r.Seen != `waited: ask: status 500 "try; rm -rf /"` {
			t.Errorf("%+v", r)
		}
	}
	want(t, look(t, "metadata", by(errors.New("a; b"))), Fail, "a; b", "see the ECS agent")
}

// A file in another encoding is named, and not deleted.
func TestEncodedDocument(t *testing.T) {
	for content, row := range map[string][2]string{
		"\xef\xbb\xbf{}":     {"UTF-8 with a byte order mark", "tail -c +4 "},
		"\xff\xfe{\x00}\x00": {"UTF-16", "iconv -f UTF-16 -t UTF-8 "},
		"\xfe\xff\x00{\x00}": {"UTF-16", "iconv -f UTF-16 -t UTF-8 "},
	} {
		cfg := inVolume(t, content)
		got := look(t, "document", cfg)
		want(t, got, Fail, "output_invalid: it is "+row[0], "UTF-8 without a byte order mark")
		want(t, got, Fail, "", row[1]+cfg.Outputs[0].Path)
		if strings.Contains(got[0].Cure, "rm ") || strings.Contains(got[0].Cure, "delete") {
			t.Errorf("%+v", got)
		}
	}
	cfg := inVolume(t, `{"auths"`)
	want(t, look(t, "document", cfg), Fail, "output_invalid: 1:", "rm "+cfg.Outputs[0].Path)
}

// The exception for our hosts has a price, which is said with it.
func TestHelpersCure(t *testing.T) {
	want(t, look(t, "helpers", inVolume(t, `{"credsStore": "desktop"}`)), Fail, "", "breaks skopeo, podman and buildah")
	want(t, look(t, "helpers", inVolume(t, `{"credHelpers": {"`+host+`": "ecr-login"}}`)), Fail, "", "breaks skopeo, podman and buildah")
}

// Callers that are not the role that was expected: a user, a federated user, a role whose path the message lacks.
func TestDeniedPasteOfOthers(t *testing.T) {
	const endpoint = "because no VPC endpoint policy allows the action"
	for _, r := range []struct{ principal, reason, has, hasnt string }{
		{"arn:aws:iam::210987654321:user/div/ann", "with an explicit deny", "list-attached-user-policies --user-name ann", "ROLE"},
		{"arn:aws:iam::210987654321:user/div/ann", "with an explicit deny in a permissions boundary", "aws iam get-user --user-name ann", "ROLE"},
		{"arn:aws:iam::210987654321:user/div/ann", "with an explicit deny in a service control policy", "--target-id 210987654321", "ACCOUNT"},
		{"arn:aws:iam::210987654321:user/div/ann", endpoint, `"AWS": "arn:aws:iam::210987654321:user/div/ann"`, "role/"},
		{"arn:aws:sts::210987654321:federated-user/bob", endpoint, `"AWS": "arn:aws:sts::210987654321:federated-user/bob"`, "role/"},
		{"arn:aws:sts::210987654321:assumed-role/other/session", endpoint, "aws iam get-role --role-name other --query Role.Arn", "path/app"},
		{"arn:aws:sts::123456789012:assumed-role/app/session", endpoint, "role/path/app", "Role.Arn"},
	} {
		call := deniedCall{as: "arn:aws:iam::123456789012:role/path/app", actions: iam.Strings{"ecr:GetAuthorizationToken"}}
		got := call.paste(&smithy.GenericAPIError{
			Code: "AccessDeniedException", Message: "User: " + r.principal + " is not authorized to perform: x:Y on resource: * " + r.reason,
		})
		if !strings.Contains(got, r.has) || strings.Contains(got, r.hasnt) {
			t.Errorf("%s, %s: %s", r.principal, r.reason, got)
		}
	}
}
