package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
)

// What go test does of it is a sample; make torture does all.
var (
	killed  = flag.Int("kills", 25, "TestTorture: how often the program is killed")
	rounds  = flag.Int("volumes", 1, "TestTorture: how often its volume fills up and becomes read-only")
	soaked  = flag.Int("soak", 300, "TestTorture: how many tokens one process renews")
	chances = flag.Uint64("chances", 0, "TestTorture: the seed of the moments; 0: another one each time")
)

// TestTorture mistreats the program as it is shipped: kills it at any moment, takes the room and the permission to write from
// it, and lets it work for years in minutes. Consumers read its file all the while.
func TestTorture(t *testing.T) {
	t.Parallel()
	bin, seed := shipped(t), *chances
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("this again: -chances %d", seed)
	t.Run("kill", func(t *testing.T) { t.Parallel(); killAgainAndAgain(t, bin, seed) })
	t.Run("volume", func(t *testing.T) { t.Parallel(); fillAndForbid(t, bin, seed) })
	t.Run("soak", func(t *testing.T) { t.Parallel(); soak(t, bin) })
}

// launch starts a binary as the daemon; the test's end stops it.
func (p *program) launch(bin string, stderr io.Writer) {
	p.t.Helper()
	p.run(exec.Command(bin, "run"), stderr)
}

// Two registries with an identity each, so that a file may hold one new token and one old.
const (
	ownHost     = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
	otherHost   = "210987654321.dkr.ecr.eu-west-1.amazonaws.com"
	twoIdentity = "REFRESHER_REGISTRIES=" + ownHost + " " + otherHost + "?role_arn=arn:aws:iam::210987654321:role/push"
	ecrCalls    = "ecr:GetAuthorizationToken"
)

// theirDocument is what others have in the file.
const theirDocument = `{
	"auths": {"registry.example.com": {"auth": "dGhlaXI6c2VjcmV0", "email": "they@example.com"}, "ghcr.io": {}},
	"credHelpers": {"gcr.io": "gcloud"},
	"proxies": {"default": {"httpProxy": "http://proxy.example.com:3128"}},
	"HttpHeaders": {"X-Meta": "é\u0041\n"},
	"aliases": {"builder": "buildx"},
	"unknown": [1, 2.5, null, {"deep": true}]
}`

// witness is a consumer that reads the file again and again, and complains when the contract is broken.
type witness struct {
	t     testing.TB
	aws   *sandbox.Sandbox
	path  string
	hosts map[string]string // whose entries are ours, and the account that their tokens are issued to

	theirs any // what has to be in the file beside our entries

	mu       sync.Mutex
	last     []byte
	held     map[string]heldToken // by host
	tokens   map[string]heldToken // by password
	reads    int
	versions int // of the document
	breaches int
}

// heldToken is a token with its place in the order of issue.
type heldToken struct {
	sandbox.Token
	nth int
}

// newWitness puts others' content under the path and begins to watch it.
func newWitness(t testing.TB, aws *sandbox.Sandbox, path string, hosts map[string]string) *witness {
	t.Helper()
	w := &witness{t: t, aws: aws, path: path, hosts: hosts}
	if err := errors.Join(json.Unmarshal([]byte(theirDocument), &w.theirs), os.WriteFile(path, []byte(theirDocument), 0o600)); err != nil {
		t.Fatal(err)
	}
	return w
}

// read reads the file, all at once or slowly as some consumers do, and returns our tokens in it by host, and the document.
func (w *witness) read(slowly bool) (map[string]heldToken, string) {
	w.mu.Lock() // over the read: of two reads at the same time nobody can say which was first
	defer w.mu.Unlock()
	b, err := slurp(w.path, slowly)
	w.reads++
	switch {
	case err != nil:
		w.breach("the file cannot be read: %v", err)
	case !bytes.Equal(b, w.last):
		w.last = b
		w.versions++
		w.judge(b)
	}
	return w.held, string(b)
}

