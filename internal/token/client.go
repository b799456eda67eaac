package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/trust"
)

// Options are the settings of a [Client]; the zero value is right on ECS.
type Options struct {
	Version           string        // of the program, for the user agent
	Region            string        // of the task; STS is asked there
	SessionName       string        // of assumed roles, where a scope names none; default "ecr-refresher"
	AllowInstanceRole bool          // use the EC2 instance's role where the task has none
	Timeout           time.Duration // of one step: a call to STS, an answer to a /v2/ request; default 10 s
	MaxConns          int           // to one API, idle ones too; default 64, and never more than maxConnsPerHost
}

// Client obtains tokens. It makes one attempt per call: retrying is the caller's. It is safe for use by many goroutines.
type Client struct {
	opts Options
	cfg  func() aws.Config // a function, as it holds the environment's keys: fmt shows no more than an address
	http *http.Client      // for the registries
	ids  *identities

	mu   sync.Mutex
	apis map[Scope]api // kept for ever: an SDK client remembers the server's clock for signing
}

// api is one API of AWS, bound to a scope.
type api struct {
	ask     func(context.Context) (answer, middleware.Metadata, error)
	custom  bool // the endpoint is not AWS's own: the scope or the environment names another
	special bool // FIPS or dual-stack, by the scope or by the environment
	url     func(context.Context) (string, error)
}

// New reads the AWS settings of the environment (proxy, CA bundle, endpoints, credentials) and calls nobody. An error means
// that a setting is wrong.
func New(ctx context.Context, opts Options) (*Client, error) {
	if opts.Timeout <= 0 {
		opts.Timeout = 10 * time.Second
	}
	if opts.MaxConns <= 0 {
		opts.MaxConns = 64
	}
	if opts.SessionName == "" {
		opts.SessionName = "ecr-refresher"
	}
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = opts.MaxConns
		t.MaxConnsPerHost = min(opts.MaxConns, maxConnsPerHost)
		t.IdleConnTimeout = 10 * time.Second // the next call is hours away
		t.MaxResponseHeaderBytes = maxAnswer
	})
	instance := imds.ClientDisabled
	if opts.AllowInstanceRole {
		instance = imds.ClientDefaultEnableState
	}
	// For the container's credential endpoint and the instance's. The SDK's own client for the first has no response timeout and
	// takes no context: one hung request would wedge every later one. A proxy must not see these either.
	local := &http.Client{
		Timeout:       min(opts.Timeout, localTimeout),
		Transport:     survivable{bounded{&http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxAnswer}}},
		CheckRedirect: stay,
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(opts.Region),
		config.WithHTTPClient(client),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), // for all: STS and the credential endpoints, too
		config.WithAppID(appID(opts.Version)),
		config.WithLogger(logging.Nop{}),
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = expiryWindow }),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = local }),
		config.WithEC2IMDSClientEnableState(instance),
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) {
			o.Client = imds.New(imds.Options{HTTPClient: local, ClientEnableState: instance, Retryer: aws.NopRetryer{}})
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("read the AWS settings: %w", &spoken{clip(innermost(err)), err})
	}
	// The transport comes from cfg, not from client: LoadDefaultConfig gives AWS_CA_BUNDLE's roots to a copy. And no redirect is
	// followed, as the SDK's own client would.
	calls := cfg.HTTPClient.(*awshttp.BuildableClient).GetTransport()
	questions := calls.Clone()
	questions.DisableKeepAlives = true // each host is asked once in hours; a pool of them would remember every name
	cfg.HTTPClient = &http.Client{Transport: bounded{trust.Transport(calls)}, CheckRedirect: stay}
	c := &Client{
		opts: opts,
		cfg:  func() aws.Config { return cfg },
		http: &http.Client{Transport: trust.Transport(questions), CheckRedirect: stay},
		apis: map[Scope]api{},
	}
	c.ids = newIdentities(c.cfg, opts)
	return c, nil
}

// CloseIdle closes the connections to AWS that are not in use: the next call is hours away.
func (c *Client) CloseIdle() { c.cfg().HTTPClient.(*http.Client).CloseIdleConnections() }

// stay follows no redirect: what these clients send is a secret, meant for one host.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// appID names the program to AWS, in the 50 bytes that there are.
func appID(version string) string {
	id := "ecr-refresher-" + version
	return id[:min(len(id), 50)]
}

// maxConnsPerHost is how many connections one API is asked over at the same time. A handshake takes more of the CPU than a call
// does: the tokens of a hundred roles come sooner over 32 connections than over 64, in less memory.
const maxConnsPerHost = 32

// localTimeout bounds one request to an endpoint on the same host.
const localTimeout = 2 * time.Second

// Check says whether a scope can be asked for at all with the endpoints of the environment.
func (c *Client) Check(s Scope) error {
	if s.Region == "" {
		return errors.New("the region is not known: set --region or AWS_REGION")
	}
	if api := c.api(s); api.custom && api.special {
		return errors.New("a custom endpoint (endpoint=, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_ECR) cannot be used with FIPS or dual-stack: the SDK refuses it")
	}
	return nil
}

