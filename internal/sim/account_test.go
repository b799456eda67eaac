package sim

import (
	"slices"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
)

// siteAccount is what a process was dealt by a site, and what it told of that.
type siteAccount struct {
	calls     calls
	answered  answered
	streak    fault.Class // of the last attempt
	unsaid    fault.Class // a class that a log line is due for
	recovered bool        // a line is due that it works again
	asked     bool        // SIGHUP wants to hear how it went
	good      int         // attempts
	lapses    int         // lines that tell of an expired token
}

type answered struct {
	at   time.Duration
	date time.Time
	life time.Duration
}

// outAccount is the same for an output.
type outAccount struct {
	wrote     map[string]int  // by host: the token that this process put there
	unread    bool            // the disk kept the process from what an earlier one left
	met       []error         // what the write under way met
	synced    time.Time       // when the write under way began, true time; zero where the process could not know it
	failed    time.Duration   // when a write failed last
	repairs   []time.Duration // on the elapsed clock
	lines     []time.Duration // of the log
	streak    fault.Class     // of the last write
	unsaid    fault.Class
	recovered bool
}

// ended notes a failure that the process was dealt. Called with the lock held.
func (p *process) ended(st *site, class fault.Class) {
	p.w.stats.failures++
	p.w.event("failed", st.n, class)
	st.since = p.w.mono()
	p.sites[st.n].calls.failure(p.w, p, st, class)
	p.count(st, class)
}

func (p *process) count(st *site, class fault.Class) { p.dealt[class] += st.registers }

// left is whether a token is held, the share of its life that is left, and whether the process must see it the same.
func (p *process) left(w *world, st *site) (held bool, share float64, known bool) {
	if p.last == nil || p.last.Scopes[st.n].Expires.IsZero() {
		return false, 1, true
	}
	s := p.last.Scopes[st.n]
	life := s.Expires.Sub(s.Issued)
	left := s.Expires.Sub(w.trueNow())
	share = left.Seconds() / life.Seconds()
	return true, share, p.sure(w) && (left-life/20).Abs() > 2*w.tolerance(p)
}

// sure is whether the process can know the time.
func (p *process) sure(w *world) bool {
	if p.anchored >= 0 {
		return p.pausedAt == w.pausesOnly
	}
	return w.wall().Sub(w.trueNow()).Abs() < time.Second
}

// Attempted implements refresh.Observer.
func (p *process) Attempted(registries []string, _ time.Duration, class fault.Class) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead || p.stopping {
		return
	}
	p.told[class] += len(registries)
	i := w.siteOf[registries[0]].n
	if p.sites[i].unsaid != "" || p.sites[i].recovered {
		w.breach("site %d failed with %q, and no line of the log told so", i, p.sites[i].unsaid)
	}
	if class == "" {
		p.sites[i].recovered = p.sites[i].streak != ""
		p.sites[i].good++
		p.pausedAt = w.pausesOnly
	} else if class != p.sites[i].streak {
		p.sites[i].unsaid = class
	}
	p.sites[i].streak = class
}

// Rejected implements refresh.Observer.
func (p *process) Rejected(string) {}

// Written implements refresh.Observer.
func (p *process) Written(output string, repair bool, err error) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead || p.stopping {
		return
	}
	i := int(output[len(output)-1] - '0')
	class := refresh.Class(err)
	if err == nil {
		if repair {
			w.stats.repairs++
			p.outs[i].repairs = append(p.outs[i].repairs, w.elapsed())
		}
		return
	}
	p.toldW[class]++
	if class == fault.OutputInvalid && p.outs[i].streak == "" {
		p.outs[i].repairs = append(p.outs[i].repairs, w.elapsed()) // not a repair, but a damage that counts as one
	}
	if p.outs[i].unsaid != "" {
		w.breach("output %d failed with %q, and no line of the log told so", i, p.outs[i].unsaid)
	}
	if class != p.outs[i].streak && !p.quiet(i) {
		p.outs[i].unsaid = class
	}
	p.outs[i].streak = class
}

// denied reports whether AWS may have denied a token since one was adopted.
func (p *process) denied() bool {
	return p.last != nil && slices.ContainsFunc(p.last.Scopes, func(s refresh.ScopeState) bool { return s.Adopted && s.Failures > 0 })
}

// quiet reports whether the log may leave out a line about an output: of a fight it has one, and of everything thirty an hour.
func (p *process) quiet(output int) bool {
	hour := p.w.elapsed() - time.Hour
	p.outs[output].lines = slices.DeleteFunc(p.outs[output].lines, func(at time.Duration) bool { return at <= hour })
	return len(p.outs[output].lines) >= 29 || p.last != nil && p.last.Outputs[output].Contested
}
