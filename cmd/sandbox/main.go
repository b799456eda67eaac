// Command sandbox stands in for AWS on this machine, so that refresher can be tried and developed without an account.
//
//	sandbox [serve] [flags]
//	sandbox demo --refresher PATH
//
// It prints the environment in which to run refresher, then one line per request. GET /control/ on its plain listener tells how to make
// it misbehave while it runs. It ends with 0 on SIGINT or SIGTERM, 2 when called wrongly, 1 when it cannot run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"ecr-refresher/internal/cli"
	"ecr-refresher/internal/sandbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// settings are those of both commands.
type settings struct {
	serve serveCmd
	demo  demoCmd
	streams
}

// streams are where a command prints.
type streams struct{ out, err io.Writer }

var program = cli.Program[settings]{
	Name:  "sandbox",
	About: []string{"A local stand-in for AWS: ECS credentials and metadata, ECR, ECR Public, STS, and a registry that honours the tokens."},
	Commands: []cli.Command[settings]{{
		Name:    "serve",
		Summary: "Stand in for AWS until told to stop. The default.",
		Options: func(s *settings) []cli.Option { return s.serve.table() },
		Run:     func(ctx context.Context, s *settings) int { return status(s, s.serve.run(ctx, s.streams)) },
	}, {
		Name:    "demo",
		Summary: "Show a refresher at work: tokens issued, written, renewed and used.",
		Options: func(s *settings) []cli.Option { return s.demo.table() },
		Check:   func(s *settings, _ bool) []string { return s.demo.missing() },
		Run:     func(ctx context.Context, s *settings) int { return status(s, s.demo.run(ctx, s.streams)) },
	}},
}

// run is the process without the process: 0 done or asked to stop, 1 failed, 2 called wrongly.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	s, c, err := program.Parse(args, nil, out)
	if err != nil {
		return cli.Explain(errOut, err)
	}
	s.streams = streams{out, errOut}
	return c.Run(ctx, s)
}

// status is the exit status of a command, whose error it prints.
func status(s *settings, err error) int {
	if err != nil {
		fmt.Fprintln(s.streams.err, err)
		return 1
	}
	return 0
}

type serveCmd struct {
	addr, tlsAddr             string
	account, region           string
	tokenLife, credentialLife time.Duration
	latency, clockOffset      time.Duration
	faults                    []sandbox.Fault
	quiet                     bool
}

// longest bounds the times that can be set: about six weeks.
const longest = 1000 * time.Hour

func (c *serveCmd) table() []cli.Option {
	life := cli.Duration(time.Millisecond, longest)
	return []cli.Option{{
		Name: "addr", Value: "HOST:PORT", Default: "127.0.0.1:0", Take: cli.Last(&c.addr, cli.Text),
		Help: "Plain HTTP and CONNECT proxy; port 0 takes a free one.",
	}, {
		Name: "tls-addr", Value: "HOST:PORT", Default: "127.0.0.1:0", Take: cli.Last(&c.tlsAddr, cli.Text),
		Help: "TLS, certificates by SNI.",
	}, {
		Name: "account", Value: "ACCOUNT", Default: "123456789012", Take: cli.Last(&c.account, parseAccount),
		Help: "Account of the task.",
	}, {
		Name: "region", Value: "REGION", Default: "us-west-2", Take: cli.Last(&c.region, parseRegion),
		Help: "Region of the task.",
	}, {
		Name: "token-life", Value: "DURATION", Default: "12h", Take: cli.Last(&c.tokenLife, life),
		Help: "Life of an authorization token.",
	}, {
		Name: "credential-life", Value: "DURATION", Default: "6h", Take: cli.Last(&c.credentialLife, life),
		Help: "Life of the task role's credentials.",
	}, {
		Name: "latency", Value: "DURATION", Default: "1ms", Take: cli.Last(&c.latency, cli.Duration(0, longest)),
		Help: "Added before each AWS API answer.",
	}, {
		Name: "clock-offset", Value: "DURATION", Default: "0s", Take: cli.Last(&c.clockOffset, cli.Duration(-longest, longest)),
		Help: "The server's clock minus the local one.",
	}, {
		Name: "fault", Value: "SERVICE:KIND[:COUNT]", Take: c.takeFaults,
		Help: "Misbehave from the start. Repeat it for several. A wrong one lists the valid ones.",
	}, {
		Name: "quiet", Take: cli.Last(&c.quiet, cli.Toggle),
		Help: "No line per request.",
	}}
}

func parseAccount(s string) (string, error) { return s, sandbox.Config{Account: s}.Validate() }

func parseRegion(s string) (string, error) { return s, sandbox.Config{Region: s}.Validate() }

func (c *serveCmd) takeFaults(texts []string) error {
	var errs []error
	for _, text := range texts {
		f, err := sandbox.ParseFault(text)
		c.faults = append(c.faults, f)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *serveCmd) config(logLine func(string)) sandbox.Config {
	cfg := sandbox.Config{
		Addr: c.addr, TLSAddr: c.tlsAddr, Account: c.account, Region: c.region,
		TokenLife: c.tokenLife, CredentialLife: c.credentialLife, Latency: c.latency, ClockOffset: c.clockOffset, Log: logLine,
	}
	if cfg.Latency == 0 {
		cfg.Latency = -1 // 0 would mean the default
	}
	return cfg
}

// run serves until the context ends.
func (c *serveCmd) run(ctx context.Context, std streams) error {
	out := &lineWriter{w: std.out}
	var logLine func(string)
	if !c.quiet {
		logLine = func(line string) { out.print(time.Now().Format(time.TimeOnly) + " " + line + "\n") }
	}
	s, err := sandbox.Start(c.config(logLine))
	if err != nil {
		return err
	}
	s.Set(c.faults...)
	out.print(welcome(s, c))
	<-ctx.Done()
	return s.Close()
}

// lineWriter keeps the welcome and the requests' lines, which come from other goroutines, apart.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) print(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.w, text)
}

func welcome(s *sandbox.Sandbox, c *serveCmd) string {
	text := fmt.Sprintf(`AWS, on this machine: account %s, region %s. Nothing here is real.

  %s   credentials, metadata, APIs, registry, and the proxy for AWS's host names
  %s   the same over TLS, certificates by SNI
  %s/control/   how to make it misbehave

Run refresher in another terminal, with this environment (which spoils that terminal for everything else):

  unset AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_CA_BUNDLE
`, c.account, c.region, s.URL(), "https://"+s.TLSAddr(), s.URL())
	for _, kv := range s.Environ() {
		text += "  export " + kv + "\n"
	}
	for _, f := range s.Faults() {
		text += fmt.Sprintf("\nFault: %s shows %s", f.Service, f.Kind)
		if f.Count > 0 {
			text += fmt.Sprintf(", %d times", f.Count)
		}
	}
	return text + `
  mkdir -p /tmp/ecr && bin/refresher run --output /tmp/ecr/config.json --log-format console

and make it misbehave with, for example

  curl -X PUT ` + s.URL() + `/control/faults -d '[{"service": "ecr", "kind": "throttled"}]'

Stop with Ctrl-C. Requests:
`
}
