package sandbox

import (
	"net"
	"strings"
)

// partition is one of AWS's separate worlds.
type partition struct {
	id       string
	prefixes []string // of its regions' names: PREFIX-word-number
	suffix   string   // of API and registry hosts
	dual     string   // of dual-stack API hosts
	registry string   // of dual-stack registry hosts; empty where none is known
}

// partitions are all there are. No region is of two: us-gov-west-1 is not us-WORD-NUMBER.
func partitions() []partition {
	row := func(id, prefixes, suffix, dual, registry string) partition {
		return partition{id, strings.Fields(prefixes), suffix, dual, registry}
	}
	return []partition{
		row("aws", "us eu ap sa ca me af il mx", "amazonaws.com", "api.aws", "on.aws"),
		row("aws-cn", "cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn", "on.amazonwebservices.com.cn"),
		row("aws-us-gov", "us-gov", "amazonaws.com", "api.aws", "on.aws"),
		row("aws-eusc", "eusc-de", "amazonaws.eu", "api.amazonwebservices.eu", ""),
		row("aws-iso", "us-iso", "c2s.ic.gov", "api.aws.ic.gov", ""),
		row("aws-iso-b", "us-isob", "sc2s.sgov.gov", "api.aws.scloud", ""),
		row("aws-iso-e", "eu-isoe", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk", ""),
		row("aws-iso-f", "us-isof", "csp.hci.ic.gov", "api.aws.hci.ic.gov", ""),
	}
}

// partitionOf is the partition of a region; its id is empty when there is none.
func partitionOf(region string) partition {
	for _, p := range partitions() {
		for _, prefix := range p.prefixes {
			rest, ok := strings.CutPrefix(region, prefix+"-")
			word, number, cut := strings.Cut(rest, "-")
			if ok && cut && isAll(word, "abcdefghijklmnopqrstuvwxyz") && isAll(number, digits) {
				return p
			}
		}
	}
	return partition{}
}

const digits = "0123456789"

func isAll(s, chars string) bool { return s != "" && strings.Trim(s, chars) == "" }

// placeKind says what AWS runs behind a host name.
type placeKind int

const (
	anywhere      placeKind = iota // not a name of AWS: an address, a CNAME, a VPC endpoint
	apiPlace                       // an API endpoint
	registryPlace                  // a registry
	nowhere                        // a name under AWS's domains that does not exist, or that the sandbox does not know
)

// place is what a host name says.
type place struct {
	kind    placeKind
	service string // of an API: "ecr", "ecr-public", "sts"
	region  string // empty when the name does not tell
	account string // of a private registry
	public  bool   // the public registry
}

const (
	ecrPublicRegion = "us-east-1" // the only region of ECR Public's API
	stsGlobalRegion = "us-east-1" // what sts.amazonaws.com is signed for
)

// placeOf reads a host name, with or without a port.
func placeOf(hostport string) place {
	host := strings.ToLower(hostOnly(hostport))
	switch host {
	case "public.ecr.aws", "ecr-public.aws.com":
		return place{kind: registryPlace, public: true}
	case "sts.amazonaws.com":
		return place{kind: apiPlace, service: "sts", region: stsGlobalRegion}
	}
	if strings.HasPrefix(host, "vpce-") || strings.HasSuffix(host, ".vpce.amazonaws.com") {
		return place{kind: anywhere}
	}
	labels := strings.Split(host, ".")
	for i, label := range labels {
		p := partitionOf(label)
		if i == 0 || p.id == "" {
			continue
		}
		if pl, ok := placeIn(p, strings.Join(labels[:i], "."), label, strings.Join(labels[i+1:], ".")); ok {
			return pl
		}
	}
	if underAWS(host) {
		return place{kind: nowhere}
	}
	return place{kind: anywhere}
}

// placeIn reads head.region.suffix in the partition of the region.
func placeIn(p partition, head, region, suffix string) (place, bool) {
	plain, dual := suffix == p.suffix, suffix == p.dual
	switch {
	case plain && (head == "api.ecr" || head == "api.ecr-fips"),
		dual && (head == "ecr" || head == "ecr-fips" || head == "api.ecr" || head == "api.ecr-fips"):
		return place{kind: apiPlace, service: "ecr", region: region}, true
	case region == ecrPublicRegion && (plain && head == "api.ecr-public" || dual && (head == "ecr-public" || head == "api.ecr-public")):
		return place{kind: apiPlace, service: "ecr-public", region: region}, true
	case (plain || dual) && (head == "sts" || head == "sts-fips"):
		return place{kind: apiPlace, service: "sts", region: region}, true
	}
	account, rest, _ := strings.Cut(head, ".")
	if len(account) != 12 || !isAll(account, digits) {
		// A12.dkr-ecr has a dot behind the account as well, so nothing else is a registry.
		return place{}, false
	}
	known := false
	switch rest {
	case "dkr.ecr":
		known = plain || p.id == "aws-cn" && suffix == p.registry
	case "dkr.ecr-fips":
		known = plain
	case "dkr-ecr", "dkr-ecr-fips":
		known = p.registry != "" && suffix == p.registry
	}
	return place{kind: registryPlace, account: account, region: region}, known
}

func underAWS(host string) bool {
	for _, p := range partitions() {
		for _, suffix := range []string{p.suffix, p.dual, p.registry} {
			if suffix != "" && strings.HasSuffix(host, "."+suffix) {
				return true
			}
		}
	}
	return false
}

// registryHost is the name that ECR's answers give to an account's registry.
func registryHost(account, region string) string {
	return account + ".dkr.ecr." + region + "." + partitionOf(region).suffix
}

// hostOnly cuts a port off.
func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}
