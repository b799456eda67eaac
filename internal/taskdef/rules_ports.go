package taskdef

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// claim is a range of ports that a container listens on.
type claim struct {
	first, last int
	protocol    string
	at          string // where the container says so, such as .portMappings[0]; empty for what a sidecar listens on without a mapping
}

func (a claim) overlaps(b claim) bool {
	return a.protocol == b.protocol && a.first <= b.last && b.first <= a.last
}

func (a claim) String() string {
	if a.first == a.last {
		return fmt.Sprintf("the port %d", a.first)
	}
	return fmt.Sprintf("the ports %d-%d", a.first, a.last)
}

// mode is the network mode. Fargate has one only; "default" is what is taken where there is none. Of a bare
// list of containers it is not known; most have awsvpc.
func (d *definition) mode() string {
	if d.list || d.fargate() {
		return "awsvpc"
	}
	if d.NetworkMode == "default" {
		return "bridge"
	}
	return cmp.Or(d.NetworkMode, "bridge")
}

// oneNetwork reports whether the containers of the task share one network, and so one set of ports.
func (d *definition) oneNetwork() bool { return d.mode() == "awsvpc" || d.mode() == "host" }

// claims returns the ports that a container listens on: those that it maps, and that of a sidecar of ours.
func (k container) claims() []claim {
	all := k.mapped()
	if _, port := k.listen(); k.refresher() && !k.once() && port > 0 {
		all = append(all, claim{port, port, "tcp", ""})
	}
	return all
}

// mapped returns the ports of a container's port mappings.
func (k container) mapped() (all []claim) {
	for j, p := range k.PortMappings {
		c := claim{p.ContainerPort, p.ContainerPort, p.protocol(), fmt.Sprintf(".portMappings[%d]", j)}
		if p.ContainerPortRange != "" {
			c.first, c.last, _ = portRange(p.ContainerPortRange)
		}
		if isPort(c.first) {
			all = append(all, c)
		}
	}
	return all
}

func (p portMapping) protocol() string { return strings.ToLower(cmp.Or(p.Protocol, "tcp")) }

const lastPort = 65535

// isPort reports whether a container can listen on a port with this number.
func isPort(n int) bool { return n >= 1 && n <= lastPort }

// portRange reads "9000-9400".
func portRange(s string) (first, last int, ok bool) {
	a, b, _ := strings.Cut(s, "-")
	low, err1 := strconv.ParseUint(a, 10, 16) // 16 bits: up to the last port, and without a sign
	high, err2 := strconv.ParseUint(b, 10, 16)
	if err1 != nil || err2 != nil || low < 1 || low >= high {
		return 0, 0, false
	}
	return int(low), int(high), true
}

// ports holds what the network mode allows: links, host ports, ranges, and each port once.
func (c *checker) ports() {
	mode := c.mode()
	for i, k := range c.Containers {
		if len(k.Links) > 0 && mode != "bridge" && !c.list {
			c.fail(path(i, ".links"), "links work with the network mode bridge only, not with "+mode,
				"Remove them: in awsvpc and host mode the others are at localhost.")
		}
		for j, p := range k.PortMappings {
			c.mapping(path(i, fmt.Sprintf(".portMappings[%d]", j)), p)
		}
	}
	for i, k := range c.Containers {
		for o := range c.Containers[:i] {
			c.collide(i, o)
		}
		for j, p := range k.PortMappings {
			c.hostPort(i, j, p)
			c.portName(i, j, p)
		}
	}
}

func (c *checker) mapping(at string, p portMapping) {
	mode := c.mode()
	if p.ContainerPortRange != "" {
		if _, _, ok := portRange(p.ContainerPortRange); !ok {
			c.fail(at+".containerPortRange", fmt.Sprintf("%q is not a range of ports", p.ContainerPortRange),
				"Write two ports from 1 to 65535, the lower one first, such as 9000-9100.")
		}
		switch {
		case p.ContainerPort != 0:
			c.fail(at, "both containerPort and containerPortRange are given", "Keep one of them.")
		case p.HostPort != 0:
			c.fail(at+".hostPort", "a range of ports has no host port: ECS chooses it", "Leave hostPort off.")
		case mode == "host" || mode == "none":
			c.fail(at+".containerPortRange", "a range of ports works with awsvpc and bridge only, not with "+mode,
				"List the ports one by one.")
		}
		return
	}
	switch {
	case !isPort(p.ContainerPort):
		c.fail(at+".containerPort", fmt.Sprintf("%d is not a port of a container", p.ContainerPort),
			fmt.Sprintf("Write a port from 1 to %d.", lastPort))
	case p.HostPort != 0 && !isPort(p.HostPort):
		c.fail(at+".hostPort", fmt.Sprintf("%d is not a port", p.HostPort),
			fmt.Sprintf("Write a port from 1 to %d, or 0 for any that is free.", lastPort))
	case c.oneNetwork() && !c.list && p.HostPort != 0 && p.HostPort != p.ContainerPort:
		c.fail(at+".hostPort", "with "+mode+" the host port is the container's", "Leave hostPort off.")
	}
}

// portName reports a name that two port mappings of the task have. Service Connect finds a port by its name.
func (c *checker) portName(i, j int, p portMapping) {
	if p.Name == "" {
		return
	}
	for o, other := range c.Containers[:i+1] {
		mappings := other.PortMappings
		if o == i {
			mappings = mappings[:j]
		}
		if slices.ContainsFunc(mappings, func(q portMapping) bool { return q.Name == p.Name }) {
			c.fail(path(i, fmt.Sprintf(".portMappings[%d].name", j)),
				fmt.Sprintf("%s has a port mapping with the name %q already", other.Name, p.Name),
				"Give every port mapping of the task a name of its own.")
			return
		}
	}
}

// collide reports a port that two containers of one network have, at the later one if that has a mapping
// for it.
func (c *checker) collide(i, o int) {
	if !c.oneNetwork() {
		return
	}
	k, other := c.Containers[i], c.Containers[o]
	for _, a := range k.claims() {
		for _, b := range other.claims() {
			if !a.overlaps(b) {
				continue
			}
			what := fmt.Sprintf("%s has %s, and %s has %s, in the network that all share", k.Name, a, other.Name, b)
			if a.at == "" {
				i, a = o, b
			}
			c.fail(path(i, a.at), what, "Give each container ports of its own.")
			return
		}
	}
}

// hostPort reports a port of the instance that two mappings want.
func (c *checker) hostPort(i, j int, p portMapping) {
	if c.mode() != "bridge" || !isPort(p.HostPort) {
		return
	}
	for o, other := range c.Containers[:i+1] {
		mappings := other.PortMappings
		if o == i {
			mappings = mappings[:j]
		}
		same := func(q portMapping) bool { return q.HostPort == p.HostPort && q.protocol() == p.protocol() }
		if slices.ContainsFunc(mappings, same) {
			c.fail(path(i, fmt.Sprintf(".portMappings[%d].hostPort", j)),
				fmt.Sprintf("%s has the host's port %d already", other.Name, p.HostPort),
				"Choose another one, or 0 for any that is free.")
			return
		}
	}
}

// listen returns the address that a sidecar listens on. The port is 0 where it cannot be read.
func (k container) listen() (host string, port int) {
	address, at := k.env("REFRESHER_LISTEN")
	if at < 0 || address == "" {
		return "", defaultPort
	}
	colon := strings.LastIndex(address, ":")
	if colon < 0 {
		return "", 0
	}
	port, err := strconv.Atoi(address[colon+1:])
	if err != nil || !isPort(port) {
		port = 0
	}
	return strings.Trim(address[:colon], "[]"), port
}
