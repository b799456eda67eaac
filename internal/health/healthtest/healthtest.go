// Package healthtest has the views that the tests of health and of the status page start from.
package healthtest

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

// Three registries in two outputs: the task's own, one of another account under a role and with an alias, an optional one.
const (
	TaskHost  = "111122223333.dkr.ecr.us-west-2.amazonaws.com"
	OtherHost = "444455556666.dkr.ecr.eu-central-1.amazonaws.com"
	AliasHost = "mirror.example.com"

	Primary = "/run/ecr/config.json"
	Second  = "/run/podman/auth.json"
)

// Pasted keeps docker from reading the file; Namespaced is a login under a key that is similar to one of ours.
var (
	Pasted     = writer.Obstacle{Key: `auths["https://index.docker.io/v1/"]`, Problem: "its auth is not base64 of USER:PASSWORD", Readers: "docker does not read the file"}
	Namespaced = writer.Obstacle{Key: `auths["` + TaskHost + `/team"]`, Problem: "a login for repositories of " + TaskHost, Readers: "podman uses it for team"}
)

// Now is the moment of the view.
var Now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// Sum is the digest of a token that is called s.
func Sum(s string) writer.Sum { return sha256.Sum256([]byte(s)) }

// View is a view in which all is as it should be: a test breaks one thing.
func View(t testing.TB) refresh.View {
	t.Helper()
	own := resolved(t, "default")
	other := resolved(t, OtherHost+"?role_arn=arn:aws:iam::444455556666:role/pull&alias="+AliasHost)
	public := resolved(t, "public.ecr.aws?optional")
	scope := func(s registry.Spec, name string, age time.Duration) refresh.ScopeState {
		issued := Now.Add(-age)
		expires := issued.Add(12 * time.Hour)
		return refresh.ScopeState{
			Scope: token.ScopeOf(s), Issued: issued, Expires: expires, Due: issued.Add(6 * time.Hour),
			LastAttempt: issued, LastSuccess: issued, CredentialsExpire: issued.Add(6 * time.Hour),
			Known: []refresh.Known{{Sum: Sum("old " + name), Issued: issued.Add(-6 * time.Hour), Expires: expires.Add(-6 * time.Hour)}, {Sum: Sum(name), Issued: issued, Expires: expires}},
		}
	}
	disk := func() refresh.OnDisk {
		return refresh.OnDisk{View: writer.View{Exists: true, Mode: 0o644, Sums: map[string]writer.Sum{
			TaskHost: Sum("own"), OtherHost: Sum("other"), AliasHost: Sum("other"), "public.ecr.aws": Sum("public"),
		}}}
	}
	return refresh.View{
		Snapshot: &refresh.Snapshot{
			Started: time.Now().Add(-time.Hour),
			Scopes:  []refresh.ScopeState{scope(own, "own", time.Hour), scope(other, "other", 2*time.Hour), scope(public, "public", 3*time.Hour)},
			Registries: []refresh.RegistryState{
				{Spec: &own, Scope: 0, Accepted: refresh.Accepted}, {Spec: &other, Scope: 1}, {Spec: &public, Scope: 2},
			},
			Outputs: []refresh.OutputState{{Name: Primary}, {Name: Second}},
		},
		Now: Now, Skew: 1500 * time.Millisecond, Late: time.Second,
		OnDisk: []refresh.OnDisk{disk(), disk()},
	}
}

func resolved(t testing.TB, s string) registry.Spec {
	t.Helper()
	spec, err := registry.ParseSpec(s)
	if err == nil {
		spec, err = spec.Resolve("111122223333", "us-west-2")
	}
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// Denied is what AWS answers without a permission.
func Denied() error {
	return &fault.Error{Class: fault.AccessDenied, Op: "get an ECR token for us-west-2", Err: errors.New("not authorized"), Cure: "allow ecr:GetAuthorizationToken"}
}

// Unwritable is what the file system answers without a permission.
func Unwritable() error {
	return &fault.Error{Class: fault.OutputDenied, Op: "write it", Err: fs.ErrPermission, Cure: "mount the volume writable"}
}

// Foreign is text that steers a terminal, a log viewer or a reader, each piece in another way, and ForeignShown is how it is
// to be shown.
const (
	Foreign      = "x\x1b[2J\x07\r\n\u202egpj.\u2066y\u200b\u3164\u00a0"
	ForeignShown = `x\x1b[2J\a\r\n\u202egpj.\u2066y\u200b\u3164\u00a0`

	foreignJSON = `x\u001b[2J\u0007\r\n\u202egpj.\u2066y\u200b\u3164\u00a0` // Foreign in a document
)

// ForeignViews are views of files in which others have written Foreign, by where it is.
func ForeignViews(t testing.TB) map[string]refresh.View {
	t.Helper()
	store, helper, link, key := View(t), View(t), View(t), View(t)
	store.OnDisk[0].CredsStore = Foreign
	helper.OnDisk[0].CredHelpers = map[string]string{TaskHost: Foreign}
	// The name of a file is foreign where --output is a link.
	link.OnDisk[1].Err = &fault.Error{
		Class: fault.OutputOther, Op: "read " + Second, Cure: "c",
		Err: &fs.PathError{Op: "read", Path: Foreign, Err: errors.New("input/output error")},
	}
	doc, err := writer.Parse([]byte(`{"auths":{"` + foreignJSON + `":{"auth":"!"},"` + TaskHost + `/` + foreignJSON + `":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	key.OnDisk[0].Obstacles = doc.Obstacles([]string{TaskHost})
	return map[string]refresh.View{"credsStore": store, "credHelpers": helper, "link": link, "key": key}
}
