package token

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"ecr-refresher/internal/fault"
)

// identities is a tree: the task role at the root, and under each identity the roles that are assumed from it, so that
// chains with a common beginning assume it once.
type identities struct {
	cfg    func() aws.Config
	opts   Options
	caught func(value any, err *error) // makes an error of a panic

	mu    sync.Mutex
	root  *identity
	nodes map[step]*identity
}

// step is one edge of the tree: the whole way to a role, and how its session is asked for.
type step struct {
	roles       string // up to and with this one, separated by a space
	externalID  string
	sessionName string
	duration    time.Duration
	fips, dual  bool // by way of which endpoints: those of the registry that it is for
}

// identity is a cached source of credentials whose failures are classified. The cache lets go of a caller whose ctx ends,
// but its own question to the provider never hears of that: the provider must end by itself, or it would hold every later
// caller too.
type identity struct {
	cache   aws.CredentialsProvider // an *aws.CredentialsCache, where they can be dropped
	explain func(error) *fault.Error
	parent  *identity // nil for the task role
	last    atomic.Pointer[aws.Credentials]
}

// expiryWindow is how long before their end credentials are replaced.
const expiryWindow = 5 * time.Minute

func newIdentities(cfg func() aws.Config, opts Options, caught func(any, *error)) *identities {
	found := cfg().Credentials
	task := taskRole{instance: fromInstance(found), allowed: opts.AllowInstanceRole}
	root := &identity{cache: found, explain: task.explain}
	if task.instance && !task.allowed {
		root.cache = noCredentials{}
	}
	return &identities{cfg: cfg, opts: opts, caught: caught, root: root, nodes: map[step]*identity{}}
}

// of returns the identity that a scope is asked for as.
func (ids *identities) of(s Scope) *identity {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	at := ids.root
	roles := strings.Fields(s.Roles)
	for i, role := range roles {
		key := step{roles: strings.Join(roles[:i+1], " "), sessionName: s.SessionName, duration: s.Duration, fips: s.FIPS, dual: s.DualStack}
		if i == len(roles)-1 {
			key.externalID = s.ExternalID
		}
		next, ok := ids.nodes[key]
		if !ok {
			next = ids.assume(at, role, key)
			ids.nodes[key] = next
		}
		at = next
	}
	return at
}

func (ids *identities) assume(parent *identity, role string, key step) *identity {
	in := &sts.AssumeRoleInput{
		RoleArn:         &role,
		RoleSessionName: &ids.opts.SessionName,
		DurationSeconds: aws.Int32(3600), // the most that AWS gives to a session that is itself assumed from one, as the task role's is
	}
	if key.sessionName != "" {
		in.RoleSessionName = &key.sessionName
	}
	if key.externalID != "" {
		in.ExternalId = &key.externalID
	}
	if key.duration != 0 {
		in.DurationSeconds = aws.Int32(int32(key.duration / time.Second))
	}
	client := sts.NewFromConfig(ids.cfg(), func(o *sts.Options) {
		o.Credentials = parent
	}, stsEndpoint(key.fips, key.dual))
	cache := aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (creds aws.Credentials, err error) {
		defer func() { ids.caught(recover(), &err) }()  // the cache calls this in a goroutine of its own
		if _, err := parent.Retrieve(ctx); err != nil { // has a deadline of its own, and says which step failed
			return aws.Credentials{}, err
		}
		ctx, cancel := context.WithTimeout(ctx, ids.opts.Timeout)
		defer cancel()
		out, err := client.AssumeRole(ctx, in)
		if err != nil {
			return aws.Credentials{}, err
		}
		return sessionOf(out)
	}), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = expiryWindow })
	step := assumedRole{asked{role: role, region: ids.opts.Region}}
	if before := strings.Fields(key.roles); len(before) > 1 {
		step.as = before[len(before)-2]
	}
	explain := func(err error) *fault.Error {
		f := step.explain(err)
		if dns := (*net.DNSError)(nil); errors.As(err, &dns) && ids.opts.RegionBy != "" && strings.Contains(dns.Name, ids.opts.Region) {
			f.Cure = regionCure(ids.opts)
		}
		return f
	}
	return &identity{cache: cache, explain: explain, parent: parent}
}

// stsEndpoint has STS asked by way of the same kind of endpoint as the registry's API.
func stsEndpoint(fips, dual bool) func(*sts.Options) {
	return func(o *sts.Options) {
		if o.BaseEndpoint != nil { // AWS_ENDPOINT_URL_STS: the SDK refuses both together
			return
		}
		if fips {
			o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
		}
		if dual {
			o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
		}
	}
}

// sessionOf makes credentials of STS's answer, whose every member can be missing.
func sessionOf(out *sts.AssumeRoleOutput) (aws.Credentials, error) {
	c := out.Credentials
	if c == nil || c.AccessKeyId == nil || c.SecretAccessKey == nil || c.SessionToken == nil || c.Expiration == nil {
		return aws.Credentials{}, errIncomplete
	}
	return aws.Credentials{
		AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken,
		CanExpire: true, Expires: *c.Expiration,
		Source: "AssumeRoleProvider", // in the SDK's words
	}, nil
}

