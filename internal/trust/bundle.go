package trust

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"io"
	"os"
	"runtime"
)

// Likely are those of the roots in a CA bundle that AWS's endpoints are likely to chain to. It reads the bundle, as crypto/x509
// does later. Nil where there is none, or no such file: then all of the machine's roots are parsed, as by any Go program.
func Likely(bundle string) *x509.CertPool {
	if runtime.GOOS != "linux" { // other systems keep their roots, and what they distrust, elsewhere
		return nil
	}
	f, err := os.Open(bundle) //nolint:gosec // G304: the file that the caller names
	if err != nil {
		return nil
	}
	defer f.Close()
	return pick(f)
}

// pick returns the certificates of a PEM bundle that name Amazon or Starfield; nil for none. It never holds the bundle as a whole,
// and decodes of the others only the beginning: a root names its issuer, itself, within the first 300 bytes.
func pick(bundle io.Reader) *x509.CertPool {
	var pool *x509.CertPool
	var coded []byte // of the certificate that is being read
	inside := false
	for lines := bufio.NewScanner(bundle); lines.Scan(); {
		switch line := bytes.TrimRight(lines.Bytes(), " \t\r"); { // what is indented is a remark, to crypto/x509 too
		case bytes.Equal(line, begin):
			coded, inside = coded[:0], true
		case !inside:
		case !bytes.Equal(line, end):
			coded = append(coded, line...)
		default:
			inside = false
			if cert := aws(coded); cert != nil {
				if pool == nil {
					pool = x509.NewCertPool()
				}
				pool.AddCert(cert)
			}
		}
	}
	return pool
}

var begin, end = []byte("-----BEGIN CERTIFICATE-----"), []byte("-----END CERTIFICATE-----")

// aws is a certificate if it names Amazon or Starfield, and nil otherwise.
func aws(coded []byte) *x509.Certificate {
	var head [384]byte
	n, _ := base64.StdEncoding.Decode(head[:], coded[:min(len(coded), base64.StdEncoding.EncodedLen(len(head)))])
	if !bytes.Contains(head[:n], []byte("Amazon")) && !bytes.Contains(head[:n], []byte("Starfield")) {
		return nil
	}
	der, err := base64.StdEncoding.AppendDecode(nil, coded)
	if err != nil {
		return nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	return cert
}
