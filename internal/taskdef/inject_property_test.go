package taskdef

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Over many definitions and options: twice is once; everything foreign survives by value; nothing is wrong with the outcome.
func TestInjectProperties(t *testing.T) {
	for seed := range uint64(200) {
		g := generator{rand.New(rand.NewPCG(seed, 6))}
		doc := g.definition()
		o := g.options(doc)
		raw := marshal(t, doc)
		if g.chance(3) {
			raw = marshal(t, map[string]any{"taskDefinition": doc, "tags": []any{}})
		}
		once, err := Inject(raw, o)
		if err != nil {
			t.Fatalf("seed %d: %v\n%+v\n%s", seed, err, o, raw)
		}
		twice, err := Inject(once.Document, o)
		if err != nil || !bytes.Equal(once.Document, twice.Document) || len(twice.Changes) > 0 {
			t.Fatalf("seed %d: twice is not once: %v %q\n%s", seed, err, twice.Changes, cmp.Diff(string(once.Document), string(twice.Document)))
		}
		if bare, err := Inject(once.Document, Options{Containers: o.Containers, Writable: o.Writable}); err != nil || !bytes.Equal(once.Document, bare.Document) {
			t.Fatalf("seed %d: what is not said does not stay: %v\n%s", seed, err, cmp.Diff(string(once.Document), string(bare.Document)))
		}
		slow := o
		slow.Init = new(false)
		want, err := Inject(raw, slow)
		if got, again := Inject(once.Document, slow); err != nil || again != nil || !bytes.Equal(want.Document, got.Document) {
			t.Fatalf("seed %d: the init container does not go: %v %v\n%s", seed, err, again, cmp.Diff(string(want.Document), string(got.Document)))
		}
		for _, f := range once.Findings {
			if !strings.Contains(f.What, "unknown key zz") && !(o.Writable && strings.HasSuffix(f.Where, ".readOnly")) {
				t.Fatalf("seed %d: %+v\n%s", seed, f, once.Document)
			}
		}
		if lost := missing("", decode(t, raw), decode(t, once.Document)); lost != "" {
			t.Fatalf("seed %d: %s has changed:\n%s", seed, lost, cmp.Diff(decode(t, raw), decode(t, once.Document)))
		}
	}
}

// missing returns the place of the first value of before that after does not have. Lists of objects may have grown.
func missing(at string, before, after any) string {
	if inner, ok := before.(map[string]any)["taskDefinition"]; ok && at == "" {
		before = inner
	}
	var walk func(at string, a, b any) string
	walk = func(at string, a, b any) string {
		switch a := a.(type) {
		case map[string]any:
			b, ok := b.(map[string]any)
			if !ok {
				return at
			}
			for _, key := range slices.Sorted(maps.Keys(a)) {
				if at == "" && slices.Contains(described, key) || a[key] == nil {
					continue
				}
				v, ok := b[key]
				if !ok {
					return at + "." + key
				}
				if lost := walk(at+"."+key, a[key], v); lost != "" {
					return lost
				}
			}
			return ""
		case []any:
			b, ok := b.([]any)
			if !ok {
				return at
			}
			a, next := slices.DeleteFunc(slices.Clone(a), func(v any) bool { return v == nil }), 0 // in the same order
			for i, v := range a {
				found := slices.IndexFunc(b[next:], func(w any) bool { return walk("x", v, w) == "" })
				if found < 0 {
					return fmt.Sprintf("%s[%d]", at, i)
				}
				next += found + 1
			}
			return ""
		}
		if a != b {
			return at
		}
		return ""
	}
	return walk(at, before, after)
}

// generator makes valid definitions without a sidecar, with all that may stand beside it.
type generator struct{ *rand.Rand }

func (g generator) chance(n int) bool         { return g.IntN(n) == 0 }
func (g generator) of(words ...string) string { return words[g.IntN(len(words))] }
func (g generator) maybe(m map[string]any, key string, v any) {
	if g.chance(3) {
		m[key] = v
	}
}

// strange is a value that no rule knows.
func (g generator) strange() any {
	return []any{json.Number("12345678901234567890"), json.Number("1.0"), "é<&> \u2028", nil, true, []any{}, map[string]any{"a": map[string]any{}}}[g.IntN(7)]
}

