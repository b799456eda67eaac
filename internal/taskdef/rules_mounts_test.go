package taskdef

import (
	"encoding/json"
	"strings"
	"testing"
)

// Each row mounts things in one container beside a login at /run/ecr that is read-only, and says what is wrong with that: "login"
// where the login is concerned, "other" where not.
func TestMountRules(t *testing.T) {
	const login = `{"sourceVolume":"ecr-auth","containerPath":"/run/ecr","readOnly":true}`
	at := func(path string, more ...string) string {
		return `{"sourceVolume":"data","containerPath":"` + path + `"` + strings.Join(more, "") + `}`
	}
	const readOnly = `,"readOnly":true`
	for _, row := range []struct{ name, mounts, more, want string }{
		{"alone", login, "", ""},
		{"beside another", login + "," + at("/data"), "", ""},
		{"a name that begins alike", login + "," + at("/run/ecr2"), "", ""},

		// unique, however it is written
		{"the same place", login + "," + at("/run/ecr"), "", "login"},
		{"the same place first", at("/run/ecr") + "," + login, "", "login"},
		{"with a slash at its end", login + "," + at("/run/ecr/"), "", "login"},
		{"with two slashes", login + "," + at("//run//ecr"), "", "login"},
		{"with dots", login + "," + at("/run/x/../ecr/."), "", "login"},
		{"the same volume twice", login + "," + login, "", "login"},
		{"the same volume in two places", login + `,{"sourceVolume":"ecr-auth","containerPath":"/root/.docker","readOnly":true}`, "", ""},
		{"two others at one place", login + "," + at("/data") + "," + at("/data/"), "", "other"},
		{"a tmpfs", login, `"linuxParameters":{"tmpfs":[{"containerPath":"/run/ecr","size":16}]}`, "login"},
		{"a tmpfs with a slash", login, `"linuxParameters":{"tmpfs":[{"containerPath":"/run/ecr/","size":16}]}`, "login"},
		{"a tmpfs elsewhere", login, `"linuxParameters":{"tmpfs":[{"containerPath":"/tmp","size":16}]}`, ""},
		{"a tmpfs on another mount", login + "," + at("/tmp"), `"linuxParameters":{"tmpfs":[{"containerPath":"/tmp","size":16}]}`, "other"},
		{"two tmpfs", login, `"linuxParameters":{"tmpfs":[{"containerPath":"/tmp"},{"containerPath":"/tmp/"}]}`, "other"},

		// volumesFrom, as far as it goes
		{"the same place from another container", login, `"volumesFrom":[{"sourceContainer":"has-run-ecr"}]`, "login"},
		{"the same place by way of two containers", login, `"volumesFrom":[{"sourceContainer":"from-has-run-ecr"}]`, "login"},
		{"a circle", login, `"volumesFrom":[{"sourceContainer":"circle"}]`, ""},
		{"itself", login, `"volumesFrom":[{"sourceContainer":"app"}]`, ""},
		{"nobody", login, `"volumesFrom":[{"sourceContainer":"nobody"}]`, ""},
		{"the same login from another container", login, `"volumesFrom":[{"sourceContainer":"has-login"}]`, ""},
		{"another place from another container", login, `"volumesFrom":[{"sourceContainer":"has-data"}]`, ""},
		{"its tmpfs does not come along", login, `"volumesFrom":[{"sourceContainer":"has-tmpfs"}]`, ""},
		{"a read-only parent from another container", login, `"volumesFrom":[{"sourceContainer":"has-run","readOnly":true}]`, "login"},
		{"a writable parent from another container", login, `"volumesFrom":[{"sourceContainer":"has-run"}]`, ""},

		// one below the other
		{"a child", login + "," + at("/run/ecr/cache"), "", "login"},
		{"a child first", at("/run/ecr/cache") + "," + login, "", "login"},
		{"a grandchild", login + "," + at("/run/ecr/a/b/"), "", "login"},
		{"a tmpfs as a child", login, `"linuxParameters":{"tmpfs":[{"containerPath":"/run/ecr/tmp"}]}`, "login"},
		{"a child of a writable login", strings.Replace(login, readOnly, "", 1) + "," + at("/run/ecr/cache"), "", ""},
		{"a read-only parent", login + "," + at("/run", readOnly), "", "login"},
		{"a read-only parent by its link", login + "," + at("/var/run", readOnly), "", "login"},
		{"a writable parent", login + "," + at("/run"), "", ""},
		{"a tmpfs as a parent", login, `"linuxParameters":{"tmpfs":[{"containerPath":"/run"}]}`, ""},
		{"a read-only tmpfs as a parent", login, `"linuxParameters":{"tmpfs":[{"containerPath":"/run","mountOptions":["noexec","ro"]}]}`, "login"},
		{"a writable login below a read-only parent", strings.Replace(login, readOnly, "", 1) + "," + at("/run", readOnly), "", "login"},
		{"others below each other are not ours to judge", login + "," + at("/rootfs", readOnly) + "," + at("/rootfs/sys"), "", ""},
		{"a root of others", login + "," + at("/"), "", "other"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.more != "" {
				row.more = "," + row.more
			}
			doc := `{"containerDefinitions":[{"name":"app","mountPoints":[` + row.mounts + `]` + row.more + `},
				{"name":"has-run-ecr","mountPoints":[` + at("/run/ecr") + `]},
				{"name":"from-has-run-ecr","volumesFrom":[{"sourceContainer":"has-run-ecr"}]},
				{"name":"circle","volumesFrom":[{"sourceContainer":"app"},{"sourceContainer":"circle"}]},
				{"name":"has-login","mountPoints":[` + login + `]},
				{"name":"has-data","mountPoints":[` + at("/data") + `]},
				{"name":"has-run","mountPoints":[` + at("/run") + `]},
				{"name":"has-tmpfs","linuxParameters":{"tmpfs":[{"containerPath":"/run/ecr"}]}}]}`
			var d definition
			if err := json.Unmarshal([]byte(doc), &d); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, p := range mountProblems(d.mounts(0), "ecr-auth") {
				if got = "other"; p.login {
					got = "login"
				}
				if p.what == "" || !strings.HasSuffix(p.cure, ".") || !strings.HasPrefix(p.at, ".") {
					t.Errorf("this does not read well: %+v", p)
				}
			}
			if got != row.want {
				t.Errorf("%q, want %q: %+v", got, row.want, mountProblems(d.mounts(0), "ecr-auth"))
			}
		})
	}
}

