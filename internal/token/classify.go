package token

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/plain"
)

// verdict is what a failure is, before it is known what was being done.
type verdict struct {
	class fault.Class
	text  string // one line, without a secret, shorter than the SDK's
	cure  string
}

// classify says what a failed call of an AWS API means. Codes come first, as only modelled errors carry a fault and a status
// is shared by many; then the status; then what kept an answer from coming.
func classify(err error, c asked) verdict {
	var api smithy.APIError
	var answered *smithyhttp.ResponseError      // the APIs'
	var coded interface{ HTTPStatusCode() int } // that one, and the credential endpoint's errors
	var garbled *smithy.DeserializationError
	status, requestID := 0, ""
	if errors.As(err, &coded) {
		status = coded.HTTPStatusCode()
	}
	if errors.As(err, &answered) && answered.Response != nil {
		requestID = answered.Response.Header.Get("X-Amzn-Requestid")
	}
	var cut *cutOff
	var panicked panicked
	switch refused := status == 0 || status >= 300; {
	case errors.As(err, &api) && api.ErrorCode() != "" && api.ErrorCode() != unknown && refused:
		v := byCode(api.ErrorCode(), api.ErrorMessage(), status, skew(answered), c)
		if d, denied := DenialOf(err); denied {
			v = verdict{class: fault.AccessDenied, cure: denialCure(d, c)}
		}
		// Where a signature is wrong, AWS's next lines are what should have been signed: the session token is in it.
		message, _, _ := strings.Cut(api.ErrorMessage(), "\n")
		v.text = clip(strings.TrimSuffix(api.ErrorCode()+": "+message, ": "+unknown))
		if n := len(requestID); n > 0 && n <= 64 { // AWS's has 36
			v.text += " (request " + clip(requestID) + ")"
		}
		return v
	case errors.As(err, &panicked):
		return verdict{fault.InvalidResponse, panicked.Error(), "see whether a proxy or a custom endpoint answers in place of AWS; with --log-level=debug the log has the stack, for a report"}
	case errors.As(err, &cut):
		return byCut(cut)
	case status != 0 && refused:
		v := byStatus(status)
		v.text = fmt.Sprintf("the answer has status %d and no error code", status)
		return v
	case errors.Is(err, errIncomplete):
		return verdict{fault.InvalidResponse, errIncomplete.Error(), notAWS}
	case errors.As(err, &garbled) || status != 0:
		return verdict{fault.InvalidResponse, "the answer is not what the API promises", notAWS}
	}
	return byTransport(err)
}

// unknown is the SDK's word for a code or a message that is not there.
const unknown = "UnknownError"

// notAWS is the cure of an answer that AWS would not give.
const notAWS = "see whether a proxy or a custom endpoint answers in place of AWS"

func byCode(code, message string, status int, skew time.Duration, c asked) verdict {
	switch code {
	case "ThrottlingException", "Throttling", "ThrottleException", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "SlowDown", "LimitExceededException":
		return throttled
	case "ExpiredTokenException", "ExpiredToken":
		return staleCredentials
	case "UnrecognizedClientException", "InvalidClientTokenId":
		// A region that the account has not enabled knows none of its credentials.
		v := staleCredentials
		if c.region != "" {
			v.cure = "if only " + c.region + " answers so, enable that region for the account (aws account enable-region); else " + v.cure
		}
		return v
	case "RegionDisabledException", "OptInRequired", "SubscriptionRequiredException":
		return verdict{class: fault.BadRequest, cure: "enable the region for the account, and STS in it (aws account enable-region, IAM account settings)"}
	case "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		// A clock that was just put right is refused too, once: the SDK still signs with the difference that it has learnt.
		late := strings.HasPrefix(message, "Signature expired") || strings.HasPrefix(message, "Signature not yet current")
		if late || skew.Abs() > 4*time.Minute || code != "InvalidSignatureException" && code != "SignatureDoesNotMatch" {
			return verdict{class: fault.ClockSkew, cure: fmt.Sprintf("set the clock of the host: by the answer's Date it is off by about %s; if that is little, it was just set, and the next attempt works", skew.Round(time.Second).Abs())}
		}
		return verdict{class: fault.BadRequest, cure: "see whether a proxy changes the request, or whether the credentials in the environment are damaged"}
	}
	return byStatus(status)
}

