package sim

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/writer"
)

const (
	watchEvents = iota
	watchPoll
	watchNone
)

// settings are what a seed makes of a world before it begins.
type settings struct {
	seed   uint64
	long   bool          // a task-year
	life   time.Duration // of most tokens
	lasts  time.Duration // the world, without its end
	specs  []registry.Spec
	mode   fs.FileMode
	watch  []int // by output
	verify bool

	rejects   float64 // share of the tokens that a registry does not accept
	noise     float64 // share of the calls that fail for no reason at all
	fsTick    time.Duration
	fsSkew    time.Duration
	drift     float64 // of AWS's clock against ours
	wallDrift float64
	rate      map[string]float64 // how often accidents happen, as a multiple
}

func settle(seed uint64) settings {
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(ds ...time.Duration) time.Duration { return ds[rng.IntN(len(ds))] }
	c := settings{seed: seed, long: seed>>32 > 0, mode: []fs.FileMode{0o600, 0o644, 0o640}[rng.IntN(3)]}
	const m = time.Minute
	c.life = pick(5*m, 5*m, 5*m, 6*m, 8*m, 10*m, 15*m, 20*m)
	if rng.IntN(25) == 0 {
		c.life = pick(time.Hour, 3*time.Hour, 12*time.Hour)
	}
	c.lasts = 60 * c.life
	if c.long {
		c.life, c.lasts = 12*time.Hour, 365*24*time.Hour
	}
	scopes := 1 + rng.IntN(8)
	hosts := scopes
	if !c.long {
		hosts += rng.IntN([]int{1, 5, 43}[rng.IntN(3)])
	} else {
		scopes = 1 + rng.IntN(2)
		hosts = scopes
	}
	regions := []string{"us-east-1", "us-west-2", "eu-west-1", "ap-south-1"}
	for i := range hosts {
		n := i % scopes
		spec := fmt.Sprintf("%012d.dkr.ecr.%s.amazonaws.com", i+1, regions[n%len(regions)])
		var options []string
		if n >= len(regions) {
			options = append(options, fmt.Sprintf("role_arn=arn:aws:iam::%012d:role/pull", n))
		}
		if rng.IntN(10) == 0 {
			options = append(options, fmt.Sprintf("alias=mirror%d.example.com:5000", i))
		}
		if rng.IntN(10) == 0 && i > 0 {
			options = append(options, "optional")
		}
		if len(options) > 0 {
			spec += "?" + strings.Join(options, "&")
		}
		s, err := registry.ParseSpec(spec)
		if err != nil {
			panic(err)
		}
		c.specs = append(c.specs, s)
	}
	for range 1 + rng.IntN(2) {
		kind := []int{watchEvents, watchEvents, watchPoll, watchNone}[rng.IntN(4)]
		if kind == watchPoll && c.life > 20*m {
			kind = watchEvents // the same, with a million times more to do
		}
		c.watch = append(c.watch, kind)
	}
	c.verify = rng.IntN(4) == 0
	if c.verify && rng.IntN(2) == 0 {
		c.rejects = 0.02
	}
	if rng.IntN(3) == 0 {
		c.noise = rng.Float64() * 0.2
	}
	c.fsTick = pick(1, 1, 4*time.Millisecond, time.Second, 2*time.Second)
	if c.fsTick == 1 && rng.IntN(4) == 0 {
		c.fsSkew = pick(-time.Hour, time.Hour, -5*time.Second, 5*time.Second)
	}
	c.drift = (rng.Float64()*2 - 1) * 200e-6
	c.wallDrift = (rng.Float64()*2 - 1) * 200e-6
	c.rate = map[string]float64{}
	for _, a := range accidents {
		c.rate[a.name] = []float64{0, 0.3, 1, 1, 3}[rng.IntN(5)]
	}
	return c
}

// plant is a bug: what is put in the place of a part that works.
type plant struct {
	layer  func(writer.Layer) writer.Layer
	output func(refresh.Output) refresh.Output
	config func(*world, *refresh.Config)
}
