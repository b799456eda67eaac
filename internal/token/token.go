// Package token owns what an ECR authorization token is, how one is obtained, and whether a registry accepts it.
//
// It is the only place that imports the AWS SDK, and the edge at which every failure of AWS, of the container credential
// endpoint and of the network gets its class. It refuses to know when a token is needed, where it is written, and what the
// time is: a [Token] is dated by the server that issued it.
package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/secret"
)

const (
	// MaxLife bounds the life of a token that we believe in. ECR says 12 hours; the hour more allows for a server whose
	// Date header is missing and a local clock that stands in for it.
	MaxLife = 13 * time.Hour

	// maxSize bounds the encoded token. AWS says that the size is not fixed; up to 4 KB was seen.
	maxSize = 64 << 10

	// user is the only user name that ECR issues tokens for.
	user = "AWS"
)

// Token is one answer of GetAuthorizationToken, checked. Immutable.
type Token struct {
	Auth    secret.Secret // base64("AWS:" + password): the value of an auths entry and of HTTP Basic authentication
	Issued  time.Time     // when, on the server's clock
	Expires time.Time     // when, on the server's clock; an upper bound

	// CustomEndpoint says that the endpoint that answered is not AWS's own: an emulator, a proxy by a name of its own. Nobody
	// vouches for its clock.
	CustomEndpoint bool

	CredentialsExpire time.Time // when the credentials that asked for it end; zero if they do not or it is not known
}

// Life is how long the token was valid when it was issued.
func (t Token) Life() time.Duration { return t.Expires.Sub(t.Issued) }

// answer is what the two APIs (private and public) say, before anything is believed.
type answer struct {
	token    *string
	expires  *time.Time
	registry *string // the URL of one; nil where there is none to be held against the scope, as in ECR Public's answers
}

// parse makes a token of an answer, or says why it is none. Errors quote nothing that could hold a piece of the token.
func parse(a answer, s Scope, issued time.Time) (Token, error) {
	switch {
	case a.token == nil || *a.token == "":
		return Token{}, errors.New("the answer has no authorizationToken")
	case a.expires == nil:
		return Token{}, errors.New("the answer has no expiresAt")
	case len(*a.token) > maxSize:
		return Token{}, fmt.Errorf("the token is %d bytes long, more than %d", len(*a.token), maxSize)
	}
	plain, err := base64.StdEncoding.DecodeString(*a.token)
	if err != nil {
		return Token{}, errors.New("the token is not base64")
	}
	defer clear(plain)
	name, password, ok := bytes.Cut(plain, []byte(":"))
	switch {
	case !ok:
		return Token{}, errors.New("the token has no colon between user and password")
	case string(name) != user || len(password) == 0:
		return Token{}, errors.New("the token is not of the form AWS:password")
	case bytes.ContainsFunc(password, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Token{}, errors.New("the password has a control character")
	}
	t := Token{
		Auth:    secret.New(base64.StdEncoding.EncodeToString(plain)),
		Issued:  issued,
		Expires: *a.expires,
	}
	switch life := t.Life(); {
	case life <= 0:
		return Token{}, fmt.Errorf("the token expired at %s, before it was issued at %s", stamp(t.Expires), stamp(issued))
	case life > MaxLife:
		return Token{}, fmt.Errorf("the token expires at %s, more than %s after it was issued at %s: ECR's live for 12h", stamp(t.Expires), MaxLife, stamp(issued))
	}
	if err := checkRegistry(a.registry, s); err != nil {
		return Token{}, err
	}
	return t, nil
}

// checkRegistry holds the registry that AWS's answer names against the region that was asked; a region is of one partition.
func checkRegistry(endpoint *string, s Scope) error {
	if endpoint == nil {
		return nil
	}
	u, err := url.Parse(*endpoint)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return errors.New("the answer's proxyEndpoint is not the address of a registry")
	}
	h, err := registry.ParseHost(u.Host)
	if err != nil {
		return errors.New("the answer's proxyEndpoint is not a registry of ECR")
	}
	if h.Region != s.Region {
		return fmt.Errorf("the answer is for region %s, asked was %s", h.Region, s.Region)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
