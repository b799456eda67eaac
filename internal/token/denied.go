package token

import (
	"errors"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
)

// PolicyType is a type of policy by which AWS denies a call.
type PolicyType string

// The types that AWS names in its messages.
const (
	IdentityPolicy        PolicyType = "identity-based policy"
	ResourcePolicy        PolicyType = "resource-based policy" // of a role: its trust policy
	PermissionsBoundary   PolicyType = "permissions boundary"
	SessionPolicy         PolicyType = "session policy"
	ServiceControlPolicy  PolicyType = "service control policy"
	ResourceControlPolicy PolicyType = "resource control policy"
	EndpointPolicy        PolicyType = "VPC endpoint policy"
)

// Denial is what AWS's message says about a call that it denied. A field is empty where the message does not say it.
type Denial struct {
	Principal string     // ARN of the caller
	Action    string     // such as ecr:GetAuthorizationToken
	Resource  string     // ARN, or *
	Policy    PolicyType // the type that denied the call; empty is not named, or not known
	PolicyARN string     // the policy itself
	Explicit  bool       // a statement denies the call; false: no statement allows it
}

// DenialOf is the denial in err's tree, and whether there is one.
func DenialOf(err error) (Denial, bool) {
	var api smithy.APIError
	if !errors.As(err, &api) || !deniedCode(api.ErrorCode()) {
		return Denial{}, false
	}
	return readDenial(api.ErrorMessage()), true
}

const (
	actionPrivate = "ecr:GetAuthorizationToken"
	actionPublic  = "ecr-public:GetAuthorizationToken"
	actionBearer  = "sts:GetServiceBearerToken" //nolint:gosec // G101: the name of an action, which ECR Public needs too
	actionAssume  = "sts:AssumeRole"
)

func deniedCode(code string) bool {
	return slices.Contains([]string{"AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized"}, code)
}

// readDenial reads the form that AWS documents, whatever its case and white space:
//
//	User: ARN is not authorized to perform: ACTION on resource: RESOURCE REASON
//
// REASON is "with an explicit deny in a TYPE", with or without ": POLICY-ARN", or "because no TYPE allows the ACTION action". Some
// services leave it out, STS does so for roles of other accounts.
func readDenial(message string) Denial {
	text := strings.Join(strings.Fields(message), " ")
	d := Denial{
		Principal: wordAfter(text, "User:"),
		Action:    wordAfter(text, "authorized to perform:"),
		Resource:  wordAfter(text, "on resource:"),
	}
	if !strings.HasPrefix(d.Principal, "arn:") || len(strings.SplitN(d.Principal, ":", 6)) < 6 || strings.HasSuffix(d.Principal, ":") {
		d.Principal = ""
	}
	reason := after(text, "explicit deny")
	if d.Explicit = reason != ""; !d.Explicit {
		reason = after(text, "because no")
		reason, _, _ = strings.Cut(reason, " allow") // what follows repeats the action
	}
	named, _, found := strings.Cut(reason, "arn:")
	if found {
		d.PolicyARN = wordAfter(reason[len(named)-1:], "")
	}
	d.Policy = policyTypeIn(named)
	return d
}

// policyTypeIn finds the type in a phrase such as "in the role trust policy".
func policyTypeIn(phrase string) PolicyType {
	phrase = strings.ReplaceAll(strings.ToLower(phrase), "-", " ")
	for _, t := range []struct {
		words string
		is    PolicyType
	}{
		{"identity based", IdentityPolicy},
		{"resource based", ResourcePolicy},
		{"trust", ResourcePolicy},
		{"boundary", PermissionsBoundary},
		{"session", SessionPolicy},
		{"service control", ServiceControlPolicy},
		{"resource control", ResourceControlPolicy},
		{"endpoint", EndpointPolicy},
	} {
		if strings.Contains(phrase, t.words) {
			return t.is
		}
	}
	return ""
}

// after is what follows the first mark in a text, and a blank before that; empty where there is no mark. Case does not matter.
func after(text, mark string) string {
	i := strings.Index(strings.ToLower(text), strings.ToLower(mark))
	if i < 0 {
		return ""
	}
	return " " + strings.TrimSpace(text[i+len(mark):])
}

// wordAfter is the first word after a mark, without the sign that may end its sentence, as one printable line.
func wordAfter(text, mark string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(after(text, mark)), " ")
	return clip(strings.TrimRight(word, ".,;:"))
}