// The login cannot be mounted where something else has to be.
func TestUnfit(t *testing.T) {
	for dir, want := range map[string]struct{ readOnly, writable bool }{
		"/": {true, true}, "/proc": {true, true}, "/proc/x": {true, true}, "/sys/fs/cgroup": {true, true}, "/dev": {true, true}, "/dev/shm": {true, true},
		"/etc": {true, true}, "/etc/ssl/certs": {true, true}, "/usr": {true, true}, "/usr/local/bin": {true, true}, "/bin": {true, true}, "/lib64": {true, true}, "/var": {true, true},
		"/run": {readOnly: true}, "/var/run": {readOnly: true}, "/tmp": {readOnly: true}, "/var/tmp": {readOnly: true}, "/root": {readOnly: true}, "/var/log": {readOnly: true},
		"/run/ecr": {}, "/root/.docker": {}, "/home/app/.docker": {}, "/tmp/ecr": {}, "/etc/ecr": {}, "/var/run/ecr": {}, "/auth": {}, "/procedures": {}, "/devices": {},
	} {
		if got := unfit(dir, true) != ""; got != want.readOnly {
			t.Errorf("%s, read-only: %q", dir, unfit(dir, true))
		}
		if got := unfit(dir, false) != ""; got != want.writable {
			t.Errorf("%s, writable: %q", dir, unfit(dir, false))
		}
	}
}

