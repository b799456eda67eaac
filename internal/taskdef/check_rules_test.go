package taskdef

import "testing"

// In deploy/taskdef.json the sidecar is container 0 and the consumer is container 1; in taskdef-fast.json the init form is 0,
// the sidecar 1 and the consumer 2.
const (
	side = ".containerDefinitions[0]"
	app  = ".containerDefinitions[1]"
)

func TestShapes(t *testing.T) {
	for _, r := range []struct {
		name string
		at   string
		v    any
		want string
	}{
		{"unknown key", ".famliy", "x", "warn .famliy"},
		{"key in other case", ".TaskRoleArn", "x", "warn .TaskRoleArn"},
		{"no containers", ".containerDefinitions", gone{}, "fail .containerDefinitions"},
		{"key of describe-task-definition", ".registeredAt", "2026-11-23", "fail .registeredAt"},
		{"unknown key in a container", app + ".imagePullPolicy", "Always", "warn " + app + ".imagePullPolicy"},
		{"unknown key in a volume", ".volumes[0].hostPath", "/x", "warn .volumes[0].hostPath"},
		{"unknown key in a mount", app + ".mountPoints[0].readonly", true, "warn " + app + ".mountPoints[0].readonly"},
		{"unknown key in a health check", side + ".healthCheck.start_period", 1, "warn " + side + ".healthCheck.start_period"},
		{"unknown key in a restart policy", side + ".restartPolicy.maxAttempts", 1, "warn " + side + ".restartPolicy.maxAttempts"},
		{"unknown key in linuxParameters", side + ".linuxParameters.seccomp", "x", "warn " + side + ".linuxParameters.seccomp"},
		{"unknown key in a port mapping", side + ".portMappings[0].port", 1, "warn " + side + ".portMappings[0].port"},
		{"unknown key in dependsOn", app + ".dependsOn[0].timeout", 1, "warn " + app + ".dependsOn[0].timeout"},
		{"unknown key in logConfiguration", app + ".logConfiguration.driver", "x", "warn " + app + ".logConfiguration.driver"},
		{"free keys are free", side + ".dockerLabels.anything", "x", ""},
		{"task cpu as an integer", ".cpu", 256, "fail .cpu"},
		{"task memory as an integer", ".memory", 512, "fail .memory"},
		{"container memory as a string", side + ".memory", "64", "fail " + side + ".memory"},
		{"a fraction of a MiB", side + ".memory", 64.5, "fail " + side + ".memory"},
		{"essential as a string", app + ".essential", "true", "fail " + app + ".essential"},
		{"command as a string", app + ".command", "copy a b", "fail " + app + ".command"},
		{"a number in environment", app + ".environment[0].value", 1, "fail " + app + ".environment[0].value"},
		{"a number in a label", side + ".dockerLabels.PROMETHEUS_EXPORTER_PORT", 9327, "fail " + side + ".dockerLabels.PROMETHEUS_EXPORTER_PORT"},
		{"labels as a list", side + ".dockerLabels", []any{"a=b"}, "fail " + side + ".dockerLabels"},
		{"null is absent", app + ".user", nil, ""},
		{"a container that is none", ".containerDefinitions[2]", "x", "fail .containerDefinitions[2]"},
		{"volumes as an object", ".volumes", map[string]any{}, "fail .volumes"},
	} {
		var want []string
		if r.want != "" {
			want = []string{r.want}
		}
		run(t, "taskdef.json", r.name, []change{{r.at, r.v}}, want)
	}
}

