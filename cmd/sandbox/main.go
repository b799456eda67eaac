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

	"github.com/alecthomas/kong"

	"ecr-refresher/internal/sandbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// cli has a field per command.
type cli struct {
	Serve serveCmd `cmd:"" default:"withargs" help:"Stand in for AWS until told to stop (the default)."`
	Demo  demoCmd  `cmd:"" help:"Show a refresher at work: tokens issued, written, renewed and used."`
}

// streams are where a command prints.
type streams struct{ out, err io.Writer }

// run is the process without the process: 0 done or asked to stop, 1 failed, 2 called wrongly.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	var helped bool // kong reports --help by "exiting"
	parser, err := kong.New(&cli{},
		kong.Name("sandbox"),
		kong.Description("A local stand-in for AWS: ECS credentials and metadata, ECR, ECR Public, STS, and a registry that honours the tokens."),
		kong.Writers(out, errOut),
		kong.Exit(func(int) { helped = true }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(streams{out, errOut}),
	)
	if err != nil {
		fmt.Fprintln(errOut, "sandbox:", err)
		return 1
	}
	command, err := parser.Parse(args)
	switch {
	case helped:
		return 0
	case err != nil:
		fmt.Fprintf(errOut, "sandbox: %v\nTry: sandbox --help\n", err)
		return 2
	}
	if err := command.Run(); err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	return 0
}

// faultFlag is a Fault as SERVICE:KIND[:COUNT].
type faultFlag sandbox.Fault

// UnmarshalText is for kong.
func (f *faultFlag) UnmarshalText(text []byte) error {
	got, err := sandbox.ParseFault(string(text))
	*f = faultFlag(got)
	return err
}

type serveCmd struct {
	Addr           string        `default:"127.0.0.1:0" placeholder:"HOST:PORT" help:"Plain HTTP and CONNECT proxy (${default}; port 0 takes a free one)."`
	TLSAddr        string        `name:"tls-addr" default:"127.0.0.1:0" placeholder:"HOST:PORT" help:"TLS, certificates by SNI (${default})."`
	Account        string        `default:"123456789012" help:"Account of the task (${default})."`
	Region         string        `default:"us-west-2" help:"Region of the task (${default})."`
	TokenLife      time.Duration `default:"12h" help:"Life of an authorization token (${default})."`
	CredentialLife time.Duration `default:"6h" help:"Life of the task role's credentials (${default})."`
	Latency        time.Duration `default:"1ms" help:"Added before each AWS API answer (${default})."`
	ClockOffset    time.Duration `default:"0s" help:"The server's clock minus the local one (${default})."`
	Fault          []faultFlag   `placeholder:"SERVICE:KIND[:COUNT]" help:"Misbehave from the start; repeatable. A wrong one lists the valid ones."`
	Quiet          bool          `help:"No line per request."`
}

// Validate is called by kong after parsing: what is wrong here is a wrong call, not a failure.
func (c *serveCmd) Validate() error {
	var errs []error
	if c.TokenLife == 0 || c.CredentialLife == 0 { // sandbox.Config takes zero for the default
		errs = append(errs, errors.New("a life of zero is not positive"))
	}
	if c.Latency < 0 {
		errs = append(errs, fmt.Errorf("latency %v is negative", c.Latency))
	}
	return errors.Join(append(errs, c.config(nil).Validate())...)
}

func (c *serveCmd) config(logLine func(string)) sandbox.Config {
	cfg := sandbox.Config{
		Addr: c.Addr, TLSAddr: c.TLSAddr, Account: c.Account, Region: c.Region,
		TokenLife: c.TokenLife, CredentialLife: c.CredentialLife, Latency: c.Latency, ClockOffset: c.ClockOffset, Log: logLine,
	}
	if cfg.Latency == 0 {
		cfg.Latency = -1 // 0 would mean the default
	}
	return cfg
}

// Run serves until the context ends.
func (c *serveCmd) Run(ctx context.Context, std streams) error {
	out := &lineWriter{w: std.out}
	var logLine func(string)
	if !c.Quiet {
		logLine = func(line string) { out.print(time.Now().Format(time.TimeOnly) + " " + line + "\n") }
	}
	s, err := sandbox.Start(c.config(logLine))
	if err != nil {
		return err
	}
	faults := make([]sandbox.Fault, len(c.Fault))
	for i, f := range c.Fault {
		faults[i] = sandbox.Fault(f)
	}
	s.Set(faults...)
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
`, c.Account, c.Region, s.URL(), "https://"+s.TLSAddr(), s.URL())
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
