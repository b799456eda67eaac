package token

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/secret"
)

// Whatever stands at the other end answers whole HTTP, byte by byte as the fuzzer likes, to the real SDK over the real transport:
// only TLS is left out, and the clock is a bubble's, so that an answer that never ends costs nothing.

// The ends of an answer; every other byte closes the connection.
const (
	hang    = 'h' // nothing more comes
	endless = 'e' // the last of it comes again and again
)

const (
	// patience is what a caller gives a call; nothing may take longer.
	patience = 10 * time.Second
	// most is what may be read of answers that do not end, the kernel's buffers and a second attempt included.
	most = 32 << 20
)

// peer answers.
type peer struct {
	raw    []byte
	tail   byte
	took   atomic.Int64      // bytes that were read of it
	asked  []string          // addresses, in order: requests are made one after another
	others map[string]string // answers of those who are not the one in question

	canonical string
}

// canonicalMark in an answer is the canonical string of the request, as AWS shows it where a signature is wrong: from its second
// line on, with the session token in it.
const (
	canonicalMark = "{canonical}"
	canonicalJSON = `\n\nThe Canonical String for this request should have been\n'POST\n/\n\nx-amz-security-token:`
)

var canonicalXML = strings.ReplaceAll(canonicalJSON, `\n`, "\n")

func (p *peer) dial(_ context.Context, _, addr string) (net.Conn, error) {
	if p.asked = append(p.asked, addr); len(p.asked) > 10 {
		return nil, errors.New("asked again and again")
	}
	raw, tail := p.raw, p.tail
	if other, ok := p.others[addr]; ok {
		raw, tail = []byte(other), 0
	}
	near, far := net.Pipe()
	go p.answer(far, raw, tail)
	return near, nil
}

func (p *peer) answer(c net.Conn, raw []byte, tail byte) {
	defer c.Close()
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return
	}
	if t := req.Header.Get("X-Amz-Security-Token"); t != "" {
		raw = bytes.ReplaceAll(raw, []byte(canonicalMark), []byte(p.canonical+t))
	}
	if req.ContentLength > 0 {
		// The SDK closes the request's body when the answer comes, and net/http takes what it then reads of it for a failure.
		time.Sleep(time.Millisecond)
	}
	n, err := c.Write(raw)
	p.took.Add(int64(n))
	switch {
	case err != nil:
	case tail == hang:
		_, _ = io.Copy(io.Discard, r)
	case tail == endless && len(raw) > 0:
		last := bytes.Repeat(raw[len(raw)-min(len(raw), 64):], 1+64<<10/64)
		for err == nil && p.took.Load() <= most {
			n, err = c.Write(last)
			p.took.Add(int64(n))
		}
	}
}

// lead makes every connection of a client one to the peer. What New puts around the transport stays.
func (p *peer) lead(c *Client) {
	wire := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxAnswer, DialContext: p.dial, DialTLSContext: p.dial}
	cfg := c.cfg()
	apis := *cfg.HTTPClient.(*http.Client)
	apis.Transport = withWire(apis.Transport, wire)
	cfg.HTTPClient = &apis
	registries := *c.http
	registries.Transport = withWire(registries.Transport, wire)
	c.cfg, c.http = func() aws.Config { return cfg }, &registries
	c.ids, c.apis = newIdentities(c.cfg, c.opts, c.caught), map[Scope]api{}
}

// withWire is a transport of the client's with another wire.
func withWire(t http.RoundTripper, wire *http.Transport) http.RoundTripper {
	if _, ok := t.(bounded); ok {
		return bounded{wire}
	}
	return wire
}

// The keys that sign the requests: no error may show them.
const (
	plantedKey     = "planted-access-key-0123456789"
	plantedSecret  = "planted-secret-access-key-0123456789"
	plantedSession = "planted-session-token-0123456789-0123456789-0123456789"
)

// plant gives the environment those keys.
func plant(f *testing.F) {
	clean(f)
	f.Setenv("AWS_ACCESS_KEY_ID", plantedKey)
	f.Setenv("AWS_SECRET_ACCESS_KEY", plantedSecret)
	f.Setenv("AWS_SESSION_TOKEN", plantedSession)
}

