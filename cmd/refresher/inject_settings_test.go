package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ecr-refresher/internal/taskdef"
)

// Each row is one refresher; what is found has its key, and the command is judged before the environment.
func TestWrongSettings(t *testing.T) {
	type pairs = []map[string]string
	env := func(name, value string) map[string]any {
		return map[string]any{"environment": pairs{{"name": name, "value": value}}}
	}
	for _, row := range []struct {
		name string
		k    map[string]any
		want []string
	}{
		{"nothing said", nil, nil},
		{"a right setting", env("REFRESHER_TIMEOUT", "5s"), nil},
		{"a wrong one", env("REFRESHER_TIMEOUT", "5"), []string{"fail .environment"}},
		{"one that a flag overrides", map[string]any{"command": []string{"--timeout=5s"}, "environment": pairs{{"name": "REFRESHER_TIMEOUT", "value": "5"}}}, nil},
		{"one of once", map[string]any{"command": []string{"once"}, "environment": pairs{{"name": "REFRESHER_DEADLINE", "value": "5"}}}, []string{"fail .environment"}},
		{"an unknown one", env("REFRESHER_REGISTRY", "x"), []string{"fail .environment"}},
		{"another program's", env("AWS_REGION", "x"), nil},
		{"a wrong flag and a wrong variable", map[string]any{"command": []string{"run", "--timeout=5"}, "environment": pairs{{"name": "REFRESHER_PARALLEL", "value": "0"}}}, []string{"fail .command", "fail .environment"}},
		{"a setting of the SDK that is used", env("AWS_USE_FIPS_ENDPOINT", "yes"), []string{"fail .environment"}},
		{"the same, right", env("AWS_USE_FIPS_ENDPOINT", "true"), nil},
		{"an endpoint that is not a URL", env("AWS_ENDPOINT_URL_ECR", "localhost:4566"), []string{"fail .environment"}},
		{"a setting of the SDK that is not used", env("AWS_RETRY_MODE", "legacy"), []string{"warn .environment"}},
		{"the same, right", env("AWS_RETRY_MODE", "standard"), nil},
		{"another one that is not used", env("AWS_MAX_ATTEMPTS", "many"), []string{"warn .environment"}},
		{"one of another service", env("AWS_S3_USE_ARN_REGION", "1"), []string{"warn .environment"}},
		{"one of each", map[string]any{"environment": pairs{{"name": "AWS_DEFAULTS_MODE", "value": "x"}, {"name": "AWS_USE_DUALSTACK_ENDPOINT", "value": "x"}}}, []string{"fail .environment", "warn .environment"}},
		{"one of once", map[string]any{"command": []string{"once"}, "environment": pairs{{"name": "AWS_USE_DUALSTACK_ENDPOINT", "value": "1"}}}, []string{"fail .environment"}},
		{"an empty one", env("AWS_RETRY_MODE", ""), nil},
		{"one from a secret, whose value is not known", map[string]any{"secrets": pairs{{"name": "AWS_RETRY_MODE", "valueFrom": "arn"}}}, nil},
		{"a profile", env("AWS_PROFILE", "x"), []string{"fail .environment"}},
		{"a profile with a file", map[string]any{"environment": pairs{{"name": "AWS_PROFILE", "value": "x"}, {"name": "AWS_CONFIG_FILE", "value": "/x"}}}, nil},
		{"web identity without a role", env("AWS_WEB_IDENTITY_TOKEN_FILE", "/x"), []string{"fail .environment"}},
		{"web identity with a role", map[string]any{"environment": pairs{{"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/x"}, {"name": "AWS_ROLE_ARN", "value": "arn"}}}, nil},
		{"no such command", map[string]any{"command": []string{"doctr"}}, []string{"fail .command"}},
		{"a command that ends", map[string]any{"command": []string{"version"}}, []string{"fail .command"}},
		{"the help", map[string]any{"command": []string{"run", "--help"}}, []string{"fail .command"}},
		{"a secret that nobody knows", map[string]any{"secrets": pairs{{"name": "REFRESHER_FOO", "valueFrom": "arn"}}}, []string{"fail .secrets"}},
		{"a secret whose value is not known", map[string]any{"secrets": pairs{{"name": "REFRESHER_TIMEOUT", "valueFrom": "arn"}}}, nil},
		{"the image's entry point", map[string]any{"entryPoint": []string{"/refresher"}, "command": []string{"once"}}, nil},
		{"an entry point with the command", map[string]any{"entryPoint": []string{"/refresher", "onec"}}, []string{"fail .command"}},
		{"a shell", map[string]any{"entryPoint": []string{"/bin/sh"}, "command": []string{"doctr"}}, []string{"fail .entryPoint"}},
		{"another entry point", map[string]any{"entryPoint": []string{"/tini", "--", "/refresher"}}, []string{"warn .entryPoint"}},
	} {
		k := map[string]any{"name": "refresher", "image": "ecr-refresher:1"}
		for key, v := range row.k {
			k[key] = v
		}
		doc, err := json.Marshal(map[string]any{"containerDefinitions": []any{map[string]any{"name": "app", "command": []string{"doctr"}}, k}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range wrongSettings(doc) {
			got = append(got, f.Level+" "+strings.TrimPrefix(f.Where, ".containerDefinitions[1]"))
			if f.What == "" || strings.ContainsAny(f.What[len(f.What)-1:], ".?") || !strings.HasSuffix(f.Cure, ".") {
				t.Errorf("%s: this does not read well: %+v", row.name, f)
			}
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// A refresher that asks for a registry of another partition than its task's does not start.
func TestWrongPartition(t *testing.T) {
	const cn = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"
	for _, row := range []struct {
		name, role, k string
		wrong         string // where
	}{
		{"its own", "aws", `"environment": [{"name": "REFRESHER_REGISTRIES", "value": "default public.ecr.aws"}]`, ""},
		{"China's from outside", "aws", `"environment": [{"name": "REFRESHER_REGISTRIES", "value": "` + cn + `"}]`, ".environment"},
		{"by a flag", "aws", `"command": ["run", "--registry=` + cn + `"]`, ".command"},
		{"China's in China", "aws-cn", `"command": ["run", "--registry=` + cn + `"]`, ""},
		{"ECR Public in GovCloud", "aws-us-gov", `"command": ["run", "--registry=public.ecr.aws?optional"]`, ".command"},
		{"a role of another partition", "aws", `"command": ["once", "--registry=default?role_arn=arn:aws-cn:iam::123456789012:role/x"]`, ".command"},
		{"default, in another region", "aws", `"environment": [{"name": "AWS_REGION", "value": "cn-north-1"}]`, ".environment"},
		{"default, in the task's", "aws-cn", `"environment": [{"name": "AWS_REGION", "value": "cn-north-1"}]`, ""},
		{"keys of its own", "aws", `"command": ["--registry=` + cn + `"], "environment": [{"name": "AWS_ACCESS_KEY_ID", "value": "x"}]`, ""},
		{"keys of its own, from elsewhere", "aws", `"command": ["--registry=` + cn + `"], "secrets": [{"name": "AWS_ACCESS_KEY_ID", "valueFrom": "x"}]`, ""},
		{"both, as whoever", "", `"command": ["--registry=` + cn + `", "--registry=public.ecr.aws"]`, ".command"},
		{"who knows", "", `"command": ["--registry=` + cn + `"]`, ""},
	} {
		doc := `{"taskRoleArn": "arn:` + row.role + `:iam::123456789012:role/t", "containerDefinitions": [{"name": "refresher", "image": "ecr-refresher:1", ` + row.k + `}]}`
		findings := wrongSettings([]byte(doc))
		if (len(findings) == 1) != (row.wrong != "") || len(findings) > 1 {
			t.Errorf("%s: %+v", row.name, findings)
		}
		for _, f := range findings {
			if f.Level != "fail" || f.Where != ".containerDefinitions[0]"+row.wrong || !strings.Contains(f.What, "partition") {
				t.Errorf("%s: %+v", row.name, f)
			}
		}
	}
}

// A value that the SDK refuses may be a secret: it is not repeated.
func TestWrongSDKSettingsHideTheValue(t *testing.T) {
	r := taskdef.Refresher{Environment: []string{"AWS_ENDPOINT_URL=http://u:s3cret%zz@host", "AWS_RETRY_MODE=s3cret", "AWS_PROFILE=s3cret"}}
	findings := wrongSDKSettings(r)
	if len(findings) != 3 || strings.Contains(fmt.Sprint(findings), "s3cret") {
		t.Errorf("%+v", findings)
	}
}

// The definitions that users copy start.
func TestShippedSettings(t *testing.T) {
	names, err := filepath.Glob("../../deploy/taskdef*.json")
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		doc, err := os.ReadFile(name)
		if findings := wrongSettings(doc); err != nil || len(findings) > 0 {
			t.Errorf("%s: %v, %+v", name, err, findings)
		}
	}
}

// Who waits at a terminal is told for what; who names a file, or says "-", knows.
func TestReadInputTellsATerminal(t *testing.T) {
	null, err := os.Open(os.DevNull) // a character device, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, row := range []struct {
		file string
		told bool
	}{{"", true}, {"-", false}, {os.DevNull, false}} {
		var told bytes.Buffer
		if _, err := readInput(invocation{in: null, err: &told}, row.file); (err != nil) != (row.file == "") {
			t.Errorf("%q: %v", row.file, err)
		}
		if strings.Contains(told.String(), "is read from standard input") != row.told {
			t.Errorf("%q: %q", row.file, told.String())
		}
	}
	var told bytes.Buffer
	if _, err := readInput(invocation{in: strings.NewReader("{}"), err: &told}, ""); err != nil || told.Len() > 0 {
		t.Errorf("a pipe: %v, %q", err, told.String())
	}
}
