package registry

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"ecr-refresher/internal/suggest"
)

// optionNames in the order in which String writes them and messages list them.
var optionNames = [...]string{"role_arn", "external_id", "session_name", "duration", "endpoint", "alias", "optional"}

const (
	exampleRole = "arn:aws:iam::123456789012:role/ecr-pull"

	// AWS gives a session at least 15 minutes. It caps a session that was asked for with
	// another session at one hour (role chaining), and the task role is itself a session.
	minDuration, maxDuration = 15 * time.Minute, time.Hour
)

// readOptions fills the spec from the part after "?". The messages name the option; the
// caller puts the registry before them.
func (s *Spec) readOptions(query string) []error {
	var errs []error
	seen := make(map[string]bool, len(optionNames))
	for part := range strings.SplitSeq(query, "&") {
		rawKey, rawValue, hasValue := strings.Cut(part, "=")
		key, keyOK := unescape(rawKey)
		value, valueOK := unescape(rawValue)
		var err error
		switch {
		case part == "":
			err = fmt.Errorf("an option is missing after \"?\" or \"&\"; expected KEY=VALUE, for example role_arn=%s", exampleRole)
		case !keyOK:
			err = fmt.Errorf("%s: \"%%\" must be followed by two hexadecimal digits; write %%25 for the sign itself", quote(rawKey))
		case !slices.Contains(optionNames[:], key):
			err = unknownOption(key)
		case !valueOK:
			err = fmt.Errorf("%s: \"%%\" must be followed by two hexadecimal digits; write %%25 for the sign itself", key)
		case seen[key] && key != "role_arn" && key != "alias":
			err = fmt.Errorf("%s: given more than once; only role_arn and alias may repeat", key)
		case key == "optional":
			s.Optional, err = readOptional(value, hasValue)
		case value == "":
			err = fmt.Errorf("%s: needs a value; leave the option off, or give one: %s", key, example(key))
		default:
			err = s.set(key, value)
		}
		if err != nil {
			errs = append(errs, err)
		}
		seen[key] = true
	}
	return errs
}

func (s *Spec) set(key, value string) (err error) {
	switch key {
	case "role_arn":
		err = CheckRole(value)
		s.Identity.Roles = append(s.Identity.Roles, value)
	case "external_id":
		err = checkWord(key, value, 2, 1224, "+=,.@:/-")
		s.Identity.ExternalID = value
	case "session_name":
		err = checkWord(key, value, 2, 64, "+=,.@-")
		s.Identity.SessionName = value
	case "duration":
		s.Identity.Duration, err = readDuration(value)
	case "endpoint":
		s.Endpoint, err = readEndpoint(value)
	case "alias":
		err = checkAlias(value)
		s.Aliases = append(s.Aliases, value)
	}
	return err
}

func example(key string) string {
	switch key {
	case "role_arn":
		return "role_arn=" + exampleRole
	case "external_id":
		return "external_id=team-42"
	case "session_name":
		return "session_name=ci-builder"
	case "duration":
		return "duration=30m"
	case "endpoint":
		return "endpoint=http://127.0.0.1:8080"
	}
	return "alias=registry.example.com"
}

func unknownOption(key string) error {
	folded := strings.ReplaceAll(strings.ToLower(key), "-", "_")
	near := suggest.Nearest(folded, optionNames[:], 2)
	valid := "the options are " + strings.Join(optionNames[:], ", ")
	if near != "" {
		return fmt.Errorf("there is no option %s; did you mean %s? (%s)", quote(key), near, valid)
	}
	return fmt.Errorf("there is no option %s; %s", quote(key), valid)
}

func readOptional(value string, hasValue bool) (bool, error) {
	switch {
	case !hasValue, value == "true":
		return true, nil
	case value == "false":
		return false, nil
	}
	return false, fmt.Errorf("optional: %s is neither true nor false; write optional alone, or optional=true", quote(value))
}

// CheckRole returns what is wrong with the ARN of a role: arn:PARTITION:iam::ACCOUNT:role/[PATH/]NAME.
func CheckRole(arn string) error {
	refuse := func(why string) error {
		return fmt.Errorf("role_arn: %s: %s; expected arn:PARTITION:iam::ACCOUNT:role/NAME, for example %s", quote(arn), why, exampleRole)
	}
	f := strings.SplitN(arn, ":", 6)
	switch {
	case len(f) != 6 || f[0] != "arn":
		return refuse("that is not an ARN")
	case !knownPartition(f[1]):
		return refuse("there is no partition " + quote(f[1]))
	case f[2] == "sts":
		return refuse("that is a session of a role, give the role itself")
	case f[2] != "iam" || f[3] != "":
		return refuse("a role is at iam:: (no region)")
	case accountProblem(f[4]) != "":
		return refuse(accountProblem(f[4]))
	}
	role, ok := strings.CutPrefix(f[5], "role/")
	if !ok {
		return refuse("that is not a role")
	}
	slash := strings.LastIndexByte(role, '/')
	path, name := role[:slash+1], role[slash+1:]
	switch {
	case name == "" || len(name) > 64:
		return refuse("a role name has 1 to 64 characters (" + itoa(len(name)) + " given)")
	case !all(name, func(c byte) bool { return isWord(c) || strings.IndexByte("+=,.@-", c) >= 0 }):
		return refuse("a role name has letters, digits and _+=,.@- only")
	case len(path) > 511: // IAM counts the slash after "role" too: 512
		return refuse("the path of a role has at most 512 characters")
	case !all(path, func(c byte) bool { return '!' <= c && c <= '~' }):
		return refuse("the path of a role is visible ASCII")
	case strings.HasPrefix(path, "/"):
		return refuse("there is a slash too many after role/")
	}
	return nil
}

