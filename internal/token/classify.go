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
)

// verdict is what a failure is, before it is known what was being done.
type verdict struct {
	class fault.Class
	text  string // one line, without a secret, shorter than the SDK's
	cure  string
}

// classify says what a failed call of an AWS API means. Codes come first, as only modelled errors carry a fault and a status
// is shared by many; then the status; then what kept an answer from coming.
func classify(err error) verdict {
	var api smithy.APIError
	var answered *smithyhttp.ResponseError
	hasCode, hasAnswer := errors.As(err, &api), errors.As(err, &answered)
	status, requestID := 0, ""
	if hasAnswer && answered.Response != nil {
		status = answered.HTTPStatusCode()
		requestID = answered.Response.Header.Get("X-Amzn-Requestid")
	}
	if hasCode && api.ErrorCode() != "" && status != http.StatusOK {
		v := byCode(api.ErrorCode(), status, skew(answered))
		v.text = clip(api.ErrorCode() + ": " + api.ErrorMessage())
		if requestID != "" {
			v.text += " (request " + requestID + ")"
		}
		return v
	}
	var garbled *smithy.DeserializationError
	switch {
	case errors.As(err, &garbled) || status == http.StatusOK:
		return verdict{fault.InvalidResponse, fmt.Sprintf("the answer (status %d) is not what the API promises", status), "see whether a proxy or a custom endpoint answers in place of AWS"}
	case status != 0:
		v := byStatus(status)
		v.text = fmt.Sprintf("the answer has status %d and no error code", status)
		return v
	}
	return byTransport(err)
}

func byCode(code string, status int, skew time.Duration) verdict {
	switch code {
	case "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized":
		return verdict{class: fault.AccessDenied, cure: "allow ecr:GetAuthorizationToken on resource * in the task role's policy; for public.ecr.aws also ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken"}
	case "ThrottlingException", "Throttling", "ThrottleException", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "SlowDown", "LimitExceededException":
		return throttled
	case "ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId":
		return verdict{class: fault.CredentialsUnavailable, cure: "the credentials in hand are not accepted; fresh ones are asked for at the next attempt"}
	case "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		if skew.Abs() > 4*time.Minute || code != "InvalidSignatureException" && code != "SignatureDoesNotMatch" {
			return verdict{class: fault.ClockSkew, cure: fmt.Sprintf("set the clock of the host: it differs from AWS's by about %s", skew.Round(time.Second))}
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
	return verdict{class: fault.BadRequest, cure: "see that region, endpoint and role belong together"}
}

// byTransport says why no answer came.
func byTransport(err error) verdict {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		name         x509.HostnameError
		certificate  x509.CertificateInvalidError
		record       tls.RecordHeaderError
		alert        tls.AlertError
		netErr       net.Error
		dns          *net.DNSError
	)
	text := clip(innermost(err))
	switch {
	case errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &name) || errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &alert):
		return verdict{fault.TLS, text, "if a proxy or a private endpoint has its own CA, give its certificate in AWS_CA_BUNDLE"}
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout():
		return verdict{fault.Timeout, "no answer in time", "see that the task's subnet and security group let it reach the endpoint (NAT, or the VPC endpoints ecr.api, ecr.dkr and sts)"}
	case errors.As(err, &dns):
		return verdict{fault.Network, text, "see that the region exists and that the VPC resolves names"}
	case isTransport(err):
		return verdict{fault.Network, text, "see that the task's subnet and security group let it reach the endpoint (NAT, or the VPC endpoints ecr.api, ecr.dkr and sts)"}
	}
	return verdict{fault.BadRequest, text, "see that region, endpoint and role belong together"}
}

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

// innermost is the text below the SDK's and net/http's ladders, which repeat the URL: for the credential endpoint that
// carries an id which is nobody else's business.
func innermost(err error) string {
	for {
		var u *url.Error
		var send *smithyhttp.RequestSendError
		var op *smithy.OperationError
		switch {
		case errors.As(err, &u) && u.Err != nil:
			err = u.Err
		case errors.As(err, &send) && send.Err != nil:
			err = send.Err
		case errors.As(err, &op) && op.Err != nil:
			err = op.Err
		default:
			return err.Error()
		}
	}
}

// clip makes one printable line of at most 300 bytes of a text that somebody else wrote.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
