package taskdef

import "testing"

func TestRulesOfOurs(t *testing.T) {
	env := func(name, value string) map[string]any { return map[string]any{"name": name, "value": value} }
	for _, r := range []struct {
		name    string
		changes []change
		want    []string
	}{
		{"no sidecar", []change{{side + ".name", "x"}, {side + ".image", "x"}, {side + ".healthCheck.command", []any{"CMD", "true"}}, {app + ".dependsOn[0].containerName", "x"}}, []string{"fail .containerDefinitions"}},
		{"known by its image", []change{{side + ".name", "x"}, {side + ".healthCheck.command", []any{"CMD", "/x"}}, {app + ".dependsOn[0].containerName", "x"}}, nil},
		{"known by its name", []change{{side + ".image", "x:1"}, {side + ".healthCheck.command", []any{"CMD", "/x"}}}, nil},
		{"known by its health check", []change{{side + ".name", "x"}, {side + ".image", "x:1"}, {app + ".dependsOn[0].containerName", "x"}}, nil},
		{"known by its name, with a port before it", []change{{side + ".image", "localhost:5000/x:1"}}, nil},
		{"no version", []change{{side + ".image", "localhost:5000/ecr-refresher"}}, []string{"warn " + side + ".image"}},
		{"the latest version", []change{{side + ".image", "ecr-refresher:latest"}}, []string{"warn " + side + ".image"}},
		{"a digest", []change{{side + ".image", "ecr-refresher@sha256:0"}}, nil},
		{"a digest of latest", []change{{side + ".image", "ecr-refresher:latest@sha256:0"}}, nil},
		{"a consumer's image is not ours to judge", []change{{app + ".image", "x"}}, nil},
		{"no task role", []change{{".taskRoleArn", gone{}}}, []string{"fail .taskRoleArn"}},

		{"no memory limit", []change{{side + ".memory", gone{}}}, []string{"warn " + side + ".memory"}},
		{"memory 31", []change{{side + ".memory", 31}}, []string{"warn " + side + ".memory"}},
		{"memory 32", []change{{side + ".memory", 32}}, nil},
		{"no restart policy", []change{{side + ".restartPolicy", gone{}}}, []string{"warn " + side + ".restartPolicy"}},
		{"restart policy off", []change{{side + ".restartPolicy.enabled", false}}, []string{"warn " + side + ".restartPolicy"}},
		{"no health check, and nobody waits for it", []change{{side + ".healthCheck", gone{}}, {app + ".dependsOn[0].condition", "START"}}, []string{"warn " + app + ".dependsOn", "warn " + side + ".healthCheck"}},
		{"health check by a shell that is not there", []change{{side + ".healthCheck.command", []any{"CMD-SHELL", "/healthcheck"}}}, []string{"fail " + side + ".healthCheck.command"}},
		{"essential by choice", []change{{side + ".essential", true}}, nil},

		{"no port mapping", []change{{side + ".portMappings", gone{}}}, []string{"warn " + side + ".portMappings"}},
		{"another port mapped", []change{{side + ".portMappings[0].containerPort", 9328}}, []string{"warn " + side + ".portMappings"}},
		{"another port, mapped", []change{{side + ".portMappings[0].containerPort", 9328}, {side + ".environment[1]", env("REFRESHER_LISTEN", ":9328")}}, nil},
		{"another port, not mapped", []change{{side + ".environment[1]", env("REFRESHER_LISTEN", "0.0.0.0:9328")}}, []string{"warn " + side + ".portMappings"}},
		{"a port for the task alone", []change{{side + ".portMappings", gone{}}, {side + ".environment[1]", env("REFRESHER_LISTEN", "127.0.0.1:9327")}}, nil},
		{"listen by flag", []change{{side + ".command", []any{"run", "--listen=:9327"}}}, []string{"warn " + side + ".command"}},
		{"listen by flag and value", []change{{side + ".command", []any{"run", "--listen", ":9327"}}}, []string{"warn " + side + ".command"}},

		{"read-only mount", []change{{side + ".mountPoints[0].readOnly", true}}, []string{"fail " + side + ".mountPoints[0].readOnly"}},
		{"writable by default", []change{{side + ".mountPoints[0].readOnly", gone{}}}, nil},
		{"no mount", []change{{side + ".mountPoints", gone{}}}, []string{"fail " + side + ".mountPoints"}},
		{"mounted beside the output", []change{{side + ".mountPoints[0].containerPath", "/run/ecr2"}}, []string{"fail " + side + ".mountPoints"}},
		{"the file is the mount", []change{{side + ".mountPoints[0].containerPath", "/run/ecr/config.json"}}, []string{"fail " + side + ".mountPoints[0].containerPath"}},
		{"output elsewhere", []change{{side + ".environment[1]", env("REFRESHER_OUTPUTS", "/auth/config.json")}}, []string{"fail " + side + ".mountPoints"}},
		{"second output elsewhere", []change{{side + ".environment[1]", env("REFRESHER_OUTPUTS", "/run/ecr/config.json /auth/auth.json?mode=0600")}}, []string{"fail " + side + ".mountPoints"}},
		{"second output in the same place", []change{{side + ".environment[1]", env("REFRESHER_OUTPUTS", "/run/ecr/config.json?mode=0640,/run/ecr/auth.json")}}, nil},
		{"output by flag", []change{{side + ".command", []any{"run", "--output=/auth/config.json"}}}, []string{"fail " + side + ".mountPoints"}},
		{"output by flag and value", []change{{side + ".command", []any{"run", "--output", "/auth/config.json"}}}, []string{"fail " + side + ".mountPoints"}},
		{"a directory below the mount", []change{{side + ".environment[1]", env("REFRESHER_OUTPUTS", "/run/ecr/docker/config.json")}, {app + ".environment[0].value", "/run/ecr/docker"}}, nil},
		{"mounted where the image declares no VOLUME", []change{{side + ".mountPoints[0].containerPath", "/auth"}, {side + ".environment[1]", env("REFRESHER_OUTPUTS", "/auth/config.json")}}, []string{"warn " + side + ".mountPoints[0].containerPath"}},
		{"the same as root", []change{{side + ".mountPoints[0].containerPath", "/auth"}, {side + ".environment[1]", env("REFRESHER_OUTPUTS", "/auth/config.json")}, {side + ".user", "0:0"}}, nil},
		{"a volume of many tasks", []change{{".volumes[0].efsVolumeConfiguration", map[string]any{"fileSystemId": "fs-1"}}}, []string{"warn .volumes[0]"}},

		{"consumer may write", []change{{app + ".mountPoints[0].readOnly", false}}, []string{"warn " + app + ".mountPoints[0].readOnly"}},
		{"consumer may write by default", []change{{app + ".mountPoints[0].readOnly", gone{}}}, []string{"warn " + app + ".mountPoints[0].readOnly"}},
		{"consumer looks elsewhere", []change{{app + ".environment[0].value", "/root/.docker"}}, []string{"fail " + app + ".environment[0].value"}},
		{"consumer looks at the file", []change{{app + ".environment[0].value", "/run/ecr/config.json"}}, []string{"fail " + app + ".environment[0].value"}},
		{"consumer with a slash", []change{{app + ".environment[0].value", "/run/ecr/"}}, nil},
		{"consumer mounts it elsewhere", []change{{app + ".mountPoints[0].containerPath", "/auth"}}, []string{"fail " + app + ".environment[0].value"}},
		{"consumer mounts it elsewhere and looks there", []change{{app + ".mountPoints[0].containerPath", "/auth"}, {app + ".environment[0].value", "/auth"}}, nil},
		{"consumer of podman's kind", []change{{app + ".environment[0]", gone{}}}, nil},
		{"consumer is told nothing", []change{{app + ".environment", gone{}}}, []string{"warn " + app + ".environment"}},
		{"consumer with its docker directory there", []change{{app + ".environment", gone{}}, {app + ".mountPoints[0].containerPath", "/root/.docker"}}, nil},
		{"consumer does not wait", []change{{app + ".dependsOn", gone{}}}, []string{"warn " + app + ".dependsOn"}},
		{"consumer mounts nothing", []change{{app + ".mountPoints", gone{}}}, []string{"fail " + app + ".mountPoints", "warn .containerDefinitions"}},
		{"nobody reads", []change{{app + ".mountPoints", gone{}}, {app + ".environment", gone{}}}, []string{"warn .containerDefinitions"}},

		{"static keys", []change{{side + ".environment[1]", env("AWS_ACCESS_KEY_ID", "AKIA")}}, []string{"warn " + side + ".environment[1]"}},
		{"static secret key", []change{{side + ".environment[1]", env("AWS_SECRET_ACCESS_KEY", "x")}}, []string{"warn " + side + ".environment[1]"}},
		{"static keys from secrets", []change{{side + ".secrets", []any{map[string]any{"name": "AWS_ACCESS_KEY_ID", "valueFrom": "arn"}}}}, []string{"warn " + side + ".secrets[0]"}},
		{"a profile", []change{{side + ".environment[1]", env("AWS_PROFILE", "x")}}, []string{"warn " + side + ".environment[1]"}},
		{"web identity", []change{{side + ".environment[1]", env("AWS_WEB_IDENTITY_TOKEN_FILE", "x")}}, []string{"warn " + side + ".environment[1]"}},
		{"a consumer's secret key for all to read", []change{{app + ".environment[3]", env("AWS_SECRET_ACCESS_KEY", "x")}}, []string{"warn " + app + ".environment[3]"}},
		{"a consumer's key from secrets", []change{{app + ".secrets", []any{map[string]any{"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": "arn"}}}}, nil},
	} {
		run(t, "taskdef.json", r.name, r.changes, r.want)
	}
}