// rolePartition is the second field of a checked ARN.
func rolePartition(arn string) string {
	_, rest, _ := strings.Cut(arn, ":")
	partition, _, _ := strings.Cut(rest, ":")
	return partition
}

func knownPartition(id string) bool {
	return slices.ContainsFunc(partitions[:], func(p partition) bool { return p.id == id })
}

// checkWord does not repeat the value: some people keep external ids to themselves.
func checkWord(key, value string, least, most int, marks string) error {
	for i := range len(value) {
		if c := value[i]; !isWord(c) && strings.IndexByte(marks, c) < 0 {
			return fmt.Errorf("%s: character %d does not belong there; letters, digits and _%s do, for example %s", key, i+1, marks, example(key))
		}
	}
	if n := len(value); n < least || n > most {
		return fmt.Errorf("%s: must have %d to %d characters (%d given), for example %s", key, least, most, n, example(key))
	}
	return nil
}

func readDuration(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		return 0, fmt.Errorf("duration: %s is not a duration; write it with its unit, for example duration=30m", quote(value))
	case d < minDuration:
		return 0, fmt.Errorf("duration: %s is too short; AWS gives a session at least 15m, for example duration=30m", quote(value))
	case d > maxDuration:
		return 0, fmt.Errorf("duration: %s is too long; AWS caps a session that another session asks for at 1h, and the task role is itself an assumed session; at most duration=1h", quote(value))
	case d%time.Second != 0:
		return 0, fmt.Errorf("duration: %s is not whole seconds, for example duration=30m", quote(value))
	}
	return d, nil
}

// readEndpoint returns the URL in one spelling, so that the same endpoint compares equal.
// It repeats the value only once it is known to hold no user name and password.
func readEndpoint(value string) (string, error) {
	refuse := func(why string) (string, error) {
		return "", fmt.Errorf("endpoint: %s; expected http(s)://HOST[:PORT], for example %s", why, example("endpoint"))
	}
	if strings.Contains(value, "@") {
		return refuse("a user name does not belong in it")
	}
	u, err := url.Parse(value)
	switch {
	case err != nil:
		return refuse(quote(value) + " is not a URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return refuse(quote(value) + " is not an absolute http or https URL")
	case strings.ContainsAny(value, "?#"):
		return refuse(quote(value) + " has a query or a fragment")
	case u.Path != "" && u.Path != "/":
		return refuse(quote(value) + " has a path")
	}
	host := strings.ToLower(u.Host)
	if strings.HasPrefix(host, "[") {
		if a, err := netip.ParseAddr(u.Hostname()); err != nil || a.Zone() != "" {
			return refuse(quote(value) + " has no valid host")
		}
		if port, ok := strings.CutPrefix(host[strings.IndexByte(host, ']')+1:], ":"); ok && !isPort(port) {
			return refuse(quote(value) + " has no valid port")
		}
	} else if why := hostPortProblem(host); why != "" {
		return refuse(quote(value) + ": " + why)
	}
	return u.Scheme + "://" + host, nil
}

func checkAlias(value string) error {
	refuse := func(why string) error {
		return fmt.Errorf("alias: %s; expected HOST or HOST:PORT, for example %s", why, example("alias"))
	}
	if strings.Contains(value, "@") { // what stands before it may be a password
		return refuse("a user name does not belong in it")
	}
	if strings.Contains(value, "/") {
		return refuse(quote(value) + " has a scheme or a path; give the host alone")
	}
	if strings.ToLower(value) != value {
		return refuse(quote(value) + ": docker compares host names letter by letter, so only lower case works")
	}
	if why := hostPortProblem(value); why != "" {
		return refuse(quote(value) + ": " + why)
	}
	if value != "localhost" && !strings.ContainsAny(value, ".:") {
		return refuse(quote(value) + ": docker takes a word without a dot or a port for a name on Docker Hub")
	}
	return nil
}

// hostPortProblem checks a lower-case HOST or HOST:PORT (a name or an IPv4 address).
func hostPortProblem(s string) string {
	host, port, hasPort := strings.Cut(s, ":")
	switch {
	case hasPort && !isPort(port):
		return "the port must be 1 to 65535"
	case host == "":
		return "the host is missing"
	case len(host) > maxName:
		return "a host name has at most " + itoa(maxName) + " bytes (" + itoa(len(host)) + " given)"
	}
	for label := range strings.SplitSeq(host, ".") {
		switch {
		case label == "":
			return "there is a dot too many"
		case len(label) > 63:
			return "a part of a host name has at most 63 bytes (" + itoa(len(label)) + " given)"
		case label[0] == '-' || label[len(label)-1] == '-':
			return "a part of a host name does not begin or end with a hyphen"
		case !all(label, func(c byte) bool { return isLower(c) || isDigit(c) || c == '-' || c == '_' }):
			return "a host name has letters, digits, dots and hyphens only"
		}
	}
	return ""
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0' && s[0] != '+'
}

func isWord(c byte) bool { return isLower(c) || isUpper(c) || isDigit(c) || c == '_' }
