package sandbox

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func TestAssumeRoleInput(t *testing.T) {
	const invalid = "Bad Request ValidationError"
	for _, row := range []struct {
		name    string
		in      sts.AssumeRoleInput
		seconds int32
		want    string
	}{
		{name: "default duration", seconds: 3600},
		{name: "shortest", in: sts.AssumeRoleInput{DurationSeconds: aws.Int32(900)}, seconds: 900},
		{name: "too short", in: sts.AssumeRoleInput{DurationSeconds: aws.Int32(899)}, want: invalid},
		{name: "longest of a chain", in: sts.AssumeRoleInput{DurationSeconds: aws.Int32(3600)}, seconds: 3600},
		{name: "too long for a chain", in: sts.AssumeRoleInput{DurationSeconds: aws.Int32(3601)}, want: invalid},
		{name: "too long", in: sts.AssumeRoleInput{DurationSeconds: aws.Int32(43201)}, want: invalid},
		{name: "not a role", in: sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::210987654321:user/me")}, want: invalid},
		{name: "another partition", in: sts.AssumeRoleInput{RoleArn: aws.String("arn:aws-cn:iam::210987654321:role/r")}, want: "Forbidden AccessDenied"},
		{name: "session name of 1", in: sts.AssumeRoleInput{RoleSessionName: aws.String("a")}, want: invalid},
		{name: "session name of 64", in: sts.AssumeRoleInput{RoleSessionName: aws.String(strings.Repeat("a", 64))}, seconds: 3600},
		{name: "session name of 65", in: sts.AssumeRoleInput{RoleSessionName: aws.String(strings.Repeat("a", 65))}, want: invalid},
		{name: "session name with a slash", in: sts.AssumeRoleInput{RoleSessionName: aws.String("a/b")}, want: invalid},
		{name: "external id with a space", in: sts.AssumeRoleInput{ExternalId: aws.String("a b")}, want: invalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, Config{})
			if row.in.RoleArn == nil {
				row.in.RoleArn = aws.String(assumable)
			}
			if row.in.RoleSessionName == nil {
				row.in.RoleSessionName = aws.String("task-1")
			}
			out, err := sts.NewFromConfig(taskConfig(t, s, "us-west-2")).AssumeRole(t.Context(), &row.in)
			if got := codeOf(err); got != row.want {
				t.Fatalf("got %q, want %q", got, row.want)
			}
			if err != nil {
				return
			}
			if d := time.Until(*out.Credentials.Expiration) - time.Duration(row.seconds)*time.Second; d < -3*time.Second || d > 0 {
				t.Errorf("life is off by %v", d)
			}
			if want := "arn:aws:sts::210987654321:assumed-role/puller/" + *row.in.RoleSessionName; *out.AssumedRoleUser.Arn != want {
				t.Errorf("Arn %s, want %s", *out.AssumedRoleUser.Arn, want)
			}
		})
	}
}

func TestAssumeRoleTrust(t *testing.T) {
	const taskRole = "arn:aws:iam::123456789012:role/sandbox-task"
	for _, row := range []struct {
		name     string
		role     Role
		other    bool // another role is registered
		external string
		want     string
	}{
		{name: "open"},
		{name: "not registered", other: true, want: "Forbidden AccessDenied"},
		{name: "external id", role: Role{ExternalID: "abc"}, external: "abc"},
		{name: "no external id", role: Role{ExternalID: "abc"}, want: "Forbidden AccessDenied"},
		{name: "another external id", role: Role{ExternalID: "abc"}, external: "abd", want: "Forbidden AccessDenied"},
		{name: "trusts the role", role: Role{TrustedBy: []string{taskRole}}},
		{name: "trusts the account", role: Role{TrustedBy: []string{"123456789012"}}},
		{name: "trusts another", role: Role{TrustedBy: []string{taskRole + "2"}}, want: "Forbidden AccessDenied"},
	} {
		t.Run(row.name, func(t *testing.T) {
			arn := assumable
			if row.other {
				arn += "2"
			}
			s := start(t, Config{Roles: map[string]Role{arn: row.role}})
			in := &sts.AssumeRoleInput{RoleArn: aws.String(assumable), RoleSessionName: aws.String("task-1")}
			if row.external != "" {
				in.ExternalId = &row.external
			}
			_, err := sts.NewFromConfig(taskConfig(t, s, "us-west-2")).AssumeRole(t.Context(), in)
			if got := codeOf(err); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestAssumedRoleIsThePrincipal(t *testing.T) {
	s := start(t, Config{})
	cfg := taskConfig(t, s, "us-west-2")
	provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), assumable, func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "task-1" })
	cfg.Credentials = aws.NewCredentialsCache(provider)
	out, err := ecr.NewFromConfig(cfg).GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "https://210987654321.dkr.ecr.us-west-2.amazonaws.com"; *out.AuthorizationData[0].ProxyEndpoint != want {
		t.Errorf("proxyEndpoint %s, want the caller's account: %s", *out.AuthorizationData[0].ProxyEndpoint, want)
	}
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != "arn:aws:sts::210987654321:assumed-role/puller/task-1" || *who.Account != "210987654321" {
		t.Errorf("%+v, %v", who, err)
	}
	r := s.Requests()
	if len(r) != 3 || r[0].Operation != "AssumeRole" || !strings.Contains(r[0].Principal, "sandbox-task") || r[1].Principal != *who.Arn {
		t.Errorf("Requests = %+v", r)
	}
}

func TestSTSErrorsAndEndpoints(t *testing.T) {
	s := start(t, Config{})
	identity := func(cfg aws.Config, opts ...func(*sts.Options)) string {
		_, err := sts.NewFromConfig(cfg, opts...).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		return codeOf(err)
	}
	cfg := taskConfig(t, s, "us-west-2")
	for name, opt := range map[string]func(*sts.Options){
		"regional":   func(*sts.Options) {},
		"fips":       func(o *sts.Options) { o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled },
		"dual-stack": func(o *sts.Options) { o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled },
		"global":     func(o *sts.Options) { o.Region, o.BaseEndpoint = "us-east-1", aws.String("https://sts.amazonaws.com") },
		"plain":      func(o *sts.Options) { o.BaseEndpoint = aws.String(s.URL()) },
	} {
		if got := identity(cfg, opt); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, row := range map[string]struct {
		opt  func(*sts.Options)
		want string
	}{
		"global, signed for another region": {func(o *sts.Options) { o.BaseEndpoint = aws.String("https://sts.amazonaws.com") }, "Forbidden SignatureDoesNotMatch"},
		"ECR's endpoint":                    {func(o *sts.Options) { o.BaseEndpoint = aws.String("https://api.ecr.us-west-2.amazonaws.com") }, "Bad Request InvalidAction"},
		"unknown key": {func(o *sts.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider("ASIA"+randomText(16), "x", "y")
		}, "Forbidden InvalidClientTokenId"},
	} {
		if got := identity(cfg, row.opt); got != row.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	stale := taskConfig(t, s, "us-west-2", fixedCredentials(t, s, func(*aws.Credentials) {}))
	s.ExpireCredentials()
	if got := identity(stale); got != "Forbidden ExpiredToken" {
		t.Errorf("expired: %s", got)
	}
}
