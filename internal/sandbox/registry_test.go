package sandbox

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const privateHost = "123456789012.dkr.ecr.us-west-2.amazonaws.com"

func remoteOptions(t *testing.T, s *Sandbox, password string) []remote.Option {
	return []remote.Option{
		remote.WithTransport(s.Transport()), remote.WithContext(t.Context()),
		remote.WithAuth(&authn.Basic{Username: "AWS", Password: password}),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes(),
	}
}

// push writes an image and reads it back.
func push(t *testing.T, s *Sandbox, host, password string) {
	t.Helper()
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remoteOptions(t, s, password)...); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Image(ref, remoteOptions(t, s, password)...)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := img.Digest()
	if d, err := got.Digest(); err != nil || d != want {
		t.Errorf("digest %v, want %v (%v)", d, want, err)
	}
}

// issue makes a token without the API.
func issue(s *Sandbox, region string, public bool, life time.Duration) string {
	t := Token{Password: randomBase64(100), Region: region, Public: public, Issued: s.now(), Expires: s.now().Add(life)}
	s.vault.addToken(t)
	return t.Password
}

func TestRegistryPushAndPull(t *testing.T) {
	s := start(t, Config{})
	private, public := issue(s, "us-west-2", false, time.Hour), issue(s, "us-east-1", true, time.Hour)
	for _, host := range []string{
		privateHost, "123456789012.dkr.ecr-fips.us-west-2.amazonaws.com", "210987654321.dkr.ecr.us-west-2.amazonaws.com",
		"123456789012.dkr-ecr.us-west-2.on.aws", "123456789012.dkr-ecr-fips.us-west-2.on.aws", "registry.corp.example",
		strings.TrimPrefix(s.URL(), "http://"),
	} {
		push(t, s, host, private)
	}
	push(t, s, "public.ecr.aws", public)
	push(t, s, "ecr-public.aws.com", public)
}

func TestRegistryKeepsAccountsApart(t *testing.T) {
	s := start(t, Config{})
	password := issue(s, "us-west-2", false, time.Hour)
	push(t, s, privateHost, password)
	ref, _ := name.ParseReference("210987654321.dkr.ecr.us-west-2.amazonaws.com/app:1")
	_, err := remote.Image(ref, remoteOptions(t, s, password)...)
	var te *transport.Error
	if !errors.As(err, &te) || te.StatusCode != http.StatusNotFound {
		t.Errorf("another account's registry: %v", err)
	}
}

func TestRegistryRefuses(t *testing.T) {
	for _, row := range []struct {
		name, host, user string
		region           string
		public           bool
		life             time.Duration
		revoke, unknown  bool
		status           int
		text             string
	}{
		{name: "good", status: 200},
		{name: "last second", life: 5 * time.Second, status: 200},
		{name: "no credentials", user: "-", status: 401, text: "UNAUTHORIZED"},
		{name: "another user", user: "aws", status: 401, text: "UNAUTHORIZED"},
		{name: "not issued", unknown: true, status: 401, text: "UNAUTHORIZED"},
		{name: "expired", life: -time.Second, status: 403, text: "expired. Reauthenticate"},
		{name: "revoked", revoke: true, status: 403, text: "expired. Reauthenticate"},
		{name: "another region", region: "eu-west-1", status: 403, text: "DENIED"},
		{name: "public on private", public: true, status: 403, text: "DENIED"},
		{name: "private on public", host: "public.ecr.aws", status: 403, text: "DENIED"},
		{name: "public", host: "public.ecr.aws", public: true, region: "us-east-1", status: 200},
		{name: "no such region", host: "123456789012.dkr.ecr.us-west-2.amazonaws.com.cn", status: 404},
		{name: "an API host", host: "api.ecr.us-west-2.amazonaws.com", status: 404},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, Config{})
			if row.region == "" {
				row.region = "us-west-2"
			}
			if row.life == 0 {
				row.life = time.Hour
			}
			password := issue(s, row.region, row.public, row.life)
			if row.revoke {
				s.RevokeTokens()
			}
			if row.unknown {
				password = randomBase64(100)
			}
			if row.host == "" {
				row.host = privateHost
			}
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+row.host+"/v2/", nil)
			switch row.user {
			case "-":
			case "":
				req.SetBasicAuth("AWS", password)
			default:
				req.SetBasicAuth(row.user, password)
			}
			res, body := do(t, &http.Client{Transport: s.Transport()}, req)
			if res.StatusCode != row.status || !strings.Contains(body, row.text) {
				t.Errorf("got %d %s", res.StatusCode, body)
			}
			if row.status != 404 && res.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
				t.Error("no Docker-Distribution-Api-Version")
			}
			want := ""
			if row.status == 401 {
				want = `Basic realm="https://` + row.host + `/",service="ecr.amazonaws.com"`
			}
			if got := res.Header.Get("Www-Authenticate"); got != want {
				t.Errorf("Www-Authenticate: %s", got)
			}
		})
	}
}