// head is that of a good answer whose body ends with the connection.
const head = "HTTP/1.1 200 OK\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nX-Amzn-Requestid: 11111111-2222-3333-4444-555555555555\r\nContent-Type: application/x-amz-json-1.1\r\n\r\n"

// bubbleStart is when every bubble begins, in the epoch seconds of ECR's answers.
const bubbleStart = 946684800

func tokenJSON(password string, life time.Duration, endpoint string) string {
	return fmt.Sprintf(`{"authorizationData":[{"authorizationToken":"%s","expiresAt":%d.25,"proxyEndpoint":"%s"}]}`,
		*encode("AWS:" + password), bubbleStart+int(life/time.Second), endpoint)
}

const (
	fuzzPassword = "cGxhbnRlZC1wYXNzd29yZC0wMTIzNDU2Nzg5LXBsYW50ZWQ="
	fuzzEndpoint = "https://123456789012.dkr.ecr.us-west-2.amazonaws.com"
)

func refusal(status int, code, message string) string {
	return fmt.Sprintf("HTTP/1.1 %d Nope\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nX-Amzn-Requestid: 1-2-3\r\nX-Amzn-Errortype: %s:http://internal.amazon.com/\r\n\r\n{\"__type\":\"%s\",\"message\":\"%s\"}", status, code, code, message)
}

