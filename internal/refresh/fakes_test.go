package refresh

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

// fakeSource is AWS. It fails the test where a scope is asked twice at once or twice within MinInterval.
type fakeSource struct {
	t     *testing.T
	clock *fakeClock

	mu     sync.Mutex
	life   time.Duration
	takes  time.Duration
	answer func(ctx context.Context, s token.Scope, n int) (token.Token, error) // the nth call of all, from 1; nil: a good token
	calls  []call
	flying map[token.Scope]bool
	last   map[token.Scope]time.Duration
	most   int // calls at the same time
}

type call struct {
	scope token.Scope
	at    time.Duration
}

func (f *fakeSource) Token(ctx context.Context, s token.Scope) (token.Token, error) {
	f.mu.Lock()
	now := f.clock.since()
	if f.flying[s] {
		f.t.Errorf("at %s: %s asked while it is being asked", now, s)
	}
	if at, again := f.last[s]; again && now-at < MinInterval {
		f.t.Errorf("%s asked at %s and at %s", s, at, now)
	}
	f.last[s] = now
	f.calls = append(f.calls, call{s, now})
	n, answer, takes := len(f.calls), f.answer, f.takes
	f.flying[s] = true
	f.most = max(f.most, len(f.flying))
	f.mu.Unlock()
	defer func() { f.mu.Lock(); delete(f.flying, s); f.mu.Unlock() }()
	if takes > 0 {
		time.Sleep(takes)
	}
	if answer != nil {
		return answer(ctx, s, n)
	}
	return f.good(s), nil
}

// good is a token issued now, dated as a Date header does it: to the second.
func (f *fakeSource) good(s token.Scope) token.Token {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock.aws().Truncate(time.Second)
	return token.Token{Auth: secret.New(fmt.Sprintf("sesame %s %s", s, f.clock.aws())), Issued: now, Expires: now.Add(f.life)}
}

func (f *fakeSource) set(answer func(ctx context.Context, s token.Scope, n int) (token.Token, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// fail makes every call end with an error of a class; an empty one makes it work again.
func (f *fakeSource) fail(class fault.Class) {
	if class == "" {
		f.set(nil)
		return
	}
	f.set(func(context.Context, token.Scope, int) (token.Token, error) { return token.Token{}, broken(class) })
}

func (f *fakeSource) times(region string) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var at []time.Duration
	for _, c := range f.calls {
		if region == "" || c.scope.Region == region {
			at = append(at, c.at)
		}
	}
	return at
}

// perScope are the times of the calls, by the number of the scope.
func (f *fakeSource) perScope() map[int][]time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := map[int][]time.Duration{}
	for _, c := range f.calls {
		at[nth(c.scope)] = append(at[nth(c.scope)], c.at)
	}
	return at
}

func (f *fakeSource) atOnce() int { f.mu.Lock(); defer f.mu.Unlock(); return f.most }

func broken(class fault.Class) error {
	return &fault.Error{Class: class, Op: "do it", Cure: "mend it", Err: fmt.Errorf("broken: %s", class)}
}

// hang is an answer that comes only when the deadline passes.
func hang(ctx context.Context) (token.Token, error) {
	<-ctx.Done()
	return token.Token{}, ctx.Err()
}

// fakeVerifier is the registries. They accept everything unless told otherwise.
type fakeVerifier struct {
	clock  *fakeClock
	mu     sync.Mutex
	answer func(ctx context.Context, host string, auth secret.Secret) error
	asked  []string
	at     []time.Duration
}

func (f *fakeVerifier) Accepts(ctx context.Context, host string, auth secret.Secret) error {
	f.mu.Lock()
	f.asked, f.at = append(f.asked, host), append(f.at, f.clock.since())
	answer := f.answer
	f.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer(ctx, host, auth)
}

func (f *fakeVerifier) set(answer func(ctx context.Context, host string, auth secret.Secret) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fakeVerifier) times() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Duration(nil), f.at...)
}

// recorder is an Observer that remembers.
type recorder struct {
	mu       sync.Mutex
	attempts []fault.Class // one for each attempt and registry
	rejected []string
	written  []written
}

type written struct {
	output string
	repair bool
	class  fault.Class
}

func (r *recorder) Attempted(registries []string, _ time.Duration, class fault.Class) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range registries {
		r.attempts = append(r.attempts, class)
	}
}

func (r *recorder) Rejected(registry string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rejected = append(r.rejected, registry)
}

func (r *recorder) Written(output string, repair bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written = append(r.written, written{output, repair, Class(err)})
}

func (r *recorder) attempted(class fault.Class) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.attempts {
		if c == class {
			n++
		}
	}
	return n
}

// writes are how often the event was told.
func (r *recorder) writes(w written) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, got := range r.written {
		if got == w {
			n++
		}
	}
	return n
}

