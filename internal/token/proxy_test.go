package token

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

// TestProxyProblems has each way to write a proxy variable so that it has not the effect that it seems to have.
func TestProxyProblems(t *testing.T) {
	for _, r := range []struct {
		env  string // NAME=VALUE, separated by |
		want string // NAME text, separated by |
	}{
		{"", ""},
		{"HTTPS_PROXY=http://proxy:3128", ""},
		{"HTTPS_PROXY=proxy:3128", ""},
		{"HTTPS_PROXY=proxy", ""},
		{"HTTPS_PROXY=10.0.0.1:3128", ""},
		{"HTTPS_PROXY=[::1]:3128|HTTP_PROXY=http://[::1]/", ""},
		{"HTTPS_PROXY=https://u:p@proxy|HTTP_PROXY=socks5://proxy:1080", ""},
		{"HTTPS_PROXY=http://u:p%25w@proxy:3128", ""},
		{"HTTPS_PROXY=http://u:p@w@proxy:3128", ""}, // Go takes the last @
		{"HTTPS_PROXY=http://u:p%w@proxy:3128", "HTTPS_PROXY is not a valid URL"},
		{"https_proxy=http://u:p%w@proxy:3128", "https_proxy is not a valid URL"},
		{"HTTP_PROXY=http://u:p%w@proxy:3128", "HTTP_PROXY is not a valid URL"},
		{"http_proxy=u:p%w@proxy:3128", "http_proxy is not a valid URL"},
		{"HTTPS_PROXY=u:p%w@proxy:3128|HTTP_PROXY=%", "HTTPS_PROXY is not a valid URL|HTTP_PROXY is not a valid URL"},
		{"HTTPS_PROXY=http://u:p#w@proxy:3128", "HTTPS_PROXY is not a valid URL"},
		{"HTTPS_PROXY=http://u:#1@proxy:3128", "HTTPS_PROXY has a path, a ? or a #"},
		{"HTTPS_PROXY=http://proxy:3128#x", "HTTPS_PROXY has a path, a ? or a #"},
		{"HTTPS_PROXY=http://u:p/w@proxy:3128", "HTTPS_PROXY is not a valid URL"},
		{"HTTPS_PROXY=http://u:1/w@proxy:3128", "HTTPS_PROXY has a path, a ? or a #"},
		{"HTTPS_PROXY=http://u:1?w@proxy:3128", "HTTPS_PROXY has a path, a ? or a #"},
		{"HTTPS_PROXY= http://proxy:3128", "HTTPS_PROXY is not a valid URL"},
		{"HTTPS_PROXY=http://proxy:3128 ", "HTTPS_PROXY is not a valid URL"},
		{"HTTPS_PROXY=http://proxy :3128", "HTTPS_PROXY is not a valid URL"},
		{"HTTPS_PROXY= ", "HTTPS_PROXY is not a valid URL"},
		{"HTTPS_PROXY=http://proxy:3128\n", "HTTPS_PROXY is not a valid URL"},
		{"HTTPS_PROXY=\"http://proxy:3128\"", "HTTPS_PROXY is not a valid URL"},
		{"HTTPS_PROXY=http://proxy:31x28", "HTTPS_PROXY is not a valid URL"},
		{"HTTPS_PROXY=http://proxy:99999", "HTTPS_PROXY has a port"},
		{"HTTPS_PROXY=http://:3128", "HTTPS_PROXY names no host"},
		{"HTTPS_PROXY=http://", "HTTPS_PROXY names no host"},
		{"HTTPS_PROXY=ftp://proxy", "HTTPS_PROXY has a scheme"},
		{"HTTPS_PROXY=http://a%b|https_proxy=http://proxy", "HTTPS_PROXY is not a valid URL"}, // the upper-case one is read
		{"HTTPS_PROXY=http://proxy|https_proxy=http://a%b", ""},
		{"ALL_PROXY=http://proxy:3128", "ALL_PROXY is not used"},
		{"all_proxy=socks5://proxy", "all_proxy is not used"},
		{"ALL_PROXY=http://proxy|HTTP_PROXY=http://proxy", "ALL_PROXY is not used"},
		{"ALL_PROXY=http://proxy|https_proxy=http://proxy", ""},
		{"NO_PROXY=*", ""},
		{"NO_PROXY=169.254.170.2, .internal,*.example.com,localhost,10.0.0.0/8,fd00::/8,::1,[::1]:80,a_b-c.example:443,1.2.3.4:80,", ""},
		{"NO_PROXY=a.example b.example", "NO_PROXY entry 1"},
		{"no_proxy=a.example,b.example;c.example", "no_proxy entry 2"},
		{"NO_PROXY=http://a.example,10.0.0.0/33,10.*,a.example/x", "NO_PROXY entry 1|NO_PROXY entry 2|NO_PROXY entry 3|NO_PROXY entry 4"},
		{"NO_PROXY=a%20b,a#b,a.example:http,.", "NO_PROXY entry 1|NO_PROXY entry 2|NO_PROXY entry 3|NO_PROXY entry 4"},
		{"NO_PROXY=a.example|no_proxy=a b", ""},
	} {
		env := map[string]string{}
		for _, kv := range strings.Split(r.env, "|") {
			name, value, _ := strings.Cut(kv, "=")
			env[name] = value
		}
		got := ProxyProblems(func(name string) string { return env[name] })
		var want []string
		if r.want != "" {
			want = strings.Split(r.want, "|")
		}
		if len(got) != len(want) {
			t.Errorf("%q: %v; want %q", r.env, got, want)
			continue
		}
		for i, p := range got {
			if text := p.Variable + " " + p.Text; !strings.HasPrefix(text, want[i]) {
				t.Errorf("%q: %q; want %q", r.env, text, want[i])
			}
			if p.Fix == "" || len(env[p.Variable]) > 8 && strings.Contains(p.Text+p.Fix, env[p.Variable]) {
				t.Errorf("%q: the problem shows the value: %+v", r.env, p)
			}
		}
	}
}

