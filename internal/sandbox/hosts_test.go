package sandbox

import "testing"

func TestPlaceOf(t *testing.T) {
	for host, want := range map[string]place{
		"api.ecr.us-west-2.amazonaws.com":                             {kind: apiPlace, service: "ecr", region: "us-west-2"},
		"API.ECR.us-west-2.amazonaws.com:443":                         {kind: apiPlace, service: "ecr", region: "us-west-2"},
		"ecr.us-west-2.api.aws":                                       {kind: apiPlace, service: "ecr", region: "us-west-2"},
		"api.ecr-fips.us-gov-west-1.amazonaws.com":                    {kind: apiPlace, service: "ecr", region: "us-gov-west-1"},
		"ecr-fips.us-east-1.api.aws":                                  {kind: apiPlace, service: "ecr", region: "us-east-1"},
		"ecr.cn-north-1.api.amazonwebservices.com.cn":                 {kind: apiPlace, service: "ecr", region: "cn-north-1"},
		"api.ecr.us-iso-east-1.c2s.ic.gov":                            {kind: apiPlace, service: "ecr", region: "us-iso-east-1"},
		"api.ecr-public.us-east-1.amazonaws.com":                      {kind: apiPlace, service: "ecr-public", region: "us-east-1"},
		"ecr-public.us-east-1.api.aws":                                {kind: apiPlace, service: "ecr-public", region: "us-east-1"},
		"api.ecr-public.us-west-2.amazonaws.com":                      {kind: nowhere},
		"sts.amazonaws.com":                                           {kind: apiPlace, service: "sts", region: "us-east-1"},
		"sts.eu-central-1.amazonaws.com":                              {kind: apiPlace, service: "sts", region: "eu-central-1"},
		"sts-fips.us-east-2.amazonaws.com":                            {kind: apiPlace, service: "sts", region: "us-east-2"},
		"123456789012.dkr.ecr.us-west-2.amazonaws.com":                {kind: registryPlace, account: "123456789012", region: "us-west-2"},
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":            {kind: registryPlace, account: "123456789012", region: "cn-north-1"},
		"123456789012.dkr-ecr.us-west-2.on.aws":                       {kind: registryPlace, account: "123456789012", region: "us-west-2"},
		"123456789012.dkr.ecr.cn-north-1.on.amazonwebservices.com.cn": {kind: registryPlace, account: "123456789012", region: "cn-north-1"},
		"123456789012.dkr.ecr.us-west-2.on.aws":                       {kind: nowhere},
		"12345678901.dkr.ecr.us-west-2.amazonaws.com":                 {kind: nowhere},
		"12345678901x.dkr.ecr.us-west-2.amazonaws.com":                {kind: nowhere},
		"123456789012.dkr.ecr.us-west-2.amazonaws.com.cn":             {kind: nowhere},
		"api.ecr.cn-north-1.amazonaws.com":                            {kind: nowhere},
		"ecr.us-west-2.amazonaws.com":                                 {kind: nowhere},
		"public.ecr.aws":                                              {kind: registryPlace, public: true},
		"ecr-public.aws.com":                                          {kind: registryPlace, public: true},
		"vpce-0a.dkr.ecr.us-west-2.vpce.amazonaws.com":                {kind: anywhere},
		"127.0.0.1:8080":                                              {kind: anywhere},
		"[::1]:8080":                                                  {kind: anywhere},
		"localhost":                                                   {kind: anywhere},
		"123456789012.dkr.ecr.us-west-2.amazonaws.com.evil.example":   {kind: anywhere},
	} {
		if got := placeOf(host); got != want {
			t.Errorf("%s: %+v, want %+v", host, got, want)
		}
	}
}