// Token asks for the token of a scope, once. It ends when ctx does. Every error is a [fault.Error].
func (c *Client) Token(ctx context.Context, s Scope) (Token, error) {
	id := c.ids.of(s)
	t, err := c.token(ctx, s)
	if rejectsCredentials(err) {
		// The SDK neither retries such an answer nor drops the credentials that it cached.
		id.invalidate()
		t, err = c.token(ctx, s)
	}
	if err != nil {
		return Token{}, err
	}
	if creds := id.last.Load(); creds != nil { // they signed the call
		t.CredentialProvider = creds.Source
		if creds.CanExpire {
			t.CredentialsExpire = creds.Expires.Add(expiryWindow) // which the cache took off
		}
	}
	return t, nil
}

func (c *Client) token(ctx context.Context, s Scope) (Token, error) {
	op := "get a token for " + s.String()
	a, meta, err := c.api(s).ask(ctx)
	if err != nil {
		if known, ok := errors.AsType[*fault.Error](err); ok { // the credentials' edge has classified it
			return Token{}, known
		}
		v := classify(err, askedOf(s))
		return Token{}, &fault.Error{Class: v.class, Op: op, Cure: v.cure, Err: &spoken{v.text, err}}
	}
	issued, ok := awsmiddleware.GetServerTime(meta)
	if !ok {
		issued = time.Now()
	}
	t, err := parse(a, s, issued)
	if err != nil {
		return Token{}, &fault.Error{Class: fault.InvalidResponse, Op: op, Err: err, Cure: notAWS}
	}
	return t, nil
}

// spoken is an SDK error with a text of ours: the SDK's repeats itself and may carry a URL.
type spoken struct {
	text string
	err  error
}

func (e *spoken) Error() string { return e.text }
func (e *spoken) Unwrap() error { return e.err }

// rejectsCredentials reports whether AWS refused the credentials themselves, as opposed to what they may do.
func rejectsCredentials(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode() {
	case "ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId":
		return true
	}
	return false
}

func (c *Client) api(s Scope) api {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.apis[s]
	if !ok {
		if s.Public {
			a = c.publicAPI(s)
		} else {
			a = c.privateAPI(s)
		}
		c.apis[s] = a
	}
	return a
}

func (c *Client) publicAPI(s Scope) api {
	client := ecrpublic.NewFromConfig(c.cfg(), func(o *ecrpublic.Options) {
		o.Region = s.Region
		o.Credentials = c.ids.of(s)
		if s.Endpoint != "" {
			o.BaseEndpoint = &s.Endpoint
		}
		if s.DualStack {
			o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
		}
	})
	o := client.Options()
	return api{
		custom:  o.BaseEndpoint != nil,
		special: isSpecial(o.EndpointOptions.UseFIPSEndpoint, o.EndpointOptions.UseDualStackEndpoint),
		url: func(ctx context.Context) (string, error) {
			e, err := o.EndpointResolverV2.ResolveEndpoint(ctx, ecrpublic.EndpointParameters{
				Region: &o.Region, Endpoint: o.BaseEndpoint,
				UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
				UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
			})
			return e.URI.String(), err
		},
		ask: func(ctx context.Context) (answer, middleware.Metadata, error) {
			out, err := client.GetAuthorizationToken(ctx, &ecrpublic.GetAuthorizationTokenInput{})
			if err != nil {
				return answer{}, middleware.Metadata{}, err
			}
			if out.AuthorizationData == nil {
				return answer{}, out.ResultMetadata, nil
			}
			d := out.AuthorizationData
			return answer{token: d.AuthorizationToken, expires: d.ExpiresAt}, out.ResultMetadata, nil
		},
	}
}

func (c *Client) privateAPI(s Scope) api {
	client := ecr.NewFromConfig(c.cfg(), func(o *ecr.Options) {
		o.Region = s.Region
		o.Credentials = c.ids.of(s)
		if s.Endpoint != "" {
			o.BaseEndpoint = &s.Endpoint
		}
		if s.FIPS {
			o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
		}
		if s.DualStack {
			o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
		}
	})
	o := client.Options()
	custom := o.BaseEndpoint != nil
	return api{
		custom:  custom,
		special: isSpecial(o.EndpointOptions.UseFIPSEndpoint, o.EndpointOptions.UseDualStackEndpoint),
		url: func(ctx context.Context) (string, error) {
			e, err := o.EndpointResolverV2.ResolveEndpoint(ctx, ecr.EndpointParameters{
				Region: &o.Region, Endpoint: o.BaseEndpoint,
				UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
				UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
			})
			return e.URI.String(), err
		},
		ask: func(ctx context.Context) (answer, middleware.Metadata, error) {
			out, err := client.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
			if err != nil {
				return answer{}, middleware.Metadata{}, err
			}
			if len(out.AuthorizationData) == 0 { // seen: an empty list and no error
				return answer{}, out.ResultMetadata, nil
			}
			d := out.AuthorizationData[0]
			a := answer{token: d.AuthorizationToken, expires: d.ExpiresAt, registry: d.ProxyEndpoint}
			if custom { // a proxy, an emulator: it may name what it likes
				a.registry = nil
			}
			return a, out.ResultMetadata, nil
		},
	}
}

func isSpecial(fips aws.FIPSEndpointState, dual aws.DualStackEndpointState) bool {
	return fips == aws.FIPSEndpointStateEnabled || dual == aws.DualStackEndpointStateEnabled
}
