package token

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"ecr-refresher/internal/fault"
)

// What the doctor asks: the steps of one call, each alone, by the same clients, proxy, CA bundle and deadlines.

// HidesTaskRole are the variables that come before the container's credential endpoint in the SDK's order.
func HidesTaskRole() []string {
	return []string{"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_PROFILE"}
}

// Credentials are what is known of an identity's credentials, without the keys.
type Credentials struct {
	Provider string    // in the SDK's words
	Expires  time.Time // zero where they do not, or it is not known
}

// Credentials asks for the credentials on the way to a scope: after that many of its roles, 0 for the task role's own. They are
// the ones that Token uses, and cached as for it. Every error is a [fault.Error].
func (c *Client) Credentials(ctx context.Context, s Scope, roles int) (found Credentials, err error) {
	defer func() {
		if v := recover(); v != nil {
			c.caught(v, &err)
			verdict := classify(err, asked{})
			err = &fault.Error{Class: verdict.class, Op: "get credentials", Err: err, Cure: verdict.cure}
		}
	}()
	id := c.ids.of(s)
	for range len(strings.Fields(s.Roles)) - roles {
		id = id.parent
	}
	creds, err := id.Retrieve(ctx)
	if err != nil {
		return Credentials{}, err
	}
	found = Credentials{Provider: creds.Source}
	if creds.CanExpire {
		found.Expires = creds.Expires.Add(expiryWindow) // which the cache took off
	}
	return found, nil
}

// Endpoints are the URLs that a token of a scope needs: the API's, and before it that of STS where roles are assumed.
func (c *Client) Endpoints(ctx context.Context, s Scope) (urls []string, err error) {
	defer func() {
		if c.caught(recover(), &err); err != nil {
			err = &spoken{clip(innermost(err)), err}
		}
	}()
	if s.Roles != "" {
		o := sts.NewFromConfig(c.cfg(), stsEndpoint(s.FIPS, s.DualStack)).Options()
		u, err := o.EndpointResolverV2.ResolveEndpoint(ctx, sts.EndpointParameters{
			Region: &o.Region, Endpoint: o.BaseEndpoint,
			UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
			UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		})
		if err != nil {
			return nil, err
		}
		urls = append(urls, u.URI.String())
	}
	u, err := c.api(s).url(ctx)
	if err != nil {
		return nil, err
	}
	return append(urls, u), nil
}

// Answer is how a host answered a request without a login.
type Answer struct {
	Status int
	Took   time.Duration
	Peer   string        // address and port that was connected to: the proxy's, where there is one
	Proxy  string        // host and port of the proxy, empty where there is none
	TLS    string        // its version, empty without TLS
	Issuer string        // of the certificate
	Skew   time.Duration // how far the local clock is ahead of the answer's Date, which is good to a second
	Dated  bool          // the answer has a Date
}

// Reach asks a host for anything, without a login, to see whether it can be reached and what it says of the time: whatever it
// answers is good. It ends when ctx does, and after the client's timeout. Every error is a [fault.Error].
func (c *Client) Reach(ctx context.Context, at string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	var a Answer
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) { a.Peer = got.Conn.RemoteAddr().String() },
	})
	op := "reach " + hostOf(at)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return Answer{}, &fault.Error{Class: fault.BadRequest, Op: op, Err: &spoken{clip(innermost(err)), err}, Cure: "see that the name is a host name"}
	}
	req.Header.Set("User-Agent", "ecr-refresher/"+c.opts.Version)
	if proxy, err := http.ProxyFromEnvironment(req); err == nil && proxy != nil { // as the SDK's transport does
		a.Proxy = proxy.Host // no more of it: a password may stand before
	}
	start := time.Now()
	res, err := c.http.Do(req)
	if err != nil {
		v := byTransport(err)
		return a, &fault.Error{Class: v.class, Op: op, Cure: v.cure, Err: &spoken{v.text, err}}
	}
	defer res.Body.Close()
	a.Status, a.Took = res.StatusCode, time.Since(start)
	if res.TLS != nil {
		a.TLS = tls.VersionName(res.TLS.Version)
		a.Issuer = clip(res.TLS.PeerCertificates[0].Issuer.String())
	}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		// A Date is cut to its second, and was written between the question and the answer.
		a.Dated, a.Skew = true, start.Add(a.Took/2).Sub(date.Add(time.Second/2))
	}
	return a, nil
}

// hostOf is the host of a URL, for an error; the URL itself may carry more than a reader needs.
func hostOf(at string) string {
	if u, err := url.Parse(at); err == nil && u.Host != "" {
		return u.Host
	}
	return "the host"
}
