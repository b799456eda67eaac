package main

import (
	"fmt"
	"slices"
	"strings"

	"ecr-refresher/internal/iam"
	"ecr-refresher/internal/registry"
)

// policyFlags are the flags of policy. The registries have the variable that the refresher has: they are the same.
type policyFlags struct {
	Registry         []string `sep:"none" twin:"REFRESHER_REGISTRIES" placeholder:"HOST[?OPTION…]" help:"A registry, as 'refresher run' takes it. Repeat it for several. Default: the task's own."`
	Access           string   `twin:"-" default:"pull" placeholder:"ACCESS" help:"'refresh' (tokens only), 'pull', or 'push', which has pull in it."`
	Repository       []string `twin:"-" sep:"none" placeholder:"NAME" help:"A repository that is pulled or pushed, such as team/app, team/* or '*'. Repeat it for several."`
	PullThroughCache bool     `twin:"-" help:"Allow a pull to create the repository of a pull-through cache, and to fill it."`
	TaskRole         string   `twin:"-" placeholder:"ARN" help:"The task role. Needed where a registry has role_arn: the first role must trust it."`
	Account          string   `twin:"-" placeholder:"ACCOUNT" help:"The task's account. Default: that of the task role. Needed for 'default'."`
	Region           string   `twin:"-" placeholder:"REGION" help:"The task's region. Needed for 'default'."`
	Print            string   `twin:"-" default:"all" placeholder:"WHAT" help:"'all', or of the task role alone 'permissions' or 'trust', ready to be pasted. JSON only."`
	Format           string   `twin:"-" default:"json" placeholder:"FORMAT" help:"'json', or 'cloudformation': a template, also JSON."`
}

type policySettings struct {
	request       iam.Request
	roles         []iam.Role
	print, format string
}

func (f policyFlags) settings() (policySettings, error) {
	var problems []string
	wrong := func(flag string, err error) {
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				problems = append(problems, flag+line)
			}
		}
	}
	s := policySettings{request: iam.Request{
		Access: iam.Access(f.Access), Repositories: f.Repository, PullThrough: f.PullThroughCache,
		TaskRole: f.TaskRole, Account: f.Account, Region: f.Region,
	}}
	var err error
	s.print, err = oneOf(f.Print, "all", "permissions", "trust")
	wrong("--print: ", err)
	s.format, err = oneOf(f.Format, "json", "cloudformation")
	wrong("--format: ", err)
	r := &s.request
	if arn := strings.Split(f.TaskRole, ":"); r.Account == "" && r.Region != "" && len(arn) == 6 {
		r.Account = arn[4]
	}
	r.Registries, err = parseRegistries(f.Registry)
	wrong("--registry (REFRESHER_REGISTRIES): ", err)
	if err == nil && len(r.Registries) == 0 {
		r.Registries = []registry.Spec{{Name: registry.DefaultName}}
	}
	own := slices.ContainsFunc(r.Registries, func(s registry.Spec) bool { return s.Name == registry.DefaultName })
	switch {
	case r.Account != "" && r.Region != "":
		for i, spec := range r.Registries {
			if r.Registries[i], err = spec.Resolve(r.Account, r.Region); err != nil {
				wrong("--account, --region: ", err)
			}
		}
	case own:
		problems = append(problems, "--account, --region: give both: the registry 'default' is that of the task's account and region")
	case s.format == "cloudformation" || s.print == "trust":
		problems = append(problems, "--account, --region: give both: the trust policy names them")
	}
	if s.format == "cloudformation" && s.print != "all" {
		problems = append(problems, "--print: a template is for all; leave it off, or choose --format=json")
	}
	if len(problems) == 0 {
		s.roles, err = iam.Roles(*r)
		wrong("--", err)
	}
	if len(problems) > 0 {
		return policySettings{}, &usageError{problems}
	}
	return s, nil
}

// policy prints the documents; what they cannot say goes to standard error.
func policy(inv invocation, s policySettings) int {
	var doc []byte
	var err error
	switch {
	case s.format == "cloudformation":
		doc, err = iam.CloudFormation(s.roles, s.request.Account)
	case s.print == "permissions":
		doc, err = s.roles[0].Permissions.JSON()
	case s.print == "trust":
		doc, err = s.roles[0].Trust.JSON()
	default:
		doc, err = iam.JSON(s.roles)
	}
	if err == nil {
		_, err = inv.out.Write(doc)
	}
	if err != nil {
		fmt.Fprintln(inv.err, "refresher:", err)
		return exitFailed
	}
	for _, note := range s.notes() {
		fmt.Fprintln(inv.err, "refresher:", note)
	}
	return exitOK
}

func (s policySettings) notes() []string {
	r := s.request
	notes := iam.Foreign(r)
	if r.Account == "" {
		notes = append(notes, "no trust policies for ECS are printed: they name the task's --account and --region")
	}
	if r.Access == iam.Push && slices.ContainsFunc(r.Registries, func(s registry.Spec) bool { return s.Host.Public }) {
		notes = append(notes, "for ECR Public these are the rights to a login, which is enough to pull; who pushes there needs ecr-public:… on the repositories besides")
	}
	if r.PullThrough {
		notes = append(notes, "where the cache's repository creation template sets tags, ecr:TagResource is needed besides")
	}
	if s.format == "json" && s.print != "all" && len(s.roles) > 2 {
		notes = append(notes, fmt.Sprintf("%d more roles have documents: --print=all shows them", len(s.roles)-1))
	}
	if s.format == "cloudformation" {
		notes = append(notes, "deploy it with --capabilities CAPABILITY_NAMED_IAM; where roles are in several accounts, in each of them, the task's first")
	}
	return notes
}
