package doctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"ecr-refresher/internal/token"
)

const (
	relativeURI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
	fullURI     = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	agentHost   = "169.254.170.2" // of the ECS agent's credential and metadata endpoints
)

func (e *exam) settings(context.Context) []Result {
	var results []Result
	for _, p := range e.Problems {
		seen, cure := cutCure(p)
		results = append(results, fail(seen, cmp.Or(cure, "correct the value in the container's environment; 'refresher run --help' shows all of them"))...)
	}
	if results != nil {
		return results
	}
	var given []string
	for _, kv := range e.Environ {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "REFRESHER_") && value != "" {
			given = append(given, name)
		}
	}
	if len(given) == 0 {
		return ok("no REFRESHER_ variable is set: everything by default")
	}
	slices.Sort(given)
	return ok("valid: %s", strings.Join(given, ", "))
}

// inTask reports whether ECS offers the credentials of a task role.
func (e *exam) inTask() bool { return e.getenv(relativeURI) != "" || e.getenv(fullURI) != "" }

// hiding are the variables in use that the SDK prefers to the task role.
func (e *exam) hiding() []string {
	return slices.DeleteFunc(token.HidesTaskRole(), func(name string) bool { return e.getenv(name) == "" })
}

func (e *exam) roleHidden(context.Context) []Result {
	hiding := e.hiding()
	switch {
	case len(hiding) == 0:
		return ok("none of %s is set", strings.Join(token.HidesTaskRole(), ", "))
	case !e.inTask():
		return ok("%s is set, and there is no task role that it could hide", strings.Join(hiding, ", "))
	}
	return warn("the AWS SDK prefers what "+strings.Join(hiding, ", ")+" gives to the task role",
		"remove it from environment, environmentFiles and secrets of the container in the task definition")
}

func (e *exam) proxy(context.Context) []Result {
	var results []Result
	for _, p := range token.ProxyProblems(e.getenv) {
		level := warn
		if strings.EqualFold(p.Variable, "HTTPS_PROXY") || strings.EqualFold(p.Variable, "HTTP_PROXY") {
			level = fail
		}
		results = append(results, level(p.Variable+" "+p.Text, p.Fix)...)
	}
	var hosts []string
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY"} {
		upper, lower := e.getenv(name), e.getenv(strings.ToLower(name))
		if upper != "" && lower != "" && upper != lower {
			results = append(results, warn(name+" and "+strings.ToLower(name)+" differ: programs differ in which they read (this one reads "+name+")", "give both the same value, or remove one")...)
		}
		for _, spelling := range []string{name, strings.ToLower(name)} {
			value := e.getenv(spelling)
			if value == "" {
				continue
			}
			if host := proxyHost(value); host != "" && !slices.Contains(hosts, host) {
				hosts = append(hosts, host)
			}
		}
	}
	if len(hosts) == 0 && results == nil {
		return ok("no proxy is set")
	}
	noProxy := e.getenv("NO_PROXY")
	if noProxy == "" {
		noProxy = e.getenv("no_proxy")
	}
	if len(hosts) > 0 && !exempt(noProxy, agentHost) {
		results = append(results, warn("NO_PROXY does not name "+agentHost+": other programs of this environment would ask the proxy for the task's credentials and fail (the refresher asks the agent directly)",
			"add the address to NO_PROXY\nNO_PROXY="+strings.TrimSuffix(agentHost+","+noProxy, ","))...)
	}
	if results != nil {
		return results
	}
	return ok("by way of %s; NO_PROXY leaves out %s", strings.Join(hosts, " and "), agentHost)
}

// proxyHost is the host of a proxy's URL, whose scheme may be left out; empty where it is none. No more of it may be shown.
func proxyHost(value string) string {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		return ""
	}
	return u.Host
}

// exempt reports whether a NO_PROXY leaves out an address.
func exempt(noProxy, address string) bool {
	ip := netip.MustParseAddr(address)
	for entry := range strings.SplitSeq(noProxy, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "*" || entry == address || entry == address+":80" {
			return true
		}
		if net, err := netip.ParsePrefix(entry); err == nil && net.Contains(ip) {
			return true
		}
	}
	return false
}

func (e *exam) caBundle(context.Context) []Result {
	var given []string
	for _, name := range []string{"AWS_CA_BUNDLE", "SSL_CERT_FILE"} {
		path := e.getenv(name)
		if path == "" {
			continue
		}
		b, err := os.ReadFile(path) //nolint:gosec // G304: the very file that the SDK reads
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(b) {
			err = fmt.Errorf("%s holds no certificate in PEM", path)
		}
		if err != nil {
			return fail(name+": "+err.Error(), "mount the certificates at that path, or remove "+name+": the image brings the public ones")
		}
		given = append(given, name+"="+path)
	}
	if given == nil {
		return ok("no variable names any: the system's are used")
	}
	return ok("readable: %s", strings.Join(given, ", "))
}