// answers are what AWS's JSON APIs and those who stand in for them say; body makes a good one of a password, a life and an endpoint.
func answers(f *testing.F, body func(password string, life time.Duration, endpoint string) string) {
	f.Helper()
	add := func(raw string, tails ...byte) {
		for _, tail := range append(tails, 0) {
			f.Add([]byte(raw), tail)
		}
	}
	good := body(fuzzPassword, 12*time.Hour, fuzzEndpoint)
	add(head+good, hang)
	add(head + body(fuzzPassword, -time.Second, fuzzEndpoint))
	add(head + body(fuzzPassword, 13*time.Hour, fuzzEndpoint))
	add(head + body("", time.Hour, "https://123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"))
	add(head + body("a\x00b", time.Hour, "https://AWS:"+fuzzPassword+"@x/"))
	add(strings.Replace(head, "\r\n\r\n", fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", len(good)), 1) + good)
	add(strings.Replace(head, "\r\n\r\n", "\r\nContent-Length: 9999\r\n\r\n", 1)+good, hang)
	add(strings.Replace(head, "\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n", 1)+"7fffffff\r\n"+good, endless)
	add(strings.Replace(head, "2000", "2031", 1) + good)
	add(strings.Replace(head, "Date:", "Data:", 1) + good)
	add("HTTP/1.1 100 Continue\r\n\r\n" + head + good)
	add("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", endless)
	add(head + `{"authorizationData":[]}`)
	add(head+`{"authorizationData":[{"authorizationToken":"`, endless)
	add(head + strings.Repeat(`{"authorizationData":[`, 30))
	add(head + `{"authorizationData":[{"authorizationToken":"` + fuzzPassword + `!","expiresAt":1e400}]}`)
	add(head + `{"authorizationData":[{"authorizationToken":["` + *encode("AWS:" + fuzzPassword) + `"]}]}`)
	add(head + `{"authorizationData":[{"expiresAt":"never","authorizationToken":"` + *encode("AWS:" + fuzzPassword) + `"}]}`)
	add(head + "<html>captive portal</html>")
	add(head)
	add("")
	add("", hang)
	add("HTTP/1.1 200 OK\r\nX: ")
	add("HTTP/1.1 200 OK\r\nX: y\r\n", endless)
	add("\x16\x03\x01", hang)
	add("HTTP/1.1 307 Elsewhere\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n")
	add("HTTP/1.1 308 Elsewhere\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")
	add("HTTP/1.1 302 Elsewhere\r\nLocation: https://evil.example/\r\n\r\n")
	add("HTTP/1.1 407 Proxy\r\n\r\n")
	add("HTTP/1.1 403 Forbidden\r\n\r\n{", endless)
	add("HTTP/1.1 500 Oops\r\nX-Amzn-Requestid: \t\xff\t;\r\n\r\n{\"code\":\"A\\u0000B\",\"Message\":\"\\n\\u202e\"}")
	add("HTTP/1.1 400 Bad\r\nX-Amzn-Requestid: a\tb\r\nX-Amzn-Errortype: X\r\n\r\n{\"message\":\"" + strings.Repeat("é", 400) + "\"}")
	add(refusal(400, "AccessDeniedException", "User: arn:aws:sts::123456789012:assumed-role/t/0 is not authorized to perform: ecr:GetAuthorizationToken on resource: * because no identity-based policy allows it"))
	add(refusal(400, "ThrottlingException", "Rate exceeded"))
	add(refusal(400, "ExpiredTokenException", "The security token included in the request is expired"))
	add(refusal(403, "InvalidSignatureException", "Signature expired: 20000101T000000Z is now earlier than 20000101T010000Z"))
	add(refusal(403, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.{canonical}"))
	add(refusal(503, "ServiceUnavailable", ""))
	add(refusal(200, "UnknownError", "UnknownError"))
}

func FuzzPrivate(f *testing.F) {
	plant(f)
	answers(f, tokenJSON)
	c := newClient(f, Options{})
	f.Fuzz(func(t *testing.T, raw []byte, tail byte) {
		fuzzToken(t, c, here, raw, tail, "api.ecr.us-west-2.amazonaws.com:443")
	})
}

func FuzzPublic(f *testing.F) {
	plant(f)
	answers(f, func(password string, life time.Duration, _ string) string {
		return fmt.Sprintf(`{"authorizationData":{"authorizationToken":"%s","expiresAt":%d}}`, *encode("AWS:" + password), bubbleStart+int(life/time.Second))
	})
	c := newClient(f, Options{})
	f.Fuzz(func(t *testing.T, raw []byte, tail byte) {
		fuzzToken(t, c, Scope{Public: true, Region: "us-east-1"}, raw, tail, "api.ecr-public.us-east-1.amazonaws.com:443")
	})
}

const sessionXML = `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROA:s</AssumedRoleId><Arn>arn:aws:sts::210987654321:assumed-role/push/s</Arn></AssumedRoleUser><Credentials><AccessKeyId>answered-access-key</AccessKeyId><SecretAccessKey>answered-secret-access-key-0123456789</SecretAccessKey><SessionToken>answered-session-token-0123456789</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult><ResponseMetadata><RequestId>1-2-3</RequestId></ResponseMetadata></AssumeRoleResponse>`

func FuzzAssumeRole(f *testing.F) {
	plant(f)
	answers(f, func(_ string, life time.Duration, _ string) string {
		return fmt.Sprintf(sessionXML, time.Unix(bubbleStart, 0).Add(life).UTC().Format(time.RFC3339))
	})
	for _, raw := range []string{
		head + strings.Replace(sessionXML, "<Expiration>%s</Expiration>", "", 1),
		head + strings.Replace(sessionXML, "%s", "tomorrow", 1),
		head + strings.NewReplacer("%s", "2000-01-01T01:00:00Z", "answered-secret-access-key-0123456789", "").Replace(sessionXML),
		head + `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><AssumeRoleResponse>&b;</AssumeRoleResponse>`,
		head + strings.Repeat("<AssumeRoleResponse>", 50),
		"HTTP/1.1 403 Forbidden\r\n\r\n<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User is not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>",
		"HTTP/1.1 400 Bad\r\n\r\n<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>The security token included in the request is invalid.{canonical}</Message></Error></ErrorResponse>",
	} {
		f.Add([]byte(raw), byte(0))
	}
	c := newClient(f, Options{})
	s := Scope{Region: region, Roles: roleOne}
	ecr := head + tokenJSON(fuzzPassword, 12*time.Hour, fuzzEndpoint)
	f.Fuzz(func(t *testing.T, raw []byte, tail byte) {
		synctest.Test(t, func(t *testing.T) {
			const sts, api = "sts.us-west-2.amazonaws.com:443", "api.ecr.us-west-2.amazonaws.com:443"
			p := &peer{raw: raw, tail: tail, others: map[string]string{api: ecr}, canonical: canonicalXML}
			tok, err := call(t, c, p, s)
			if err == nil {
				checkUsable(t, tok, time.Now())
				if !slices.Equal(p.asked, []string{sts, api}) {
					t.Errorf("a token, having asked %q", p.asked)
				}
				if id := c.ids.of(s).last.Load(); id == nil || !id.HasKeys() || id.Expires.IsZero() {
					t.Errorf("signed with credentials that are none: %v", tok.CredentialsExpire)
				}
				return
			}
			checkRefused(t, p, tok, err, sts, fault.AssumeRole)
		})
	})
}

// call asks for a token, and holds what must be true of every call.
func call(t *testing.T, c *Client, p *peer, s Scope) (Token, error) {
	t.Helper()
	p.lead(c)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	tok, err := c.Token(ctx, s)
	if spent := time.Since(began); spent > patience {
		t.Errorf("took %v", spent)
	}
	cancel()
	synctest.Wait()
	if n := p.took.Load(); n > most {
		t.Errorf("%d bytes were read of an answer without an end", n)
	}
	return tok, err
}

func fuzzToken(t *testing.T, c *Client, s Scope, raw []byte, tail byte, addr string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{raw: raw, tail: tail, canonical: canonicalJSON}
		tok, err := call(t, c, p, s)
		if err != nil {
			checkRefused(t, p, tok, err, addr)
			return
		}
		now := time.Now()
		if date := dateOf(raw); !date.IsZero() {
			now = date
		}
		checkUsable(t, tok, now)
		if res := parsedAnswer(raw); res == nil || res.StatusCode < 200 || res.StatusCode > 299 {
			t.Error("a token out of an answer that is none")
		}
		if !slices.Equal(p.asked, []string{addr}) {
			t.Errorf("asked %q for one token", p.asked)
		}
	})
}

// checkUsable: what is accepted can be used, for as long as it says.
func checkUsable(t *testing.T, tok Token, now time.Time) {
	t.Helper()
	if life := tok.Life(); life <= 0 || life > MaxLife {
		t.Errorf("a token that lives %v", life)
	}
	plain, err := base64.StdEncoding.DecodeString(tok.Auth.Reveal())
	if name, password, ok := strings.Cut(string(plain), ":"); err != nil || !ok || name != "AWS" || password == "" {
		t.Errorf("not base64 of AWS:password: %v", err)
	}
	if off := tok.Issued.Sub(now).Abs(); off > patience {
		t.Errorf("issued %v, which is off the answer's time by %v", tok.Issued, off)
	}
}

// checkRefused is what must be true of every error: a class that fits the answer, a cure, one line, one host, no secret.
func checkRefused(t *testing.T, p *peer, tok Token, err error, addr string, more ...fault.Class) {
	t.Helper()
	if tok != (Token{}) {
		t.Error("a token beside the error")
	}
	allowed := append([]fault.Class{fault.InvalidResponse}, more...)
	res := parsedAnswer(p.raw)
	if res != nil && res.ContentLength < 0 { // its end is where the connection ends
		allowed = append(allowed, fault.Network)
	}
	switch whole := res != nil && p.tail != hang && p.tail != endless; {
	case res == nil || !whole || res.ContentLength > 0 || res.TransferEncoding != nil || res.Uncompressed || res.Header.Get("Content-Encoding") != "":
		allowed = append(allowed, fault.Network, fault.Timeout, fault.ServerError, fault.BadRequest, fault.Throttled, fault.AccessDenied, fault.CredentialsUnavailable, fault.ClockSkew)
	case res.StatusCode >= 300:
		allowed = append(allowed, fault.Network, fault.ServerError, fault.BadRequest, fault.Throttled, fault.AccessDenied, fault.CredentialsUnavailable, fault.ClockSkew)
	}
	checkText(t, err, p.raw, allowed)
	if len(p.asked) == 0 || len(p.asked) > 2 || slices.ContainsFunc(p.asked, func(a string) bool { return a != addr }) {
		t.Errorf("%v: asked %q, and nobody but %s, once or twice, should be", err, p.asked, addr)
	}
}

// checkText is what every error promises, whoever caused it.
func checkText(t *testing.T, err error, raw []byte, allowed []fault.Class) {
	t.Helper()
	class, ok := fault.ClassOf(err)
	text := err.Error()
	switch {
	case !ok || !slices.Contains(allowed, class):
		t.Errorf("class %q of %q, not one of %q", class, text, allowed)
	case fault.CureOf(err) == "":
		t.Errorf("%q has no cure", text)
	}
	for _, s := range []string{text, fault.CureOf(err)} {
		if len(s) > 1100 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) || !utf8.ValidString(s) {
			t.Errorf("not one line of at most 1100 bytes (%d): %q", len(s), s)
		}
	}
	shown := fmt.Sprintf("%s\n%s\n%+v\n%#v", text, fault.CureOf(err), err, err)
	wantNoSecret(t, shown, plantedKey, plantedSecret[:16], plantedSession[:16])
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n")) // net/http quotes a line of the head that is none
	rest := append(bytes.Clone(head), secretValues.ReplaceAll(body, nil)...)
	for _, m := range secretValues.FindAllSubmatch(body, -1) {
		for _, value := range m[1:] {
			decoded, _ := base64.StdEncoding.DecodeString(string(value))
			for _, v := range [][]byte{value, decoded} {
				for i := 0; i+16 <= len(v) && i < 512; i++ {
					if piece := v[i : i+16]; strings.Contains(shown, string(piece)) && !bytes.Contains(rest, piece) {
						t.Fatalf("%q shows %q of a secret", shown, piece)
					}
				}
			}
		}
	}
}

// secretValues are the secrets in an answer, where it is of good form.
var secretValues = regexp.MustCompile(`"(?i:authorizationToken|SecretAccessKey|Token)"\s*:\s*\[?\s*"([^"]*)|<(?i:SecretAccessKey|SessionToken)>([^<]*)`)

// parsedAnswer is the answer as net/http reads it from the front, nil where it is none.
func parsedAnswer(raw []byte) *http.Response {
	r := bufio.NewReader(bytes.NewReader(raw))
	for range 10 {
		res, err := http.ReadResponse(r, &http.Request{Method: http.MethodPost})
		if err != nil {
			return nil
		}
		if res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return res
		}
	}
	return nil
}

