package writer

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// The state file stands beside the output and remembers what the tokens in it are, so that a restarted process can adopt
// them without a call. It holds no secret, and it is a hint: whatever is wrong with it means "not known".
//
// It is two lines: JSON, and the SHA-256 of the first line as a JSON string. As the file is overwritten in place, a kill, a power
// cut or another process may leave a mixture of two states: the digest does not fit then, and nothing is known. Spaces follow, up
// to the next block, so that the length changes rarely.
type state struct {
	Version int          `json:"version"`
	Task    string       `json:"task"` // the ARN of the task that asked; another task trusts nothing here
	Tokens  []tokenState `json:"tokens"`
}

type tokenState struct {
	Scope   string    `json:"scope"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	Sum     string    `json:"sha256"` // of the auth string, in hex: an entry with another one is not this token
}

// compare puts tokens in an order to read them in.
func (t tokenState) compare(u tokenState) int {
	return cmp.Or(strings.Compare(t.Scope, u.Scope), t.Issued.Compare(u.Issued), strings.Compare(t.Sum, u.Sum))
}

const stateVersion = 2

// A state file above this size is not read: it has some 200 bytes for each token.
const (
	stateMost = 64 << 10
	stateEach = 1 << 10 // for each host
)

// StatePath is where the state file of an output is.
func StatePath(output string) string {
	dir, base := filepath.Split(output)
	return dir + stateName(base)
}

func stateName(name string) string { return "." + name + ".state" }

// tokensOf is what is remembered of the tokens wanted, each once.
func tokensOf(want []Want) []tokenState {
	var tokens []tokenState
	seen := map[Sum]bool{}
	for _, w := range want {
		if g := w.Grant; !seen[g.Sum] {
			seen[g.Sum] = true
			tokens = append(tokens, tokenState{g.Scope, g.Issued.UTC().Round(0), g.Expires.UTC().Round(0), hex.EncodeToString(g.Sum[:])})
		}
	}
	return tokens
}

func encodeState(task string, tokens []tokenState) ([]byte, error) {
	b, err := json.Marshal(state{Version: stateVersion, Task: task, Tokens: tokens})
	b = fmt.Appendf(b, "\n%s\n", seal(b))
	return append(b, bytes.Repeat([]byte(" "), -len(b)&(block-1))...), err
}

// block is that of most file systems, and a page of memory, which the kernel writes to whole whoever is killed.
const block = 4096

// seal is the second line.
func seal(line []byte) string { return fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(line))) }

// decodeState returns what is remembered, by sum; nothing where the state is of another task, another version or damaged.
func decodeState(b []byte, task string) map[Sum]tokenState {
	line, rest, _ := bytes.Cut(b, []byte("\n"))
	if sealed, _, _ := bytes.Cut(rest, []byte("\n")); string(sealed) != seal(line) {
		return nil
	}
	var s state
	if json.Unmarshal(line, &s) != nil || s.Version != stateVersion ||
		s.Task != task { // mutant: another task's state is believed
		return nil
	}
	known := make(map[Sum]tokenState, len(s.Tokens))
	for _, t := range s.Tokens {
		var sum Sum
		if len(t.Sum) != hex.EncodedLen(len(sum)) {
			return nil
		}
		if _, err := hex.Decode(sum[:], []byte(t.Sum)); err != nil {
			return nil
		}
		known[sum] = t
	}
	return known
}
