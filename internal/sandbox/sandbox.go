// Package sandbox is a local stand-in for the parts of AWS that a refresher meets: the ECS agent's credentials and task metadata,
// ECR, ECR Public and STS with real SigV4 verification, and an OCI registry that honours the tokens these gave out. It is as strict
// as AWS wherever a client could be wrong, and misbehaves on demand (Fault).
//
// It owns its listeners, its certificate authority, every secret it issued and the record of who called. It refuses to know anything
// of the refresher: it imports nothing else of this module, so that a mistake there cannot be repeated here. It is imported by tests
// and cmd/sandbox only, and never reaches the shipped binary.
package sandbox

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Config says what to stand in for. The zero value has usable defaults.
type Config struct {
	Addr    string // the plain HTTP listener and CONNECT proxy; default "127.0.0.1:0"
	TLSAddr string // the TLS listener, certificates by SNI; default "127.0.0.1:0"

	Account string // of the task; default "123456789012"
	Region  string // of the task; default "us-west-2"
	TaskID  string // default: a fixed one of 32 hexadecimal digits; the cluster is "sandbox"

	TokenLife      time.Duration // of an authorization token; default 12h
	CredentialLife time.Duration // of the task role's credentials; default 6h

	// Latency is added before each AWS API answer. Default 1ms: a TLS server without latency stalls SDK calls now and then.
	// Negative means none.
	Latency time.Duration
	// ClockOffset is the server's clock minus the local one: in Date headers, expiries and signature checks.
	ClockOffset time.Duration

	CADir string // where ca.pem is written; default: a temporary directory that Close removes

	// Roles are the roles that may be assumed, by ARN. Nil: every role of the task's partition, by anyone.
	Roles map[string]Role

	// Log is called once per request, never concurrently: method, service, operation, status, and never a secret. Nil is silent.
	Log func(line string)
}

// Role is a role that STS lets callers assume.
type Role struct {
	ExternalID string   // required of the caller when not empty
	TrustedBy  []string // role ARNs, session ARNs or account ids; empty trusts everyone
}

// Sandbox is one running stand-in. All methods are safe for concurrent use.
type Sandbox struct {
	cfg       Config
	partition partition
	taskRole  principal
	credsID   string // last element of the credentials path
	metaID    string // last element of the metadata path

	settings settings
	vault    *vault
	faults   faultTable
	journal  journal
	registry registries

	ca      *authority
	plain   net.Listener
	secure  net.Listener
	tunnels *tunnelListener
	server  *http.Server

	closing   chan struct{} // closed first: releases hung and delayed requests
	serving   sync.WaitGroup
	conns     sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
	removeDir string

	logMu sync.Mutex
}

// Start listens, writes the CA certificate and serves until Close.
func Start(cfg Config) (*Sandbox, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	p := partitionOf(cfg.Region)
	s := &Sandbox{
		cfg:       cfg,
		partition: p,
		taskRole:  principal{partition: p.id, account: cfg.Account, role: "sandbox-task", roleARN: roleARN(p.id, cfg.Account, "sandbox-task"), session: cfg.TaskID},
		credsID:   randomUUID(),
		metaID:    cfg.TaskID + "-0000000001",
		settings: settings{
			offset: cfg.ClockOffset, tokenLife: cfg.TokenLife, credentialLife: cfg.CredentialLife, latency: cfg.Latency,
		},
		vault:   newVault(),
		tunnels: newTunnelListener(),
		closing: make(chan struct{}),
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("sandbox: %w", errors.Join(err, s.release()))
	}
	s.serve()
	return s, nil
}

func (c Config) withDefaults() Config {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	life := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Addr, "127.0.0.1:0")
	def(&c.TLSAddr, "127.0.0.1:0")
	def(&c.Account, "123456789012")
	def(&c.Region, "us-west-2")
	def(&c.TaskID, "0123456789abcdef0123456789abcdef")
	life(&c.TokenLife, 12*time.Hour)
	life(&c.CredentialLife, 6*time.Hour)
	life(&c.Latency, time.Millisecond)
	c.Latency = max(c.Latency, 0)
	return c
}

