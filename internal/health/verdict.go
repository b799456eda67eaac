// Package health gives verdicts: whether the process lives, whether a consumer finds valid tokens, whether all is as it should
// be. Every verdict is computed from a [refresh.View], so it speaks of the files as they are at that moment.
//
// It refuses to know how the state came about, and it never asks AWS anything: an outage there must not make a task with a
// valid token unhealthy. Nothing that it answers holds a secret.
package health

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/plain"
	"ecr-refresher/internal/refresh"
)

// Verdict is an answer, with every reason against it.
type Verdict struct {
	OK      bool
	Reasons []string // why not, in words with the cure, a line each; empty where OK
}

func verdict(reasons []string) Verdict {
	for i, r := range reasons {
		reasons[i] = plain.Text(strings.ReplaceAll(r, "\n", " "), mostReason) // a cure may have more than one line
	}
	return Verdict{OK: len(reasons) == 0, Reasons: reasons}
}

// mostReason bounds a reason, in bytes: an error and the cure of a helper that hides a registry with a dozen aliases fit.
const mostReason = 4000

// Live says whether the loop turns.
func Live(v refresh.View) Verdict {
	if v.Late > refresh.Patience {
		return verdict([]string{fmt.Sprintf("the loop hangs: it should have turned %s ago", v.Late.Round(time.Second))})
	}
	return verdict(nil)
}

// Healthy says, for ECS, whether a consumer can do its work: the loop turns, and every registry that is not optional has a
// valid token in the primary output, on disk. Other outputs never fail it, nor a helper that hides the entry, nor a contest as
// such; an entry that is missing while it is contested does, as consumers fail then.
func Healthy(v refresh.View) Verdict {
	return verdict(append(Live(v).Reasons, unusable(v, 0)...))
}

// Ready says, strictly, whether all is as it should be: Healthy for every output, and nothing hides an entry, keeps programs from
// reading the file, fails to be written or is fought over. A login under a similar key may be meant and does not count.
func Ready(v refresh.View) Verdict {
	reasons := Live(v).Reasons
	for o, out := range v.Outputs {
		entries := entriesAgainst(v, o, true)
		if len(entries) == 0 || !toldByDisk(v, o) {
			reasons = append(reasons, notWritten(out)...)
		}
		if out.Contested {
			reasons = append(reasons, fmt.Sprintf("%s: contested: another program changes our entries again and again (%s); "+refresh.ContestedCure, out.Name, out.Found))
		}
		reasons = append(reasons, entries...)
		reasons = append(reasons, broken(v, o)...)
	}
	return verdict(reasons)
}

// broken says which entries of others keep programs from reading an output.
func broken(v refresh.View, o int) (reasons []string) {
	output, found := v.Outputs[o].Name, v.OnDisk[o].Obstacles
	for _, b := range found.Broken {
		reasons = append(reasons, fmt.Sprintf("%s: %s; %s", output, b, refresh.BrokenCure))
	}
	if more := found.BrokenCount - len(found.Broken); more > 0 {
		reasons = append(reasons, fmt.Sprintf("%s: %d more entries keep programs from reading the file", output, more))
	}
	return reasons
}

// entriesAgainst says what is wrong with the entries of an output and, where asked, what hides those that are right.
func entriesAgainst(v refresh.View, o int, andHidden bool) (reasons []string) {
	for i, r := range v.Registries {
		if r.Spec.Optional {
			continue
		}
		if e := v.Entry(o, i); !e.Valid {
			reasons = append(reasons, because(v, o, i, e))
		} else if hidden := v.Shadowed(o, i); hidden != "" && andHidden {
			reasons = append(reasons, fmt.Sprintf("%s: %s is hidden: %s; %s", v.Outputs[o].Name, r.Spec.Name, hidden, HiddenCure(r.Spec.Hosts(), len(r.Spec.Hosts()))))
		}
	}
	return reasons
}

// Written says whether every output holds a valid token for every registry that is not optional.
func Written(v refresh.View) Verdict {
	var reasons []string
	for o := range v.Outputs {
		reasons = append(reasons, unusable(v, o)...)
	}
	return verdict(reasons)
}

// unusable says what keeps the consumers of an output from their work: a reason for each registry without a valid token, and
// why the file is not written where that may be the cause. An output that cannot be written but holds valid tokens is usable.
func unusable(v refresh.View, output int) []string {
	reasons := entriesAgainst(v, output, false)
	if len(reasons) > 0 && !toldByDisk(v, output) {
		reasons = append(reasons, notWritten(v.Outputs[output])...)
	}
	return reasons
}

// because joins what is on disk with what the last attempt met.
func because(v refresh.View, output, reg int, e refresh.Entry) string {
	why := e.Why
	if err := v.OnDisk[output].Err; err != nil {
		why = told(err)
	}
	s := fmt.Sprintf("%s: %s: %s", v.Outputs[output].Name, v.Registries[reg].Spec.Name, why)
	if err := v.Scopes[v.Registries[reg].Scope].Err; err != nil {
		s += "; last attempt: " + told(err)
	}
	return s
}

// toldByDisk says whether the last write failed for what the file's readers meet as well: one reason, to be told once.
func toldByDisk(v refresh.View, output int) bool {
	read, written := v.OnDisk[output].Err, v.Outputs[output].Err
	return read != nil && written != nil && told(read) == told(written)
}

func notWritten(out refresh.OutputState) []string {
	if out.Err == nil {
		return nil
	}
	return []string{out.Name + ": not written: " + told(out.Err)}
}

// told is an error with its class and its cure.
func told(err error) string {
	s := fmt.Sprintf("%s: %v", refresh.Class(err), err)
	if cure := fault.CureOf(err); cure != "" {
		s += " (" + cure + ")"
	}
	return s
}

// HiddenCure is what to do about entries that a credential helper hides. It names the members of credHelpers that make docker
// read the file for these hosts, whatever helpers it names otherwise; the first most of them.
func HiddenCure(hosts []string, most int) string {
	var members []string
	for _, h := range hosts[:min(len(hosts), most)] {
		members = append(members, strconv.Quote(h)+`: ""`)
	}
	if len(hosts) > most {
		members = append(members, fmt.Sprintf("… for all %d hosts", len(hosts)))
	}
	return `remove it from the file; for docker and buildctl alone set "credHelpers": {` + strings.Join(members, ", ") +
		"}, which breaks skopeo, podman and buildah"
}
