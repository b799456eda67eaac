package token

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
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
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/trust"
)

// Options are the settings of a [Client]; the zero value is right on ECS.
type Options struct {
	Version           string        // of the program, for the user agent
	Region            string        // of the task; STS is asked there
	RegionBy          string        // the variable that gives Region, for errors; empty where none does
	SessionName       string        // of assumed roles, where a scope names none; default "ecr-refresher"
	AllowInstanceRole bool          // use the EC2 instance's role where the task has none
	Timeout           time.Duration // of one step: a call to STS, an answer to a /v2/ request; default 10 s
	CABundle          string        // where crypto/x509 finds the machine's roots, to try AWS's first; empty: all are parsed at once
	MaxConns          int           // to one API, idle ones too; default 64, and never more than maxConnsPerHost

	// OnPanic is called with what a panic of the SDK became and with its stack, which holds no data; nil where nobody wants it.
	// It may be called by several goroutines at the same time.
	OnPanic func(err error, stack []byte)
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
	ask        func(context.Context) (answer, middleware.Metadata, error)
	base       *string // the custom endpoint, of the scope, the environment or the shared configuration; nil for AWS's own
	fips, dual bool    // by the scope or by the environment
	region     string
	variable   string // that names a custom endpoint for this API alone
	resolve    func(ctx context.Context, base *string, fips, dual bool) (smithyendpoints.Endpoint, error)
}

// url is where the API is asked.
func (a api) url(ctx context.Context) (string, error) {
	e, err := a.resolve(ctx, a.base, a.fips, a.dual)
	return e.URI.String(), err
}

// own reports whether a URL that was asked is AWS's own for this API and region, wherever it was configured: one of its public
// names, or the name of an interface endpoint in a VPC.
func (a api) own(ctx context.Context, asked *url.URL) bool {
	if asked == nil || asked.Scheme != "https" || asked.Port() != "" && asked.Port() != "443" {
		return false
	}
	host := strings.ToLower(asked.Hostname())
	for _, fips := range []bool{false, true} {
		for _, dual := range []bool{false, true} {
			e, err := a.resolve(ctx, nil, fips, dual)
			if err != nil {
				continue // no such endpoint in this partition
			}
			// api.ecr.us-west-2.amazonaws.com has vpce-ID.api.ecr.us-west-2.vpce.amazonaws.com.
			in := "." + a.region + "."
			name, suffix, _ := strings.Cut(e.URI.Host, in)
			vpce := strings.HasPrefix(host, "vpce-") && strings.HasSuffix(host, "."+name+in+"vpce."+suffix)
			if vpce || host == e.URI.Host {
				return true
			}
		}
	}
	return false
}

