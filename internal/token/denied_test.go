package token

import (
	"strings"
	"testing"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

// The forms of AWS's message, by its documentation, and what people have seen besides.
func TestReadDenial(t *testing.T) {
	const (
		who  = "arn:aws:sts::123456789012:assumed-role/app/0123456789abcdef"
		head = "User: " + who + " is not authorized to perform: ecr:GetAuthorizationToken on resource: * "
		scp  = "arn:aws:organizations::999999999999:policy/o-exampleorg/service_control_policy/p-12345678"
	)
	ecr := func(policy PolicyType, explicit bool) Denial {
		return Denial{Principal: who, Action: "ecr:GetAuthorizationToken", Resource: "*", Policy: policy, Explicit: explicit}
	}
	named := ecr(ServiceControlPolicy, true)
	named.PolicyARN = scp
	for message, want := range map[string]Denial{
		head + "because no identity-based policy allows the ecr:GetAuthorizationToken action":   ecr(IdentityPolicy, false),
		head + "because no permissions boundary allows the ecr:GetAuthorizationToken action":    ecr(PermissionsBoundary, false),
		head + "because no session policy allows the ecr:GetAuthorizationToken action":          ecr(SessionPolicy, false),
		head + "because no service control policy allows the ecr:GetAuthorizationToken action":  ecr(ServiceControlPolicy, false),
		head + "because no resource control policy allows the ecr:GetAuthorizationToken action": ecr(ResourceControlPolicy, false),
		head + "because no VPC endpoint policy allows the ecr:GetAuthorizationToken action":     ecr(EndpointPolicy, false),
		head + "because no resource-based policy allows the ecr:GetAuthorizationToken action":   ecr(ResourcePolicy, false),
		head + "with an explicit deny in an identity-based policy":                              ecr(IdentityPolicy, true),
		head + "with an explicit deny in a permissions boundary":                                ecr(PermissionsBoundary, true),
		head + "with an explicit deny in a session policy":                                      ecr(SessionPolicy, true),
		head + "with an explicit deny in a service control policy":                              ecr(ServiceControlPolicy, true),
		head + "with an explicit deny in a resource control policy":                             ecr(ResourceControlPolicy, true),
		head + "with an explicit deny in a VPC endpoint policy":                                 ecr(EndpointPolicy, true),
		head + "with an explicit deny in a resource-based policy":                               ecr(ResourcePolicy, true),
		head + "with an explicit deny in a service control policy: " + scp:                      named,
		head + "with an explicit deny in the service control policy " + scp + ".":               named,
		head + "due to an explicit deny in a Service Control Policy.":                           ecr(ServiceControlPolicy, true),
		head + "with an explicit deny":                                                          ecr("", true),
		head + "with an explicit deny in a policy of a kind to come":                            ecr("", true),
		head: ecr("", false),
		strings.ReplaceAll(head, " ", "\n  ") + "\nwith an explicit\tdeny in a session policy": ecr(SessionPolicy, true),
		"":              {},
		"Access Denied": {},
		"User: anonymous is not authorized to perform: ecr:GetAuthorizationToken": {Action: "ecr:GetAuthorizationToken"},
		"User: " + who + " is not authorized to perform: sts:GetServiceBearerToken on resource: arn:aws:sts::123456789012:self because no identity-based policy allows the sts:GetServiceBearerToken action": {
			Principal: who, Action: "sts:GetServiceBearerToken", Resource: "arn:aws:sts::123456789012:self", Policy: IdentityPolicy},
		"User: " + who + " is not authorized to perform: sts:AssumeRole on resource: " + roleOne + " because no role trust policy allows the sts:AssumeRole action": {
			Principal: who, Action: "sts:AssumeRole", Resource: roleOne, Policy: ResourcePolicy},
		"User: " + who + " is not authorized to perform: sts:AssumeRole on resource: " + roleOne + " with an explicit deny in the role trust policy": {
			Principal: who, Action: "sts:AssumeRole", Resource: roleOne, Policy: ResourcePolicy, Explicit: true},
		// The names of a role, its session and the role that it asks for are no reasons.
		"User: arn:aws:sts::123456789012:assumed-role/session-policy/boundary is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/endpoint": {
			Principal: "arn:aws:sts::123456789012:assumed-role/session-policy/boundary", Action: "sts:AssumeRole", Resource: "arn:aws:iam::123456789012:role/endpoint"},
	} {
		if got := readDenial(message); got != want {
			t.Errorf("%s\ngot  %+v\nwant %+v", message, got, want)
		}
	}
}

func TestRoleOf(t *testing.T) {
	for arn, want := range map[string][2]string{
		"arn:aws:sts::123456789012:assumed-role/app/0123":     {"app", "123456789012"},
		"arn:aws-cn:sts::123456789012:assumed-role/app/a/b":   {"app", "123456789012"},
		"arn:aws:iam::123456789012:role/app":                  {"app", "123456789012"},
		"arn:aws-us-gov:iam::123456789012:role/team/path/app": {"app", "123456789012"},
		"arn:aws:iam::123456789012:user/anna":                 {},
		"arn:aws:iam::123456789012:root":                      {},
		"arn:aws:sts::123456789012:federated-user/anna":       {},
		"arn:aws:sts::123456789012:assumed-role/":             {},
		"": {},
	} {
		if name, account := roleOf(arn); [2]string{name, account} != want {
			t.Errorf("%s: %q, %q", arn, name, account)
		}
	}
}

// The cure names who must change which policy, and the role that was denied, for each API and as each identity. What does not
// help, or was not asked, is not in it.
func TestDenialCure(t *testing.T) {
	const (
		task    = "the role sandbox-task of account 123456789012"
		deny    = "with an explicit deny in "
		longest = "arn:aws:organizations::999999999999:policy/o-exampleorg/service_control_policy/p-12345678"
	)
	no := func(policy string) string { return "because no " + policy + " allows the action action" }
	here2 := Scope{Region: region, Roles: roleOne}
	publicAs := Scope{Public: true, Region: "us-east-1", Roles: roleTwo}
	for _, r := range []struct {
		service string
		scope   Scope
		reason  string
		cure    []string
	}{
		{"ecr", here, "", []string{"allow ecr:GetAuthorizationToken on resource * in the policies of " + task}},
		{"ecr", here, no("permissions boundary"), []string{"allow ecr:GetAuthorizationToken in the permissions boundary of " + task}},
		{"ecr", here, deny + "a permissions boundary", []string{"remove the Deny of ecr:GetAuthorizationToken from the permissions boundary of " + task}},
		{"ecr", here, no("service control policy"), []string{"administrators of the AWS organization must allow ecr:GetAuthorizationToken for " + task, "service control policies"}},
		{"ecr", here, deny + "a service control policy", []string{"administrators of the AWS organization must remove the Deny of ecr:GetAuthorizationToken for " + task, "from the service control policies"}},
		{"ecr", here, deny + "a service control policy: " + longest, []string{"(" + longest + ")"}},
		{"ecr", here, deny + "a resource control policy", []string{"administrators of the AWS organization", task, "resource control policies"}},
		{"ecr", here, no("VPC endpoint policy"), []string{"manages the task's VPC must allow", task, "VPC endpoint ecr.api"}},
		{"ecr", here, deny + "a VPC endpoint policy", []string{"remove the Deny", task, "from the policy of the VPC endpoint ecr.api"}},
		{"ecr", here, no("session policy"), []string{"issues the credentials of " + task, "allow", "session policy"}},
		{"ecr", here, deny + "an identity-based policy", []string{"remove the Deny of ecr:GetAuthorizationToken on resource * from the policies of " + task}},
		{"ecr", here, "with an explicit deny", []string{"find the statement that denies ecr:GetAuthorizationToken to " + task}},
		{"ecr", here2, "", []string{"in the policies of " + roleOne}},
		{"ecr", chain, deny + "a service control policy", []string{roleTwo, "service control policies"}},
		{"ecr-public", public, "", []string{"allow ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken on resource * in the policies of " + task}},
		{"ecr-public", public, deny + "a service control policy", []string{"remove the Deny of ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken for " + task}},
		{"ecr-public", publicAs, no("identity-based policy"), []string{"in the policies of " + roleTwo}},
		{"sts", here2, "", []string{"allow sts:AssumeRole on " + roleOne + " in the policies of " + task, "trust policy"}},
		{"sts", here2, no("role trust policy"), []string{"allow sts:AssumeRole for " + task, "in the trust policy of " + roleOne}},
		{"sts", here2, deny + "the role trust policy", []string{"remove the Deny of sts:AssumeRole for " + task, "from the trust policy of " + roleOne}},
		{"sts", here2, deny + "a VPC endpoint policy", []string{"VPC endpoint sts"}},
		{"sts", here2, deny + "a resource control policy", []string{"resource control policies"}},
		{"sts", chain, no("permissions boundary"), []string{"allow sts:AssumeRole in the permissions boundary of " + roleOne}},
		{"sts", chain, no("identity-based policy"), []string{"allow sts:AssumeRole on " + roleTwo + " in the policies of " + roleOne}},
	} {
		t.Run(r.service+" "+r.scope.String()+" "+r.reason, func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			f := sandbox.Fault{Service: r.service, Kind: sandbox.AccessDenied, Reason: r.reason}
			class, op := fault.AccessDenied, "get a token for "+r.scope.String()
			if r.service == "sts" {
				f.Role = r.scope.Identity() // the last step
				class, op = fault.AssumeRole, "assume "+f.Role
			}
			sb.Set(f)
			_, err := newClient(t, Options{}).Token(t.Context(), r.scope)
			wantFault(t, err, class, op, secretsOf(sb)...)
			cure := fault.CureOf(err)
			for _, words := range r.cure {
				if !strings.Contains(cure, words) {
					t.Errorf("no %q in the cure %q", words, cure)
				}
			}
			if r.service != "ecr-public" && strings.Contains(cure, "ecr-public") || r.service != "sts" && strings.Contains(cure, "AssumeRole") {
				t.Errorf("the cure speaks of what was not asked: %q", cure)
			}
			if (r.scope.Roles != "" && r.service != "sts" || r.scope == chain) && strings.Contains(cure, "task role") {
				t.Errorf("the task role was not denied: %q", cure)
			}
			if !strings.Contains(err.Error(), strings.TrimSpace(r.reason)) {
				t.Errorf("the reason is cut off: %q", err)
			}
			if d, ok := DenialOf(err); !ok || d.Principal == "" {
				t.Errorf("%+v, %v", d, ok)
			}
		})
	}
}

