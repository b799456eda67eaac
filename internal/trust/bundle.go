package trust

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"runtime"
	"sync"
)

// bundle is where crypto/x509 finds the machine's roots in our image, and on Debian and its like. On others all roots are
// parsed, as by any Go program.
const bundle = "/etc/ssl/certs/ca-certificates.crt"

// likely is those of the machine's roots that AWS's endpoints are likely to chain to; nil where there is none. It reads the
// bundle once, as crypto/x509 does.
var likely = sync.OnceValue(func() *x509.CertPool {
	if runtime.GOOS != "linux" { // other systems keep their roots, and what they distrust, elsewhere
		return nil
	}
	text, err := os.ReadFile(cmp.Or(os.Getenv("SSL_CERT_FILE"), bundle))
	if err != nil {
		return nil
	}
	return pick(text)
})

// pick returns the certificates of a bundle that name Amazon or Starfield; nil for none. It decodes only the beginning of the
// others: a root names its issuer, itself, within the first 300 bytes.
func pick(text []byte) *x509.CertPool {
	var pool *x509.CertPool
	head := make([]byte, base64.StdEncoding.DecodedLen(headLen))
	for {
		start := bytes.Index(text, begin)
		if start < 0 {
			return pool
		}
		text = text[start:]
		coded := text[len(begin):]
		n, _ := base64.StdEncoding.Decode(head, coded[:min(len(coded), headLen)]) // an error is where the certificate ends
		if !bytes.Contains(head[:n], []byte("Amazon")) && !bytes.Contains(head[:n], []byte("Starfield")) {
			text = coded
			continue
		}
		block, rest := pem.Decode(text)
		if block == nil {
			return pool
		}
		text = rest
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			if pool == nil {
				pool = x509.NewCertPool()
			}
			pool.AddCert(cert)
		}
	}
}

var begin = []byte("-----BEGIN CERTIFICATE-----")

// headLen is how much of a certificate's base64 is looked at.
const headLen = 512
