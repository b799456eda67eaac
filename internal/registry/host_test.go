package registry

import (
	"strings"
	"testing"
)

// Not the account of the examples in messages: a correction must be told from an example.
const acct = "111122223333"

func private(name, region, partition string) Host {
	return Host{Name: name, Account: name[:12], Region: region, Partition: partition}
}

func fips(h Host) Host { h.FIPS = true; return h }
func dual(h Host) Host { h.DualStack = true; return h }

// acceptedHosts: every form, every partition.
var acceptedHosts = []Host{
	private(acct+".dkr.ecr.us-west-2.amazonaws.com", "us-west-2", "aws"),
	private(acct+".dkr.ecr.us-east-1.amazonaws.com", "us-east-1", "aws"),
	private("000000000000.dkr.ecr.us-east-2.amazonaws.com", "us-east-2", "aws"),
	private("999999999999.dkr.ecr.eu-central-1.amazonaws.com", "eu-central-1", "aws"),
	private(acct+".dkr.ecr.eu-central-2.amazonaws.com", "eu-central-2", "aws"),
	private(acct+".dkr.ecr.ap-southeast-7.amazonaws.com", "ap-southeast-7", "aws"),
	private(acct+".dkr.ecr.ap-northeast-3.amazonaws.com", "ap-northeast-3", "aws"),
	private(acct+".dkr.ecr.af-south-1.amazonaws.com", "af-south-1", "aws"),
	private(acct+".dkr.ecr.me-central-1.amazonaws.com", "me-central-1", "aws"),
	private(acct+".dkr.ecr.il-central-1.amazonaws.com", "il-central-1", "aws"),
	private(acct+".dkr.ecr.mx-central-1.amazonaws.com", "mx-central-1", "aws"),
	private(acct+".dkr.ecr.ca-west-1.amazonaws.com", "ca-west-1", "aws"),
	private(acct+".dkr.ecr.sa-east-1.amazonaws.com", "sa-east-1", "aws"),
	private(acct+".dkr.ecr.nz-north-1.amazonaws.com", "nz-north-1", "aws"),       // no such region yet
	private(acct+".dkr.ecr.ap-central-99.amazonaws.com", "ap-central-99", "aws"), // the largest number
	private(acct+".dkr.ecr.us-gov-west-1.amazonaws.com", "us-gov-west-1", "aws-us-gov"),
	private(acct+".dkr.ecr.us-gov-east-1.amazonaws.com", "us-gov-east-1", "aws-us-gov"),
	private(acct+".dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", "aws-cn"),
	private(acct+".dkr.ecr.cn-northwest-1.amazonaws.com.cn", "cn-northwest-1", "aws-cn"),
	private(acct+".dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1", "aws-iso"),
	private(acct+".dkr.ecr.us-iso-west-1.c2s.ic.gov", "us-iso-west-1", "aws-iso"),
	private(acct+".dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1", "aws-iso-b"),
	private(acct+".dkr.ecr.us-isob-west-1.sc2s.sgov.gov", "us-isob-west-1", "aws-iso-b"),
	private(acct+".dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "eu-isoe-west-1", "aws-iso-e"),
	private(acct+".dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "us-isof-south-1", "aws-iso-f"),
	private(acct+".dkr.ecr.us-isof-east-1.csp.hci.ic.gov", "us-isof-east-1", "aws-iso-f"),
	private(acct+".dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", "aws-eusc"),
	private(acct+".dkr.ecr.eusc-fr-south-2.amazonaws.eu", "eusc-fr-south-2", "aws-eusc"),

	fips(private(acct+".dkr.ecr-fips.us-west-2.amazonaws.com", "us-west-2", "aws")),
	fips(private(acct+".dkr.ecr-fips.us-east-1.amazonaws.com", "us-east-1", "aws")),
	fips(private(acct+".dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1", "aws-us-gov")),
	fips(private(acct+".dkr.ecr-fips.us-iso-east-1.c2s.ic.gov", "us-iso-east-1", "aws-iso")),

	dual(private(acct+".dkr-ecr.us-west-2.on.aws", "us-west-2", "aws")),
	dual(private(acct+".dkr-ecr.eu-west-1.on.aws", "eu-west-1", "aws")),
	dual(private(acct+".dkr-ecr.us-gov-east-1.on.aws", "us-gov-east-1", "aws-us-gov")),
	dual(private(acct+".dkr.ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1", "aws-cn")),
	dual(private(acct+".dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1", "aws-cn")),
	dual(private(acct+".dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn", "cn-northwest-1", "aws-cn")),

	fips(dual(private(acct+".dkr-ecr-fips.us-west-2.on.aws", "us-west-2", "aws"))),
	fips(dual(private(acct+".dkr-ecr-fips.us-gov-west-1.on.aws", "us-gov-west-1", "aws-us-gov"))),
	fips(dual(private(acct+".dkr-ecr-fips.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1", "aws-cn"))),

	{Name: "public.ecr.aws", Region: "us-east-1", Partition: "aws", Public: true},
	{Name: "ecr-public.aws.com", Region: "us-east-1", Partition: "aws", Public: true, DualStack: true},
}

func TestParseHostAccepts(t *testing.T) {
	for _, want := range acceptedHosts {
		got, err := ParseHost(want.Name)
		if err != nil {
			t.Errorf("%s: refused: %v", want.Name, err)
			continue
		}
		if got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", want.Name, got, want)
		}
	}
	if len(acceptedHosts) < 40 {
		t.Errorf("%d rows", len(acceptedHosts))
	}
}

const std = acct + ".dkr.ecr.us-west-2.amazonaws.com"

// refusedHosts: the name, what the message must say, and the host it must offer.
var refusedHosts = []struct{ name, why, offers string }{
	// not a bare name
	{"", "the name is empty", exampleHost},
	{"https://" + std, "that is a URL (\"https\"); give the host alone", std},
	{"http://" + std + "/", "that is a URL", std},
	{"HTTPS://" + strings.ToUpper(std) + "/v2/", "that is a URL", std},
	{"https://AWS:s3cret@" + std + "/v2/", "that is a URL", std},
	{"https://" + std + "?a=b", "that is a URL", std},
	{"https://docker.io", "that is a URL", exampleHost},
	{"https://https://" + std, "that is a URL", exampleHost},
	{std + ":443", "has no port or tag", std},
	{std + ":latest", "has no port or tag", std},
	{std + ":", "has no port or tag", std},
	{"::1", "IP address", exampleHost},
	{"[::1]:5000", "IP address", exampleHost},
	{std + "/app:tag", "a host with a path, as in an image name", std},
	{std + "/", "a host with a path", std},
	{std + "/app@sha256:0123", "a host with a path", std},
	{"AWS:s3cret@" + std + "/app", "without user name or path", std},
	{"//" + std, "give the host alone", std},
	{"AWS@" + std, "a user name does not belong here", std},
	{"AWS:s3cret@" + std, "a user name does not belong here", std},
	{std + ".", "leave the dot off", std},
	{std + "..", "nothing between two dots", exampleHost},
	{"." + std, "nothing between two dots", exampleHost},
	{acct + "..dkr.ecr.us-west-2.amazonaws.com", "nothing between two dots", exampleHost},
	{acct + ".dkr.ecr..amazonaws.com", "nothing between two dots", exampleHost},
	{" " + std, "white space", std},
	{std + "\n", "white space", std},
	{acct + ".dkr.ecr.us-west-2. amazonaws.com", "white space", exampleHost},
	{"docker login " + std, "white space", exampleHost},
	{std + "\x00", "control character", exampleHost},
	{"\x7f" + std, "control character", exampleHost},
	{"\x1b[31m" + std, "control character", exampleHost},
	{std + "\u00a0", `'\u00a0' is not ASCII`, exampleHost},
	{acct + ".dkr.ecr.us-west-2.\u0430mazonaws.com", `'\u0430' is not ASCII`, exampleHost}, // Cyrillic a
	{acct + ".dkr.ecr.us-west-2.amazonaws\u3002com", `'\u3002' is not ASCII`, exampleHost}, // ideographic full stop
	{"\uff11" + std[1:], `'\uff11' is not ASCII`, exampleHost},                             // a digit for unicode, not for AWS
	{std + "\xff", "is not text", exampleHost},
	{strings.ToUpper(std), "only lower case works", std},
	{acct + ".dkr.ecr.US-West-2.amazonaws.com", "only lower case works", std},
	{"Public.ECR.aws", "only lower case works", "public.ecr.aws"},
	{acct + ".dkr.ecr.us_west_2.amazonaws.com", `the character "_"`, exampleHost},
	{"*.dkr.ecr.us-west-2.amazonaws.com", `the character "*"`, exampleHost},
	{std + "," + std, `the character ","`, exampleHost},
	{std + "%2e", `the character "%"`, exampleHost},
	{strings.Repeat("a.", 126) + "aa", "at most 253 bytes (254 given)", exampleHost},
	// the account
	{"12345.dkr.ecr.us-west-2.amazonaws.com", "the account must have 12 digits (5 given); expected " + exampleForm, exampleHost},
	{"12345678901.dkr.ecr.us-west-2.amazonaws.com", "12 digits (11 given)", exampleHost},
	{"1234567890123.dkr.ecr.us-west-2.amazonaws.com", "12 digits (13 given)", exampleHost},
	{"12345678901a.dkr.ecr.us-west-2.amazonaws.com", "12 digits and nothing else", exampleHost},
	{"1234-5678-9012.dkr.ecr.us-west-2.amazonaws.com", "12 digits and nothing else", exampleHost},
	{"dkr.ecr.us-west-2.amazonaws.com", "the account is missing", exampleHost},
	{"account.dkr.ecr.us-west-2.amazonaws.com", "12 digits and nothing else", exampleHost},
	// the service
	{acct + ".ecr.us-west-2.amazonaws.com", "not the name of an ECR registry", exampleHost},
	{acct + ".dkr.ecrfips.us-west-2.amazonaws.com", "after the account comes", exampleHost},
	{acct + ".dkr.ecr-fipsy.us-west-2.amazonaws.com", "after the account comes", exampleHost},
	{acct + ".dkr_ecr.us-west-2.amazonaws.com", `the character "_"`, exampleHost},
	{"api.ecr.us-west-2.amazonaws.com", "that is the API of ECR", exampleHost},
	{"ecr.us-west-2.api.aws", "that is the API of ECR", exampleHost},
	{"docker.io", "not the name of an ECR registry", exampleHost},
	{"localhost", "not the name of an ECR registry", exampleHost},
	{"default", "not the name of an ECR registry", exampleHost},
	{acct, "not the name of an ECR registry", exampleHost},
	// the region
	{acct + ".dkr.ecr", "the region is missing", exampleHost},
	{acct + ".dkr.ecr.amazonaws.com", "the region is missing", exampleHost},
	{acct + ".dkr-ecr.on.aws", "the region is missing", exampleHost},
	{acct + ".dkr.ecr.us-west-2a.amazonaws.com", `"us-west-2a" is an availability zone; its region is us-west-2`, exampleHost},
	{acct + ".dkr.ecr.us-west-2-lax-1a.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.us-west.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.uswest2.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.us-west-0.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.us-west-02.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.us-west-100.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.-west-2.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.usxwest-2.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.u-west-2.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.usa-west-2.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.us--2.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.us-w-2.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.us-" + strings.Repeat("w", 21) + "-2.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.us-gov-1.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.us-gvo-west-1.amazonaws.com", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.eusc-east-1.amazonaws.eu", "does not look like an AWS region", exampleHost},
	{acct + ".dkr.ecr.cn-north-1a.amazonaws.com.cn", "is an availability zone; its region is cn-north-1", exampleHost},
	// the end
	{acct + ".dkr.ecr.us-west-2", "ends after the region", std},
	{acct + ".dkr.ecr.us-iso-east-1", "ends after the region", acct + ".dkr.ecr.us-iso-east-1.c2s.ic.gov"},
	{acct + ".dkr-ecr-fips.us-west-2", "ends after the region", acct + ".dkr.ecr-fips.us-west-2.amazonaws.com"},
	{std + ".fake.example", "the name goes on after amazonaws.com, so it belongs to someone else", std},
	{std + ".evil", "goes on after amazonaws.com,", std},
	{acct + ".dkr.ecr.cn-north-1.amazonaws.com.cn.evil", "goes on after amazonaws.com.cn,", acct + ".dkr.ecr.cn-north-1.amazonaws.com.cn"},
	{acct + ".dkr-ecr.us-west-2.on.aws.evil", "goes on after on.aws,", std},
	{acct + ".dkr.ecr.us-west-2.fakeamazonaws.com", "its end is not one of AWS's", std},
	{acct + ".dkr.ecr.us-west-2.amazonaws.com-x", "its end is not one of AWS's", std},
	{acct + ".dkr.ecr.us-west-2.amazonaws.co", "its end is not one of AWS's", std},
	{acct + ".dkr.ecr.us-west-2.x.amazonaws.com", "its end is not one of AWS's", std},
	{acct + ".dkr.ecr.us-west-2.aws", "its end is not one of AWS's", std},
	{acct + ".dkr.ecr.us-west-2.amazonaws.com.cn", "region us-west-2 is in partition aws, whose names end in amazonaws.com or on.aws, not in amazonaws.com.cn", std},
	{acct + ".dkr.ecr.cn-north-1.amazonaws.com", "region cn-north-1 is in partition aws-cn", acct + ".dkr.ecr.cn-north-1.amazonaws.com.cn"},
	{acct + ".dkr-ecr.cn-north-1.on.aws", "is in partition aws-cn", acct + ".dkr.ecr.cn-north-1.amazonaws.com.cn"},
	{acct + ".dkr-ecr.us-west-2.on.amazonwebservices.com.cn", "is in partition aws,", std},
	{acct + ".dkr.ecr.us-gov-west-1.amazonaws.com.cn", "is in partition aws-us-gov", acct + ".dkr.ecr.us-gov-west-1.amazonaws.com"},
	{acct + ".dkr.ecr.us-iso-east-1.amazonaws.com", "is in partition aws-iso,", acct + ".dkr.ecr.us-iso-east-1.c2s.ic.gov"},
	{acct + ".dkr.ecr.us-iso-east-1.sc2s.sgov.gov", "is in partition aws-iso,", acct + ".dkr.ecr.us-iso-east-1.c2s.ic.gov"},
	{acct + ".dkr.ecr.us-isob-east-1.c2s.ic.gov", "is in partition aws-iso-b", acct + ".dkr.ecr.us-isob-east-1.sc2s.sgov.gov"},
	{acct + ".dkr.ecr.eu-isoe-west-1.csp.hci.ic.gov", "is in partition aws-iso-e", acct + ".dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk"},
	{acct + ".dkr.ecr.us-isof-south-1.cloud.adc-e.uk", "is in partition aws-iso-f", acct + ".dkr.ecr.us-isof-south-1.csp.hci.ic.gov"},
	{acct + ".dkr.ecr.eusc-de-east-1.amazonaws.com", "is in partition aws-eusc", acct + ".dkr.ecr.eusc-de-east-1.amazonaws.eu"},
	{acct + ".dkr.ecr.eu-west-1.amazonaws.eu", "is in partition aws,", acct + ".dkr.ecr.eu-west-1.amazonaws.com"},
	{acct + ".dkr-ecr.eusc-de-east-1.on.aws", "is in partition aws-eusc", acct + ".dkr.ecr.eusc-de-east-1.amazonaws.eu"},
	{acct + ".dkr-ecr.us-west-2.amazonaws.com", "dkr-ecr belongs to the dual-stack names (ending in on.aws)", std},
	{acct + ".dkr-ecr-fips.us-west-2.amazonaws.com", "dkr-ecr belongs to the dual-stack names", acct + ".dkr.ecr-fips.us-west-2.amazonaws.com"},
	{acct + ".dkr-ecr.us-iso-east-1.c2s.ic.gov", "dkr-ecr belongs to the dual-stack names, not to c2s.ic.gov", acct + ".dkr.ecr.us-iso-east-1.c2s.ic.gov"},
	{acct + ".dkr.ecr.us-west-2.on.aws", "has dkr-ecr, not dkr.ecr", acct + ".dkr-ecr.us-west-2.on.aws"},
	{acct + ".dkr.ecr-fips.us-west-2.on.aws", "has dkr-ecr, not dkr.ecr", acct + ".dkr-ecr-fips.us-west-2.on.aws"},
	// ECR Public
	{"public.ecr.aws.fake.example", "not a name of ECR Public", "public.ecr.aws"},
	{"x.public.ecr.aws", "not a name of ECR Public", "public.ecr.aws"},
	{"gallery.ecr.aws", "not a name of ECR Public", "public.ecr.aws"},
	{"ecr-public.amazonaws.com", "not a name of ECR Public", "public.ecr.aws"},
	{"api.ecr-public.us-east-1.amazonaws.com", "not a name of ECR Public", "public.ecr.aws"},
	{"public.ecr.aws/nginx", "a host with a path", "public.ecr.aws"},
}

func TestParseHostRefuses(t *testing.T) {
	for _, row := range refusedHosts {
		got, err := ParseHost(row.name)
		if err == nil {
			t.Errorf("%q: accepted as %+v", row.name, got)
			continue
		}
		if got != (Host{}) {
			t.Errorf("%q: a Host beside the error: %+v", row.name, got)
		}
		if !strings.Contains(err.Error(), row.why) {
			t.Errorf("%q:\n  got %v\n want …%s…", row.name, err, row.why)
		}
		if last := offered(err); last != row.offers {
			t.Errorf("%q: offers %q, want %q", row.name, last, row.offers)
		}
		checkMessage(t, row.name, err)
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: the message repeats a password: %v", row.name, err)
		}
	}
	if len(refusedHosts) < 40 {
		t.Errorf("%d rows", len(refusedHosts))
	}
}

// offered is the last word of a message: the host that would be right.
func offered(err error) string {
	msg := err.Error()
	return msg[strings.LastIndexByte(msg, ' ')+1:]
}

// The exact words, once, as a reader sees them.
func TestRefusalText(t *testing.T) {
	for in, want := range map[string]string{
		"12345.dkr.ecr.us-west-2.amazonaws.com": `"12345.dkr.ecr.us-west-2.amazonaws.com": the account must have 12 digits (5 given); expected ACCOUNT.dkr.ecr.REGION.amazonaws.com, for example 123456789012.dkr.ecr.us-west-2.amazonaws.com`,
		"https://u:pw@" + std + "/v2/":          `"...@` + std + `/v2/": that is a URL ("https"); give the host alone; write ` + std,
		strings.Repeat("x", 300):                `"` + strings.Repeat("x", 119) + `"…: a host name has at most 253 bytes (300 given); expected ACCOUNT.dkr.ecr.REGION.amazonaws.com, for example 123456789012.dkr.ecr.us-west-2.amazonaws.com`,
	} {
		if _, err := ParseHost(in); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", in, err, want)
		}
	}
}

