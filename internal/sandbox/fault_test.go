package sandbox

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const assumable = "arn:aws:iam::210987654321:role/team/puller"

// callService makes the call of a service through the SDK and reduces the answer to what a fault may change.
func callService(ctx context.Context, cfg aws.Config, service string) (got answered, err error) {
	switch service {
	case "ecr":
		out, err := ecr.NewFromConfig(cfg).GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
		if err != nil || len(out.AuthorizationData) == 0 {
			return answered{}, err
		}
		d := out.AuthorizationData[0]
		return answered{true, aws.ToString(d.AuthorizationToken), d.ExpiresAt, aws.ToString(d.ProxyEndpoint)}, nil
	case "ecr-public":
		cfg.Region = "us-east-1"
		out, err := ecrpublic.NewFromConfig(cfg).GetAuthorizationToken(ctx, &ecrpublic.GetAuthorizationTokenInput{})
		if err != nil || out.AuthorizationData == nil {
			return answered{}, err
		}
		return answered{true, aws.ToString(out.AuthorizationData.AuthorizationToken), out.AuthorizationData.ExpiresAt, ""}, nil
	}
	out, err := sts.NewFromConfig(cfg).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(assumable), RoleSessionName: aws.String("task-1")})
	if err != nil || out.Credentials == nil {
		return answered{}, err
	}
	return answered{true, aws.ToString(out.Credentials.SecretAccessKey), out.Credentials.Expiration, ""}, nil
}

type answered struct {
	data     bool
	secret   string
	expires  *time.Time
	endpoint string
}

// codes are what the SDK reports by kind; a word that contains no space is looked for in the error's text.
func codes(service string) map[Kind]string {
	if service == "sts" {
		return map[Kind]string{
			AccessDenied: "Forbidden AccessDenied", Throttled: "Bad Request Throttling", Throttled429: "Too Many Requests TooManyRequestsException",
			Rate429: "Too Many Requests ThrottleException", ServerError: "Internal Server Error InternalFailure",
			Unavailable: "Service Unavailable ServiceUnavailable", BadRequest: "Bad Request ValidationError", ExpiredToken: "Forbidden ExpiredToken",
			UnrecognizedClient: "Forbidden InvalidClientTokenId", InvalidSignature: "Forbidden SignatureDoesNotMatch",
			Hang: "canceled", Slow: "canceled", Reset: "reset", Refused: "EOF", Garbage: "deserialization",
		}
	}
	return map[Kind]string{
		AccessDenied: "Bad Request AccessDeniedException", Throttled: "Bad Request ThrottlingException",
		Throttled429: "Too Many Requests TooManyRequestsException", Rate429: "Too Many Requests ThrottleException",
		ServerError: "Internal Server Error ServerException", Unavailable: "Service Unavailable ServiceUnavailableException",
		BadRequest: "Bad Request InvalidParameterException", ExpiredToken: "Bad Request ExpiredTokenException",
		UnrecognizedClient: "Bad Request UnrecognizedClientException", InvalidSignature: "Bad Request InvalidSignatureException",
		Hang: "canceled", Slow: "canceled", Reset: "reset", Refused: "EOF", Garbage: "deserialization",
	}
}

// untilFault ends when a kind that never answers has begun to act: the client goes away then, however slow the machine is.
func untilFault(t *testing.T, s *Sandbox, kind Kind) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	if kind != Hang && kind != Slow {
		return ctx
	}
	go func() {
		for len(s.Faults()) > 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	return ctx
}

