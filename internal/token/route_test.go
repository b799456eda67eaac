package token

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"ecr-refresher/internal/fault"
)

// A task in a subnet without IPv4 needs another name, and no NAT gives it one.
func TestClassOfNoIPv4(t *testing.T) {
	four, six := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}, &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 443}
	const own, nat = "123456789012.dkr.ecr.us-west-2.amazonaws.com", "NAT"
	for _, r := range []struct {
		host  string
		op    string
		addr  net.Addr
		errno syscall.Errno
		cure  string
	}{
		{own, "dial", four, syscall.ENETUNREACH, "123456789012.dkr-ecr.us-west-2.on.aws"},
		{own, "dial", four, syscall.EHOSTUNREACH, "123456789012.dkr-ecr.us-west-2.on.aws"},
		{own, "dial", nil, syscall.ENETUNREACH, "123456789012.dkr-ecr.us-west-2.on.aws"},
		{"public.ecr.aws", "dial", four, syscall.ENETUNREACH, "ecr-public.aws.com"},
		{"api.ecr.us-west-2.amazonaws.com", "dial", four, syscall.ENETUNREACH, "ACCOUNT.dkr-ecr.us-west-2.on.aws"},
		{"sts.cn-north-1.amazonaws.com.cn:443", "dial", four, syscall.ENETUNREACH, "ACCOUNT.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn"},
		{"api.ecr.us-iso-east-1.c2s.ic.gov", "dial", four, syscall.ENETUNREACH, "route table"},
		{"emulator.example.com", "dial", four, syscall.ENETUNREACH, "route table"},
		{own, "dial", six, syscall.ENETUNREACH, nat},
		{own, "dial", four, syscall.ECONNREFUSED, nat},
		{own, "proxyconnect", four, syscall.ENETUNREACH, "HTTPS_PROXY"},
		{own, "read", four, syscall.EHOSTUNREACH, nat},
	} {
		inner := error(&net.OpError{Op: "dial", Net: "tcp", Addr: r.addr, Err: os.NewSyscallError("connect", r.errno)})
		if r.op != "dial" {
			inner = &net.OpError{Op: r.op, Net: "tcp", Err: inner}
		}
		err := fmt.Errorf("ask: %w", &url.Error{Op: "Post", URL: "https://" + r.host + "/", Err: inner})
		v := classify(err, asked{})
		if v.class != fault.Network || !strings.Contains(v.cure, r.cure) || r.cure != nat && strings.Contains(v.cure, nat) {
			t.Errorf("%s %s %v %v: %+v", r.host, r.op, r.addr, r.errno, v)
		}
	}
}

// Credentials that one region does not know may be those of an account that has not enabled it; ECR Public has but one region.
func TestClassOfDisabledRegion(t *testing.T) {
	for _, r := range []struct {
		code  string
		at    asked
		class fault.Class
		cure  string
		not   string
	}{
		{"UnrecognizedClientException", askedOf(Scope{Region: "ap-east-1"}), fault.CredentialsUnavailable, "enable that region for the account", "STS"},
		{"UnrecognizedClientException", askedOf(Scope{Region: "ap-east-1"}), fault.CredentialsUnavailable, "only ap-east-1", "STS"},
		{"InvalidClientTokenId", asked{role: roleOne, region: "af-south-1"}, fault.CredentialsUnavailable, "only af-south-1", "ecr"},
		{"UnrecognizedClientException", askedOf(public), fault.CredentialsUnavailable, "fresh credentials", "region"},
		{"ExpiredTokenException", askedOf(here), fault.CredentialsUnavailable, "fresh credentials", "region"},
		{"RegionDisabledException", asked{role: roleOne, region: region}, fault.BadRequest, "enable the region", "policies"},
		{"OptInRequired", askedOf(here), fault.BadRequest, "enable the region", "policies"},
	} {
		v := byCode(r.code, "", 400, 0, r.at)
		if v.class != r.class || !strings.Contains(v.cure, r.cure) || strings.Contains(v.cure, r.not) {
			t.Errorf("%s %+v: %+v", r.code, r.at, v)
		}
	}
}
