package registry

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	role1    = "arn:aws:iam::123456789012:role/ecr-pull"
	role2    = "arn:aws:iam::210987654321:role/ci/builders/ecr-push"
	fipsName = acct + ".dkr.ecr-fips.us-west-2.amazonaws.com"
	dualName = acct + ".dkr-ecr.us-west-2.on.aws"
	cnName   = acct + ".dkr.ecr.cn-north-1.amazonaws.com.cn"
	euName   = acct + ".dkr.ecr.eu-west-1.amazonaws.com"
)

// spec is an expected Spec for a host.
func spec(t *testing.T, name string, change func(*Spec)) Spec {
	t.Helper()
	s := Spec{Name: name}
	if name != DefaultName {
		h, err := ParseHost(name)
		if err != nil {
			t.Fatal(err)
		}
		s.Host = h
	}
	if change != nil {
		change(&s)
	}
	return s
}

// acceptedSpecs: each option at its boundaries. canonical is String; empty: as it was given.
var acceptedSpecs = []struct {
	in, canonical string
	name          string
	change        func(*Spec)
}{
	{in: std, name: std},
	{in: "default", name: "default"},
	{in: "public.ecr.aws", name: "public.ecr.aws"},
	{in: std + "?role_arn=" + role1, name: std, change: func(s *Spec) { s.Identity.Roles = []string{role1} }},
	{in: std + "?role_arn=" + role1 + "&role_arn=" + role2, name: std, change: func(s *Spec) { s.Identity.Roles = []string{role1, role2} }},
	{in: "default?role_arn=" + role1 + "&role_arn=" + role2, name: "default", change: func(s *Spec) { s.Identity.Roles = []string{role1, role2} }},
	{in: cnName + "?role_arn=arn:aws-cn:iam::123456789012:role/r", name: cnName, change: func(s *Spec) { s.Identity.Roles = []string{"arn:aws-cn:iam::123456789012:role/r"} }},
	{in: "public.ecr.aws?role_arn=" + role1, name: "public.ecr.aws", change: func(s *Spec) { s.Identity.Roles = []string{role1} }},
	{in: std + "?role_arn=" + roleOf(64), name: std, change: func(s *Spec) { s.Identity.Roles = []string{roleOf(64)} }},
	{in: std + "?role_arn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fecr-pull", canonical: std + "?role_arn=" + role1, name: std, change: func(s *Spec) { s.Identity.Roles = []string{role1} }},
	{in: std + "?role_arn=arn:aws:iam::123456789012:role/a,b+c=d@e.f", canonical: std + "?role_arn=arn:aws:iam::123456789012:role/a%2Cb+c=d@e.f", name: std, change: func(s *Spec) { s.Identity.Roles = []string{"arn:aws:iam::123456789012:role/a,b+c=d@e.f"} }},
	{in: std + "?role_arn=" + role1 + "&external_id=ab", name: std, change: withRole(func(s *Spec) { s.Identity.ExternalID = "ab" })},
	{in: std + "?role_arn=" + role1 + "&external_id=" + strings.Repeat("x", 1224), name: std, change: withRole(func(s *Spec) { s.Identity.ExternalID = strings.Repeat("x", 1224) })},
	{in: std + "?role_arn=" + role1 + "&external_id=_+=,.@:/-Z9", canonical: std + "?role_arn=" + role1 + "&external_id=_+=%2C.@:/-Z9", name: std, change: withRole(func(s *Spec) { s.Identity.ExternalID = "_+=,.@:/-Z9" })},
	{in: std + "?role_arn=" + role1 + "&session_name=ab", name: std, change: withRole(func(s *Spec) { s.Identity.SessionName = "ab" })},
	{in: std + "?role_arn=" + role1 + "&session_name=" + strings.Repeat("x", 64), name: std, change: withRole(func(s *Spec) { s.Identity.SessionName = strings.Repeat("x", 64) })},
	{in: std + "?role_arn=" + role1 + "&session_name=a%2bb%2Cc", canonical: std + "?role_arn=" + role1 + "&session_name=a+b%2Cc", name: std, change: withRole(func(s *Spec) { s.Identity.SessionName = "a+b,c" })},
	{in: std + "?role_arn=" + role1 + "&duration=15m", name: std, change: withRole(func(s *Spec) { s.Identity.Duration = 15 * time.Minute })},
	{in: std + "?role_arn=" + role1 + "&duration=15m1s", name: std, change: withRole(func(s *Spec) { s.Identity.Duration = 15*time.Minute + time.Second })},
	{in: std + "?role_arn=" + role1 + "&duration=59m59s", name: std, change: withRole(func(s *Spec) { s.Identity.Duration = time.Hour - time.Second })},
	{in: std + "?role_arn=" + role1 + "&duration=1h", name: std, change: withRole(func(s *Spec) { s.Identity.Duration = time.Hour })},
	{in: std + "?role_arn=" + role1 + "&duration=60m", canonical: std + "?role_arn=" + role1 + "&duration=1h", name: std, change: withRole(func(s *Spec) { s.Identity.Duration = time.Hour })},
	{in: std + "?duration=20m&role_arn=" + role1, canonical: std + "?role_arn=" + role1 + "&duration=20m", name: std, change: withRole(func(s *Spec) { s.Identity.Duration = 20 * time.Minute })},
	{in: std + "?endpoint=http://127.0.0.1:8080", name: std, change: func(s *Spec) { s.Endpoint = "http://127.0.0.1:8080" }},
	{in: std + "?endpoint=https://ecr.internal/", canonical: std + "?endpoint=https://ecr.internal", name: std, change: func(s *Spec) { s.Endpoint = "https://ecr.internal" }},
	{in: std + "?endpoint=HTTP://Ecr.Internal:1", canonical: std + "?endpoint=http://ecr.internal:1", name: std, change: func(s *Spec) { s.Endpoint = "http://ecr.internal:1" }},
	{in: std + "?endpoint=http://[::1]:65535", name: std, change: func(s *Spec) { s.Endpoint = "http://[::1]:65535" }},
	{in: "public.ecr.aws?endpoint=http://localhost:1", name: "public.ecr.aws", change: func(s *Spec) { s.Endpoint = "http://localhost:1" }},
	{in: "default?endpoint=http://sandbox", name: "default", change: func(s *Spec) { s.Endpoint = "http://sandbox" }},
	{in: std + "?alias=registry.example.com", name: std, change: func(s *Spec) { s.Aliases = []string{"registry.example.com"} }},
	{in: std + "?alias=registry.example.com:1&alias=registry.example.com:65535&alias=10.0.0.1:5000", name: std, change: func(s *Spec) {
		s.Aliases = []string{"registry.example.com:1", "registry.example.com:65535", "10.0.0.1:5000"}
	}},
	{in: std + "?alias=" + std + ":443&alias=public.ecr.aws.example.com:443", name: std, change: func(s *Spec) {
		s.Aliases = []string{std + ":443", "public.ecr.aws.example.com:443"}
	}},
	{in: "default?alias=" + euName + ":443", name: "default", change: func(s *Spec) { s.Aliases = []string{euName + ":443"} }},
	{in: "public.ecr.aws?alias=ecr-public.aws.com:443", name: "public.ecr.aws", change: func(s *Spec) { s.Aliases = []string{"ecr-public.aws.com:443"} }},
	{in: std + "?alias=localhost&alias=proxy:5000&alias=a_b.example", name: std, change: func(s *Spec) { s.Aliases = []string{"localhost", "proxy:5000", "a_b.example"} }},
	{in: std + "?alias=" + strings.Repeat("a", 63) + ".example", name: std, change: func(s *Spec) { s.Aliases = []string{strings.Repeat("a", 63) + ".example"} }},
	{in: std + "?alias=210987654321.dkr.ecr.us-west-2.amazonaws.com&alias=" + dualName, name: std, change: func(s *Spec) {
		s.Aliases = []string{"210987654321.dkr.ecr.us-west-2.amazonaws.com", dualName}
	}},
	{in: "public.ecr.aws?alias=ecr-public.aws.com", name: "public.ecr.aws", change: func(s *Spec) { s.Aliases = []string{"ecr-public.aws.com"} }},
	{in: "ecr-public.aws.com?alias=public.ecr.aws", name: "ecr-public.aws.com", change: func(s *Spec) { s.Aliases = []string{"public.ecr.aws"} }},
	{in: std + "?optional", name: std, change: func(s *Spec) { s.Optional = true }},
	{in: std + "?optional=true", canonical: std + "?optional", name: std, change: func(s *Spec) { s.Optional = true }},
	{in: std + "?optional=false", canonical: std, name: std},
	{in: std + "?%6fptional", canonical: std + "?optional", name: std, change: func(s *Spec) { s.Optional = true }},
	{in: fipsName + "?role_arn=" + role1 + "&alias=a.example&optional", name: fipsName, change: withRole(func(s *Spec) { s.Aliases, s.Optional = []string{"a.example"}, true })},
}

