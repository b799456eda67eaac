package registry

import (
	"strings"
	"testing"
)

// A region and a host of each partition.
var homes = []struct{ partition, region, host string }{
	{"aws", "us-west-2", "123456789012.dkr.ecr.us-west-2.amazonaws.com"},
	{"aws-cn", "cn-north-1", "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"},
	{"aws-us-gov", "us-gov-west-1", "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com"},
	{"aws-iso", "us-iso-east-1", "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov"},
	{"aws-iso-b", "us-isob-east-1", "123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov"},
	{"aws-iso-e", "eu-isoe-west-1", "123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk"},
	{"aws-iso-f", "us-isof-south-1", "123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov"},
	{"aws-eusc", "eusc-de-east-1", "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu"},
}

// Every registry against every role: equal partitions and nothing else.
func TestCheckPartition(t *testing.T) {
	for _, role := range homes {
		if got := PartitionOf(role.region); got != role.partition {
			t.Errorf("PartitionOf(%s) = %q", role.region, got)
		}
		arn := "arn:" + role.partition + ":iam::123456789012:role/app"
		if got := PartitionOfARN(arn); got != role.partition {
			t.Errorf("PartitionOfARN(%s) = %q", arn, got)
		}
		for _, home := range homes {
			for _, text := range []string{home.host, home.host + "?optional", "default?role_arn=arn:" + home.partition + ":iam::1234567890" + "12:role/x"} {
				spec, err := ParseSpec(text)
				if err != nil {
					t.Fatal(err)
				}
				err = CheckPartition([]Spec{spec}, role.partition)
				if (err == nil) != (home == role) {
					t.Errorf("%s for a role in %s: %v", text, role.partition, err)
				}
				if err != nil && (!strings.Contains(err.Error(), home.partition+",") || !strings.HasPrefix(strings.SplitAfter(err.Error(), "role is in ")[1], role.partition+";")) {
					t.Errorf("it does not name both partitions: %v", err)
				}
			}
		}
		public, err := ParseSpecs("public.ecr.aws ecr-public.aws.com?optional")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range public {
			if err := CheckPartition([]Spec{s}, role.partition); (err == nil) != (role.partition == "aws") {
				t.Errorf("%s for a role in %s: %v", s.Name, role.partition, err)
			}
		}
	}
	for name, row := range map[string]struct {
		specs, own string
		wrong      int
	}{
		"nothing is known":             {"default", "", 0},
		"the role is not known":        {homes[1].host, "", 0},
		"one role cannot have both":    {homes[0].host + " " + homes[1].host, "", 1},
		"behind one that says nothing": {"default " + homes[1].host + " " + homes[0].host + " public.ecr.aws", "", 2},
		"all at once":                  {homes[0].host + " " + homes[1].host + " " + homes[2].host, "aws", 2},
		"one partition":                {homes[0].host + " 123456789012.dkr.ecr.eu-west-1.amazonaws.com public.ecr.aws", "aws", 0},
	} {
		specs, err := ParseSpecs(row.specs)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := CheckPartition(specs, row.own); err != nil {
			n = 1 + strings.Count(err.Error(), "\n")
		}
		if n != row.wrong {
			t.Errorf("%s: %d problems", name, n)
		}
	}
	for _, text := range []string{"", "arn", "arn:", "arn:aws-mars:iam::1:role/a", "aws", "us-west-2a"} {
		if PartitionOf(text) != "" || PartitionOfARN(text) != "" {
			t.Errorf("%q has a partition", text)
		}
	}
}

func TestDualStackName(t *testing.T) {
	for host, want := range map[string]string{
		"123456789012.dkr.ecr.us-west-2.amazonaws.com":      "123456789012.dkr-ecr.us-west-2.on.aws",
		"123456789012.dkr.ecr-fips.us-west-2.amazonaws.com": "123456789012.dkr-ecr-fips.us-west-2.on.aws",
		"123456789012.dkr.ecr.us-gov-west-1.amazonaws.com":  "123456789012.dkr-ecr.us-gov-west-1.on.aws",
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":  "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
		"123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu":  "", // no name is known
		"123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov":     "",
		"123456789012.dkr-ecr.us-west-2.on.aws":             "", // is one
		"public.ecr.aws":                                    "ecr-public.aws.com",
		"ecr-public.aws.com":                                "",
		"api.ecr.us-west-2.amazonaws.com":                   "ACCOUNT.dkr-ecr.us-west-2.on.aws",
		"api.ecr-fips.us-west-2.amazonaws.com":              "ACCOUNT.dkr-ecr-fips.us-west-2.on.aws",
		"api.ecr.cn-north-1.amazonaws.com.cn":               "ACCOUNT.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
		"api.ecr-public.us-east-1.amazonaws.com":            "ecr-public.aws.com",
		"sts.eu-west-1.amazonaws.com":                       "ACCOUNT.dkr-ecr.eu-west-1.on.aws",
		"ecr.us-west-2.api.aws":                             "",
		"sts.us-west-2.api.aws":                             "",
		"127.0.0.1":                                         "",
		"registry.example.com":                              "",
		"api.ecr.us-west-2.amazonaws.com.fake.example":      "",
		"": "",
	} {
		got := DualStackName(host)
		if got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
		if got == "" || strings.HasPrefix(got, "ACCOUNT.") {
			continue
		}
		if h, err := ParseHost(got); err != nil || !h.DualStack {
			t.Errorf("%s is not a dual-stack name: %v", got, err)
		}
	}
}
