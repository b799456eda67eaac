// Package fault is the closed set of reasons for which the refresher cannot do its work.
//
// A fault is classified once, by the package at whose edge it happens; everyone else (log, metrics, status, doctor) reads
// the class. This package owns the names and what each means for the person who meets it; it refuses to know how a class is
// recognised.
package fault

import (
	"errors"
	"fmt"

	"ecr-refresher/internal/plain"
)

// Class names a reason. It is a log field, a metric label and a word in documentation: never rename one.
type Class string

// The classes, in the order a request travels.
const (
	NoCredentials          Class = "no_credentials"          // no task role: nothing offers credentials
	CredentialsUnavailable Class = "credentials_unavailable" // the endpoint is there and gives none now
	AccessDenied           Class = "access_denied"           // the role may not ask for a token
	AssumeRole             Class = "assume_role"             // a role of the chain refused us
	Throttled              Class = "throttled"               // too many calls in this account and region
	Network                Class = "network"                 // no name, no route, refused or cut off
	Timeout                Class = "timeout"                 // no answer within the deadline
	TLS                    Class = "tls"                     // the server's certificate is not trusted
	ClockSkew              Class = "clock_skew"              // the local clock is too wrong for a signature
	BadRequest             Class = "bad_request"             // the service says the call itself is wrong
	ServerError            Class = "server_error"            // the service failed
	InvalidResponse        Class = "invalid_response"        // the answer is no usable token
	TokenRejected          Class = "token_rejected"          // the registry does not accept the token
	OutputDenied           Class = "output_denied"           // no permission to write the file
	OutputFull             Class = "output_full"             // no space, no quota
	OutputInvalid          Class = "output_invalid"          // the existing file is no JSON object
	OutputOther            Class = "output_other"            // any other failure of the file
)

// kind says what a class is like: what the loop and the documentation need to know beyond its name.
type kind struct {
	class     Class
	permanent bool
}

// kinds is every class once. A permanent one stays until somebody changes something (a permission, a setting); it is still
// retried, as IAM changes arrive without a restart.
var kinds = []kind{
	{NoCredentials, true},
	{CredentialsUnavailable, false},
	{AccessDenied, true},
	{AssumeRole, true},
	{Throttled, false},
	{Network, false},
	{Timeout, false},
	{TLS, true},
	{ClockSkew, false},
	{BadRequest, true},
	{ServerError, false},
	{InvalidResponse, false},
	{TokenRejected, false},
	{OutputDenied, true},
	{OutputFull, false},
	{OutputInvalid, true},
	{OutputOther, false},
}

// Classes returns every class, in the order a request travels. The caller owns the slice.
func Classes() []Class {
	cs := make([]Class, len(kinds))
	for i, k := range kinds {
		cs[i] = k.class
	}
	return cs
}

// Permanent reports whether c stays until somebody changes a permission or a setting.
func (c Class) Permanent() bool {
	for _, k := range kinds {
		if k.class == c {
			return k.permanent
		}
	}
	return false
}

// OfOutput reports whether c is about a file rather than about a token.
func (c Class) OfOutput() bool {
	switch c {
	case OutputDenied, OutputFull, OutputInvalid, OutputOther:
		return true
	}
	return false
}

// Error is a failure with its class and its cure. Its text holds no secret.
type Error struct {
	Class Class
	Op    string // what was being done, as a phrase: "get an ECR token for us-west-2"
	Cure  string // what the reader can do about it, as a sentence; may be empty
	Err   error  // the cause; never nil
}

// Error tells what was being done and why it did not work, in one printable line: a cause may quote what others wrote. The class
// and the cure are told beside it, not in it.
func (e *Error) Error() string { return plain.Text(fmt.Sprintf("%s: %v", e.Op, e.Err), mostText) }

// mostText bounds the text of an error, in bytes: it is part of a log line, of which drivers cut off what is above 16 KB.
const mostText = 2000

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf is the class of the first Error in err's tree, and whether there is one.
func ClassOf(err error) (Class, bool) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class, true
	}
	return "", false
}

// CureOf is the cure of the first Error in err's tree, empty where there is none.
func CureOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Cure
	}
	return ""
}