func dateOf(raw []byte) time.Time {
	res := parsedAnswer(raw)
	if res == nil {
		return time.Time{}
	}
	date, _ := http.ParseTime(res.Header.Get("Date"))
	return date
}

func FuzzAccepts(f *testing.F) {
	plant(f)
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\n{}", "HTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz",
		"HTTP/1.1 401 Unauthorized\r\nWww-Authenticate: Basic realm=\"https://x/\",service=\"ecr.amazonaws.com\"\r\nContent-Length: 15\r\n\r\nNot Authorized\n",
		"HTTP/1.1 403 Forbidden\r\n\r\nYour Authorization Token has expired", "HTTP/1.1 429 Slow\r\n\r\n", "HTTP/1.1 503 No\r\n\r\n",
		"HTTP/1.1 307 There\r\nLocation: http://evil.example/v2/\r\n\r\n", "HTTP/1.1 301 There\r\nLocation: \x7f\r\n\r\n",
		"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "HTTP/1.1 103 Hint\r\n\r\n", "HTTP/9.9 200\r\n\r\n", "HTTP/1.1 999 X\r\n\r\n", "HTTP/1.1 2OO OK\r\n\r\n", "",
	} {
		f.Add([]byte(raw), byte(0))
		f.Add([]byte(raw), byte(hang))
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\nX: y\r\n"), byte(endless))
	c := newClient(f, Options{})
	auth := secret.New(*encode("AWS:" + fuzzPassword))
	f.Fuzz(func(t *testing.T, raw []byte, tail byte) {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{raw: raw, tail: tail}
			p.lead(c)
			began := time.Now()
			err := c.Accepts(t.Context(), ownHost, auth)
			if spent := time.Since(began); spent > patience {
				t.Errorf("took %v", spent)
			}
			synctest.Wait()
			if n := p.took.Load(); n > most {
				t.Errorf("%d bytes were read of an answer without an end", n)
			}
			if !slices.Equal(p.asked, []string{ownHost + ":443"}) {
				t.Errorf("the token was sent to %q", p.asked)
			}
			status := 0
			if res := parsedAnswer(raw); res != nil {
				status = res.StatusCode
			}
			if err == nil {
				if status != http.StatusOK {
					t.Errorf("accepted with status %d", status)
				}
				return
			}
			wantNoSecret(t, fmt.Sprintf("%s\n%+v\n%#v", err, err, err), auth.Reveal(), fuzzPassword)
			allowed := []fault.Class{fault.Network, fault.Timeout, fault.ServerError, fault.BadRequest, fault.Throttled}
			if status == http.StatusUnauthorized || status == http.StatusForbidden {
				allowed = append(allowed, fault.TokenRejected)
			}
			checkText(t, err, raw, allowed)
		})
	})
}

