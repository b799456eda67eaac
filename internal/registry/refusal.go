package registry

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	exampleAccount = "123456789012"
	exampleForm    = "ACCOUNT.dkr.ecr.REGION.amazonaws.com"
	exampleHost    = exampleAccount + ".dkr.ecr.us-west-2.amazonaws.com"

	maxQuote = 120 // bytes of someone's input in one message
)

// A refusal says why a name was refused, and what a right one looks like.
type refusal struct {
	why     string
	write   string // what was probably meant, when that is a valid host
	form    string
	example string
}

func refuse(why string) *refusal {
	return &refusal{why: why, form: exampleForm, example: exampleHost}
}

// try offers a correction, if it is a registry.
func (r *refusal) try(name string) *refusal {
	if _, bad := parseHost(name); bad == nil {
		r.write = name
	}
	return r
}

func (r *refusal) of(name string) error {
	// What stands before an @ may be a password: never repeat it.
	shown := quote(name)
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		shown = quote("..." + name[i:])
	}
	if r.write != "" {
		return errors.New(shown + ": " + r.why + "; write " + r.write)
	}
	return errors.New(shown + ": " + r.why + "; expected " + r.form + ", for example " + r.example)
}

// notBare refuses what is not a bare, lower-case ASCII host name, each thing in its own words.
func notBare(name string) *refusal {
	if name == "" {
		return refuse("the name is empty")
	}
	for i, c := range name {
		switch {
		case c == utf8.RuneError:
			return refuse("byte " + itoa(i+1) + " is not text (the name must be ASCII)")
		case c > 0x7f:
			return refuse("the character " + strconv.QuoteRuneToASCII(c) + " is not ASCII; the names of AWS are")
		case c == ' ' || c >= '\t' && c <= '\r':
			r := refuse("there is white space in it")
			if trimmed := strings.TrimSpace(name); trimmed != name {
				r.try(trimmed)
			}
			return r
		case c < ' ' || c == 0x7f:
			return refuse("there is a control character in it")
		}
	}
	if scheme, rest, ok := strings.Cut(name, "://"); ok {
		return refuse("that is a URL (" + quote(scheme) + "); give the host alone").try(bare(rest))
	}
	if host, _, ok := strings.Cut(name, "/"); ok {
		if host == "" || strings.Contains(host, "@") {
			return refuse("give the host alone, without user name or path").try(bare(strings.TrimLeft(name, "/")))
		}
		return refuse("that is a host with a path, as in an image name; give the host alone").try(bare(name))
	}
	if strings.Contains(name, "@") {
		return refuse("a user name does not belong here (the refresher asks for the credentials itself)").try(bare(name))
	}
	if host, port, ok := strings.Cut(name, ":"); ok {
		if strings.HasPrefix(port, ":") || strings.HasPrefix(host, "[") {
			return refuse("that looks like an IP address")
		}
		return refuse("a registry of ECR has no port or tag (\":\")").try(bare(name))
	}
	if lower := strings.ToLower(name); lower != name {
		return refuse("docker compares host names letter by letter, so only lower case works").try(lower)
	}
	for i := range len(name) {
		if !isLower(name[i]) && !isDigit(name[i]) && name[i] != '.' && name[i] != '-' {
			return refuse("the character " + quote(name[i:i+1]) + " does not belong in a host name")
		}
	}
	switch {
	case strings.HasSuffix(name, ".") && !strings.HasSuffix(name, ".."):
		return refuse("docker does not treat a name with a dot at its end as the same host; leave the dot off").try(strings.TrimSuffix(name, "."))
	case strings.HasPrefix(name, "."), strings.Contains(name, ".."):
		return refuse("there is nothing between two dots, or before the first")
	case len(name) > maxName:
		return refuse("a host name has at most " + itoa(maxName) + " bytes (" + itoa(len(name)) + " given)")
	}
	return nil
}

// notECR: the name is a host name, but not one of a registry of ECR.
func notECR(name string) *refusal {
	first, rest, _ := strings.Cut(name, ".")
	second, _, _ := strings.Cut(rest, ".")
	switch {
	case strings.HasSuffix(name, ".ecr.aws"), strings.HasPrefix(name, "ecr-public."), first == "ecr", strings.HasPrefix(name, publicName), strings.Contains(name, "ecr-public"):
		if first == "ecr" && strings.Count(name, ".") > 1 {
			return refuse("that is the API of ECR, not a registry")
		}
		r := refuse("that is not a name of ECR Public")
		r.form, r.example = "the name of ECR Public", publicName
		return r
	case first == "api":
		return refuse("that is the API of ECR, not a registry")
	case first == "dkr" || first == "dkr-ecr" || first == "dkr-ecr-fips":
		return refuse("the account is missing")
	case all(first, isDigit) && accountProblem(first) == "" && strings.Contains(second, "dkr"):
		return refuse("after the account comes dkr.ecr, dkr.ecr-fips, dkr-ecr or dkr-ecr-fips")
	}
	return refuse("that is not the name of an ECR registry (its own name for ECR can be an alias: HOST?alias=NAME)")
}

// bare strips from s what surrounds a host name.
func bare(s string) string {
	s, _, _ = strings.Cut(s, "?")
	if host, _, ok := strings.Cut(s, "/"); ok {
		s = host
	}
	s = s[strings.LastIndexByte(s, '@')+1:]
	s, _, _ = strings.Cut(s, ":")
	return strings.TrimSuffix(strings.ToLower(s), ".")
}

// quote shows input: ASCII only, so that a look-alike letter shows itself, and short.
func quote(s string) string {
	q := []byte{'"'}
	for rest := s; rest != ""; {
		_, size := utf8.DecodeRuneInString(rest)
		piece := strconv.QuoteToASCII(rest[:size])
		if piece = piece[1 : len(piece)-1]; len(q)+len(piece) > maxQuote {
			return string(q) + "\"…"
		}
		q, rest = append(q, piece...), rest[size:]
	}
	return string(append(q, '"'))
}

func itoa(n int) string { return strconv.Itoa(n) }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}
