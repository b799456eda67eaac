// Package iam owns which AWS permissions the refresher, and those who use its login, need for a set of registries: least
// privilege, as policy documents.
//
// It refuses to know where they are attached: it is pure, calls nothing, and reads no account. What it says of a registry
// it has from package registry.
package iam

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ecr-refresher/internal/registry"
)

// Access is what the login shall allow.
type Access string

// The levels of access; each has what the one before has.
const (
	Refresh Access = "refresh" // tokens only: what the refresher itself needs
	Pull    Access = "pull"
	Push    Access = "push"
)

// Accesses are the names of all levels, the least first.
func Accesses() []string { return []string{string(Refresh), string(Pull), string(Push)} }

// Request says for what permissions are wanted.
type Request struct {
	Registries   []registry.Spec // resolved: "default" has its host
	Access       Access
	Repositories []string // names, * and ? stand for any; needed for Pull and Push
	PullThrough  bool     // a pull may create the repository of a pull-through cache

	Account, Region string // of the task; both, or none: then there are no trust policies for ECS
	TaskRole        string // its ARN; needed where registries have roles
}

// Role is one role with its documents.
type Role struct {
	Name        string // "task role", "execution role", or an ARN
	ARN         string // empty where it is not known
	Permissions *Policy
	Trust       *Policy
}

// The names of the roles of the task.
const (
	TaskRole      = "task role"
	ExecutionRole = "execution role"
)

