package taskdef

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// --init=false leaves the definition that is shipped without the init container; whoever waited for that one waits for the sidecar.
func TestInjectTakesTheInitContainerAway(t *testing.T) {
	fast, slow := decode(t, read(t, "taskdef-fast.json")), decode(t, read(t, "taskdef.json"))
	edit(t, slow, ".family", fast["family"])
	r := inject(t, marshal(t, fast), Options{Init: new(false)})
	if diff := cmp.Diff(slow, decode(t, r.Document)); diff != "" || len(r.Findings) > 0 {
		t.Errorf("%+v (-want +got):\n%s", r.Findings, diff)
	}
	want := []string{`container "refresher": dependsOn`, `container "app": dependsOn`, `container "ecr-login": removed`}
	if diff := cmp.Diff(want, r.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if again := inject(t, r.Document, Options{Init: new(false)}); len(again.Changes) > 0 || !bytes.Equal(again.Document, r.Document) {
		t.Errorf("twice is not once: %q", again.Changes)
	}
}

// One that is no consumer waits for the sidecar too, and keeps whom else it waits for.
func TestInjectLetsOthersWaitForTheSidecar(t *testing.T) {
	doc := decode(t, read(t, "taskdef-fast.json"))
	wait := func(name, condition string) any { return map[string]any{"containerName": name, "condition": condition} }
	edit(t, doc, ".containerDefinitions[3]", map[string]any{"name": "late", "image": "x", "dependsOn": []any{wait("app", "START"), wait("ecr-login", "SUCCESS")}})
	out := decode(t, inject(t, marshal(t, doc), Options{Init: new(false), Containers: []string{"app"}}).Document)
	if diff := cmp.Diff([]any{wait("app", "START"), wait("refresher", "HEALTHY")}, look(out, ".containerDefinitions[2].dependsOn")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Where the init container is alone, the sidecar takes its image and its registries. It comes last, as all that is added.
func TestInjectReplacesALoneInitContainer(t *testing.T) {
	doc := decode(t, read(t, "taskdef-fast.json"))
	edit(t, doc, ".containerDefinitions[1]", gone{})
	edit(t, doc, ".containerDefinitions[1].dependsOn[0]", gone{})
	edit(t, doc, ".containerDefinitions[0].environment[1]", map[string]any{"name": "REFRESHER_OUTPUTS", "value": "/x/config.json"}) // goes with it
	r := inject(t, marshal(t, doc), Options{Init: new(false)})
	var names []string
	for _, k := range mustFields(r.Document).items("containerDefinitions") {
		names = append(names, mustFields(k).text("name"))
	}
	if diff := cmp.Diff([]string{"app", "refresher"}, names); diff != "" || len(r.Findings) > 0 {
		t.Errorf("%+v (-want +got):\n%s", r.Findings, diff)
	}
}

// Ten containers with the init container are nine without it.
func TestInjectCountsWithoutTheInitContainer(t *testing.T) {
	doc := decode(t, read(t, "taskdef-fast.json"))
	edit(t, doc, ".containerDefinitions[1]", gone{})
	edit(t, doc, ".containerDefinitions[1].dependsOn[0]", gone{})
	for i := 2; i < mostContainers; i++ {
		edit(t, doc, fmt.Sprintf(".containerDefinitions[%d]", i), map[string]any{"name": fmt.Sprint("c", i), "image": "x"})
	}
	if r := refusal(t, marshal(t, doc), Options{}); len(r) != 1 {
		t.Errorf("refused for %q", r)
	}
	if r := refusal(t, marshal(t, doc), Options{Init: new(false)}); r != nil {
		t.Errorf("refused for %q", r)
	}
}

// A byte order mark is no part of the document.
func TestInjectSkipsAByteOrderMark(t *testing.T) {
	doc := read(t, "taskdef.json")
	marked := slices.Concat([]byte("\ufeff"), doc)
	if plain, err := Plain(marked); err != nil || !bytes.Equal(plain, doc) {
		t.Errorf("%v\n%s", err, plain)
	}
	if got := inject(t, marked, Options{}).Document; !bytes.Equal(got, inject(t, doc, Options{}).Document) {
		t.Errorf("%s", got)
	}
}