func TestRulesOfECS(t *testing.T) {
	dep := func(name, condition string) map[string]any {
		return map[string]any{"containerName": name, "condition": condition}
	}
	from := func(name string) []any { return []any{map[string]any{"sourceContainer": name}} }
	for _, r := range []struct {
		name    string
		changes []change
		want    []string
	}{
		{"no family", []change{{".family", gone{}}}, []string{"fail .family"}},
		{"no essential container", []change{{app + ".essential", false}}, []string{"fail .containerDefinitions"}},
		{"essential is the default", []change{{app + ".essential", gone{}}}, nil},
		{"no name", []change{{app + ".name", gone{}}}, []string{"fail " + app + ".name"}},
		{"a name twice", []change{{".containerDefinitions[2]", map[string]any{"name": "app", "image": "x"}}}, []string{"fail .containerDefinitions[2].name"}},
		{"no image", []change{{app + ".image", ""}}, []string{"fail " + app + ".image"}},
		{"volume of no name", []change{{app + ".mountPoints[1]", map[string]any{"sourceVolume": "data", "containerPath": "/data"}}}, []string{"fail " + app + ".mountPoints[1].sourceVolume"}},
		{"volumes from nobody", []change{{app + ".volumesFrom", []any{map[string]any{"sourceContainer": "db"}}}}, []string{"fail " + app + ".volumesFrom[0].sourceContainer"}},
		{"waits for nobody", []change{{app + ".dependsOn[1]", dep("db", "START")}}, []string{"fail " + app + ".dependsOn[1].containerName"}},
		{"no such condition", []change{{app + ".dependsOn[1]", dep("refresher", "RUNNING")}}, []string{"fail " + app + ".dependsOn[1].condition"}},
		{"waits for itself", []change{{app + ".dependsOn[1]", dep("app", "START")}}, []string{"fail " + app + ".dependsOn"}},
		{"a circle of two", []change{{side + ".dependsOn", []any{dep("app", "START")}}}, []string{"fail " + side + ".dependsOn"}},
		{"a circle of three behind one", []change{
			{".containerDefinitions[2]", map[string]any{"name": "x", "image": "x", "dependsOn": []any{dep("app", "START")}}},
			{".containerDefinitions[3]", map[string]any{"name": "y", "image": "y", "dependsOn": []any{dep("x", "START")}}},
			{app + ".dependsOn[1]", dep("y", "START")},
		}, []string{"fail " + app + ".dependsOn"}},
		{"a circle of volumesFrom", []change{
			{".containerDefinitions[2]", map[string]any{"name": "x", "image": "x", "volumesFrom": from("y")}},
			{".containerDefinitions[3]", map[string]any{"name": "y", "image": "x", "volumesFrom": from("x")}},
		}, []string{"fail .containerDefinitions[2].volumesFrom"}},
		{"a circle of three", []change{
			{".containerDefinitions[2]", map[string]any{"name": "x", "image": "x", "volumesFrom": from("y")}},
			{".containerDefinitions[3]", map[string]any{"name": "y", "image": "x", "volumesFrom": from("z")}},
			{".containerDefinitions[4]", map[string]any{"name": "z", "image": "x", "volumesFrom": from("x")}},
		}, []string{"fail .containerDefinitions[2].volumesFrom"}},
		{"its own volumes", []change{{app + ".volumesFrom", from("app")}}, []string{"fail " + app + ".volumesFrom"}},
		{"a circle of volumesFrom and dependsOn", []change{
			{".containerDefinitions[2]", map[string]any{"name": "x", "image": "x", "volumesFrom": from("y")}},
			{".containerDefinitions[3]", map[string]any{"name": "y", "image": "x", "dependsOn": []any{dep("x", "START")}}},
		}, []string{"fail .containerDefinitions[2].volumesFrom"}},
		{"volumesFrom and dependsOn in one direction", []change{
			{".containerDefinitions[2]", map[string]any{"name": "x", "image": "x", "volumesFrom": from("y"), "dependsOn": []any{dep("y", "START")}}},
			{".containerDefinitions[3]", map[string]any{"name": "y", "image": "x"}},
		}, nil},
		{"a diamond is no circle", []change{
			{".containerDefinitions[2]", map[string]any{"name": "x", "image": "x", "dependsOn": []any{dep("refresher", "START"), dep("app", "START")}}},
		}, nil},
		{"HEALTHY without a health check", []change{{side + ".healthCheck", gone{}}}, []string{"fail " + side + ".healthCheck"}},
		{"HEALTHY without a start timeout", []change{{side + ".startTimeout", gone{}}}, []string{"warn " + side + ".startTimeout"}},
		{"SUCCESS of an essential container", []change{{".containerDefinitions[2]", map[string]any{"name": "x", "image": "x", "dependsOn": []any{dep("app", "SUCCESS")}}}}, []string{"fail " + app + ".essential"}},
		{"COMPLETE of an essential container", []change{{".containerDefinitions[2]", map[string]any{"name": "x", "image": "x", "dependsOn": []any{dep("app", "COMPLETE")}}}}, []string{"fail " + app + ".essential"}},
		{"health check without CMD", []change{{app + ".healthCheck", map[string]any{"command": []any{"/bin/true", "x"}}}}, []string{"fail " + app + ".healthCheck.command"}},
		{"health check of nothing", []change{{app + ".healthCheck", map[string]any{"command": []any{"CMD"}}}}, []string{"fail " + app + ".healthCheck.command"}},
		{"health check by shell", []change{{app + ".healthCheck", map[string]any{"command": []any{"CMD-SHELL", "true"}}}}, nil},
		{"interval 4", []change{{side + ".healthCheck.interval", 4}}, []string{"fail " + side + ".healthCheck.interval"}},
		{"interval 5", []change{{side + ".healthCheck.interval", 5}}, nil},
		{"interval 300", []change{{side + ".healthCheck.interval", 300}}, nil},
		{"interval 301", []change{{side + ".healthCheck.interval", 301}}, []string{"fail " + side + ".healthCheck.interval"}},
		{"timeout 1", []change{{side + ".healthCheck.timeout", 1}}, []string{"fail " + side + ".healthCheck.timeout"}},
		{"timeout 2", []change{{side + ".healthCheck.timeout", 2}}, nil},
		{"timeout 60", []change{{side + ".healthCheck.timeout", 60}}, nil},
		{"timeout 61", []change{{side + ".healthCheck.timeout", 61}}, []string{"fail " + side + ".healthCheck.timeout"}},
		{"retries 0", []change{{side + ".healthCheck.retries", 0}}, []string{"fail " + side + ".healthCheck.retries"}},
		{"retries 1", []change{{side + ".healthCheck.retries", 1}}, nil},
		{"retries 10", []change{{side + ".healthCheck.retries", 10}}, nil},
		{"retries 11", []change{{side + ".healthCheck.retries", 11}}, []string{"fail " + side + ".healthCheck.retries"}},
		{"startPeriod -1", []change{{side + ".healthCheck.startPeriod", -1}}, []string{"fail " + side + ".healthCheck.startPeriod"}},
		{"startPeriod 0", []change{{side + ".healthCheck.startPeriod", 0}}, nil},
		{"startPeriod 301", []change{{side + ".healthCheck.startPeriod", 301}}, []string{"fail " + side + ".healthCheck.startPeriod"}},
		{"restart period 59", []change{{side + ".restartPolicy.restartAttemptPeriod", 59}}, []string{"fail " + side + ".restartPolicy.restartAttemptPeriod"}},
		{"restart period 1800", []change{{side + ".restartPolicy.restartAttemptPeriod", 1800}}, nil},
		{"restart period 1801", []change{{side + ".restartPolicy.restartAttemptPeriod", 1801}}, []string{"fail " + side + ".restartPolicy.restartAttemptPeriod"}},
		{"restart policy without enabled", []change{{side + ".restartPolicy.enabled", gone{}}}, []string{"fail " + side + ".restartPolicy.enabled"}},
		{"memory 5", []change{{app + ".memory", 5}}, []string{"fail " + app + ".memory"}},
		{"memory 6", []change{{app + ".memory", 6}}, nil},
		{"reservation as large as the limit", []change{{app + ".memory", 64}, {app + ".memoryReservation", 64}}, []string{"fail " + app + ".memoryReservation"}},
		{"reservation below the limit", []change{{app + ".memory", 64}, {app + ".memoryReservation", 63}}, nil},
	} {
		run(t, "taskdef.json", r.name, r.changes, r.want)
	}
	run(t, "taskdef-ec2.json", "a circle of links", []change{
		{".containerDefinitions[2]", map[string]any{"name": "x", "image": "x", "memory": 8, "links": []any{"y:alias"}}},
		{".containerDefinitions[3]", map[string]any{"name": "y", "image": "x", "memory": 8, "links": []any{"x"}}},
	}, []string{"fail .containerDefinitions[2].links"})
	run(t, "taskdef-ec2.json", "no memory anywhere", []change{{app + ".memory", gone{}}}, []string{"fail " + app + ".memory"})
	run(t, "taskdef-ec2.json", "the task's memory is enough", []change{{app + ".memory", gone{}}, {".memory", "300"}}, nil)
}

