package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/token"
)

// agentAnswer is what the credential endpoint says beside the keys, which are not even decoded.
type agentAnswer struct {
	RoleArn       string
	Expiration    string
	Code, Message string
}

const (
	agentMost = 2 * time.Second // as long as the refresher waits for it
	agentSlow = time.Second
)

func (e *exam) endpoint(ctx context.Context) []Result {
	const giveRole = "give the task definition a task role (not the execution role: that is the agent's)\n" +
		`"taskRoleArn": "arn:aws:iam::ACCOUNT:role/NAME"`
	at := e.getenv(fullURI)
	if path := e.getenv(relativeURI); path != "" {
		at = "http://" + agentHost + path
	}
	switch {
	case at == "" && len(e.hiding()) > 0:
		return skip("because no task role is offered: " + strings.Join(e.hiding(), ", ") + " is used")
	case at == "" && e.AllowInstanceRole:
		return skip("because no task role is offered: the instance's is allowed")
	case at == "":
		return fail("no_credentials: the task has no role: neither "+relativeURI+" nor "+fullURI+" is set", giveRole)
	}
	host := "the address in " + fullURI
	if u, err := url.Parse(at); err == nil && u.Host != "" {
		host = u.Host // never the path: it is the key to the credentials
	}
	ctx, cancel := context.WithTimeout(ctx, agentMost)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return fail(fullURI+" is not a URL", "do not set it in the task definition: ECS does")
	}
	login, err := e.agentLogin()
	if err != nil {
		return fail("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: "+err.Error(), "mount the file at that path, or remove the variable: ECS does not set it")
	}
	if login != "" {
		req.Header.Set("Authorization", login)
	}
	start := time.Now()
	agent := http.Client{ // no proxy, and no redirect: what comes back is a secret
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: e.ownRoots()},
		CheckRedirect: token.NoRedirect,
	}
	res, err := agent.Do(req)
	if err != nil {
		why := "no answer within " + agentMost.String()
		if u, isURL := err.(*url.Error); isURL && !u.Timeout() { //nolint:errorlint // what Do returns
			why = u.Err.Error() // without the URL
		}
		if broken := (*tls.CertificateVerificationError)(nil); errors.As(err, &broken) {
			return fail("tls: "+host+": "+why, "give the certificate of its CA in AWS_CA_BUNDLE\nAWS_CA_BUNDLE=/path/to/ca.pem")
		}
		return fail("credentials_unavailable: "+host+": "+why,
			"see that the ECS agent runs on the host, that no firewall rule keeps the container from it, and that the agent has credentials for the role in taskRoleArn\ncurl -s http://localhost:51678/v1/metadata")
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	spent := time.Since(start)
	var a agentAnswer
	garbled := json.Unmarshal(body, &a)
	switch {
	case res.StatusCode != http.StatusOK:
		why := fmt.Sprintf("credentials_unavailable: %s: status %d", host, res.StatusCode)
		if a.Code != "" || a.Message != "" {
			why += " " + strings.Trim(a.Code+": "+a.Message, ": ")
		}
		return fail(why, "if it stays so, see that the role in taskRoleArn exists and trusts ecs-tasks.amazonaws.com\n"+
			`{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}`)
	case err != nil:
		return fail("credentials_unavailable: "+host+": the answer began and did not end", "see the load of the host and of its ECS agent")
	case garbled != nil:
		return fail("credentials_unavailable: "+host+": the answer is not that of the ECS agent", "see what else listens there, and do not set "+fullURI+" in the task definition")
	}
	e.agent = &a
	seen := "answered " + took(spent)
	if a.RoleArn != "" {
		seen += " for " + a.RoleArn
	}
	if spent > agentSlow {
		return warn(seen+": slow", fmt.Sprintf("see the load of the host and of its ECS agent: after %s the refresher gives up one attempt", agentMost))
	}
	return ok("%s", seen)
}

