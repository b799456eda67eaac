package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind names a misbehaviour.
type Kind string

// The kinds. STS says the same in XML and with its own codes: AccessDenied, Throttling, InternalFailure, ValidationError,
// ExpiredToken, InvalidClientTokenId, SignatureDoesNotMatch.
const (
	AccessDenied       Kind = "access_denied"       // 400 AccessDeniedException; the agent: 403
	Throttled          Kind = "throttled"           // 400 ThrottlingException
	Throttled429       Kind = "throttled_429"       // 429 TooManyRequestsException
	Rate429            Kind = "rate_429"            // 429 ThrottleException, which no model has and the SDK does not retry
	ServerError        Kind = "server_error"        // 500 ServerException
	Unavailable        Kind = "unavailable"         // 503; the agent: CredentialsUninitialized
	BadRequest         Kind = "bad_request"         // 400 InvalidParameterException
	ExpiredToken       Kind = "expired_token"       // 400 ExpiredTokenException
	UnrecognizedClient Kind = "unrecognized_client" // 400 UnrecognizedClientException
	InvalidSignature   Kind = "invalid_signature"   // 400 InvalidSignatureException
	Hang               Kind = "hang"                // no answer until the client goes away or Close
	Reset              Kind = "reset"               // the connection is reset
	Refused            Kind = "refused"             // the connection is closed without an answer
	Slow               Kind = "slow"                // Fault.Latency before the answer (2 s when zero); joins with another kind
	NoDate             Kind = "no_date"             // no Date header; joins with another kind
	Garbage            Kind = "garbage"             // 200 with an HTML page
	EmptyList          Kind = "empty_list"          // no authorization data
	NoToken            Kind = "no_token"            // the secret is missing from the answer
	NoExpiry           Kind = "no_expiry"           // the expiry is missing from the answer
	Expires1970        Kind = "expires_1970"        // the answer says 1970-01-01; what it carries works
	Expires2200        Kind = "expires_2200"        // the answer says 2200-01-01; what it carries has its usual life
	BornExpired        Kind = "born_expired"        // expired a minute ago, and truly so
	BadBase64          Kind = "bad_base64"          // an authorization token that is not base64
	NoColon            Kind = "no_colon"            // base64 without "AWS:" before the password
	HugeToken          Kind = "huge_token"          // an authorization token of more than 1 MB
	ForeignEndpoint    Kind = "foreign_endpoint"    // a proxyEndpoint of another partition, with a path
	Unauthorized       Kind = "unauthorized"        // the registry answers 401
	Forbidden          Kind = "forbidden"           // the registry answers 403
)

// phase is when a kind acts: before the caller is authenticated, after it, on the content of a good answer, or beside another kind.
type phase int

const (
	onArrival phase = iota
	afterAuth
	onContent
	beside
)

func (k Kind) phase() phase {
	switch k {
	case Slow, NoDate:
		return beside
	case AccessDenied, BadRequest:
		return afterAuth
	case EmptyList, NoToken, NoExpiry, Expires1970, Expires2200, BornExpired, BadBase64, NoColon, HugeToken, ForeignEndpoint:
		return onContent
	}
	return onArrival
}

// Fault makes the answers that it matches misbehave. Several may match one request: every Slow and NoDate acts, and the first other.
type Fault struct {
	Service string // "credentials", "metadata", "ecr", "ecr-public", "sts", "registry"
	Kind    Kind
	Count   int // answers affected; 0 = until replaced

	// These narrow it; empty matches all. Region is that of the signature or of the registry's name. Host is without a port.
	// Role is an ARN or a name: of the caller, for sts:AssumeRole of the role to assume.
	Region, Host, Role string

	Latency time.Duration // of Kind Slow
	Reason  string        // of Kind AccessDenied, of an API: the end of AWS's message; empty is that no identity-based policy allows it
}

func validKinds(service string) []Kind {
	wire := []Kind{ServerError, Unavailable, Throttled429, Hang, Reset, Refused, Slow, Garbage, NoDate}
	answer := []Kind{NoToken, NoExpiry, Expires1970, Expires2200, BornExpired}
	api := []Kind{AccessDenied, Throttled, Rate429, BadRequest, ExpiredToken, UnrecognizedClient, InvalidSignature}
	token := []Kind{EmptyList, BadBase64, NoColon, HugeToken}
	switch service {
	case "credentials":
		return slices.Concat(wire, answer, []Kind{AccessDenied, BadRequest})
	case "metadata":
		return slices.Concat(wire, []Kind{AccessDenied, BadRequest})
	case "ecr":
		return slices.Concat(wire, api, answer, token, []Kind{ForeignEndpoint})
	case "ecr-public":
		return slices.Concat(wire, api, answer, token)
	case "sts":
		return slices.Concat(wire, api, answer)
	case "registry":
		return slices.Concat(wire, []Kind{Unauthorized, Forbidden})
	}
	return nil
}

// Services are the names that Fault.Service may have.
func Services() []string {
	return []string{"credentials", "metadata", "ecr", "ecr-public", "sts", "registry"}
}

// Kinds are the kinds that a service can show, sorted; nil for an unknown service.
func Kinds(service string) []Kind {
	kinds := validKinds(service)
	slices.Sort(kinds)
	return kinds
}

