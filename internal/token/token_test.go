package token

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

var issued = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

const password = "eyJwYXlsb2FkIjoiY29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSJ9"

func encode(plain string) *string {
	s := base64.StdEncoding.EncodeToString([]byte(plain))
	return &s
}

func at(d time.Duration) *time.Time {
	t := issued.Add(d)
	return &t
}

func TestParse(t *testing.T) {
	ref := func(s string) *string { return &s }
	good := encode("AWS:" + password)
	year := func(y int) *time.Time { t := time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC); return &t }
	home := ref("https://123456789012.dkr.ecr.us-west-2.amazonaws.com")
	rows := []struct {
		name string
		in   answer
		err  string // a part of it; empty: a token
	}{
		{"good", answer{good, at(12 * time.Hour), home}, ""},
		{"nothing", answer{}, "no authorizationToken"},
		{"no token", answer{nil, at(12 * time.Hour), home}, "no authorizationToken"},
		{"empty token", answer{ref(""), at(12 * time.Hour), home}, "no authorizationToken"},
		{"not base64", answer{ref("!" + *good), at(12 * time.Hour), home}, "not base64"},
		{"unpadded", answer{ref(strings.TrimRight(*encode("AWS:1"), "=")), at(12 * time.Hour), home}, "not base64"},
		{"wrapped lines", answer{ref((*good)[:20] + "\r\n" + (*good)[20:]), at(12 * time.Hour), home}, ""},
		{"1 MB", answer{encode("AWS:" + strings.Repeat("a", 1<<20)), at(12 * time.Hour), home}, "bytes long"},
		{"64 KB", answer{encode("AWS:" + strings.Repeat("a", maxSize*3/4-4)), at(12 * time.Hour), home}, ""},
		{"more than 64 KB", answer{encode("AWS:" + strings.Repeat("a", maxSize*3/4)), at(12 * time.Hour), home}, "bytes long"},
		{"no colon", answer{encode(password), at(12 * time.Hour), home}, "no colon"},
		{"other user", answer{encode("aws:" + password), at(12 * time.Hour), home}, "AWS:password"},
		{"no user", answer{encode(":" + password), at(12 * time.Hour), home}, "AWS:password"},
		{"empty password", answer{encode("AWS:"), at(12 * time.Hour), home}, "AWS:password"},
		{"colon in the password", answer{encode("AWS:a:b:" + password), at(12 * time.Hour), home}, ""},
		{"line break in the password", answer{encode("AWS:" + password + "\n"), at(12 * time.Hour), home}, "control character"},
		{"zero byte in the password", answer{encode("AWS:\x00" + password), at(12 * time.Hour), home}, "control character"},
		{"DEL in the password", answer{encode("AWS:\x7f" + password), at(12 * time.Hour), home}, "control character"},

		{"no expiry", answer{good, nil, home}, "no expiresAt"},
		{"zero time", answer{good, new(time.Time), home}, "expired"},
		{"1970", answer{good, year(1970), home}, "expired"},
		{"2200", answer{good, year(2200), home}, "expires at 2200"},
		{"year 9999", answer{good, year(9999), home}, "expires at 9999"}, // Sub saturates
		{"expires as issued", answer{good, at(0), home}, "expired"},
		{"a second before", answer{good, at(-time.Second), home}, "expired"},
		{"a second after", answer{good, at(time.Second), home}, ""},
		{"a second less than the most", answer{good, at(MaxLife - time.Second), home}, ""},
		{"the most", answer{good, at(MaxLife), home}, ""},
		{"a second more than the most", answer{good, at(MaxLife + time.Second), home}, "13h"},

		{"no endpoint", answer{good, at(12 * time.Hour), nil}, ""},
		{"another account", answer{good, at(12 * time.Hour), ref("https://999999999999.dkr.ecr.us-west-2.amazonaws.com")}, ""},
		{"slash", answer{good, at(12 * time.Hour), ref(*home + "/")}, ""},
		{"FIPS host", answer{good, at(12 * time.Hour), ref("https://123456789012.dkr.ecr-fips.us-west-2.amazonaws.com")}, ""},
		{"dual-stack host", answer{good, at(12 * time.Hour), ref("https://123456789012.dkr-ecr.us-west-2.on.aws")}, ""},
		{"another region", answer{good, at(12 * time.Hour), ref("https://123456789012.dkr.ecr.eu-west-1.amazonaws.com")}, "for region eu-west-1"},
		{"another partition", answer{good, at(12 * time.Hour), ref("https://123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn")}, "for region cn-north-1"},
		{"the public registry", answer{good, at(12 * time.Hour), ref("https://public.ecr.aws")}, "for region us-east-1"},
		{"empty endpoint", answer{good, at(12 * time.Hour), ref("")}, "not the address"},
		{"host alone", answer{good, at(12 * time.Hour), ref("123456789012.dkr.ecr.us-west-2.amazonaws.com")}, "not the address"},
		{"path", answer{good, at(12 * time.Hour), ref(*home + "/v2/")}, "not the address"},
		{"query", answer{good, at(12 * time.Hour), ref(*home + "?a")}, "not the address"},
		{"user", answer{good, at(12 * time.Hour), ref("https://AWS:" + password + "@123456789012.dkr.ecr.us-west-2.amazonaws.com")}, "not the address"},
		{"port", answer{good, at(12 * time.Hour), ref(*home + ":8443")}, "not a registry"},
		{"garbage", answer{good, at(12 * time.Hour), ref("\x00%zz " + password)}, "not the address"},
		{"another site", answer{good, at(12 * time.Hour), ref("https://" + password + ".example.com")}, "not a registry"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			tok, err := parse(r.in, here, issued)
			if r.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				checkToken(t, tok)
				return
			}
			if err == nil || !strings.Contains(err.Error(), r.err) {
				t.Fatalf("error %v; want one with %q", err, r.err)
			}
			if tok != (Token{}) {
				t.Error("a token beside the error")
			}
			checkRefusal(t, r.in, err)
		})
	}
}