func TestPrivateHost(t *testing.T) {
	n := 0
	for _, want := range acceptedHosts {
		if want.Public || want.FIPS || want.DualStack {
			continue
		}
		n++
		got, err := PrivateHost(want.Account, want.Region)
		if err != nil || got != want {
			t.Errorf("%s in %s:\n got %+v, %v\nwant %+v", want.Account, want.Region, got, err, want)
		}
	}
	if n < 20 {
		t.Errorf("only %d hosts compared", n)
	}
	for _, row := range []struct{ account, region, why string }{
		{"", "us-west-2", `"": the account is missing; expected ACCOUNT, for example 123456789012`},
		{"12345678901", "us-west-2", "12 digits (11 given)"},
		{"1234567890123", "us-west-2", "12 digits (13 given)"},
		{"12345678901x", "us-west-2", "12 digits and nothing else"},
		{acct, "", `"": the region is missing; expected REGION, for example us-west-2`},
		{acct, "us-west-2b", "is an availability zone; its region is us-west-2"},
		{acct, "US-WEST-2", "does not look like an AWS region"},
		{acct, "us-west-2.evil.example", "does not look like an AWS region"},
		{acct, "us-west-2\n", "does not look like an AWS region"},
	} {
		got, err := PrivateHost(row.account, row.region)
		if err == nil || !strings.Contains(err.Error(), row.why) || got != (Host{}) {
			t.Errorf("%q in %q:\n got %+v, %v\nwant …%s…", row.account, row.region, got, err, row.why)
		}
	}
}

func TestAcceptedHostsHoldTogether(t *testing.T) {
	for _, h := range acceptedHosts {
		checkHost(t, h.Name, h)
	}
}

func BenchmarkParseHost(b *testing.B) {
	for _, name := range []string{std, acct + ".dkr-ecr-fips.cn-north-1.on.amazonwebservices.com.cn", publicName} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseHost(name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestParseHostDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { ParseHost(std) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
