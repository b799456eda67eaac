package secret

import (
	"errors"
	"io"
)

// ErrTooLong says that there is more to read than the caller has room for.
var ErrTooLong = errors.New("it is too long")

// ReadAll reads r to its end, as io.ReadAll does, and leaves no copy behind: what a buffer outgrew is zeroed, and in a failure all
// that was read. The result is for the caller to zero. size is a guess of how much there is, at least 1; more than most bytes are
// [ErrTooLong].
func ReadAll(r io.Reader, size, most int) ([]byte, error) {
	b := make([]byte, 0, size)
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF) && len(b) <= most:
			return b, nil
		case err == nil && len(b) > most || errors.Is(err, io.EOF):
			err = ErrTooLong
			fallthrough
		case err != nil:
			clear(b)
			return nil, err
		case len(b) == cap(b):
			grown := append(b, 0)[:len(b)]
			clear(b)
			b = grown
		}
	}
}