func TestRulesOfFargate(t *testing.T) {
	type row struct {
		name    string
		changes []change
		want    []string
	}
	rows := []row{
		{"bridge", []change{{".networkMode", "bridge"}}, []string{"fail .networkMode"}},
		{"no network mode", []change{{".networkMode", gone{}}}, []string{"fail .networkMode"}},
		{"no cpu", []change{{".cpu", gone{}}}, []string{"fail .cpu"}},
		{"cpu 300", []change{{".cpu", "300"}}, []string{"fail .cpu"}},
		{"cpu in vCPU", []change{{".cpu", ".25 vCPU"}}, nil},
		{"memory in GB", []change{{".memory", "0.5 GB"}}, nil},
		{"cpu that is no number", []change{{".cpu", "many vCPU"}}, []string{"fail .cpu"}},
		{"no memory", []change{{".memory", gone{}}}, []string{"fail .memory"}},
		{"constraints", []change{{".placementConstraints", []any{map[string]any{"type": "memberOf"}}}}, []string{"fail .placementConstraints"}},
		{"a directory of the host", []change{{".volumes[1]", map[string]any{"name": "h", "host": map[string]any{"sourcePath": "/x"}}}}, []string{"fail .volumes[1]"}},
		{"a docker volume", []change{{".volumes[1]", map[string]any{"name": "h", "dockerVolumeConfiguration": map[string]any{"scope": "task"}}}}, []string{"fail .volumes[1]"}},
		{"links", []change{{app + ".links", []any{"refresher"}}}, []string{"fail " + app + ".links"}},
		{"privileged", []change{{app + ".privileged", true}}, []string{"fail " + app + ".privileged"}},
		{"not privileged", []change{{app + ".privileged", false}}, nil},
		{"extraHosts", []change{{app + ".extraHosts", []any{map[string]any{"hostname": "a", "ipAddress": "1.2.3.4"}}}}, []string{"fail " + app + ".extraHosts"}},
		{"dnsServers", []change{{app + ".dnsServers", []any{"1.1.1.1"}}}, []string{"fail " + app + ".dnsServers"}},
		{"dnsSearchDomains", []change{{app + ".dnsSearchDomains", []any{"x"}}}, []string{"fail " + app + ".dnsSearchDomains"}},
		{"disableNetworking", []change{{app + ".disableNetworking", true}}, []string{"fail " + app + ".disableNetworking"}},
		{"devices", []change{{app + ".linuxParameters.devices", []any{map[string]any{"hostPath": "/dev/fuse"}}}}, []string{"fail " + app + ".linuxParameters.devices"}},
		{"startTimeout 1", []change{{side + ".startTimeout", 1}}, []string{"fail " + side + ".startTimeout"}},
		{"startTimeout 121", []change{{side + ".startTimeout", 121}}, []string{"fail " + side + ".startTimeout"}},
		{"stopTimeout 1", []change{{side + ".stopTimeout", 1}}, []string{"fail " + side + ".stopTimeout"}},
		{"stopTimeout 2", []change{{side + ".stopTimeout", 2}}, nil},
		{"stopTimeout 120", []change{{side + ".stopTimeout", 120}}, nil},
		{"stopTimeout 121", []change{{side + ".stopTimeout", 121}}, []string{"fail " + side + ".stopTimeout"}},
		{"another host port", []change{{side + ".portMappings[0].hostPort", 80}}, []string{"fail " + side + ".portMappings[0].hostPort"}},
		{"the same host port", []change{{side + ".portMappings[0].hostPort", 9327}}, nil},
		{"syslog", []change{{app + ".logConfiguration.logDriver", "syslog"}}, []string{"fail " + app + ".logConfiguration.logDriver"}},
		{"no execution role", []change{{".executionRoleArn", gone{}}}, []string{"fail .executionRoleArn"}},
		{"containers as large as the task", []change{{app + ".memory", 448}}, nil},
		{"containers larger than the task", []change{{app + ".memory", 449}}, []string{"fail .memory"}},
		{"reserved beyond the task", []change{{app + ".memory", 500}, {app + ".memoryReservation", 449}}, []string{"fail .memory"}},
	}
	for _, s := range []struct {
		cpu, memory string
		ok          bool
	}{
		{"256", "511", false}, {"256", "1024", true}, {"256", "1536", false}, {"256", "2048", true}, {"256", "3072", false},
		{"512", "512", false}, {"512", "1024", true}, {"512", "4096", true}, {"512", "5120", false},
		{"1024", "1024", false}, {"1024", "2048", true}, {"1024", "2560", false}, {"1024", "8192", true}, {"1024", "9216", false},
		{"2048", "3072", false}, {"2048", "4096", true}, {"2048", "16384", true}, {"2048", "17408", false},
		{"4096", "7168", false}, {"4096", "8192", true}, {"4096", "30720", true}, {"4096", "31744", false},
		{"8192", "15360", false}, {"8192", "16384", true}, {"8192", "18432", false}, {"8192", "61440", true}, {"8192", "65536", false},
		{"16384", "24576", false}, {"16384", "32768", true}, {"16384", "36864", false}, {"16384", "122880", true}, {"16384", "131072", false},
	} {
		r := row{s.cpu + " with " + s.memory, []change{{".cpu", s.cpu}, {".memory", s.memory}}, []string{"fail .memory"}}
		if s.ok {
			r.want = nil
		}
		rows = append(rows, r)
	}
	for _, r := range rows {
		run(t, "taskdef.json", r.name, r.changes, r.want)
	}
	// What Fargate refuses is fine elsewhere.
	run(t, "taskdef-ec2.json", "EC2 may do what Fargate may not", []change{
		{app + ".privileged", true}, {app + ".links", []any{"refresher"}}, {side + ".stopTimeout", 300}, {".executionRoleArn", gone{}},
		{app + ".logConfiguration.logDriver", "syslog"},
	}, nil)
}
