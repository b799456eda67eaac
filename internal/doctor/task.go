package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/token"
)

const metadataURI = "ECS_CONTAINER_METADATA_URI_V4"

// derived reports whether a registry can only be known from the task.
func (e *exam) derived() bool {
	return len(e.Registries) == 0 || slices.ContainsFunc(e.Registries, func(s registry.Spec) bool { return s.Host.Name == "" })
}

func (e *exam) metadata(ctx context.Context) []Result {
	if e.Task == nil {
		const cure = "run it in an ECS task (agent 1.39.0, Fargate platform 1.4.0 or later); anywhere else name the registry\nREFRESHER_REGISTRIES=ACCOUNT.dkr.ecr.REGION.amazonaws.com"
		if e.derived() {
			return fail(metadataURI+" is not set: outside ECS the task's own registry is not known", cure)
		}
		return warn(metadataURI+" is not set: this is no ECS task, or an old agent's", cure)
	}
	start := time.Now()
	task, err := e.Config.Task(ctx)
	if err != nil {
		seen, cure := err.Error(), cmp.Or(fault.CureOf(err), "see the ECS agent on the host")
		if e.derived() {
			return fail(seen, cure)
		}
		return warn(seen+" (not needed: every registry is named)", cure)
	}
	e.task = &task
	seen := fmt.Sprintf("%s, cluster %s", task.ARN, task.Cluster)
	if task.LaunchType != "" {
		seen += ", " + task.LaunchType
	}
	return ok("%s; answered %s", seen, took(time.Since(start)))
}

func (e *exam) hostClock(context.Context) []Result {
	switch {
	case e.task == nil:
		return skip("because the task metadata are not known (metadata)")
	case e.task.ClockStatus == "":
		return ok("ECS does not measure the clock here")
	case e.task.ClockStatus != "SYNCHRONIZED":
		return warn(fmt.Sprintf("the host's clock is %s, off by up to %s", e.task.ClockStatus, e.task.ClockBound),
			"on EC2 let chrony follow the Amazon Time Sync Service; on Fargate replace the task\nserver 169.254.169.123 prefer iburst minpoll 4 maxpoll 4")
	case e.task.ClockBound > time.Second:
		return warn(fmt.Sprintf("the host's clock may be off by %s", e.task.ClockBound),
			"on EC2 let chrony follow the Amazon Time Sync Service; on Fargate replace the task\nserver 169.254.169.123 prefer iburst minpoll 4 maxpoll 4")
	}
	return ok("%s, off by at most %s", e.task.ClockStatus, e.task.ClockBound)
}

func (e *exam) regionCheck(context.Context) []Result {
	type source struct{ name, region string }
	sources := []source{
		{"REFRESHER_REGION or --region", e.Region}, {"AWS_REGION", e.getenv("AWS_REGION")},
		{"AWS_DEFAULT_REGION", e.getenv("AWS_DEFAULT_REGION")},
	}
	if e.task != nil {
		sources = append(sources, source{"the task's ARN", e.task.Region})
	}
	sources = slices.DeleteFunc(sources, func(s source) bool { return s.region == "" })
	if len(sources) == 0 {
		if !e.derived() {
			e.region = e.Registries[0].Host.Region // as the refresher does
			return ok("%s, by the name of the first registry: STS is asked there", e.region)
		}
		return fail("nobody says which region it is", "set it in the container's environment\nAWS_REGION=us-west-2")
	}
	used := sources[0]
	if registry.CheckRegion(used.region) != nil {
		return fail(fmt.Sprintf("%q, by %s, is no AWS region", used.region, used.name), "correct or remove "+used.name+": the task's ARN says the region\nAWS_REGION=us-west-2")
	}
	e.region, e.regionBy = used.region, used.name
	for _, s := range sources[1:] {
		if s.region != used.region {
			return warn(fmt.Sprintf("%s, by %s; but %s says %s", used.region, used.name, s.name, s.region),
				fmt.Sprintf("remove %s, unless the registry in %s is meant", used.name, used.region))
		}
	}
	return ok("%s, by %s", used.region, used.name)
}

// seeRegion names the region where a host is named after it, and who says which it is.
func (e *exam) seeRegion(host string) string {
	if e.regionBy == "" || !strings.Contains(host, e.region) {
		return "see that the region exists"
	}
	return fmt.Sprintf("see that the region %s exists (by %s)", e.region, e.regionBy)
}

