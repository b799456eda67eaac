package taskdef

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Refreshers tells how each container of ours is called, and of no other; of a secret it tells the name.
func TestRefreshers(t *testing.T) {
	doc := decode(t, read(t, "taskdef-fast.json"))
	edit(t, doc, ".containerDefinitions[1].entryPoint", []any{"sh"})
	edit(t, doc, ".containerDefinitions[1].secrets", []any{map[string]any{"name": "REFRESHER_REGION", "valueFrom": "arn:x"}})
	want := []Refresher{
		{Where: ".containerDefinitions[0]", Command: []string{"once"}, Environment: []string{"REFRESHER_REGISTRIES=default"}},
		{Where: ".containerDefinitions[1]", EntryPoint: []string{"sh"}, Environment: []string{"REFRESHER_REGISTRIES=default"}, Secrets: []string{"REFRESHER_REGION"}},
	}
	for _, v := range []any{doc, map[string]any{"taskDefinition": doc}} {
		if diff := cmp.Diff(want, Refreshers(marshal(t, v))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	edit(t, doc, ".family", 1)
	for _, doc := range [][]byte{nil, []byte("{}"), marshal(t, doc)} {
		if all := Refreshers(doc); all != nil {
			t.Errorf("%s: %+v", doc, all)
		}
	}
}

// The region is that of the log, else that of an image; what is no role and no region is not told.
func TestFacts(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/ecr-push-task"
	log := func(i string) string {
		return ".containerDefinitions[" + i + "].logConfiguration.options.awslogs-region"
	}
	for _, row := range []struct {
		name         string
		changes      []change
		role, region string
	}{
		{"as shipped", nil, role, "us-west-2"},
		{"the log before the image", []change{{log("0"), "eu-west-1"}}, role, "eu-west-1"},
		{"another container's log", []change{{log("0"), gone{}}, {log("1"), "eu-west-1"}}, role, "eu-west-1"},
		{"the image where there is no log", []change{{log("0"), gone{}}, {log("1"), gone{}}}, role, "us-west-2"},
		{"a region to be filled in", []change{{log("0"), "${REGION}"}, {log("1"), "$(id)"}, {side + ".image", "x:1"}}, role, ""},
		{"a public image", []change{{log("0"), gone{}}, {log("1"), gone{}}, {side + ".image", "public.ecr.aws/x/ecr-refresher:1"}}, role, ""},
		{"a role's name", []change{{".taskRoleArn", "task"}}, "", "us-west-2"},
		{"a role to be filled in", []change{{".taskRoleArn", "arn:aws:iam::${ACCOUNT}:role/t"}}, "", "us-west-2"},
	} {
		doc := decode(t, read(t, "taskdef.json"))
		for _, ch := range row.changes {
			edit(t, doc, ch.at, ch.v)
		}
		r := inject(t, marshal(t, doc), Options{})
		if r.TaskRole != row.role || r.Region != row.region {
			t.Errorf("%s: %q in %q", row.name, r.TaskRole, r.Region)
		}
	}
}

// What says the partition of the task, the surest first.
func TestPartition(t *testing.T) {
	const task, execution = `"taskRoleArn": "arn:aws-cn:iam::123456789012:role/t"`, `"executionRoleArn": "arn:aws-us-gov:iam::123456789012:role/e"`
	const described = `"taskDefinitionArn": "arn:aws-iso:ecs:us-iso-east-1:123456789012:task-definition/f:1"`
	const logs = `"containerDefinitions": [{"logConfiguration": {"options": {"awslogs-region": "eusc-de-east-1"}}}]`
	for doc, want := range map[string]string{
		`{` + logs + `,` + described + `,` + execution + `,` + task + `}`: "aws-cn",
		`{` + logs + `,` + described + `,` + execution + `}`:              "aws-us-gov",
		`{` + logs + `,` + described + `}`:                                "aws-iso",
		`{"taskDefinition": {` + described + `}}`:                         "aws-iso",
		"\ufeff{" + task + `}`:                                            "aws-cn",
		`{` + logs + `}`:                                                  "aws-eusc",
		`{"taskRoleArn": "ROLE", ` + logs + `}`:                           "aws-eusc", // to be filled in
		`{"taskRoleArn": "app"}`:                                          "",
		`{}`:                                                              "",
		`[`:                                                               "",
	} {
		if got := Partition([]byte(doc)); got != want {
			t.Errorf("%s: %q, want %q", doc, got, want)
		}
	}
}