// Without the caller in the message, the cure names the role that the call was made as.
func TestDenialCureWithoutCaller(t *testing.T) {
	for _, r := range []struct {
		at   asked
		want string
	}{
		{asked{}, "in the policies of the task role"},
		{asked{as: roleTwo}, "in the policies of " + roleTwo},
		{asked{as: roleOne, role: roleTwo}, "on " + roleTwo + " in the policies of " + roleOne},
		{asked{role: roleOne}, "in the policies of the task role, and name it"},
	} {
		if cure := denialCure(Denial{}, r.at); !strings.Contains(cure, r.want) {
			t.Errorf("%+v: %q", r.at, cure)
		}
	}
	user := Denial{Principal: "arn:aws:iam::123456789012:user/anna"}
	if cure := denialCure(user, asked{as: roleOne}); !strings.Contains(cure, user.Principal) {
		t.Errorf("not the one that was denied: %q", cure)
	}
}

func TestClip(t *testing.T) {
	long := "begin " + strings.Repeat("é", 9000) + " with an explicit deny in a service control policy"
	if got := clip(long); len(got) > mostClip || !strings.HasPrefix(got, "begin ") || !strings.HasSuffix(got, long[len(long)-49:]) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	if got := clip(strings.Repeat("x", mostClip)); strings.Contains(got, "…") {
		t.Error("cut without need")
	}
}
