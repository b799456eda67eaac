// Package ecs says who this task is: partition, region, account, cluster and id, as the task metadata endpoint (version 4)
// or a task ARN gives them.
//
// It owns the form of a task ARN and the one request to that endpoint. It refuses to know the environment (the caller passes
// $ECS_CONTAINER_METADATA_URI_V4), credentials, which endpoint lives beside it, and what the region is used for: a flag or
// AWS_REGION may overrule it, elsewhere.
package ecs

import (
	"fmt"
	"strings"

	"ecr-refresher/internal/plain"
)

// Task is what ECS says of the task we run in. ARN, Partition, Region, Account and ID are never empty in a Task returned
// without an error; every other field may be, because older agents and other launch types leave it out.
type Task struct {
	// ARN is the task's ARN as given, and the five fields are what it says.
	ARN, Partition, Region, Account, ID string
	// Cluster is the short name, whether ECS gave that or the cluster's ARN.
	Cluster string
	// Family and Revision name the task definition; ServiceName is empty for a task that no service started.
	Family, Revision, ServiceName, LaunchType string
	// ClockDrift is zero where ECS does not measure the clock (the agent on EC2, Windows).
	ClockDrift ClockDrift
}

// ClockDrift is how well the host's clock follows the Amazon Time Sync Service. It is a hint for a person: the refresher
// measures its own skew against the server that issues the token.
type ClockDrift struct {
	// ErrorBoundMillis is ClockErrorBound: by how many milliseconds the clock may be off UTC.
	ErrorBoundMillis float64
	// Status is SYNCHRONIZED, NOT_SYNCHRONIZED, or empty.
	Status string
}

// ParseTaskARN reads arn:PARTITION:ecs:REGION:ACCOUNT:task/CLUSTER/ID and the older form without the cluster. It fills ARN,
// Partition, Region, Account, ID and Cluster.
func ParseTaskARN(arn string) (Task, error) {
	malformed := func(why string) (Task, error) {
		return Task{}, fmt.Errorf("task ARN %s: %s; the form is arn:PARTITION:ecs:REGION:ACCOUNT:task/CLUSTER/ID", excerpt(arn), why)
	}
	f := strings.SplitN(arn, ":", 6)
	if len(f) != 6 || f[0] != "arn" || f[2] != "ecs" {
		return malformed("not the ARN of anything in ECS")
	}
	task := Task{ARN: arn, Partition: f[1], Region: f[3], Account: f[4]}
	switch {
	case !madeOf(task.Partition, lower+digits+"-"):
		return malformed("the partition is not like aws or aws-cn")
	case !isRegion(task.Region):
		return malformed("the region is not like eu-west-1 or us-gov-east-1")
	case len(task.Account) != 12 || !madeOf(task.Account, digits):
		return malformed("the account is not 12 digits")
	}
	resource, isTask := strings.CutPrefix(f[5], "task/")
	if !isTask {
		return malformed("not the ARN of a task")
	}
	cluster, id, withCluster := strings.Cut(resource, "/")
	if !withCluster {
		cluster, id = "", resource
	} else if !madeOf(cluster, lower+upper+digits+"-_") {
		return malformed("the cluster is not a name")
	}
	// 32 hexadecimal digits, or a UUID in the older form. Not held to that, so that a new form does not stop us, but to
	// letters that are safe wherever an id goes: a session name, a user agent, a label.
	if !madeOf(id, lower+upper+digits+"-") {
		return malformed("the task id is not letters, digits and hyphens")
	}
	task.Cluster, task.ID = cluster, id
	return task, nil
}

// isRegion reports whether s is built as a region is: two or more words and a number. A local zone (us-west-2-lax-1) is not.
// By hand, because a regular expression compiled at start is paid for by every health check.
func isRegion(s string) bool {
	words := strings.Split(s, "-")
	last := len(words) - 1
	if last < 2 || len(words[last]) > 2 || !madeOf(words[last], digits) {
		return false
	}
	for _, w := range words[:last] {
		if !madeOf(w, lower) {
			return false
		}
	}
	return true
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// madeOf reports whether s is not empty and has only characters of set.
func madeOf(s, set string) bool { return s != "" && strings.Trim(s, set) == "" }

// excerpt quotes something foreign for an error: 80 bytes show what answered, and are no dump.
func excerpt(s string) string { return `"` + plain.Text(s, 80) + `"` }
