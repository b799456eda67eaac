package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// template is the CloudFormation template as CloudFormation would see it with the default parameters, in the account and region
// of the other files.
type template struct {
	t          *testing.T
	doc        map[string]any
	parameters map[string]any
	used       map[string]bool // parameters, conditions and resources that something refers to
}

// account and region are those of deploy/taskdef.json and deploy/iam.
var pseudo = map[string]string{
	"AWS::AccountId": "123456789012", "AWS::Region": "us-west-2", "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com",
}

// dropped is a value of AWS::NoValue.
type dropped struct{}

var templateJSON = sync.OnceValues(func() ([]byte, error) {
	cmd := exec.Command("go", "run", "-modfile=../tools/go.mod", "cfn.go", "cloudformation.yaml")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return cmd.Output()
})

func readTemplate(t *testing.T, given map[string]any) *template {
	t.Helper()
	out, err := templateJSON()
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &template{t: t, parameters: map[string]any{}, used: map[string]bool{}}
	if err := json.Unmarshal(out, &tmpl.doc); err != nil {
		t.Fatal(err)
	}
	for name, p := range tmpl.doc["Parameters"].(map[string]any) {
		p := p.(map[string]any)
		tmpl.parameters[name] = p["Default"]
		if p["Type"] == "CommaDelimitedList" {
			tmpl.parameters[name] = []any{p["Default"]}
		}
		if v, ok := given[name]; ok {
			tmpl.parameters[name] = v
		}
		if p["Description"] == nil {
			t.Errorf("parameter %s has no description", name)
		}
	}
	return tmpl
}

func (m *template) resource(name string) map[string]any {
	m.t.Helper()
	r, ok := m.doc["Resources"].(map[string]any)[name].(map[string]any)
	if !ok {
		m.t.Fatalf("no resource %s", name)
	}
	return r
}

func (m *template) properties(name string) map[string]any {
	m.t.Helper()
	return m.value(m.resource(name)["Properties"]).(map[string]any)
}

// ref is what !Ref gives: of a resource its name, or "<name>" where AWS invents one.
func (m *template) ref(name string) any {
	m.used[name] = true
	if v, ok := pseudo[name]; ok {
		return v
	}
	if v, ok := m.parameters[name]; ok {
		return v
	}
	if name == "AWS::NoValue" {
		return dropped{}
	}
	if name == "LogGroup" {
		return m.properties(name)["LogGroupName"]
	}
	m.resource(name)
	return "<" + name + ">"
}

func (m *template) condition(name string) bool {
	m.used[name] = true
	c, ok := m.doc["Conditions"].(map[string]any)[name]
	if !ok {
		m.t.Fatalf("no condition %s", name)
	}
	return m.value(c).(bool)
}

// value evaluates the functions in a part of the template.
func (m *template) value(v any) any {
	switch v := v.(type) {
	case []any:
		out := []any{}
		for _, item := range v {
			if item = m.value(item); item != (dropped{}) {
				out = append(out, item)
			}
		}
		return out
	case map[string]any:
		if len(v) == 1 {
			for f, arg := range v {
				if f == "Ref" || strings.HasPrefix(f, "Fn::") {
					return m.call(f, arg)
				}
			}
		}
		out := map[string]any{}
		for k, member := range v {
			if member = m.value(member); member != (dropped{}) {
				out[k] = member
			}
		}
		return out
	}
	return v
}

func (m *template) call(function string, arg any) any {
	list, _ := arg.([]any)
	switch function {
	case "Ref":
		return m.ref(arg.(string))
	case "Fn::GetAtt":
		name := list[0].(string)
		m.used[name] = true
		m.resource(name)
		return "<" + name + "." + list[1].(string) + ">"
	case "Fn::Sub":
		return regexp.MustCompile(`\$\{([\w:]+)\}`).ReplaceAllStringFunc(arg.(string), func(s string) string {
			return m.ref(s[2 : len(s)-1]).(string)
		})
	case "Fn::If":
		if m.condition(list[0].(string)) {
			return m.value(list[1])
		}
		return m.value(list[2])
	case "Fn::Equals":
		return m.value(list[0]) == m.value(list[1])
	case "Fn::Not":
		return !m.value(list[0]).(bool)
	case "Fn::Join":
		var parts []string
		for _, p := range m.value(list[1]).([]any) {
			parts = append(parts, p.(string))
		}
		return strings.Join(parts, list[0].(string))
	}
	m.t.Fatalf("the test does not know %s", function)
	return nil
}