// Validate says what is wrong with a configuration, defaults applied; Start does so too.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	check := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	check(regexp.MustCompile(`^\d{12}$`).MatchString(c.Account), "account %q is not 12 digits", c.Account)
	check(partitionOf(c.Region).id != "", "region %q is of no known partition", c.Region)
	check(regexp.MustCompile(`^[0-9a-zA-Z-]+$`).MatchString(c.TaskID), "task id %q has other characters than letters, digits and -", c.TaskID)
	check(c.TokenLife > 0, "token life %v is not positive", c.TokenLife)
	check(c.CredentialLife > 0, "credential life %v is not positive", c.CredentialLife)
	return errors.Join(errs...)
}

// open acquires all that can fail; release gives it back.
func (s *Sandbox) open() (err error) {
	dir := s.cfg.CADir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "sandbox-ca-"); err != nil {
			return err
		}
		s.removeDir = dir
	}
	if s.ca, err = newAuthority(dir); err != nil {
		return err
	}
	if s.plain, err = net.Listen("tcp", s.cfg.Addr); err != nil {
		return err
	}
	if s.secure, err = net.Listen("tcp", s.cfg.TLSAddr); err != nil {
		return err
	}
	return nil
}

func (s *Sandbox) release() error {
	var errs []error
	for _, l := range []net.Listener{s.plain, s.secure} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.removeDir != "" {
		errs = append(errs, os.RemoveAll(s.removeDir))
	}
	return errors.Join(errs...)
}

// serve runs one http.Server over three listeners: plain, TLS, and the tunnels that CONNECT opened.
func (s *Sandbox) serve() {
	s.server = &http.Server{
		Handler:           http.HandlerFunc(s.handle),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// No read or write timeout: Fault "hang" lasts until the client goes away.
		ErrorLog: log.New(lineWriter(s.logLine), "", 0),
		ConnState: func(_ net.Conn, st http.ConnState) {
			switch st {
			case http.StateNew:
				s.conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				s.conns.Done()
			}
		},
	}
	secure := tls.NewListener(s.secure, s.ca.tlsConfig(hostOnly(s.secure.Addr().String())))
	for _, l := range []net.Listener{s.plain, secure, s.tunnels} {
		s.serving.Go(func() { _ = s.server.Serve(l) }) // always http.ErrServerClosed after Close
	}
}

// Close ends listeners, connections and hung requests, and waits for them. Calling it again returns the same error.
func (s *Sandbox) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		err := s.server.Close()
		s.tunnels.Close()
		s.serving.Wait() // after this no connection can be added to conns
		s.conns.Wait()
		if errors.Is(err, net.ErrClosed) {
			err = nil
		}
		s.closeErr = errors.Join(err, s.release())
	})
	return s.closeErr
}

// URL is the plain listener, without a trailing slash: an AWS endpoint, a CONNECT proxy, a registry and the control endpoint.
func (s *Sandbox) URL() string { return "http://" + s.plain.Addr().String() }

// TLSAddr is host:port of the TLS listener.
func (s *Sandbox) TLSAddr() string { return s.secure.Addr().String() }

// CAFile is the PEM file with the certificate that signed all others.
func (s *Sandbox) CAFile() string { return s.ca.file }

// Environ is what ECS would set in a container of the task, and what sends the real AWS host names here. KEY=VALUE; no region, no keys.
func (s *Sandbox) Environ() []string {
	return []string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + s.URL() + credentialsPath + s.credsID,
		"ECS_CONTAINER_METADATA_URI_V4=" + s.URL() + metadataPath + s.metaID,
		"HTTPS_PROXY=" + s.URL(),
		"https_proxy=" + s.URL(),
		"NO_PROXY=127.0.0.1,localhost,169.254.170.2",
		"SSL_CERT_FILE=" + s.CAFile(),
	}
}

func (s *Sandbox) logLine(line string) {
	if s.cfg.Log == nil {
		return
	}
	s.logMu.Lock()
	defer s.logMu.Unlock()
	s.cfg.Log(line)
}

// lineWriter hands each write of net/http's error log to a line function.
type lineWriter func(string)

func (f lineWriter) Write(p []byte) (int, error) {
	f(strings.TrimSpace(string(p)))
	return len(p), nil
}
