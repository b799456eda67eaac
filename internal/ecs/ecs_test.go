package ecs

import (
	"strings"
	"testing"
)

const (
	id   = "158d1c8083dd49d6b527399fd6414f5c"
	uuid = "c2c6f1c6-5a0b-4c8c-9f5a-0f5b2c1d3e4f"
)

func TestParseTaskARN(t *testing.T) {
	for _, test := range []struct {
		arn                                    string
		partition, region, account, id, custer string
	}{
		{"arn:aws:ecs:us-west-2:111122223333:task/default/" + id, "aws", "us-west-2", "111122223333", id, "default"},
		{"arn:aws:ecs:eu-west-1:111122223333:task/My_Cluster-1/" + id, "aws", "eu-west-1", "111122223333", id, "My_Cluster-1"},
		{"arn:aws:ecs:us-west-2:111122223333:task/" + uuid, "aws", "us-west-2", "111122223333", uuid, ""},
		{"arn:aws-cn:ecs:cn-north-1:111122223333:task/c/" + id, "aws-cn", "cn-north-1", "111122223333", id, "c"},
		{"arn:aws-us-gov:ecs:us-gov-east-1:000000000000:task/c/" + id, "aws-us-gov", "us-gov-east-1", "000000000000", id, "c"},
		{"arn:aws-iso-b:ecs:us-isob-east-1:111122223333:task/c/" + id, "aws-iso-b", "us-isob-east-1", "111122223333", id, "c"},
		{"arn:aws-eusc:ecs:eusc-de-east-1:111122223333:task/c/" + id, "aws-eusc", "eusc-de-east-1", "111122223333", id, "c"},
		{"arn:aws:ecs:ap-southeast-15:111122223333:task/c/x", "aws", "ap-southeast-15", "111122223333", "x", "c"},
	} {
		got, err := ParseTaskARN(test.arn)
		want := Task{ARN: test.arn, Partition: test.partition, Region: test.region, Account: test.account, ID: test.id, Cluster: test.custer}
		if err != nil || got != want {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", test.arn, got, err, want)
		}
	}
}

func TestParseTaskARNRefuses(t *testing.T) {
	for _, test := range []struct{ arn, want string }{
		{"", "not the ARN of anything in ECS"},
		{"task/default/" + id, "not the ARN of anything in ECS"},
		{"arn:aws:ecs:us-west-2:111122223333", "not the ARN of anything in ECS"},
		{"arn:aws:iam::111122223333:role/x", "not the ARN of anything in ECS"},
		{"ARN:aws:ecs:us-west-2:111122223333:task/c/" + id, "not the ARN of anything in ECS"},
		{"arn::ecs:us-west-2:111122223333:task/c/" + id, "the partition"},
		{"arn:a.b:ecs:us-west-2:111122223333:task/c/" + id, "the partition"},
		{"arn:aws:ecs::111122223333:task/c/" + id, "the region"},
		{"arn:aws:ecs:us-west-2a:111122223333:task/c/" + id, "the region"},        // a zone
		{"arn:aws:ecs:us-west-2-lax-1:111122223333:task/c/" + id, "the region"},   // a local zone's group
		{"arn:aws:ecs:us-west:111122223333:task/c/" + id, "the region"},           // no number
		{"arn:aws:ecs:west-2:111122223333:task/c/" + id, "the region"},            // one word
		{"arn:aws:ecs:us-west-222:111122223333:task/c/" + id, "the region"},       // a number too long
		{"arn:aws:ecs:us--2:111122223333:task/c/" + id, "the region"},             // an empty word
		{"arn:aws:ecs:evil.example/-x-1:111122223333:task/c/" + id, "the region"}, // would end up in a host name
		{"arn:aws:ecs:us-west-2:11112222333:task/c/" + id, "the account"},         // 11 digits
		{"arn:aws:ecs:us-west-2:1111222233334:task/c/" + id, "the account"},       // 13
		{"arn:aws:ecs:us-west-2:11112222333x:task/c/" + id, "the account"},
		{"arn:aws:ecs:us-west-2:１１１１:task/c/" + id, "the account"}, // 12 bytes of other digits
		{"arn:aws:ecs:us-west-2:111122223333:service/c/s", "not the ARN of a task"},
		{"arn:aws:ecs:us-west-2:111122223333:task-definition/f:1", "not the ARN of a task"},
		{"arn:aws:ecs:us-west-2:111122223333:task/", "the task id"},
		{"arn:aws:ecs:us-west-2:111122223333:task/c/", "the task id"},
		{"arn:aws:ecs:us-west-2:111122223333:task//" + id, "the cluster"},
		{"arn:aws:ecs:us-west-2:111122223333:task/c d/" + id, "the cluster"},
		{"arn:aws:ecs:us-west-2:111122223333:task/c/d/" + id, "the task id"},
		{"arn:aws:ecs:us-west-2:111122223333:task/c/" + id + "\n", "the task id"},
	} {
		got, err := ParseTaskARN(test.arn)
		if err == nil || !strings.Contains(err.Error(), test.want) || got != (Task{}) {
			t.Errorf("%q: %+v, %v, want an error on %q", test.arn, got, err, test.want)
		}
	}
}

func FuzzParseTaskARN(f *testing.F) {
	f.Add("arn:aws:ecs:us-west-2:111122223333:task/default/" + id)
	f.Add("arn:aws-us-gov:ecs:us-gov-east-1:000000000000:task/" + uuid)
	f.Add("arn:aws:ecs:us-west-2:111122223333:task//")
	f.Fuzz(func(t *testing.T, arn string) {
		task, err := ParseTaskARN(arn)
		if err != nil {
			if len(err.Error()) > 600 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		resource := task.ID
		if task.Cluster != "" {
			resource = task.Cluster + "/" + task.ID
		}
		again := strings.Join([]string{"arn", task.Partition, "ecs", task.Region, task.Account, "task/" + resource}, ":")
		if task.ARN != arn || again != arn {
			t.Errorf("%q was read as %+v", arn, task)
		}
	})
}