// New reads the AWS settings of the environment (proxy, CA bundle, endpoints, credentials) and calls nobody. An error means
// that a setting is wrong.
func New(ctx context.Context, opts Options) (made *Client, err error) {
	if opts.Timeout <= 0 {
		opts.Timeout = 10 * time.Second
	}
	if opts.MaxConns <= 0 {
		opts.MaxConns = 64
	}
	if opts.SessionName == "" {
		opts.SessionName = "ecr-refresher"
	}
	c := &Client{opts: opts, apis: map[Scope]api{}}
	defer func() { c.caught(recover(), &err) }()
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = opts.MaxConns
		t.MaxConnsPerHost = min(opts.MaxConns, maxConnsPerHost)
		t.IdleConnTimeout = 10 * time.Second // the next call is hours away
		t.MaxResponseHeaderBytes = maxAnswer
		t.OnProxyConnectResponse = checkConnect
	})
	instance := imds.ClientDisabled
	if opts.AllowInstanceRole {
		instance = imds.ClientDefaultEnableState
	}
	// For the container's credential endpoint and the instance's. The SDK's own client for the first has no response timeout and
	// takes no context: one hung request would wedge every later one. A proxy must not see these either.
	direct := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxAnswer}
	local := &http.Client{
		Timeout:       min(opts.Timeout, localTimeout),
		Transport:     survivable{bounded{direct}},
		CheckRedirect: NoRedirect,
	}
	watch := []func(*middleware.Stack) error{c.watch}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithDefaultsMode(aws.DefaultsModeLegacy), // "auto" would ask the EC2 instance's metadata now
		config.WithRegion(opts.Region),
		config.WithHTTPClient(client),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), // for all: STS and the credential endpoints, too
		config.WithAppID(appID(opts.Version)),
		config.WithLogger(logging.Nop{}),
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = expiryWindow }),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = local }),
		config.WithAPIOptions(watch),
		config.WithEC2IMDSClientEnableState(instance),
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) {
			o.Client = imds.New(imds.Options{HTTPClient: local, ClientEnableState: instance, Retryer: aws.NopRetryer{}, APIOptions: watch})
		}),
	)
	var notURL *url.Error
	switch {
	case errors.As(err, &notURL) && notURL.Op == "parse": // the only URL that is parsed so early
		return nil, errors.New("AWS_CONTAINER_CREDENTIALS_FULL_URI: must be a URL; ECS sets it, so remove it from the task definition")
	case err != nil:
		return nil, fmt.Errorf("read the AWS settings: %w", &spoken{clip(innermost(err)), err})
	}
	// The transport comes from cfg, not from client: LoadDefaultConfig gives AWS_CA_BUNDLE's roots to a copy. And no redirect is
	// followed, as the SDK's own client would.
	calls := cfg.HTTPClient.(*awshttp.BuildableClient).GetTransport()
	if own := calls.TLSClientConfig; own != nil && own.RootCAs != nil { // those of AWS_CA_BUNDLE are for this endpoint too
		direct.TLSClientConfig = &tls.Config{RootCAs: own.RootCAs, MinVersion: tls.VersionTLS12}
	}
	few := trust.Likely(opts.CABundle)
	questions := calls.Clone()
	questions.DisableKeepAlives = true // each host is asked once in hours; a pool of them would remember every name
	cfg.HTTPClient = &http.Client{Transport: bounded{trust.Transport(calls, few)}, CheckRedirect: NoRedirect}
	c.cfg = func() aws.Config { return cfg }
	c.http = &http.Client{Transport: trust.Transport(questions, few), CheckRedirect: NoRedirect}
	c.ids = newIdentities(c.cfg, opts, c.caught)
	return c, nil
}

// NoRedirect is the CheckRedirect of a client that sends or receives a secret, which is meant for one host: it follows no
// redirect.
func NoRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

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
func (c *Client) Check(s Scope) (err error) {
	defer func() { c.caught(recover(), &err) }()
	if s.Region == "" {
		return errors.New("the region is not known: set --region or AWS_REGION")
	}
	if s.Roles != "" {
		if base := sts.NewFromConfig(c.cfg()).Options().BaseEndpoint; base != nil && !isEndpoint(*base) {
			return notEndpoint("AWS_ENDPOINT_URL_STS")
		}
	}
	api := c.api(s)
	if api.base != nil && !isEndpoint(*api.base) {
		return notEndpoint(api.variable)
	}
	if api.base != nil && (api.fips || api.dual) {
		return errors.New("a custom endpoint (endpoint=, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_ECR) cannot be used with FIPS or dual-stack: the SDK refuses it")
	}
	return nil
}

// notEndpoint does not repeat the value, which may hold a password.
func notEndpoint(variable string) error {
	return fmt.Errorf("%s, AWS_ENDPOINT_URL or endpoint_url in the AWS configuration file: must be %s", variable, anEndpoint)
}

// Token asks for the token of a scope, once. It ends when ctx does. Every error is a [fault.Error].
func (c *Client) Token(ctx context.Context, s Scope) (t Token, err error) {
	defer func() {
		if v := recover(); v != nil {
			c.caught(v, &err)
			verdict := classify(err, askedOf(s))
			err = &fault.Error{Class: verdict.class, Op: "get a token for " + s.String(), Err: err, Cure: verdict.cure}
		}
	}()
	id := c.ids.of(s)
	t, err = c.token(ctx, s)
	if rejectsCredentials(err) {
		// The SDK neither retries such an answer nor drops the credentials that it cached.
		id.invalidate()
		t, err = c.token(ctx, s)
	}
	if err != nil {
		return Token{}, err
	}
	if creds := id.last.Load(); creds != nil && creds.CanExpire { // they signed the call
		t.CredentialsExpire = creds.Expires.Add(expiryWindow) // which the cache took off
	}
	return t, nil
}

