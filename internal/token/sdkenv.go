package token

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// RefusedSetting is a variable of the AWS SDK whose value the SDK refuses. Its value is not in here: it may hold a password.
type RefusedSetting struct {
	Variable string
	Allowed  string // what the SDK takes, as a phrase: "true or false"
	// Used says that this program uses the setting, so that it cannot start with a wrong one. One that is not used is
	// ignored with a warning.
	Used bool
}

// RefusedSettings returns the variables of an environment whose values the AWS SDK refuses, those that are used first.
// getenv returns the value of a variable, and the empty string for one that is not set. Files that variables name are not
// looked at.
func RefusedSettings(getenv func(string) string) []RefusedSetting {
	var refused []RefusedSetting
	for _, s := range sdkSettings {
		if v := getenv(s.variable); v != "" && !s.takes(v) {
			refused = append(refused, RefusedSetting{s.variable, s.allowed, s.used})
		}
	}
	return refused
}

// sdkSetting is one variable that the SDK parses when it reads its settings.
type sdkSetting struct {
	variable string
	takes    func(string) bool
	allowed  string
	used     bool
}

// sdkSettings are all of them, those that are used first.
var sdkSettings = []sdkSetting{
	{"AWS_USE_FIPS_ENDPOINT", isTrueOrFalse, trueOrFalse, true},
	{"AWS_USE_DUALSTACK_ENDPOINT", isTrueOrFalse, trueOrFalse, true},
	{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", isTrueOrFalse, trueOrFalse, true},
	{"AWS_DISABLE_CLOCK_SKEW_CORRECTION", isTrueOrFalse, trueOrFalse, true},
	{"AWS_ENDPOINT_URL", isEndpoint, anEndpoint, true},
	{"AWS_ENDPOINT_URL_ECR", isEndpoint, anEndpoint, true},
	{"AWS_ENDPOINT_URL_ECR_PUBLIC", isEndpoint, anEndpoint, true},
	{"AWS_ENDPOINT_URL_STS", isEndpoint, anEndpoint, true},

	{"AWS_RETRY_MODE", isOneOf("standard", "adaptive"), "standard or adaptive", false},
	{"AWS_MAX_ATTEMPTS", isInteger, "an integer", false},
	{"AWS_DEFAULTS_MODE", isAnyCaseOf("auto", "cross-region", "in-region", "legacy", "mobile", "standard"),
		"auto, cross-region, in-region, legacy, mobile or standard", false},
	{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", isMetadataMode, "IPv4 or IPv6", false},
	{"AWS_EC2_METADATA_V1_DISABLED", isTrueOrFalse, trueOrFalse, false},
	{"AWS_ENABLE_ENDPOINT_DISCOVERY", isAnyCaseOf("true", "false", "auto"), "true, false or auto", false},
	{"AWS_ACCOUNT_ID_ENDPOINT_MODE", isOneOf("preferred", "required", "disabled"), "preferred, required or disabled", false},
	{"AWS_REQUEST_CHECKSUM_CALCULATION", isAnyCaseOf("when_supported", "when_required"), "when_supported or when_required", false},
	{"AWS_RESPONSE_CHECKSUM_VALIDATION", isAnyCaseOf("when_supported", "when_required"), "when_supported or when_required", false},
	{"AWS_DISABLE_REQUEST_COMPRESSION", isTrueOrFalse, trueOrFalse, false},
	{"AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES", isCompressionSize, "an integer from 0 to 10485760", false},
	{"AWS_RESTRICT_FILE_PERMISSIONS", isAnyCaseOf("user_read_write", "unrestricted"), "user_read_write or unrestricted", false},
	{"AWS_S3_USE_ARN_REGION", isTrueOrFalse, trueOrFalse, false},
	{"AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS", isTrueOrFalse, trueOrFalse, false},
	{"AWS_S3_DISABLE_EXPRESS_SESSION_AUTH", isTrueOrFalse, trueOrFalse, false},
}

const (
	trueOrFalse = "true or false"
	anEndpoint  = "a URL such as https://host:port"
)

var isTrueOrFalse = isAnyCaseOf("true", "false")

func isOneOf(allowed ...string) func(string) bool {
	return func(v string) bool { return slices.Contains(allowed, v) }
}

func isAnyCaseOf(allowed ...string) func(string) bool {
	return func(v string) bool {
		return slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(v, a) })
	}
}

func isInteger(v string) bool {
	_, err := strconv.ParseInt(v, 10, 64)
	return err == nil
}

func isCompressionSize(v string) bool {
	n, err := strconv.ParseInt(v, 10, 64)
	return err == nil && n >= 0 && n <= 10485760
}

func isMetadataMode(v string) bool {
	v = strings.TrimSpace(v)
	return v == "" || isAnyCaseOf("IPv4", "IPv6")(v)
}

// isEndpoint is stricter than the SDK, which fails at each call: a URL of http or https with a host.
func isEndpoint(v string) bool {
	u, err := url.Parse(v)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}