func (e *exam) registries(context.Context) []Result {
	if e.Wrong {
		return skip("because REFRESHER_REGISTRIES is wrong (settings)")
	}
	specs, account := slices.Clone(e.Registries), ""
	if len(specs) == 0 {
		specs = []registry.Spec{{Name: registry.DefaultName}}
	}
	if e.task != nil {
		account = e.task.Account
	}
	if e.derived() && account == "" {
		return skip("because the task's account is not known (metadata)")
	}
	if e.derived() && e.region == "" {
		return skip("because the region is not known (region)")
	}
	own := ""
	if len(e.hiding()) == 0 && e.task != nil {
		own = registry.PartitionOfARN(e.task.ARN)
	} else if len(e.hiding()) == 0 && e.inTask() {
		own = registry.PartitionOf(e.region)
	}
	var results []Result
	for i, s := range specs {
		resolved, err := s.Resolve(account, e.region)
		if err != nil {
			return of(s.Name, fail(err.Error(), "correct --registry (REFRESHER_REGISTRIES), see docs/registries.md"))
		}
		specs[i] = resolved
		seen := "account " + resolved.Host.Account
		switch {
		case resolved.Host.Public:
			seen = "ECR Public"
		case account != "" && resolved.Host.Account == account:
			seen += ", the task's own"
		case account != "":
			seen += ", not the task's"
		}
		if resolved.Name != resolved.Host.Name {
			seen = resolved.Host.Name + ", " + seen
		}
		if roles := resolved.Identity.Roles; len(roles) > 0 {
			seen += ", as " + roles[len(roles)-1]
		}
		if resolved.Optional {
			seen += ", optional"
		}
		results = append(results, of(resolved.Name, ok("%s", seen))...)
	}
	if err := registry.CheckPartition(specs, own); err != nil {
		const cure = "take the registry off, and run a refresher of its own in its partition"
		var wrong []Result
		for line := range strings.SplitSeq(err.Error(), "\n") {
			wrong = append(wrong, fail(line, cure)...)
		}
		return wrong
	}
	if err := registry.CheckSpecs(specs); err != nil {
		return fail(err.Error(), "name each registry once; a registry that is the task's own is 'default' too")
	}
	e.specs = specs
	for _, s := range specs {
		sc := token.ScopeOf(s)
		i := slices.IndexFunc(e.scopes, func(have scope) bool { return have.Scope == sc })
		if i < 0 {
			e.scopes = append(e.scopes, scope{Scope: sc, optional: s.Optional})
			continue
		}
		e.scopes[i].optional = e.scopes[i].optional && s.Optional
	}
	return results
}

func (e *exam) awsSettings(ctx context.Context) []Result {
	if len(e.scopes) == 0 {
		return skip("because the registries are not known (registries)")
	}
	region, id := e.region, ""
	if region == "" {
		region = e.specs[0].Host.Region
	}
	if e.task != nil {
		id = e.task.ID
	}
	client, err := e.Client(ctx, region, id)
	if err != nil {
		cure := "correct what the message names: AWS_CA_BUNDLE, AWS_PROFILE, AWS_CONFIG_FILE or another AWS_ variable of the container"
		if len(e.hiding()) > 0 {
			cure = "remove " + strings.Join(e.hiding(), ", ") + " from the container's environment: the task role needs none"
		}
		return fail(err.Error(), cure)
	}
	e.client = client
	var results []Result
	for i := range e.scopes {
		s := &e.scopes[i]
		err := client.Check(s.Scope)
		if err == nil {
			s.urls, err = client.Endpoints(ctx, s.Scope)
		}
		if err != nil {
			s.bad = true
			results = append(results, of(s.String(), fail(err.Error(), "remove endpoint=, AWS_ENDPOINT_URL, AWS_USE_FIPS_ENDPOINT or AWS_USE_DUALSTACK_ENDPOINT, whichever is not meant"))...)
		}
	}
	for _, s := range token.RefusedSettings(e.getenv) {
		if !s.Used {
			results = append(results, warn(s.Variable+" is ignored: the AWS SDK refuses its value, and the setting is not used here",
				"remove it from the container's environment, or set it to "+s.Allowed)...)
		}
	}
	if results != nil {
		return results
	}
	return ok("it does; %s", custom(e))
}

// custom says which variables send the SDK elsewhere: people forget them.
func custom(e *exam) string {
	var names []string
	for _, kv := range e.Environ {
		if name, value, _ := strings.Cut(kv, "="); value != "" && strings.HasPrefix(name, "AWS_ENDPOINT_URL") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if names == nil {
		return "no custom endpoint"
	}
	return "custom endpoints by " + strings.Join(names, ", ")
}
