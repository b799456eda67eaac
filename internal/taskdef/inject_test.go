package taskdef

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const image = "123456789012.dkr.ecr.us-west-2.amazonaws.com/ecr-refresher:1"

// The shipped definitions are what inject makes of the same without the sidecar: its constants are theirs. They show the sidecar
// first; inject adds it last.
func TestInjectMakesTheShippedDefinitions(t *testing.T) {
	for _, name := range shipped {
		want := decode(t, read(t, name))
		o := Options{Image: image, Init: new(name == "taskdef-fast.json")}
		r := inject(t, marshal(t, stripped(t, name)), o)
		if diff := cmp.Diff(sorted(want), sorted(decode(t, r.Document))); diff != "" {
			t.Errorf("%s (-shipped +injected):\n%s", name, diff)
		}
		if len(r.Findings) > 0 {
			t.Errorf("%s: %+v", name, r.Findings)
		}
	}
}

// sorted puts what has no order of its own into one: containers, volumes, what is mounted, and whom a container waits for.
func sorted(doc map[string]any) map[string]any {
	for key, v := range doc {
		l, ok := v.([]any)
		if !ok || !slices.Contains([]string{"containerDefinitions", "volumes", "mountPoints", "dependsOn"}, key) {
			continue
		}
		slices.SortFunc(l, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		for _, item := range l {
			sorted(item.(map[string]any))
		}
	}
	return doc
}

// stripped is a shipped definition without anything of ours.
func stripped(t *testing.T, name string) map[string]any {
	t.Helper()
	doc := decode(t, read(t, name))
	without := func(m map[string]any, key string, ours func(map[string]any) bool) {
		l, _ := m[key].([]any)
		if l = slices.DeleteFunc(l, func(v any) bool { return ours(v.(map[string]any)) }); len(l) > 0 {
			m[key] = l
		} else {
			delete(m, key)
		}
	}
	without(doc, "volumes", func(v map[string]any) bool { return v["name"] == "ecr-auth" })
	without(doc, "containerDefinitions", func(k map[string]any) bool { return k["name"] != "app" })
	app := doc["containerDefinitions"].([]any)[0].(map[string]any)
	without(app, "mountPoints", func(m map[string]any) bool { return m["sourceVolume"] == "ecr-auth" })
	delete(app, "environment")
	delete(app, "dependsOn")
	return doc
}

// What describe-task-definition prints of an injected definition is up to date; nothing but the wrapping goes.
func TestInjectDescribed(t *testing.T) {
	plain := inject(t, marshal(t, stripped(t, "taskdef.json")), Options{Image: image}).Document
	inner := decode(t, plain)
	for i, key := range described {
		inner[key] = fmt.Sprint("x", i)
	}
	for _, k := range inner["containerDefinitions"].([]any) {
		k := k.(map[string]any)
		k["cpu"], k["volumesFrom"], k["systemControls"] = 0, []any{}, []any{}
		if l, ok := k["portMappings"].([]any); ok {
			l[0].(map[string]any)["hostPort"] = 9327
		}
	}
	inner["volumes"].([]any)[0].(map[string]any)["host"] = map[string]any{}
	want := decode(t, marshal(t, inner))
	for _, key := range described {
		delete(want, key)
	}
	tags := []any{map[string]any{"key": "team", "value": "a&b <c>"}}
	want["tags"] = tags
	r := inject(t, marshal(t, map[string]any{"taskDefinition": inner, "tags": tags, "ResponseMetadata": map[string]any{}}), Options{})
	if diff := cmp.Diff(want, decode(t, r.Document)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(r.Changes) > 0 || len(r.Findings) > 0 {
		t.Errorf("changes %q, findings %+v", r.Changes, r.Findings)
	}
	if !bytes.Contains(r.Document, []byte("a&b <c>")) && !bytes.Contains(r.Document, []byte(`a\u0026b`)) {
		t.Errorf("the tag has changed:\n%s", r.Document)
	}
}

// Bytes, order and numbers of what is not ours stay as they are.
func TestInjectKeepsBytes(t *testing.T) {
	doc := strings.Replace(string(marshal(t, stripped(t, "taskdef.json"))), `"family":`,
		`"zzNew":{"b":1.50,"a":1e400,"n":12345678901234567890123,"s":"\u00e9\/<&"},"family":`, 1)
	out := inject(t, []byte(doc), Options{Image: image}).Document
	var compact bytes.Buffer
	if err := json.Compact(&compact, out); err != nil {
		t.Fatal(err)
	}
	if want := `"zzNew":{"b":1.50,"a":1e400,"n":12345678901234567890123,"s":"\u00e9\/<&"},"family":`; !strings.Contains(compact.String(), want) {
		t.Errorf("not found: %s in\n%s", want, compact.String())
	}
	if !bytes.HasSuffix(out, []byte("\n}\n")) || !bytes.HasPrefix(out, []byte("{\n  \"")) {
		t.Errorf("not indented by two:\n%.40s", out)
	}
}

// What says the same in another order, or in other words of JSON, is left as it is.
func TestInjectKeepsOrder(t *testing.T) {
	doc := strings.Replace(string(read(t, "taskdef.json")), `"interval": 10,`, "", 1)
	doc = strings.Replace(doc, `"retries": 3,`, `"retries": 3, "interval": 10,`, 1)
	doc = strings.Replace(doc, `"value": "/run/ecr"`, `"value": "\/run\/ecr"`, 1)
	var want bytes.Buffer
	if err := json.Indent(&want, bytes.TrimSpace([]byte(doc)), "", "  "); err != nil {
		t.Fatal(err)
	}
	r := inject(t, []byte(doc), Options{Image: "ecr-refresher:2"})
	if diff := cmp.Diff(strings.Replace(want.String(), image, "ecr-refresher:2", 1)+"\n", string(r.Document)); diff != "" || len(r.Changes) != 1 {
		t.Errorf("%q (-want +got):\n%s", r.Changes, diff)
	}
	if same([]byte("12345678901234567890"), []byte("12345678901234567891")) || !same([]byte(`{"a":1,"b":[2]}`), []byte(`{ "b": [2], "a": 1 }`)) {
		t.Error("values are not compared as they are")
	}
}

// Each row changes the plain definition or the options, and says what is seen of it in the outcome.
func TestInjectOptions(t *testing.T) {
	for _, row := range []struct {
		name    string
		base    string
		changes []change
		o       Options
		want    map[string]any // by path
	}{
		{"writable", "", nil, Options{Writable: true}, map[string]any{".containerDefinitions[0].mountPoints[0].readOnly": false}},
		{"essential", "", nil, Options{Essential: new(true)}, map[string]any{".containerDefinitions[1].essential": true}},
		{"path", "", nil, Options{Path: "/auth"}, map[string]any{
			".containerDefinitions[1].mountPoints[0].containerPath": "/run/ecr",
			".containerDefinitions[0].mountPoints[0].containerPath": "/auth",
			".containerDefinitions[0].environment[0].value":         "/auth",
			".containerDefinitions[0].environment[1].value":         "/auth/config.json",
		}},
		{"registries", "", nil, Options{Registries: []string{"default", "public.ecr.aws?optional"}}, map[string]any{
			".containerDefinitions[1].environment[0].value": "default public.ecr.aws?optional"}},
		{"port", "", nil, Options{Port: 9400}, map[string]any{
			".containerDefinitions[1].environment[1].value":                      ":9400",
			".containerDefinitions[1].portMappings[0].containerPort":             json.Number("9400"),
			".containerDefinitions[1].dockerLabels.ECS_PROMETHEUS_EXPORTER_PORT": "9400",
			".containerDefinitions[1].dockerLabels.PROMETHEUS_EXPORTER_PORT":     "9400",
		}},
		{"host network", "taskdef-ec2.json", []change{{".networkMode", "host"}}, Options{Port: 9327}, map[string]any{
			".containerDefinitions[1].portMappings[0].hostPort": json.Number("9327")}},
		{"bridge by default", "taskdef-ec2.json", []change{{".networkMode", gone{}}}, Options{}, map[string]any{
			".containerDefinitions[1].portMappings[0].hostPort": json.Number("0")}},
		{"roles", "", []change{{".taskRoleArn", gone{}}, {".executionRoleArn", gone{}}},
			Options{TaskRole: "arn:aws:iam::123456789012:role/t", ExecutionRole: "arn:aws:iam::123456789012:role/e"},
			map[string]any{".taskRoleArn": "arn:aws:iam::123456789012:role/t", ".executionRoleArn": "arn:aws:iam::123456789012:role/e"}},
		{"a shared stream prefix stays", "", []change{{".containerDefinitions[0].logConfiguration.options.awslogs-stream-prefix", "ecs"}}, Options{}, map[string]any{
			".containerDefinitions[1].logConfiguration.options.awslogs-stream-prefix": "ecs"}},
		{"patterns of lines are not copied", "", []change{{".containerDefinitions[0].logConfiguration.options.awslogs-multiline-pattern", "^x"}}, Options{}, map[string]any{
			".containerDefinitions[1].logConfiguration.options.awslogs-multiline-pattern": nil,
			".containerDefinitions[0].logConfiguration.options.awslogs-multiline-pattern": "^x"}},
		{"no log to copy", "", []change{{".containerDefinitions[0].logConfiguration", gone{}}}, Options{}, map[string]any{
			".containerDefinitions[1].logConfiguration": nil}},
		{"a log router does not wait", "", []change{
			{".containerDefinitions[1]", map[string]any{"name": "router", "image": "fluent-bit", "firelensConfiguration": map[string]any{"type": "fluentbit"}}}}, Options{},
			map[string]any{".containerDefinitions[1].dependsOn": nil, ".containerDefinitions[1].environment": nil}},
		{"the proxy does not wait", "", []change{
			{".proxyConfiguration", map[string]any{"type": "APPMESH", "containerName": "envoy"}},
			{".containerDefinitions[1]", map[string]any{"name": "envoy", "image": "envoy"}}}, Options{},
			map[string]any{".containerDefinitions[1].dependsOn": nil}},
		{"one chosen of two", "", []change{{".containerDefinitions[1]", map[string]any{"name": "other", "image": "x"}}}, Options{Containers: []string{"other"}},
			map[string]any{".containerDefinitions[0].environment": nil, ".containerDefinitions[1].environment[0].value": "/run/ecr"}},
		{"buildx set by the user", "", []change{{".containerDefinitions[0].environment", []any{map[string]any{"name": "BUILDX_CONFIG", "value": "/x"}}}}, Options{},
			map[string]any{".containerDefinitions[0].environment[0].value": "/x", ".containerDefinitions[0].environment[3]": nil}},
		{"memory to the last MiB", "", []change{{".containerDefinitions[0].memory", 448}}, Options{}, map[string]any{".memory": "512"}},
		{"external", "taskdef-ec2.json", []change{{".requiresCompatibilities", []any{"EXTERNAL"}}}, Options{}, map[string]any{
			".containerDefinitions[1].portMappings[0].hostPort": json.Number("0")}},
	} {
		t.Run(row.name, func(t *testing.T) {
			base := row.base
			if base == "" {
				base = "taskdef.json"
			}
			doc := stripped(t, base)
			for _, ch := range row.changes {
				edit(t, doc, ch.at, ch.v)
			}
			row.o.Image = image
			out := decode(t, inject(t, marshal(t, doc), row.o).Document)
			for at, want := range row.want {
				if diff := cmp.Diff(want, look(out, at)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", at, diff)
				}
			}
		})
	}
}

// An older sidecar is brought up to date in its place; what the user has decided stays.
func TestInjectUpdates(t *testing.T) {
	doc := decode(t, read(t, "taskdef.json"))
	for _, ch := range []change{
		{".containerDefinitions[0].name", "login"}, {".containerDefinitions[1].dependsOn[0].containerName", "login"},
		{".containerDefinitions[0].image", "my.registry/tools/sidecar:1"},
		{".containerDefinitions[0].memory", 128},
		{".containerDefinitions[0].healthCheck.interval", 30}, {".containerDefinitions[0].startTimeout", gone{}},
		{".containerDefinitions[0].user", gone{}}, {".containerDefinitions[0].restartPolicy", gone{}},
		{".containerDefinitions[0].environment[1]", map[string]any{"name": "REFRESHER_VERIFY", "value": "off"}},
		{".containerDefinitions[0].ulimits", []any{map[string]any{"name": "nofile", "softLimit": 1, "hardLimit": 2}}},
		{".volumes[0].name", "auth"}, {".containerDefinitions[0].mountPoints[0].sourceVolume", "auth"},
		{".containerDefinitions[1].mountPoints[0].sourceVolume", "auth"}, {".containerDefinitions[1].mountPoints[0].readOnly", false},
	} {
		edit(t, doc, ch.at, ch.v)
	}
	r := inject(t, marshal(t, doc), Options{Image: "my.registry/tools/sidecar:2"})
	want := decode(t, marshal(t, doc))
	for _, ch := range []change{
		{".containerDefinitions[0].image", "my.registry/tools/sidecar:2"},
		{".containerDefinitions[0].healthCheck.interval", json.Number("10")}, {".containerDefinitions[0].startTimeout", json.Number("120")},
		{".containerDefinitions[0].user", "65532:65532"},
		{".containerDefinitions[0].restartPolicy", map[string]any{"enabled": true, "restartAttemptPeriod": json.Number("60")}},
		{".containerDefinitions[1].mountPoints[0].readOnly", true},
	} {
		edit(t, want, ch.at, ch.v)
	}
	if diff := cmp.Diff(want, decode(t, r.Document)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	wantChanges := []string{`container "login": healthCheck, image, restartPolicy, user, startTimeout`, `container "app": mountPoints`}
	if diff := cmp.Diff(wantChanges, r.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	// The fast start can be added later, and stays without being asked for again.
	fast := inject(t, r.Document, Options{Init: new(true)})
	again := inject(t, fast.Document, Options{})
	if !bytes.Equal(fast.Document, again.Document) || len(again.Changes) > 0 {
		t.Errorf("changes %q:\n%s", again.Changes, cmp.Diff(string(fast.Document), string(again.Document)))
	}
	out := decode(t, fast.Document)
	for at, want := range map[string]string{
		".containerDefinitions[2].name": "ecr-login", ".containerDefinitions[2].image": "my.registry/tools/sidecar:2",
		".containerDefinitions[0].dependsOn[0].condition": "SUCCESS", ".containerDefinitions[1].dependsOn[0].condition": "START",
		".containerDefinitions[1].dependsOn[1].containerName": "ecr-login",
	} {
		if got := look(out, at); got != want {
			t.Errorf("%s is %v, want %s", at, got, want)
		}
	}
}

// The registries and the port that are there stay, for the fast start too; a new port takes the old one's place.
func TestInjectKeepsWhatIsNotSaid(t *testing.T) {
	first := inject(t, read(t, "taskdef.json"), Options{Registries: []string{"public.ecr.aws?optional", "default"}, Port: 9400})
	r := inject(t, first.Document, Options{Init: new(true), Port: 9500})
	if diff := cmp.Diff([]string{"public.ecr.aws?optional", "default"}, r.Registries); diff != "" {
		t.Errorf("registries (-want +got):\n%s", diff)
	}
	out := decode(t, r.Document)
	for at, want := range map[string]any{
		".containerDefinitions[0].environment[0].value":                      "public.ecr.aws?optional default",
		".containerDefinitions[2].environment[0].value":                      "public.ecr.aws?optional default",
		".containerDefinitions[0].environment[1].value":                      ":9500",
		".containerDefinitions[0].portMappings[0].containerPort":             json.Number("9500"),
		".containerDefinitions[0].portMappings[1]":                           nil,
		".containerDefinitions[0].dockerLabels.ECS_PROMETHEUS_EXPORTER_PORT": "9500",
	} {
		if diff := cmp.Diff(want, look(out, at)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", at, diff)
		}
	}
}

// What was wrong before is told, and is no reason to refuse.
func TestInjectTellsWhatWasWrongBefore(t *testing.T) {
	doc := stripped(t, "taskdef.json")
	edit(t, doc, ".cpu", "300")
	edit(t, doc, ".containerDefinitions[0].links", []any{"x"})
	r := inject(t, marshal(t, doc), Options{Image: image})
	if len(r.Findings) != 2 || r.Findings[0].Where != ".cpu" || r.Findings[1].Where != ".containerDefinitions[0].links" {
		t.Errorf("findings %+v", r.Findings)
	}
}

// Whom the sidecar waits for cannot wait for the sidecar.
func TestInjectLeavesOutWhomTheSidecarWaitsFor(t *testing.T) {
	doc := decode(t, read(t, "taskdef.json"))
	edit(t, doc, ".containerDefinitions[2]", map[string]any{"name": "proxy", "image": "x", "dependsOn": []any{map[string]any{"containerName": "dns", "condition": "START"}}})
	edit(t, doc, ".containerDefinitions[3]", map[string]any{"name": "dns", "image": "x"})
	edit(t, doc, ".containerDefinitions[0].dependsOn", []any{map[string]any{"containerName": "proxy", "condition": "START"}})
	if r := inject(t, marshal(t, doc), Options{}); len(r.Changes) > 0 {
		t.Errorf("changes %q", r.Changes)
	}
	if r := refusal(t, marshal(t, doc), Options{Containers: []string{"dns"}}); len(r) != 1 || !strings.Contains(r[0].What, "containers wait for each other") {
		t.Errorf("refused for %q", r)
	}
}

// A consumer's place can be moved.
func TestInjectMovesThePath(t *testing.T) {
	out := decode(t, inject(t, read(t, "taskdef.json"), Options{Path: "/root/.docker"}).Document)
	for _, at := range []string{".containerDefinitions[1].environment[0].value", ".containerDefinitions[1].mountPoints[0].containerPath"} {
		if got := look(out, at); got != "/root/.docker" {
			t.Errorf("%s is %v", at, got)
		}
	}
}

// The last word of the health check comes before the consumers give up, and Fargate allows the time.
func TestInjectTimesAddUp(t *testing.T) {
	if last := healthStart + healthRetries*healthInterval; last > startTimeout || startTimeout > 120 || healthTimeout >= healthInterval {
		t.Errorf("the health check has its last word after %d s, consumers give up after %d s", last, startTimeout)
	}
}

func inject(t *testing.T, doc []byte, o Options) Result {
	t.Helper()
	r, err := Inject(doc, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	return r
}

func refusal(t *testing.T, doc []byte, o Options) Refusal {
	t.Helper()
	_, err := Inject(doc, o)
	var r Refusal
	if err != nil && !errors.As(err, &r) {
		t.Fatal(err)
	}
	return r
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	doc, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// look returns what stands at a path, nil where there is nothing.
func look(node any, at string) any {
	for step := range strings.FieldsFuncSeq(at, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
		switch v := node.(type) {
		case map[string]any:
			node = v[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(v) {
				return nil
			}
			node = v[i]
		default:
			return nil
		}
	}
	return node
}
