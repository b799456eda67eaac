package token

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"ecr-refresher/internal/registry"
)

// NoIPv4 reports whether a host was not reached because there is no route to its IPv4 address: as in a subnet that has IPv6 only.
// A route that leads nowhere, as without NAT, is a timeout.
func NoIPv4(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" { // of a proxy it says nothing about the host
		return false
	}
	if at, ok := op.Addr.(*net.TCPAddr); ok && at != nil {
		if ip, ok := netip.AddrFromSlice(at.IP); ok && !ip.Unmap().Is4() {
			return false
		}
	}
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH)
}

// noIPv4Cure names the registry's dual-stack name, by which its API and STS are reached over IPv6, too.
func noIPv4Cure(host string) string {
	cure := "see the route table of the task's subnet: it has no route to an IPv4 address"
	if dual := registry.DualStackName(host); dual != "" {
		cure = "a task without IPv4 needs the dual-stack name of the registry: " + dual +
			" (--registry and image names); a task with IPv4, a route in its subnet's route table"
	}
	return cure
}
