// Package registry owns what the name of an ECR registry says (account, region,
// partition, private or public, FIPS, dual-stack) and what a --registry value may ask
// for besides. A Host or a Spec that came out of this package without an error is valid.
//
// It refuses to know everything that is not in the text: it does no I/O, reads no
// environment, asks no resolver whether a name exists, knows no AWS SDK, and has never
// heard of a token. "default" stays open until someone who knows the task calls Resolve.
package registry

import "strings"

// Host is what the name of an ECR registry says. Comparable.
type Host struct {
	Name      string // as written, e.g. 123456789012.dkr.ecr.us-west-2.amazonaws.com
	Account   string // 12 digits; empty for ECR Public
	Region    string // ECR Public: us-east-1 (its API is pinned there)
	Partition string // aws, aws-cn, aws-us-gov, aws-iso, aws-iso-b, aws-iso-e, aws-iso-f, aws-eusc

	Public, FIPS, DualStack bool
}

const (
	publicName     = "public.ecr.aws"
	publicDualName = "ecr-public.aws.com"
	publicRegion   = "us-east-1"

	maxName = 253 // bytes of a DNS name
)

// A partition is the part of AWS that a region belongs to. prefix decides: what follows
// it in a region must be WORD-NUMBER. dual is empty where no ECR host is known to have it.
type partition struct{ id, prefix, suffix, dual string }

// The table is constants only, so that it costs nothing at start. The last row is every
// other region: two letters, then WORD-NUMBER; new ones work without a release.
var partitions = [...]partition{
	{"aws-cn", "cn-", "amazonaws.com.cn", "on.amazonwebservices.com.cn"},
	{"aws-us-gov", "us-gov-", "amazonaws.com", "on.aws"},
	{"aws-iso", "us-iso-", "c2s.ic.gov", ""},
	{"aws-iso-b", "us-isob-", "sc2s.sgov.gov", ""},
	{"aws-iso-e", "eu-isoe-", "cloud.adc-e.uk", ""},
	{"aws-iso-f", "us-isof-", "csp.hci.ic.gov", ""},
	{"aws-eusc", "eusc-", "amazonaws.eu", ""},
	{"aws", "", "amazonaws.com", "on.aws"},
}

// ParseHost reads a bare host name. Each refusal says what is wrong and shows a right name.
func ParseHost(name string) (Host, error) {
	h, r := parseHost(name)
	if r != nil {
		return Host{}, r.of(name)
	}
	return h, nil
}

// PrivateHost is the standard host (not FIPS, not dual-stack) of an account in a region.
func PrivateHost(account, region string) (Host, error) {
	if why := accountProblem(account); why != "" {
		return Host{}, (&refusal{why: why, form: "ACCOUNT", example: exampleAccount}).of(account)
	}
	if err := CheckRegion(region); err != nil {
		return Host{}, err
	}
	p, _ := partitionOf(region)
	return Host{
		Name:      account + ".dkr.ecr." + region + "." + p.suffix,
		Account:   account,
		Region:    region,
		Partition: p.id,
	}, nil
}

// CheckRegion returns what is wrong with the name of a region.
func CheckRegion(name string) error {
	if _, why := partitionOf(name); why != "" {
		return (&refusal{why: why, form: "REGION", example: "us-west-2"}).of(name)
	}
	return nil
}

