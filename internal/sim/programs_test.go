package sim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

func (w *world) writerNow() {
	v, kind, n := w.anyVolume(), w.rng.IntN(100), w.rng.Uint64()
	w.mu.Lock()
	slow := w.disturb(v, kind, n)
	w.mu.Unlock()
	if slow != nil { // it takes its time between its read and its write
		w.in(w.between(time.Millisecond, time.Second), func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			slow()
		})
	}
}

// writerRaces lets another program write at a step of our next write.
func (w *world) writerRaces() {
	v, kind, n, steps := w.anyVolume(), w.rng.IntN(100), w.rng.Uint64(), 1+w.rng.IntN(16)
	w.mu.Lock()
	defer w.mu.Unlock()
	v.armed = append(v.armed, armed{steps, func(*process) {
		if slow := w.disturb(v, kind, n); slow != nil {
			slow()
		}
	}})
}

// fight is a program that puts its own entry in place of ours again and again.
func (w *world) fight() {
	v, times, gap, n := w.anyVolume(), 2+w.rng.IntN(30), w.between(time.Second, time.Minute), w.rng.Uint64()
	var again func()
	again = func() {
		w.mu.Lock()
		w.disturb(v, 60, n)
		w.mu.Unlock()
		if times--; times > 0 {
			w.in(gap, again)
		}
	}
	again()
}

// disturb is what other programs do to a config. Called with the lock held. What it returns is the second half of it.
func (w *world) disturb(v *volume, kind int, n uint64) (later func()) {
	old := v.config()
	doc := map[string]any{}
	auths := map[string]any{}
	if d := v.parsed(old); d != nil && d.ok && len(old.Content) > 0 {
		_ = json.Unmarshal(old.Content, &doc)
		if a, ok := doc["auths"].(map[string]any); ok {
			auths = a
		}
	} else if d != nil && !d.ok && kind < 70 {
		kind = 99 // docker would fail too; somebody deletes the file
	}
	write := func() string {
		doc["auths"] = auths
		b, _ := json.MarshalIndent(doc, "", "\t")
		return string(b)
	}
	login := func(host string) {
		auths[host] = map[string]any{"auth": base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "somebody:%d", n%1000))}
	}
	our := w.hosts[int(n%uint64(len(w.hosts)))]
	switch {
	case kind < 40: // docker login somewhere else
		login(fmt.Sprintf("registry%d.example.com", n%5))
		s := write()
		return func() { v.edit("docker login", func() { v.swapIn(s) }) }
	case kind < 50: // docker logout there, and a setting
		delete(auths, fmt.Sprintf("registry%d.example.com", n%5))
		doc["HttpHeaders"] = map[string]any{"X-N": fmt.Sprint(n % 100)}
		doc["psFormat"] = "{{.Names}} <&>\u2028"
		s := write()
		return func() { v.edit("docker logout", func() { v.swapIn(s) }) }
	case kind < 55: // a whole file of one's own, over what stands there
		s := fmt.Sprintf(`{"auths":{"mine%d.example.com":{"auth":"bTpt"}},"n":%d.0e0}`, n%10, n%100)
		v.edit("overwrite", func() { v.overwrite(s) })
	case kind < 58: // of the same length as before
		if d := v.parsed(old); d != nil && d.ok && len(old.Content) > 20 {
			s := strings.Replace(string(old.Content), `"QVdT`, `"QVdU`, 1) // AWS: becomes AWT:
			v.edit("same length", func() { v.overwrite(s) })
		}
	case kind < 70: // docker login to ours, as somebody else
		login(our)
		v.edit("login to ours", func() { v.swapIn(write()) })
	case kind < 75: // docker logout of ours
		delete(auths, our)
		v.edit("logout of ours", func() { v.swapIn(write()) })
	case kind < 80:
		v.edit("delete", func() { v.remove(config) })
	case kind < 84: // with everything beside it
		v.edit("delete all", func() { v.remove(config); v.remove(state); v.noState = true })
	case kind < 88:
		v.edit("empty", func() { v.overwrite("") })
	case kind < 91: // cut in the middle, then repaired or not
		if old != nil && len(old.Content) > 2 {
			whole, half := string(old.Content), string(old.Content[:1+int(n%uint64(len(old.Content)-1))])
			v.edit("cut", func() { v.overwrite(half) })
			w.mendLater(v, n, whole)
		}
	case kind < 96:
		if old != nil {
			v.edit("chmod", func() {
				d := v.parsed(old)
				v.disk.Chmod(old, []fs.FileMode{0, 0o400, 0o666}[n%3])
				d.version = old.Version
				v.configChanged()
			})
		}
	default:
		v.edit("delete", func() { v.remove(config) })
	}
	return nil
}

// mendLater is the other half of a careless write.
func (w *world) mendLater(v *volume, n uint64, whole string) {
	in := time.Duration(n%uint64(w.cfg.life/4)) + time.Millisecond
	if n%2 == 0 {
		in = time.Duration(n % uint64(20*time.Millisecond))
	}
	w.in(in, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if d := v.parsed(v.config()); d != nil && !d.ok {
			v.edit("completed", func() { v.overwrite(whole) })
		}
	})
}

// edit is another program's doing.
func (v *volume) edit(what string, do func()) {
	v.w.stats.foreign++
	v.w.event("foreign", v.n, what)
	v.foreign = v.w.mono()
	do()
	v.disk.Settle(config) // what others lose by a power cut is not ours to judge
}

// overwrite replaces the content in place, as programs do that are not careful.
func (v *volume) overwrite(content string) {
	n := v.config()
	if n == nil {
		n = v.disk.Put(config, 0o644, nil)
	}
	var was *document
	if d := v.parsed(n); d != nil && d.ok {
		was = d
	}
	v.disk.Replace(n, []byte(content), n.Content)
	v.inherit(n, was)
	v.configChanged()
}

// swapIn puts a new file under the name, as docker does.
func (v *volume) swapIn(content string) {
	mode := fs.FileMode(0o600)
	old := v.config()
	if old != nil {
		mode = old.Mode
	}
	n := v.disk.Put(config, mode, []byte(content))
	v.inherit(n, v.parsed(old))
	v.configChanged()
}
