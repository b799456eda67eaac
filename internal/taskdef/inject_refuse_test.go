package taskdef

import (
	"fmt"
	"strings"
	"testing"
)

// Each row makes one thing impossible, and is refused for that, with a cure, and for nothing else.
func TestInjectRefuses(t *testing.T) {
	many := func(n int) []change {
		var all []change
		for i := 1; i < n; i++ {
			all = append(all, change{fmt.Sprintf(".containerDefinitions[%d]", i), map[string]any{"name": fmt.Sprint("c", i), "image": "x", "memory": 8}})
		}
		return all
	}
	app := ".containerDefinitions[0]"
	env := func(name, value string) []change {
		return []change{{app + ".environment", []any{map[string]any{"name": name, "value": value}}}}
	}
	for _, row := range []struct {
		name       string
		base       string
		changes    []change
		o          Options
		what, cure string
	}{
		{"no image", "", nil, Options{Image: "-"}, "no image is known", "Give --image=NAME:TAG."},
		{"no essential container", "", []change{{app + ".essential", false}}, Options{}, "no container besides the sidecar is essential", "Leave essential off"},
		{"ours is not enough", "", []change{{app + ".essential", false}}, Options{Essential: new(true)}, "no container besides the sidecar is essential", ""},
		{"ours that is there is not enough", "", []change{{app + ".essential", false},
			{".containerDefinitions[1]", map[string]any{"name": "refresher", "image": "ecr-refresher", "essential": true}}}, Options{}, "no container besides the sidecar is essential", ""},
		{"name taken", "", []change{{".containerDefinitions[1]", map[string]any{"name": "refresher", "image": "redis", "essential": false}}}, Options{},
			`"refresher" already and is none of ours: its image is redis`, "Rename it"},
		{"name of the init form taken", "", []change{{".containerDefinitions[1]", map[string]any{"name": "ecr-login", "image": "redis"}}}, Options{Init: new(true)},
			`"ecr-login" already`, "Rename it"},
		{"two sidecars", "", []change{
			{".containerDefinitions[1]", map[string]any{"name": "a", "image": "ecr-refresher", "essential": false}},
			{".containerDefinitions[2]", map[string]any{"name": "b", "image": "ecr-refresher", "essential": false}}}, Options{},
			`"a" and "b" do the same`, "Remove one"},
		{"volume taken, of a host", "taskdef-ec2.json", []change{{".volumes[1]", map[string]any{"name": "ecr-auth", "host": map[string]any{"sourcePath": "/x"}}}}, Options{},
			`"ecr-auth" already, and it is not a plain one`, "Rename that volume"},
		{"volume taken, EFS", "", []change{{".volumes", []any{map[string]any{"name": "ecr-auth", "efsVolumeConfiguration": map[string]any{"fileSystemId": "fs-1"}}}}}, Options{},
			"not a plain one", "Rename"},
		{"volume taken, mounted elsewhere", "", []change{{".volumes", []any{map[string]any{"name": "ecr-auth"}}},
			{app + ".mountPoints", []any{map[string]any{"sourceVolume": "ecr-auth", "containerPath": "/data"}}}}, Options{}, "app mounts it at /data", "Rename"},
		{"place taken", "", []change{{".volumes", []any{map[string]any{"name": "data"}}},
			{app + ".mountPoints", []any{map[string]any{"sourceVolume": "data", "containerPath": "/run/ecr/"}}}}, Options{}, `app: the volume "data" and the volume "ecr-auth" are both mounted at /run/ecr`, "--path"},
		{"windows", "", []change{{".runtimePlatform.operatingSystemFamily", "WINDOWS_SERVER_2022_CORE"}}, Options{}, "for Windows", "Linux"},
		{"windows by its volume", "taskdef-ec2.json", []change{{".volumes[1]", map[string]any{"name": "f", "fsxWindowsFileServerVolumeConfiguration": map[string]any{"fileSystemId": "fs-1"}}}}, Options{}, "for Windows", "Linux"},
		{"no network", "taskdef-ec2.json", []change{{".networkMode", "none"}}, Options{}, "could not reach ECR", "awsvpc or bridge"},
		{"an image by its URL", "", nil, Options{Image: "https://registry.example.com/ecr-refresher:1"}, "begins as a URL does", ":// off"},
		{"the file as the path", "", nil, Options{Path: "/run/ecr/config.json"}, `"/run/ecr/config.json" is the file's name; give the directory`, "such as /run/ecr."},
		{"an account of 11 digits", "", nil, Options{TaskRole: "arn:aws:iam::12345678901:role/t"}, `--task-role: "arn:aws:iam::12345678901:role/t" is no ARN`, "arn:aws:iam::123456789012"},
		{"an execution role of account 1", "", nil, Options{ExecutionRole: "arn:aws:iam::1:role/t"}, "--execution-role: ", "arn:aws:iam::123456789012"},
		{"waits for the init container that goes, and the sidecar for it", "taskdef-ec2.json", []change{
			{".containerDefinitions[1]", map[string]any{"name": "refresher", "image": "ecr-refresher:1", "memory": 64, "essential": false, "dependsOn": []any{map[string]any{"containerName": "x", "condition": "START"}}}},
			{".containerDefinitions[2]", map[string]any{"name": "once", "image": "ecr-refresher:1", "memory": 64, "essential": false, "command": []any{"once"}}},
			{".containerDefinitions[3]", map[string]any{"name": "x", "image": "x", "memory": 64, "dependsOn": []any{map[string]any{"containerName": "once", "condition": "SUCCESS"}}}}},
			Options{Init: new(false)}, "containers wait for each other", "Remove one"},
		{"no such consumer", "", nil, Options{Containers: []string{"ap"}}, `no container "ap"`, "Choose from app."},
		{"DOCKER_CONFIG elsewhere", "", env("DOCKER_CONFIG", "/root/.docker"), Options{}, "app has DOCKER_CONFIG=/root/.docker", "--path"},
		{"REGISTRY_AUTH_FILE elsewhere", "", env("REGISTRY_AUTH_FILE", "/auth.json"), Options{}, "app has REGISTRY_AUTH_FILE=/auth.json", "--path"},
		{"DOCKER_CONFIG from a secret", "", []change{{app + ".secrets", []any{map[string]any{"name": "DOCKER_CONFIG", "valueFrom": "arn:x"}}}}, Options{}, "from a secret", "Remove it"},
		{"ten containers", "taskdef-ec2.json", many(10), Options{}, "these are 11 containers, and ECS allows 10", "task of its own"},
		{"nine containers and the fast start", "taskdef-ec2.json", many(9), Options{Init: new(true)}, "these are 11 containers", "task of its own"},
		{"memory", "", []change{{app + ".memory", 449}}, Options{}, "ask for 449 MiB and the sidecar for 64, together 513, and the task has 512",
			`by 1 MiB, or raise the task's memory to "1024"`},
		{"memory for two", "", []change{{app + ".memoryReservation", 400}}, Options{Init: new(true)}, "ask for 400 MiB and the sidecar for 128, together 528", `"1024"`},
		{"memory on EC2", "taskdef-ec2.json", []change{{".memory", "0.125GB"}}, Options{}, "together 192, and the task has 128", "by 64 MiB, or raise the task's memory."},
		{"host network without a port", "taskdef-ec2.json", []change{{".networkMode", "host"}}, Options{}, "the port is everybody's", "--port=N"},
		{"port taken", "", []change{{app + ".portMappings", []any{map[string]any{"containerPort": 9327}}}}, Options{}, "app has the port 9327 already", "--port"},
		{"no port", "", nil, Options{Port: 70000}, "no port 70000", "1 to 65535"},
		{"a path with a colon", "", nil, Options{Path: "/run:ecr"}, `--path: "/run:ecr" has a colon in it`, "without one"},
		{"a path with a colon at its end", "", nil, Options{Path: "/run/ecr:"}, "has a colon in it", "without one"},
		{"a path of DOCKER_CONFIG with a colon", "", env("DOCKER_CONFIG", "/run:ecr"), Options{Path: "/run:ecr"}, "has a colon in it", "without one"},
		{"a circle by volumesFrom", "taskdef-ec2.json", []change{
			{".containerDefinitions[1]", map[string]any{"name": "refresher", "image": "ecr-refresher:1", "memory": 64, "essential": false, "volumesFrom": []any{map[string]any{"sourceContainer": "app"}}}}},
			Options{Containers: []string{"app"}}, "containers wait for each other", "volumesFrom"},
		{"relative path", "", nil, Options{Path: "run/ecr"}, `"run/ecr" is no directory`, "absolute path"},
		{"wrong registry", "", nil, Options{Registries: []string{"docker.io"}}, "--registry: ", "docs/registries.md"},
		{"wrong role", "", nil, Options{TaskRole: "admin"}, `--task-role: "admin" is no ARN`, "arn:aws:iam::"},
		{"no task role", "", []change{{".taskRoleArn", gone{}}}, Options{}, ".taskRoleArn: the task has no role", "--task-role=ARN"},
		{"no task role for the sidecar that is there", "", []change{{".taskRoleArn", gone{}},
			{".containerDefinitions[1]", map[string]any{"name": "refresher", "image": "ecr-refresher", "essential": false}}}, Options{}, ".taskRoleArn: the task has no role", "--task-role=ARN"},
		{"no execution role", "", []change{{".executionRoleArn", gone{}}, {app + ".logConfiguration", gone{}}}, Options{}, ".executionRoleArn: ", "--execution-role=ARN"},
		{"a log router that waits", "", []change{
			{app + ".logConfiguration", map[string]any{"logDriver": "awsfirelens"}},
			{".containerDefinitions[1]", map[string]any{"name": "router", "image": "fluent-bit", "firelensConfiguration": map[string]any{"type": "fluentbit"}}}},
			Options{Containers: []string{"app", "router"}}, "router routes the sidecar's log", "--container"},
		{"the output elsewhere", "", []change{{".containerDefinitions[1]", map[string]any{"name": "refresher", "image": "ecr-refresher", "essential": false,
			"environment": []any{map[string]any{"name": "REFRESHER_OUTPUTS", "value": "/x/config.json"}}}}}, Options{}, "refresher writes /x/config.json first", "--path"},
		{"wrong type", "", []change{{app + ".memory", "64"}}, Options{}, ".containerDefinitions[0].memory: this is a string", "Write an integer."},
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
			switch row.o.Image {
			case "":
				row.o.Image = image
			case "-":
				row.o.Image = ""
			}
			r := refusal(t, marshal(t, doc), row.o)
			if len(r) != 1 || !strings.Contains(r[0].What, row.what) || !strings.Contains(r[0].Cure, row.cure) {
				t.Fatalf("refused for %q", r)
			}
			if !strings.HasSuffix(r[0].Cure, ".") || strings.HasSuffix(r[0].What, ".") || strings.Contains(r.Error(), "%!") || strings.Contains(r.Error(), "..") {
				t.Errorf("this does not read well: %q", r.Error())
			}
		})
	}
}

