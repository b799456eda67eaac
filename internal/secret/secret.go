// Package secret holds a value that must never be printed.
//
// It owns the one way in ([New]) and the one way out ([Secret.Reveal]), so that every place where a secret leaves its
// wrapping can be found by searching for one word. It refuses to know what the value is or who uses it.
package secret

import (
	"crypto/sha256"
	"fmt"
	"io"
)

const redacted = "[redacted]"

// Secret is an immutable secret string; the zero value is empty. The content hides behind a pointer, so that fmt shows an
// address at most even where a Secret sits in an unexported field of a printed struct, where its methods are not called.
// Compare two by [Secret.Sum]: == compares identity, not content.
type Secret struct{ p *string }

// New wraps s.
func New(s string) Secret { return Secret{&s} }

// Reveal returns the content. Each call is a place where the secret can leak: keep them few, and write the result only to
// the shared file or to the registry.
func (s Secret) Reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// Sum is the SHA-256 of the content: it identifies a secret of high entropy, such as a token, without giving it away.
func (s Secret) Sum() [sha256.Size]byte { return sha256.Sum256([]byte(s.Reveal())) }

// String redacts.
func (Secret) String() string { return redacted }

// Format redacts under every verb, %x and %q included.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText redacts in JSON and in every encoding that knows text.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
