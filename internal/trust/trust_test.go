package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// debian is the CA bundle of our image, and of Debian and its like.
const debian = "/etc/ssl/certs/ca-certificates.crt"

// The machine's bundle of these tests: crypto/x509 reads it once in a process.
var (
	bundle string // its file

	amazon    = newRoot("Amazon", "Amazon Root CA 1")
	starfield = newRoot("Starfield Technologies, Inc.", "Starfield Services Root Certificate Authority - G2")
	other     = newRoot("Example Trust", "Example Root") // of the bundle, and not AWS's
	stranger  = newRoot("Amazon", "Amazon Root CA 1")    // not of the bundle, whatever it calls itself
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "trust")
	if err != nil {
		panic(err)
	}
	bundle = filepath.Join(dir, "bundle.pem")
	if err := os.WriteFile(bundle, append(append(other.pem(), amazon.pem()...), starfield.pem()...), 0o600); err != nil {
		panic(err)
	}
	for name, value := range map[string]string{"SSL_CERT_FILE": bundle, "SSL_CERT_DIR": dir + "/none"} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func TestWhoIsTrusted(t *testing.T) {
	tests := []struct {
		name   string
		signer root
		trust  bool
		quick  bool // without the whole bundle
	}{
		{"a root of Amazon", amazon, true, true},
		{"a root of Starfield", starfield, true, true},
		{"another root of the bundle", other, true, false},
		{"a root that is not in the bundle", stranger, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var handshakes atomic.Int32
			server := tt.signer.serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, &handshakes)
			client := &http.Client{Transport: Transport(&http.Transport{}, Likely(bundle))}
			for range 2 {
				// As the SDK sends it: a body that cannot be had twice.
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server, struct{ io.Reader }{strings.NewReader("the body")})
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				if !tt.trust {
					if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !unknown {
						t.Fatalf("error %v, want an unknown authority", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || string(body) != "the body" {
					t.Errorf("the server got %q, %v", body, err)
				}
			}
			client.CloseIdleConnections()
			if want, got := map[bool]int32{true: 1, false: 2}[tt.quick], handshakes.Load(); tt.trust && got != want {
				t.Errorf("%d handshakes for two requests, want %d", got, want)
			}
		})
	}
}

// Roots that the caller names are the only ones.
func TestRootsOfOnesOwn(t *testing.T) {
	pool := x509.NewCertPool()
	pool.AddCert(stranger.cert)
	client := &http.Client{Transport: Transport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}, Likely(bundle))}
	get := func(r root) error {
		resp, err := client.Get(r.serve(t, func(http.ResponseWriter, *http.Request) {}, new(atomic.Int32)))
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	if err := get(stranger); err != nil {
		t.Errorf("a server of that root: %v", err)
	}
	for _, r := range []root{amazon, other} {
		if err := get(r); err == nil {
			t.Error("a server of the machine's bundle was trusted too")
		}
	}
}

// A root of AWS that has expired hides none of the same name that has not.
func TestExpiredRoot(t *testing.T) {
	tmpl := *amazon.cert
	tmpl.NotAfter = time.Now().Add(-time.Minute)
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, amazon.key.Public(), amazon.key)
	if err != nil {
		t.Fatal(err)
	}
	expired, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	believing := func(c *x509.Certificate) *http.Transport {
		pool := x509.NewCertPool()
		pool.AddCert(c)
		return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	}
	client := &http.Client{Transport: &transport{quick: believing(expired), whole: believing(amazon.cert), others: map[string]bool{}}}
	resp, err := client.Get(amazon.serve(t, func(http.ResponseWriter, *http.Request) {}, new(atomic.Int32)))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// Without a bundle to pick from, a transport stays as it is: crypto/x509 looks for roots in more places.
func TestNoBundle(t *testing.T) {
	for _, file := range []string{"", filepath.Join(t.TempDir(), "none.pem"), t.TempDir(), os.DevNull} {
		if plain := (&http.Transport{}); Transport(plain, Likely(file)) != plain {
			t.Errorf("%q: roots of it are tried first", file)
		}
	}
}