var throttled = verdict{class: fault.Throttled, cure: "nothing to do: it is tried again more slowly; if it stays, ask AWS for a higher quota of GetAuthorizationToken"}

func byStatus(status int) verdict {
	switch {
	case status == http.StatusTooManyRequests:
		return throttled
	case status >= 500:
		return verdict{class: fault.ServerError, cure: "nothing to do here: see the AWS Health Dashboard for the region"}
	case status == http.StatusProxyAuthRequired:
		return verdict{class: fault.Network, cure: "give the proxy's user and password in HTTPS_PROXY"}
	}
	return wrongCall
}

// The verdicts that several failures share.
var (
	staleCredentials = verdict{class: fault.CredentialsUnavailable,
		cure: "fresh credentials are asked for at the next attempt; if these come from AWS_ACCESS_KEY_ID, remove it in favour of the task role"}
	wrongCall = verdict{class: fault.BadRequest, cure: "see that region, endpoint and role belong together"}
)

// byTransport says why no answer came.
func byTransport(err error) verdict {
	var (
		verification *tls.CertificateVerificationError
		certificate  x509.CertificateInvalidError
		record       tls.RecordHeaderError // no TLS at all
		op           *net.OpError
		netErr       net.Error
		dns          *net.DNSError
	)
	text := clip(innermost(err))
	if before, _, broken := strings.Cut(text, brokenHTTP); broken && !errors.As(err, &op) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		text = before + brokenHTTP + "the answer is not HTTP as it should be" // net/http quotes it, and it may hold what we sent
	}
	from, asked := "", ""
	if at := askedHost(err); at != "" {
		text, from = at+": "+text, " from "+at
	}
	var u *url.Error
	if errors.As(err, &u) {
		asked = u.URL
	}
	var refused *proxyRefused
	if errors.As(err, &refused) || errors.As(err, &op) && op.Op == "proxyconnect" {
		return byProxy(err, text)
	}
	switch {
	case errors.As(err, &certificate) && certificate.Reason == x509.Expired:
		return verdict{fault.TLS, text, "see the clock of the host, and the certificate of the proxy or private endpoint if there is one"}
	case errors.As(err, &verification) || errors.As(err, &record) || errors.As(err, &op) && op.Op == "remote error": // an alert
		return verdict{fault.TLS, text, "if a proxy or a private endpoint has its own CA, give its certificate in AWS_CA_BUNDLE"}
	case errors.As(err, &netErr) && netErr.Timeout() && proxyOf(asked) != "": // as context.DeadlineExceeded is
		return verdict{fault.Timeout, "no answer in time" + from + " through the proxy " + proxyOf(asked), useProxy}
	case errors.As(err, &netErr) && netErr.Timeout():
		return verdict{fault.Timeout, "no answer in time" + from, "see that the task's subnet and security group let it reach the endpoint (NAT, or the VPC endpoints ecr.api, ecr.dkr and sts)"}
	case errors.As(err, &dns):
		return verdict{fault.Network, text, "see that the region exists and that the VPC resolves names"}
	case NoIPv4(err):
		host, _, _ := strings.Cut(askedHost(err), ":")
		return verdict{fault.Network, text, noIPv4Cure(host)}
	case isTransport(err):
		return verdict{fault.Network, text, "see that the task's subnet and security group let it reach the endpoint (NAT, or the VPC endpoints ecr.api, ecr.dkr and sts)"}
	}
	return verdict{fault.BadRequest, text, wrongCall.cure}
}

// useProxy is the cure where a proxy does not lead to AWS.
const useProxy = "see that the proxy in HTTPS_PROXY is reachable from the task and lets the host pass, or name the host in NO_PROXY"

