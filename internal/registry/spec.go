package registry

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// DefaultName is the --registry value for the task's own account in the task's region.
const DefaultName = "default"

// Identity says as whom a token is asked for. Zero = the task role itself.
type Identity struct {
	Roles       []string      // role ARNs, assumed one after another
	ExternalID  string        // for the last role
	SessionName string        // empty: the caller's default (carries the task id)
	Duration    time.Duration // of each assumed session; 0 = default
}

// Spec is one --registry value, parsed and valid.
type Spec struct {
	Name     string // as configured: the host, or "default"
	Host     Host   // zero when Name is "default" and not yet resolved
	Identity Identity
	Endpoint string   // API endpoint URL, empty = AWS's own
	Aliases  []string // further hosts (host or host:port) that get the same auth
	Optional bool     // does not count for health
}

// ParseSpec reads HOST[?role_arn=…&external_id=…&session_name=…&duration=…&endpoint=…&alias=HOST&optional].
// All problems come at once, joined.
func ParseSpec(s string) (Spec, error) {
	name, query, hasQuery := strings.Cut(s, "?")
	spec := Spec{Name: name}
	var errs []error
	if name != DefaultName {
		var err error
		if spec.Host, err = ParseHost(name); err != nil {
			errs = append(errs, err)
		}
	}
	if hasQuery {
		for _, err := range spec.readOptions(query) {
			errs = append(errs, spec.wrap(err))
		}
	}
	// The rules that tie options to the host make sense only once there is a host.
	if len(errs) == 0 {
		for _, err := range spec.conflicts() {
			errs = append(errs, spec.wrap(err))
		}
	}
	if len(errs) > 0 {
		return Spec{}, errors.Join(errs...)
	}
	return spec, nil
}

// ParseSpecs reads a list separated by white space or commas; a comma inside a value is
// written %2C. It reports all problems at once. An empty list is no error.
func ParseSpecs(s string) ([]Spec, error) {
	var specs []Spec
	var errs []error
	for word := range strings.FieldsFuncSeq(s, func(c rune) bool { return c == ',' || unicode.IsSpace(c) }) {
		spec, err := ParseSpec(word)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		specs = append(specs, spec)
	}
	if err := CheckSpecs(specs); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return specs, nil
}

// CheckSpecs refuses a list in which two specs would write the same key. Call it again
// after Resolve: only then is the host of "default" known.
func CheckSpecs(specs []Spec) error {
	var errs []error
	owner := make(map[string]int, len(specs))
	for i, s := range specs {
		keys := s.Hosts()
		if s.Name != s.Host.Name {
			keys = append(keys, s.Name)
		}
		for _, key := range keys {
			first, taken := owner[key]
			if !taken {
				owner[key] = i
				continue
			}
			a, b := specs[first].Name, s.Name
			switch {
			case a != b:
				errs = append(errs, fmt.Errorf("%s: both %s and %s write this host; keep it in one of them", quote(key), quote(a), quote(b)))
			case key == s.Name || first == i: // the same registry twice is one problem, not one more for each alias
				errs = append(errs, fmt.Errorf("%s: given more than once; keep one --registry for each host", quote(key)))
			}
		}
	}
	return errors.Join(errs...)
}

// Resolve fills in the host of "default": that of the task's own account and region. Any
// other spec comes back as it is.
func (s Spec) Resolve(account, region string) (Spec, error) {
	if s.Name != DefaultName || s.Host != (Host{}) {
		return s, nil
	}
	var err error
	if s.Host, err = PrivateHost(account, region); err != nil {
		return Spec{}, s.wrap(err)
	}
	var errs []error
	for _, err := range s.conflicts() {
		errs = append(errs, s.wrap(err))
	}
	if len(errs) > 0 {
		return Spec{}, errors.Join(errs...)
	}
	return s, nil
}

// Hosts is every key to write: the host's name, once it is known, then the aliases.
func (s Spec) Hosts() []string {
	hosts := make([]string, 0, 1+len(s.Aliases))
	if s.Host.Name != "" {
		hosts = append(hosts, s.Host.Name)
	}
	return append(hosts, s.Aliases...)
}

