package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"ecr-refresher/internal/cli"
	"ecr-refresher/internal/sandbox"
)

// demoCmd shows the whole job in a minute: a refresher beside the sandbox, with tokens that live for seconds, and a consumer
// that pushes and pulls with nothing but the file.
type demoCmd struct {
	refresher string
	seconds   int
	tokenLife time.Duration
}

func (c *demoCmd) table() []cli.Option {
	return []cli.Option{{
		Name: "refresher", Value: "PATH", Take: cli.Last(&c.refresher, parseProgram),
		Help: "The refresher's binary. It must be given.",
	}, {
		Name: "seconds", Value: "N", Default: "0", Take: cli.Last(&c.seconds, cli.Int(0, 86400)),
		Help: "End after this many seconds, with 0 only if a renewal was seen and the pushes before and after it worked. 0: until Ctrl-C.",
	}, {
		Name: "token-life", Value: "DURATION", Default: "15s", Take: cli.Last(&c.tokenLife, cli.Duration(time.Second, 12*time.Hour)),
		Help: "Life of a token; AWS's live for 12 hours.",
	}}
}

func parseProgram(path string) (string, error) {
	if path == "" {
		return "", nil // missing reports it
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%q is a directory", path)
	}
	return path, err
}

func (c *demoCmd) missing() []string {
	if c.refresher == "" {
		return []string{"--refresher: it is missing; give the path of the refresher's binary, such as bin/refresher"}
	}
	return nil
}

// run shows the demo.
func (c *demoCmd) run(ctx context.Context, std streams) error {
	dir, err := os.MkdirTemp("", "ecr-refresher-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	aws, err := sandbox.Start(sandbox.Config{TokenLife: c.tokenLife})
	if err != nil {
		return err
	}
	defer aws.Close()
	d := &demo{aws: aws, dir: dir, out: &lineWriter{w: std.out}, start: time.Now(), events: make(chan event, 16)}
	d.say("sandbox", "stands in for AWS on %s; its tokens live for %s instead of 12h", aws.URL(), c.tokenLife)

	if c.seconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.seconds)*time.Second)
		defer cancel()
	}
	child, err := d.startRefresher(c.refresher, std.err)
	if err != nil {
		return err
	}
	failed := d.follow(ctx)
	if err := errors.Join(failed, child.stop()); err != nil {
		return err
	}
	d.say("refresher", "stopped on SIGTERM with exit status 0")
	if c.seconds > 0 && (d.renewals == 0 || d.pushes < 2) {
		return fmt.Errorf("demo: %d renewals and %d pushes in %d s; at least 1 and 2 were expected", d.renewals, d.pushes, c.seconds)
	}
	d.say("demo", "%d tokens issued, %d renewals seen, %d pushes and pulls with the written file alone", len(aws.Tokens()), d.renewals, d.pushes)
	return nil
}

// demo is one showing.
type demo struct {
	aws   *sandbox.Sandbox
	dir   string // the volume that refresher and consumer share
	out   *lineWriter
	start time.Time

	events   chan event // the refresher's log
	written  int        // tokens seen written
	renewals int
	pushes   int
	told     bool // that the first token has ended
}

// event is a line of the refresher's log.
type event struct {
	Level   string `json:"level"`
	Msg     string `json:"msg"`
	Listen  string `json:"listen"`
	Expires string `json:"expires"`
	RenewIn string `json:"renew_in"`
	Class   string `json:"class"`
	Error   string `json:"error"`
	Cure    string `json:"cure"`
	Found   string `json:"found"`
}

func (d *demo) say(who, format string, a ...any) {
	d.out.print(fmt.Sprintf("%5.1fs  %-10s %s\n", time.Since(d.start).Seconds(), who, fmt.Sprintf(format, a...)))
}

// child is the refresher's process.
type child struct {
	cmd  *exec.Cmd
	read chan struct{} // closed when its log has ended
}

