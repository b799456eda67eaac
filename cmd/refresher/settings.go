package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap/zapcore"

	"ecr-refresher/internal/healthcheck"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/registry"
)

// settings are valid: what exists has been checked.
type settings struct {
	registries        []registry.Spec // empty: the task's own
	registriesWrong   bool            // which only the command doctor goes on with
	outputs           []outputSetting
	region            string
	policy            refresh.Policy
	timeout           time.Duration
	parallel          int
	verify            string
	listen            string
	allowInstanceRole bool
	logLevel          zapcore.Level
	logFormat         string
	deadline          time.Duration // of once
}

type outputSetting struct {
	path string
	mode fs.FileMode
}

const defaultOutput = "/run/ecr/config.json"

// The values of --verify.
const (
	verifyIssue  = "issue"
	verifyHourly = "hourly"
	verifyOff    = "off"
)

// table describes the settings of a refresher, in the order in which the help shows them.
func (s *settings) table() []option {
	return []option{{
		name: "registry", twin: "REFRESHER_REGISTRIES", value: "HOST[?OPTION…]", take: s.takeRegistries,
		help: "A registry to stay logged in to: its host, 'default' for the task's own, with options such as role_arn, alias, endpoint and optional (see docs/registries.md). Repeat it for several; the variable separates them by white space or commas. Default: the task's own account in the task's region.",
	}, {
		name: "output", twin: "REFRESHER_OUTPUTS", value: "PATH[?mode=MODE]", take: s.takeOutputs,
		help: "A config.json to keep. Repeat it for several; the variable separates them by white space or commas; the first is the one that health speaks of. Default: /run/ecr/config.json.",
	}, {
		name: "output-mode", value: "MODE", preset: "0600", take: s.takeOutputMode,
		help: "Permissions of an output that names none itself. The image sets 0644, as consumers run under other users there.",
	}, {
		name: "region", value: "REGION", take: into(&s.region, parseRegion),
		help: "The task's region. Default: AWS_REGION, AWS_DEFAULT_REGION, else what the task metadata says.",
	}, {
		name: "renew-at", value: "SHARE", preset: "0.5", take: into(&s.policy.RenewAt, share(0.01, 0.95)),
		help: "Renew a token after this share of its life.",
	}, {
		name: "jitter", value: "SHARE", preset: "0.2", take: into(&s.policy.Jitter, share(0, 0.9)),
		help: "Renew up to this share of that time earlier, at random, so that tasks started together spread.",
	}, {
		name: "max-age", value: "DURATION", preset: "12h", take: into(&s.policy.MaxAge, duration(time.Second, 12*time.Hour)),
		help: "Renew a token at this age at the latest.",
	}, {
		name: "timeout", value: "DURATION", preset: "10s", take: into(&s.timeout, duration(100*time.Millisecond, time.Minute)),
		help: "Give up one attempt to renew after this time; the next follows by back-off.",
	}, {
		name: "parallel", value: "N", preset: "64", take: into(&s.parallel, count(1, 1024)),
		help: "Attempts that may run at the same time.",
	}, {
		name: "verify", value: "WHEN", preset: verifyIssue, take: into(&s.verify, oneOf(verifyIssue, verifyHourly, verifyOff)),
		help: "Ask each registry whether it accepts the token: 'issue' (after each renewal), 'hourly' (also every hour) or 'off'. Never part of health.",
	}, {
		name: "listen", value: "[HOST]:PORT", preset: healthcheck.DefaultListen, take: into(&s.listen, parseListen),
		help: "Where to serve /metrics, /healthz, /readyz, /livez, /status and the page at /.",
	}, {
		name: "allow-instance-role", take: into(&s.allowInstanceRole, parseToggle),
		help: "Use the EC2 instance's role where the task has no role of its own.",
	}, {
		name: "log-level", value: "LEVEL", preset: "info", take: into(&s.logLevel, parseLevel),
		help: "'debug', 'info', 'warn' or 'error'.",
	}, {
		name: "log-format", value: "FORMAT", preset: "json", take: into(&s.logFormat, oneOf("json", "console")),
		help: "'json', or 'console' for people.",
	}}
}

// ofOnce is what once has besides.
func (s *settings) ofOnce() []option {
	return []option{{
		name: "deadline", value: "DURATION", preset: "60s", take: into(&s.deadline, duration(time.Second, time.Hour)),
		help: "Give up after this time, with exit status 1.",
	}}
}

// ofHealthcheck is the one setting that matters to a health check.
func (s *settings) ofHealthcheck() []option {
	return []option{{
		name: "listen", value: "[HOST]:PORT", preset: healthcheck.DefaultListen, take: into(&s.listen, parseListen),
		help: "Where the refresher serves.",
	}}
}

func (s *settings) takeRegistries(texts []string) (err error) {
	s.registries, err = parseRegistries(texts)
	s.registriesWrong = err != nil
	return err
}

