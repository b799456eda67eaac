package registry

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
)

func FuzzHost(f *testing.F) {
	for _, h := range acceptedHosts {
		f.Add(h.Name)
	}
	for _, row := range refusedHosts {
		f.Add(row.name)
	}
	f.Add(strings.Repeat("\x00", 500) + "@" + strings.Repeat("\U0010ffff", 100))
	f.Fuzz(func(t *testing.T, name string) {
		h, err := ParseHost(name)
		if err != nil {
			checkMessage(t, name, err)
			return
		}
		checkHost(t, name, h)
	})
}

func FuzzSpec(f *testing.F) {
	add := func(in string) {
		if len(in) < 400 { // the fuzzer spends its minute minimizing longer ones
			f.Add(in)
		}
	}
	for _, row := range acceptedSpecs {
		add(row.in)
	}
	for _, row := range refusedSpecs {
		add(row.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseSpec(in)
		if err != nil {
			checkSpecMessage(t, in, err)
		} else {
			checkSpec(t, in, s)
		}
		list, err := ParseSpecs(in)
		if err != nil {
			checkSpecMessage(t, in, err)
			return
		}
		for _, s := range list {
			checkSpec(t, in, s)
		}
	})
}

// checkMessage: whatever came in, a message about a host is short, on one line, plain, and
// ends with a host that itself parses.
func checkMessage(t *testing.T, in string, err error) {
	t.Helper()
	msg := err.Error()
	if len(msg) > 600 {
		t.Errorf("%q: message of %d bytes", in, len(msg))
	}
	if strings.ContainsFunc(msg, unicode.IsControl) {
		t.Errorf("%q: control character in %q", in, msg)
	}
	if _, bad := ParseHost(offered(err)); bad != nil {
		t.Errorf("%q: offers what is refused too: %v", in, err)
	}
}

// official is the pattern that two official helpers share. Whatever this package accepts,
// they would too; it accepts less, because it looks at the region.
var official = regexp.MustCompile(`^(\d{12})\.dkr[.\-]ecr(-fips)?\.([a-zA-Z0-9][a-zA-Z0-9-_]*)\.(amazonaws\.(?:com(?:\.cn)?|eu)|on\.(?:aws|amazonwebservices\.com\.cn)|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$`)

// checkHost is what must hold of every accepted name.
func checkHost(t *testing.T, name string, h Host) {
	t.Helper()
	if h.Name != name {
		t.Errorf("%q: Name is %q", name, h.Name)
	}
	if again, err := ParseHost(h.Name); err != nil || again != h {
		t.Errorf("%q: parsed again: %+v, %v", name, again, err)
	}
	for i := range len(name) {
		if c := name[i]; !isLower(c) && !isDigit(c) && c != '.' && c != '-' {
			t.Errorf("%q: accepted with %q", name, c)
		}
	}
	if h.Public {
		if h.Account != "" || h.Region != publicRegion || h.Partition != "aws" || h.FIPS {
			t.Errorf("%q: %+v", name, h)
		}
		return
	}
	m := official.FindStringSubmatch(name)
	if m == nil || m[1] != h.Account || m[3] != h.Region || (m[2] != "") != h.FIPS || strings.HasPrefix(m[4], "on.") != h.DualStack {
		t.Errorf("%q: %+v, the official pattern says %q", name, h, m)
	}
	// Rebuilding the name from the fields gives it back.
	standard, err := PrivateHost(h.Account, h.Region)
	if err != nil || standard.Partition != h.Partition {
		t.Errorf("%q: PrivateHost: %+v, %v", name, standard, err)
		return
	}
	service, suffix := "dkr.ecr", strings.TrimPrefix(standard.Name, h.Account+".dkr.ecr."+h.Region+".")
	if h.DualStack {
		suffix = "on.aws"
		if h.Partition == "aws-cn" {
			suffix = "on.amazonwebservices.com.cn"
		}
		if h.Partition != "aws-cn" || strings.Contains(name, ".dkr-") {
			service = "dkr-ecr"
		}
	}
	if h.FIPS {
		service += "-fips"
	}
	if rebuilt := h.Account + "." + service + "." + h.Region + "." + suffix; rebuilt != name {
		t.Errorf("%q: rebuilt as %q", name, rebuilt)
	}
}

// checkSpec is what must hold of every accepted value.
func checkSpec(t *testing.T, in string, s Spec) {
	t.Helper()
	text := s.String()
	again, err := ParseSpec(text)
	if err != nil || !reflect.DeepEqual(again, s) {
		t.Errorf("%q: as %q: %+v, %v\nwant %+v", in, text, again, err, s)
	}
	// The same inside a list: nothing in the text separates.
	if list, err := ParseSpecs(text + ","); err != nil || len(list) != 1 || !reflect.DeepEqual(list[0], s) {
		t.Errorf("%q: as a list of %q: %+v, %v", in, text, list, err)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) {
		t.Errorf("%q: String is %q", in, text)
	}
	if err := CheckSpecs([]Spec{s}); err != nil {
		t.Errorf("%q: alone in a list: %v", in, err)
	}
	if s.Name != DefaultName {
		checkHost(t, s.Name, s.Host)
	}
	if d := s.Identity.Duration; d != 0 && (d < 15*time.Minute || d > time.Hour) {
		t.Errorf("%q: duration %v", in, d)
	}
	if len(s.Identity.Roles) == 0 && !reflect.DeepEqual(s.Identity, Identity{}) {
		t.Errorf("%q: options of a role without a role", in)
	}
}

func checkSpecMessage(t *testing.T, in string, err error) {
	t.Helper()
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if len(line) > 600 || line == "" {
			t.Errorf("%q: a line of %d bytes: %s", in, len(line), line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) }) {
			t.Errorf("%q: control character in %q", in, line)
		}
	}
}
