package token

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"ecr-refresher/internal/registry"
)

// Scope is what one token is good for and as whom it is asked for: registries of equal scope share one call and one token.
// (One token serves every registry of a region that the identity may use, other accounts' included: the ECR API model.)
// Comparable; the zero value is no scope.
type Scope struct {
	Public    bool   // ECR Public: another API, always in us-east-1
	Region    string // e.g. us-west-2
	FIPS      bool   // ask the FIPS endpoint
	DualStack bool   // ask the dual-stack endpoint
	Endpoint  string // ask this URL instead; empty is AWS's own

	Roles       string        // ARNs of the roles to assume one after another, separated by a space; empty is the task role
	ExternalID  string        // for the last role
	SessionName string        // of each assumed session; empty is the client's default
	Duration    time.Duration // of each assumed session; 0 is one hour
}

// ScopeOf is the scope of a resolved registry.
func ScopeOf(s registry.Spec) Scope {
	return Scope{
		Public:      s.Host.Public,
		Region:      s.Host.Region,
		FIPS:        s.Host.FIPS,
		DualStack:   s.Host.DualStack,
		Endpoint:    s.Endpoint,
		Roles:       strings.Join(s.Identity.Roles, " "),
		ExternalID:  s.Identity.ExternalID,
		SessionName: s.Identity.SessionName,
		Duration:    s.Identity.Duration,
	}
}

// Identity is the name of whom the token is asked for as: "task" or the ARN of the last role of the chain.
func (s Scope) Identity() string {
	if s.Roles == "" {
		return TaskIdentity
	}
	return s.Roles[strings.LastIndexByte(s.Roles, ' ')+1:]
}

// TaskIdentity names the task role itself.
const TaskIdentity = "task"

// Key identifies a scope where it is written down: two scopes have the same key where they are equal. It is a digest, which shows
// nothing of an external id, and changes where a field is added to Scope.
func (s Scope) Key() string {
	b, _ := json.Marshal(s) // cannot fail: strings, bools and a number
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// String names the scope for a person and for the state file: two scopes of one process have different names.
func (s Scope) String() string {
	var b strings.Builder
	b.WriteString("ecr")
	if s.Public {
		b.WriteString("-public")
	}
	if s.FIPS {
		b.WriteString("-fips")
	}
	b.WriteString(" " + s.Region)
	if s.DualStack {
		b.WriteString(" dual-stack")
	}
	if s.Endpoint != "" {
		b.WriteString(" at " + s.Endpoint)
	}
	if s.Roles != "" {
		b.WriteString(" as " + strings.ReplaceAll(s.Roles, " ", " then "))
	}
	if s.ExternalID != "" {
		// Told apart by a digest: AWS does not call an external id a secret, and whoever owns the role may.
		sum := sha256.Sum256([]byte(s.ExternalID))
		fmt.Fprintf(&b, " with an external id (%x)", sum[:4])
	}
	if s.SessionName != "" {
		b.WriteString(" in session " + s.SessionName)
	}
	if s.Duration != 0 {
		b.WriteString(" of " + s.Duration.String())
	}
	return b.String()
}
