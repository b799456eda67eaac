package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func TestECRIssuesATokenOverEveryEndpoint(t *testing.T) {
	for _, row := range []struct {
		name, task, region, host, proxy string
		fips, dual                      bool
	}{
		{"plain", "us-west-2", "us-west-2", "api.ecr.us-west-2.amazonaws.com", "us-west-2.amazonaws.com", false, false},
		{"another region", "us-west-2", "eu-central-1", "api.ecr.eu-central-1.amazonaws.com", "eu-central-1.amazonaws.com", false, false},
		{"fips", "us-west-2", "us-west-2", "api.ecr-fips.us-west-2.amazonaws.com", "us-west-2.amazonaws.com", true, false},
		{"dual-stack", "us-west-2", "us-west-2", "ecr.us-west-2.api.aws", "us-west-2.amazonaws.com", false, true},
		{"fips and dual-stack", "us-west-2", "us-west-2", "ecr-fips.us-west-2.api.aws", "us-west-2.amazonaws.com", true, true},
		{"gov", "us-gov-west-1", "us-gov-west-1", "api.ecr.us-gov-west-1.amazonaws.com", "us-gov-west-1.amazonaws.com", false, false},
		{"china", "cn-north-1", "cn-north-1", "api.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1.amazonaws.com.cn", false, false},
		{"china dual-stack", "cn-north-1", "cn-north-1", "", "cn-north-1.amazonaws.com.cn", false, true},
		{"europe sovereign", "eusc-de-east-1", "eusc-de-east-1", "api.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1.amazonaws.eu", false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, Config{Region: row.task, ClockOffset: 3 * time.Minute})
			var opts []func(*config.LoadOptions) error
			if row.fips {
				opts = append(opts, config.WithUseFIPSEndpoint(aws.FIPSEndpointStateEnabled))
			}
			if row.dual {
				opts = append(opts, config.WithUseDualStackEndpoint(aws.DualStackEndpointStateEnabled))
			}
			out, err := getToken(t.Context(), taskConfig(t, s, row.region, opts...))
			if err != nil {
				t.Fatal(err)
			}
			d := out.AuthorizationData[0]
			if want := "https://123456789012.dkr.ecr." + row.proxy; aws.ToString(d.ProxyEndpoint) != want {
				t.Errorf("proxyEndpoint = %s, want %s", *d.ProxyEndpoint, want)
			}
			plain, err := base64.StdEncoding.DecodeString(aws.ToString(d.AuthorizationToken))
			if password, ok := strings.CutPrefix(string(plain), "AWS:"); err != nil || !ok || password != s.Tokens()[0].Password {
				t.Errorf("the token is not base64 of AWS:password (%v)", err)
			}
			if n := len(*d.AuthorizationToken); n < 2000 || n > 3500 {
				t.Errorf("the token has %d bytes", n)
			}
			serverTime, _ := awsmiddleware.GetServerTime(out.ResultMetadata)
			if life := d.ExpiresAt.Sub(serverTime); life < 12*time.Hour-2*time.Second || life > 12*time.Hour+2*time.Second {
				t.Errorf("life on the server's clock = %v", life)
			}
			if off := time.Until(serverTime); off < 2*time.Minute || off > 4*time.Minute {
				t.Errorf("the Date header is %v ahead, want 3m", off)
			}
			if id, ok := awsmiddleware.GetRequestIDMetadata(out.ResultMetadata); !ok || id == "" {
				t.Error("no request id")
			}
			r := s.Requests()
			if len(r) != 1 || r[0].Status != 200 || r[0].Region != row.region || r[0].Operation != "GetAuthorizationToken" ||
				!strings.HasSuffix(r[0].Principal, ":assumed-role/sandbox-task/0123456789abcdef0123456789abcdef") || r[0].UserAgent == "" ||
				row.host != "" && r[0].Host != row.host {
				t.Errorf("Requests = %+v", r)
			}
			if c := s.Calls(); c["ecr:GetAuthorizationToken"] != 1 || c["credentials"] != 1 {
				t.Errorf("Calls = %v", c)
			}
		})
	}
}

