package sandbox

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"sync"
	"time"
)

// Token is an authorization token that the sandbox issued.
type Token struct {
	Password string
	Region   string
	Public   bool
	Account  string // of the caller
	Issued   time.Time
	Expires  time.Time // when the registry stops to accept it, whatever a fault made the answer say
	Revoked  bool
}

// accessKey is a set of temporary credentials and whose they are.
type accessKey struct {
	id, secret, session string
	who                 principal
	issued, expires     time.Time
	voided              bool // by ExpireCredentials
}

func (k accessKey) expiredAt(now time.Time) bool { return k.voided || !now.Before(k.expires) }

// vault holds every secret ever issued.
type vault struct {
	mu      sync.Mutex
	keys    map[string]*accessKey
	taskKey string // id of the task role's current key
	tokens  map[string]*Token
	order   []*Token
	secrets []string
}

func newVault() *vault {
	return &vault{keys: map[string]*accessKey{}, tokens: map[string]*Token{}}
}

// newKey issues credentials.
func (v *vault) newKey(who principal, now time.Time, life time.Duration) accessKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.issue(who, now, life)
}

func (v *vault) issue(who principal, now time.Time, life time.Duration) accessKey {
	k := &accessKey{
		id:      "ASIA" + randomText(16),
		secret:  randomBase64(30),
		session: randomBase64(450), // about as long as a real one
		who:     who,
		issued:  now,
		expires: now.Add(life).Truncate(time.Second), // the wire format has whole seconds
	}
	v.keys[k.id] = k
	v.secrets = append(v.secrets, k.secret, k.session)
	return *k
}

// taskCredentials are the task role's: the same until less than a sixth of their life remains, then fresh ones, as the agent does.
func (v *vault) taskCredentials(who principal, now time.Time, life time.Duration) accessKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k := v.keys[v.taskKey]; k != nil && !k.voided && k.expires.Sub(now) >= k.expires.Sub(k.issued)/6 {
		return *k
	}
	k := v.issue(who, now, life)
	v.taskKey = k.id
	return k
}

func (v *vault) key(id string) (accessKey, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k, ok := v.keys[id]
	if !ok {
		return accessKey{}, false
	}
	return *k, true
}

// addToken records a token and the forms in which its secret travels.
func (v *vault) addToken(t Token, wire ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tokens[t.Password] = &t
	v.order = append(v.order, &t)
	v.secrets = append(append(v.secrets, t.Password), wire...)
}

func (v *vault) token(password string) (Token, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	t, ok := v.tokens[password]
	if !ok {
		return Token{}, false
	}
	return *t, true
}

// RevokeTokens makes the registry refuse every token issued so far, as if expired.
func (s *Sandbox) RevokeTokens() {
	s.vault.mu.Lock()
	defer s.vault.mu.Unlock()
	for _, t := range s.vault.order {
		t.Revoked = true
	}
}

// ExpireCredentials makes every access key issued so far expired. The credentials endpoint gives out a fresh one when asked next.
func (s *Sandbox) ExpireCredentials() {
	s.vault.mu.Lock()
	defer s.vault.mu.Unlock()
	for _, k := range s.vault.keys {
		k.voided = true
	}
}

// Secrets are all secret values issued so far, so that a test can look for them in outputs: token passwords, authorization tokens,
// secret access keys and session tokens.
func (s *Sandbox) Secrets() []string {
	s.vault.mu.Lock()
	defer s.vault.mu.Unlock()
	return slices.Clone(s.vault.secrets)
}

// Tokens are the tokens issued so far, oldest first.
func (s *Sandbox) Tokens() []Token {
	s.vault.mu.Lock()
	defer s.vault.mu.Unlock()
	out := make([]Token, len(s.vault.order))
	for i, t := range s.vault.order {
		out[i] = *t
	}
	return out
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // documented never to fail
	return b
}

func randomBase64(n int) string { return base64.StdEncoding.EncodeToString(randomBytes(n)) }

// randomText is n characters of the alphabet of access key ids. n at most 26.
func randomText(n int) string { return rand.Text()[:n] }

func randomUUID() string {
	h := hex.EncodeToString(randomBytes(16))
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:]
}