// takeOutputs leaves the mode of an output that names none to takeOutputMode, which comes after it.
func (s *settings) takeOutputs(texts []string) (err error) {
	s.outputs, err = parseOutputs(texts, 0)
	return err
}

func (s *settings) takeOutputMode(texts []string) error {
	var mode fs.FileMode
	err := into(&mode, parseMode)(texts)
	for i := range s.outputs {
		s.outputs[i].mode = cmp.Or(s.outputs[i].mode, mode)
	}
	return err
}

func parseRegistries(values []string) ([]registry.Spec, error) {
	var specs []registry.Spec
	var errs []error
	for _, v := range values {
		more, err := registry.ParseSpecs(v)
		if err != nil {
			errs = append(errs, err)
		}
		specs = append(specs, more...)
	}
	if len(errs) == 0 {
		if err := registry.CheckSpecs(specs); err != nil {
			errs = append(errs, err)
		}
	}
	return specs, errors.Join(errs...)
}

func parseOutputs(values []string, mode fs.FileMode) ([]outputSetting, error) {
	var outs []outputSetting
	var errs []error
	for _, v := range values {
		for _, one := range strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
			o, err := parseOutput(one, mode)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if slices.ContainsFunc(outs, func(p outputSetting) bool { return p.path == o.path }) {
				errs = append(errs, fmt.Errorf("%q is given twice", o.path))
			}
			outs = append(outs, o)
		}
	}
	if len(outs) == 0 && len(errs) == 0 {
		outs = []outputSetting{{defaultOutput, mode}}
	}
	return outs, errors.Join(errs...)
}

func parseOutput(s string, mode fs.FileMode) (outputSetting, error) {
	path, query, _ := strings.Cut(s, "?")
	switch {
	case !filepath.IsAbs(path):
		return outputSetting{}, fmt.Errorf("%q is no absolute path, such as %s", s, defaultOutput)
	case !utf8.ValidString(path):
		return outputSetting{}, fmt.Errorf("%q is not UTF-8: it could not be a label of a metric", s)
	case slices.Contains([]string{"", ".", ".."}, path[strings.LastIndex(path, "/")+1:]):
		return outputSetting{}, fmt.Errorf("%q is a directory; give the file, such as %s", s, filepath.Join(path, "config.json"))
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return outputSetting{}, fmt.Errorf("%q: %w", s, err)
	}
	for name, values := range options {
		if name != "mode" || len(values) != 1 {
			return outputSetting{}, fmt.Errorf("%q: the only option is mode, once, such as %s?mode=0644", s, path)
		}
		if mode, err = parseMode(values[0]); err != nil {
			return outputSetting{}, fmt.Errorf("%q: %w", s, err)
		}
	}
	return outputSetting{filepath.Clean(path), mode}, nil
}

func parseMode(s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	switch {
	case err != nil || n > 0o777:
		return 0, fmt.Errorf("%q is no permission in octal, such as 0600 or 0644", s)
	case n&0o400 == 0:
		return 0, fmt.Errorf("%q does not let the refresher itself read the file; give at least 0400", s)
	case n&0o022 != 0:
		return 0, fmt.Errorf("%q lets others write the file, and so choose what a consumer sends; leave their write bit out", s)
	}
	return fs.FileMode(n), nil
}

func parseRegion(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if _, err := registry.PrivateHost("000000000000", s); err != nil {
		return "", fmt.Errorf("%q is no AWS region, such as us-west-2", s)
	}
	return s, nil
}

func share(low, high float64) func(string) (float64, error) {
	return func(s string) (float64, error) {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !(n >= low && n <= high) {
			return 0, fmt.Errorf("%q is no number from %v to %v", s, low, high)
		}
		return n, nil
	}
}

func count(low, high int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("%q is no number from %d to %d", s, low, high)
		}
		return n, nil
	}
}

func duration(low, high time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < low || d > high {
			return 0, fmt.Errorf("%q is no time from %v to %v, such as %v", s, low, high, high/2)
		}
		return d, nil
	}
}

func parseListen(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || perr != nil:
		return "", fmt.Errorf("%q is no address to listen on, such as :9327 or 127.0.0.1:9327", s)
	case host != "" && net.ParseIP(host) == nil && host != "localhost":
		return "", fmt.Errorf("%q: give an IP address of this host, or none for all, such as :%d", s, n)
	}
	return s, nil
}

func parseToggle(s string) (bool, error) {
	if s == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return b, nil
}

func parseLevel(s string) (level zapcore.Level, err error) {
	if s, err = oneOf("debug", "info", "warn", "error")(s); err == nil {
		err = level.Set(s)
	}
	return level, err
}

func oneOf(valid ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(valid, s) {
			return "", fmt.Errorf("%q is none of %s", s, strings.Join(valid, ", "))
		}
		return s, nil
	}
}
