package sim

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
	"ecr-refresher/internal/writer/disktest"
)

// plants are bugs that somebody could make. A check that cannot fail is none: each must be seen, within so many worlds, and by a
// breach that speaks of it. Bugs that no seam reaches are in mutants_test.go.
var plants = map[string]struct {
	worlds int
	says   string
	plant  plant
}{
	"no fsync of the file":          {2, "renamed before its content", onLayer(disktest.Faulty{NoFsync: true})},
	"no fsync of the directory":     {2, "the directory is not synced", onLayer(disktest.Faulty{NoSyncDir: true})},
	"mode after the content":        {2, "content comes before the mode", onLayer(disktest.Faulty{LateMode: true})},
	"temporary file open to all":    {8, "content in a temporary file of mode", onLayer(disktest.Faulty{WideOpen: true})},
	"foreign entries dropped":       {8, "foreign content was", onLayer(disktest.Faulty{Selfish: true})},
	"no look before the rename":     {2, "renamed without a look", onLayer(disktest.Faulty{Blind: true})},
	"temporary file left behind":    {20, "is left behind", onLayer(disktest.Faulty{Untidy: true})},
	"descriptor leaked":             {8, "descriptors open", onLayer(disktest.Faulty{Leaky: true})},
	"torn write":                    {2, "does not parse", onLayer(disktest.Faulty{Torn: true})},
	"drift is not repaired":         {20, "", onOutput(func(f refresh.File) refresh.File { return &lazy{File: f} })},
	"output never tried again":      {20, "", onOutput(func(f refresh.File) refresh.File { return &sulking{File: f} })},
	"old token put back":            {20, "older|after [0-9]+ was written|expired|about to expire", onOutput(func(f refresh.File) refresh.File { return &stuck{File: f} })},
	"health from memory":            {20, "health says", onOutput(func(f refresh.File) refresh.File { return &dreaming{File: f} })},
	"forged state adopted":          {30, "AWS never issued|health says", onOutput(func(f refresh.File) refresh.File { return &gullible{File: f} })},
	"local clock for AWS's":         {20, "", plant{config: func(w *world, c *refresh.Config) { c.Source = localTime{c.Source, w} }}},
	"retries without jitter":        {20, "is hammered", plant{config: func(_ *world, c *refresh.Config) { c.Rand = func() float64 { return 0 } }}},
	"renewed too late":              {4, "at the most is the policy", plant{config: func(_ *world, c *refresh.Config) { c.Policy = refresh.Policy{RenewAt: 0.95, MaxAge: 12 * time.Hour} }}},
	"renewed too often":             {4, "at the least is the policy", plant{config: func(_ *world, c *refresh.Config) { c.Policy = refresh.Policy{RenewAt: 0.1, MaxAge: 12 * time.Hour} }}},
	"failures not logged":           {10, "no line", plant{config: func(_ *world, c *refresh.Config) { c.Log = zap.NewNop() }}},
	"failures not counted":          {10, "told", plant{config: func(_ *world, c *refresh.Config) { c.Observer = deaf{c.Observer} }}},
	"a scope's token for another's": {10, "of another scope|is good for site", plant{config: func(w *world, c *refresh.Config) { c.Source = mixing{c.Source, w} }}},
	"an hour instead of UTC":        {20, "", plant{config: func(w *world, c *refresh.Config) { c.Source = shifted{c.Source} }}},
}

func TestPlants(t *testing.T) {
	for name, p := range plants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= uint64(p.worlds); seed++ {
				w := live(t, seed, p.plant, false)
				if !w.failed() {
					continue
				}
				t.Logf("seen in world %d: %.200s", seed, w.breaches[0])
				if !anyOf(p.says, w.breaches[0]) {
					t.Errorf("the breach speaks of something else: %s", w.breaches[0])
				}
				return
			}
			t.Errorf("not seen in %d worlds", p.worlds)
		})
	}
}

func anyOf(words, in string) bool {
	for word := range strings.SplitSeq(words, "|") {
		if head, tail, ok := strings.Cut(word, "[0-9]+"); strings.Contains(in, head) && (!ok || strings.Contains(in, tail)) {
			return true
		}
	}
	return false
}

