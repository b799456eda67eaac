package secret_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"ecr-refresher/internal/secret"
)

// lender keeps the buffers that were lent to it.
type lender struct {
	io.Reader
	lent [][]byte
}

func (l *lender) Read(b []byte) (int, error) {
	l.lent = append(l.lent, b)
	return l.Reader.Read(b)
}

func TestReadAll(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		r          io.Reader
		size, most int
		err        error
	}{
		"as guessed":       {strings.NewReader(content), len(content) + 1, 100, nil},
		"more than that":   {strings.NewReader(content), 1, 100, nil},
		"byte by byte":     {iotest.OneByteReader(strings.NewReader(content)), 5, 100, nil},
		"with its end":     {iotest.DataErrReader(strings.NewReader(content)), 100, 100, nil},
		"just room":        {strings.NewReader(content), 3, len(content), nil},
		"no room":          {strings.NewReader(content), 3, len(content) - 1, secret.ErrTooLong},
		"no room, at once": {iotest.DataErrReader(strings.NewReader(content)), 100, len(content) - 1, secret.ErrTooLong},
		"broken":           {io.MultiReader(strings.NewReader(content), iotest.ErrReader(broken)), 3, 100, broken},
	} {
		l := &lender{Reader: test.r}
		b, err := secret.ReadAll(l, test.size, test.most)
		if !errors.Is(err, test.err) || err == nil && string(b) != content {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		clear(b)
		for _, lent := range l.lent {
			if strings.Trim(string(lent), "\x00") != "" {
				t.Errorf("%s: something stays in a buffer of %d bytes", name, len(lent))
			}
		}
	}
}