// All reasons come at once.
func TestInjectRefusesAtOnce(t *testing.T) {
	doc := stripped(t, "taskdef.json")
	for _, ch := range []change{{".containerDefinitions[0].essential", false}, {".runtimePlatform.operatingSystemFamily", "WINDOWS_SERVER_2022_CORE"}, {".containerDefinitions[0].memory", 512}, {".taskRoleArn", gone{}}} {
		edit(t, doc, ch.at, ch.v)
	}
	if r := refusal(t, marshal(t, doc), Options{Containers: []string{"x"}}); len(r) != 6 {
		t.Errorf("%d reasons: %q", len(r), r)
	}
}

// What is no task definition is called what it is, and JSON that is broken has the line.
func TestInjectRefusesNoDefinition(t *testing.T) {
	for doc, want := range map[string]string{
		"":                               "it is empty",
		"null":                           "it is neither a JSON object nor a list of containers",
		"1":                              "it is neither a JSON object nor a list of containers",
		"\xff\xfe{\x00}\x00":             "it is UTF-16, as PowerShell's > writes it; write UTF-8",
		"\xfe\xff\x00{\x00}":             "it is UTF-16",
		"{\x00}\x00":                     "it is UTF-16",
		"[]":                             "the list is empty",
		"[null]":                         "the list is empty",
		"[1]":                            "this list has an item that is an integer",
		"{\n  \"family\": \"x\",\n  y}":  "line 3: ",
		`{"family": "x"`:                 "it ends too early",
		`[{"name": "x"}`:                 "it ends too early",
		`{"family": "x"} {}`:             "there is more after its end",
		`[{"name": "x"}] []`:             "there is more after its end",
		`{"family": "x", "family": 1}`:   `the key "family" is there twice`,
		`{"taskDefinition": []}`:         "taskDefinition: it is no JSON object",
		`{"family": "x"}`:                "it has no containerDefinitions; is this a task definition?",
		`{"containerDefinitions": null}`: "it has no containerDefinitions; is this a task definition?",
		`{"containerDefinitions": [{"name": "a", "image": "x", "dockerLabels": {"a": "1", "a": "2"}}]}`: `.containerDefinitions[0].dockerLabels: the key "a" is there twice`,
		`{"containerDefinitions": [{"name": "a", "image": "x", "user": null, "user": "1"}]}`:            `the key "user" is there twice`,
		"{\n\"cpu\": ${cpu}}":        "line 2: invalid character '$' looking for beginning of value; a placeholder stands there",
		"{\n\"cpu\": {{ .CPU }}}":    "a placeholder stands there",
		"{\n\"cpu\": <CPU>}":         "a placeholder stands there",
		"{\n// the size\n\"cpu\":1}": "JSON has no comments",
	} {
		_, err := Inject([]byte(doc), Options{Image: image})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "task definition: ") {
			t.Errorf("%q: %v, want %q", doc, err, want)
		}
	}
}

// A container whose volumes are needed before the sidecar starts cannot wait for the sidecar, and gets no login by default.
func TestInjectLeavesOutWhatComesFirst(t *testing.T) {
	const doc = `{"family":"f","taskRoleArn":"arn:aws:iam::123456789012:role/t","containerDefinitions":[
		{"name":"refresher","image":"ecr-refresher:1","memory":64,"essential":false,"volumesFrom":[{"sourceContainer":"data"}]},
		{"name":"data","image":"d:1","memory":64},{"name":"app","image":"a:1","memory":64}]}`
	out := decode(t, inject(t, []byte(doc), Options{Image: "registry.example.com/ecr-refresher:1"}).Document)
	if look(out, ".containerDefinitions[1].dependsOn") != nil || look(out, ".containerDefinitions[2].dependsOn") == nil {
		t.Errorf("%s", marshal(t, out))
	}
}