// agentJSON is what the ECS agent answers.
func agentJSON(expires string) string {
	return `{"RoleArn":"arn:aws:iam::123456789012:role/t","AccessKeyId":"answered-access-key","SecretAccessKey":"answered-secret-access-key-0123456789","Token":"answered-session-token-0123456789","Expiration":"` + expires + `"}`
}

// FuzzCredentials puts the answers of the container credential endpoint before the SDK's provider as New sets it up: with a
// client of its own that cannot be led elsewhere, so over loopback and on the wall clock.
func FuzzCredentials(f *testing.F) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
	add := func(raw string, tails ...byte) {
		for _, tail := range append(tails, 0) {
			f.Add([]byte(raw), tail)
		}
	}
	add(ok+agentJSON("2100-01-01T00:00:00Z"), hang, endless)
	add(ok + agentJSON("1970-01-01T00:00:00Z"))
	add(ok + agentJSON("soon"))
	add(ok + `{"AccessKeyId":"A","SecretAccessKey":"","Token":"t"}`)
	add(ok + `{"AccessKeyId":7}`)
	add(ok+`{"AccessKeyId":"A","SecretAccessKey":"answered-secret-access-key-0123456789","Token":["`, endless)
	add(ok+"null", hang)
	add(ok + strings.Repeat("[", 2000))
	add("HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\n\r\n"+`{"code":"InvalidIdInRequest","message":"CredentialsV2Request: ID not found","HTTPErrorCode":400}`, endless)
	add("HTTP/1.1 500 Oops\r\n\r\n{\"code\":\"\\n\",\"message\":\"\\u0000\"}")
	add("HTTP/1.1 503 No\r\nContent-Type: text/html\r\n\r\n<html>", endless)
	add("HTTP/1.1 429 Slow\r\n\r\n")
	add("HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:1/\r\n\r\n")
	add("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b")
	add("", hang)

	clean(f)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	var now atomic.Pointer[peer]
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p := now.Load()
			p.took.Add(1)
			go p.answer(c, p.raw, p.tail)
		}
	}()
	const id = "planted-credentials-id-0123456789"
	f.Setenv(fullURI, "http://"+l.Addr().String()+"/v2/credentials/"+id)
	f.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", plantedSession)
	c := newClient(f, Options{Timeout: 200 * time.Millisecond})
	f.Fuzz(func(t *testing.T, raw []byte, tail byte) {
		p := &peer{raw: raw, tail: tail}
		now.Store(p)
		c.ids.root.invalidate()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		creds, err := c.ids.root.Retrieve(ctx)
		if spent := time.Since(began); spent > 3*time.Second {
			t.Errorf("took %v", spent)
		}
		if n := p.took.Load(); n > most {
			t.Errorf("%d bytes were read of an answer without an end", n)
		}
		if err == nil {
			if !creds.HasKeys() || creds.CanExpire && creds.Expired() && creds.Expires.After(time.Now()) {
				t.Errorf("credentials that are none, until %v", creds.Expires)
			}
			if res := parsedAnswer(raw); res == nil || res.StatusCode < 200 || res.StatusCode > 299 {
				t.Error("credentials out of an answer that is none")
			}
			return
		}
		checkText(t, err, raw, []fault.Class{fault.CredentialsUnavailable})
		wantNoSecret(t, fmt.Sprintf("%s\n%+v\n%#v", err, err, err), id)
	})
}

