package iam

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const version = "2012-10-17" // of the policy language

// Policy is an IAM policy document.
type Policy struct {
	Version   string
	Statement []Statement
}

// Statement is one permission.
type Statement struct {
	Sid       string `json:",omitempty"`
	Effect    string
	Principal map[string]Strings `json:",omitempty"`
	Action    Strings
	Resource  Strings                       `json:",omitempty"`
	Condition map[string]map[string]Strings `json:",omitempty"`
}

// Line is the statement as JSON on one line, ready to be pasted into a policy.
func (s Statement) Line() string {
	var b strings.Builder
	doc, err := json.Marshal(s)
	if err != nil { // of these types nothing fails
		return ""
	}
	quoted := false
	for _, c := range doc {
		b.WriteByte(c)
		switch {
		case c == '"': // no name in a policy has a quote in it
			quoted = !quoted
		case !quoted && (c == ':' || c == ','):
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// Strings is written as one string where it is one.
type Strings []string

// MarshalJSON implements json.Marshaler.
func (s Strings) MarshalJSON() ([]byte, error) {
	if len(s) == 1 {
		return json.Marshal(s[0])
	}
	return json.Marshal([]string(s))
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Strings) UnmarshalJSON(doc []byte) error {
	var one string
	if json.Unmarshal(doc, &one) == nil {
		*s = Strings{one}
		return nil
	}
	return json.Unmarshal(doc, (*[]string)(s))
}

// document is one policy in the list that JSON prints.
type document struct {
	Role     string  `json:"role"`
	Document string  `json:"document"` // permissions or trust
	Policy   *Policy `json:"policy"`
}

// JSON lists all documents, each with the role it belongs to.
func JSON(roles []Role) ([]byte, error) {
	var all []document
	for _, r := range roles {
		name := r.Name
		if r.ARN != "" {
			name = r.ARN
		}
		for _, d := range []document{{name, "permissions", r.Permissions}, {name, "trust", r.Trust}} {
			if d.Policy != nil && len(d.Policy.Statement) > 0 {
				all = append(all, d)
			}
		}
	}
	return pretty(all)
}

// pretty is JSON for people: indented, and with its & and < as they are.
func pretty(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

// JSON is the policy alone, ready to be pasted.
func (p *Policy) JSON() ([]byte, error) { return pretty(p) }

type (
	template struct {
		AWSTemplateFormatVersion string
		Description              string
		Conditions               map[string]any `json:",omitempty"`
		Resources                map[string]resource
		Outputs                  map[string]output
	}
	resource struct {
		Type       string
		Condition  string `json:",omitempty"`
		Properties roleProperties
	}
	roleProperties struct {
		RoleName                 string `json:",omitempty"`
		Path                     string `json:",omitempty"`
		Description              string
		AssumeRolePolicyDocument *Policy
		ManagedPolicyArns        []any          `json:",omitempty"`
		Policies                 []inlinePolicy `json:",omitempty"`
	}
	inlinePolicy struct {
		PolicyName     string
		PolicyDocument *Policy
	}
	output struct {
		Description string
		Condition   string `json:",omitempty"`
		Value       any
	}
)

// CloudFormation is a template, in JSON, with all the roles. Where they are in several accounts, the same template is for
// each: a condition on the account creates what belongs there. It needs CAPABILITY_NAMED_IAM.
func CloudFormation(roles []Role, account string) ([]byte, error) {
	t := template{
		AWSTemplateFormatVersion: "2010-09-09",
		Description:              "Roles for ecr-refresher: what it needs to stay logged in to ECR, and its consumers to use the login.",
		Resources:                map[string]resource{}, Outputs: map[string]output{},
	}
	accounts := []string{account}
	for _, r := range roles {
		if r.ARN != "" {
			accounts = appendNew(accounts, accountOf(r.ARN))
		}
	}
	for n, r := range roles {
		id, owner := fmt.Sprintf("RegistryRole%d", n), account
		p := roleProperties{Description: "ecr-refresher: " + r.Name, AssumeRolePolicyDocument: r.Trust}
		switch r.Name {
		case TaskRole:
			id = "TaskRole"
		case ExecutionRole:
			id = "ExecutionRole"
			p.ManagedPolicyArns = []any{map[string]string{"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"}}
		}
		if r.ARN != "" {
			p.Path, p.RoleName = nameOf(r.ARN)
			owner = accountOf(r.ARN)
		}
		if r.Permissions != nil && len(r.Permissions.Statement) > 0 {
			p.Policies = []inlinePolicy{{"ecr-refresher", r.Permissions}}
		}
		condition := ""
		if len(accounts) > 1 {
			condition = "In" + owner
			if t.Conditions == nil {
				t.Conditions = map[string]any{}
			}
			t.Conditions[condition] = map[string]any{"Fn::Equals": []any{map[string]string{"Ref": "AWS::AccountId"}, owner}}
		}
		t.Resources[id] = resource{"AWS::IAM::Role", condition, p}
		t.Outputs[id+"Arn"] = output{"ARN of the " + strings.TrimPrefix(p.Description, "ecr-refresher: "), condition, map[string]any{"Fn::GetAtt": []string{id, "Arn"}}}
	}
	return pretty(t)
}

// nameOf takes path and name out of a role's ARN.
func nameOf(arn string) (path, name string) {
	parts := strings.Split(arn[strings.Index(arn, ":role/")+len(":role/"):], "/")
	path = "/" + strings.Join(slices.Concat(parts[:len(parts)-1], []string{""}), "/")
	return path, parts[len(parts)-1]
}