// inject refuses the same, and says where else to go.
func TestInjectMounts(t *testing.T) {
	type m = map[string]any
	child := []change{{".volumes", []any{m{"name": "x"}}}, {side + ".mountPoints", []any{m{"sourceVolume": "x", "containerPath": "/root/.docker/buildx"}}}}
	parent := []change{{".volumes", []any{m{"name": "x"}}}, {side + ".mountPoints", []any{m{"sourceVolume": "x", "containerPath": "/run", "readOnly": true}}}}
	for _, row := range []struct {
		name    string
		changes []change
		o       Options
		want    string // empty: it is done
	}{
		{"a child of the path", child, Options{Path: "/root/.docker"}, `the volume "x" is mounted at /root/.docker/buildx, which cannot be made in /root/.docker`},
		{"a child, writable", child, Options{Path: "/root/.docker", Writable: true}, ""},
		{"a child of another path", child, Options{}, ""},
		{"a read-only parent", parent, Options{}, `the volume "ecr-auth" is mounted at /run/ecr, which cannot be made in /run`},
		{"a read-only parent, writable", parent, Options{Writable: true}, "cannot be made in /run"},
		{"a tmpfs", []change{{side + ".linuxParameters", m{"tmpfs": []any{m{"containerPath": "/run/ecr/", "size": 1}}}}}, Options{}, "a tmpfs and the volume"},
		{"the path is /tmp", nil, Options{Path: "/tmp"}, "/tmp would be read-only"},
		{"the path is /tmp, writable", nil, Options{Path: "/tmp", Writable: true}, ""},
		{"the path is /run", nil, Options{Path: "/run"}, "/run would be read-only"},
		{"the path is /run in another spelling", nil, Options{Path: "/run//ecr/../"}, "/run would be read-only"},
		{"the path is /", nil, Options{Path: "/"}, "nothing can be mounted at /"},
		{"the path is /proc", nil, Options{Path: "/proc"}, "/proc belongs to the kernel"},
		{"the path is below /dev", nil, Options{Path: "/dev/ecr"}, "/dev/ecr belongs to the kernel"},
		{"the path is /etc", nil, Options{Path: "/etc", Writable: true}, "a volume at /etc hides"},
		{"the path ends in a slash", nil, Options{Path: "/auth/"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			doc := stripped(t, "taskdef.json")
			for _, ch := range row.changes {
				edit(t, doc, ch.at, ch.v)
			}
			row.o.Image = image
			r := refusal(t, marshal(t, doc), row.o)
			if row.want == "" && r != nil || row.want != "" && (len(r) != 1 || !strings.Contains(r[0].What, row.want) || !strings.Contains(r[0].Cure, "--path")) {
				t.Errorf("refused for %q", r)
			}
		})
	}
	// One that is no consumer inherits the login, and has something below it.
	doc := stripped(t, "taskdef.json")
	edit(t, doc, ".volumes", []any{m{"name": "x"}})
	edit(t, doc, ".containerDefinitions[1]", m{"name": "other", "image": "x:1", "volumesFrom": []any{m{"sourceContainer": "app"}}, "mountPoints": []any{m{"sourceVolume": "x", "containerPath": "/run/ecr/x"}}})
	if r := refusal(t, marshal(t, doc), Options{Image: image, Containers: []string{"app"}}); len(r) != 1 || !strings.Contains(r[0].What, "cannot be made in /run/ecr") {
		t.Errorf("refused for %q", r)
	}
}

