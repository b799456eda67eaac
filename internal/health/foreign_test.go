package health

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"unicode"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/writer"
)

// hostile is text that steers a terminal, a log viewer or a reader: each piece is of another kind.
const hostile = "x\x1b[2J\x07\r\n\u202egpj.\u2066y\u200b\u3164\u00a0"

// hostileJSON is the same in a document.
const hostileJSON = `x\u001b[2J\u0007\r\n\u202egpj.\u2066y\u200b\u3164\u00a0`

// What others write into the volume reaches /readyz, /status and the page only in printable characters.
func TestForeignTextIsPrintable(t *testing.T) {
	store, helper, link := goodView(t), goodView(t), goodView(t)
	store.OnDisk[0].CredsStore = hostile
	helper.OnDisk[0].CredHelpers = map[string]string{taskHost: hostile}
	// The name of a file is foreign where --output is a link.
	link.OnDisk[1].Err = &fault.Error{Class: fault.OutputOther, Op: "read " + second, Cure: "c",
		Err: &fs.PathError{Op: "read", Path: hostile, Err: errors.New("input/output error")}}
	key := goodView(t)
	doc, err := writer.Parse([]byte(`{"auths":{"` + hostileJSON + `":{"auth":"!"},"` + taskHost + `/` + hostileJSON + `":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	key.OnDisk[0].Obstacles = doc.Obstacles([]string{taskHost})
	for name, h := range map[string]fixed{"key": {key}, "credsStore": {store}, "credHelpers": {helper}, "link": {link}} {
		for _, path := range []string{"/readyz", "/status", "/"} {
			body := ask(routes(h), "GET", path).Body.String()
			if path == "/status" {
				body = strings.Join(texts(t, body), "\n") // as jq -r prints it
			}
			if path == "/" {
				body = strings.ReplaceAll(body, style, "")
			}
			if !strings.Contains(body, `x\x1b[2J\a\r\n\u202egpj.\u2066y\u200b\u3164\u00a0`) {
				t.Errorf("%s, %s: the text is not there:\n%s", name, path, body)
			}
			if i := strings.IndexFunc(body, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%s, %s: %q", name, path, body[max(0, i-20):min(len(body), i+20)])
			}
		}
	}
}

// texts are all strings of a JSON document.
func texts(t *testing.T, body string) (all []string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			all = append(all, v)
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for k, e := range v {
				all = append(all, k)
				walk(e)
			}
		}
	}
	walk(v)
	return all
}
