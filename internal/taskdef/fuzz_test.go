package taskdef

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// seeds are definitions of every kind: valid ones by the generator of the property test, and those that people bring.
func seeds(f *testing.F) (docs []string) {
	for seed := range uint64(12) {
		g := generator{rand.New(rand.NewPCG(seed, 7))}
		b, err := json.Marshal(g.definition())
		if err != nil {
			f.Fatal(err)
		}
		docs = append(docs, string(b))
	}
	const web = `{"family":"f","taskRoleArn":"arn:aws:iam::123456789012:role/t","containerDefinitions":[{"name":"web","image":"w","memory":64}]}`
	return append(docs, web,
		`{"taskDefinition":`+web+`,"tags":[{"key":"a","value":"b"}]}`,
		`{"taskDefinition":{"taskDefinition":`+web+`}}`, `{"taskDefinition":null}`,
		"", "null", "[]", "{}", "{", `{"containerDefinitions":null}`, `{"containerDefinitions":[null]}`, `{"containerDefinitions":[{}],"containerDefinitions":[{}]}`,
		`{"ContainerDefinitions":[]}`, `{"containerDefinitions":[{"environment":[null,{"name":null}],"dependsOn":[{"containerName":"refresher"}]}],"volumes":[null]}`,
		`{"containerDefinitions":[{"name":"a","dependsOn":[{"containerName":"b"}]},{"name":"b","dependsOn":[{"containerName":"a"}]}]}`,
		`{"containerDefinitions":[{"name":"a","memory":1e3,"cpu":9223372036854775808}],"memory":"1e9GB","cpu":".5 vCPU"}`,
		`[{"name":"a","image":"x","memory":64}]`, `[null,{"name":"a","image":"x","mountPoints":[{"sourceVolume":"v","containerPath":"/run"}]},{"name":"b","image":"y","volumesFrom":[{"sourceContainer":"a"}]}]`,
		`[{"name":"a","imageUri":"x"}]`, `{"Resources":{}}`, `{"taskDefinitions":[]}`, `{"taskDefinition":"arn"}`,
		`{"containerDefinitions":[{"name":"a","name":"b"}]}`, `{"a":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`,
	)
}

// FuzzCheck: every finding can be read, and is of this document; Plain agrees with itself.
func FuzzCheck(f *testing.F) {
	for _, doc := range seeds(f) {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		before := bytes.Clone(doc)
		findings, err := Check(doc)
		if !bytes.Equal(doc, before) {
			t.Error("the document was written to")
		}
		isObject := false // or a list that is not empty: a bare list of containers is taken as well
		if json.Valid(doc) {
			switch v := withoutNulls(value(doc)).(type) {
			case map[string]any:
				isObject = true
			case []any:
				isObject = len(v) > 0
			}
		}
		if isObject != (err == nil) && !(err != nil && isObject && strings.Contains(err.Error(), "range")) {
			t.Errorf("an object: %v, and the error is %v", isObject, err)
		}
		for _, one := range findings {
			if one.Level != Fail && one.Level != Warn || !strings.HasPrefix(one.Where, ".") || one.What == "" || one.Cure == "" {
				t.Errorf("%+v", one)
			}
		}
		if again, _ := Check(doc); !slices.Equal(findings, again) {
			t.Errorf("not the same twice:\n%+v\n%+v", findings, again)
		}
		plain, err := Plain(doc)
		if err != nil {
			return
		}
		if !json.Valid(plain) {
			t.Fatalf("%q", plain)
		}
		// What register-task-definition would refuse is gone, unless it was wrapped twice.
		var f map[string]any
		if json.Unmarshal(plain, &f) == nil && f["taskDefinition"] == nil {
			if again, err := Plain(plain); err != nil || !bytes.Equal(again, plain) {
				t.Errorf("plain is not plain: %v\n%s\n%s", err, plain, again)
			}
		}
	})
}

