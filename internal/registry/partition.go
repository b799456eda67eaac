package registry

import (
	"errors"
	"fmt"
	"strings"
)

// PartitionOf is the partition of a region, such as aws-cn; empty where the word is not a region.
func PartitionOf(region string) string {
	p, why := partitionOf(region)
	if why != "" {
		return ""
	}
	return p.id
}

// PartitionOfARN is the partition that an ARN names; empty where it is not an ARN, or of a partition that is not known.
func PartitionOfARN(arn string) string {
	if !strings.HasPrefix(arn, "arn:") || !knownPartition(rolePartition(arn)) {
		return ""
	}
	return rolePartition(arn)
}

// CheckPartition refuses registries, and roles, of another partition than that of the role that asks for their tokens: each
// partition has credentials of its own, which the others do not know. Where own is empty the role is not known; then all must
// be in the partition of the first.
func CheckPartition(specs []Spec, own string) error {
	where := "the task's role is in " + own
	var errs []error
	for _, s := range specs {
		of, what := s.Host.Partition, "it"
		switch {
		case s.Name == DefaultName && s.Host.Region != "":
			what = "its region " + s.Host.Region
		case of == "" && len(s.Identity.Roles) > 0: // "default", whose host is not known yet; a role has to be in its partition
			of, what = rolePartition(s.Identity.Roles[0]), "its role_arn"
		}
		switch {
		case of == "" || of == own:
		case own == "":
			own, where = of, quote(s.Name)+" is in "+of
		default:
			errs = append(errs, s.wrap(fmt.Errorf("%s is in partition %s, and %s; the credentials of a partition are not known in another, "+
				"so run a refresher in each", what, of, where)))
		}
	}
	return errors.Join(errs...)
}

// DualStackName is the name of a registry that has IPv6 addresses too, for a host of AWS: of the registry itself, or of an API,
// which says the region only. It is empty where there is none, or where the host is a dual-stack one already.
func DualStackName(host string) string {
	if h, err := ParseHost(host); err == nil {
		switch {
		case h.DualStack:
			return ""
		case h.Public:
			return publicDualName
		}
		return dualStack(h.Account, h.Region, h.FIPS)
	}
	if strings.HasPrefix(host, "api.ecr-public.") {
		return publicDualName
	}
	service, rest, _ := strings.Cut(strings.TrimPrefix(host, "api."), ".")
	region, suffix, _ := strings.Cut(rest, ".")
	if p, why := partitionOf(region); why != "" || p.suffix != suffix {
		return ""
	}
	return dualStack("ACCOUNT", region, strings.HasSuffix(service, "-fips"))
}

func dualStack(account, region string, fips bool) string {
	p, why := partitionOf(region)
	if why != "" || p.dual == "" {
		return ""
	}
	service := "dkr-ecr"
	if fips {
		service += "-fips"
	}
	return account + "." + service + "." + region + "." + p.dual
}
