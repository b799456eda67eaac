package main

import "testing"

// AWS's roots are picked from the file that crypto/x509 reads.
func TestCABundle(t *testing.T) {
	for environ, want := range map[string]string{
		"":                           "/etc/ssl/certs/ca-certificates.crt",
		"SSL_CERT_FILE=":             "/etc/ssl/certs/ca-certificates.crt",
		"SSL_CERT_FILE=/run/own.pem": "/run/own.pem",
		"SSL_CERT_DIR=/run/certs":    "/etc/ssl/certs/ca-certificates.crt",
	} {
		if got := clientOptions(invocation{environ: []string{environ}}, settings{}, "us-west-2", "", "").CABundle; got != want {
			t.Errorf("%q: %s, want %s", environ, got, want)
		}
	}
}
