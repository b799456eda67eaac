package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ecr-refresher/internal/cli"
	"ecr-refresher/internal/iam"
	"ecr-refresher/internal/registry"
)

type policySettings struct {
	request       iam.Request
	roles         []iam.Role
	print, format string
}

// table describes the flags of policy. The registries have the variable that the refresher has: they are the same.
func (s *policySettings) table() []cli.Option {
	r := &s.request
	return []cli.Option{{
		Name: "registry", Variable: "REFRESHER_REGISTRIES", Value: "HOST[?OPTION…]",
		Take: s.takeRegistries,
		Help: "A registry, as 'refresher run' takes it. Repeat it for several. Default: the task's own.",
	}, {
		Name: "access", Value: "ACCESS", Default: "pull",
		Take: cli.Last((*string)(&r.Access), cli.OneOf(iam.Accesses()...)),
		Help: "'refresh' (tokens only), 'pull', or 'push', which has pull in it.",
	}, {
		Name: "repository", Value: "NAME",
		Take: s.takeRepositories,
		Help: "A repository that is pulled or pushed, such as team/app, team/* or '*'. Repeat it for several.",
	}, {
		Name: "pull-through-cache",
		Take: cli.Last(&r.PullThrough, cli.Toggle),
		Help: "Allow a pull to create the repository of a pull-through cache, and to fill it.",
	}, {
		Name: "task-role", Value: "ARN",
		Take: cli.Last(&r.TaskRole, parseRole),
		Help: "The task role. Needed where a registry has role_arn: the first role must trust it.",
	}, {
		Name: "account", Value: "ACCOUNT",
		Take: cli.Last(&r.Account, cli.Text),
		Help: "The task's account. Default: that of the task role. Needed for 'default'.",
	}, {
		Name: "region", Value: "REGION",
		Take: cli.Last(&r.Region, cli.Text),
		Help: "The task's region. Needed for 'default'.",
	}, {
		Name: "print", Value: "WHAT", Default: "all",
		Take: cli.Last(&s.print, cli.OneOf("all", "permissions", "trust")),
		Help: "'all', or of the task role alone 'permissions' or 'trust', ready to be pasted. JSON only.",
	}, {
		Name: "format", Value: "FORMAT", Default: "json",
		Take: cli.Last(&s.format, cli.OneOf("json", "cloudformation")),
		Help: "'json', or 'cloudformation': a template, also JSON.",
	}}
}

func (s *policySettings) takeRegistries(texts []string) (err error) {
	s.request.Registries, err = parseRegistries(texts)
	if err == nil && len(s.request.Registries) == 0 {
		s.request.Registries = []registry.Spec{{Name: registry.DefaultName}}
	}
	return err
}

func (s *policySettings) takeRepositories(texts []string) error {
	s.request.Repositories = texts
	var errs []error
	for _, name := range texts {
		errs = append(errs, iam.CheckRepository(name))
	}
	return errors.Join(errs...)
}

func parseRole(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return s, iam.CheckRole(s)
}

// resolve makes the roles of the request, or says what is wrong between the flags. Where one of them is wrong by itself, it
// does not ask for the roles.
func (s *policySettings) resolve(sound bool) (problems []string) {
	wrong := func(flag string, err error) {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			problems = append(problems, flag+line)
		}
	}
	r := &s.request
	if arn := strings.Split(r.TaskRole, ":"); r.Account == "" && r.Region != "" && len(arn) == 6 {
		r.Account = arn[4]
	}
	own := slices.ContainsFunc(r.Registries, func(s registry.Spec) bool { return s.Name == registry.DefaultName })
	var err error
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
	if sound && len(problems) == 0 {
		if s.roles, err = iam.Roles(*r); err != nil {
			wrong("--", err)
		}
	}
	return problems
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
	if err != nil {
		fmt.Fprintln(inv.err, "refresher:", err)
		return exitFailed
	}
	if _, err := inv.out.Write(doc); err != nil { // run reports it
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