// asAPI writes names as the ECS API has them: CloudFormation begins each with a capital, except in maps of the user's own.
func asAPI(v any) any {
	switch v := v.(type) {
	case []any:
		out := []any{}
		for _, item := range v {
			out = append(out, asAPI(item))
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, member := range v {
			if k != "DockerLabels" && k != "Options" {
				member = asAPI(member)
			}
			out[strings.ToLower(k[:1])+k[1:]] = member
		}
		return out
	}
	return v
}

func readJSON(t *testing.T, name string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(read(t, name)), &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// With its defaults the template registers the task definition of taskdef.json, but for the names of the roles.
func TestTemplateIsTheTaskDefinition(t *testing.T) {
	got := asAPI(readTemplate(t, nil).properties("TaskDefinition"))
	want := readJSON(t, "taskdef.json")
	want["taskRoleArn"], want["executionRoleArn"] = "<TaskRole.Arn>", "<ExecutionRole.Arn>"
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("task definition (-taskdef.json +template):\n%s", diff)
	}
}

// The roles have the policies of deploy/iam, for each value of Access.
func TestTemplateHasTheRoles(t *testing.T) {
	for _, access := range []string{"push", "pull", "refresh-only"} {
		m := readTemplate(t, map[string]any{"Access": access})
		for role, file := range map[string]string{"TaskRole": access, "ExecutionRole": "execution"} {
			p := m.properties(role)
			if diff := cmp.Diff(any(readJSON(t, "iam/trust.json")), p["AssumeRolePolicyDocument"]); diff != "" {
				t.Errorf("trust of %s (-iam/trust.json +template):\n%s", role, diff)
			}
			policies := p["Policies"].([]any)
			if diff := cmp.Diff(any(readJSON(t, "iam/"+file+".json")), policies[0].(map[string]any)["PolicyDocument"]); diff != "" || len(policies) != 1 {
				t.Errorf("%d policies of %s, Access=%s (-iam/%s.json +template):\n%s", len(policies), role, access, file, diff)
			}
		}
	}
}

// An app of one's own has its own command, or its image's.
func TestTemplateTakesAnotherApp(t *testing.T) {
	for _, test := range []struct {
		given map[string]any
		want  any
	}{
		{map[string]any{"AppImage": "mine"}, nil},
		{map[string]any{"AppImage": "mine", "AppCommand": []any{"sh", "-c"}}, []any{"sh", "-c"}},
	} {
		app := readTemplate(t, test.given).properties("TaskDefinition")["ContainerDefinitions"].([]any)[1].(map[string]any)
		if diff := cmp.Diff(test.want, app["Command"]); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.given, diff)
		}
	}
}

// The service runs that task in that security group, which lets nobody in unless somebody is named, and then at the port of the
// sidecar. Nothing in the template is left over.
func TestTemplateHangsTogether(t *testing.T) {
	m := readTemplate(t, nil)
	service := m.properties("Service")
	network := service["NetworkConfiguration"].(map[string]any)["AwsvpcConfiguration"].(map[string]any)
	if service["TaskDefinition"] != "<TaskDefinition>" || service["DesiredCount"] != 0.0 || network["AssignPublicIp"] != "DISABLED" {
		t.Errorf("service %v", service)
	}
	if diff := cmp.Diff([]any{"<TaskSecurityGroup.GroupId>"}, network["SecurityGroups"]); diff != "" {
		t.Error(diff)
	}
	if m.properties("TaskSecurityGroup")["SecurityGroupIngress"] != nil {
		t.Error("the security group lets somebody in")
	}
	if name, _ := m.resource("Scrape")["Condition"].(string); name != "Scraped" || m.condition(name) {
		t.Errorf("Scrape depends on %q, which holds without a Prometheus", name)
	}
	scrape := m.properties("Scrape")
	if scrape["FromPort"] != 9327.0 || scrape["ToPort"] != 9327.0 || scrape["GroupId"] != "<TaskSecurityGroup.GroupId>" || scrape["CidrIp"] != nil {
		t.Errorf("scrape %v", scrape)
	}
	for name := range m.doc["Resources"].(map[string]any) {
		m.properties(name)
	}
	m.value(m.doc["Outputs"])
	for kind, leaves := range map[string][]string{"Parameters": nil, "Conditions": nil, "Resources": {"Service", "Scrape"}} {
		for name := range m.doc[kind].(map[string]any) {
			// What only the other branch of a condition uses is in the text.
			if !m.used[name] && !slices.Contains(leaves, name) && !strings.Contains(read(t, "cloudformation.yaml"), "- "+name+"\n") {
				t.Errorf("%s: nothing uses %s", kind, name)
			}
		}
	}
}

// cfn-lint knows the types of every property; here its word counts where it is installed.
func TestTemplatePassesCfnLint(t *testing.T) {
	lint, err := exec.LookPath("cfn-lint")
	if err != nil {
		t.Skip("no cfn-lint here")
	}
	if out, err := exec.CommandContext(t.Context(), lint, "--non-zero-exit-code", "error", "cloudformation.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
