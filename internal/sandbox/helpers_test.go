package sandbox

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/smithy-go"
)

func start(t *testing.T, cfg Config) *Sandbox {
	t.Helper()
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// environ is one of the values that a container would find.
func environ(t *testing.T, s *Sandbox, key string) string {
	t.Helper()
	for _, kv := range s.Environ() {
		if v, ok := strings.CutPrefix(kv, key+"="); ok {
			return v
		}
	}
	t.Fatalf("Environ has no %s", key)
	return ""
}

// proxied is a client as a container's environment makes it: AWS's names through CONNECT.
func proxied(t *testing.T, s *Sandbox) *http.Client {
	t.Helper()
	proxy, err := url.Parse(environ(t, s, "HTTPS_PROXY"))
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: s.ca.pool()}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// taskConfig is what the SDK makes of the task's environment, with one attempt per call.
func taskConfig(t *testing.T, s *Sandbox, region string, more ...func(*config.LoadOptions) error) aws.Config {
	t.Helper()
	t.Setenv("AWS_CA_BUNDLE", "") // where set, the SDK refuses a client of our own
	provider := endpointcreds.New(environ(t, s, "AWS_CONTAINER_CREDENTIALS_FULL_URI"), func(o *endpointcreds.Options) {
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = &http.Client{Timeout: 20 * time.Second}
	})
	opts := append([]func(*config.LoadOptions) error{
		config.WithRegion(region), config.WithHTTPClient(proxied(t, s)), config.WithCredentialsProvider(provider),
		config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	}, more...)
	cfg, err := config.LoadDefaultConfig(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func getToken(ctx context.Context, cfg aws.Config, opts ...func(*ecr.Options)) (*ecr.GetAuthorizationTokenOutput, error) {
	return ecr.NewFromConfig(cfg, opts...).GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
}

// codeOf is "STATUS Code" of an API error, "" of none, and the text of any other.
func codeOf(err error) string {
	if err == nil {
		return ""
	}
	var api smithy.APIError
	var status interface{ HTTPStatusCode() int }
	if errors.As(err, &api) && errors.As(err, &status) {
		return http.StatusText(status.HTTPStatusCode()) + " " + api.ErrorCode()
	}
	return err.Error()
}
