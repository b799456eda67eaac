package token

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ProxyProblem is a proxy variable that does not have the effect that it seems to have. Its value is not in here: it
// may hold a password.
type ProxyProblem struct {
	Variable string
	Text     string // what is wrong and what follows, as a phrase after the variable's name
	Fix      string
}

// ProxyProblems returns what is wrong with the proxy variables of an environment: Go drops a value that it cannot
// parse, and calls without the proxy. getenv returns the value of a variable, and the empty string for one that is not
// set.
func ProxyProblems(getenv func(string) string) []ProxyProblem {
	read := func(name string) (variable, value string) { // as net/http does: the upper-case one first
		if v := getenv(name); v != "" {
			return name, v
		}
		return strings.ToLower(name), getenv(strings.ToLower(name))
	}
	var problems []ProxyProblem
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY"} {
		variable, value := read(name)
		if text := proxyProblem(value); text != "" {
			problems = append(problems, ProxyProblem{variable, text, "write it as http://HOST:PORT or " +
				"http://USER:PASSWORD@HOST:PORT, with a % in the user or password as %25, a # as %23, a ? as %3F, a / as %2F and a blank as %20"})
		}
	}
	if variable, value := read("NO_PROXY"); value != "*" {
		for i, entry := range strings.Split(value, ",") {
			if entry = strings.TrimSpace(entry); entry != "" && !isNoProxy(entry) {
				problems = append(problems, ProxyProblem{
					variable, fmt.Sprintf("entry %d is not a host, an address or a network, so it has no effect", i+1),
					"separate the entries by commas; each is a host name, .DOMAIN, an IP address or a network " +
						"such as 10.0.0.0/8, without a scheme or a path",
				})
			}
		}
	}
	if _, https := read("HTTPS_PROXY"); https == "" {
		if variable, value := read("ALL_PROXY"); value != "" {
			problems = append(problems, ProxyProblem{
				variable, "is not used: calls to AWS go without a proxy",
				"set HTTPS_PROXY, to the same value if it is an http or socks5 URL",
			})
		}
	}
	return problems
}

// proxyProblem says what is wrong with a proxy's address, empty for nothing.
func proxyProblem(value string) string {
	if value == "" {
		return ""
	}
	if !strings.Contains(value, "://") { // a scheme may be left out
		value = "http://" + value
	}
	u, err := url.Parse(value)
	switch {
	case err != nil: // Go drops it, or takes what stands before :// for the proxy's host
		return "is not a valid URL, so the proxy is not used: calls go without it or fail"
	case u.Hostname() == "":
		return "names no host, so calls fail"
	case !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme):
		return "has a scheme that is not one of http, https and socks5, so calls fail"
	case strings.ContainsAny(value, "?#") || strings.Trim(u.Path, "/") != "":
		return "has a path, a ? or a # in it: the proxy's host may not be the one that is meant"
	case u.Port() != "" && !isPort(u.Port()):
		return "has a port that is not between 1 and 65535, so calls fail"
	}
	return ""
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// isNoProxy reports whether an entry of NO_PROXY can match a host.
func isNoProxy(entry string) bool {
	if _, err := netip.ParsePrefix(entry); err == nil || entry == "*" {
		return true
	}
	host, port, err := net.SplitHostPort(entry)
	if err != nil {
		host, port = entry, "1"
	}
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return isPort(port)
	}
	host = strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
	return host != "" && isPort(port) && !strings.HasPrefix(host, ".") && !strings.ContainsFunc(host, func(r rune) bool {
		return r <= 0x7f && !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", r)
	})
}

// proxyRefused is a proxy's answer to CONNECT that is not 200.
type proxyRefused struct {
	status int
	proxy  string // its host and port
}

func (e *proxyRefused) Error() string {
	return fmt.Sprintf("the proxy %s answered CONNECT with status %d", e.proxy, e.status)
}

// checkConnect is a transport's OnProxyConnectResponse.
func checkConnect(_ context.Context, proxy *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyRefused{res.StatusCode, proxy.Host}
}

// proxyOf is the host and port of the proxy through which an https URL is asked, empty for none.
func proxyOf(asked string) string {
	u, err := url.Parse(asked)
	if err != nil || u.Scheme != "https" {
		return ""
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Host // no more of it: a password may be before it
}
