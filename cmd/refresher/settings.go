package main

import (
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

	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/registry"
)

// settings are valid: what exists has been checked.
type settings struct {
	registries        []registry.Spec // empty: the task's own
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

// settings parses every value and returns all that is wrong, each problem naming its flag and variable.
func (f flags) settings(deadline string) (settings, []string) {
	var (
		s        settings
		problems []string
	)
	wrong := func(flag string, err error) {
		if err == nil {
			return
		}
		name := "--" + flag + " (" + prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")) + ")"
		switch flag {
		case "registry":
			name = "--registry (REFRESHER_REGISTRIES)"
		case "output":
			name = "--output (REFRESHER_OUTPUTS)"
		}
		for _, one := range strings.Split(err.Error(), "\n") {
			problems = append(problems, name+": "+one)
		}
	}
	var err error
	s.registries, err = parseRegistries(f.Registry)
	wrong("registry", err)
	mode, err := parseMode(f.OutputMode)
	wrong("output-mode", err)
	s.outputs, err = parseOutputs(f.Output, mode)
	wrong("output", err)
	if s.region = f.Region; s.region != "" {
		_, err = registry.PrivateHost("000000000000", s.region)
		if err != nil {
			wrong("region", fmt.Errorf("%q is no AWS region, such as us-west-2", s.region))
		}
	}
	s.policy.RenewAt, err = parseShare(f.RenewAt, 0.01, 0.95)
	wrong("renew-at", err)
	s.policy.Jitter, err = parseShare(f.Jitter, 0, 0.9)
	wrong("jitter", err)
	s.policy.MaxAge, err = parseDuration(f.MaxAge, time.Second, 12*time.Hour)
	wrong("max-age", err)
	s.timeout, err = parseDuration(f.Timeout, 100*time.Millisecond, time.Minute)
	wrong("timeout", err)
	s.deadline, err = parseDuration(deadline, time.Second, time.Hour)
	wrong("deadline", err)
	if s.parallel, err = strconv.Atoi(f.Parallel); err != nil || s.parallel < 1 || s.parallel > 1024 {
		wrong("parallel", fmt.Errorf("%q is no number from 1 to 1024", f.Parallel))
	}
	s.verify, err = oneOf(f.Verify, verifyIssue, verifyHourly, verifyOff)
	wrong("verify", err)
	s.listen, err = parseListen(f.Listen)
	wrong("listen", err)
	s.allowInstanceRole, err = parseToggle(f.AllowInstanceRole)
	wrong("allow-instance-role", err)
	level, err := oneOf(f.LogLevel, "debug", "info", "warn", "error")
	wrong("log-level", err)
	_ = s.logLevel.Set(level)
	s.logFormat, err = oneOf(f.LogFormat, "json", "console")
	wrong("log-format", err)
	return s, problems
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

func parseShare(s string, low, high float64) (float64, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= low && n <= high) {
		return 0, fmt.Errorf("%q is no number from %v to %v", s, low, high)
	}
	return n, nil
}

func parseDuration(s string, low, high time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < low || d > high {
		return 0, fmt.Errorf("%q is no time from %v to %v, such as %v", s, low, high, high/2)
	}
	return d, nil
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

func parseToggle(t toggle) (bool, error) {
	if t == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(string(t))
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", string(t))
	}
	return b, nil
}

func oneOf(s string, valid ...string) (string, error) {
	if !slices.Contains(valid, s) {
		return "", fmt.Errorf("%q is none of %s", s, strings.Join(valid, ", "))
	}
	return s, nil
}