// FuzzEnvironment reads the variables that the SDK reads. Nobody is asked: addresses are literal.
func FuzzEnvironment(f *testing.F) {
	const id = "planted-credentials-id-0123456789"
	f.Add("us-west-2", "http://169.254.170.2/v2/credentials/"+id, "", "")
	f.Add("cn-north-1", "https://127.0.0.1:1/"+id+"?a=b", "Bearer planted", "https://127.0.0.1:4566")
	f.Add("us-gov-west-1", "/v2/"+id, "\r\nX: y", "::1")
	f.Add("evil.example/#", "http://[::1]:80/"+id, "", "http://127.0.0.1:80:80/")
	f.Add("x@evil.example:1/?", "http://10.0.0.1/"+id, "", "")
	f.Add("", "http://u:"+id+"@127.0.0.1/", "", "ftp://127.0.0.1")
	f.Add("us-west-2\x00", "%zz", "", "\x00")
	f.Add("aws-global", "http://127.0.0.1:99999/"+id, "", "")
	f.Add("fips-us-east-1", "http://[fe80::1%25lo]/"+id, "", "https://user:"+id+"@127.0.0.1/")
	clean(f)
	f.Fuzz(func(t *testing.T, inRegion, uri, login, endpoint string) {
		for _, v := range []string{inRegion, uri, login, endpoint} {
			if strings.ContainsRune(v, 0) {
				t.Skip("no process has such an environment")
			}
		}
		if host := hostOf(uri); host != "the host" && net.ParseIP(hostname(host)) == nil {
			t.Skip("a name would be looked up")
		}
		for name, v := range map[string]string{"AWS_REGION": inRegion, fullURI: uri, "AWS_CONTAINER_AUTHORIZATION_TOKEN": login, "AWS_ENDPOINT_URL_STS": endpoint} {
			if v == "" {
				_ = os.Unsetenv(name)
			} else {
				_ = os.Setenv(name, v)
			}
		}
		c, err := New(t.Context(), Options{Region: inRegion})
		if err != nil {
			text := err.Error()
			if len(text) > 400 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("not one short line: %q", text)
			}
			if _, rest, _ := strings.Cut(uri, "//"); !strings.Contains(strings.SplitN(rest, "/", 2)[0], id) { // a port may be shown
				wantNoSecret(t, text, id)
			}
			return
		}
		// The registries are named; only STS is asked where the variable says.
		s := Scope{Region: region, Roles: roleOne}
		if err := c.Check(s); (err == nil) != (endpoint == "" || isEndpoint(endpoint)) {
			t.Errorf("Check with the endpoint %q of STS: %v", endpoint, err)
		}
		urls, err := c.Endpoints(t.Context(), s)
		if err != nil {
			return
		}
		if len(urls) != 2 || urls[1] != "https://api.ecr.us-west-2.amazonaws.com" {
			t.Errorf("%q", urls)
		}
		if at := hostname(hostOf(urls[0])); endpoint == "" && hostLabels.MatchString(inRegion) && !awsHost.MatchString(at) {
			t.Errorf("region %q leads STS to %q by %q", inRegion, at, urls[0])
		}
		if got := c.ids.root.cache; uri == "" && got != (noCredentials{}) {
			t.Errorf("credentials from nowhere: %T", got)
		}
	})
}

// awsHost is a host of STS in some region: AWS's own, whatever the region is called.
var awsHost = regexp.MustCompile(`^sts(-fips)?(\.[A-Za-z0-9-]+)*\.(amazonaws\.(com|com\.cn|eu)|api\.aws|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$`)

// hostLabels are what the SDK's calls take for a region; the doctor, who only looks, takes all.
var hostLabels = regexp.MustCompile(`^[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*$`)

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}