func TestEveryFaultOfTheAPIs(t *testing.T) {
	decoded := func(a answered) string {
		b, err := base64.StdEncoding.DecodeString(a.secret)
		if err != nil {
			return "not base64"
		}
		return string(b)
	}
	content := map[Kind]func(answered) bool{
		NoDate:          func(a answered) bool { return a.data },
		EmptyList:       func(a answered) bool { return !a.data },
		NoToken:         func(a answered) bool { return a.secret == "" },
		NoExpiry:        func(a answered) bool { return a.secret != "" && a.expires == nil },
		Expires1970:     func(a answered) bool { return a.expires.Year() == 1970 },
		Expires2200:     func(a answered) bool { return a.expires.Year() == 2200 },
		BornExpired:     func(a answered) bool { return time.Until(*a.expires) < -50*time.Second },
		BadBase64:       func(a answered) bool { return decoded(a) == "not base64" },
		NoColon:         func(a answered) bool { return !strings.Contains(decoded(a), ":") },
		HugeToken:       func(a answered) bool { return len(a.secret) > 1<<20 && strings.HasPrefix(decoded(a), "AWS:") },
		ForeignEndpoint: func(a answered) bool { return strings.Contains(a.endpoint, ".cn/v2/some/path") },
	}
	for _, service := range []string{"ecr", "ecr-public", "sts"} {
		for _, kind := range Kinds(service) {
			t.Run(service+"/"+string(kind), func(t *testing.T) {
				s := start(t, Config{})
				cfg := taskConfig(t, s, "us-west-2")
				f := Fault{Service: service, Kind: kind, Count: 1}
				if kind == Slow {
					f.Latency = time.Hour
				}
				s.Set(f)
				ctx := untilFault(t, s, kind)
				got, err := callService(ctx, cfg, service)
				switch want, known := codes(service)[kind]; {
				case known && strings.Contains(want, " ") && codeOf(err) != want,
					known && (err == nil || !strings.Contains(err.Error(), want)) && !strings.Contains(want, " "):
					t.Errorf("got %v, want %s", err, want)
				case !known && (err != nil || content[kind] == nil || !content[kind](got)):
					t.Errorf("err %v, a token of %d bytes, expires %v, endpoint %s", err, len(got.secret), got.expires, got.endpoint)
				}
				if left := s.Faults(); len(left) != 0 {
					t.Errorf("the fault was not used up: %+v", left)
				}
				got, err = callService(t.Context(), cfg, service) // the count is 1
				if err != nil || !got.data || got.expires == nil {
					t.Errorf("the call after the fault: %v", err)
				}
			})
		}
	}
}