var (
	pull = []string{"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
	// Docker asks for the layers it has, and BatchGetImage answers HEAD of a manifest: who pushes must pull.
	push = []string{"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:GetDownloadUrlForLayer",
		"ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"}
	pullThrough = []string{"ecr:BatchImportUpstreamImage", "ecr:CreateRepository"}
)

// Transfer are the permissions to use the repositories of a registry by one role, as the policy of a VPC endpoint or of a
// repository takes them: first the token, then to pull, then to push.
func Transfer(host registry.Host, role string) []Statement {
	all := Strings{"arn:" + host.Partition + ":ecr:" + host.Region + ":" + host.Account + ":repository/*"}
	who := map[string]Strings{"AWS": {role}}
	return []Statement{
		{Effect: "Allow", Principal: who, Action: Strings{"ecr:GetAuthorizationToken"}, Resource: Strings{"*"}},
		{Effect: "Allow", Principal: who, Action: pull, Resource: all},
		{Effect: "Allow", Principal: who, Action: push, Resource: all},
	}
}

// Roles says which roles are needed: the task role first, the execution role, then those of chains in the order in which
// they are assumed. All that is wrong with the request comes at once.
func Roles(r Request) ([]Role, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	b := &builder{Request: r}
	task := b.role(TaskRole, r.TaskRole)
	for _, s := range r.Registries {
		b.add(s)
	}
	b.roles[task].Trust = r.trustECS()
	all := []Role{b.finish(task)}
	if r.Account != "" {
		all = append(all, Role{Name: ExecutionRole, Trust: r.trustECS()})
	}
	for i := task + 1; i < len(b.roles); i++ {
		all = append(all, b.finish(i))
	}
	return all, nil
}

func (r Request) check() error {
	var errs []error
	add := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	transfer := r.Access == Pull || r.Access == Push
	if !transfer && r.Access != Refresh {
		add("access: %q is none of %s", string(r.Access), strings.Join(Accesses(), ", "))
	}
	if len(r.Registries) == 0 {
		add("registry: none is given")
	}
	for _, s := range r.Registries {
		switch {
		case s.Host.Name == "":
			add("registry: %q is the task's own: which account and region is that?", s.Name)
		case len(s.Identity.Roles) > 0 && r.TaskRole == "":
			add("task-role: %q is asked for with another role, whose trust policy must name the task role", s.Name)
		}
	}
	private := slices.ContainsFunc(r.Registries, func(s registry.Spec) bool { return !s.Host.Public })
	switch {
	case r.Access == Refresh && len(r.Repositories) > 0:
		add("repository: a token is for all repositories; ask for pull or push")
	case r.Access == Refresh && r.PullThrough:
		add("pull-through-cache: it is for those who pull; ask for pull or push")
	case transfer && private && len(r.Repositories) == 0:
		add(`repository: name those that are used, or "*" for all of the registry`)
	}
	for _, name := range r.Repositories {
		if err := CheckRepository(name); err != nil {
			add("repository: %w", err)
		}
	}
	if r.TaskRole != "" {
		if err := CheckRole(r.TaskRole); err != nil {
			add("task-role: %w", err)
		} else if r.Account != "" && accountOf(r.TaskRole) != r.Account {
			add("task-role: %q is not in the task's account, which is %q", r.TaskRole, r.Account)
		}
	}
	role, region := registry.PartitionOfARN(r.TaskRole), registry.PartitionOf(r.Region)
	switch err := registry.CheckPartition(r.Registries, cmp.Or(role, region)); {
	case role != "" && region != "" && role != region:
		add("task-role: %q is in partition %s, and the region %s in %s", r.TaskRole, role, r.Region, region)
	case err != nil:
		for line := range strings.SplitSeq(err.Error(), "\n") {
			add("registry: %s", line)
		}
	}
	if (r.Account == "") != (r.Region == "") {
		add("account, region: give both")
	} else if r.Account != "" {
		if _, err := registry.PrivateHost(r.Account, r.Region); err != nil {
			add("account, region: %w", err)
		}
	}
	return errors.Join(errs...)
}

// CheckRole says what is wrong with the ARN of a role.
func CheckRole(arn string) error {
	if registry.CheckRole(arn) != nil {
		return fmt.Errorf("%q is no ARN of a role, such as arn:aws:iam::123456789012:role/NAME", arn)
	}
	return nil
}

// CheckRepository says what is wrong with the name of a repository.
func CheckRepository(name string) error {
	short, image := withoutRegistry(name)
	switch {
	case image && validRepository(short):
		return fmt.Errorf("%q has the registry in it; give the repository's name without it: %s", name, short)
	case image || !validRepository(name):
		return fmt.Errorf("%q is no name of a repository, such as team/app or team/*", name)
	}
	return nil
}

// withoutRegistry is the repository's name in that of an image, which people have at hand; image says that it is one.
func withoutRegistry(name string) (short string, image bool) {
	host, rest, _ := strings.Cut(strings.TrimPrefix(name, "https://"), "/")
	h, err := registry.ParseHost(host)
	if err != nil {
		return "", false
	}
	if h.Public { // whose name goes on with the owner's alias
		_, rest, _ = strings.Cut(rest, "/")
	}
	rest, _, _ = strings.Cut(rest, "@")
	rest, _, _ = strings.Cut(rest, ":")
	return rest, true
}

// validRepository admits what ECR admits, and the two wildcards of IAM.
func validRepository(name string) bool {
	return name != "" && len(name) <= 256 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._-/*?") == "" &&
		!strings.HasPrefix(name, "/") && !strings.HasSuffix(name, "/") && !strings.Contains(name, "//")
}

// builder collects what each role needs.
type builder struct {
	Request
	roles []need
}

// need is what one role needs.
type need struct {
	Role
	private, public bool     // tokens
	repositories    []string // ARNs
	next            []string // roles to assume
}

func (b *builder) role(name, arn string) int {
	if i := slices.IndexFunc(b.roles, func(n need) bool { return n.ARN == arn && n.Name == name }); i >= 0 {
		return i
	}
	b.roles = append(b.roles, need{Role: Role{Name: name, ARN: arn}})
	return len(b.roles) - 1
}

// add follows the way to a registry: each role may assume the next, which trusts it; the last one gets the token.
func (b *builder) add(s registry.Spec) {
	at := 0
	for i, arn := range s.Identity.Roles {
		from := b.roles[at].ARN
		b.roles[at].next = appendNew(b.roles[at].next, arn)
		at = b.role(arn, arn)
		external := ""
		if i == len(s.Identity.Roles)-1 {
			external = s.Identity.ExternalID
		}
		b.roles[at].Trust = trustRole(b.roles[at].Trust, from, external)
	}
	n := &b.roles[at]
	if s.Host.Public {
		n.public = true
		return
	}
	n.private = true
	if b.Access != Refresh {
		for _, name := range b.Repositories {
			n.repositories = appendNew(n.repositories, "arn:"+s.Host.Partition+":ecr:"+s.Host.Region+":"+s.Host.Account+":repository/"+name)
		}
	}
}

func appendNew(l []string, s string) []string {
	if slices.Contains(l, s) {
		return l
	}
	return append(l, s)
}

// finish turns needs into a policy.
func (b *builder) finish(i int) Role {
	n := b.roles[i]
	p := &Policy{Version: version}
	allow := func(sid string, resources []string, actions ...string) {
		p.Statement = append(p.Statement, Statement{Sid: sid, Effect: "Allow", Action: actions, Resource: resources})
	}
	anything := []string{"*"} // these actions know no resources
	if n.private {
		allow("Token", anything, "ecr:GetAuthorizationToken")
	}
	if n.public {
		allow("PublicToken", anything, "ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken")
	}
	if len(n.repositories) > 0 {
		if b.Access == Push {
			allow("Push", n.repositories, push...)
		} else {
			allow("Pull", n.repositories, pull...)
		}
		if b.PullThrough {
			allow("PullThroughCache", n.repositories, pullThrough...)
		}
	}
	if len(n.next) > 0 {
		allow("AssumeRole", n.next, "sts:AssumeRole")
	}
	n.Permissions = p
	return n.Role
}

// trustECS lets ECS give the role to tasks of one account and region, and to no one else's.
func (r Request) trustECS() *Policy {
	if r.Account == "" {
		return nil
	}
	host, _ := registry.PrivateHost(r.Account, r.Region) // checked
	return &Policy{Version: version, Statement: []Statement{{
		Sid: "OnlyTasksOfThisAccountAndRegion", Effect: "Allow",
		Principal: map[string]Strings{"Service": {"ecs-tasks.amazonaws.com"}},
		Action:    Strings{"sts:AssumeRole"},
		Condition: map[string]map[string]Strings{
			"StringEquals": {"aws:SourceAccount": {r.Account}},
			"ArnLike":      {"aws:SourceArn": {"arn:" + host.Partition + ":ecs:" + r.Region + ":" + r.Account + ":*"}},
		},
	}}}
}

// trustRole adds to a trust policy that a role may assume this one; one statement for each external id, as a condition holds
// for all of its statement.
func trustRole(p *Policy, from, external string) *Policy {
	if p == nil {
		p = &Policy{Version: version}
	}
	var condition map[string]map[string]Strings
	if external != "" {
		condition = map[string]map[string]Strings{"StringEquals": {"sts:ExternalId": {external}}}
	}
	for i, s := range p.Statement {
		if s.externalID() == external {
			p.Statement[i].Principal["AWS"] = appendNew(s.Principal["AWS"], from)
			return p
		}
	}
	p.Statement = append(p.Statement, Statement{
		Sid: fmt.Sprintf("Assume%d", len(p.Statement)+1), Effect: "Allow",
		Principal: map[string]Strings{"AWS": {from}}, Action: Strings{"sts:AssumeRole"}, Condition: condition,
	})
	return p
}

func (s Statement) externalID() string {
	if v := s.Condition["StringEquals"]["sts:ExternalId"]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Foreign lists what the owners of other accounts must allow besides: repositories whose own policies must name the role that
// comes. Permissions of one account do not reach into another.
func Foreign(r Request) []string {
	var all []string
	for _, s := range r.Registries {
		who, account := cmp.Or(r.TaskRole, "the task role"), cmp.Or(r.Account, accountOf(r.TaskRole))
		if n := len(s.Identity.Roles); n > 0 {
			who = s.Identity.Roles[n-1]
			account = accountOf(who)
		}
		if r.Access != Refresh && !s.Host.Public && account != "" && account != s.Host.Account {
			all = appendNew(all, fmt.Sprintf("the repositories of %s belong to another account: their repository policies must allow the same actions to %s", s.Host.Name, who))
		}
	}
	return all
}

// accountOf is the fifth field of an ARN.
func accountOf(arn string) string {
	if f := strings.Split(arn, ":"); len(f) > 4 {
		return f[4]
	}
	return ""
}