// startRefresher runs the binary with what ECS would give it, and nothing else of this environment.
func (d *demo) startRefresher(binary string, stderr io.Writer) (*child, error) {
	cmd := exec.Command(binary, "run") // no context: it is stopped with SIGTERM, as ECS does, and not killed
	cmd.Env = append(d.aws.Environ(), "REFRESHER_OUTPUTS="+filepath.Join(d.dir, "config.json"), "REFRESHER_LISTEN=127.0.0.1:0")
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is the demo's: it says good-bye itself
	log, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd, make(chan struct{})}
	go func() {
		defer close(c.read)
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				select {
				case d.events <- e:
				default: // nobody follows any more
				}
			}
		}
	}()
	return c, nil
}

func (c *child) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	<-c.read
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("demo: the refresher ended with: %w", err)
	}
	return nil
}

// follow tells what the refresher does, and plays the consumer after each new token, until the context ends.
func (d *demo) follow(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-d.events:
			if err := d.tell(ctx, e); err != nil {
				return err
			}
		}
	}
}

func (d *demo) tell(ctx context.Context, e event) error {
	switch e.Msg {
	case "refresher started":
		d.say("refresher", "started; its status page is http://%s/", e.Listen)
	case "token written":
		d.written++
		verb := "obtained a token and wrote it"
		if d.written > 1 {
			d.renewals++
			verb = "renewed the token and wrote it"
		}
		d.say("refresher", "%s to %s/config.json; it expires at %s, renewal in %s", verb, d.dir, clock(e.Expires), e.RenewIn)
		return d.consume(ctx)
	case "keeping logged in", "refresher stopped: the files stay": // the lines around them say it
	default:
		d.say("refresher", "%s", strings.TrimSpace(strings.Join([]string{e.Msg, e.Class, e.Error, e.Found, e.Cure}, " ")))
	}
	return nil
}

// clock shows the time of day of an RFC 3339 time.
func clock(s string) string {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return s
	}
	return t.Format(time.TimeOnly)
}

// consume does what another container of the task would: push and pull with DOCKER_CONFIG and no login.
func (d *demo) consume(ctx context.Context) error {
	if err := os.Setenv("DOCKER_CONFIG", d.dir); err != nil { // go-containerregistry's keychain reads it, at each use
		return err
	}
	ref, err := name.ParseReference(fmt.Sprintf("123456789012.dkr.ecr.us-west-2.amazonaws.com/nodejs:%d", d.written))
	if err != nil {
		return err
	}
	image, err := random.Image(4<<10, 2)
	if err != nil {
		return err
	}
	options := []remote.Option{remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(d.aws.Transport()), remote.WithContext(ctx)}
	if err := remote.Write(ref, image, options...); err != nil {
		return ignoreEnd(ctx, fmt.Errorf("demo: push %s: %w", ref, err))
	}
	back, err := remote.Image(ref, options...)
	if err != nil {
		return ignoreEnd(ctx, fmt.Errorf("demo: pull %s: %w", ref, err))
	}
	pushed, _ := image.Digest()
	pulled, err := back.Digest()
	if err != nil || pushed != pulled {
		return fmt.Errorf("demo: pushed %s and pulled %s: %w", pushed, pulled, err)
	}
	d.pushes++
	d.say("consumer", "pushed %s and pulled it back, with DOCKER_CONFIG=%s", ref, d.dir)
	return d.tryFirst(ctx)
}

// tryFirst shows once that the first token has ended, which is why anybody needs a refresher.
func (d *demo) tryFirst(ctx context.Context) error {
	tokens := d.aws.Tokens()
	if len(tokens) == 0 || d.told || time.Now().Before(tokens[0].Expires) {
		return nil
	}
	d.told = true
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://123456789012.dkr.ecr.us-west-2.amazonaws.com/v2/", nil)
	if err != nil {
		return err
	}
	req.SetBasicAuth("AWS", tokens[0].Password)
	res, err := d.aws.Transport().RoundTrip(req)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer res.Body.Close()
	d.say("consumer", "tried the first token, which has expired: the registry answers %s, and that is why it was renewed", res.Status)
	return nil
}

// ignoreEnd drops an error that is only the demo's own end.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that is the point
	}
	return err
}