// String is the spec as --registry takes it; ParseSpec and ParseSpecs read it back.
func (s Spec) String() string {
	var b strings.Builder
	b.WriteString(s.Name)
	sep := byte('?')
	add := func(key, value string) {
		if value != "" {
			b.WriteByte(sep)
			b.WriteString(key)
			b.WriteByte('=')
			b.WriteString(escape(value))
			sep = '&'
		}
	}
	for _, role := range s.Identity.Roles {
		add("role_arn", role)
	}
	add("external_id", s.Identity.ExternalID)
	add("session_name", s.Identity.SessionName)
	if s.Identity.Duration != 0 {
		add("duration", short(s.Identity.Duration))
	}
	add("endpoint", s.Endpoint)
	for _, alias := range s.Aliases {
		add("alias", alias)
	}
	if s.Optional {
		b.WriteByte(sep)
		b.WriteString("optional")
	}
	return b.String()
}

// wrap puts the registry before a message about one of its options.
func (s Spec) wrap(err error) error {
	if s.Name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", quote(s.Name[strings.LastIndexByte(s.Name, '@')+1:]), err)
}

// conflicts are the problems between the options and the host they stand with.
func (s Spec) conflicts() []error {
	var errs []error
	add := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }

	partition := s.Host.Partition
	for i, role := range s.Identity.Roles {
		of := rolePartition(role)
		switch {
		case s.Host.Name != "" && of != s.Host.Partition:
			add("role_arn: %s is in partition %s, the registry in %s; a role works in its own partition only, for example arn:%s:iam::123456789012:role/ecr-pull", quote(role), of, partition, partition)
		case s.Host.Name == "" && i > 0 && of != rolePartition(s.Identity.Roles[0]):
			add("role_arn: %s is in partition %s, the role before it in another; a chain stays in one partition", quote(role), of)
		}
	}
	if len(s.Identity.Roles) == 0 {
		for _, o := range []struct {
			key string
			set bool
		}{
			{"external_id", s.Identity.ExternalID != ""},
			{"session_name", s.Identity.SessionName != ""},
			{"duration", s.Identity.Duration != 0},
		} {
			if o.set {
				add("%s: works only together with role_arn (it belongs to an assumed role), for example role_arn=%s", o.key, exampleRole)
			}
		}
	}
	if s.Endpoint != "" && (s.Host.FIPS || s.Host.DualStack) {
		add("endpoint: the SDK refuses a custom endpoint together with FIPS or dual-stack; leave it off, or name the standard host %s", s.standard())
	}
	for i, alias := range s.Aliases {
		if alias == s.Host.Name {
			add("alias: %s is the registry itself; an alias is a further host", quote(alias))
			continue
		}
		if slices.Contains(s.Aliases[:i], alias) {
			add("alias: %s is given more than once", quote(alias))
			continue
		}
		if !s.accepts(alias) {
			add("alias: %s is in another region or service, where this token is not accepted; give it a --registry of its own", quote(alias))
		}
	}
	return errs
}

// accepts reports whether a token of this registry is one for an alias, as far as its name says: a port changes nothing. "default"
// is private, wherever it is.
func (s Spec) accepts(alias string) bool {
	name, _, _ := strings.Cut(alias, ":")
	h, bad := parseHost(name)
	if bad != nil {
		return true // a name of the user's own
	}
	return h.Public == s.Host.Public && (s.Host.Name == "" || h.Region == s.Host.Region)
}

// standard is the name without FIPS and dual-stack.
func (s Spec) standard() string {
	if s.Host.Public {
		return publicName
	}
	h, _ := PrivateHost(s.Host.Account, s.Host.Region) // a valid host has both
	return h.Name
}

// escape keeps what reads well and cannot end a value, a list item or a shell word.
func escape(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; isWord(c) || strings.IndexByte("+=.@:/-[]", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", value[i])
	}
	return b.String()
}

// unescape reads %XX as in URL queries; unlike there, + stands for itself: it is legal in
// session names and external ids.
func unescape(s string) (string, bool) {
	u, err := url.PathUnescape(s)
	return u, err == nil
}

// short writes 1h for 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