func slurp(path string, slowly bool) ([]byte, error) {
	if !slowly {
		return os.ReadFile(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []byte
	for chunk := make([]byte, 512); ; {
		n, err := f.Read(chunk)
		all = append(all, chunk[:n]...)
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
	}
}

// judge holds a document against the contract, and against the one before.
func (w *witness) judge(b []byte) {
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		w.breach("no whole document, but %d bytes: %v", len(b), err)
		return
	}
	auths, _ := doc["auths"].(map[string]any)
	now := map[string]heldToken{}
	for host, account := range w.hosts {
		entry, ok := auths[host].(map[string]any)
		delete(auths, host)
		before, had := w.held[host]
		if !ok && had {
			w.breach("the entry of %s has vanished", host)
		}
		if !ok {
			continue
		}
		auth, _ := entry["auth"].(string)
		tok, known := w.tokenOf(auth)
		switch {
		case len(entry) != 1 || !known:
			w.breach("the entry of %s, with %d members, holds no token that was ever issued", host, len(entry))
		case tok.Account != account || tok.Region != regionOf(host):
			w.breach("the entry of %s holds a token of %s in %s", host, tok.Account, tok.Region)
		case had && tok.nth < before.nth:
			w.breach("the entry of %s holds token %d, and held token %d before", host, tok.nth, before.nth)
		}
		now[host] = tok
	}
	w.held = now
	if !reflect.DeepEqual(any(doc), w.theirs) {
		w.breach("what others have in the file has changed: %s", doc)
	}
}

// tokenOf finds the token in an entry.
func (w *witness) tokenOf(auth string) (heldToken, bool) {
	plain, _ := base64.StdEncoding.DecodeString(auth)
	password, _ := strings.CutPrefix(string(plain), "AWS:")
	tok, ok := w.tokens[password]
	if !ok {
		all := w.aws.Tokens()
		w.tokens = make(map[string]heldToken, len(all))
		for i, tok := range all {
			w.tokens[tok.Password] = heldToken{tok, i}
		}
		tok, ok = w.tokens[password]
	}
	return tok, ok
}

func (w *witness) breach(format string, a ...any) {
	if w.breaches++; w.breaches <= 10 { // a reader in a loop would tell it a thousand times
		w.t.Errorf(w.path+": "+format, a...)
	}
}

// complete reports whether the file holds a token of every host that has not expired.
func (w *witness) complete() bool {
	held, _ := w.read(false)
	for host := range w.hosts {
		if tok, ok := held[host]; !ok || !time.Now().Before(tok.Expires) {
			return false
		}
	}
	return true
}

// remembered reads the state file as the next process will: it is whole, and knows the tokens in the file that have not expired.
func (w *witness) remembered() error {
	held, _ := w.read(false)
	b, err := os.ReadFile(filepath.Join(filepath.Dir(w.path), ".config.json.state"))
	if errors.Is(err, fs.ErrNotExist) && len(held) == 0 {
		return nil
	}
	line, rest, _ := bytes.Cut(b, []byte("\n"))
	var state struct{ Tokens []struct{ SHA256 string } }
	if err := errors.Join(err, json.Unmarshal(line, &state)); err != nil {
		return fmt.Errorf("the state file: %w", err)
	}
	if !bytes.HasPrefix(rest, fmt.Appendf(nil, "\"%x\"\n", sha256.Sum256(line))) {
		return errors.New("the state file's second line is not the digest of its first")
	}
	known := map[string]bool{}
	for _, tok := range state.Tokens {
		known[tok.SHA256] = true
	}
	for host, tok := range held {
		if time.Now().After(tok.Expires.Add(-doubt)) {
			continue // nobody will take it over: it may be forgotten
		}
		if sum := sha256.Sum256([]byte(base64.StdEncoding.EncodeToString([]byte("AWS:" + tok.Password)))); !known[hex.EncodeToString(sum[:])] {
			return fmt.Errorf("the state file does not know the token of %s that is in the file", host)
		}
	}
	return nil
}

// ending is how those end who look on: end tells them to stop, and waits for them.
func ending(lookers *sync.WaitGroup) (stop <-chan struct{}, end func()) {
	told := make(chan struct{})
	return told, sync.OnceFunc(func() { close(told); lookers.Wait() })
}

// inALoop reads until stop is closed.
func (w *witness) inALoop(stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
			w.read(n%4 == 0)
		}
	}
}

// verdicts counts what /healthz said.
type verdicts struct {
	pause              sync.Mutex // held while there is no program to be asked
	healthy, unhealthy int
	unsure             int // the file changed meanwhile, or a token was about to expire
}

// doubt is what a Date header, cut to whole seconds, leaves open about the time by which tokens are judged.
const doubt = time.Second

// health asks /healthz until stop is closed, and holds the answers against the tokens in the file.
func (w *witness) health(p *program, v *verdicts, stop <-chan struct{}) {
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-stop:
			return
		case <-pace.C:
			w.healthOnce(p, v)
		}
	}
}

func (w *witness) healthOnce(p *program, v *verdicts) {
	v.pause.Lock()
	defer v.pause.Unlock()
	held, doc := w.read(false)
	from := time.Now()
	code, body := p.get("/healthz")
	to := time.Now()
	_, after := w.read(false)
	good, bad := len(held) == len(w.hosts), len(held) < len(w.hosts)
	for _, tok := range held {
		end := tok.Expires.Add(-min(time.Minute, tok.Expires.Sub(tok.Issued)/10)) // which is how long it has to be good for
		good = good && to.Before(end.Add(-doubt))
		bad = bad || from.After(end.Add(doubt))
	}
	switch {
	case doc != after || !good && !bad:
		v.unsure++
	case good && code != 200, bad && code != 503:
		w.t.Errorf("/healthz says %d with tokens that are good: %t, expired: %t; %s", code, good, bad, p.redacted(body))
	case good:
		v.healthy++
	default:
		v.unhealthy++
	}
}

// bad is how often the truth was that the file is bad.
func (v *verdicts) bad() int {
	v.pause.Lock()
	defer v.pause.Unlock()
	return v.unhealthy
}

func (v *verdicts) String() string {
	return fmt.Sprintf("/healthz told the truth %d times of a good file and %d times of a bad one, %d times nobody can say", v.healthy, v.unhealthy, v.unsure)
}

// strays are the temporary files beside an output.
func strays(t testing.TB, dir string) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	found := map[string]bool{}
	for _, e := range entries {
		if strings.Contains(e.Name(), ".tmp-") {
			found[e.Name()] = true
		}
	}
	return found
}
