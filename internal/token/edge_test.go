package token

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

// TestCredentialProcess has processes that print secrets and fail: nothing that they print is in an error. What they write to
// standard error does not come by here; the program's own tests look for that.
func TestCredentialProcess(t *testing.T) {
	for name, r := range map[string]struct{ command, text string }{
		"exit status":        {`sh -c 'echo process-secret >&2; echo process-secret; exit 3'`, "exit status 3"},
		"no such program":    {`/no/such/program`, "exit status 127"},
		"not JSON":           {`echo process-secret`, "not the JSON of credentials"},
		"cut JSON":           {`printf '{"Version":1,"AccessKeyId":"process-secret"'`, "not the JSON of credentials"},
		"a wrong type":       {`echo '{"Version":"process-secret"}'`, "not the JSON of credentials"},
		"a wrong date":       {`echo '{"Version":1,"Expiration":"process-secret"}'`, "not the JSON of credentials"},
		"another version":    {`echo '{"Version":2,"AccessKeyId":"process-secret"}'`, "wrong version"},
		"no secret":          {`echo '{"Version":1,"AccessKeyId":"process-secret"}'`, "missing SecretAccessKey"},
		"null":               {`echo null`, "wrong version"},
		"nothing":            {`true`, "not the JSON of credentials"},
		"killed by a signal": {`sh -c 'echo process-secret >&2; kill -9 $$'`, "process failed"},
	} {
		t.Run(name, func(t *testing.T) {
			inTask(t, sandbox.Config{})
			file := t.TempDir() + "/config"
			if err := os.WriteFile(file, []byte("[default]\ncredential_process = "+r.command+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_CONFIG_FILE", file)
			_, err := newClient(t, Options{}).Token(t.Context(), here)
			wantFault(t, err, fault.CredentialsUnavailable, "get credentials by credential_process", "process-secret")
			if !strings.Contains(err.Error(), r.text) {
				t.Errorf("the text is %q; want %q", err, r.text)
			}
		})
	}
}

// TestCredentialEndpointTLS asks a credential endpoint of https whose CA is only in AWS_CA_BUNDLE.
func TestCredentialEndpointTLS(t *testing.T) {
	sb := inTask(t, sandbox.Config{})
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		res, err := http.Get(credentialsURI(sb))
		if err != nil {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, res.Body)
	}))
	t.Cleanup(srv.Close)
	t.Setenv(fullURI, srv.URL+"/v2/credentials/x")
	_, err := newClient(t, Options{}).Token(t.Context(), here)
	wantFault(t, err, fault.TLS, opTask, secretsOf(sb)...)
	if !strings.Contains(fault.CureOf(err), "AWS_CA_BUNDLE") {
		t.Errorf("the cure is %q", fault.CureOf(err))
	}
	both, err := os.ReadFile(sb.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	both = append(both, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})...)
	file := t.TempDir() + "/ca.pem"
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", file)
	mustToken(t, newClient(t, Options{}), here)
}

// TestNewShowsNoValue has settings that the SDK refuses at the start: what is said of them holds no password and no id.
func TestNewShowsNoValue(t *testing.T) {
	for _, value := range []string{
		"http://u:pw-secret%zz@host/", "http://u:pw-secret@ho st/", "http://host:pw-secret/", "http://[::1/pw-secret", "%pw-secret", "http://u:pw-secret^@host/\x7f",
	} {
		clean(t)
		t.Setenv(fullURI, value)
		_, err := New(t.Context(), Options{Region: region})
		if err == nil {
			t.Errorf("%q is taken", value)
			continue
		}
		wantNoSecret(t, err.Error(), "pw-secret")
		if !strings.Contains(err.Error(), fullURI) && strings.Contains(err.Error(), "parse") {
			t.Errorf("%q does not name the variable", err)
		}
	}
}

// TestMalformedEndpointIsNotShown is about calls that are made in spite of what Check says.
func TestMalformedEndpointIsNotShown(t *testing.T) {
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL_ECR_PUBLIC", "AWS_ENDPOINT_URL_STS"} {
		for _, value := range []string{"http://u:pw%zz@host", "http://u:pw@host:po%rt", "http://u:pw@ho st", "u:pw@host", "http://u:pw@\x7f"} {
			inTask(t, sandbox.Config{})
			t.Setenv(name, value)
			c := newClient(t, Options{})
			for _, s := range []Scope{here, public, chain} {
				_, err := c.Token(t.Context(), s)
				if err != nil {
					wantNoSecret(t, err.Error()+fault.CureOf(err), "pw", value)
				}
				if _, err := c.Endpoints(t.Context(), s); err != nil {
					wantNoSecret(t, err.Error(), "pw", value)
				}
			}
		}
	}
}

// TestNoHost names what gave the name that does not resolve.
func TestNoHost(t *testing.T) {
	for _, r := range []struct {
		opts  Options
		scope Scope
		env   string
		cure  string
	}{
		{Options{Region: "us-wset-2", RegionBy: "AWS_REGION"}, Scope{Region: "us-wset-2"}, "", "us-wset-2 exists, which AWS_REGION gives"},
		{Options{Region: "us-wset-2"}, Scope{Region: "us-wset-2"}, "", "region us-wset-2 exists"},
		{Options{Region: "us-west-2", RegionBy: "AWS_REGION"}, Scope{Region: "us-wset-2"}, "", "region us-wset-2 exists,"},
		{Options{Region: "us-west-2", RegionBy: "AWS_REGION"}, here, "AWS_ENDPOINT_URL_ECR=https://no.such.host.invalid", "AWS_ENDPOINT_URL_ECR"},
		{Options{Region: "eu-west-1"}, Scope{Region: "eu-west-1"}, "AWS_USE_FIPS_ENDPOINT=true", "FIPS"},
	} {
		inTask(t, sandbox.Config{})
		if name, value, ok := strings.Cut(r.env, "="); ok {
			t.Setenv(name, value)
		}
		c := newClient(t, r.opts)
		api := c.api(r.scope)
		if cure := c.noHost(r.scope, api); !strings.Contains(cure, r.cure) {
			t.Errorf("%+v: the cure is %q", r.scope, cure)
		}
		if host := api.host(t.Context()); net.ParseIP(host) != nil || !strings.Contains(host, ".") {
			t.Errorf("%q", host)
		}
	}
}

// An error of the URL parser quotes what it could not parse.
func TestParserIsNotQuoted(t *testing.T) {
	for _, at := range []string{"http://u:pw-secret%zz@host", "http://host:pw-secret/", "http://u:p w@pw-secret ^/", "http://[pw-secret"} {
		_, err := url.Parse(at)
		if err == nil {
			t.Fatalf("%q is a URL", at)
		}
		v := classify(err, asked{})
		wantNoSecret(t, v.text+v.cure, "pw-secret", "%zz")
	}
}