func TestEveryFaultOfAgentAndRegistry(t *testing.T) {
	status := map[string]map[Kind]int{
		"credentials": {AccessDenied: 403, BadRequest: 400, NoToken: 200, NoExpiry: 200, Expires1970: 200, Expires2200: 200, BornExpired: 200},
		"metadata":    {AccessDenied: 403, BadRequest: 400},
		"registry":    {Unauthorized: 401, Forbidden: 403},
	}
	common := map[Kind]int{ServerError: 500, Unavailable: 503, Throttled429: 429, Garbage: 200, NoDate: 200, Hang: 0, Slow: 0, Reset: 0, Refused: 0}
	for service, own := range status {
		for _, kind := range Kinds(service) {
			t.Run(service+"/"+string(kind), func(t *testing.T) {
				want, known := own[kind]
				if !known {
					if want, known = common[kind]; !known {
						t.Fatal("the table has no row for it")
					}
				}
				s := start(t, Config{})
				s.Set(Fault{Service: service, Kind: kind, Count: 1, Latency: map[Kind]time.Duration{Slow: time.Hour}[kind]})
				url := map[string]string{
					"credentials": environ(t, s, "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
					"metadata":    environ(t, s, "ECS_CONTAINER_METADATA_URI_V4") + "/task",
					"registry":    "https://" + privateHost + "/v2/",
				}[service]
				ctx := untilFault(t, s, kind)
				req, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
				client := http.DefaultTransport.(*http.Transport).Clone()
				client.Proxy = nil
				defer client.CloseIdleConnections()
				if service == "registry" {
					client = s.Transport()
					req.SetBasicAuth("AWS", issue(s, "us-west-2", false, time.Hour))
				}
				res, err := client.RoundTrip(req)
				if want == 0 {
					text := codes("ecr")[kind]
					if err == nil || !strings.Contains(err.Error(), text) {
						t.Errorf("err = %v, want %s", err, text)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				body, _ := io.ReadAll(res.Body)
				if res.StatusCode != want {
					t.Errorf("%d %s, want %d", res.StatusCode, body, want)
				}
				if got := res.Header.Get("Date"); (got == "") != (kind == NoDate) {
					t.Errorf("Date: %q", got)
				}
				if (kind == Garbage) != strings.Contains(string(body), "<html>") {
					t.Errorf("body = %s", body)
				}
				if service == "credentials" {
					checkCredentials(t, kind, body)
				}
				if service == "registry" && want >= 400 && !strings.Contains(string(body), `{"errors":[{"code":"`) {
					t.Errorf("body = %s", body)
				}
			})
		}
	}
}

func checkCredentials(t *testing.T, kind Kind, body []byte) {
	t.Helper()
	var c map[string]any
	if err := json.Unmarshal(body, &c); (err != nil) != (kind == Garbage) {
		t.Fatal(err)
	}
	expires := func() time.Time {
		at, err := time.Parse(time.RFC3339, c["Expiration"].(string))
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	ok := true
	switch kind {
	case Unavailable:
		ok = c["code"] == "CredentialsUninitialized" && c["HTTPErrorCode"] == 503.0
	case NoToken:
		ok = c["Token"] == nil && c["SecretAccessKey"] != nil
	case NoExpiry:
		ok = c["Expiration"] == nil && c["Token"] != nil
	case Expires1970:
		ok = expires().Year() == 1970
	case Expires2200:
		ok = expires().Year() == 2200
	case BornExpired:
		ok = time.Until(expires()) < -50*time.Second
	}
	if !ok {
		t.Errorf("%s: %v", kind, c["Expiration"])
	}
}

func TestFaultsAreNarrowed(t *testing.T) {
	s := start(t, Config{})
	west, east := taskConfig(t, s, "us-west-2"), taskConfig(t, s, "us-east-1")
	for _, row := range []struct {
		name       string
		fault      Fault
		west, east bool // hit
	}{
		{"all", Fault{}, true, true},
		{"region", Fault{Region: "us-west-2"}, true, false},
		{"host", Fault{Host: "API.ecr.us-east-1.amazonaws.com"}, false, true},
		{"role by name", Fault{Role: "sandbox-task"}, true, true},
		{"role by ARN", Fault{Role: "arn:aws:iam::123456789012:role/sandbox-task"}, true, true},
		{"another role", Fault{Role: "puller"}, false, false},
		{"another service", Fault{Service: "ecr-public"}, false, false},
	} {
		f := row.fault
		f.Kind = Throttled
		if f.Service == "" {
			f.Service = "ecr"
		}
		s.Set(f)
		for cfg, want := range map[*aws.Config]bool{&west: row.west, &east: row.east} {
			if _, err := getToken(t.Context(), *cfg); (err != nil) != want {
				t.Errorf("%s, %s: %v", row.name, cfg.Region, err)
			}
		}
	}
	s.Set(Fault{Service: "sts", Kind: AccessDenied, Role: assumable})
	if _, err := callService(t.Context(), west, "sts"); err == nil {
		t.Error("a fault of the role to be assumed did not act")
	}
	s.Set(Fault{Service: "sts", Kind: AccessDenied, Role: "sandbox-task"})
	if _, err := callService(t.Context(), west, "sts"); err != nil {
		t.Error(err)
	}
}

func TestFaultsJoin(t *testing.T) {
	s := start(t, Config{})
	cfg := taskConfig(t, s, "us-west-2")
	s.Set(Fault{Service: "ecr", Kind: Slow, Latency: time.Millisecond}, Fault{Service: "ecr", Kind: Throttled, Count: 1}, Fault{Service: "ecr", Kind: AccessDenied, Count: 1})
	for _, want := range []string{"Bad Request ThrottlingException", "Bad Request AccessDeniedException", ""} {
		if _, err := getToken(t.Context(), cfg); codeOf(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// An answer may say anything of a token's expiry; the registry knows the truth.
func TestRegistryKnowsTheTrueExpiry(t *testing.T) {
	for kind, status := range map[Kind]int{Expires1970: 200, Expires2200: 200, BornExpired: 403} {
		s := start(t, Config{})
		s.Set(Fault{Service: "ecr", Kind: kind})
		if _, err := getToken(t.Context(), taskConfig(t, s, "us-west-2")); err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+privateHost+"/v2/", nil)
		req.SetBasicAuth("AWS", s.Tokens()[0].Password)
		if res, body := do(t, &http.Client{Transport: s.Transport()}, req); res.StatusCode != status {
			t.Errorf("%s: %d %s", kind, res.StatusCode, body)
		}
	}
}

func TestParseFault(t *testing.T) {
	for _, row := range []struct {
		text string
		want Fault
		err  string
	}{
		{"ecr:throttled", Fault{Service: "ecr", Kind: Throttled}, ""},
		{"ecr:throttled:3", Fault{Service: "ecr", Kind: Throttled, Count: 3}, ""},
		{"ecr", Fault{}, "SERVICE:KIND"},
		{"ecr:throttled:0", Fault{}, "positive"},
		{"ecr:throttled:x", Fault{}, "positive"},
		{"ecr:throttled:1:2", Fault{}, "SERVICE:KIND"},
		{"s3:throttled", Fault{}, "valid: credentials, metadata, ecr"},
		{"ecr:unauthorized", Fault{}, "valid: access_denied, bad_base64"},
		{"registry:throttled", Fault{}, "unauthorized"},
		{"ecr-public:foreign_endpoint", Fault{}, "valid:"},
	} {
		got, err := ParseFault(row.text)
		if row.err == "" && (err != nil || got != row.want) || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
			t.Errorf("%s: %+v, %v", row.text, got, err)
		}
	}
}

func TestFaultJSON(t *testing.T) {
	want := Fault{Service: "ecr", Kind: Slow, Count: 2, Region: "us-west-2", Host: "h", Role: "r", Latency: 1500 * time.Millisecond}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Fault
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s became %+v, %v", b, got, err)
	}
}

func TestSetPanicsOnWhatCannotAct(t *testing.T) {
	s := start(t, Config{})
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	s.Set(Fault{Service: "ecr", Kind: "trottled"})
}