// Role is the name and the account of the role that was denied; empty where the caller is not known, or is not a role.
func (d Denial) Role() (name, account string) { return roleOf(d.Principal) }

// roleOf reads arn:PARTITION:sts::ACCOUNT:assumed-role/NAME/SESSION and arn:PARTITION:iam::ACCOUNT:role/[PATH/]NAME.
func roleOf(arn string) (name, account string) {
	f := strings.SplitN(arn, ":", 6)
	if len(f) < 6 {
		return "", ""
	}
	if rest, ok := strings.CutPrefix(f[5], "assumed-role/"); ok {
		name, _, _ = strings.Cut(rest, "/")
	} else if rest, ok := strings.CutPrefix(f[5], "role/"); ok {
		name = rest[strings.LastIndexByte(rest, '/')+1:]
	}
	if name == "" {
		return "", ""
	}
	return name, f[4]
}

// asked is what was asked for, as far as the failure's cure depends on it. The zero value is a call of the task role.
type asked struct {
	as     string // ARN of the role that calls; empty is the task role
	role   string // ARN of the role to assume; empty where a token is asked for
	public bool   // the token is of ECR Public
	region string // that was asked; empty where the account cannot have it disabled
}

// askedOf is the call for a scope's token.
func askedOf(s Scope) asked {
	c := asked{public: s.Public}
	if s.Roles != "" {
		c.as = s.Identity()
	}
	if !s.Public {
		c.region = s.Region
	}
	return c
}

// who names the caller that was denied. The message knows it best: where keys in the environment hide the task role, it is
// somebody else. A session's ARN lacks the path of its role.
func (c asked) who(d Denial) string {
	name, account := d.Role()
	ownName, ownAccount := roleOf(c.as)
	switch {
	case d.Principal == "" && c.as == "":
		return "the task role"
	case d.Principal == "", name != "" && name == ownName && account == ownAccount:
		return c.as
	case name != "":
		return "the role " + name + " of account " + account
	}
	return d.Principal
}

// denialCure says who must change which policy.
func denialCure(d Denial, c asked) string {
	who, what, on, endpoint := c.who(d), actionPrivate, "resource *", "ecr.api" // a token's action knows no resource
	switch {
	case c.role != "":
		what, on, endpoint = actionAssume, c.role, "sts"
	case c.public:
		what, endpoint = actionPublic+" and "+actionBearer, "that the call goes through"
	}
	do, in := "allow "+what, " in "
	if d.Explicit {
		do, in = "remove the Deny of "+what, " from "
	}
	cure := ""
	switch d.Policy {
	case PermissionsBoundary:
		cure = do + in + "the permissions boundary of " + who + ": its policies allow nothing that the boundary does not"
	case SessionPolicy:
		cure = "whoever issues the credentials of " + who + " must " + do + in + "their session policy"
	case ServiceControlPolicy:
		cure = "the administrators of the AWS organization must " + do + " for " + who + in +
			"the service control policies of its account: no policy of the role overrides them"
	case ResourceControlPolicy:
		cure = "the administrators of the AWS organization must " + do + " for " + who + in +
			"the resource control policies of the account that is asked: no policy of the role overrides them"
	case EndpointPolicy:
		cure = "whoever manages the task's VPC must " + do + " for " + who + in + "the policy of the VPC endpoint " + endpoint
	case ResourcePolicy:
		cure = do + " for " + who + in + "the resource-based policy that denies it"
		if c.role != "" {
			cure = do + " for " + who + " (and its external id)" + in + "the trust policy of " + c.role
		}
	case IdentityPolicy:
		cure = do + " on " + on + in + "the policies of " + who
		if c.role != "" && !d.Explicit {
			cure = trustCure(who, c.role)
		}
	default:
		switch {
		case d.Explicit:
			cure = "find the statement that denies " + what + " to " + who + " and remove it: see its policies, its permissions boundary, " +
				"the service control policies of its account, and the policy of the VPC endpoint " + endpoint
		case c.role != "":
			cure = trustCure(who, c.role)
		default:
			cure = do + " on " + on + in + "the policies of " + who
		}
	}
	if d.PolicyARN != "" {
		cure += " (" + d.PolicyARN + ")"
	}
	return cure
}

// trustCure has both sides that must agree before a role is assumed.
func trustCure(who, role string) string {
	cure := "allow sts:AssumeRole on " + role + " in the policies of " + who + ", and name it (and the external id) in the role's trust policy"
	return cure
}
