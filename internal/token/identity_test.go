package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

const roleThree = "arn:aws:iam::333333333333:role/three"

// stsRecorder stands before the sandbox's STS, keeps what was asked for, and may change when the sessions end.
type stsRecorder struct {
	mu    sync.Mutex
	asked []url.Values
	ends  time.Time // zero: as the sandbox says
}

func newSTS(t *testing.T, sb *sandbox.Sandbox) *stsRecorder {
	s := &stsRecorder{}
	expiration := regexp.MustCompile(`<Expiration>[^<]*`)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		s.mu.Lock()
		s.asked = append(s.asked, form)
		ends := s.ends
		s.mu.Unlock()
		on, _ := http.NewRequest(r.Method, sb.URL(), bytes.NewReader(body))
		on.Host, on.Header = r.Host, r.Header // they are under the signature
		res, err := http.DefaultTransport.RoundTrip(on)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		out, _ := io.ReadAll(res.Body)
		if !ends.IsZero() {
			out = expiration.ReplaceAll(out, []byte("<Expiration>"+ends.Format(time.RFC3339)))
		}
		w.WriteHeader(res.StatusCode)
		_, _ = w.Write(out)
	}))
	t.Cleanup(srv.Close)
	t.Setenv("AWS_ENDPOINT_URL_STS", srv.URL)
	return s
}

func (s *stsRecorder) end(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = at
}

func (s *stsRecorder) forms() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// What each step of a chain asks for.
func TestAssumeRole(t *testing.T) {
	const task = "ecr-refresher-0123456789abcdef0123456789abcdef"
	rows := []struct {
		name  string
		opts  Options
		scope Scope
		want  []string // role, session, seconds, external id
	}{
		{"defaults", Options{}, chain, []string{
			roleOne + " ecr-refresher 3600 -", roleTwo + " ecr-refresher 3600 -"}},
		{"the task's session", Options{SessionName: task}, chain, []string{
			roleOne + " " + task + " 3600 -", roleTwo + " " + task + " 3600 -"}},
		{"external id", Options{SessionName: task}, Scope{Region: region, Roles: chain.Roles, ExternalID: "team-42"}, []string{
			roleOne + " " + task + " 3600 -", roleTwo + " " + task + " 3600 team-42"}},
		{"all", Options{SessionName: task}, Scope{Region: region, Roles: chain.Roles, ExternalID: "team-42", SessionName: "ci", Duration: 15 * time.Minute}, []string{
			roleOne + " ci 900 -", roleTwo + " ci 900 team-42"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			s := newSTS(t, sb)
			mustToken(t, newClient(t, r.opts), r.scope)
			var got []string
			for _, f := range s.forms() {
				external := "-"
				if f.Has("ExternalId") {
					external = f.Get("ExternalId")
				}
				got = append(got, fmt.Sprintf("%s %s %s %s", f.Get("RoleArn"), f.Get("RoleSessionName"), f.Get("DurationSeconds"), external))
			}
			if !slices.Equal(got, r.want) {
				t.Errorf("asked for\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(r.want, "\n"))
			}
			rs := sb.Requests()
			if who := rs[len(rs)-1].Principal; !strings.Contains(who, "222222222222:assumed-role/two/") {
				t.Errorf("the token was asked for as %s", who)
			}
		})
	}
}

// The role must trust the step before it and see its external id: the sandbox holds both as AWS does.
func TestTrust(t *testing.T) {
	roles := map[string]sandbox.Role{
		roleOne: {TrustedBy: []string{"arn:aws:iam::123456789012:role/sandbox-task"}},
		roleTwo: {TrustedBy: []string{roleOne}, ExternalID: "team-42"},
	}
	good := chain
	good.ExternalID = "team-42"
	bad := good
	bad.ExternalID = "team-43"
	direct := Scope{Region: region, Roles: roleTwo, ExternalID: "team-42"}
	sb := inTask(t, sandbox.Config{Roles: roles})
	c := newClient(t, Options{})
	mustToken(t, c, good)
	for _, s := range []Scope{bad, chain, direct} {
		_, err := c.Token(t.Context(), s)
		wantFault(t, err, fault.AssumeRole, opTwo, secretsOf(sb)...)
	}
	mustToken(t, c, good)
}

// Chains that begin alike assume the roles that they share once, also when they are asked for together.
func TestSharedPrefix(t *testing.T) {
	sb := inTask(t, sandbox.Config{})
	s := newSTS(t, sb)
	c := newClient(t, Options{})
	scopes := []Scope{
		{Region: region, Roles: roleOne},
		{Region: region, Roles: roleOne + " " + roleTwo},
		{Region: region, Roles: roleOne + " " + roleTwo, ExternalID: "team-42"},
		{Region: region, Roles: roleOne + " " + roleThree},
		{Region: region, Roles: roleOne + " " + roleTwo + " " + roleThree},
		{Region: "eu-west-1", Roles: roleOne + " " + roleThree}, // another scope of the same identity
	}
	for range 2 {
		var all errgroup.Group
		for _, scope := range scopes {
			all.Go(func() error {
				_, err := c.Token(t.Context(), scope)
				return err
			})
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	count := map[string]int{}
	for _, f := range s.forms() {
		count[strings.TrimSpace(f.Get("RoleArn")+" "+f.Get("ExternalId"))]++
	}
	// role three twice: from one and from one then two
	if want := map[string]int{roleOne: 1, roleTwo: 1, roleTwo + " team-42": 1, roleThree: 2}; fmt.Sprint(count) != fmt.Sprint(want) {
		t.Errorf("assumed %v; want %v", count, want)
	}
	if n := sb.Calls()["credentials"]; n != 1 {
		t.Errorf("the task's credentials were asked for %d times", n)
	}
	mustToken(t, c, Scope{Region: region, Roles: roleOne, SessionName: "other"})
	mustToken(t, c, Scope{Region: region, Roles: roleOne, Duration: 15 * time.Minute})
	if n := len(s.forms()); n != 7 {
		t.Errorf("%d sessions; another name and another duration need sessions of their own", n)
	}
}

// Credentials are kept between tokens, replaced near their end, and their end is told.
func TestCredentialsExpire(t *testing.T) {
	t.Run("task role", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		c := newClient(t, Options{})
		var doc struct{ Expiration time.Time }
		if err := json.Unmarshal(taskCredentials(t, sb), &doc); err != nil {
			t.Fatal(err)
		}
		sb.ResetCalls()
		for range 3 {
			tok := mustToken(t, c, here)
			if !tok.CredentialsExpire.Equal(doc.Expiration) {
				t.Errorf("credentials expire at %v; want %v", tok.CredentialsExpire, doc.Expiration)
			}
		}
		if n := sb.Calls()["credentials"]; n != 1 {
			t.Errorf("credentials were asked for %d times", n)
		}
	})
	t.Run("task role, near the end", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{CredentialLife: 4 * time.Minute})
		c := newClient(t, Options{})
		mustToken(t, c, here)
		mustToken(t, c, here)
		if n := sb.Calls()["credentials"]; n != 2 {
			t.Errorf("credentials were asked for %d times; want one for each token", n)
		}
	})
	for _, r := range []struct {
		left     time.Duration
		sessions int
	}{{time.Hour, 1}, {6 * time.Minute, 1}, {4 * time.Minute, 2}} {
		t.Run(fmt.Sprintf("role, %s left", r.left), func(t *testing.T) {
			sb := inTask(t, sandbox.Config{})
			s := newSTS(t, sb)
			end := time.Now().Add(r.left).Truncate(time.Second)
			s.end(end)
			c := newClient(t, Options{})
			scope := Scope{Region: region, Roles: roleOne}
			for range 2 {
				if tok := mustToken(t, c, scope); !tok.CredentialsExpire.Equal(end) {
					t.Errorf("credentials expire at %v; want %v", tok.CredentialsExpire, end)
				}
			}
			if n := len(s.forms()); n != r.sessions {
				t.Errorf("%d sessions; want %d", n, r.sessions)
			}
		})
	}
}

