package taskdef

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each document is called what it is, by inject and by --check, with what to give instead.
func TestRecognised(t *testing.T) {
	for _, row := range []struct{ name, doc, what, fix string }{
		{"CloudFormation", `{"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"T": {"Type": "AWS::ECS::TaskDefinition"}}}`, "a CloudFormation template", "describe-task-definition"},
		{"CloudFormation without a version", `{"Resources": {"T": {"Type": "AWS::ECS::TaskDefinition"}}}`, "a CloudFormation template", "describe-task-definition"},
		{"a resource of it", `{"Type": "AWS::ECS::TaskDefinition", "Properties": {"ContainerDefinitions": []}}`, "a resource of a CloudFormation template", "describe-task-definition"},
		{"several definitions", `{"taskDefinitions": [{"family": "a", "containerDefinitions": []}], "failures": []}`, "a list of task definitions", "jq '.taskDefinitions[0]'"},
		{"list-task-definitions", `{"taskDefinitionArns": ["arn:aws:ecs:us-west-2:123456789012:task-definition/app:1"]}`, "list-task-definitions", "describe-task-definition"},
		{"list-task-definition-families", `{"families": ["app"]}`, "list-task-definition-families", "describe-task-definition"},
		{"describe-services", `{"services": [{"serviceName": "s", "taskDefinition": "arn:aws:ecs:us-west-2:123456789012:task-definition/app:1"}], "failures": []}`, "about services", "describe-task-definition"},
		{"update-service", `{"service": {"taskDefinition": "arn"}}`, "about services", "describe-task-definition"},
		{"list-services", `{"serviceArns": []}`, "about services", "describe-task-definition"},
		{"one service", `{"cluster": "c", "serviceName": "s", "taskDefinition": "app:1"}`, "only names a task definition", "describe-task-definition"},
		{"describe-tasks", `{"tasks": [{"taskDefinitionArn": "arn"}], "failures": []}`, "about running tasks", "describe-task-definition"},
		{"overrides", `{"containerOverrides": [{"name": "app", "memory": 1}]}`, "overrides of a task", "describe-task-definition"},
		{"PowerShell", `{"TaskDefinition": {"ContainerDefinitions": []}}`, "begin with a capital", "describe-task-definition"},
		{"a plan of Terraform", `{"format_version": "1.2", "terraform_version": "1.9.0", "planned_values": {}}`, "a plan, a state or a configuration of Terraform", "container_definitions"},
		{"a state of Terraform", `{"version": 4, "terraform_version": "1.9.0", "resources": []}`, "a plan, a state or a configuration of Terraform", "container_definitions"},
		{"Terraform's JSON", `{"resource": {"aws_ecs_task_definition": {}}}`, "a plan, a state or a configuration of Terraform", "container_definitions"},
		{"a resource of Terraform", `{"family": "app", "container_definitions": "[]"}`, "as Terraform writes them", "container_definitions"},
		{"compose", `{"services": {"app": {"image": "nginx"}}}`, "docker compose", "task definition"},
		{"Kubernetes", `{"apiVersion": "apps/v1", "kind": "Deployment"}`, "Kubernetes", "ECS"},
		{"docker's login", `{"auths": {"registry.example.com": {"auth": "x"}}}`, "this is a docker config.json, not a task definition", "describe-task-definition"},
		{"docker's login by a helper", `{"credHelpers": {"public.ecr.aws": "ecr-login"}}`, "a docker config.json", "describe-task-definition"},
		{"docker's login by a store", `{"credsStore": "ecr-login", "currentContext": "x"}`, "a docker config.json", "describe-task-definition"},
		{"an empty login", `{"auths": {}}`, "a docker config.json", "describe-task-definition"},
		{"one container", `{"name": "app", "image": "nginx:1", "memory": 64}`, "this is one container", "[ and ]"},
		{"a part of a container", `{"environment": [], "memory": 64}`, "a part of a container", "whole definition"},
		{"a list of definitions", `[{"family": "a", "containerDefinitions": []}]`, "a list of task definitions", "jq '.[0]'"},
		{"a list of answers", `[{"taskDefinition": {"family": "a"}}]`, "a list of task definitions", "jq '.[0]'"},
		{"CodePipeline's images", `[{"name": "app", "imageUri": "x:1"}]`, "imagedefinitions.json", "task definition"},
		{"a list of names", `["arn:aws:ecs:us-west-2:123456789012:task-definition/app:1"]`, "an item that is a string", "describe-task-definition"},
		{"CloudFormation's containers", `[{"Name": "app", "Image": "x:1"}]`, "begin with a capital", "Write name"},
		{"what docker inspect prints", `[{"Id": "0", "Config": {}}]`, "neither name nor image", "describe-task-definition"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Inject([]byte(row.doc), Options{Image: image})
			if err == nil || !strings.Contains(err.Error(), row.what) || !strings.Contains(err.Error(), row.fix) || !strings.HasPrefix(err.Error(), "task definition: ") {
				t.Errorf("inject: %v", err)
			}
			findings, err := Check([]byte(row.doc))
			if row.name == "a list of names" || err == nil {
				if err != nil || len(findings) != 1 || findings[0].Level != Fail || !strings.Contains(findings[0].What, row.what) || !strings.Contains(findings[0].Cure, row.fix) {
					t.Errorf("check: %+v, %v", findings, err)
				}
			} else {
				t.Errorf("check: %v", err)
			}
		})
	}
}

