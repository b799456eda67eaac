//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/sandbox"
)

// Who can read the file: every user whom a consumer may run as, for each mode that is of use.
func TestConsumerUsers(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	for _, mode := range []string{"0644", "0640", "0600"} {
		t.Run(mode, func(t *testing.T) {
			def := alone(readDefinition(t, "taskdef.json"))
			if mode != "0644" { // that is the image's own
				def.refresher().setenv("REFRESHER_OUTPUT_MODE", mode)
			}
			task := w.runTask(t, def)
			until(t, 30*time.Second, "the file is written", func() bool { return task.line("refresher", "token written", "") != nil })
			w.put(t, pushed, tinyImage(t))
			var works, refused []string
			for _, c := range []struct {
				who, user string
				more      []string
				reads     string // the modes with which it can
			}{
				{"root", "0:0", nil, "0644 0640 0600"},
				{"root without capabilities", "0:0", []string{"--cap-drop", "ALL"}, "0644"},
				{"the same uid", "65532:65532", nil, "0644 0640 0600"},
				{"another uid", "1000:1000", nil, "0644"},
				{"another uid with the group as its own", "1000:65532", nil, "0644 0640"},
				{"a member of the group", "1000:1000", []string{"--group-add", "65532"}, "0644 0640"},
			} {
				r := task.beside(c.user, c.more, craneImage, "manifest", pushed)
				want := strings.Contains(c.reads, mode)
				if r.ok() != want {
					t.Errorf("mode %s, consumer %s (%s %v): works %v, want %v\n%s", mode, c.who, c.user, c.more, r.ok(), want, r.all)
				}
				if r.ok() {
					works = append(works, c.who)
					continue
				}
				refused = append(refused, c.who)
				if !strings.Contains(r.all, "permission denied") {
					t.Errorf("mode %s, consumer %s: refused for another reason: %s", mode, c.who, r.all)
				}
			}
			r := task.beside("0:0", nil, baseImage, "sh", "-c", "echo {} > /run/ecr/config.json")
			if r.ok() || !strings.Contains(r.all, "Read-only file system") {
				t.Errorf("a consumer writes the file: %s", r.all)
			}
			said := "works for " + strings.Join(works, ", ")
			if len(refused) > 0 {
				said += "; permission denied for " + strings.Join(refused, ", ")
			}
			proved(t, "mode %s, mounted read-only: %s", mode, said)
		})
	}
}

// Whose the volume is: it works, or the log says what to change.
func TestVolumeOwners(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	const rule = "the volume takes its owner from an image that declares VOLUME at exactly this path"
	for _, c := range []struct {
		name   string
		change func(k *task, c *container)
		cure   string // "" where it works
	}{
		{"image's volume, image's user", func(*task, *container) {}, ""},
		{"root's volume", func(k *task, _ *container) { k.rootsVolume() }, "belongs to uid 0 and we run as uid 65532: " + rule},
		{"mounted elsewhere than VOLUME says", func(_ *task, c *container) {
			c.MountPoints[0].ContainerPath = "/shared"
			c.setenv("REFRESHER_OUTPUTS", "/shared/config.json")
		}, "/shared belongs to uid 0 and we run as uid 65532: " + rule},
		{"root's volume, refresher as root", func(k *task, c *container) { k.rootsVolume(); c.User = "0:0" }, ""},
		{"image's volume, refresher as root without capabilities", func(_ *task, c *container) { c.User = "0:0" }, "/run/ecr belongs to uid 65532 and we run as uid 0 without the capability DAC_OVERRIDE: run as its owner"},
		{"image's volume, refresher as another uid", func(_ *task, c *container) { c.User = "1000:1000" }, "/run/ecr belongs to uid 65532 and we run as uid 1000: " + rule},
		{"image's volume, mounted read-only for the refresher", func(_ *task, c *container) { c.MountPoints[0].ReadOnly = true }, "mount the volume at /run/ecr without readOnly in this container"},
	} {
		t.Run(c.name, func(t *testing.T) {
			def := alone(readDefinition(t, "taskdef.json"))
			task := w.newTask(t, def)
			c.change(task, def.refresher())
			if err := task.start(); err != nil {
				t.Fatal(err)
			}
			if c.cure == "" {
				until(t, 30*time.Second, "the token is written", func() bool { return task.line("refresher", "token written", "") != nil })
				proved(t, "works")
				return
			}
			var line map[string]any
			until(t, 30*time.Second, "the log tells of output_denied", func() bool {
				line = task.line("refresher", "output not written", "output_denied")
				return line != nil
			})
			if cure := fmt.Sprint(line["cure"]); !strings.Contains(cure, c.cure) {
				t.Errorf("cure %q, want %q", cure, c.cure)
			}
			if s := task.state("refresher"); s.Status != "running" || s.Health == "healthy" {
				t.Errorf("the refresher is %s and %s", s.Status, s.Health)
			}
			proved(t, "output_denied, and the cure: %v", line["cure"])
		})
	}
}

// rootsVolume lets the volume be root's, as one is that another container has used before.
func (k *task) rootsVolume() {
	docker(k.t, "run", "--rm", "--label", mark+"="+k.name, "-v", k.volume("ecr-auth")+":/run/ecr", baseImage, "touch", "/run/ecr/.of-root")
}
