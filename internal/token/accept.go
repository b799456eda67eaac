package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/secret"
)

// ErrForbidden is why a registry rejects a token that it knows.
var ErrForbidden = errors.New("403: the registry refuses the token")

// Accepts asks a registry whether it takes a token: an authenticated GET of /v2/, the request with which every client begins.
// nil says that it does. Class token_rejected says that it does not: 401 (it does not know the token) or 403 (it knows it and
// refuses: expired, revoked, or denied by a VPC endpoint's policy). Every other error says only that the registry could not be
// asked. It ends when ctx does, and after the client's timeout.
func (c *Client) Accepts(ctx context.Context, host string, auth secret.Secret) error {
	op := "ask " + host + " whether it accepts the token"
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/v2/", nil)
	if err != nil {
		return &fault.Error{Class: fault.BadRequest, Op: op, Err: err, Cure: "see that the registry's name is a host name"}
	}
	req.Header.Set("Authorization", "Basic "+auth.Reveal())
	req.Header.Set("User-Agent", "ecr-refresher/"+c.opts.Version)
	res, err := c.http.Do(req)
	if err != nil {
		v := byTransport(err)
		return &fault.Error{Class: v.class, Op: op, Cure: v.cure, Err: &spoken{v.text, err}}
	}
	defer res.Body.Close()
	switch code := res.StatusCode; {
	case code == http.StatusOK:
		return nil
	case code == http.StatusUnauthorized:
		return &fault.Error{Class: fault.TokenRejected, Op: op, Err: errors.New("401: the registry does not know the token"), Cure: "see that the host is the registry itself and not a proxy with a login of its own"}
	case code == http.StatusForbidden:
		return &fault.Error{Class: fault.TokenRejected, Op: op, Err: ErrForbidden, Cure: "if it stays after a renewal, see the policy of the VPC endpoint ecr.dkr"}
	default:
		v := byStatus(code)
		if v.class == fault.BadRequest {
			v.cure = "see that the host is the registry itself and not a proxy or a mirror"
		}
		return &fault.Error{Class: v.class, Op: op, Cure: v.cure, Err: fmt.Errorf("unexpected status %d", code)}
	}
}