func TestECRByCustomEndpoint(t *testing.T) {
	s := start(t, Config{})
	for _, endpoint := range []string{s.URL(), "https://vpce-0abc-def.api.ecr.us-west-2.vpce.amazonaws.com", "https://ecr.corp.example"} {
		_, err := getToken(t.Context(), taskConfig(t, s, "us-west-2"), func(o *ecr.Options) { o.BaseEndpoint = &endpoint })
		if err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	_, err := getToken(t.Context(), taskConfig(t, s, "us-west-2"), func(o *ecr.Options) { o.BaseEndpoint = aws.String("https://api.ecr.us-west-2.amazonaws.com.cn") })
	if err == nil {
		t.Error("a name that AWS does not have was answered")
	}
}

func TestECRPublic(t *testing.T) {
	s := start(t, Config{})
	get := func(cfg aws.Config, opts ...func(*ecrpublic.Options)) (*ecrpublic.GetAuthorizationTokenOutput, error) {
		return ecrpublic.NewFromConfig(cfg, opts...).GetAuthorizationToken(t.Context(), &ecrpublic.GetAuthorizationTokenInput{})
	}
	out, err := get(taskConfig(t, s, "us-east-1"))
	if err != nil || out.AuthorizationData == nil || out.AuthorizationData.ExpiresAt == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	if !s.Tokens()[0].Public {
		t.Error("the token is not marked public")
	}
	if _, err := get(taskConfig(t, s, "us-east-1", config.WithUseDualStackEndpoint(aws.DualStackEndpointStateEnabled))); err != nil {
		t.Errorf("dual-stack: %v", err)
	}
	_, err = get(taskConfig(t, s, "us-west-2"), func(o *ecrpublic.Options) { o.BaseEndpoint = aws.String(s.URL()) })
	if got := codeOf(err); got != "Bad Request InvalidSignatureException" {
		t.Errorf("another region: %s", got)
	}
}

// edit changes the request after signing it, or before.
func edit(where string, f func(*http.Request)) func(*config.LoadOptions) error {
	mw := smithymiddleware.FinalizeMiddlewareFunc("edit", func(ctx context.Context, in smithymiddleware.FinalizeInput, next smithymiddleware.FinalizeHandler) (smithymiddleware.FinalizeOutput, smithymiddleware.Metadata, error) {
		f(in.Request.(*smithyhttp.Request).Request)
		return next.HandleFinalize(ctx, in)
	})
	return config.WithAPIOptions([]func(*smithymiddleware.Stack) error{func(st *smithymiddleware.Stack) error {
		if where == "after" {
			return st.Finalize.Insert(mw, "Signing", smithymiddleware.After)
		}
		return st.Finalize.Insert(mw, "Signing", smithymiddleware.Before)
	}})
}

// fixedCredentials are those of the task with one part replaced.
func fixedCredentials(t *testing.T, s *Sandbox, f func(*aws.Credentials)) func(*config.LoadOptions) error {
	c, err := taskConfig(t, s, "us-west-2").Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f(&c)
	return config.WithCredentialsProvider(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil }))
}

// signerFunc signs as the test wants.
type signerFunc func(context.Context, aws.Credentials, *http.Request, string, string, string, time.Time) error

func (f signerFunc) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time, _ ...func(*v4.SignerOptions)) error {
	return f(ctx, c, r, hash, service, region, at)
}