// What is not JSON is called what it is.
func TestRecognisedText(t *testing.T) {
	for doc, want := range map[string]string{
		"family: app\ncpu: 256\n":                                             "it is YAML",
		"\ufeff---\nfamily: app\n":                                            "it is YAML",
		"# the app\nfamily: app\n":                                            "it is YAML",
		"- name: app\n  image: nginx\n":                                       "it is YAML",
		"taskDefinition:\n  family: app\n":                                    "--output json",
		"AWSTemplateFormatVersion: '2010-09-09'\nResources:\n":                "a CloudFormation template in YAML",
		"Resources:\n  T:\n    Type: AWS::ECS::TaskDefinition\n":              "a CloudFormation template in YAML",
		"---\nDescription: x\nResources:\n  T:\n    Type: x\n":                "a CloudFormation template in YAML",
		"version: '3'\nservices:\n  app:\n    image: nginx\n":                 "docker compose",
		"apiVersion: apps/v1\nkind: Deployment\n":                             "Kubernetes",
		"resource \"aws_ecs_task_definition\" \"app\" {\n  family = \"x\"\n}": "a Terraform configuration",
		"# comment\n\nlocals {\n  x = 1\n}\n":                                 "a Terraform configuration",
		"TASKDEFINITION\t256\tarn\n":                                          "--output json",
		"----------------------------\n|  DescribeTaskDefinition  |\n":        "--output json",
		"<html>": "XML or HTML",
		"arn:aws:ecs:us-west-2:123456789012:task-definition/app:1\n": "the ARN of a task definition",
		`"[{\"name\": \"app\"}]"`:                                    "jq -r",
		`"containerDefinitions": [{"name": "app"}]`:                  "put { before it",
		"hello": "it is not JSON",
	} {
		for name, err := range map[string]error{"plain": second(Plain([]byte(doc))), "inject": second(Inject([]byte(doc), Options{Image: image}))} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q: %v, want %q", name, doc, err, want)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A list without items is called empty, also where all of them are null.
func TestEmptyList(t *testing.T) {
	for _, doc := range []string{
		`{"family":"f","containerDefinitions":[null]}`, `{"family":"f","containerDefinitions":[]}`,
		`{"family":"f","containerDefinitions":[null,null]}`, `{"taskDefinition":{"family":"f","containerDefinitions":[null]}}`,
	} {
		_, err := Inject([]byte(doc), Options{Image: image})
		if err == nil || err.Error() != "task definition: containerDefinitions: the list is empty" {
			t.Errorf("%s: %v", doc, err)
		}
		plain, err := Plain([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		findings, err := Check(plain)
		if err != nil || len(findings) != 1 || findings[0].Level != Fail || findings[0].What != emptyList || findings[0].Where != ".containerDefinitions" {
			t.Errorf("%s: %+v, %v", doc, findings, err)
		}
	}
	for _, doc := range []string{`[]`, `[null]`} {
		for name, err := range map[string]error{"inject": second(Inject([]byte(doc), Options{Image: image})), "check": second(Check([]byte(doc)))} {
			if err == nil || err.Error() != "task definition: the list is empty" {
				t.Errorf("%s: %s: %v", name, doc, err)
			}
		}
	}
}

// An item that is null is absent, whatever the list.
func TestNullItems(t *testing.T) {
	for _, at := range []string{
		".volumes", app + ".mountPoints", app + ".environment", app + ".portMappings", app + ".secrets", app + ".dependsOn",
		app + ".command", app + ".volumesFrom", ".containerDefinitions",
	} {
		doc := decode(t, read(t, "taskdef.json"))
		items, _ := look(doc, at).([]any)
		edit(t, doc, at, slices.Concat([]any{}, items))
		want, err := Check(marshal(t, doc))
		if err != nil {
			t.Fatal(err)
		}
		edit(t, doc, at, append(slices.Clone(items), nil))
		got, err := Check(marshal(t, doc))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", at, got, err, want)
		}
		r := inject(t, marshal(t, doc), Options{Image: image})
		if bytes.Contains(r.Document, []byte("null")) {
			t.Errorf("%s: there is a null in it:\n%s", at, r.Document)
		}
	}
	run(t, "taskdef.json", "only null tags are an empty list of tags", []change{{".tags", []any{nil}}}, []string{"fail .tags"})
}

// What is null is absent, in every key of the definition and of its containers, in lists, and in keys that nobody knows.
func TestNullIsAbsent(t *testing.T) {
	for _, name := range shipped {
		doc, base := decode(t, read(t, name)), decode(t, read(t, name))
		fill := func(m map[string]any, shape object) {
			for key := range shape {
				if _, there := m[key]; !there {
					m[key] = nil
				}
			}
		}
		fill(doc, definitionShape)
		doc["zzNew"] = nil
		for _, k := range doc["containerDefinitions"].([]any) {
			k := k.(map[string]any)
			fill(k, containerShape)
			k["zzNew"] = map[string]any{"a": nil}
			if l, ok := k["logConfiguration"].(map[string]any); ok {
				l["secretOptions"] = nil
			}
			if l, ok := k["environment"].([]any); ok {
				k["environment"] = append(l, nil)
			}
		}
		for _, k := range base["containerDefinitions"].([]any) {
			k.(map[string]any)["zzNew"] = map[string]any{}
		}
		plain, err := Plain(marshal(t, doc))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(base, decode(t, plain)); diff != "" {
			t.Errorf("%s: plain (-want +got):\n%s", name, diff)
		}
		findings, err := Check(marshal(t, doc))
		want, _ := Check(marshal(t, base))
		if diff := cmp.Diff(want, findings); err != nil || diff != "" {
			t.Errorf("%s: check: %v (-want +got):\n%s", name, err, diff)
		}
		if r := inject(t, marshal(t, doc), Options{}); len(r.Changes) > 0 || bytes.Contains(r.Document, []byte("null")) {
			t.Errorf("%s: %q", name, r.Changes)
		}
	}
}

// What has no null in it keeps its bytes, and so does all that is beside one.
func TestNullsOnlyGo(t *testing.T) {
	for doc, want := range map[string]string{
		`{"a": "null", "b" : [1.0 , 2]}`:               `{"a": "null", "b" : [1.0 , 2]}`,
		`{"a": null, "b" : [1.0 , 2], "c":"\u00e9"}`:   `{"b":[1.0 , 2],"c":"\u00e9"}`,
		`[ null, {"a":[null]}, [[ ]] ]`:                `[{"a":[]},[[ ]]]`,
		`{"a": {"b": {"c": null, "d": 1e400}}, "e":0}`: `{"a":{"b":{"d":1e400}},"e":0}`,
	} {
		if got, err := noNulls(json.RawMessage(doc)); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", doc, got, err)
		}
	}
}

// A bare list of containers is taken as such, and comes back as one.
func TestBareList(t *testing.T) {
	list := `[{"name": "app", "image": "nginx:1", "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}], "portMappings": [{"containerPort": 80}]},
		{"name": "db", "image": "db:1", "essential": false, "user": null}]`
	r := inject(t, []byte(list), Options{Image: image})
	var out []map[string]any
	if err := json.Unmarshal(r.Document, &out); err != nil {
		t.Fatal(err)
	}
	var names []any
	for _, k := range out {
		names = append(names, k["name"])
	}
	if diff := cmp.Diff([]any{"app", "db", "refresher"}, names); diff != "" || r.Volume != "ecr-auth" || len(r.Findings) > 0 {
		t.Errorf("volume %q, %+v (-want +got):\n%s", r.Volume, r.Findings, diff)
	}
	if again := inject(t, r.Document, Options{}); len(again.Changes) > 0 || !bytes.Equal(again.Document, r.Document) {
		t.Errorf("twice is not once: %q", again.Changes)
	}
	fast := inject(t, r.Document, Options{Init: new(true), Port: 9400})
	if want := inject(t, []byte(list), Options{Image: image, Init: new(true), Port: 9400}); !bytes.Equal(fast.Document, want.Document) {
		t.Errorf("(-one call +two):\n%s", cmp.Diff(string(want.Document), string(fast.Document)))
	}
	findings, err := Check([]byte(`[{"name": "app", "image": "x:1", "memory": 5}, {"name": "refresher", "image": "ecr-refresher"}]`))
	if err != nil || len(findings) == 0 || findings[0].Where != ".[0].memory" {
		t.Errorf("%+v, %v", findings, err)
	}
	if all := Refreshers(r.Document); len(all) != 1 || all[0].Where != ".[2]" {
		t.Errorf("%+v", all)
	}
	for what, o := range map[string]Options{
		"--task-role: a list of containers has no place":      {Image: image, TaskRole: "arn:aws:iam::123456789012:role/t"},
		"--execution-role: a list of containers has no place": {Image: image, ExecutionRole: "arn:aws:iam::123456789012:role/t"},
		"app has the port 80 already":                         {Image: image, Port: 80},
	} {
		if r := refusal(t, []byte(list), o); len(r) != 1 || !strings.Contains(r[0].What, what) {
			t.Errorf("%s: %q", what, r)
		}
	}
}

// A container without a name is called that, and nothing else is said of it.
func TestNameless(t *testing.T) {
	for doc, want := range map[string]string{
		`{"family": "f", "taskRoleArn": "arn:aws:iam::123456789012:role/t", "containerDefinitions": [{"image": "x:1", "memory": 64}]}`:  "no container has a name: this is a fragment",
		`{"containerDefinitions": [{"secrets": [{"name": "a", "valueFrom": "b"}]}], "taskRoleArn": "arn:aws:iam::123456789012:role/t"}`: "no container has a name: this is a fragment",
		`[{"secrets": [{"name": "a", "valueFrom": "b"}]}]`: "no container has a name: this is a fragment",
		`{"family": "f", "taskRoleArn": "arn:aws:iam::123456789012:role/t", "containerDefinitions": [{"name": "app", "image": "x:1", "memory": 64}, {"name": "", "image": "y:1", "memory": 64}]}`: ".containerDefinitions[1].name: the container has no name",
		`[{"image": "x:1", "environment": [{"name": "DOCKER_CONFIG", "value": "/root/.docker"}]}, {"name": "app", "image": "y:1"}]`:                                                               ".[0].name: the container has no name",
		`[{"name": null, "image": "x:1"}, {"name": "app", "image": "y:1"}]`:                                                                                                                       ".[0].name: the container has no name",
	} {
		if r := refusal(t, []byte(doc), Options{Image: image}); len(r) != 1 || !strings.HasPrefix(r[0].What, want) {
			t.Errorf("%s: %q", doc, r)
		}
		findings, err := Check([]byte(doc))
		if err != nil || !slices.ContainsFunc(findings, func(f Finding) bool { return f.What == "the container has no name" && f.Level == Fail }) {
			t.Errorf("%s: %+v, %v", doc, findings, err)
		}
	}
}

// Empty strings and lists that ECS refuses are named; those that mean something are not.
func TestEmpty(t *testing.T) {
	for at, bad := range map[string]bool{
		".executionRoleArn": true, ".networkMode": true, ".pidMode": true, ".tags[0].key": true, ".tags[0].value": false,
		".volumes[1].name": true, ".placementConstraints[0].type": true,
		app + ".environment[3].name": true, app + ".environment[3].value": false, app + ".secrets[0].name": true, app + ".secrets[0].valueFrom": true,
		app + ".repositoryCredentials.credentialsParameter": true, app + ".links[0]": true, app + ".command[0]": false, app + ".entryPoint[0]": false,
		app + ".user": false, app + ".workingDirectory": false, app + ".logConfiguration.logDriver": true, app + ".logConfiguration.options.tag": false,
		app + ".portMappings[0].protocol": true, app + ".linuxParameters.tmpfs[0].containerPath": true, app + ".dockerLabels.x": false,
		app + ".mountPoints[1].containerPath": true, app + ".ulimits[0].name": true, app + ".systemControls[0].namespace": true,
	} {
		doc := decode(t, read(t, "taskdef-ec2.json"))
		edit(t, doc, ".volumes[1].name", "docker-socket")
		if key, _, list := strings.Cut(strings.TrimPrefix(at, app), "["); list && strings.Contains(at, app) && look(doc, app+key) == nil {
			edit(t, doc, app+key, []any{})
		}
		for _, key := range []string{".tags", ".placementConstraints"} {
			if strings.HasPrefix(at, key) {
				edit(t, doc, key, []any{})
			}
		}
		edit(t, doc, at, "")
		findings, err := Check(marshal(t, doc))
		got := slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == Fail && f.Where == at && strings.Contains(f.What, "empty") })
		if err != nil || got != bad {
			t.Errorf("%s: %+v, %v", at, findings, err)
		}
	}
	run(t, "taskdef.json", "an empty list of tags", []change{{".tags", []any{}}}, []string{"fail .tags"})
	run(t, "taskdef.json", "an empty family", []change{{".family", ""}}, []string{"fail .family"})
	run(t, "taskdef.json", "an empty list of something else", []change{{".placementConstraints", []any{}}, {app + ".secrets", []any{}}}, nil)
	// What describe-task-definition prints beside the definition is not part of it.
	doc, err := Plain(marshal(t, map[string]any{"taskDefinition": decode(t, read(t, "taskdef.json")), "tags": []any{}}))
	if err != nil || bytes.Contains(doc, []byte("tags")) {
		t.Errorf("%s, %v", doc, err)
	}
}

