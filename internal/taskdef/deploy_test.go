package taskdef_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const deploy = "../../deploy/"

// Everything below deploy/ is known to this test, so that no file goes unchecked. The rules' own tests are make rules.
func TestDeployHoldsWhatIsChecked(t *testing.T) {
	want := []string{
		"cfn.go", "cloudformation.yaml", "cloudformation_test.go", "dashboard_test.go", "grafana/dashboard.json",
		"iam/execution.json", "iam/pull.json", "iam/push.json", "iam/refresh-only.json", "iam/trust.json",
		"operations_test.go",
		"prometheus/alerts.yaml", "prometheus/alerts_test.yaml", "prometheus/cloudwatch-agent-prometheus.yaml",
		"prometheus/cloudwatch-agent.json", "prometheus/otel-collector.yaml", "prometheus/prometheus.yaml",
		"shape.go", "taskdef-ec2.json", "taskdef-fast.json", "taskdef.json",
	}
	var got []string
	err := filepath.WalkDir(deploy, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, strings.TrimPrefix(path, deploy))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files below deploy/ (-want +got):\n%s", diff)
	}
}

type (
	policy struct {
		Version   string
		Statement []statement
	}
	statement struct {
		Sid, Effect string
		Action      texts
		Resource    texts
		Principal   map[string]texts            `json:",omitempty"`
		Condition   map[string]map[string]texts `json:",omitempty"`
	}
	// texts is one string or several, as IAM allows.
	texts []string
)

func (s *texts) UnmarshalJSON(doc []byte) error {
	if one := ""; json.Unmarshal(doc, &one) == nil {
		*s = texts{one}
		return nil
	}
	return json.Unmarshal(doc, (*[]string)(s))
}

const (
	repository = "arn:aws:ecr:us-west-2:123456789012:repository/"
	logGroup   = "arn:aws:logs:us-west-2:123456789012:log-group:/ecs/ecr-push-example:*"
)