func TestSignatureIsVerified(t *testing.T) {
	const (
		badSignature = "Bad Request InvalidSignatureException"
		badKey       = "Bad Request UnrecognizedClientException"
	)
	sign := v4.NewSigner().SignHTTP
	with := func(f signerFunc) func(*ecr.Options) { return func(o *ecr.Options) { o.HTTPSignerV4 = f } }
	for _, row := range []struct {
		name  string
		cfg   func(*testing.T, *Sandbox) func(*config.LoadOptions) error
		opt   func(*ecr.Options)
		plain bool // the plain listener as the endpoint: its name tells no region
		want  string
	}{
		{name: "as it should be"},
		{name: "unknown key", want: badKey, cfg: func(t *testing.T, s *Sandbox) func(*config.LoadOptions) error {
			return fixedCredentials(t, s, func(c *aws.Credentials) { c.AccessKeyID = "ASIA" + randomText(16) })
		}},
		{name: "keys of a user", want: badKey, cfg: func(t *testing.T, s *Sandbox) func(*config.LoadOptions) error {
			return fixedCredentials(t, s, func(c *aws.Credentials) { c.AccessKeyID, c.SessionToken = "AKIA"+randomText(16), "" })
		}},
		{name: "wrong secret", want: badSignature, cfg: func(t *testing.T, s *Sandbox) func(*config.LoadOptions) error {
			return fixedCredentials(t, s, func(c *aws.Credentials) { c.SecretAccessKey = randomBase64(30) })
		}},
		{name: "no session token", want: badKey, cfg: func(t *testing.T, s *Sandbox) func(*config.LoadOptions) error {
			return fixedCredentials(t, s, func(c *aws.Credentials) { c.SessionToken = "" })
		}},
		{name: "another session token", want: badKey, cfg: func(t *testing.T, s *Sandbox) func(*config.LoadOptions) error {
			return fixedCredentials(t, s, func(c *aws.Credentials) { c.SessionToken = randomBase64(450) })
		}},
		{name: "expired key", want: "Bad Request ExpiredTokenException", cfg: func(t *testing.T, s *Sandbox) func(*config.LoadOptions) error {
			defer s.ExpireCredentials()
			return fixedCredentials(t, s, func(*aws.Credentials) {})
		}},
		{name: "unsigned", want: "Bad Request MissingAuthenticationTokenException", cfg: func(*testing.T, *Sandbox) func(*config.LoadOptions) error {
			return edit("after", func(r *http.Request) { r.Header.Del("Authorization") })
		}},
		{name: "another scheme", want: "Bad Request IncompleteSignatureException", cfg: func(*testing.T, *Sandbox) func(*config.LoadOptions) error {
			return edit("after", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") })
		}},
		{name: "no date", want: "Bad Request IncompleteSignatureException", cfg: func(*testing.T, *Sandbox) func(*config.LoadOptions) error {
			return edit("after", func(r *http.Request) { r.Header.Del("X-Amz-Date") })
		}},
		{name: "a signed header changed", want: badSignature, cfg: func(*testing.T, *Sandbox) func(*config.LoadOptions) error {
			return edit("after", func(r *http.Request) {
				r.Header.Set("Amz-Sdk-Invocation-Id", "x")
				r.Header.Set("Content-Type", "application/x-amz-json-1.1;x=y")
			})
		}},
		{name: "an unsigned X-Amz header", want: badSignature, cfg: func(*testing.T, *Sandbox) func(*config.LoadOptions) error {
			return edit("after", func(r *http.Request) { r.Header.Set("X-Amz-Other", "x") })
		}},
		{name: "false body hash", want: badSignature, cfg: func(*testing.T, *Sandbox) func(*config.LoadOptions) error {
			return edit("before", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", strings.Repeat("0", 64)) })
		}},
		{name: "unsigned body", want: badSignature, opt: with(func(ctx context.Context, c aws.Credentials, r *http.Request, _, service, region string, at time.Time) error {
			return sign(ctx, c, r, strings.Repeat("0", 64), service, region, at)
		})},
		{name: "path changed", want: badSignature, cfg: func(*testing.T, *Sandbox) func(*config.LoadOptions) error {
			return edit("after", func(r *http.Request) { r.URL.Path = "/other" })
		}},
		{name: "signed for another service", want: badSignature, opt: with(func(ctx context.Context, c aws.Credentials, r *http.Request, hash, _, region string, at time.Time) error {
			return sign(ctx, c, r, hash, "ecr-public", region, at)
		})},
		{name: "signed for another region", want: badSignature, opt: with(func(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, _ string, at time.Time) error {
			return sign(ctx, c, r, hash, service, "eu-west-1", at)
		})},
		{name: "signed for no region", want: badSignature, opt: with(func(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, _ string, at time.Time) error {
			return sign(ctx, c, r, hash, service, "nowhere", at)
		}), plain: true},
		{name: "4 minutes behind", opt: with(func(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time) error {
			return sign(ctx, c, r, hash, service, region, at.Add(-4*time.Minute))
		})},
		{name: "6 minutes behind", want: badSignature, opt: with(func(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time) error {
			return sign(ctx, c, r, hash, service, region, at.Add(-6*time.Minute))
		})},
		{name: "4 minutes ahead", opt: with(func(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time) error {
			return sign(ctx, c, r, hash, service, region, at.Add(4*time.Minute))
		})},
		{name: "6 minutes ahead", want: badSignature, opt: with(func(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time) error {
			return sign(ctx, c, r, hash, service, region, at.Add(6*time.Minute))
		})},
		{name: "keys of another partition", want: badKey, opt: func(o *ecr.Options) { o.Region = "cn-north-1" }},
		{name: "unknown operation", want: "Bad Request UnknownOperationException", cfg: func(*testing.T, *Sandbox) func(*config.LoadOptions) error {
			return edit("before", func(r *http.Request) { r.Header.Set("X-Amz-Target", ecrTarget+".Guess") })
		}},
		{name: "unknown service", want: "Bad Request UnknownOperationException", cfg: func(*testing.T, *Sandbox) func(*config.LoadOptions) error {
			return edit("before", func(r *http.Request) { r.Header.Set("X-Amz-Target", "Guess.GetAuthorizationToken") })
		}},
		{name: "another service's target", want: "Bad Request UnknownOperationException", cfg: func(*testing.T, *Sandbox) func(*config.LoadOptions) error {
			return edit("before", func(r *http.Request) { r.Header.Set("X-Amz-Target", ecrPublicTarget+".GetAuthorizationToken") })
		}},
		{name: "not JSON 1.1", want: "Bad Request SerializationException", cfg: func(*testing.T, *Sandbox) func(*config.LoadOptions) error {
			return edit("before", func(r *http.Request) { r.Header.Set("Content-Type", "application/json") })
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, Config{})
			var load []func(*config.LoadOptions) error
			if row.cfg != nil {
				load = append(load, row.cfg(t, s))
			}
			var opts []func(*ecr.Options)
			if row.opt != nil {
				opts = append(opts, row.opt)
			}
			if row.plain {
				opts = append(opts, func(o *ecr.Options) { o.BaseEndpoint = aws.String(s.URL()) })
			}
			_, err := getToken(t.Context(), taskConfig(t, s, "us-west-2", load...), opts...)
			if got := codeOf(err); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
			if issued := len(s.Tokens()); (issued == 0) != (row.want != "") {
				t.Errorf("%d tokens issued", issued)
			}
		})
	}
}

func TestBodyMustBeAnObject(t *testing.T) {
	s := start(t, Config{})
	creds, err := taskConfig(t, s, "us-west-2").Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]int{"{}": 200, "[]": 400, "": 400} {
		r, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL()+"/", strings.NewReader(body))
		r.Header.Set("X-Amz-Target", ecrTarget+".GetAuthorizationToken")
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		sum := sha256.Sum256([]byte(body))
		if err := v4.NewSigner().SignHTTP(t.Context(), creds, r, hex.EncodeToString(sum[:]), "ecr", "us-west-2", time.Now()); err != nil {
			t.Fatal(err)
		}
		if res, text := do(t, proxied(t, s), r); res.StatusCode != want || want == 400 && !strings.Contains(text, "SerializationException") {
			t.Errorf("%q: %d %s", body, res.StatusCode, text)
		}
	}
}

