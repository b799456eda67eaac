//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// logins is a registry and an engine that note which user a program sends, and have no image.
type logins struct {
	proxy, engine, ca string

	mu   sync.Mutex
	seen string
}

func (l *logins) note(user string) { l.mu.Lock(); defer l.mu.Unlock(); l.seen = user }

func newLogins(t *testing.T) *logins {
	t.Helper()
	l := &logins{}
	registry := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, ok := r.BasicAuth()
		if !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		l.note(user)
		if r.URL.Path != "/v2/" {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(registry.Close)
	l.ca = filepath.Join(scratch(t), "ca.pem")
	if err := os.WriteFile(l.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: registry.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // every name leads to the registry
		to, err := net.Dial("tcp", registry.Listener.Addr().String())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer to.Close()
		from, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, from); to.Close() }()
		_, _ = io.Copy(from, to)
	}))
	t.Cleanup(proxy.Close)
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		if !strings.HasSuffix(r.URL.Path, "/images/create") {
			_, _ = io.WriteString(w, "{}")
			return
		}
		var login struct{ Username string }
		if b, err := base64.URLEncoding.DecodeString(r.Header.Get("X-Registry-Auth")); err == nil {
			_ = json.Unmarshal(b, &login)
		}
		l.note(login.Username)
		_, _ = io.WriteString(w, `{"status":"x"}`+"\n")
	}))
	t.Cleanup(engine.Close)
	l.proxy, l.engine = proxy.URL, "tcp://"+engine.Listener.Addr().String()
	return l
}

// pull runs a program with a document, and returns the user whose login it sends for HOST/team/app; empty where it sends none.
func (l *logins) pull(t *testing.T, document string, args ...string) string {
	t.Helper()
	dir := scratch(t)
	if err := os.WriteFile(dir+"/config.json", []byte(document), 0o644); err != nil {
		t.Fatal(err)
	}
	l.note("")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "DOCKER_CONFIG=" + dir, "REGISTRY_AUTH_FILE=" + dir + "/config.json",
		"HTTPS_PROXY=" + l.proxy, "SSL_CERT_FILE=" + l.ca, "DOCKER_HOST=" + l.engine}
	command(cmd) // it finds no image, and fails
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}

// Which login real programs use where the file has more than ours: the tables of docs/consumers.md.
func TestOtherEntries(t *testing.T) {
	crane, err := builtTool(craneTool)
	if err != nil {
		t.Fatal(err)
	}
	l, storage := newLogins(t), scratch(t)
	const image = registryHost + "/team/app"
	stored := func(tool string) []string {
		return []string{tool, "--root", storage + "/" + tool, "--runroot", storage + "/run-" + tool, "--storage-driver", "vfs", "pull", "--tls-verify=false", image}
	}
	programs := map[string][]string{
		"docker": {"docker", "pull", image}, "crane": {crane, "digest", "--insecure", image}, "skopeo": {"skopeo", "inspect", "--tls-verify=false", "docker://" + image},
		"podman": stored("podman"), "buildah": stored("buildah"),
	}
	login := func(user string) string {
		return `{"auth":"` + base64.StdEncoding.EncodeToString([]byte(user+":x")) + `"}`
	}
	ours := `"` + registryHost + `":` + login("AWS")
	under := func(key string) string { return `{"auths":{` + ours + `,"` + key + `":` + login("other") + `}}` }
	with := func(entry string) string { return `{"auths":{` + ours + `,"other.example":` + entry + `}}` }

	const all, containers = "docker crane skopeo podman buildah", "skopeo podman buildah"
	for _, test := range []struct {
		document          string
		ours, other, none string // the programs that use ours, the other one, no login; who is in none of them does it by chance
	}{
		{`{"auths":{` + ours + `}}`, all, "", ""},
		{under(registryHost + "/team/app"), "docker", "crane " + containers, ""},
		{under(registryHost + "/team"), "docker crane", containers, ""},
		{under(registryHost + ":443"), all, "", ""},
		{under("https://" + registryHost + "/team/app"), all, "", ""},
		{under(strings.ToUpper(registryHost)), all, "", ""},
		{under("https://" + registryHost), all, "", ""},
		{under("https://" + registryHost + "/v1/"), all, "", ""},
		{under(registryHost + "/"), all, "", ""},

		{with(`{"auth":"dckr_pat_notbase64_really"}`), containers, "", "crane"},
		{with(`{"auth":"bm9jb2xvbg=="}`), containers, "", "crane"},
		{with(`{"auth":5}`), "", "", all},
		{with(`{"identitytoken":[]}`), "", "", all},
		{with(`0`), "", "", all},
		{with(`[]`), "", "", all},
		{with(`{"username":5}`), containers, "", "docker crane"},
		{with(`null`), all, "", ""},
		{with(`{"auth":""}`), all, "", ""},
		{with(`{"auth":"dTpw","identitytoken":"t"}`), all, "", ""},
		{`{"auths":{` + ours + `},"credHelpers":5}`, "", "", all},
		{`{"auths":{` + ours + `},"credHelpers":{"other.example":5}}`, "", "", all},
		{`{"auths":{` + ours + `},"credsStore":5}`, containers, "", "docker crane"},
		{`{"auths":{` + ours + `},"psFormat":5}`, containers, "", "docker crane"},
		{`{"auths":{` + ours + `},"unknown":5}`, all, "", ""},
	} {
		for user, names := range map[string]string{"AWS": test.ours, "other": test.other, "": test.none} {
			for name := range strings.FieldsSeq(names) {
				if got := l.pull(t, test.document, programs[name]...); got != user {
					t.Errorf("%s with %s: the login of %q, want that of %q", name, test.document, got, user)
				}
			}
		}
	}
	if !t.Failed() {
		proved(t, "docker, crane, skopeo, podman and buildah use and refuse other entries of the file as docs/consumers.md says")
	}
}
