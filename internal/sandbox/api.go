package sandbox

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// The X-Amz-Target prefixes of the two JSON 1.1 services, as in their API models.
const (
	ecrTarget       = "AmazonEC2ContainerRegistry_V20150921"
	ecrPublicTarget = "SpencerFrontendService"
)

// maxBody of an API call: the ones known here are under 2 KB.
const maxBody = 64 << 10

// apiError is an error answer in JSON's terms; STS translates it.
type apiError struct {
	status  int
	code    string
	message string
}

func refuse(code, format string, a ...any) *apiError {
	return &apiError{http.StatusBadRequest, code, fmt.Sprintf(format, a...)}
}

// isAPICall tells calls of AWS APIs, which may come by any name (a VPC endpoint, a CNAME), from the rest.
func isAPICall(r *http.Request) bool {
	if r.Method != http.MethodPost {
		return false
	}
	return r.Header.Get("X-Amz-Target") != "" || mediaType(r) == "application/x-www-form-urlencoded"
}

func mediaType(r *http.Request) string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}

// apiCall is an exchange with a parsed call in it.
type apiCall struct {
	*exchange
	body []byte
	form url.Values // of STS
	auth authorization
	key  accessKey
}

// api serves one call of an AWS API.
func (s *Sandbox) api(x *exchange) {
	x.w.Header().Set("X-Amzn-Requestid", randomUUID())
	c := &apiCall{exchange: x}
	if err := c.parse(); err != nil {
		c.fail(err)
		return
	}
	s.journal.count(x.service + ":" + x.operation)
	kind, done := x.misbehave(c.faultTarget(), s.settings.values().latency)
	if done {
		return
	}
	if kind != "" {
		c.fail(s.faultError(c, kind))
		return
	}
	if err := s.authenticate(c); err != nil {
		c.fail(err)
		return
	}
	if faults := s.faults.take(c.faultTarget(), afterAuth); len(faults) > 0 { // never more than one
		if f := faults[0]; f.Kind == AccessDenied {
			c.fail(c.denied(f.Reason))
		} else {
			c.fail(s.faultError(c, f.Kind))
		}
		return
	}
	var err *apiError
	switch x.service + ":" + x.operation {
	case "ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken":
		err = s.authorizationToken(c)
	case "sts:AssumeRole":
		err = s.assumeRole(c)
	case "sts:GetCallerIdentity":
		err = s.callerIdentity(c)
	default:
		err = refuse("UnknownOperationException", "the sandbox does not know %s:%s", x.service, x.operation)
	}
	if err != nil {
		c.fail(err)
	}
}

// parse finds out what is called, for which region and by whom, and trusts none of it yet.
func (c *apiCall) parse() *apiError {
	service, operation, ok := strings.Cut(c.r.Header.Get("X-Amz-Target"), ".")
	switch {
	case service == "":
		c.service = "sts"
	case service == ecrTarget && ok:
		c.service, c.operation = "ecr", operation
	case service == ecrPublicTarget && ok:
		c.service, c.operation = "ecr-public", operation
	default:
		return refuse("UnknownOperationException", "no service of the sandbox has this X-Amz-Target")
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		return &apiError{http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "the request is too large"}
	} else if err != nil {
		return refuse("SerializationException", "the request ended early")
	}
	c.body = body
	if c.service == "sts" {
		if c.form, err = url.ParseQuery(string(body)); err != nil {
			return refuse("SerializationException", "the form cannot be parsed")
		}
		c.operation = c.form.Get("Action")
	}
	c.auth, _ = parseAuthorization(c.r.Header.Get("Authorization")) // authenticate reports what is wrong with it
	c.region = c.auth.region
	if key, ok := c.s.vault.key(c.auth.keyID); ok {
		c.key, c.who = key, key.who
	}
	if at := c.place.service; at != "" && at != c.service {
		return refuse("UnknownOperationException", "this is an endpoint of %s, not of %s", at, c.service)
	}
	return nil
}

// faultTarget narrows by the role to be assumed where there is one: it is the one that a test means.
func (c *apiCall) faultTarget() target {
	t := c.target()
	if arn := c.form.Get("RoleArn"); arn != "" {
		t.roleARN, t.role = arn, arn[strings.LastIndex(arn, "/")+1:]
	}
	return t
}

// checkJSON is the protocol's part of a JSON 1.1 call.
func (c *apiCall) checkJSON() *apiError {
	if mediaType(c.r) != "application/x-amz-json-1.1" {
		return refuse("SerializationException", "the content type is not application/x-amz-json-1.1")
	}
	var in map[string]json.RawMessage
	if err := json.Unmarshal(c.body, &in); err != nil {
		return refuse("SerializationException", "the body is not a JSON object")
	}
	return nil
}

// faultError words a fault as its service does.
func (s *Sandbox) faultError(c *apiCall, kind Kind) *apiError {
	switch kind {
	case Throttled:
		return refuse("ThrottlingException", "Rate exceeded")
	case Throttled429:
		return &apiError{http.StatusTooManyRequests, "TooManyRequestsException", "Rate exceeded"}
	case Rate429:
		return &apiError{http.StatusTooManyRequests, "ThrottleException", "Rate exceeded"}
	case ServerError:
		return &apiError{http.StatusInternalServerError, "ServerException", "an internal error (a fault of the sandbox)"}
	case Unavailable:
		return &apiError{http.StatusServiceUnavailable, "ServiceUnavailableException", "the service is unavailable (a fault of the sandbox)"}
	case BadRequest:
		return refuse("InvalidParameterException", "a parameter is invalid (a fault of the sandbox)")
	case ExpiredToken:
		return errExpiredKey()
	case UnrecognizedClient:
		return errUnknownKey()
	case InvalidSignature:
		return errSignature()
	}
	return &apiError{http.StatusNotImplemented, "InternalFailure", "the sandbox has no answer for fault " + string(kind)}
}

// denied words a denial as AWS does.
func (c *apiCall) denied(reason string) *apiError {
	action := c.service + ":" + c.operation
	if reason == "" {
		reason = "because no identity-based policy allows the " + action + " action"
	}
	return refuse("AccessDeniedException", "User: %s is not authorized to perform: %s on resource: %s %s",
		c.who.arn(), action, cmp.Or(c.form.Get("RoleArn"), "*"), reason)
}

// fail writes an error in the protocol of the service.
func (c *apiCall) fail(e *apiError) {
	if c.service == "sts" {
		e = stsError(e)
		type body struct {
			XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
			Type      string   `xml:"Error>Type"`
			Code      string   `xml:"Error>Code"`
			Message   string   `xml:"Error>Message"`
			RequestID string   `xml:"RequestId"`
		}
		fault := "Sender"
		if e.status >= 500 {
			fault = "Receiver"
		}
		c.writeXML(e.status, body{Type: fault, Code: e.code, Message: e.message, RequestID: c.w.Header().Get("X-Amzn-Requestid")})
		return
	}
	c.writeJSON(e.status, map[string]string{"__type": e.code, "message": e.message})
}

func (c *apiCall) writeJSON(status int, v any) {
	c.w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	c.w.WriteHeader(status)
	_ = json.NewEncoder(c.w).Encode(v) // the client may be gone
}

func (c *apiCall) writeXML(status int, v any) {
	c.w.Header().Set("Content-Type", "text/xml")
	c.w.WriteHeader(status)
	_ = xml.NewEncoder(c.w).Encode(v)
}