// Keys in the environment come first in the SDK's order.
func TestStaticKeys(t *testing.T) {
	sb := inTask(t, sandbox.Config{})
	keys := setKeys(t, sb)
	sb.ResetCalls()
	c := newClient(t, Options{})
	tok := mustToken(t, c, here)
	if !tok.CredentialsExpire.IsZero() {
		t.Errorf("credentials until %v", tok.CredentialsExpire)
	}
	if n := sb.Calls()["credentials"]; n != 0 {
		t.Errorf("the task's credentials were asked for")
	}
	mustToken(t, c, chain)
	sb.ExpireCredentials()
	_, err := c.Token(t.Context(), here)
	wantFault(t, err, fault.CredentialsUnavailable, opToken, append(secretsOf(sb), keys...)...)
	if !strings.Contains(fault.CureOf(err), "AWS_ACCESS_KEY_ID") {
		t.Errorf("the cure is %q", fault.CureOf(err))
	}
}

// setKeys puts credentials of the sandbox into the environment, and returns the secret ones.
func setKeys(t *testing.T, sb *sandbox.Sandbox) []string {
	t.Helper()
	var doc struct{ AccessKeyID, SecretAccessKey, Token string }
	if err := json.Unmarshal(taskCredentials(t, sb), &doc); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", doc.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", doc.SecretAccessKey)
	t.Setenv("AWS_SESSION_TOKEN", doc.Token)
	return []string{doc.SecretAccessKey, doc.Token}
}

