package iam

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func chain(t *testing.T) []Role {
	return mustRoles(t, Request{Access: Pull, Repositories: []string{"app"}, TaskRole: task, Account: "123456789012", Region: "us-west-2",
		Registries: specs(t, here+" "+there+"?role_arn="+hub+"&role_arn="+far)})
}

// Each document says to which role it belongs, and reads back as what it was.
func TestJSON(t *testing.T) {
	roles := chain(t)
	doc, err := JSON(roles)
	if err != nil {
		t.Fatal(err)
	}
	var got []document
	if err := json.Unmarshal(doc, &got); err != nil {
		t.Fatal(err)
	}
	want := []document{
		{task, "permissions", roles[0].Permissions}, {task, "trust", roles[0].Trust}, {ExecutionRole, "trust", roles[1].Trust},
		{hub, "permissions", roles[2].Permissions}, {hub, "trust", roles[2].Trust}, {far, "permissions", roles[3].Permissions}, {far, "trust", roles[3].Trust},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	one, err := roles[0].Permissions.JSON()
	if err != nil || !strings.Contains(string(one), `"Action": "ecr:GetAuthorizationToken"`) {
		t.Errorf("%v\n%s", err, one)
	}
}

// What CloudFormation refuses at once is not there: every name that is referred to exists, and every resource is whole.
func TestCloudFormation(t *testing.T) {
	doc, err := CloudFormation(chain(t), "123456789012")
	if err != nil {
		t.Fatal(err)
	}
	var tpl template
	dec := json.NewDecoder(strings.NewReader(string(doc)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&tpl); err != nil {
		t.Fatal(err)
	}
	if tpl.AWSTemplateFormatVersion != "2010-09-09" {
		t.Errorf("version %q", tpl.AWSTemplateFormatVersion)
	}
	got := map[string][]string{}
	for id, r := range tpl.Resources {
		if !regexp.MustCompile(`^[A-Za-z0-9]{1,255}$`).MatchString(id) || r.Type != "AWS::IAM::Role" || r.Properties.AssumeRolePolicyDocument == nil {
			t.Errorf("%s: %+v", id, r)
		}
		if _, ok := tpl.Conditions[r.Condition]; !ok {
			t.Errorf("%s has the condition %q, which there is not", id, r.Condition)
		}
		if o := tpl.Outputs[id+"Arn"]; o.Condition != r.Condition || cmp.Diff(o.Value, map[string]any{"Fn::GetAtt": []any{id, "Arn"}}) != "" {
			t.Errorf("%s: the output is %+v", id, o)
		}
		got[id] = []string{r.Properties.Path, r.Properties.RoleName, r.Condition}
	}
	want := map[string][]string{
		"TaskRole": {"/", "task", "In123456789012"}, "ExecutionRole": {"", "", "In123456789012"},
		"RegistryRole2": {"/team/", "hub", "In123456789012"}, "RegistryRole3": {"/", "far", "In210987654321"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if keys := slices.Sorted(maps.Keys(tpl.Outputs)); len(keys) != 4 {
		t.Errorf("outputs %v", keys)
	}
	if !allows(tpl.Resources["RegistryRole3"].Properties.Policies[0].PolicyDocument, "ecr:BatchGetImage", abroad+"app") {
		t.Error("the last role may not pull")
	}
}

// In one account no condition is needed, and a role without a name gets one from CloudFormation.
func TestCloudFormationOfOneAccount(t *testing.T) {
	doc, err := CloudFormation(mustRoles(t, Request{Access: Refresh, Account: "123456789012", Region: "us-west-2", Registries: specs(t, here)}), "123456789012")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(doc), "Condition\": \"") || strings.Contains(string(doc), "RoleName") || strings.Contains(string(doc), `"Conditions"`) {
		t.Errorf("%s", doc)
	}
}
