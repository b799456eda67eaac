package doctor

import (
	"cmp"
	"strings"

	"ecr-refresher/internal/iam"
	"ecr-refresher/internal/token"
)

// deniedCall is a call that AWS denied, as far as the doctor knows it.
type deniedCall struct {
	as       string      // ARN of the role that called
	actions  iam.Strings // that it needs
	role     string      // that it wanted to assume; empty where it asked for a token
	external bool        // with an external id
}

// paste is what helps against a denial: the command that shows the policy that denies, and the statement that is missing from
// it. A statement that allows does not help against one that denies.
func (c deniedCall) paste(err error) string {
	d, _ := token.DenialOf(err)
	name, account := d.Role()
	whole := "" // the command that shows the role's ARN, whose path the message lacks
	switch fields := strings.SplitN(d.Principal, ":", 6); {
	case name != "" && !(strings.HasSuffix(c.as, "/"+name) && strings.Contains(c.as, ":"+account+":")): // keys of somebody else
		c.as = "arn:" + fields[1] + ":iam::" + account + ":role/" + name
		whole = "aws iam get-role --role-name " + name + " --query Role.Arn"
	case name == "" && len(fields) == 6: // a user, say
		c.as, account = d.Principal, fields[4]
	}
	user := ""
	if _, path, ok := strings.Cut(d.Principal, ":user/"); ok && name == "" {
		user = path[strings.LastIndexByte(path, '/')+1:]
	}
	name, account = cmp.Or(name, "ROLE"), cmp.Or(account, "ACCOUNT")
	resource, service := "*", "ecr.api"
	if c.role != "" {
		resource, service = c.role, "sts"
	}
	allow := iam.Statement{Effect: "Allow", Action: c.actions, Resource: iam.Strings{resource}}
	missing, show := allow.Line(), ""
	const targets = "aws organizations list-policies-for-target --target-id "
	switch d.Policy {
	case token.PermissionsBoundary:
		if show = "aws iam get-role --role-name " + name + " --query Role.PermissionsBoundary"; user != "" {
			show = "aws iam get-user --user-name " + user + " --query User.PermissionsBoundary"
		}
	case token.ServiceControlPolicy:
		show = targets + account + " --filter SERVICE_CONTROL_POLICY"
	case token.ResourceControlPolicy:
		show = targets + account + " --filter RESOURCE_CONTROL_POLICY"
	case token.EndpointPolicy:
		allow.Principal = map[string]iam.Strings{"AWS": {c.as}}
		missing = allow.Line()
		show = "aws ec2 describe-vpc-endpoints --query 'VpcEndpoints[?ends_with(ServiceName, `." + service + "`)].[VpcEndpointId,PolicyDocument]'"
		if whole != "" && !d.Explicit {
			show += "\n" + whole
		}
	case token.ResourcePolicy:
		if c.role == "" {
			return ""
		}
		show = "aws iam get-role --role-name " + c.role[strings.LastIndexByte(c.role, '/')+1:] + " --query Role.AssumeRolePolicyDocument"
		missing = c.trust()
	case token.SessionPolicy:
	default:
		if c.role != "" {
			missing += "\n" + c.trust()
		}
		switch {
		case d.Explicit && user != "":
			show = "aws iam list-attached-user-policies --user-name " + user + "\naws iam list-user-policies --user-name " + user
		case d.Explicit:
			show = "aws iam list-attached-role-policies --role-name " + name + "\naws iam list-role-policies --role-name " + name
		}
	}
	if d.Explicit {
		return show
	}
	return strings.TrimPrefix(show+"\n"+missing, "\n")
}

// trust is the statement by which the role's trust policy lets the caller assume it.
func (c deniedCall) trust() string {
	s := iam.Statement{Effect: "Allow", Principal: map[string]iam.Strings{"AWS": {c.as}}, Action: iam.Strings{"sts:AssumeRole"}}
	if c.external {
		s.Condition = map[string]map[string]iam.Strings{"StringEquals": {"sts:ExternalId": {"THE-EXTERNAL-ID"}}}
	}
	return s.Line()
}

// taskRole is the ARN of the task role, or a word in its place.
func (e *exam) taskRole() string {
	if e.agent != nil && e.agent.RoleArn != "" && len(e.hiding()) == 0 {
		return e.agent.RoleArn
	}
	return "TASK-ROLE-ARN"
}

// roleOf is the ARN of the role that a chain ends with.
func (e *exam) roleOf(roles []string) string {
	if n := len(roles); n > 0 {
		return roles[n-1]
	}
	return e.taskRole()
}
