//go:build e2e

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The engine itself pulls and pushes for `docker`: it is the host that has to find the registry's name and trust it.
const (
	hostsFile  = "/etc/hosts"
	hostsMark  = " # " + mark
	certsDir   = "/etc/docker/certs.d"
	publicHost = "public.ecr.aws"
)

// tellHost lets the engine find registries at the stand-ins and trust these, until the test ends.
func tellHost(t *testing.T, w *world) {
	t.Helper()
	t.Cleanup(restoreHost)
	lines := ""
	for host, ip := range map[string]string{registryHost: agentIP, publicHost: w.public} {
		if ip == "" {
			continue
		}
		lines += ip + " " + host + hostsMark + "\n"
		dir := filepath.Join(certsDir, host)
		if _, err := os.Stat(dir); err == nil {
			t.Fatalf("%s is there already: this machine has a use for that name", dir)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for to, from := range map[string]string{"ca.crt": w.aws.CAFile(), "." + mark: os.DevNull} {
			b, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, to), b, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	f, err := os.OpenFile(hostsFile, os.O_APPEND|os.O_WRONLY, 0) // in place: it may be a mount
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(lines); err != nil {
		t.Fatal(err)
	}
	time.Sleep(6 * time.Second) // the engine, as every Go program, reads the file again after 5 s
}

// restoreHost takes back what tellHost did, in an earlier, killed run too.
func restoreHost() {
	old, err := os.ReadFile(hostsFile)
	if err == nil && bytes.Contains(old, []byte(hostsMark)) {
		var kept []byte
		for l := range bytes.Lines(old) {
			if !bytes.Contains(l, []byte(hostsMark)) {
				kept = append(kept, l...)
			}
		}
		_ = os.WriteFile(hostsFile, kept, 0o644)
	}
	for _, host := range []string{registryHost, publicHost} {
		if _, err := os.Stat(filepath.Join(certsDir, host, "."+mark)); err == nil {
			_ = os.RemoveAll(filepath.Join(certsDir, host))
		}
	}
	_ = os.Remove(certsDir) // only where it is empty
}

// tinyImage is an image that every consumer takes.
func tinyImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(2<<10, 2)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

// archive writes the image as `docker save` does.
func archive(t *testing.T, img v1.Image, ref, at string) {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(at, tag, img); err != nil {
		t.Fatal(err)
	}
}

// newestToken is the password of the last token that was issued.
func (w *world) newestToken() string {
	all := w.aws.Tokens()
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1].Password
}

// inRegistry is the digest of what the stand-in for ECR holds under a name; empty where there is nothing.
func (w *world) inRegistry(t *testing.T, ref string) string {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(r, remote.WithTransport(w.aws.Transport()), remote.WithAuth(&authn.Basic{Username: "AWS", Password: w.newestToken()}))
	if err != nil {
		return ""
	}
	return d.Digest.String()
}

// put pushes an image into the stand-in for ECR.
func (w *world) put(t *testing.T, ref string, img v1.Image) {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	auth := remote.WithAuth(&authn.Basic{Username: "AWS", Password: w.newestToken()})
	if err := remote.Write(r, img, remote.WithTransport(w.aws.Transport()), auth); err != nil {
		t.Fatal(err)
	}
}

// servePublic stands in for public.ecr.aws, which gives its images to anybody: docker/library/busybox:stable is there. It listens on
// the address of the engine's default bridge, which containers and the engine reach.
func (w *world) servePublic(t *testing.T) v1.Image {
	t.Helper()
	ip := bridgeIP(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: publicHost}, DNSNames: []string{publicHost}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.OpenFile(w.aws.CAFile(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	if err := pem.Encode(ca, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", net.JoinHostPort(ip, "443"), &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	silent := log.New(io.Discard, "", 0)
	handler := registry.New(registry.Logger(silent))
	srv := &http.Server{ErrorLog: silent, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		handler.ServeHTTP(rw, r)
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	w.public = ip

	ref, err := name.ParseReference(publicHost + "/docker/library/busybox:stable")
	if err != nil {
		t.Fatal(err)
	}
	img := tinyImage(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	direct := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DialTLS: nil}
	direct.Dial = func(network, _ string) (net.Conn, error) { return net.Dial(network, net.JoinHostPort(ip, "443")) }
	if err := remote.Write(ref, img, remote.WithTransport(direct)); err != nil {
		t.Fatal(err)
	}
	return img
}

// bridgeIP is this host's address on the engine's default bridge.
func bridgeIP(t *testing.T) string {
	t.Helper()
	name := docker(t, "network", "inspect", "bridge", "--format", `{{index .Options "com.docker.network.bridge.name"}}`)
	bridge, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := bridge.Addrs()
	if err != nil || len(addrs) == 0 {
		t.Fatalf("%s has no address: %v", name, err)
	}
	ip, _, _ := strings.Cut(addrs[0].String(), "/")
	return ip
}

// hasAll reports whether a text has every one of the words in it.
func hasAll(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}