// The agent's authorization token is read from its file at each retrieval.
func TestAuthorizationTokenFile(t *testing.T) {
	sb := inTask(t, sandbox.Config{})
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		_, _ = w.Write(taskCredentials(t, sb))
	}))
	t.Cleanup(srv.Close)
	t.Setenv(fullURI, srv.URL+"/secret-id")
	file := filepath.Join(t.TempDir(), "token")
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file)
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := newClient(t, Options{})
	_, err := c.Token(t.Context(), here)
	wantFault(t, err, fault.CredentialsUnavailable, opTask, "secret-id")
	for _, content := range []string{"first", "second"} {
		write(content)
		mustToken(t, c, here)
		c.ids.root.invalidate()
	}
	write("third-secret\n")
	_, err = c.Token(t.Context(), here)
	wantFault(t, err, fault.CredentialsUnavailable, opTask, "third-secret", "secret-id")
	if !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("authorized as %q", got)
	}
}

// metadata is an EC2 instance's, with the sandbox's credentials for its role.
func metadata(t *testing.T, sb *sandbox.Sandbox) (calls func() int) {
	var mu sync.Mutex
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		mu.Unlock()
		switch r.URL.Path {
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
			_, _ = io.WriteString(w, "metadata-token")
		case "/latest/meta-data/iam/security-credentials/":
			_, _ = io.WriteString(w, "instance")
		case "/latest/meta-data/iam/security-credentials/instance":
			var doc map[string]string
			if err := json.Unmarshal(taskCredentials(t, sb), &doc); err != nil {
				t.Error(err)
			}
			doc["Code"] = "Success"
			_ = json.NewEncoder(w).Encode(doc)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", srv.URL)
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// The instance's role is another tenant's: it is not even asked for, unless that is wanted.
func TestInstanceRole(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		_ = os.Unsetenv(fullURI)
		t.Setenv("AWS_DEFAULTS_MODE", "auto") // in which the SDK asks the instance for its region
		calls := metadata(t, sb)
		c := newClient(t, Options{})
		for _, s := range []Scope{here, public, chain} {
			_, err := c.Token(t.Context(), s)
			wantFault(t, err, fault.NoCredentials, opTask)
		}
		if n := calls(); n != 0 {
			t.Errorf("%d requests to the instance's metadata", n)
		}
	})
	t.Run("refused, at its usual address", func(t *testing.T) {
		inTask(t, sandbox.Config{})
		_ = os.Unsetenv(fullURI)
		c := newClient(t, Options{})
		_, err := c.Token(t.Context(), here)
		wantFault(t, err, fault.NoCredentials, opTask)
		if asked := gate.asked(); len(asked) != 0 { // the SDK would go through the proxy
			t.Errorf("asked for %q", asked)
		}
	})
	t.Run("allowed", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		_ = os.Unsetenv(fullURI)
		calls := metadata(t, sb)
		c := newClient(t, Options{AllowInstanceRole: true})
		mustToken(t, c, here)
		mustToken(t, c, chain)
		if calls() == 0 {
			t.Error("no request to the instance's metadata")
		}
	})
	t.Run("allowed, beside a proxy", func(t *testing.T) {
		inTask(t, sandbox.Config{})
		_ = os.Unsetenv(fullURI)
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://192.0.2.1") // nobody's
		_, err := newClient(t, Options{AllowInstanceRole: true, Timeout: 50 * time.Millisecond}).Token(t.Context(), here)
		wantFault(t, err, fault.NoCredentials, "get the instance role's credentials")
		if asked := gate.asked(); len(asked) != 0 {
			t.Errorf("the proxy was asked for %q", asked)
		}
	})
	t.Run("allowed, but the task has a role", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		calls := metadata(t, sb)
		mustToken(t, newClient(t, Options{AllowInstanceRole: true}), here)
		if n := calls(); n != 0 {
			t.Errorf("%d requests to the instance's metadata", n)
		}
	})
	t.Run("allowed, but switched off", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		_ = os.Unsetenv(fullURI)
		calls := metadata(t, sb)
		t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		_, err := newClient(t, Options{AllowInstanceRole: true}).Token(t.Context(), here)
		wantFault(t, err, fault.NoCredentials, "get the instance role's credentials")
		if n := calls(); n != 0 {
			t.Errorf("%d requests to the instance's metadata", n)
		}
	})
	t.Run("allowed, and not there", func(t *testing.T) {
		inTask(t, sandbox.Config{})
		_ = os.Unsetenv(fullURI)
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+noListener(t))
		_, err := newClient(t, Options{AllowInstanceRole: true}).Token(t.Context(), here)
		wantFault(t, err, fault.NoCredentials, "get the instance role's credentials")
	})
}