// The document is the same in however many calls, and in whichever order, the options were given; what is added comes last.
func TestInjectAddsLast(t *testing.T) {
	choices := map[string]func(*Options){
		"init":           func(o *Options) { o.Init = new(true) },
		"port":           func(o *Options) { o.Port = 9400 },
		"path":           func(o *Options) { o.Path = "/auth" },
		"essential":      func(o *Options) { o.Essential = new(true) },
		"registries":     func(o *Options) { o.Registries = []string{"default", "public.ecr.aws?optional"} },
		"execution role": func(o *Options) { o.ExecutionRole = "arn:aws:iam::123456789012:role/e2" },
		"writable":       func(o *Options) { o.Writable = true },
		"task role":      func(o *Options) { o.TaskRole = "arn:aws:iam::123456789012:role/t2" },
	}
	for _, name := range []string{"taskdef.json", "taskdef-ec2.json"} {
		base := stripped(t, name)
		delete(base, "executionRoleArn")
		edit(t, base, ".containerDefinitions[0].logConfiguration", gone{})
		edit(t, base, ".containerDefinitions[1]", map[string]any{"name": "other", "image": "x:1", "memory": 16,
			"environment": []any{map[string]any{"name": "A", "value": "1"}}, "mountPoints": []any{map[string]any{"sourceVolume": "data", "containerPath": "/data"}}})
		edit(t, base, ".volumes", []any{map[string]any{"name": "data"}, map[string]any{"name": "docker-socket"}})
		doc, common := marshal(t, base), Options{Image: image, ExecutionRole: "arn:aws:iam::123456789012:role/e"}
		at := common
		for _, set := range choices {
			set(&at)
		}
		want := inject(t, doc, at)
		keys := slices.Sorted(maps.Keys(choices))
		for shift := range keys {
			order := slices.Concat(keys[shift:], keys[:shift])
			got, o := doc, common
			for _, key := range order {
				one := common
				one.Writable = o.Writable // the one that is taken back when it is not given
				choices[key](&one)
				o.Writable = one.Writable
				one.ExecutionRole = ""
				if key == "execution role" || bytes.Equal(got, doc) && key != "execution role" {
					one.ExecutionRole = map[bool]string{true: "arn:aws:iam::123456789012:role/e2", false: common.ExecutionRole}[key == "execution role"]
				}
				got = inject(t, got, one).Document
			}
			if !bytes.Equal(got, want.Document) {
				t.Errorf("%s: %q (-one call +several):\n%s", name, order, cmp.Diff(string(want.Document), string(got)))
			}
		}
		swapped := at
		swapped.Containers = []string{"other", "app"}
		straight := at
		straight.Containers = []string{"app", "other"}
		if a, b := inject(t, doc, swapped), inject(t, doc, straight); !bytes.Equal(a.Document, b.Document) {
			t.Error("the order of --container matters")
		}
		was, is := decode(t, doc), decode(t, want.Document)
		for _, list := range []string{".volumes", ".containerDefinitions", ".containerDefinitions[1].environment", ".containerDefinitions[1].mountPoints"} {
			a, b := look(was, list).([]any), look(is, list).([]any)
			for i := range a {
				if x, y := a[i].(map[string]any)["name"], b[i].(map[string]any)["name"]; x != y {
					t.Errorf("%s: %s[%d] was %v and is %v", name, list, i, x, y)
				}
				if x, y := a[i].(map[string]any)["sourceVolume"], b[i].(map[string]any)["sourceVolume"]; x != y {
					t.Errorf("%s: %s[%d] was %v and is %v", name, list, i, x, y)
				}
			}
		}
	}
}
