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

	"ecr-refresher/internal/cli"
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
func (s *settings) table() []cli.Option {
	return []cli.Option{{
		Name: "registry", Variable: "REFRESHER_REGISTRIES", Value: "HOST[?OPTION…]",
		Take: s.takeRegistries,
		Help: "A registry to stay logged in to: its host, 'default' for the task's own, with options such as role_arn, alias, endpoint and optional (see docs/registries.md). Repeat it for several; the variable separates them by white space or commas. Default: the task's own account in the task's region.",
	}, {
		Name: "output", Variable: "REFRESHER_OUTPUTS", Value: "PATH[?mode=MODE]",
		Take: s.takeOutputs,
		Help: "A config.json to keep. Repeat it for several; the variable separates them by white space or commas; the first is the one that health speaks of. Default: /run/ecr/config.json.",
	}, {
		Name: "output-mode", Variable: "REFRESHER_OUTPUT_MODE", Value: "MODE", Default: "0600",
		Take: s.takeOutputMode,
		Help: "Permissions of an output that names none itself. The image sets 0644, as consumers run under other users there.",
	}, {
		Name: "region", Variable: "REFRESHER_REGION", Value: "REGION",
		Take: cli.Last(&s.region, parseRegion),
		Help: "The task's region. Default: AWS_REGION, AWS_DEFAULT_REGION, else what the task metadata says.",
	}, {
		Name: "renew-at", Variable: "REFRESHER_RENEW_AT", Value: "SHARE", Default: "0.5",
		Take: cli.Last(&s.policy.RenewAt, cli.Number(0.01, 0.95)),
		Help: "Renew a token after this share of its life.",
	}, {
		Name: "jitter", Variable: "REFRESHER_JITTER", Value: "SHARE", Default: "0.2",
		Take: cli.Last(&s.policy.Jitter, cli.Number(0, 0.9)),
		Help: "Renew up to this share of that time earlier, at random, so that tasks started together spread.",
	}, {
		Name: "max-age", Variable: "REFRESHER_MAX_AGE", Value: "DURATION", Default: "12h",
		Take: cli.Last(&s.policy.MaxAge, cli.Duration(time.Second, 12*time.Hour)),
		Help: "Renew a token at this age at the latest.",
	}, {
		Name: "timeout", Variable: "REFRESHER_TIMEOUT", Value: "DURATION", Default: "10s",
		Take: cli.Last(&s.timeout, cli.Duration(100*time.Millisecond, time.Minute)),
		Help: "Give up one attempt to renew after this time; the next follows by back-off.",
	}, {
		Name: "parallel", Variable: "REFRESHER_PARALLEL", Value: "N", Default: "64",
		Take: cli.Last(&s.parallel, cli.Int(1, 1024)),
		Help: "Attempts that may run at the same time.",
	}, {
		Name: "verify", Variable: "REFRESHER_VERIFY", Value: "WHEN", Default: verifyIssue,
		Take: cli.Last(&s.verify, cli.OneOf(verifyIssue, verifyHourly, verifyOff)),
		Help: "Ask each registry whether it accepts the token: 'issue' (after each renewal), 'hourly' (also every hour) or 'off'. Never part of health.",
	}, {
		Name: "listen", Variable: "REFRESHER_LISTEN", Value: "[HOST]:PORT", Default: healthcheck.DefaultListen,
		Take: cli.Last(&s.listen, parseListen),
		Help: "Where to serve /metrics, /healthz, /readyz, /livez, /status and the page at /.",
	}, {
		Name: "allow-instance-role", Variable: "REFRESHER_ALLOW_INSTANCE_ROLE",
		Take: cli.Last(&s.allowInstanceRole, cli.Toggle),
		Help: "Use the EC2 instance's role where the task has no role of its own.",
	}, {
		Name: "log-level", Variable: "REFRESHER_LOG_LEVEL", Value: "LEVEL", Default: "info",
		Take: cli.Last(&s.logLevel, parseLevel),
		Help: "'debug', 'info', 'warn' or 'error'.",
	}, {
		Name: "log-format", Variable: "REFRESHER_LOG_FORMAT", Value: "FORMAT", Default: "json",
		Take: cli.Last(&s.logFormat, cli.OneOf("json", "console")),
		Help: "'json', or 'console' for people.",
	}}
}

// ofOnce is what once has besides.
func (s *settings) ofOnce() []cli.Option {
	return []cli.Option{{
		Name: "deadline", Variable: "REFRESHER_DEADLINE", Value: "DURATION", Default: "60s",
		Take: cli.Last(&s.deadline, cli.Duration(time.Second, time.Hour)),
		Help: "Give up after this time, with exit status 1.",
	}}
}

// ofHealthcheck is the one setting that matters to a health check.
func (s *settings) ofHealthcheck() []cli.Option {
	return []cli.Option{{
		Name: "listen", Variable: "REFRESHER_LISTEN", Value: "[HOST]:PORT", Default: healthcheck.DefaultListen,
		Take: cli.Last(&s.listen, parseListen),
		Help: "Where the refresher serves.",
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
	err := cli.Last(&mode, parseMode)(texts)
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
		return outputSetting{}, fmt.Errorf("%q is not an absolute path, such as %s", s, defaultOutput)
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
		return 0, fmt.Errorf("%q is not a permission in octal, such as 0600 or 0644", s)
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
		return "", fmt.Errorf("%q is not an AWS region, such as us-west-2", s)
	}
	return s, nil
}

func parseListen(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || perr != nil:
		return "", fmt.Errorf("%q is not an address to listen on, such as :9327 or 127.0.0.1:9327", s)
	case host != "" && net.ParseIP(host) == nil && host != "localhost":
		return "", fmt.Errorf("%q: give an IP address of this host, or none for all, such as :%d", s, n)
	}
	return s, nil
}

func parseLevel(s string) (level zapcore.Level, err error) {
	if s, err = cli.OneOf("debug", "info", "warn", "error")(s); err == nil {
		err = level.Set(s)
	}
	return level, err
}
