package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Last is for Option.Take: it keeps what parse makes of the last text that is given, and of "" where none is.
func Last[T any](to *T, parse func(string) (T, error)) func([]string) error {
	return func(texts []string) (err error) {
		last := ""
		if len(texts) > 0 {
			last = texts[len(texts)-1]
		}
		*to, err = parse(last)
		return err
	}
}

// All is for Option.Take: it keeps all texts as they are.
func All(to *[]string) func([]string) error {
	return func(texts []string) error {
		*to = texts
		return nil
	}
}

// Text is for Last: it takes every text as it is.
func Text(text string) (string, error) { return text, nil }

// Toggle is for Last: true or false, and false where nothing is given.
func Toggle(s string) (bool, error) {
	if s == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return b, nil
}

// Number is for Last: a number with these bounds.
func Number(low, high float64) func(string) (float64, error) {
	return func(s string) (float64, error) {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !(n >= low && n <= high) {
			return 0, fmt.Errorf("%q is not a number from %v to %v", s, low, high)
		}
		return n, nil
	}
}

// Int is for Last: a whole number with these bounds.
func Int(low, high int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("%q is not a number from %d to %d", s, low, high)
		}
		return n, nil
	}
}

// Duration is for Last: a time with these bounds.
func Duration(low, high time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < low || d > high {
			return 0, fmt.Errorf("%q is not a duration from %v to %v, such as %v", s, low, high, high/2)
		}
		return d, nil
	}
}

// OneOf is for Last: one of these words.
func OneOf(valid ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(valid, s) {
			return "", fmt.Errorf("%q is not one of %s", s, strings.Join(valid, ", "))
		}
		return s, nil
	}
}