// Go uses each proxy of which we say nothing, and none of those that we call unusable.
func TestProxyProblemsAreGos(t *testing.T) {
	for _, value := range []string{
		"http://proxy:3128", "proxy:3128", "u:p@proxy", "http://u:p%25@proxy", "http://u:p%w@proxy:3128", "u:p%w@proxy", " http://proxy:3128",
		"http://proxy:3128 ", "http://u:p#w@proxy:3128", "http://proxy :3128", "\"http://proxy:3128\"", "http://u:p/w@proxy:3128", "http://proxy:31x28",
	} {
		// What net/http does with the environment, which it reads once in a process.
		used, err := url.Parse(value)
		if err != nil || used.Scheme == "" || used.Host == "" {
			used, err = url.Parse("http://" + value)
		}
		works := err == nil && used.Hostname() == "proxy"
		if works != (proxyProblem(value) == "") {
			t.Errorf("%q: Go takes %v, %v; we say %q", value, used, err, proxyProblem(value))
		}
	}
}

// TestClassOfProxy has proxies that do not lead to AWS: the cure speaks of the proxy.
func TestClassOfProxy(t *testing.T) {
	for name, r := range map[string]struct {
		err        error
		class      fault.Class
		text, cure string
	}{
		"refused":     {&net.OpError{Op: "proxyconnect", Net: "tcp", Err: &net.OpError{Op: "dial", Net: "tcp", Err: net.UnknownNetworkError("x")}}, fault.Network, "proxyconnect tcp", "HTTPS_PROXY is reachable"},
		"no name":     {&net.OpError{Op: "proxyconnect", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "prxy"}}, fault.Network, "prxy", "the proxy's host name"},
		"timeout":     {&net.OpError{Op: "proxyconnect", Net: "tcp", Err: &net.DNSError{Err: "i/o timeout", IsTimeout: true, Name: "p"}}, fault.Network, "p", "the proxy's host name"},
		"no login":    {&proxyRefused{407, "p:3128"}, fault.Network, "status 407", "USER:PASSWORD"},
		"forbidden":   {&proxyRefused{403, "p:3128"}, fault.Network, "status 403", "pass CONNECT"},
		"bad gateway": {&proxyRefused{502, "p:3128"}, fault.Network, "p:3128", "pass CONNECT"},
	} {
		t.Run(name, func(t *testing.T) {
			v := classify(&url.Error{Op: "Post", URL: "https://api.ecr.us-west-2.amazonaws.com/", Err: r.err}, asked{})
			if v.class != r.class || !strings.Contains(v.text, r.text) || !strings.Contains(v.cure, r.cure) {
				t.Errorf("%+v", v)
			}
			if strings.Contains(v.cure, "NAT") {
				t.Errorf("the cure is not the proxy's: %q", v.cure)
			}
		})
	}
	t.Run("CONNECT refused", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		gate.set("")
		c := newClient(t, Options{})
		_, err := c.Token(t.Context(), here)
		wantFault(t, err, fault.Network, opToken, secretsOf(sb)...)
		if !strings.Contains(err.Error(), "answered CONNECT with status 502") || !strings.Contains(fault.CureOf(err), "HTTPS_PROXY") {
			t.Errorf("%q has the cure %q", err, fault.CureOf(err))
		}
		_, err = c.Reach(t.Context(), "https://123456789012.dkr.ecr.us-west-2.amazonaws.com/v2/")
		if !strings.Contains(fault.CureOf(err), "HTTPS_PROXY") {
			t.Errorf("%q has the cure %q", err, fault.CureOf(err))
		}
	})
	t.Run("no answer in time", func(t *testing.T) {
		sb := inTask(t, sandbox.Config{})
		gate.lead(t, rawServer(t, "", nil, true))
		_, err := newClient(t, Options{}).Token(soon(t), here)
		wantFault(t, err, fault.Timeout, opToken, secretsOf(sb)...)
		if !strings.Contains(err.Error(), "through the proxy 127.0.0.1:") || !strings.Contains(fault.CureOf(err), "HTTPS_PROXY") {
			t.Errorf("%q has the cure %q", err, fault.CureOf(err))
		}
	})
	t.Run("a proxy of https whose certificate is not trusted, or that speaks plain HTTP", func(t *testing.T) {
		clean(t)
		transport := &http.Transport{OnProxyConnectResponse: checkConnect, Proxy: func(*http.Request) (*url.URL, error) {
			return url.Parse("https://" + strings.TrimPrefix(gate.url, "http://"))
		}}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.ecr.us-west-2.amazonaws.com/", nil)
		_, err := (&http.Client{Transport: transport}).Do(req)
		if v := classify(err, asked{}); v.class != fault.TLS || !strings.Contains(v.cure, "http://") {
			t.Errorf("%+v", v)
		}
	})
}