func checkToken(t *testing.T, tok Token) {
	t.Helper()
	if tok.Life() <= 0 || tok.Life() > MaxLife || !tok.Issued.Equal(issued) {
		t.Errorf("issued %v, expires %v", tok.Issued, tok.Expires)
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(tok.Auth.Reveal())
	if err != nil || !strings.HasPrefix(string(plain), "AWS:") || len(plain) < len("AWS:1") {
		t.Error("Auth is not base64 of AWS:password")
	}
	if strings.ContainsAny(tok.Auth.Reveal(), "\r\n") {
		t.Error("Auth has a line break")
	}
}

// checkRefusal: the text is one line, and no 12 bytes of it are of the token, encoded or not.
func checkRefusal(t *testing.T, in answer, err error) {
	t.Helper()
	text := err.Error()
	if len(text) > 300 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("not one short line: %q", text)
	}
	if in.token == nil {
		return
	}
	for _, own := range []string{"authorizationToken", "proxyEndpoint", "not base64", "control character"} {
		text = strings.ReplaceAll(text, own, "·")
	}
	plain, _ := base64.StdEncoding.DecodeString(*in.token)
	for _, secret := range []string{*in.token, string(plain)} {
		for i := 0; i+12 <= len(secret) && i < 1<<10; i++ {
			if strings.Contains(text, secret[i:i+12]) {
				t.Fatalf("%q shows %q of the token", err, secret[i:i+12])
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(*encode("AWS:" + password), int64(12*time.Hour/time.Second), "https://123456789012.dkr.ecr.us-west-2.amazonaws.com")
	f.Add("!", int64(-1), "https://AWS:"+password+"@x/")
	f.Add(*encode("AWS:\n"), int64(1)<<62, "\x00")
	f.Add("", int64(0), "https://123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/v2")
	f.Add(*encode("root:" + password), int64(13*time.Hour/time.Second), password)
	f.Fuzz(func(t *testing.T, token string, seconds int64, endpoint string) {
		expires := time.Unix(seconds, 0)
		if d := time.Duration(seconds); d/3600 < 1<<20 && d > -1<<20 { // near the boundaries, beside the far future
			expires = issued.Add(d * time.Second)
		}
		in := answer{token: &token, expires: &expires, registry: &endpoint}
		tok, err := parse(in, here, issued)
		if err == nil {
			checkToken(t, tok)
			return
		}
		if tok != (Token{}) {
			t.Error("a token beside the error")
		}
		checkRefusal(t, in, err)
	})
}
