package token

import (
	"bytes"
	"cmp"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sso"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// What is added to every call that the SDK makes, the ones for credentials included: a panic becomes an error, and
// it is known which endpoint answered and whether the answer came to its end.

// exchange is what is known of one call.
type exchange struct {
	url        *url.URL // that was asked; nil where nothing was sent
	cut        error    // what ended the answer before its end, nil where nothing did
	untilClose bool     // nothing but the end of the connection marks the end of the answer

	first, last byte // of what was read of the answer, without white space
}

type exchangeKey struct{}

// watch is added to the SDK's clients by their APIOptions.
func (c *Client) watch(stack *middleware.Stack) error {
	err := stack.Initialize.Add(middleware.InitializeMiddlewareFunc("watch", c.watchCall), middleware.Before)
	if err != nil {
		return err
	}
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("watch", watchAnswer), middleware.After)
}

func (c *Client) watchCall(
	ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
) (out middleware.InitializeOutput, meta middleware.Metadata, err error) {
	var x exchange
	defer func() {
		// The SDK asks for credentials in goroutines of its own: a panic there ends the process unless it ends here.
		c.caught(recover(), &err)
		if err != nil && x.cut == nil && x.untilClose && x.first == '{' && x.last != '}' {
			x.cut = io.ErrUnexpectedEOF
		}
		if errors.Is(err, context.DeadlineExceeded) && x.url != nil && x.cut == nil {
			// The SDK does not say who was asked.
			err = &url.Error{Op: "call", URL: x.url.String(), Err: context.DeadlineExceeded}
		}
		if err != nil && x.cut != nil {
			err = &cutOff{host: x.url.Host, cause: x.cut, err: err}
		}
	}()
	out, meta, err = next.HandleInitialize(context.WithValue(ctx, exchangeKey{}, &x), in)
	if r, ok := out.Result.(*sso.GetRoleCredentialsOutput); ok && err == nil && r.RoleCredentials == nil {
		err = errIncomplete // which the SDK's provider does not expect
	}
	meta.Set(exchangeKey{}, x.url)
	return out, meta, err
}

func watchAnswer(
	ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
) (out middleware.DeserializeOutput, meta middleware.Metadata, err error) {
	out, meta, err = next.HandleDeserialize(ctx, in)
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return out, meta, err
	}
	req, ok := in.Request.(*smithyhttp.Request)
	if !ok {
		return out, meta, err
	}
	x.url = req.URL
	if res, ok := out.RawResponse.(*smithyhttp.Response); ok && res.Body != nil {
		x.untilClose = res.ContentLength < 0 && len(res.TransferEncoding) == 0
		res.Body = &watchedBody{res.Body, x}
	}
	return out, meta, err
}

// askedURL is the URL that a call asked, by the metadata of its answer; nil where it is not known.
func askedURL(meta middleware.Metadata) *url.URL {
	u, _ := meta.Get(exchangeKey{}).(*url.URL)
	return u
}

// watchedBody notes what ends an answer before its end. The SDK's errors do not always wrap it.
type watchedBody struct {
	io.ReadCloser
	x *exchange
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !isContent(err) && b.x.cut == nil {
		b.x.cut = err
	}
	if seen := bytes.TrimSpace(p[:n]); len(seen) > 0 {
		b.x.first, b.x.last = cmp.Or(b.x.first, seen[0]), seen[len(seen)-1]
	}
	return n, err
}

// isContent reports whether an error of reading an answer is about what was sent, not about the connection.
func isContent(err error) bool {
	var tooLarge *http.MaxBytesError
	var corrupt flate.CorruptInputError
	return errors.As(err, &tooLarge) || errors.As(err, &corrupt) ||
		errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) ||
		strings.Contains(err.Error(), "chunk") // net/http's: malformed chunked encoding, invalid byte in chunk length
}

// cutOff is an answer that began and did not end.
type cutOff struct {
	host  string // that was asked
	cause error  // what ended it
	err   error  // what the SDK made of it
}

func (e *cutOff) Error() string   { return "the answer ended in the middle: " + e.cause.Error() }
func (e *cutOff) Unwrap() []error { return []error{e.cause, e.err} }

// panicked is a panic of the SDK as an error. It holds nothing of the answer that caused it.
type panicked string

func (e panicked) Error() string { return "the AWS SDK panicked: " + string(e) }

// caught makes an error of a panic and hands its stack to OnPanic. Call it with recover() in a deferred function.
func (c *Client) caught(value any, err *error) {
	if value == nil {
		return
	}
	text := fmt.Sprintf("%T", value) // the value itself may quote the answer
	if e, ok := value.(runtime.Error); ok {
		text = e.Error()
	}
	*err = panicked(clip(text))
	if c.opts.OnPanic != nil {
		c.opts.OnPanic(*err, debug.Stack())
	}
}