func (g generator) definition() map[string]any {
	doc := map[string]any{"family": "f", "taskRoleArn": "arn:aws:iam::123456789012:role/t", "executionRoleArn": "arn:aws:iam::123456789012:role/e"}
	mode := "awsvpc"
	if g.chance(2) {
		doc["requiresCompatibilities"], doc["networkMode"], doc["cpu"], doc["memory"] = []any{"FARGATE"}, "awsvpc", "1024", g.of("2048", "3GB", "4096")
	} else {
		mode = g.of("awsvpc", "bridge", "host", "")
		doc["requiresCompatibilities"] = []any{g.of("EC2", "EXTERNAL")}
		g.maybe(doc, "placementConstraints", []any{map[string]any{"type": "memberOf", "expression": "x"}})
		if mode != "" {
			doc["networkMode"] = mode
		}
	}
	g.maybe(doc, "tags", []any{map[string]any{"key": "a", "value": "b"}})
	g.maybe(doc, "zzTop", g.strange())
	g.maybe(doc, "revision", 7)
	g.maybe(doc, "status", "ACTIVE")
	g.maybe(doc, "registeredAt", "2026-01-01")
	volumes := []any{map[string]any{"name": "data"}}
	if g.chance(4) {
		volumes = append(volumes, map[string]any{"name": "ecr-auth"})
	}
	g.maybe(doc, "ephemeralStorage", map[string]any{"sizeInGiB": 30})
	doc["volumes"] = volumes
	var all []any
	for i := range 1 + g.IntN(6) {
		all = append(all, g.container(i, mode))
	}
	all[g.IntN(len(all))].(map[string]any)["essential"] = true
	if g.chance(3) {
		all = append(all, map[string]any{"name": "router", "image": "fluent-bit", "essential": true, "memory": 50, "firelensConfiguration": map[string]any{"type": "fluentbit"}})
		all[0].(map[string]any)["logConfiguration"] = map[string]any{"logDriver": "awsfirelens", "options": map[string]any{"Name": "x"}}
	}
	doc["containerDefinitions"] = all
	return doc
}

func (g generator) container(i int, mode string) map[string]any {
	name := fmt.Sprint("c", i)
	k := map[string]any{"name": name, "image": "x:" + name, "memory": 16 + g.IntN(100), "essential": true}
	if i > 0 && g.chance(2) {
		k["dependsOn"] = []any{map[string]any{"containerName": fmt.Sprint("c", i-1), "condition": "START"}}
	}
	g.maybe(k, "essential", false)
	g.maybe(k, "zzNew", g.strange())
	g.maybe(k, "cpu", 0)
	g.maybe(k, "memoryReservation", 10)
	g.maybe(k, "environment", []any{map[string]any{"name": "A", "value": "1"}, map[string]any{"name": "BUILDX_CONFIG", "value": "/b"}})
	g.maybe(k, "secrets", []any{map[string]any{"name": "S", "valueFrom": "arn:s"}})
	g.maybe(k, "mountPoints", []any{map[string]any{"sourceVolume": "data", "containerPath": "/data", "zz": g.strange()}})
	g.maybe(k, "dockerLabels", map[string]any{"a.b": "c"})
	g.maybe(k, "linuxParameters", map[string]any{"initProcessEnabled": true})
	g.maybe(k, "healthCheck", map[string]any{"command": []any{"CMD-SHELL", "true"}, "interval": 30})
	port := map[string]any{"containerPort": 8000 + i, "protocol": "tcp", "name": name}
	if mode == "bridge" {
		port["hostPort"] = 0
	}
	g.maybe(k, "portMappings", []any{port})
	g.maybe(k, "logConfiguration", map[string]any{"logDriver": "awslogs", "options": map[string]any{
		"awslogs-group": "g", "awslogs-region": "us-west-2", "awslogs-stream-prefix": g.of(name, "ecs"), "mode": "non-blocking"}})
	return k
}

func (g generator) options(doc map[string]any) Options {
	o := Options{Image: g.of("ecr-refresher:1", "my.registry/tools/login:2"), Writable: g.chance(4)}
	if g.chance(3) {
		o.Init = new(true)
	}
	if g.chance(3) {
		o.Containers = []string{"c0"}
	}
	if g.chance(3) {
		o.Registries = []string{"default?alias=registry.example.com", "public.ecr.aws?optional"}
	}
	if g.chance(3) {
		o.Path = "/auth"
		if slices.ContainsFunc(doc["volumes"].([]any), func(v any) bool { return v.(map[string]any)["name"] == "ecr-auth" }) {
			o.Path = "/run/ecr"
		}
	}
	if g.chance(3) || doc["networkMode"] == "host" {
		o.Port = 9400
	}
	if g.chance(3) {
		o.Essential = new(g.chance(2))
	}
	return o
}