// ownRoots are the roots that AWS_CA_BUNDLE names, for a credential endpoint of https; nil for the machine's.
func (e *exam) ownRoots() *tls.Config {
	b, err := os.ReadFile(e.getenv("AWS_CA_BUNDLE"))
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(b) { // the check ca_bundle reports it
		return nil
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// agentLogin is the value of the Authorization header that the endpoint wants, empty where it wants none.
func (e *exam) agentLogin() (string, error) {
	if path := e.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); path != "" {
		b, err := os.ReadFile(path) //nolint:gosec // G304: the very file that the SDK reads
		if err == nil && strings.ContainsAny(string(b), "\r\n") {
			err = fmt.Errorf("%s has a newline in it, which the SDK refuses", path)
		}
		return string(b), err
	}
	return e.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN"), nil
}

// The providers that matter here, in the SDK's words.
const (
	byEndpoint = "CredentialsEndpointProvider"
	byInstance = "EC2RoleProvider"
)

func (e *exam) credentials(ctx context.Context) []Result {
	switch {
	case e.client == nil:
		return skip("because there is no AWS client (aws_settings)")
	case e.agent == nil && len(e.hiding()) == 0 && !e.AllowInstanceRole:
		return skip("because the credential endpoint gives none (endpoint)")
	}
	c, err := e.client.Credentials(ctx, token.Scope{}, 0)
	if err != nil {
		return failed(err, "")
	}
	e.hasCreds = true
	seen := "by " + c.Provider
	if c.Provider == byEndpoint && e.agent != nil && e.agent.RoleArn != "" {
		seen = "the task role " + e.agent.RoleArn + ", " + seen
	}
	if !c.Expires.IsZero() {
		seen += ", " + until(c.Expires)
	}
	switch {
	case c.Provider == byInstance:
		return warn(seen+": the EC2 instance's role, which all tasks of the instance share", "give the task definition a taskRoleArn")
	case c.Provider != byEndpoint && e.inTask():
		return warn(seen+": not the task role", "remove "+strings.Join(e.hiding(), ", ")+" from the container's environment")
	case !c.Expires.IsZero() && time.Until(c.Expires) < 5*time.Minute:
		return warn(seen+": they are about to expire, and nobody has renewed them", "see the log of the ECS agent on the host; on Fargate replace the task")
	}
	return ok("%s", seen)
}

// skew is what one host says of the time.
type skew struct {
	host string
	off  time.Duration
}

func (e *exam) api(ctx context.Context) []Result {
	if e.client == nil {
		return skip("because there is no AWS client (aws_settings)")
	}
	var urls []string
	needed := map[string]bool{}
	for _, s := range e.scopes {
		for _, u := range s.urls {
			if !slices.Contains(urls, u) {
				urls = append(urls, u)
			}
			needed[u] = needed[u] || !s.optional
		}
	}
	if len(urls) == 0 {
		return skip("because no host is known (aws_settings)")
	}
	return each(urls, func(at string) []Result {
		return mild(!needed[at], e.reach(ctx, at, "ecr.api and sts"))
	})
}

func (e *exam) registryHosts(ctx context.Context) []Result {
	if e.client == nil {
		return skip("because there is no AWS client (aws_settings)")
	}
	return each(indexes(e.specs), func(i int) []Result {
		s := e.specs[i]
		return mild(s.Optional, e.reach(ctx, "https://"+s.Host.Name+"/v2/", "ecr.dkr, and the gateway endpoint of s3 for layers"))
	})
}

func indexes[T any](items []T) []int {
	all := make([]int, len(items))
	for i := range items {
		all[i] = i
	}
	return all
}

// reach asks one host for anything.
func (e *exam) reach(ctx context.Context, at, endpoints string) []Result {
	host := at
	if u, err := url.Parse(at); err == nil {
		host = u.Host
	}
	a, err := e.client.Reach(ctx, at)
	if err != nil {
		e.mu.Lock()
		e.unreachable[host] = true
		e.mu.Unlock()
		how := "without a proxy"
		if a.Proxy != "" {
			how = "through the proxy " + a.Proxy
		}
		results := failed(err, "")
		results[0].Seen += ", " + how
		switch class, _ := fault.ClassOf(err); {
		case errors.As(err, new(*net.DNSError)) && a.Proxy == "":
			results[0].Cure = e.seeRegion(host) + ", and that the VPC resolves names\n" +
				"aws ec2 describe-vpc-attribute --vpc-id VPC --attribute enableDnsSupport"
		case a.Proxy != "" && (class == fault.Network || class == fault.Timeout):
			results[0].Cure += "; a direct connection needs NAT or the VPC endpoints " + endpoints
		case token.NoIPv4(err): // it has its cure: another name, and not another route
		case class == fault.Network, class == fault.Timeout:
			results[0].Cure = "let the task's subnet and security group reach it, by NAT or by the VPC endpoints " + endpoints +
				"\naws ec2 describe-vpc-endpoints --query 'VpcEndpoints[].[ServiceName,State,PrivateDnsEnabled]' --output table"
		case class == fault.TLS:
			results[0].Cure += "\nAWS_CA_BUNDLE=/path/to/ca.pem"
		}
		return of(host, results)
	}
	seen := "answered " + took(a.Took)
	switch {
	case a.Proxy != "":
		seen += " through the proxy " + a.Proxy
	case private(a.Peer):
		seen += " at " + a.Peer + ", a private address: a VPC endpoint"
	default:
		seen += " at " + a.Peer
	}
	if a.TLS != "" {
		seen += ", " + a.TLS + ", certificate by " + a.Issuer
	}
	if a.Dated {
		e.mu.Lock()
		e.skews = append(e.skews, skew{host, a.Skew})
		e.mu.Unlock()
	}
	return of(host, ok("%s", seen))
}

func private(peer string) bool {
	host, _, err := net.SplitHostPort(peer)
	return err == nil && net.ParseIP(host).IsPrivate()
}

// The local clock may be off by so much before people wonder, and before AWS refuses a signature.
const (
	skewOdd   = 5 * time.Second
	skewFatal = 5 * time.Minute
)

func (e *exam) clock(context.Context) []Result {
	if len(e.skews) == 0 {
		return skip("because no host said what time it is (api)")
	}
	// The first that answers with a wrong clock of its own is not AWS; the median is.
	slices.SortFunc(e.skews, func(a, b skew) int { return int(a.off.Milliseconds() - b.off.Milliseconds()) })
	s := e.skews[len(e.skews)/2]
	side := "ahead of"
	if s.off < 0 {
		side = "behind"
	}
	seen := fmt.Sprintf("the local clock is %s %s that of %s", s.off.Abs().Round(time.Second), side, s.host)
	const cure = "set the host's clock; on EC2 let chrony follow the Amazon Time Sync Service, on Fargate replace the task\nserver 169.254.169.123 prefer iburst minpoll 4 maxpoll 4"
	switch off := s.off.Abs(); {
	case off >= skewFatal:
		return fail("clock_skew: "+seen+": consumers that sign requests themselves are refused", cure)
	case off >= skewOdd:
		return warn(seen, cure)
	case off < 1500*time.Millisecond:
		return ok("within a second or so of that of %s", s.host)
	}
	return ok("%s", seen)
}