func onLayer(mistakes disktest.Faulty) plant {
	return plant{layer: func(l writer.Layer) writer.Layer {
		mistakes := mistakes
		mistakes.Layer = l
		return &mistakes
	}}
}

func onOutput(wrap func(refresh.File) refresh.File) plant {
	return plant{output: func(o refresh.Output) refresh.Output {
		o.File = wrap(o.File)
		return o
	}}
}

// lazy writes new tokens, and never looks again.
type lazy struct {
	refresh.File
	last string
}

func (f *lazy) Sync(want []writer.Want) (writer.Result, error) {
	var b strings.Builder
	for _, w := range want {
		b.WriteString(w.Host + string(w.Grant.Sum[:]))
	}
	if b.String() == f.last {
		return writer.Result{}, nil
	}
	r, err := f.File.Sync(want)
	if err == nil {
		f.last = b.String()
	}
	return r, err
}

// sulking never tries again after a failure.
type sulking struct {
	refresh.File
	hurt bool
}

func (f *sulking) Sync(want []writer.Want) (writer.Result, error) {
	if f.hurt {
		return writer.Result{}, nil
	}
	r, err := f.File.Sync(want)
	f.hurt = err != nil
	return r, err
}

// stuck writes what was wanted the time before.
type stuck struct {
	refresh.File
	before []writer.Want
	n      int
}

func (f *stuck) Sync(want []writer.Want) (writer.Result, error) {
	if f.n++; f.n%50 == 0 && f.before != nil {
		want = f.before
	}
	if f.n%40 == 0 {
		f.before = want
	}
	return f.File.Sync(want)
}

// dreaming looks once in a while.
type dreaming struct {
	refresh.File

	mu   sync.Mutex // health and the loop look
	seen *writer.View
	n    int
}

func (f *dreaming) Look() (writer.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n++; f.seen != nil && f.n%20 != 0 {
		return *f.seen, nil
	}
	v, err := f.File.Look()
	if err == nil {
		f.seen = &v
	}
	return v, err
}

// gullible believes every entry in the file to be good for hours.
type gullible struct{ refresh.File }

func (f *gullible) Recall() map[string]writer.Grant {
	g, ok := f.File.(*guarded)
	if !ok {
		return nil
	}
	v := g.p.w.volumes[g.n]
	g.p.w.mu.Lock()
	defer g.p.w.mu.Unlock()
	found := map[string]writer.Grant{}
	d := v.parsed(v.config())
	if d == nil || !d.ok {
		return found
	}
	for host, auth := range d.auths {
		s := secret.New(auth)
		now := g.p.w.wall()
		found[host] = writer.Grant{Auth: s, Sum: s.Sum(), Scope: g.p.w.siteOf[host].scope.String(), Issued: now.Add(-time.Second), Expires: now.Add(time.Hour)}
	}
	return found
}

// localTime dates tokens by the local clock.
type localTime struct {
	refresh.Source
	w *world
}

func (s localTime) Token(ctx context.Context, sc token.Scope) (token.Token, error) {
	t, err := s.Source.Token(ctx, sc)
	if err == nil {
		t.Issued = s.w.wall()
	}
	return t, err
}

// shifted takes a date for one of another time zone.
type shifted struct{ refresh.Source }

func (s shifted) Token(ctx context.Context, sc token.Scope) (token.Token, error) {
	t, err := s.Source.Token(ctx, sc)
	t.Expires = t.Expires.Add(time.Hour)
	return t, err
}

// deaf does not hear of failed writes.
type deaf struct{ refresh.Observer }

func (d deaf) Written(output string, repair bool, err error) {
	if err == nil {
		d.Observer.Written(output, repair, err)
	}
}

// mixing hands the last scope's token to the next one now and then.
type mixing struct {
	refresh.Source
	w *world
}

func (s mixing) Token(ctx context.Context, sc token.Scope) (token.Token, error) {
	t, err := s.Source.Token(ctx, sc)
	if err != nil {
		return t, err
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	mine := s.w.issued[t.Auth.Reveal()]
	if mine == nil || mine.serial%10 != 0 {
		return t, nil
	}
	for auth, other := range s.w.issued {
		if other.site != mine.site {
			t.Auth = secret.New(auth)
			break
		}
	}
	return t, nil
}