// The SDK corrects its signing clock from the Date header; the sandbox must give it the reason and the means.
func TestSkewIsCorrectedBySDK(t *testing.T) {
	for _, offset := range []time.Duration{-time.Hour, time.Hour} {
		s := start(t, Config{ClockOffset: offset})
		cfg := taskConfig(t, s, "us-west-2", config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
		_, err := getToken(t.Context(), cfg)
		if got := codeOf(err); got != "Bad Request InvalidSignatureException" {
			t.Errorf("%v, one attempt: %s", offset, got)
		}
		cfg.Retryer = nil
		if _, err := getToken(t.Context(), cfg); err != nil {
			t.Errorf("%v, with the SDK's retries: %v", offset, err)
		}
	}
}

func TestSettingsAct(t *testing.T) {
	s := start(t, Config{})
	cfg := taskConfig(t, s, "us-west-2")
	s.SetTokenLife(time.Hour)
	out, err := getToken(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Until(*out.AuthorizationData[0].ExpiresAt); d < 59*time.Minute || d > time.Hour {
		t.Errorf("token life = %v", d)
	}
	s.SetLatency(time.Hour)
	s.ResetCalls()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for s.Calls()["ecr:GetAuthorizationToken"] == 0 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := getToken(ctx, cfg); err == nil {
		t.Error("an answer in spite of the latency")
	}
	for deadline := time.Now().Add(10 * time.Second); len(s.Requests()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the sandbox did not notice that the client went away")
		}
	}
	s.SetLatency(-1)
	if _, err := getToken(t.Context(), cfg); err != nil {
		t.Error(err)
	}
}

func TestNoSecretInLogOrRequests(t *testing.T) {
	var log strings.Builder
	s := start(t, Config{Log: func(line string) { log.WriteString(line + "\n") }})
	cfg := taskConfig(t, s, "us-west-2")
	if _, err := getToken(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	push(t, s, "123456789012.dkr.ecr.us-west-2.amazonaws.com", s.Tokens()[0].Password)
	if err := s.Close(); err != nil { // no line after this
		t.Fatal(err)
	}
	for _, want := range []string{"GET credentials GetCredentials 200", "POST ecr GetAuthorizationToken 200", "GET registry /v2/app/manifests/1 200"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no line %q in\n%s", want, log.String())
		}
	}
	if n := len(s.Secrets()); n != 4 {
		t.Errorf("%d secrets, want password, token, secret key and session token", n)
	}
	for _, secret := range s.Secrets() {
		if strings.Contains(log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
	if _, err := os.Stat(s.CAFile()); err == nil {
		t.Error("Close left the temporary CA behind")
	}
}