func TestPick(t *testing.T) {
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	crlf := bytes.ReplaceAll(amazon.pem(), []byte("\n"), []byte("\r\n"))
	tests := []struct {
		name string
		text []byte
		want int
	}{
		{"nothing", nil, 0},
		{"no certificate", []byte("hello\n"), 0},
		{"none of AWS's", other.pem(), 0},
		{"one", amazon.pem(), 1},
		{"one among others, and remarks", join([]byte("# Example\n"), other.pem(), []byte("\n# Amazon Root CA 1\n"), amazon.pem(), other.pem()), 1},
		{"two", join(amazon.pem(), starfield.pem()), 2},
		{"with a carriage return", crlf, 1},
		{"in a remark", bytes.ReplaceAll(amazon.pem(), []byte("-----B"), []byte(" -----B")), 0},
		{"cut off, then nothing", amazon.pem()[:200], 0},
		{"cut off, then a whole one", join(amazon.pem()[:200], []byte("\n"), starfield.pem()), 1},
		{"only the beginning of a beginning", begin, 0},
		{"a certificate that is none", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("Amazon")}), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pool := pick(bytes.NewReader(tt.text))
			got := 0
			for _, r := range []root{amazon, starfield, other} {
				leaf := r.leaf()
				if pool == nil {
					continue
				}
				if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool}); err == nil {
					got++
				}
			}
			if got != tt.want || (pool == nil) != (tt.want == 0) {
				t.Errorf("%d roots were picked, want %d (pool: %v)", got, tt.want, pool != nil)
			}
		})
	}
}

// Every root of AWS is picked from the bundle that the image ships.
func TestPickFromDebian(t *testing.T) {
	text, err := os.ReadFile(debian)
	if err != nil {
		t.Skip("this machine has no CA bundle at ", debian)
	}
	want := x509.NewCertPool()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && len(c.Subject.Organization) == 1 &&
			(c.Subject.Organization[0] == "Amazon" || strings.HasPrefix(c.Subject.Organization[0], "Starfield")) {
			want.AddCert(c)
		}
	}
	if got := pick(bytes.NewReader(text)); got == nil || !got.Equal(want) {
		t.Error("what was picked is not what the subjects name")
	}
}

// BenchmarkBundle is what the machine's bundle costs at a start: the roots of AWS, and all of them.
func BenchmarkBundle(b *testing.B) {
	text, err := os.ReadFile(debian)
	if err != nil {
		b.Skip("this machine has no CA bundle at ", debian)
	}
	b.Run("picked", func(b *testing.B) {
		for b.Loop() {
			pick(bytes.NewReader(text))
		}
	})
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			x509.NewCertPool().AppendCertsFromPEM(text)
		}
	})
}

// root is a certificate authority.
type root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newRoot(organization, name string) root {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	r := root{key: key}
	r.cert = r.sign(&x509.Certificate{
		Subject: pkix.Name{Organization: []string{organization}, CommonName: name},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return r
}

// sign makes a certificate, the root's own where there is none yet.
func (r root) sign(tmpl *x509.Certificate) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err)
	}
	tmpl.SerialNumber, tmpl.NotBefore, tmpl.NotAfter = serial, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := r.cert
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, r.key.Public(), r.key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

func (r root) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.cert.Raw})
}

func (r root) leaf() tls.Certificate {
	cert := r.sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: r.key, Leaf: cert}
}

// serve answers over TLS with a certificate of this root, and counts the handshakes.
func (r root) serve(t *testing.T, answer http.HandlerFunc, handshakes *atomic.Int32) (url string) {
	t.Helper()
	server := httptest.NewUnstartedServer(answer)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{r.leaf()},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { handshakes.Add(1); return nil, nil }}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return fmt.Sprintf("https://%s/", server.Listener.Addr())
}