// Validate says whether the fault can ever act.
func (f Fault) Validate() error {
	kinds := Kinds(f.Service)
	switch {
	case kinds == nil:
		return fmt.Errorf("fault: unknown service %q; valid: %s", f.Service, strings.Join(Services(), ", "))
	case !slices.Contains(kinds, f.Kind):
		names := make([]string, len(kinds))
		for i, k := range kinds {
			names[i] = string(k)
		}
		return fmt.Errorf("fault: %s cannot show %q; valid: %s", f.Service, f.Kind, strings.Join(names, ", "))
	case f.Count < 0:
		return fmt.Errorf("fault: count %d is negative", f.Count)
	case f.Latency < 0:
		return fmt.Errorf("fault: latency %v is negative", f.Latency)
	case f.Latency > 0 && f.Kind != Slow:
		return fmt.Errorf("fault: latency is of kind %q only", Slow)
	case f.Reason != "" && (f.Kind != AccessDenied || !slices.Contains([]string{"ecr", "ecr-public", "sts"}, f.Service)):
		return fmt.Errorf("fault: reason is of kind %q only, of ecr, ecr-public or sts", AccessDenied)
	}
	return nil
}

// ParseFault reads SERVICE:KIND[:COUNT].
func ParseFault(text string) (Fault, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return Fault{}, fmt.Errorf("fault %q is not SERVICE:KIND[:COUNT]", text)
	}
	f := Fault{Service: parts[0], Kind: Kind(parts[1])}
	if len(parts) == 3 {
		n, err := strconv.Atoi(parts[2])
		if err != nil || n < 1 {
			return Fault{}, fmt.Errorf("fault %q: count %q is not a positive number", text, parts[2])
		}
		f.Count = n
	}
	return f, f.Validate()
}

// faultJSON is a Fault in the control endpoint's JSON.
type faultJSON struct {
	Service string `json:"service"`
	Kind    Kind   `json:"kind"`
	Count   int    `json:"count,omitempty"`
	Region  string `json:"region,omitempty"`
	Host    string `json:"host,omitempty"`
	Role    string `json:"role,omitempty"`
	Latency string `json:"latency,omitempty"` // as "1.5s"
	Reason  string `json:"reason,omitempty"`
}

// MarshalJSON writes lower-case names and the latency as "1.5s".
func (f Fault) MarshalJSON() ([]byte, error) {
	j := faultJSON{Service: f.Service, Kind: f.Kind, Count: f.Count, Region: f.Region, Host: f.Host, Role: f.Role, Reason: f.Reason}
	if f.Latency != 0 {
		j.Latency = f.Latency.String()
	}
	return json.Marshal(j)
}

// UnmarshalJSON refuses unknown names and invalid faults.
func (f *Fault) UnmarshalJSON(b []byte) error {
	var j faultJSON
	if err := decodeStrict(bytes.NewReader(b), &j); err != nil {
		return err
	}
	got := Fault{Service: j.Service, Kind: j.Kind, Count: j.Count, Region: j.Region, Host: j.Host, Role: j.Role, Reason: j.Reason}
	if j.Latency != "" {
		d, err := time.ParseDuration(j.Latency)
		if err != nil {
			return fmt.Errorf("fault: latency: %w", err)
		}
		got.Latency = d
	}
	if err := got.Validate(); err != nil {
		return err
	}
	*f = got
	return nil
}

// decodeStrict reads one JSON value, without unknown fields and with nothing behind it.
func decodeStrict(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// faultTable holds the faults that are armed.
type faultTable struct {
	mu   sync.Mutex
	list []armedFault
}

type armedFault struct {
	Fault
	left int // answers to go; meaningless when Count is 0
}

// target is what a fault is matched with.
type target struct{ service, region, host, roleARN, role string }

func (f Fault) matches(t target) bool {
	return f.Service == t.service &&
		(f.Region == "" || f.Region == t.region) &&
		(f.Host == "" || strings.EqualFold(f.Host, t.host)) &&
		(f.Role == "" || f.Role == t.roleARN || f.Role == t.role)
}

// Set replaces all faults; no argument clears them. It panics on a fault that Validate refuses: a test that arms what can never act
// would pass for the wrong reason.
func (s *Sandbox) Set(faults ...Fault) {
	for _, f := range faults {
		if err := f.Validate(); err != nil {
			panic(err)
		}
	}
	list := make([]armedFault, len(faults))
	for i, f := range faults {
		list[i] = armedFault{Fault: f, left: f.Count}
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = list
}

// Faults are those still armed; Count is what is left of it.
func (s *Sandbox) Faults() []Fault {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	out := []Fault{}
	for _, a := range s.faults.list {
		f := a.Fault
		if f.Count > 0 {
			if f.Count = a.left; a.left == 0 {
				continue
			}
		}
		out = append(out, f)
	}
	return out
}

// take uses up one answer of each fault of the phase that matches; only the first, unless the phase is beside.
func (t *faultTable) take(to target, p phase) []Fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Fault
	for i := range t.list {
		a := &t.list[i]
		if a.Kind.phase() != p || !a.matches(to) || (a.Count > 0 && a.left == 0) {
			continue
		}
		a.left--
		out = append(out, a.Fault)
		if p != beside {
			break
		}
	}
	return out
}
