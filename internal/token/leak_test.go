package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/sandbox"
)

// Nothing that this package hands out shows a secret, however it is printed: the token, the keys of the environment, the
// credentials in the caches, the way to them.
func TestNothingShowsASecret(t *testing.T) {
	sb := inTask(t, sandbox.Config{})
	keys := setKeys(t, sb)
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "agent-token-secret")
	c := newClient(t, Options{})
	tok := mustToken(t, c, here)
	other := mustToken(t, c, chain)
	sb.Set(sandbox.Fault{Service: "ecr", Kind: sandbox.AccessDenied}, sandbox.Fault{Service: "sts", Kind: sandbox.BadRequest})
	_, denied := c.Token(t.Context(), here)
	_, refused := c.Token(t.Context(), Scope{Region: region, Roles: roleThree})
	sb.Set(sandbox.Fault{Service: "registry", Kind: sandbox.Unauthorized})
	rejected := c.Accepts(t.Context(), ownHost, tok.Auth)
	var flat fault.Error
	if e, ok := denied.(*fault.Error); ok {
		flat = *e
	}

	var out bytes.Buffer
	loggers := []*zap.Logger{
		zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out), zap.DebugLevel)),
		zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), zapcore.AddSync(&out), zap.DebugLevel)),
	}
	type holder struct{ held any }
	for _, v := range []any{c, struct{ c *Client }{c}, tok, &tok, []Token{tok, other}, map[string]Token{"k": other},
		denied, refused, rejected, flat, fmt.Errorf("wrapped: %w", denied), here, chain} {
		for _, v := range []any{v, holder{v}, []any{v}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			if js, err := json.Marshal(v); err == nil {
				out.Write(js)
			}
			for _, l := range loggers {
				l.Info("a line", zap.Any("any", v), zap.Reflect("reflect", v))
				if err, ok := v.(error); ok {
					l.Info("a line", zap.Error(err))
				}
			}
		}
	}
	secrets := append(secretsOf(sb), append(keys, tok.Auth.Reveal(), other.Auth.Reveal(), "agent-token-secret")...)
	for line := range strings.Lines(out.String()) {
		for _, s := range secrets {
			wantNoSecret(t, line, s, fmt.Sprintf("%x", s))
		}
	}
	if out.Len() < 10_000 {
		t.Errorf("only %d bytes were printed", out.Len())
	}
}