func roleOf(n int) string { return "arn:aws:iam::123456789012:role/" + strings.Repeat("r", n) }

func withRole(change func(*Spec)) func(*Spec) {
	return func(s *Spec) { s.Identity.Roles = []string{role1}; change(s) }
}

func TestParseSpecAccepts(t *testing.T) {
	for _, row := range acceptedSpecs {
		want := spec(t, row.name, row.change)
		got, err := ParseSpec(row.in)
		if err != nil {
			t.Errorf("%s: refused: %v", row.in, err)
			continue
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", row.in, got, want)
		}
		canonical := row.canonical
		if canonical == "" {
			canonical = row.in
		}
		if got.String() != canonical {
			t.Errorf("%s: String:\n got %s\nwant %s", row.in, got, canonical)
		}
		checkSpec(t, row.in, got)
	}
}

var refusedSpecs = []struct{ in, why string }{
	{"", "the name is empty"},
	{"?optional", "the name is empty"},
	{"Default", "only lower case works"},
	{"https://" + std, "give the host alone; write " + std},
	{std + "?", "an option is missing"},
	{std + "?optional&", "an option is missing"},
	{std + "?&optional", "an option is missing"},
	{std + "?optional?alias=a.b", `there is no option "optional?alias"`},
	// keys
	{std + "?role-arn=" + role1, `there is no option "role-arn"; did you mean role_arn?`},
	{std + "?roleArn=" + role1, "did you mean role_arn?"},
	{std + "?ROLE_ARN=" + role1, "did you mean role_arn?"},
	{std + "?externalid=ab", "did you mean external_id?"},
	{std + "?sesion_name=ab", "did you mean session_name?"},
	{std + "?aliases=a.b", "did you mean alias?"},
	{std + "?option", "did you mean optional?"},
	{std + "?region=us-west-2", `there is no option "region"; the options are role_arn, external_id, session_name, duration, endpoint, alias, optional`},
	{std + "?=x", `there is no option ""; the options are`},
	{std + "?" + strings.Repeat("k", 4000) + "=x", "the options are"},
	{std + "?role%zz=x", `"%" must be followed by two hexadecimal digits`},
	{std + "?alias=%4", `alias: "%" must be followed by two hexadecimal digits`},
	{std + "?optional&optional", "optional: given more than once"},
	{std + "?duration=20m&duration=20m&role_arn=" + role1, "duration: given more than once"},
	{std + "?duration=bad&duration=20m&role_arn=" + role1, "duration: given more than once"},
	{std + "?endpoint=http://a&endpoint=http://b", "endpoint: given more than once"},
	{std + "?external_id=ab&external_id=ab&role_arn=" + role1, "external_id: given more than once"},
	{std + "?session_name=ab&session_name=ab&role_arn=" + role1, "session_name: given more than once"},
	{std + "?alias", "alias: needs a value"},
	{std + "?role_arn=", "role_arn: needs a value; leave the option off, or give one: role_arn=" + role1},
	{std + "?optional=", `optional: "" is neither true nor false`},
	{std + "?optional=1", `optional: "1" is neither true nor false`},
	{std + "?optional=TRUE", "neither true nor false"},
	// role_arn
	{std + "?role_arn=ecr-pull", "that is not an ARN; expected arn:PARTITION:iam::ACCOUNT:role/NAME"},
	{std + "?role_arn=urn:aws:iam::123456789012:role/r", "that is not an ARN"},
	{std + "?role_arn=arn:aws-xx:iam::123456789012:role/r", `there is no partition "aws-xx"`},
	{std + "?role_arn=arn:aws:sts::123456789012:assumed-role/r/s", "that is a session of a role, give the role itself"},
	{std + "?role_arn=arn:aws:ecr::123456789012:role/r", "a role is at iam::"},
	{std + "?role_arn=arn:aws:iam:us-east-1:123456789012:role/r", "a role is at iam::"},
	{std + "?role_arn=arn:aws:iam::12345678901:role/r", "12 digits (11 given)"},
	{std + "?role_arn=arn:aws:iam::1234567890123:role/r", "12 digits (13 given)"},
	{std + "?role_arn=arn:aws:iam::aws:role/r", "12 digits and nothing else"},
	{std + "?role_arn=arn:aws:iam::123456789012:user/u", "that is not a role"},
	{std + "?role_arn=arn:aws:iam::123456789012:role/", "1 to 64 characters (0 given)"},
	{std + "?role_arn=arn:aws:iam::123456789012:role/path/", "1 to 64 characters (0 given)"},
	{std + "?role_arn=arn:aws:iam::123456789012:role//r", "a slash too many"},
	{std + "?role_arn=" + roleOf(65), "1 to 64 characters (65 given)"},
	{std + "?role_arn=arn:aws:iam::123456789012:role/a:b", "letters, digits and _+=,.@- only"},
	{std + "?role_arn=arn:aws:iam::123456789012:role/*", "letters, digits and _+=,.@- only"},
	{std + "?role_arn=arn:aws:iam::123456789012:role/a%20b/r", "visible ASCII"},
	{std + "?role_arn=arn:aws:iam::123456789012:role/" + strings.Repeat("p", 511) + "/r", "at most 512 characters"},
	{std + "?role_arn=arn:aws-cn:iam::123456789012:role/r", "is in partition aws-cn, the registry in aws"},
	{cnName + "?role_arn=" + role1, "is in partition aws, the registry in aws-cn; a role works in its own partition only, for example arn:aws-cn:iam::"},
	{std + "?role_arn=" + role1 + "&role_arn=arn:aws-us-gov:iam::123456789012:role/r", "is in partition aws-us-gov"},
	{"default?role_arn=" + role1 + "&role_arn=arn:aws-us-gov:iam::123456789012:role/r", "a chain stays in one partition"},
	// what belongs to a role
	{std + "?external_id=ab", "external_id: works only together with role_arn"},
	{std + "?session_name=ab", "session_name: works only together with role_arn"},
	{std + "?duration=20m", "duration: works only together with role_arn"},
	{std + "?role_arn=" + role1 + "&external_id=a", "must have 2 to 1224 characters (1 given)"},
	{std + "?role_arn=" + role1 + "&external_id=" + strings.Repeat("x", 1225), "must have 2 to 1224 characters (1225 given)"},
	{std + "?role_arn=" + role1 + "&external_id=a%20b", "external_id: character 2 does not belong there"},
	{std + "?role_arn=" + role1 + "&external_id=ab%0A", "external_id: character 3 does not belong there"},
	{std + "?role_arn=" + role1 + "&session_name=a", "must have 2 to 64 characters (1 given)"},
	{std + "?role_arn=" + role1 + "&session_name=" + strings.Repeat("x", 65), "must have 2 to 64 characters (65 given)"},
	{std + "?role_arn=" + role1 + "&session_name=a/b", "session_name: character 2 does not belong there"},
	{std + "?role_arn=" + role1 + "&session_name=a:b", "session_name: character 2 does not belong there"},
	{std + "?role_arn=" + role1 + "&duration=14m59s", "is too short; AWS gives a session at least 15m"},
	{std + "?role_arn=" + role1 + "&duration=0s", "is too short"},
	{std + "?role_arn=" + role1 + "&duration=-20m", "is too short"},
	{std + "?role_arn=" + role1 + "&duration=1h0m1s", "the task role is itself an assumed session; at most duration=1h"},
	{std + "?role_arn=" + role1 + "&duration=12h", "is too long"},
	{std + "?role_arn=" + role1 + "&duration=15m0.5s", "is not whole seconds"},
	{std + "?role_arn=" + role1 + "&duration=3600", "write it with its unit"},
	{std + "?role_arn=" + role1 + "&duration=9999999h", "is not a duration"},
	// endpoint
	{std + "?endpoint=127.0.0.1:8080", "is not a URL"},
	{std + "?endpoint=ecr.internal", "not an absolute http or https URL"},
	{std + "?endpoint=//ecr.internal", "not an absolute http or https URL"},
	{std + "?endpoint=ftp://ecr.internal", "not an absolute http or https URL"},
	{std + "?endpoint=http://", "not an absolute http or https URL"},
	{std + "?endpoint=http://:80", "the host is missing"},
	{std + "?endpoint=http://u:s3cret@ecr.internal", "a user name does not belong in it"},
	{std + "?endpoint=http://u:s3cret%zz@ecr.internal", "two hexadecimal digits"},
	{std + "?endpoint=http://u:s3cret%2500@[ecr", "a user name does not belong in it"},
	{std + "?endpoint=http://ecr.internal?x=y", "has a query or a fragment"},
	{std + "?endpoint=http://ecr.internal%3F", "has a query or a fragment"},
	{std + "?endpoint=http://ecr.internal%23", "has a query or a fragment"},
	{std + "?endpoint=http://ecr.internal/v2", "has a path"},
	{std + "?endpoint=http://ecr.internal//", "has a path"},
	{std + "?endpoint=http://ecr.internal:0", "the port must be 1 to 65535"},
	{std + "?endpoint=http://ecr.internal:65536", "the port must be 1 to 65535"},
	{std + "?endpoint=http://ecr.internal:", "the port must be 1 to 65535"},
	{std + "?endpoint=http://[::1]:0", "no valid port"},
	{std + "?endpoint=http://[nope]", "is not a URL"},
	{std + "?endpoint=http://[fe80::1%2525eth0]", "no valid host"},
	{std + "?endpoint=http://a!b", "letters, digits, dots and hyphens only"},
	{fipsName + "?endpoint=http://127.0.0.1:1", "the SDK refuses a custom endpoint together with FIPS or dual-stack; leave it off, or name the standard host " + std},
	{dualName + "?endpoint=http://127.0.0.1:1", "the SDK refuses a custom endpoint together with FIPS or dual-stack"},
	{"ecr-public.aws.com?endpoint=http://127.0.0.1:1", "or name the standard host public.ecr.aws"},
	// alias
	{std + "?alias=" + std, "is the registry itself"},
	{std + "?alias=a.example&alias=a.example", "is given more than once"},
	{std + "?alias=https://a.example", "has a scheme or a path; give the host alone"},
	{std + "?alias=a.example/app", "has a scheme or a path"},
	{std + "?alias=u:s3cret@a.example", "a user name does not belong in it"},
	{std + "?alias=A.example", "only lower case works"},
	{std + "?alias=a.example:0", "the port must be 1 to 65535"},
	{std + "?alias=a.example:65536", "the port must be 1 to 65535"},
	{std + "?alias=a.example:080", "the port must be 1 to 65535"},
	{std + "?alias=a.example:%2B80", "the port must be 1 to 65535"},
	{std + "?alias=a.example:", "the port must be 1 to 65535"},
	{std + "?alias=:80", "the host is missing"},
	{std + "?alias=a.example.", "a dot too many"},
	{std + "?alias=a..example", "a dot too many"},
	{std + "?alias=-a.example", "begin or end with a hyphen"},
	{std + "?alias=a-.example", "begin or end with a hyphen"},
	{std + "?alias=" + strings.Repeat("a", 64) + ".example", "at most 63 bytes (64 given)"},
	{std + "?alias=" + strings.Repeat("a.", 126) + "aa", "at most 253 bytes (254 given)"},
	{std + "?alias=proxy", "a name on Docker Hub"},
	{std + "?alias=a%20b.example", "letters, digits, dots and hyphens only"},
	{std + "?alias=" + euName, "is in another region or service"},
	{std + "?alias=public.ecr.aws", "is in another region or service"},
	{std + "?alias=public.ecr.aws:443", `"public.ecr.aws:443" is in another region or service`},
	{std + "?alias=" + euName + ":8443", "is in another region or service"},
	{"default?alias=public.ecr.aws", "is in another region or service"},
	{"default?alias=public.ecr.aws:443", "is in another region or service"},
	{"default?alias=ecr-public.aws.com:5000", "is in another region or service"},
	{"default?role_arn=" + role1 + "&alias=a.example&alias=public.ecr.aws:1", "is in another region or service"},
	{"public.ecr.aws?alias=" + std + ":443", "is in another region or service"},
	{"public.ecr.aws?alias=" + acct + ".dkr.ecr.us-east-1.amazonaws.com", "is in another region or service"},
}

func TestParseSpecRefuses(t *testing.T) {
	for _, row := range refusedSpecs {
		got, err := ParseSpec(row.in)
		if err == nil {
			t.Errorf("%s: accepted as %+v", row.in, got)
			continue
		}
		if !reflect.DeepEqual(got, Spec{}) {
			t.Errorf("%s: a Spec beside the error: %+v", row.in, got)
		}
		if !strings.Contains(err.Error(), row.why) {
			t.Errorf("%s:\n  got %v\n want …%s…", row.in, err, row.why)
		}
		checkSpecMessage(t, row.in, err)
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the message repeats a password: %v", row.in, err)
		}
	}
}

func TestParseSpecSaysEverything(t *testing.T) {
	_, err := ParseSpec("1234.dkr.ecr.us-west-2.amazonaws.com?rol_arn=x&duration=5&alias=A.b&optional=maybe")
	for _, why := range []string{"12 digits (4 given)", "did you mean role_arn?", "with its unit", "only lower case", "neither true nor false"} {
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q is not in %v", why, err)
		}
	}
}