func TestMountRulesOfCheck(t *testing.T) {
	type m = map[string]any
	other := func(path string) m { return m{"sourceVolume": "x", "containerPath": path} }
	volume := change{".volumes[1]", m{"name": "x"}}
	for _, r := range []struct {
		name    string
		changes []change
		want    []string
	}{
		{"a child", []change{volume, {app + ".mountPoints[1]", other("/run/ecr/x")}}, []string{"fail " + app + ".mountPoints[1]"}},
		{"the same place", []change{volume, {app + ".mountPoints[1]", other("/run/ecr/")}}, []string{"fail " + app + ".mountPoints[1]"}},
		{"the same place in a container without the login", []change{volume, {".containerDefinitions[2]", m{"name": "x", "image": "x:1", "mountPoints": []any{other("/a"), other("/a/")}}}},
			[]string{"fail .containerDefinitions[2].mountPoints[1]"}},
		{"the same place in the sidecar", []change{volume, {side + ".mountPoints[1]", other("/run/ecr/../ecr")}}, []string{"fail " + side + ".mountPoints[1]"}},
		{"relative", []change{volume, {app + ".mountPoints[1]", other("data")}}, []string{"fail " + app + ".mountPoints[1].containerPath"}},
		{"relative, with a colon", []change{volume, {app + ".mountPoints[1]", other("data:x")}}, []string{"fail " + app + ".mountPoints[1].containerPath"}},
		{"a colon", []change{volume, {app + ".mountPoints[1]", other("/data:x")}}, []string{"fail " + app + ".mountPoints[1].containerPath"}},
		{"a colon at its end", []change{volume, {app + ".mountPoints[1]", other("/data:")}}, []string{"fail " + app + ".mountPoints[1].containerPath"}},
		{"a colon in the sidecar", []change{volume, {side + ".mountPoints[1]", other("/data:ro")}}, []string{"fail " + side + ".mountPoints[1].containerPath"}},
		{"a colon in a placeholder", []change{volume, {app + ".mountPoints[1]", other("/data/${DIR:-x}")}}, nil},
		{"a colon in a tmpfs, which is given otherwise", []change{{app + ".linuxParameters", m{"tmpfs": []any{m{"containerPath": "/data:x", "size": 1}}}}}, nil},
		{"a placeholder", []change{volume, {app + ".mountPoints[1]", other("${DATA}")}}, nil},
		{"the login at /tmp", []change{{app + ".mountPoints[0].containerPath", "/tmp"}, {app + ".environment[0].value", "/tmp"}, {app + ".environment[1]", gone{}}, {app + ".environment[1]", gone{}}},
			[]string{"fail " + app + ".mountPoints[0]"}},
		{"the root", []change{volume, {app + ".mountPoints[1]", other("/")}}, []string{"fail " + app + ".mountPoints[1]"}},
		{"inherited by a consumer", []change{{".containerDefinitions[2]", m{"name": "x", "image": "x:1", "volumesFrom": []any{m{"sourceContainer": "app"}},
			"environment": []any{m{"name": "DOCKER_CONFIG", "value": "/run/ecr"}}, "dependsOn": []any{m{"containerName": "refresher", "condition": "HEALTHY"}}}}}, nil},
		{"inherited from the sidecar, which may write", []change{{".containerDefinitions[2]", m{"name": "x", "image": "x:1", "volumesFrom": []any{m{"sourceContainer": "refresher"}},
			"environment": []any{m{"name": "DOCKER_CONFIG", "value": "/run/ecr"}}, "dependsOn": []any{m{"containerName": "refresher", "condition": "HEALTHY"}}}}},
			[]string{"warn .containerDefinitions[2].volumesFrom[0].readOnly"}},
		{"BUILDX_CONFIG on a read-only root", []change{{app + ".readonlyRootFilesystem", true}}, []string{"warn " + app + ".environment[2].value"}},
		{"with a volume at /tmp", []change{volume, {app + ".readonlyRootFilesystem", true}, {app + ".mountPoints[1]", other("/tmp")}}, nil},
		{"with a tmpfs at /tmp", []change{{app + ".readonlyRootFilesystem", true}, {app + ".linuxParameters", m{"tmpfs": []any{m{"containerPath": "/tmp", "size": 1}}}}}, nil},
		{"with a read-only tmpfs at /tmp", []change{{app + ".linuxParameters", m{"tmpfs": []any{m{"containerPath": "/tmp", "size": 1, "mountOptions": []any{"ro"}}}}}}, []string{"warn " + app + ".environment[2].value"}},
		{"BUILDX_CONFIG in the login", []change{{app + ".environment[2].value", "/run/ecr/buildx"}}, []string{"warn " + app + ".environment[2].value"}},
		{"BUILDX_CONFIG in shared memory", []change{{app + ".readonlyRootFilesystem", true}, {app + ".environment[2].value", "/dev/shm/buildx"}}, nil},
		{"the sidecar's own root is read-only", []change{{side + ".readonlyRootFilesystem", true}}, nil},
	} {
		run(t, "taskdef.json", r.name, r.changes, r.want)
	}
}

// A directory of the host is mounted as source:destination, and so it can have no colon either.
func TestHostPaths(t *testing.T) {
	const at = ".volumes[1].host.sourcePath"
	for dir, want := range map[string][]string{
		"/data": nil, "/data/${DIR:-x}": nil, "/data:x": {"fail " + at}, "/data:": {"fail " + at},
	} {
		run(t, "taskdef-ec2.json", dir, []change{{at, dir}}, want)
	}
	run(t, "taskdef-ec2.json", "a drive on Linux", []change{{".runtimePlatform", map[string]any{"operatingSystemFamily": "LINUX"}}, {at, `C:\data`}}, []string{"fail " + at})
}

// The inputs of the reports.
func TestInjectReportedMounts(t *testing.T) {
	for _, row := range []struct{ doc, path, want string }{
		{`{"family":"app","networkMode":"bridge","requiresCompatibilities":["EC2"],"taskRoleArn":"arn:aws:iam::123456789012:role/task","containerDefinitions":[{"name":"app","image":"nginx:1",
			"memory":256,"linuxParameters":{"tmpfs":[{"containerPath":"/run/ecr","size":16}]}}]}`, "", "are both mounted at /run/ecr"},
		{`{"family":"app","networkMode":"bridge","requiresCompatibilities":["EC2"],"taskRoleArn":"arn:aws:iam::123456789012:role/task","containerDefinitions":[{"name":"app","image":"nginx:1",
			"memory":256,"mountPoints":[{"sourceVolume":"buildx","containerPath":"/root/.docker/buildx"}]}],"volumes":[{"name":"buildx"}]}`, "/root/.docker", "cannot be made in /root/.docker"},
	} {
		if r := refusal(t, []byte(row.doc), Options{Image: image, Path: row.path}); len(r) != 1 || !strings.Contains(r[0].What, row.want) {
			t.Errorf("%s: %q", row.want, r)
		}
	}
}
