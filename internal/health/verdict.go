// Package health gives verdicts: whether the process lives, whether a consumer finds valid tokens, whether all is as it should
// be. Every verdict is computed from a [refresh.View], so it speaks of the files as they are at that moment.
//
// It refuses to know how the state came about, and it never asks AWS anything: an outage there must not make a task with a
// valid token unhealthy. Nothing that it answers holds a secret.
package health

import (
	"fmt"

	"ecr-refresher/internal/refresh"
)

// Verdict is an answer, with every reason against it.
type Verdict struct {
	OK      bool
	Reasons []string // why not, in words with the cure; empty where OK
}

func verdict(reasons []string) Verdict { return Verdict{OK: len(reasons) == 0, Reasons: reasons} }

// Live says whether the loop turns.
func Live(v refresh.View) Verdict {
	if v.Beat > refresh.Silence {
		return verdict([]string{fmt.Sprintf("the loop has not turned for %s", v.Beat.Round(1e9))})
	}
	return verdict(nil)
}

// Healthy says, for ECS, whether a consumer can do its work: the loop turns, and every registry that is not optional has a
// valid token in the primary output, on disk. Other outputs, contests and helpers that hide the entry never fail it: ECS would
// replace the task, and the new one would find the same.
func Healthy(v refresh.View) Verdict {
	reasons := Live(v).Reasons
	for i, r := range v.Registries {
		if r.Spec.Optional {
			continue
		}
		if e := v.Entry(0, i); !e.Valid {
			reasons = append(reasons, because(v, 0, i, e))
		}
	}
	return verdict(reasons)
}

// Ready says, strictly, whether all is as it should be: Healthy for every output, and nothing hides an entry, fails to be
// written or is fought over.
func Ready(v refresh.View) Verdict {
	reasons := Live(v).Reasons
	for o, out := range v.Outputs {
		if out.Err != nil {
			reasons = append(reasons, fmt.Sprintf("%s: not written: %v", out.Name, out.Err))
		}
		if out.Contested {
			reasons = append(reasons, fmt.Sprintf("%s: contested: another program changes our entries again and again (%s)", out.Name, out.Found))
		}
		for i, r := range v.Registries {
			if r.Spec.Optional {
				continue
			}
			if e := v.Entry(o, i); !e.Valid {
				reasons = append(reasons, because(v, o, i, e))
			} else if hidden := v.Shadowed(o, i); hidden != "" {
				reasons = append(reasons, fmt.Sprintf("%s: %s is hidden: %s; remove it from the file, or add \"credHelpers\": {%q: \"\"} for docker", out.Name, r.Spec.Name, hidden, r.Spec.Host.Name))
			}
		}
	}
	return verdict(reasons)
}

// Written says whether every output holds a valid token for every registry that is not optional.
func Written(v refresh.View) Verdict {
	var reasons []string
	for o := range v.Outputs {
		for i, r := range v.Registries {
			if r.Spec.Optional {
				continue
			}
			if e := v.Entry(o, i); !e.Valid {
				reasons = append(reasons, because(v, o, i, e))
			}
		}
	}
	return verdict(reasons)
}

// because joins what is on disk with what the last attempt met.
func because(v refresh.View, output, reg int, e refresh.Entry) string {
	s := fmt.Sprintf("%s: %s: %s", v.Outputs[output].Name, v.Registries[reg].Spec.Name, e.Why)
	if err := v.Scopes[v.Registries[reg].Scope].Err; err != nil {
		s += fmt.Sprintf("; last attempt: %s: %v", refresh.Class(err), err)
	}
	return s
}