// byProxy says why a proxy did not lead to the host.
func byProxy(err error, text string) verdict {
	var (
		refused      *proxyRefused
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		netErr       net.Error
		dns          *net.DNSError
	)
	switch {
	case errors.As(err, &refused) && refused.status == http.StatusProxyAuthRequired:
		return verdict{fault.Network, text, "give the proxy's user and password in HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT"}
	case errors.As(err, &refused):
		return verdict{fault.Network, text, "let the proxy in HTTPS_PROXY pass CONNECT to the host, or name the host in NO_PROXY"}
	case errors.As(err, &verification):
		return verdict{fault.TLS, text, "the proxy's own certificate is not trusted: give its CA in AWS_CA_BUNDLE, or write HTTPS_PROXY with http:// if the proxy speaks plain HTTP"}
	case errors.As(err, &record):
		return verdict{fault.TLS, text, "the proxy speaks plain HTTP: write HTTPS_PROXY with http://"}
	case errors.As(err, &dns):
		return verdict{fault.Network, text, "see the proxy's host name in HTTPS_PROXY, and that the VPC resolves it"}
	case errors.As(err, &netErr) && netErr.Timeout():
		return verdict{fault.Timeout, text, useProxy}
	}
	return verdict{fault.Network, text, useProxy}
}

// cutShort is the cure of an answer that began and did not end.
const cutShort = "if it happens each time, large packets are lost on the way (an MTU black hole): lower the MTU of the tunnel or interface, and let ICMP type 3 code 4 pass in network ACLs and security groups; else see the proxy or firewall in between"

// byCut says what ended an answer that had begun.
func byCut(cut *cutOff) verdict {
	var netErr net.Error
	if errors.As(cut.cause, &netErr) && netErr.Timeout() { // as context.DeadlineExceeded is
		return verdict{fault.Timeout, "the answer from " + cut.host + " began and did not end in time", cutShort}
	}
	return verdict{fault.Network, "the answer from " + cut.host + " ended in the middle: " + clip(innermost(cut.cause)), cutShort}
}

// brokenHTTP stands in net/http's errors before the reason why an answer could not be read.
const brokenHTTP = "transport connection broken: "

func isTransport(err error) bool {
	var op *net.OpError
	var u *url.Error
	var send *smithyhttp.RequestSendError
	return errors.As(err, &op) || errors.As(err, &u) || errors.As(err, &send) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled)
}

// skew is how far the server's clock is ahead of the local one, as its answer tells.
func skew(r *smithyhttp.ResponseError) time.Duration {
	if r == nil || r.Response == nil {
		return 0
	}
	date, err := http.ParseTime(r.Response.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return time.Until(date)
}

// askedHost is the host of the request that failed, if the error knows it: nothing else of its URL.
func askedHost(err error) string {
	var u *url.Error
	if !errors.As(err, &u) {
		return ""
	}
	at, err := url.Parse(u.URL)
	if err != nil {
		return ""
	}
	return at.Host
}

// innermost is the text below the SDK's and net/http's ladders, which repeat the URL: for the credential endpoint that
// carries an id which is nobody else's business.
func innermost(err error) string {
	for {
		var u *url.Error
		var send *smithyhttp.RequestSendError
		var op *smithy.OperationError
		switch {
		case errors.As(err, &u) && u.Op == "parse":
			return "not a valid URL" // more would quote it, and its password with it
		case errors.As(err, &u) && u.Err != nil:
			err = u.Err
		case errors.As(err, &send) && send.Err != nil:
			err = send.Err
		case errors.As(err, &op) && op.Err != nil:
			err = op.Err
		default:
			// The SDK quotes an endpoint that it cannot parse, and the password in it.
			before, _, quoted := strings.Cut(err.Error(), "Failed to parse uri")
			if quoted {
				return before + "the endpoint is not a valid URL"
			}
			return before
		}
	}
}

// clip makes one printable line of a text that somebody else wrote. What is too much is cut out of the middle: AWS says who at the
// beginning and why at the end.
func clip(s string) string { return plain.Text(s, mostClip) }

// mostClip holds the longest denial of AWS: two ARNs with long names, and why.
const mostClip = 700