// FuzzInject: what comes out is a definition that keeps all that was there, says what was done, and is the same the second
// time; what is refused says why, and what to do.
func FuzzInject(f *testing.F) {
	docs := seeds(f)
	for i, doc := range docs {
		g := generator{rand.New(rand.NewPCG(uint64(i), 8))}
		f.Add([]byte(doc), "ecr-refresher:1", g.of("", "c0", "web", "c0 c1"), g.of("", "default", "public.ecr.aws?optional", "default?alias=a.example.com"), g.of("", "/auth", "/run/ecr", "x"), uint16(g.IntN(3)*4700), "arn:aws:iam::123456789012:role/n", byte(g.IntN(256)))
	}
	f.Fuzz(func(t *testing.T, doc []byte, image, containers, registries, path string, port uint16, role string, flags byte) {
		for _, s := range []string{image, containers, registries, path, role} {
			if !utf8.ValidString(s) {
				t.Skip("JSON cannot say it")
			}
		}
		o := Options{
			Image: image, Containers: strings.Fields(containers), Registries: strings.Fields(registries), Path: path, Port: int(port),
			Writable: flags&1 != 0,
		}
		if flags&2 != 0 {
			o.Init = new(flags&64 == 0)
		}
		if flags&4 != 0 {
			o.Essential = new(flags&8 != 0)
		}
		if flags&16 != 0 {
			o.TaskRole = role
		}
		if flags&32 != 0 {
			o.ExecutionRole = role
		}
		before := bytes.Clone(doc)
		once, err := Inject(doc, o)
		if !bytes.Equal(doc, before) {
			t.Error("the document was written to")
		}
		if err != nil {
			if refused := (Refusal)(nil); errors.As(err, &refused) {
				for _, r := range refused {
					if r.What == "" || r.Cure == "" || !strings.HasSuffix(r.Cure, ".") {
						t.Errorf("%+v", r)
					}
				}
				if len(refused) == 0 {
					t.Error("refused for no reason")
				}
			} else if !strings.HasPrefix(err.Error(), "task definition: ") {
				t.Errorf("%v", err)
			}
			return
		}
		if !json.Valid(once.Document) {
			t.Fatalf("no JSON: %s", once.Document)
		}
		twice, err := Inject(once.Document, o)
		if err != nil || !bytes.Equal(once.Document, twice.Document) || len(twice.Changes) > 0 {
			t.Fatalf("twice is not once: %v %q\n%s\n%s", err, twice.Changes, once.Document, twice.Document)
		}
		if bare, err := Inject(once.Document, Options{Containers: o.Containers, Writable: o.Writable}); err != nil || !bytes.Equal(once.Document, bare.Document) {
			t.Fatalf("what is not said does not stay: %v\n%s\n%s", err, once.Document, bare.Document)
		}
		was, is := withoutNulls(value(bytes.TrimPrefix(doc, []byte("\ufeff")))), value(once.Document)
		if list, ok := was.([]any); ok {
			was, is = map[string]any{"containerDefinitions": list}, map[string]any{"containerDefinitions": is}
		}
		checkForeign(t, was.(map[string]any), is.(map[string]any), o)
		known, err := Check(mustPlain(t, doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range once.Findings {
			if one.Level == Fail && !slices.ContainsFunc(known, func(k Finding) bool { return k.What == one.What }) {
				t.Errorf("a failure of our own: %+v", one)
			}
		}
	})
}

func mustPlain(t *testing.T, doc []byte) []byte {
	t.Helper()
	plain, err := Plain(doc)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// checkForeign: all that is not of a container of ours, and none of the few keys that a consumer needs, is as it was.
func checkForeign(t *testing.T, before, after map[string]any, o Options) {
	t.Helper()
	if inner, ok := before["taskDefinition"].(map[string]any); ok {
		tags := before["tags"]
		if before = inner; tags != nil && len(tags.([]any)) > 0 {
			before["tags"] = tags
		}
	}
	ours := func(k map[string]any) bool {
		b, _ := json.Marshal(k)
		var c container
		return json.Unmarshal(b, &c) == nil && c.ours()
	}
	foreign := func(d map[string]any) (list []map[string]any) {
		all, _ := d["containerDefinitions"].([]any)
		for _, k := range all {
			if k, ok := k.(map[string]any); ok && !ours(k) {
				list = append(list, k)
			}
		}
		return list
	}
	a, b := foreign(before), foreign(after)
	if len(a) != len(b) {
		t.Fatalf("%d foreign containers of %d", len(b), len(a))
	}
	changed := map[string]bool{"environment": true, "mountPoints": true, "dependsOn": true}
	for i := range a {
		strip := func(m map[string]any) []byte {
			rest := map[string]any{}
			for k, v := range m {
				if !changed[k] {
					rest[k] = v
				}
			}
			out, _ := json.Marshal(rest)
			return out
		}
		if x, y := strip(a[i]), strip(b[i]); !bytes.Equal(x, y) {
			t.Errorf("container %d was\n%s\nand is\n%s", i, x, y)
		}
		for key := range changed { // grown at most
			was, _ := a[i][key].([]any)
			is, _ := b[i][key].([]any)
			if len(is) < len(was) && !(key == "dependsOn" && o.Init != nil && !*o.Init) {
				t.Errorf("container %d lost %s", i, key)
			}
			for _, w := range was {
				text, _ := json.Marshal(w)
				if strings.Contains(string(text), "ecr") || strings.Contains(string(text), "AUTH") || strings.Contains(string(text), "DOCKER_CONFIG") ||
					strings.Contains(string(text), sidecarName) || key == "dependsOn" || key == "mountPoints" {
					continue // may be brought up to date
				}
				if !slices.ContainsFunc(is, func(v any) bool { n, _ := json.Marshal(v); return bytes.Equal(n, text) }) {
					t.Errorf("container %d lost %s of %s", i, text, key)
				}
			}
		}
	}
	for key, v := range before {
		if slices.Contains(described, key) || key == "containerDefinitions" || key == "volumes" ||
			key == "taskRoleArn" && o.TaskRole != "" || key == "executionRoleArn" && o.ExecutionRole != "" {
			continue
		}
		x, _ := json.Marshal(v)
		y, _ := json.Marshal(after[key])
		if !bytes.Equal(x, y) {
			t.Errorf("%s was %s and is %s", key, x, y)
		}
	}
	volumes, _ := before["volumes"].([]any)
	now, _ := after["volumes"].([]any)
	for _, v := range volumes {
		x, _ := json.Marshal(v)
		if !slices.ContainsFunc(now, func(w any) bool { y, _ := json.Marshal(w); return bytes.Equal(x, y) }) {
			t.Errorf("the volume %s is gone", x)
		}
	}
}
