package sandbox

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// maxSkew is how far a signature's time may be from the server's.
const maxSkew = 5 * time.Minute

const amzTime = "20060102T150405Z"

// authorization is a SigV4 Authorization header taken apart.
type authorization struct {
	keyID, region, service string
	signedHeaders          []string
	signature              string
}

func parseAuthorization(header string) (authorization, error) {
	rest, ok := strings.CutPrefix(header, "AWS4-HMAC-SHA256 ")
	if !ok {
		return authorization{}, fmt.Errorf("the Authorization header is not of AWS4-HMAC-SHA256")
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[k] = v
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" || fields["SignedHeaders"] == "" || fields["Signature"] == "" {
		return authorization{}, fmt.Errorf("the Authorization header lacks Credential, SignedHeaders or Signature")
	}
	return authorization{
		keyID: scope[0], region: scope[2], service: scope[3],
		signedHeaders: strings.Split(fields["SignedHeaders"], ";"), signature: fields["Signature"],
	}, nil
}

func errExpiredKey() *apiError {
	return refuse("ExpiredTokenException", "The security token included in the request is expired")
}

func errUnknownKey() *apiError {
	return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
}

func errSignature() *apiError {
	return refuse("InvalidSignatureException", "The request signature does not match the one the sandbox computed. Check the secret access key and the signing method.")
}

// authenticate verifies the signature as AWS does; the order of the checks decides which error a client with two mistakes sees.
func (s *Sandbox) authenticate(c *apiCall) *apiError {
	header := c.r.Header.Get("Authorization")
	if header == "" {
		return refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	auth, err := parseAuthorization(header)
	if err != nil {
		return refuse("IncompleteSignatureException", "%v", err)
	}
	if e := checkScope(c, auth); e != nil {
		return e
	}
	if c.key.id == "" {
		return errUnknownKey()
	}
	if token := c.r.Header.Get("X-Amz-Security-Token"); subtle.ConstantTimeCompare([]byte(token), []byte(c.key.session)) == 0 {
		return errUnknownKey()
	}
	now := s.now()
	if c.key.expiredAt(now) {
		return errExpiredKey()
	}
	signedAt, err := time.Parse(amzTime, c.r.Header.Get("X-Amz-Date"))
	switch {
	case err != nil:
		return refuse("IncompleteSignatureException", "X-Amz-Date is missing or not of the form %s", amzTime)
	case now.Sub(signedAt) > maxSkew:
		return refuse("InvalidSignatureException", "Signature expired: %s is now earlier than %s", signedAt.Format(amzTime), now.Add(-maxSkew).Format(amzTime))
	case signedAt.Sub(now) > maxSkew:
		return refuse("InvalidSignatureException", "Signature not yet current: %s is still later than %s", signedAt.Format(amzTime), now.Add(maxSkew).Format(amzTime))
	}
	if e := checkSignedHeaders(c.r.Header, auth); e != nil {
		return e
	}
	sum := sha256.Sum256(c.body)
	hash := hex.EncodeToString(sum[:])
	if given := c.r.Header.Get("X-Amz-Content-Sha256"); given != "" && given != hash {
		return refuse("InvalidSignatureException", "X-Amz-Content-Sha256 is not the hash of the body.")
	}
	if !signatureMatches(c.r, hash, auth, c.key, signedAt) {
		return errSignature()
	}
	return nil
}

// checkScope holds the signature's region and service against the call and the host.
func checkScope(c *apiCall, auth authorization) *apiError {
	region := c.place.region
	if c.service == "ecr-public" {
		region = ecrPublicRegion
	}
	switch {
	case auth.service != c.service:
		return refuse("InvalidSignatureException", "Credential should be scoped to correct service: '%s'.", c.service)
	case region != "" && auth.region != region:
		return refuse("InvalidSignatureException", "Credential should be scoped to a valid region, not '%s'.", auth.region)
	case partitionOf(auth.region).id == "":
		return refuse("InvalidSignatureException", "Credential should be scoped to a valid region, not '%s'.", auth.region)
	case c.key.id != "" && c.key.who.partition != partitionOf(auth.region).id:
		return errUnknownKey() // keys of one partition mean nothing in another
	}
	return nil
}

// checkSignedHeaders wants every X-Amz header that was sent to be under the signature.
func checkSignedHeaders(h http.Header, auth authorization) *apiError {
	for name := range h {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") && !slices.Contains(auth.signedHeaders, lower) {
			return refuse("InvalidSignatureException", "'%s' must be a 'SignedHeader' in the Authorization.", name)
		}
	}
	return nil
}

// signatureMatches signs the same headers with the secret that was issued and compares. The signer takes the scope's day from
// X-Amz-Date and always signs the host, so a client that did otherwise does not match.
func signatureMatches(r *http.Request, bodyHash string, auth authorization, key accessKey, signedAt time.Time) bool {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	again := &http.Request{
		Method: r.Method, Host: r.Host, Header: http.Header{},
		URL: &url.URL{Scheme: scheme, Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
	}
	for _, name := range auth.signedHeaders {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = slices.Clone(r.Header.Values(name))
		}
	}
	creds := aws.Credentials{AccessKeyID: key.id, SecretAccessKey: key.secret, SessionToken: key.session}
	if err := v4.NewSigner().SignHTTP(context.WithoutCancel(r.Context()), creds, again, bodyHash, auth.service, auth.region, signedAt); err != nil {
		return false
	}
	want, err := parseAuthorization(again.Header.Get("Authorization"))
	return err == nil && slices.Equal(want.signedHeaders, auth.signedHeaders) &&
		subtle.ConstantTimeCompare([]byte(want.signature), []byte(auth.signature)) == 1
}