func TestRulesOfTheInitForm(t *testing.T) {
	const last = ".containerDefinitions[2]"
	run(t, "taskdef-fast.json", "essential", []change{{side + ".essential", true}, {app + ".dependsOn", gone{}}, {last + ".dependsOn[0]", gone{}}, {last + ".dependsOn[0].condition", "HEALTHY"}},
		[]string{"fail " + side + ".essential"})
	run(t, "taskdef-fast.json", "no memory limit", []change{{side + ".memory", gone{}}}, []string{"warn " + side + ".memory"})
	run(t, "taskdef-fast.json", "read-only", []change{{side + ".mountPoints[0].readOnly", true}}, []string{"fail " + side + ".mountPoints[0].readOnly"})
	run(t, "taskdef-fast.json", "nobody stays", []change{{app, gone{}}, {app + ".dependsOn[1]", gone{}}}, []string{"fail .containerDefinitions"})
	run(t, "taskdef-fast.json", "waits for the start only", []change{{last + ".dependsOn[0]", gone{}}}, []string{"warn " + last + ".dependsOn"})
}

func TestVolumesOfTheTask(t *testing.T) {
	for _, r := range []struct {
		name string
		key  string
		v    any
		want []string
	}{
		{"of the host", "host", map[string]any{"sourcePath": "/x"}, []string{"warn .volumes[0]"}},
		{"an empty host", "host", map[string]any{}, nil},
		{"docker's, of the task", "dockerVolumeConfiguration", map[string]any{"scope": "task"}, nil},
		{"docker's, shared", "dockerVolumeConfiguration", map[string]any{"scope": "shared"}, []string{"warn .volumes[0]"}},
		{"FSx", "fsxWindowsFileServerVolumeConfiguration", map[string]any{}, []string{"fail .volumes[0].fsxWindowsFileServerVolumeConfiguration", "warn .volumes[0]"}},
		{"S3", "s3filesVolumeConfiguration", map[string]any{}, []string{"warn .volumes[0]"}},
	} {
		run(t, "taskdef-ec2.json", r.name, []change{{".volumes[0]." + r.key, r.v}}, r.want)
	}
}