func (c *Client) token(ctx context.Context, s Scope) (Token, error) {
	op := "get a token for " + s.String()
	api := c.api(s)
	a, meta, err := c.ask(ctx, api)
	if err != nil {
		if known, ok := errors.AsType[*fault.Error](err); ok { // the credentials' edge has classified it
			return Token{}, known
		}
		v := classify(err, askedOf(s))
		if dns := (*net.DNSError)(nil); errors.As(err, &dns) && dns.Name == api.host(ctx) {
			v.cure = c.noHost(s, api)
		}
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
	t.CustomEndpoint = !api.own(ctx, askedURL(meta))
	return t, nil
}

// host is the name of the host that is asked.
func (a api) host(ctx context.Context) string {
	e, err := a.resolve(ctx, a.base, a.fips, a.dual)
	if err != nil {
		return ""
	}
	return e.URI.Hostname()
}

// noHost is the cure where the name of an API's host does not resolve.
func (c *Client) noHost(s Scope, a api) string {
	switch {
	case a.base != nil:
		return "see the host name in endpoint=, " + a.variable + ", AWS_ENDPOINT_URL or endpoint_url, and that the VPC resolves it"
	case a.fips:
		return "see that ECR has a FIPS endpoint in " + s.Region + " (AWS_USE_FIPS_ENDPOINT, or a registry of dkr.ecr-fips), and that the VPC resolves names"
	case c.opts.RegionBy != "" && s.Region == c.opts.Region && !s.Public:
		return regionCure(c.opts)
	}
	return "see that the region " + s.Region + " exists, and that the VPC resolves names"
}

// regionCure is the cure of a name that does not resolve because of the task's region.
func regionCure(opts Options) string {
	return "see that the region " + opts.Region + " exists, which " + opts.RegionBy + " gives, and that the VPC resolves names"
}

// ask makes one call of an API. A panic is an error.
func (c *Client) ask(ctx context.Context, a api) (answer answer, meta middleware.Metadata, err error) {
	defer func() { c.caught(recover(), &err) }()
	return a.ask(ctx)
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
		// AWS_USE_FIPS_ENDPOINT would lead to a host that does not exist: ECR Public has no FIPS endpoint.
		o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
	})
	o := client.Options()
	a := api{
		base: o.BaseEndpoint, region: s.Region, variable: "AWS_ENDPOINT_URL_ECR_PUBLIC",
		dual: o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled,
		resolve: func(ctx context.Context, base *string, fips, dual bool) (smithyendpoints.Endpoint, error) {
			return o.EndpointResolverV2.ResolveEndpoint(ctx, ecrpublic.EndpointParameters{
				Region: &o.Region, Endpoint: base, UseFIPS: &fips, UseDualStack: &dual,
			})
		},
	}
	a.ask = func(ctx context.Context) (answer, middleware.Metadata, error) {
		out, err := client.GetAuthorizationToken(ctx, &ecrpublic.GetAuthorizationTokenInput{})
		if err != nil {
			return answer{}, middleware.Metadata{}, err
		}
		if out.AuthorizationData == nil {
			return answer{}, out.ResultMetadata, nil
		}
		d := out.AuthorizationData
		return answer{token: d.AuthorizationToken, expires: d.ExpiresAt}, out.ResultMetadata, nil
	}
	return a
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
	a := api{
		base: o.BaseEndpoint, region: s.Region, variable: "AWS_ENDPOINT_URL_ECR",
		fips: o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled,
		dual: o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled,
		resolve: func(ctx context.Context, base *string, fips, dual bool) (smithyendpoints.Endpoint, error) {
			return o.EndpointResolverV2.ResolveEndpoint(ctx, ecr.EndpointParameters{
				Region: &o.Region, Endpoint: base, UseFIPS: &fips, UseDualStack: &dual,
			})
		},
	}
	a.ask = func(ctx context.Context) (answer, middleware.Metadata, error) {
		out, err := client.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
		if err != nil {
			return answer{}, middleware.Metadata{}, err
		}
		if len(out.AuthorizationData) == 0 { // seen: an empty list and no error
			return answer{}, out.ResultMetadata, nil
		}
		d := out.AuthorizationData[0]
		answer := answer{token: d.AuthorizationToken, expires: d.ExpiresAt, registry: d.ProxyEndpoint}
		if a.base != nil { // a proxy, an emulator: it may name what it likes
			answer.registry = nil
		}
		return answer, out.ResultMetadata, nil
	}
	return a
}
