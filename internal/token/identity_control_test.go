package token

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"ecr-refresher/internal/fault"
)

// Credentials that no header can carry are named as such, and not as trouble of the network; their value is in no error.
func TestControlCharacterInCredentials(t *testing.T) {
	good := aws.Credentials{AccessKeyID: "sesame-id", SecretAccessKey: "sesame-secret", SessionToken: "sesame-token", Source: "EnvConfigCredentials"}
	for name, change := range map[string]func(*aws.Credentials){
		"none":                   nil,
		"no session token":       func(c *aws.Credentials) { c.SessionToken = "" },
		"a line end at the end":  func(c *aws.Credentials) { c.SessionToken += "\n" },
		"of the key's id":        func(c *aws.Credentials) { c.AccessKeyID += "\r\n" },
		"of the secret":          func(c *aws.Credentials) { c.SecretAccessKey += "\n" },
		"a zero in the middle":   func(c *aws.Credentials) { c.SessionToken = "sesame\x00token" },
		"a delete at the start":  func(c *aws.Credentials) { c.AccessKeyID = "\x7fsesame" },
		"a tab, which is no key": func(c *aws.Credentials) { c.AccessKeyID = "sesame\tid" },
	} {
		creds := good
		if change != nil {
			change(&creds)
		}
		id := &identity{cache: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })}
		_, err := id.Retrieve(t.Context())
		if name == "none" || name == "no session token" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		class, _ := fault.ClassOf(err)
		if class != fault.CredentialsUnavailable || strings.Contains(err.Error(), "sesame") || !strings.Contains(fault.CureOf(err), "AWS_SESSION_TOKEN") {
			t.Errorf("%s: %q: %v", name, class, err)
		}
	}
}
