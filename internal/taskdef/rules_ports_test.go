package taskdef

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Each row gives the port mappings of a container "app", a network mode, and what is wrong beside a sidecar that listens on 9327.
func TestPortRules(t *testing.T) {
	for _, row := range []struct{ name, mode, mappings, want string }{
		{"another port", "awsvpc", `{"containerPort":80}`, ""},
		{"our port", "awsvpc", `{"containerPort":9327}`, "app has the port 9327, and refresher has the port 9327"},
		{"our port, tcp", "awsvpc", `{"containerPort":9327,"protocol":"tcp"}`, "the port 9327"},
		{"our port, udp", "awsvpc", `{"containerPort":9327,"protocol":"udp"}`, ""},
		{"our port on the host", "host", `{"containerPort":9327}`, "the port 9327"},
		{"our port in bridge mode", "bridge", `{"containerPort":9327}`, ""},
		{"our port by default", "", `{"containerPort":9327}`, ""},
		{"our port in the mode called default", "default", `{"containerPort":9327}`, ""},
		{"a range over ours", "awsvpc", `{"containerPortRange":"9000-9400"}`, "the ports 9000-9400"},
		{"a range that begins with ours", "awsvpc", `{"containerPortRange":"9327-9400"}`, "the ports 9327-9400"},
		{"a range that ends with ours", "awsvpc", `{"containerPortRange":"9000-9327"}`, "the ports 9000-9327"},
		{"a range before ours", "awsvpc", `{"containerPortRange":"9000-9326"}`, ""},
		{"a range after ours", "awsvpc", `{"containerPortRange":"9328-9400"}`, ""},
		{"a range of udp over ours", "awsvpc", `{"containerPortRange":"9000-9400","protocol":"udp"}`, ""},
		{"a range over ours in bridge mode", "bridge", `{"containerPortRange":"9000-9400"}`, ""},
		{"a range on the host", "host", `{"containerPortRange":"8000-8100"}`, "works with awsvpc and bridge only"},
		{"a range backwards", "awsvpc", `{"containerPortRange":"9400-9000"}`, "is not a range"},
		{"a range of one", "awsvpc", `{"containerPortRange":"9000-9000"}`, "is not a range"},
		{"a range of nothing", "awsvpc", `{"containerPortRange":"web"}`, "is not a range"},
		{"a range beyond the last port", "awsvpc", `{"containerPortRange":"65000-65536"}`, "is not a range"},
		{"a range from 0", "awsvpc", `{"containerPortRange":"0-10"}`, "is not a range"},
		{"a range with a port", "awsvpc", `{"containerPortRange":"8000-8100","containerPort":80}`, "both containerPort and containerPortRange"},
		{"a range with a host port", "awsvpc", `{"containerPortRange":"8000-8100","hostPort":80}`, "no host port"},
		{"the same host port", "awsvpc", `{"containerPort":80,"hostPort":80}`, ""},
		{"a host port of 0", "awsvpc", `{"containerPort":80,"hostPort":0}`, ""},
		{"another host port", "awsvpc", `{"containerPort":80,"hostPort":8080}`, "with awsvpc the host port is the container's"},
		{"another host port on the host", "host", `{"containerPort":80,"hostPort":8080}`, "with host the host port is the container's"},
		{"another host port in bridge mode", "bridge", `{"containerPort":80,"hostPort":8080}`, ""},
		{"one host port twice", "bridge", `{"containerPort":80,"hostPort":8080},{"containerPort":81,"hostPort":8080}`, "the host's port 8080"},
		{"one host port twice, tcp and udp", "bridge", `{"containerPort":80,"hostPort":8080},{"containerPort":81,"hostPort":8080,"protocol":"udp"}`, ""},
		{"the sidecar's host port", "bridge", `{"containerPort":80,"hostPort":9999}`, "refresher has the host's port 9999"},
		{"any host port twice", "bridge", `{"containerPort":80,"hostPort":0},{"containerPort":81,"hostPort":0}`, ""},
		{"a range with a sign", "awsvpc", `{"containerPortRange":"+9400-9500"}`, "is not a range"},
		{"the first port", "awsvpc", `{"containerPort":1}`, ""},
		{"the last port", "awsvpc", `{"containerPort":65535,"hostPort":65535}`, ""},
		{"port 0", "awsvpc", `{"containerPort":0}`, "0 is not a port of a container"},
		{"no port", "awsvpc", `{"protocol":"tcp"}`, "0 is not a port of a container"},
		{"port 0 with a host port", "bridge", `{"hostPort":80}`, "0 is not a port of a container"},
		{"a negative port", "awsvpc", `{"containerPort":-1}`, "-1 is not a port of a container"},
		{"a port beyond the last", "awsvpc", `{"containerPort":65536}`, "65536 is not a port of a container"},
		{"a port beyond the last on both sides", "awsvpc", `{"containerPort":70000,"hostPort":70000}`, "70000 is not a port of a container"},
		{"a host port beyond the last", "bridge", `{"containerPort":80,"hostPort":65536}`, "65536 is not a port"},
		{"a negative host port", "bridge", `{"containerPort":80,"hostPort":-1}`, "-1 is not a port"},
		{"a negative host port in awsvpc", "awsvpc", `{"containerPort":80,"hostPort":-1}`, "-1 is not a port"},
		{"the last host port", "bridge", `{"containerPort":80,"hostPort":65535}`, ""},
		{"one name twice", "awsvpc", `{"containerPort":80,"name":"web"},{"containerPort":81,"name":"web"}`, `app has a port mapping with the name "web"`},
		{"the name of another container's", "awsvpc", `{"containerPort":80,"name":"metrics"}`, `refresher has a port mapping with the name "metrics"`},
		{"two names", "awsvpc", `{"containerPort":80,"name":"web"},{"containerPort":81,"name":"Web"}`, ""},
		{"no names", "awsvpc", `{"containerPort":80,"name":""},{"containerPort":81,"name":""}`, ""},
		{"one port at two host ports", "bridge", `{"containerPort":80,"hostPort":8080},{"containerPort":80,"hostPort":8081}`, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			sidecar := `{"name":"refresher","image":"ecr-refresher:1","portMappings":[{"name":"metrics","containerPort":9327,"hostPort":` + map[bool]string{true: "9999", false: "9327"}[row.mode == "bridge"] + `}]}`
			doc := fmt.Sprintf(`{"networkMode":%q,"containerDefinitions":[%s,{"name":"app","portMappings":[%s]}]}`, row.mode, sidecar, row.mappings)
			c := checker{}
			if err := json.Unmarshal([]byte(doc), &c.definition); err != nil {
				t.Fatal(err)
			}
			c.ports()
			switch {
			case row.want == "" && len(c.findings) > 0, row.want != "" && len(c.findings) != 1:
				t.Errorf("%+v", c.findings)
			case row.want != "":
				if f := c.findings[0]; f.Level != Fail || !strings.Contains(f.What, row.want) || !strings.HasPrefix(f.Where, app) || !strings.HasSuffix(f.Cure, ".") {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// What a sidecar listens on is taken, whether it is mapped or not.
func TestPortThatIsListenedOn(t *testing.T) {
	for listen, want := range map[string]int{"": 9327, ":9400": 9400, "127.0.0.1:9400": 9400, "[::1]:9400": 9400, "[::]:80": 80, "unix": 0, ":x": 0, ":0": 0, ":70000": 0} {
		k := container{Environment: []pair{{"REFRESHER_LISTEN", listen}}}
		if _, port := k.listen(); port != want {
			t.Errorf("%q: %d", listen, port)
		}
	}
	run(t, "taskdef.json", "a port for the task alone, and another container's", []change{{side + ".portMappings", gone{}},
		{side + ".environment[1]", map[string]any{"name": "REFRESHER_LISTEN", "value": "127.0.0.1:9400"}}, {app + ".portMappings", []any{map[string]any{"containerPortRange": "9000-9500"}}}},
		[]string{"fail " + app + ".portMappings[0]"})
	run(t, "taskdef.json", "two containers, none of ours", []change{{app + ".portMappings", []any{map[string]any{"containerPort": 80}}},
		{".containerDefinitions[2]", map[string]any{"name": "x", "image": "x:1", "portMappings": []any{map[string]any{"containerPort": 80}}}}},
		[]string{"fail .containerDefinitions[2].portMappings[0]"})
}

func TestLinks(t *testing.T) {
	for mode, bad := range map[string]bool{"awsvpc": true, "host": true, "none": true, "bridge": false, "": false, "default": false} {
		c := checker{}
		c.NetworkMode, c.Containers = mode, []container{{Links: []string{"db"}}}
		if c.ports(); (len(c.findings) == 1) != bad {
			t.Errorf("%q: %+v", mode, c.findings)
		}
	}
	list := checker{}
	list.list, list.Containers = true, []container{{Links: []string{"db"}, PortMappings: []portMapping{{ContainerPort: 80, HostPort: 8080}}}}
	if list.ports(); len(list.findings) > 0 {
		t.Errorf("the network mode of a list is not known: %+v", list.findings)
	}
}

// inject refuses what is on its port, and names --port.
func TestInjectPorts(t *testing.T) {
	for _, row := range []struct {
		mode, mapping string
		o             Options
		want          string
	}{
		{"awsvpc", `{"containerPortRange":"9000-9400","protocol":"tcp"}`, Options{}, "app has the ports 9000-9400 already"},
		{"awsvpc", `{"containerPortRange":"9000-9400","protocol":"udp"}`, Options{}, ""},
		{"awsvpc", `{"containerPortRange":"9000-9400"}`, Options{Port: 9500}, ""},
		{"awsvpc", `{"containerPort":9327,"protocol":"udp"}`, Options{}, ""},
		{"awsvpc", `{"containerPort":9400}`, Options{Port: 9400}, "app has the port 9400 already"},
		{"host", `{"containerPort":9400}`, Options{Port: 9400}, "app has the port 9400 already"},
		{"bridge", `{"containerPort":9327}`, Options{}, ""},
		{"awsvpc", `{"containerPort":70000}`, Options{}, ""}, // reported: it was wrong before
	} {
		doc := `{"family":"f","networkMode":"` + row.mode + `","taskRoleArn":"arn:aws:iam::123456789012:role/t","containerDefinitions":[{"name":"app","image":"i:1","memory":64,"portMappings":[` + row.mapping + `]}]}`
		row.o.Image = image
		r := refusal(t, []byte(doc), row.o)
		if row.want == "" && r != nil || row.want != "" && (len(r) != 1 || !strings.Contains(r[0].What, row.want) || !strings.Contains(r[0].Cure, "--port")) {
			t.Errorf("%s %s: %q", row.mode, row.mapping, r)
		}
	}
}
