package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// authorizationData is the answer's element; the members are optional in the API model too.
type authorizationData struct {
	AuthorizationToken string   `json:"authorizationToken,omitempty"`
	ExpiresAt          *float64 `json:"expiresAt,omitempty"` // epoch seconds with milliseconds
	ProxyEndpoint      string   `json:"proxyEndpoint,omitempty"`
}

// authorizationToken is GetAuthorizationToken of ECR and of ECR Public.
func (s *Sandbox) authorizationToken(c *apiCall) *apiError {
	if err := c.checkJSON(); err != nil {
		return err
	}
	var kind Kind
	for _, f := range s.faults.take(c.faultTarget(), onContent) {
		kind = f.Kind
	}
	data := s.issueToken(c, kind)
	switch {
	case c.service == "ecr" && kind == EmptyList:
		c.writeJSON(http.StatusOK, map[string]any{"authorizationData": []any{}})
	case c.service == "ecr":
		c.writeJSON(http.StatusOK, map[string]any{"authorizationData": []any{data}})
	case kind == EmptyList:
		c.writeJSON(http.StatusOK, map[string]any{})
	default:
		c.writeJSON(http.StatusOK, map[string]any{"authorizationData": data})
	}
	return nil
}

// issueToken makes a token and the answer about it, which a fault may make untrue.
func (s *Sandbox) issueToken(c *apiCall, kind Kind) authorizationData {
	now := s.now()
	t := Token{Region: c.region, Public: c.service == "ecr-public", Account: c.who.account, Issued: now, Expires: now.Add(s.settings.values().tokenLife)}
	if kind == BornExpired {
		t.Expires = now.Add(-time.Minute)
	}
	size := 1000 // makes an authorization token of about 2.5 KB, as seen on AWS
	if kind == HugeToken {
		size = 600_000
	}
	t.Password = newPassword(size, t.Expires)
	plain := "AWS:" + t.Password
	if kind == NoColon {
		plain = t.Password
	}
	wire := base64.StdEncoding.EncodeToString([]byte(plain))
	s.vault.addToken(t, wire)

	expires := epoch(t.Expires)
	d := authorizationData{AuthorizationToken: wire, ExpiresAt: &expires}
	if !t.Public {
		d.ProxyEndpoint = "https://" + registryHost(c.who.account, c.region)
	}
	switch kind {
	case NoToken:
		d.AuthorizationToken = ""
	case BadBase64:
		d.AuthorizationToken = "!" + wire
	case NoExpiry:
		d.ExpiresAt = nil
	case Expires1970, Expires2200:
		expires = epoch(falseExpiry(kind))
	case ForeignEndpoint:
		region := "cn-north-1"
		if partitionOf(c.region).id == "aws-cn" {
			region = "us-east-1"
		}
		d.ProxyEndpoint = "https://" + registryHost(c.who.account, region) + "/v2/some/path"
	}
	return d
}

// newPassword has the outer form of a real one: base64 of JSON about an encrypted payload. Nobody may rely on what is inside.
func newPassword(size int, expires time.Time) string {
	b, err := json.Marshal(map[string]any{
		"payload": randomBase64(size), "version": "2", "type": "DATA_KEY", "expiration": expires.Unix(),
	})
	if err != nil {
		panic(fmt.Sprintf("sandbox: a map of strings does not marshal: %v", err))
	}
	return base64.StdEncoding.EncodeToString(b)
}

func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// falseExpiry is what Expires1970 and Expires2200 claim.
func falseExpiry(kind Kind) time.Time {
	if kind == Expires1970 {
		return time.Unix(1, 0).UTC()
	}
	return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
}
