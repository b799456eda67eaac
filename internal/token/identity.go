package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"ecr-refresher/internal/fault"
)

// identities is a tree: the task role at the root, and under each identity the roles that are assumed from it, so that
// chains with a common beginning assume it once.
type identities struct {
	cfg  aws.Config
	opts Options

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
}

// identity is a cached source of credentials whose failures are classified.
type identity struct {
	cache  *aws.CredentialsCache // nil where the credentials are not ours to drop
	parent *identity
	from   aws.CredentialsProvider
}

func newIdentities(cfg aws.Config, opts Options) *identities {
	root := &identity{from: taskRole{cfg.Credentials, opts.AllowInstanceRole}}
	root.cache, _ = cfg.Credentials.(*aws.CredentialsCache)
	return &identities{cfg: cfg, opts: opts, root: root, nodes: map[step]*identity{}}
}

// of returns the identity that a scope is asked for as.
func (ids *identities) of(s Scope) *identity {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	at := ids.root
	roles := strings.Fields(s.Roles)
	for i, role := range roles {
		key := step{roles: strings.Join(roles[:i+1], " "), sessionName: s.SessionName, duration: s.Duration}
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
	client := sts.NewFromConfig(ids.cfg, func(o *sts.Options) {
		o.Credentials = parent
		o.Retryer = aws.NopRetryer{}
	})
	provider := stscreds.NewAssumeRoleProvider(client, role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = ids.opts.SessionName
		if key.sessionName != "" {
			o.RoleSessionName = key.sessionName
		}
		if key.externalID != "" {
			o.ExternalID = &key.externalID
		}
		o.Duration = time.Hour // the most that AWS gives to a session that is itself assumed from one, as the task role's is
		if key.duration != 0 {
			o.Duration = key.duration
		}
	})
	cache := aws.NewCredentialsCache(assumedRole{provider, role, ids.opts.Timeout, parent}, func(o *aws.CredentialsCacheOptions) {
		o.ExpiryWindow = 5 * time.Minute
	})
	return &identity{cache: cache, parent: parent, from: cache}
}

// Retrieve returns the credentials, cached while they are good.
func (id *identity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	return id.from.Retrieve(ctx)
}

// invalidate drops what is cached on the whole way to this identity.
func (id *identity) invalidate() {
	for ; id != nil; id = id.parent {
		if id.cache != nil {
			id.cache.Invalidate()
		}
	}
}

// taskRole classifies the failures of the credentials that the environment offers.
type taskRole struct {
	provider      aws.CredentialsProvider
	allowInstance bool
}

func (t taskRole) Retrieve(ctx context.Context) (aws.Credentials, error) {
	const op = "get the task role's credentials"
	if !t.allowInstance && fromInstance(t.provider) {
		return aws.Credentials{}, &fault.Error{
			Class: fault.NoCredentials, Op: op,
			Err:  errors.New("the task has no role: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set"),
			Cure: "give the task definition a taskRoleArn; to use the EC2 instance's role on purpose, set --allow-instance-role",
		}
	}
	creds, err := t.provider.Retrieve(ctx)
	if err == nil {
		return creds, nil
	}
	v := classify(err)
	if fromInstance(t.provider) {
		return aws.Credentials{}, &fault.Error{
			Class: fault.NoCredentials, Op: "get the instance role's credentials", Err: &spoken{v.text, err},
			Cure: "give the task definition a taskRoleArn, or the instance a role that the task can reach (hop limit 2)",
		}
	}
	return aws.Credentials{}, &fault.Error{
		Class: fault.CredentialsUnavailable, Op: op, Err: &spoken{v.text, err},
		Cure: "the ECS agent's credential endpoint does not serve us yet; if it stays so, see the agent on the host and that the role in taskRoleArn exists",
	}
}

// fromInstance reports whether the SDK's chain ended at the EC2 instance's metadata.
func fromInstance(p aws.CredentialsProvider) bool {
	s, ok := p.(aws.CredentialProviderSource)
	return ok && slices.Contains(s.ProviderSources(), aws.CredentialSourceIMDS)
}

// assumedRole classifies the failures of one step of a chain and gives it a deadline: the cache above it calls with a
// context that never ends, and one hung answer would hold every later call.
type assumedRole struct {
	provider aws.CredentialsProvider
	role     string
	timeout  time.Duration
	parent   *identity
}

func (a assumedRole) Retrieve(ctx context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	creds, err := a.provider.Retrieve(ctx)
	if err == nil {
		return creds, nil
	}
	if known, ok := errors.AsType[*fault.Error](err); ok { // an earlier step
		return aws.Credentials{}, known
	}
	v := classify(err)
	if v.class == fault.AccessDenied || v.class == fault.BadRequest {
		v.class = fault.AssumeRole
		v.cure = fmt.Sprintf("allow sts:AssumeRole on %s in the policy of the identity before it, and name that identity (and the external id) in the role's trust policy", a.role)
	}
	return aws.Credentials{}, &fault.Error{Class: v.class, Op: "assume " + a.role, Cure: v.cure, Err: &spoken{v.text, err}}
}