func parseHost(name string) (Host, *refusal) {
	if r := notBare(name); r != nil {
		return Host{}, r
	}
	switch name {
	case publicName, publicDualName:
		return Host{Name: name, Region: publicRegion, Partition: "aws", Public: true, DualStack: name == publicDualName}, nil
	}

	account, rest, _ := strings.Cut(name, ".")
	service, rest, ok := cutService(rest)
	if !ok {
		return Host{}, notECR(name)
	}
	if why := accountProblem(account); why != "" {
		return Host{}, refuse(why)
	}
	region, suffix, _ := strings.Cut(rest, ".")
	p, why := partitionOf(region)
	if why != "" {
		if _, ended := knownSuffix(rest); ended {
			why = "the region is missing"
		}
		return Host{}, refuse(why)
	}

	dashed, fips := strings.HasPrefix(service, "dkr-"), strings.HasSuffix(service, "-fips")
	standard := func() string {
		return account + "." + strings.Replace(service, "dkr-", "dkr.", 1) + "." + region + "." + p.suffix
	}
	h := Host{Name: name, Account: account, Region: region, Partition: p.id, FIPS: fips}
	switch suffix {
	case "":
		return Host{}, refuse("the name ends after the region").try(standard())
	case p.suffix:
		if dashed {
			why := "dkr-ecr belongs to the dual-stack names"
			if p.dual != "" {
				why += " (ending in " + p.dual + ")"
			}
			return Host{}, refuse(why + ", not to " + p.suffix).try(standard())
		}
		return h, nil
	case p.dual:
		if !dashed && p.id != "aws-cn" {
			return Host{}, refuse("a dual-stack name (ending in " + p.dual + ") has dkr-ecr, not dkr.ecr").
				try(strings.Replace(name, ".dkr.ecr", ".dkr-ecr", 1))
		}
		h.DualStack = true
		return h, nil
	}

	known, exact := knownSuffix(suffix)
	switch {
	case exact:
		return Host{}, refuse("region " + region + " is in partition " + p.id + ", whose names end in " + p.suffixes() + ", not in " + known).try(standard())
	case known != "":
		return Host{}, refuse("the name goes on after " + known + ", so it belongs to someone else than AWS").try(standard())
	}
	return Host{}, refuse("its end is not one of AWS's; names in region " + region + " end in " + p.suffixes()).try(standard())
}

// cutService takes the service labels off the name: dkr.ecr, dkr-ecr, each also with -fips.
func cutService(s string) (service, rest string, ok bool) {
	for _, service := range [...]string{"dkr.ecr", "dkr.ecr-fips", "dkr-ecr", "dkr-ecr-fips"} {
		if s == service {
			return service, "", true
		}
		if rest, ok := strings.CutPrefix(s, service+"."); ok {
			return service, rest, true
		}
	}
	return "", "", false
}

func (p partition) suffixes() string {
	if p.dual == "" {
		return p.suffix
	}
	return p.suffix + " or " + p.dual
}

// knownSuffix says which of AWS's suffixes s is (exact), or begins with (as in
// amazonaws.com.fake.example). The longest wins: amazonaws.com.cn begins with amazonaws.com.
func knownSuffix(s string) (suffix string, exact bool) {
	for _, p := range partitions {
		for _, known := range [...]string{p.suffix, p.dual} {
			if known == "" {
				continue
			}
			if s == known {
				return known, true
			}
			if strings.HasPrefix(s, known+".") && len(known) > len(suffix) {
				suffix = known
			}
		}
	}
	return suffix, false
}

func accountProblem(account string) string {
	switch n := len(account); {
	case n == 0:
		return "the account is missing"
	case !all(account, isDigit):
		return "the account must have 12 digits and nothing else"
	case n != 12:
		return "the account must have 12 digits (" + itoa(n) + " given)"
	}
	return ""
}

// partitionOf places a region, or says why the word is not one.
func partitionOf(region string) (partition, string) {
	if region == "" {
		return partition{}, "the region is missing"
	}
	for _, p := range partitions {
		rest, ok := strings.CutPrefix(region, p.prefix)
		if !ok {
			continue
		}
		if p.id == "aws" || p.id == "aws-eusc" { // both go on with two letters
			if len(rest) < 3 || !all(rest[:2], isLower) || rest[2] != '-' {
				break
			}
			rest = rest[3:]
		}
		if wordNumber(rest) {
			return p, ""
		}
		break
	}
	if n := len(region) - 1; n > 0 && isLower(region[n]) && isDigit(region[n-1]) {
		if _, why := partitionOf(region[:n]); why == "" {
			return partition{}, quote(region) + " is an availability zone; its region is " + region[:n]
		}
	}
	return partition{}, quote(region) + " does not look like an AWS region (such as us-west-2 or us-gov-west-1)"
}

// wordNumber: letters, a hyphen, then 1 to 99 without a leading zero.
func wordNumber(s string) bool {
	word, number, ok := strings.Cut(s, "-")
	return ok && len(word) >= 2 && len(word) <= 20 && all(word, isLower) &&
		(len(number) == 1 || len(number) == 2) && all(number, isDigit) && number[0] != '0'
}