// errIncomplete is an answer of good form without its content.
var errIncomplete = errors.New("the answer lacks a part of the credentials")

// Retrieve returns the credentials, cached while they are good.
func (id *identity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := id.cache.Retrieve(ctx)
	if err == nil && !creds.HasKeys() {
		err = errIncomplete
	}
	if err == nil && !inHeader(creds) {
		return aws.Credentials{}, &fault.Error{
			Class: fault.CredentialsUnavailable, Op: "get the task role's credentials",
			Err: fmt.Errorf("a value from %s has a line end or another control character in it", clip(creds.Source)),
			Cure: "remove it; in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN it is often the line end of a secret that was stored with one; " +
				"on ECS remove these variables, the task role needs none",
		}
	}
	if err == nil {
		id.last.Store(&creds)
		return creds, nil
	}
	if known, ok := errors.AsType[*fault.Error](err); ok { // an earlier step
		return aws.Credentials{}, known
	}
	return aws.Credentials{}, id.explain(err)
}

// inHeader reports whether the credentials can be sent: a header has no control characters.
func inHeader(creds aws.Credentials) bool {
	return !strings.ContainsFunc(creds.AccessKeyID+creds.SecretAccessKey+creds.SessionToken, unicode.IsControl)
}

// invalidate drops what is cached on the whole way to this identity.
func (id *identity) invalidate() {
	for ; id != nil; id = id.parent {
		if cache, ok := id.cache.(*aws.CredentialsCache); ok {
			cache.Invalidate()
		}
	}
}

// taskRole explains the failures of the credentials that the environment offers.
type taskRole struct {
	instance bool // the task has no role: the SDK's chain ended at the EC2 instance's metadata
	allowed  bool // and may use that
}

func (t taskRole) explain(err error) *fault.Error {
	v := classify(err, asked{})
	text := v.text
	switch {
	case t.instance && !t.allowed:
		return &fault.Error{
			Class: fault.NoCredentials, Op: "get the task role's credentials", Err: err,
			Cure: "give the task definition a taskRoleArn; to use the EC2 instance's role on purpose, set --allow-instance-role",
		}
	case t.instance:
		return &fault.Error{
			Class: fault.NoCredentials, Op: "get the instance role's credentials", Err: &spoken{text, err},
			Cure: "give the task definition a taskRoleArn, or the instance a role that the task can reach (hop limit 2)",
		}
	}
	if process, ok := errors.AsType[*processcreds.ProviderError](err); ok {
		return &fault.Error{
			Class: fault.CredentialsUnavailable, Op: "get credentials by credential_process", Err: &spoken{ofProcess(process), err},
			Cure: "run the command of the profile in AWS_CONFIG_FILE by hand: what it prints may be secret and is not shown here; on ECS remove AWS_PROFILE, the task role needs none",
		}
	}
	if panicked, broken := panicked(""), v.class == fault.TLS; broken || errors.As(err, &panicked) {
		return &fault.Error{Class: v.class, Op: "get the task role's credentials", Err: &spoken{text, err}, Cure: v.cure}
	}
	return &fault.Error{
		Class: fault.CredentialsUnavailable, Op: "get the task role's credentials", Err: &spoken{text, err},
		Cure: "the ECS agent's credential endpoint does not serve us yet; if it stays so, see the agent on the host and that the role in taskRoleArn exists",
	}
}

// ofProcess says how a credential_process failed. It quotes nothing that the process printed, as the SDK's error does.
func ofProcess(err *processcreds.ProviderError) string {
	text := err.Err.Error()
	var exit *exec.ExitError
	var start *exec.Error
	switch {
	case errors.As(err, &exit):
		return "the process failed: " + exit.String()
	case errors.As(err, &start):
		return "the process cannot be started: " + start.Err.Error()
	case strings.HasPrefix(text, "missing "), strings.HasPrefix(text, "wrong version "):
		return clip(text)
	}
	return "its output is not the JSON of credentials"
}

// fromInstance reports whether the SDK's chain ended at the EC2 instance's metadata.
func fromInstance(p aws.CredentialsProvider) bool {
	s, ok := p.(aws.CredentialProviderSource)
	return ok && slices.Contains(s.ProviderSources(), aws.CredentialSourceIMDS)
}

// noCredentials stands in for the instance's role where that must not be used, so that nobody asks for it.
type noCredentials struct{}

func (noCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("the task has no role: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set")
}

// assumedRole explains the failures of one step of a chain.
type assumedRole struct{ asked }

func (r assumedRole) explain(err error) *fault.Error {
	v := classify(err, r.asked)
	if v.class == fault.BadRequest && v.cure == wrongCall.cure { // a page without a code may be STS's refusal
		v.cure = denialCure(Denial{}, r.asked)
	}
	if v.class == fault.AccessDenied || v.class == fault.BadRequest {
		v.class = fault.AssumeRole
	}
	return &fault.Error{Class: v.class, Op: "assume " + r.role, Cure: v.cure, Err: &spoken{v.text, err}}
}