func (r *recorder) rejections() int { r.mu.Lock(); defer r.mu.Unlock(); return len(r.rejected) }

// fakeFile is a docker config in memory. It fails the test where an expired token is to be written.
type fakeFile struct {
	t      *testing.T
	clock  *fakeClock
	events chan struct{}

	mu       sync.Mutex
	exists   bool
	badMode  bool
	sums     map[string]writer.Sum
	recalled map[string]writer.Grant
	peers    map[string]writer.Grant // what the next Sync finds of another process
	others   writer.Obstacles
	err      error         // of Sync and Look
	readable bool          // err is of Sync alone
	block    chan struct{} // Sync, Look and Recall hang until it is closed
	takes    time.Duration // a Sync
	seeing   time.Duration // how long a Look takes
	syncs    int
	wrote    []time.Duration
	after    func() // after each write
}

// wait hangs as the writer does: whoever comes next hangs too.
func (f *fakeFile) wait() {
	f.mu.Lock()
	block := f.block
	f.mu.Unlock()
	if block != nil {
		<-block
	}
}

func (f *fakeFile) Sync(want []writer.Want) (r writer.Result, err error) {
	_, sums := f.content()
	for _, w := range want {
		if now := f.clock.aws(); !w.Grant.Expires.After(now) && sums[w.Host] != w.Grant.Sum {
			f.t.Errorf("at %s: asked to put in a token that expired at %s", now, w.Grant.Expires)
		}
	}
	f.wait()
	if f.takes > 0 {
		time.Sleep(f.takes)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncs++
	defer func() {
		if err == nil {
			others := f.others
			r.Obstacles = &others
		}
	}()
	if f.err != nil {
		return writer.Result{}, f.err
	}
	if peers := f.peers; peers != nil {
		f.peers = nil
		return writer.Result{Peers: peers, Kept: true}, nil
	}
	if len(want) == 0 {
		return writer.Result{}, nil
	}
	found := ""
	switch {
	case !f.exists:
		found = "the file was missing"
	case f.badMode:
		found = "the mode was wrong"
	}
	for _, w := range want {
		if f.sums[w.Host] != w.Grant.Sum && found == "" {
			found = "another entry for " + w.Host
		}
	}
	if found == "" {
		return writer.Result{}, nil
	}
	sums = maps.Clone(f.sums)
	if sums == nil {
		sums = map[string]writer.Sum{}
	}
	for _, w := range want {
		sums[w.Host] = w.Grant.Sum
	}
	f.sums, f.exists, f.badMode = sums, true, false
	f.wrote = append(f.wrote, f.clock.since())
	f.poke()
	if f.after != nil {
		f.after()
	}
	return writer.Result{Wrote: true, Found: found}, nil
}

func (f *fakeFile) Look() (writer.View, error) {
	f.wait()
	if f.seeing > 0 {
		time.Sleep(f.seeing)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readable {
		return writer.View{Exists: f.exists, Sums: f.sums, Obstacles: f.others}, nil
	}
	return writer.View{Exists: f.exists, Sums: f.sums, Obstacles: f.others}, f.err
}

func (f *fakeFile) Recall() map[string]writer.Grant {
	f.wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.recalled
}

// watch tells of every change, the loop's own included, as inotify does.
func (f *fakeFile) watch(ctx context.Context, notify func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.events:
			notify()
		}
	}
}

func (f *fakeFile) poke() {
	select {
	case f.events <- struct{}{}:
	default:
	}
}

// edit changes the file behind the loop's back.
func (f *fakeFile) edit(change func(f *fakeFile)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
	f.poke()
}

// blindly changes the file, and no event comes.
func (f *fakeFile) blindly(change func(f *fakeFile)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// mend makes the file writable again, of which no event tells.
func (f *fakeFile) mend() { f.mu.Lock(); defer f.mu.Unlock(); f.err = nil }

func deleted(f *fakeFile)  { f.exists, f.sums = false, nil }
func replaced(f *fakeFile) { f.sums = map[string]writer.Sum{hostA: {1}} }

// remember puts a token into the file and into what Recall finds.
func (f *fakeFile) remember(host string, g writer.Grant) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.recalled == nil {
		f.recalled, f.sums = map[string]writer.Grant{}, map[string]writer.Sum{}
	}
	g.Sum = g.Auth.Sum()
	f.exists, f.recalled[host], f.sums[host] = true, g, g.Sum
}

func (f *fakeFile) writes() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Duration(nil), f.wrote...)
}

func (f *fakeFile) modeIsBad() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.badMode }

func (f *fakeFile) looks() int { f.mu.Lock(); defer f.mu.Unlock(); return f.syncs }

func (f *fakeFile) content() (bool, map[string]writer.Sum) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.exists, f.sums
}
