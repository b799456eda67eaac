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
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"ecr-refresher/internal/fault"
)

// Options are the settings of a [Client]; the zero value is right on ECS.
type Options struct {
	Version           string        // of the program, for the user agent
	Region            string        // of the task; STS is asked there
	SessionName       string        // of assumed roles, where a scope names none; default "ecr-refresher"
	AllowInstanceRole bool          // use the EC2 instance's role where the task has none
	Timeout           time.Duration // of one step: a call to STS, an answer to a /v2/ request; default 10 s
	MaxConns          int           // idle connections kept; default 64
}

// Client obtains tokens. It makes one attempt per call: retrying is the caller's. It is safe for use by many goroutines.
type Client struct {
	opts Options
	cfg  aws.Config
	http *awshttp.BuildableClient
	ids  *identities

	mu  sync.Mutex
	api map[Scope]getter // kept for ever: an SDK client remembers the server's clock for signing
}

// getter is one API, bound to a scope.
type getter func(context.Context) (answer, middleware.Metadata, error)

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
		t.IdleConnTimeout = 10 * time.Second // the next call is hours away
	})
	state := imds.ClientDisabled
	if opts.AllowInstanceRole {
		state = imds.ClientDefaultEnableState
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(opts.Region),
		config.WithHTTPClient(client),
		config.WithAppID("ecr-refresher-"+opts.Version),
		config.WithEC2IMDSClientEnableState(state),
		config.WithLogger(logging.Nop{}),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) {
			// The SDK's own client here has no response timeout and takes no context: one hung request would wedge every
			// later one. A proxy must not see these either.
			o.HTTPClient = &http.Client{Timeout: endpointTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
			o.Retryer = aws.NopRetryer{}
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("read the AWS settings: %w", err)
	}
	// LoadDefaultConfig returns a client of its own where AWS_CA_BUNDLE adds roots: the registry must be asked with it too.
	if c, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		client = c
	}
	c := &Client{opts: opts, cfg: cfg, http: client, api: map[Scope]getter{}}
	c.ids = newIdentities(cfg, opts)
	return c, nil
}

// endpointTimeout bounds one request to the container credential endpoint, which is on the same host.
const endpointTimeout = 2 * time.Second

// Check says whether a scope can be asked for at all with the endpoints of the environment.
func (c *Client) Check(s Scope) error {
	if s.Region == "" {
		return errors.New("the region is not known")
	}
	if (s.FIPS || s.DualStack) && (c.cfg.BaseEndpoint != nil || s.Endpoint != "") {
		return errors.New("a custom endpoint (AWS_ENDPOINT_URL or endpoint=) cannot be used with a FIPS or dual-stack registry: the SDK refuses it")
	}
	return nil
}

// Token asks for the token of a scope, once. It ends when ctx does. Every error is a [fault.Error].
func (c *Client) Token(ctx context.Context, s Scope) (Token, error) {
	id := c.ids.of(s)
	t, err := c.token(ctx, s)
	if fault, ok := errors.AsType[*fault.Error](err); ok && rejectsCredentials(fault.Err) {
		// The SDK neither retries such an answer nor drops the credentials that it cached.
		id.invalidate()
		t, err = c.token(ctx, s)
	}
	if err != nil {
		return Token{}, err
	}
	if creds, err := id.Retrieve(ctx); err == nil { // cached: they signed the call
		t.CredentialProvider = creds.Source
		if creds.CanExpire {
			t.CredentialsExpire = creds.Expires
		}
	}
	return t, nil
}

func (c *Client) token(ctx context.Context, s Scope) (Token, error) {
	op := "get a token for " + s.String()
	a, meta, err := c.getter(s)(ctx)
	if err != nil {
		if known, ok := errors.AsType[*fault.Error](err); ok { // the credentials' edge has classified it
			return Token{}, known
		}
		v := classify(err)
		return Token{}, &fault.Error{Class: v.class, Op: op, Cure: v.cure, Err: &spoken{v.text, err}}
	}
	issued, ok := awsmiddleware.GetServerTime(meta)
	if !ok {
		issued = time.Now()
	}
	t, err := parse(a, s, issued)
	if err != nil {
		return Token{}, &fault.Error{Class: fault.InvalidResponse, Op: op, Err: err, Cure: "see whether a proxy or a custom endpoint answers in place of AWS"}
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

func (c *Client) getter(s Scope) getter {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.api[s]
	if !ok {
		g = c.newGetter(s)
		c.api[s] = g
	}
	return g
}

func (c *Client) newGetter(s Scope) getter {
	if s.Public {
		api := ecrpublic.NewFromConfig(c.cfg, func(o *ecrpublic.Options) {
			o.Region = s.Region
			o.Credentials = c.ids.of(s)
			o.Retryer = aws.NopRetryer{}
			if s.Endpoint != "" {
				o.BaseEndpoint = &s.Endpoint
			}
			if s.DualStack {
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
			}
		})
		return func(ctx context.Context) (answer, middleware.Metadata, error) {
			out, err := api.GetAuthorizationToken(ctx, &ecrpublic.GetAuthorizationTokenInput{})
			if err != nil {
				return answer{}, middleware.Metadata{}, err
			}
			if out.AuthorizationData == nil {
				return answer{}, out.ResultMetadata, nil
			}
			d := out.AuthorizationData
			return answer{token: d.AuthorizationToken, expires: d.ExpiresAt}, out.ResultMetadata, nil
		}
	}
	api := ecr.NewFromConfig(c.cfg, func(o *ecr.Options) {
		o.Region = s.Region
		o.Credentials = c.ids.of(s)
		o.Retryer = aws.NopRetryer{}
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
	return func(ctx context.Context) (answer, middleware.Metadata, error) {
		out, err := api.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
		if err != nil {
			return answer{}, middleware.Metadata{}, err
		}
		if len(out.AuthorizationData) == 0 { // seen: an empty list and no error
			return answer{}, out.ResultMetadata, nil
		}
		d := out.AuthorizationData[0]
		return answer{token: d.AuthorizationToken, expires: d.ExpiresAt, endpoint: d.ProxyEndpoint}, out.ResultMetadata, nil
	}
}
