package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/iam"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/token"
)

func (e *exam) assumeRole(ctx context.Context) []Result {
	var chains []scope
	for _, s := range e.scopes {
		if s.Roles != "" {
			chains = append(chains, s)
		}
	}
	switch {
	case len(e.scopes) == 0:
		return skip("because the registries are not known (registries)")
	case len(chains) == 0:
		return ok("no registry names a role: the task role itself is used")
	case e.client == nil || !e.hasCreds:
		return skip("because there are no credentials to assume a role with (credentials)")
	}
	told := map[string]bool{} // steps that chains have in common
	var all []Result
	for _, s := range chains {
		for _, r := range e.chain(ctx, s) {
			if key := r.Of + r.Seen; !told[key] {
				told[key] = true
				all = append(all, r)
			}
		}
	}
	return all
}

// chain assumes the roles of a scope one after another.
func (e *exam) chain(ctx context.Context, s scope) []Result {
	if s.bad {
		return nil
	}
	roles := strings.Fields(s.Roles)
	before, arn := "the task role", e.taskRole()
	var results []Result
	for i, role := range roles {
		name := role
		if len(roles) > 1 {
			name = fmt.Sprintf("%s (%d of %d)", role, i+1, len(roles))
		}
		if host := e.dead(s.urls[:1]); host != "" {
			e.noIdentity[s.Scope] = true
			return append(results, of(name, skip("because "+host+" does not answer (api)"))...)
		}
		c, err := e.client.Credentials(ctx, s.Scope, i+1)
		if err != nil {
			e.noIdentity[s.Scope] = true
			paste := ""
			if class, _ := fault.ClassOf(err); class == fault.AssumeRole {
				last := i == len(roles)-1
				paste = deniedCall{as: arn, actions: iam.Strings{"sts:AssumeRole"}, role: role, external: last && s.ExternalID != ""}.paste(err)
			}
			results = append(results, mild(s.optional, of(name, failed(err, paste)))...)
			for j := i + 1; j < len(roles); j++ {
				results = append(results, of(fmt.Sprintf("%s (%d of %d)", roles[j], j+1, len(roles)), skip("because the role before it is not assumed"))...)
			}
			return results
		}
		results = append(results, of(name, ok("assumed by %s, %s", before, until(c.Expires)))...)
		before, arn = role, role
	}
	return results
}

// dead is the first host among URLs that does not answer, empty where all do.
func (e *exam) dead(urls []string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, at := range urls {
		if u, err := url.Parse(at); err == nil && e.unreachable[u.Host] {
			return u.Host
		}
	}
	return ""
}

func (e *exam) tokenCheck(ctx context.Context) []Result {
	switch {
	case len(e.scopes) == 0:
		return skip("because the registries are not known (registries)")
	case e.client == nil || !e.hasCreds:
		return skip("because there are no credentials to ask with (credentials)")
	}
	return each(e.scopes, func(s scope) []Result { return mild(s.optional, of(s.String(), e.issue(ctx, s))) })
}

// issue asks for the token of one scope.
func (e *exam) issue(ctx context.Context, s scope) []Result {
	switch host := e.dead(s.urls); {
	case s.bad:
		return skip("because it cannot be asked for (aws_settings)")
	case e.noIdentity[s.Scope]:
		return skip("because its role is not assumed (assume_role)")
	case host != "":
		return skip("because " + host + " does not answer (api)")
	}
	start := time.Now()
	t, err := e.client.Token(ctx, s.Scope)
	if err != nil {
		paste := ""
		if class, _ := fault.ClassOf(err); class == fault.AccessDenied {
			call := deniedCall{as: e.roleOf(strings.Fields(s.Roles)), actions: iam.Strings{"ecr:GetAuthorizationToken"}}
			if s.Public {
				call.actions = iam.Strings{"ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"}
			}
			paste = call.paste(err)
		}
		return failed(err, paste)
	}
	e.mu.Lock()
	e.tokens[s.Scope] = t
	e.mu.Unlock()
	return ok("issued %s, valid for %s", took(time.Since(start)), t.Life().Round(time.Second))
}

func (e *exam) accepted(ctx context.Context) []Result {
	if len(e.specs) == 0 {
		return skip("because the registries are not known (registries)")
	}
	return each(indexes(e.specs), func(i int) []Result {
		s := e.specs[i]
		host := s.Host.Name
		e.mu.Lock()
		t, got := e.tokens[token.ScopeOf(s)]
		e.mu.Unlock()
		switch {
		case !got:
			return of(host, skip("because there is no token for it (token)"))
		case e.dead([]string{"https://" + host + "/v2/"}) != "":
			return of(host, skip("because it does not answer (registry_host)"))
		}
		if err := e.client.Accepts(ctx, host, t.Auth); err != nil {
			paste := ""
			if errors.Is(err, token.ErrForbidden) {
				paste = e.transfer(s)
			}
			return mild(s.Optional, of(host, failed(err, paste)))
		}
		return of(host, ok("it accepts the token"))
	})
}

// transfer are the statements that the policy of a VPC endpoint needs for the consumers of a registry.
func (e *exam) transfer(s registry.Spec) string {
	if s.Host.Public { // it has no endpoint in a VPC
		return ""
	}
	var lines []string
	for _, one := range iam.Transfer(s.Host, e.roleOf(s.Identity.Roles)) {
		lines = append(lines, one.Line())
	}
	return strings.Join(lines, "\n")
}
