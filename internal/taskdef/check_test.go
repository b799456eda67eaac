package taskdef

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shipped are the definitions that users copy.
var shipped = []string{"taskdef.json", "taskdef-fast.json", "taskdef-ec2.json"}

func TestShippedDefinitionsHaveNoFinding(t *testing.T) {
	for _, name := range shipped {
		findings, err := Check(read(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, f := range findings {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// The shipped definitions differ by what makes them three; the sidecar is the same in all.
func TestShippedSidecarIsTheSame(t *testing.T) {
	var all []map[string]any
	for _, name := range shipped {
		doc := decode(t, read(t, name))
		for _, k := range doc["containerDefinitions"].([]any) {
			if k := k.(map[string]any); k["name"] == "refresher" {
				delete(k, "dependsOn")                                            // the fast start waits for its init form
				delete(k["portMappings"].([]any)[0].(map[string]any), "hostPort") // bridge mode chooses one
				all = append(all, k)
			}
		}
	}
	if len(all) != len(shipped) {
		t.Fatalf("%d sidecars in %d definitions", len(all), len(shipped))
	}
	for i := range all {
		if diff := cmp.Diff(all[0], all[i]); diff != "" {
			t.Errorf("%s and %s differ:\n%s", shipped[0], shipped[i], diff)
		}
	}
}

func TestCheckRefusesWhatIsNoObject(t *testing.T) {
	for _, doc := range []string{"", "[]", "null", `"x"`, "{", "{} {}", `{"family": "x"} junk`} {
		if findings, err := Check([]byte(doc)); err == nil {
			t.Errorf("%q: no error, but %v", doc, findings)
		}
	}
	if findings, err := Check([]byte("{}")); err != nil || len(findings) == 0 {
		t.Errorf("{}: %v, %v", findings, err)
	}
}

// What describe-task-definition answers is checked inside, with paths that fit the answer.
func TestCheckDescribed(t *testing.T) {
	inner := decode(t, read(t, "taskdef.json"))
	inner["revision"] = 7
	edit(t, inner, ".containerDefinitions[0].memory", 16)
	doc, err := json.Marshal(map[string]any{"taskDefinition": inner, "tags": []any{}})
	if err != nil {
		t.Fatal(err)
	}
	compare(t, doc, "fail .taskDefinition", "fail .taskDefinition.revision", "warn .taskDefinition.containerDefinitions[0].memory")
}

// What is written as CloudFormation does is told how the key is written.
func TestCheckContainersInOtherCase(t *testing.T) {
	doc := decode(t, read(t, "taskdef.json"))
	doc["ContainerDefinitions"] = doc["containerDefinitions"]
	delete(doc, "containerDefinitions")
	compare(t, marshal(t, doc), "fail .ContainerDefinitions")
	if findings, _ := Check(marshal(t, doc)); findings[0].What+". "+findings[0].Cure != "unknown key ContainerDefinitions. Write containerDefinitions." {
		t.Errorf("%+v", findings)
	}
}

// A size that is missing is not one that Fargate does not have.
func TestCheckSizeMissing(t *testing.T) {
	for _, key := range []string{"cpu", "memory"} {
		doc := decode(t, read(t, "taskdef.json"))
		delete(doc, key)
		if findings, _ := Check(marshal(t, doc)); len(findings) != 1 || findings[0].What != "Fargate needs cpu and memory of the task" {
			t.Errorf("without %s: %+v", key, findings)
		}
	}
}

// Findings come in one order, however often they are asked for.
func TestCheckIsStable(t *testing.T) {
	doc := decode(t, read(t, "taskdef.json"))
	for _, key := range []string{"links", "dnsServers", "dnsSearchDomains", "zzz", "aaa"} {
		edit(t, doc, ".containerDefinitions[1]."+key, []any{"x"})
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := Check(raw)
	for range 20 {
		if again, _ := Check(raw); !cmp.Equal(first, again) {
			t.Fatal(cmp.Diff(first, again))
		}
	}
}

// compare checks a document and compares the findings' levels and places; each must say something and offer a cure.
func compare(t *testing.T, doc []byte, want ...string) {
	t.Helper()
	findings, err := Check(doc)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range findings {
		got = append(got, f.Level+" "+f.Where)
		if f.What == "" || !strings.HasSuffix(f.Cure, ".") || strings.Contains(f.What+f.Cure, "%!") {
			t.Errorf("this finding does not read well: %+v", f)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s\n%+v", diff, findings)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	doc, err := os.ReadFile("../../deploy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func decode(t *testing.T, doc []byte) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// gone removes what stands at a path.
type gone struct{}

// edit sets what stands at a path such as .containerDefinitions[0].memory; an index one past the end appends.
func edit(t *testing.T, doc map[string]any, at string, v any) {
	t.Helper()
	steps := strings.FieldsFunc(at, func(r rune) bool { return strings.ContainsRune(".[]", r) })
	var step func(node any, steps []string) any
	step = func(node any, steps []string) any {
		if len(steps) == 0 {
			return v
		}
		if i, err := strconv.Atoi(steps[0]); err == nil {
			l, _ := node.([]any)
			if i == len(l) {
				l = append(l, nil)
			}
			l[i] = step(l[i], steps[1:])
			if l[i] == (gone{}) {
				l = append(l[:i:i], l[i+1:]...)
			}
			return l
		}
		m, ok := node.(map[string]any)
		if !ok {
			m = map[string]any{}
		}
		if m[steps[0]] = step(m[steps[0]], steps[1:]); m[steps[0]] == (gone{}) {
			delete(m, steps[0])
		}
		return m
	}
	step(doc, steps)
}

// change is one edit of a document.
type change struct {
	at string
	v  any
}

func run(t *testing.T, base, name string, changes []change, want []string) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		doc := decode(t, read(t, base))
		for _, ch := range changes {
			edit(t, doc, ch.at, ch.v)
		}
		raw, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, raw, want...)
	})
}

// Every message of the package is provoked by a row somewhere: each row of the tables breaks one thing.
func ExampleCheck() {
	findings, _ := Check([]byte(`{"family": "x", "memory": 512, "containerDefinitions": [{"name": "refresher", "image": "ecr-refresher", "memory": "64"}]}`))
	for _, f := range findings {
		fmt.Printf("%s %s: %s. %s\n", f.Level, f.Where, f.What, f.Cure)
	}
	// Output:
	// fail .containerDefinitions[0].memory: this is a string, and must be an integer. Write an integer.
	// fail .memory: this is an integer, and must be a string. Write a string.
}