var (
	// GetAuthorizationToken knows no resource: ECR refuses any but "*".
	token = statement{Sid: "Token", Effect: "Allow", Action: texts{"ecr:GetAuthorizationToken"}, Resource: texts{"*"}}

	pull = texts{"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
	// powerUser is the managed policy AmazonEC2ContainerRegistryPowerUser, but for GetAuthorizationToken.
	powerUser = texts{
		"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:DescribeImageScanFindings",
		"ecr:DescribeImages", "ecr:DescribeRepositories", "ecr:GetDownloadUrlForLayer", "ecr:GetLifecyclePolicy",
		"ecr:GetLifecyclePolicyPreview", "ecr:GetRepositoryPolicy", "ecr:InitiateLayerUpload", "ecr:ListImages",
		"ecr:ListTagsForResource", "ecr:PutImage", "ecr:UploadLayerPart",
	}
)

func TestIAM(t *testing.T) {
	for name, want := range map[string][]statement{
		"refresh-only": {token},
		"pull":         {token, {Sid: "Pull", Effect: "Allow", Action: pull, Resource: texts{repository + "nodejs"}}},
		"push":         {token, {Sid: "PowerUser", Effect: "Allow", Action: powerUser, Resource: texts{repository + "nodejs"}}},
		"execution": {token, {Sid: "Pull", Effect: "Allow", Action: pull, Resource: texts{repository + "ecr-refresher"}},
			{Sid: "Logs", Effect: "Allow", Action: texts{"logs:CreateLogStream", "logs:PutLogEvents"}, Resource: texts{logGroup}}},
		"trust": {{Sid: "OnlyTasksOfThisAccountAndRegion", Effect: "Allow", Action: texts{"sts:AssumeRole"},
			Principal: map[string]texts{"Service": {"ecs-tasks.amazonaws.com"}},
			Condition: map[string]map[string]texts{
				"StringEquals": {"aws:SourceAccount": {"123456789012"}},
				"ArnLike":      {"aws:SourceArn": {"arn:aws:ecs:us-west-2:123456789012:*"}},
			}}},
	} {
		var got policy
		strictly(t, "iam/"+name+".json", &got)
		if diff := cmp.Diff(policy{"2012-10-17", want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, a := range pull {
		if !slices.Contains(powerUser, a) {
			t.Errorf("push lacks %s: who pushes must pull", a)
		}
	}
}

// The files speak of one account and one region, which the sed command of docs/install.md replaces, and of no other.
func TestOneAccountOneRegion(t *testing.T) {
	account, region := regexp.MustCompile(`\b\d{12}\b`), regexp.MustCompile(`\b[a-z]{2}-(east|west|north|south|central)[a-z]*-\d\b`)
	for _, dir := range []string{"", "iam/", "prometheus/"} {
		names, err := filepath.Glob(deploy + dir + "*.*")
		if err != nil || len(names) < 3 {
			t.Fatal(names, err)
		}
		for _, name := range names {
			doc := string(raw(t, strings.TrimPrefix(name, deploy)))
			for _, id := range account.FindAllString(doc, -1) {
				if id != "123456789012" {
					t.Errorf("%s names the account %s", name, id)
				}
			}
			for _, r := range region.FindAllString(doc, -1) {
				if r != "us-west-2" {
					t.Errorf("%s names the region %s", name, r)
				}
			}
		}
	}
}

// Service discovery finds what the task definitions offer: the labels, the port, and the metrics of the README.
func TestDiscoveryFindsTheSidecar(t *testing.T) {
	const portLabel, pathLabel, jobLabel = "ECS_PROMETHEUS_EXPORTER_PORT", "ECS_PROMETHEUS_METRICS_PATH", "ECS_PROMETHEUS_JOB_NAME"
	for _, name := range []string{"taskdef.json", "taskdef-fast.json", "taskdef-ec2.json"} {
		var def struct {
			ContainerDefinitions []struct {
				Name         string
				DockerLabels map[string]string
				PortMappings []struct{ ContainerPort int }
			}
		}
		if err := json.Unmarshal(raw(t, name), &def); err != nil {
			t.Fatal(err)
		}
		for _, k := range def.ContainerDefinitions {
			if k.Name != "refresher" {
				continue
			}
			want := map[string]string{
				portLabel: "9327", pathLabel: "/metrics", jobLabel: "ecr-refresher", // ecs_observer, CloudWatch agent
				"PROMETHEUS_EXPORTER_PORT": "9327", "PROMETHEUS_EXPORTER_PATH": "/metrics", "PROMETHEUS_EXPORTER_JOB_NAME": "ecr-refresher", // prometheus-ecs-discovery
			}
			if diff := cmp.Diff(want, k.DockerLabels); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if len(k.PortMappings) != 1 || k.PortMappings[0].ContainerPort != 9327 {
				t.Errorf("%s: port mappings %v", name, k.PortMappings)
			}
		}
	}
	for _, name := range []string{"cloudwatch-agent.json", "otel-collector.yaml"} {
		doc := string(raw(t, "prometheus/"+name))
		for _, label := range []string{portLabel, pathLabel, jobLabel} {
			if !strings.Contains(doc, label) {
				t.Errorf("%s does not look for %s", name, label)
			}
		}
	}
	if !json.Valid(raw(t, "prometheus/cloudwatch-agent.json")) {
		t.Error("cloudwatch-agent.json is no JSON")
	}
}

// docs/install.md names every file that a user takes from here, none that is not there, and the app image that it replaces.
func TestInstallNamesEveryFile(t *testing.T) {
	doc, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`deploy/[a-z0-9_/-]+\.(json|yaml)`).FindAllString(string(doc), -1)
	for _, name := range named {
		raw(t, strings.TrimPrefix(name, "deploy/"))
	}
	for _, glob := range []string{"*.json", "iam/*.json", "prometheus/*"} {
		paths, err := filepath.Glob(deploy + glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if name := "deploy/" + strings.TrimPrefix(path, deploy); !slices.Contains(named, name) {
				t.Errorf("docs/install.md does not name %s", name)
			}
		}
	}
	for _, replaced := range []string{"gcr.io/go-containerregistry/crane:v0.22.1", `/ecr-refresher:1"`, "123456789012", "us-west-2"} {
		if !strings.Contains(string(raw(t, "taskdef.json")), replaced) {
			t.Errorf("docs/install.md replaces %s, which is not in taskdef.json", replaced)
		}
		if !strings.Contains(string(doc), strings.ReplaceAll(replaced, `"`, `\"`)) {
			t.Errorf("docs/install.md does not replace %s", replaced)
		}
	}
}

// Every metric that is named below deploy/prometheus is in the README's table.
func TestMetricsExist(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	metric := regexp.MustCompile(`ecr_refresher_[a-z_]+`)
	known := metric.FindAllString(string(readme), -1)
	var named int
	for _, name := range []string{"alerts.yaml", "alerts_test.yaml", "cloudwatch-agent.json", "prometheus.yaml", "otel-collector.yaml"} {
		for _, m := range metric.FindAllString(string(raw(t, "prometheus/"+name)), -1) {
			if named++; !slices.Contains(known, m) {
				t.Errorf("%s names %s, which the README does not know", name, m)
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d metrics found", named)
	}
}

// Every alert says how bad it is, what it means and what to do, waits before it fires, and is proven to fire and to be quiet.
func TestAlerts(t *testing.T) {
	tests := string(raw(t, "prometheus/alerts_test.yaml"))
	alerts := strings.Split(string(raw(t, "prometheus/alerts.yaml")), "- alert: ")[1:]
	if len(alerts) < 10 {
		t.Fatalf("%d alerts", len(alerts))
	}
	for _, a := range alerts {
		name, _, _ := strings.Cut(a, "\n")
		for _, must := range []string{`\n +expr: `, `\n +for: [1-9]\d*m\n`, `\n +severity: (critical|warning)\n`, `\n +summary: `, `\n +description: `, `\n +runbook: docs/operations\.md#[a-z-]+\n`} {
			if !regexp.MustCompile(must).MatchString(a) {
				t.Errorf("%s has nothing like %q", name, must)
			}
		}
		if !strings.Contains(tests, "alertname: "+name+"\n        exp_alerts:") {
			t.Errorf("no test in which %s fires", name)
		}
		if !regexp.MustCompile(`eval_time: \w+, alertname: ` + name + `}`).MatchString(tests) {
			t.Errorf("no test in which %s is quiet", name)
		}
	}
}

func raw(t *testing.T, name string) []byte {
	t.Helper()
	doc, err := os.ReadFile(deploy + name)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func strictly(t *testing.T, name string, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(raw(t, name))))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
