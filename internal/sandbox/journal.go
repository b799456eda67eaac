package sandbox

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Request is an AWS API call as the sandbox saw it. It holds no secret.
type Request struct {
	Time      time.Time `json:"time"` // on the server's clock
	Service   string    `json:"service"`
	Operation string    `json:"operation"`
	Region    string    `json:"region"` // of the signature
	Host      string    `json:"host"`
	Principal string    `json:"principal"` // ARN of the role session whose key signed; empty when the key is unknown
	UserAgent string    `json:"user_agent"`
	Status    int       `json:"status"` // 0: the connection ended without an answer
}

// keptRequests bounds memory: a sandbox may stand in for a fleet for days.
const keptRequests = 1000

// journal counts and remembers what was asked.
type journal struct {
	mu       sync.Mutex
	calls    map[string]int
	requests []Request
}

func (j *journal) count(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.calls == nil {
		j.calls = map[string]int{}
	}
	j.calls[name]++
}

func (j *journal) add(r Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.requests) == keptRequests {
		j.requests = slices.Delete(j.requests, 0, keptRequests/4)
	}
	j.requests = append(j.requests, r)
}

// Calls counts requests on arrival, since the start or ResetCalls: "ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken",
// "sts:AssumeRole", "sts:GetCallerIdentity", "credentials", "metadata", "registry:GET /v2/" and other methods and paths of the registry.
func (s *Sandbox) Calls() map[string]int {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	out := maps.Clone(s.journal.calls)
	if out == nil {
		out = map[string]int{}
	}
	return out
}

// ResetCalls sets all counts of Calls to zero and forgets Requests.
func (s *Sandbox) ResetCalls() {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	s.journal.calls, s.journal.requests = nil, nil
}

// Requests are the last AWS API calls, at most 1000, oldest first. A call is in it once it was answered.
func (s *Sandbox) Requests() []Request {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return slices.Clone(s.journal.requests)
}
