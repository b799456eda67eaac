package health

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/registry"
	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

// Three registries in two outputs: the task's own, one of another account under a role and with an alias, an optional one.
const (
	taskHost  = "111122223333.dkr.ecr.us-west-2.amazonaws.com"
	otherHost = "444455556666.dkr.ecr.eu-central-1.amazonaws.com"
	aliasHost = "mirror.example.com"

	primary = "/run/ecr/config.json"
	second  = "/run/podman/auth.json"
)

// Obstacles of both kinds.
var (
	pasted     = writer.Obstacle{Key: `auths["https://index.docker.io/v1/"]`, Problem: "its auth is not base64 of USER:PASSWORD", Readers: "docker does not read the file"}
	namespaced = writer.Obstacle{Key: `auths["` + taskHost + `/team"]`, Problem: "a login for repositories of " + taskHost, Readers: "podman uses it for team"}
)

var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func sum(s string) writer.Sum { return sha256.Sum256([]byte(s)) }

// goodView is a view in which all is as it should be: a test breaks one thing.
func goodView(t testing.TB) refresh.View {
	t.Helper()
	own := resolved(t, "default")
	other := resolved(t, otherHost+"?role_arn=arn:aws:iam::444455556666:role/pull&alias="+aliasHost)
	public := resolved(t, "public.ecr.aws?optional")
	scope := func(s registry.Spec, name string, age time.Duration) refresh.ScopeState {
		issued := now.Add(-age)
		expires := issued.Add(12 * time.Hour)
		return refresh.ScopeState{
			Scope: token.ScopeOf(s), Issued: issued, Expires: expires, Due: issued.Add(6 * time.Hour),
			LastAttempt: issued, LastSuccess: issued, CredentialsExpire: issued.Add(6 * time.Hour),
			Known: []refresh.Known{{Sum: sum("old " + name), Issued: issued.Add(-6 * time.Hour), Expires: expires.Add(-6 * time.Hour)}, {Sum: sum(name), Issued: issued, Expires: expires}},
		}
	}
	disk := func() refresh.OnDisk {
		return refresh.OnDisk{View: writer.View{Exists: true, Mode: 0o644, Sums: map[string]writer.Sum{
			taskHost: sum("own"), otherHost: sum("other"), aliasHost: sum("other"), "public.ecr.aws": sum("public"),
		}}}
	}
	return refresh.View{
		Snapshot: &refresh.Snapshot{
			Started: time.Now().Add(-time.Hour),
			Scopes:  []refresh.ScopeState{scope(own, "own", time.Hour), scope(other, "other", 2*time.Hour), scope(public, "public", 3*time.Hour)},
			Registries: []refresh.RegistryState{
				{Spec: &own, Scope: 0, Accepted: refresh.Accepted}, {Spec: &other, Scope: 1}, {Spec: &public, Scope: 2},
			},
			Outputs: []refresh.OutputState{{Name: primary}, {Name: second}},
		},
		Now: now, Skew: 1500 * time.Millisecond, Late: time.Second,
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

func denied() error {
	return &fault.Error{Class: fault.AccessDenied, Op: "get an ECR token for us-west-2", Err: errors.New("not authorized"), Cure: "allow ecr:GetAuthorizationToken"}
}

func unwritable() error {
	return &fault.Error{Class: fault.OutputDenied, Op: "write it", Err: fs.ErrPermission, Cure: "mount the volume writable"}
}

// What is told to everybody cannot hold a secret, as no secret is reachable from it. A field that is not looked into (an
// interface, a function) is listed here with the reason why it may be there.
func TestNoSecretIsReachableFromAView(t *testing.T) {
	opaque := map[string]string{
		"refresh.View.Snapshot.Scopes.Err":           "a fault: its text holds no secret",
		"refresh.View.Snapshot.Registries.Err":       "a fault",
		"refresh.View.Snapshot.Outputs.Err":          "a fault",
		"refresh.View.OnDisk.Err":                    "a fault",
		"refresh.View.Snapshot.anchor.clock.Wall":    "a clock",
		"refresh.View.Snapshot.anchor.clock.Elapsed": "a clock",
	}
	forbidden := []reflect.Type{reflect.TypeFor[secret.Secret](), reflect.TypeFor[writer.Grant](), reflect.TypeFor[token.Token]()}
	seen := map[reflect.Type]bool{}
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		for _, f := range forbidden {
			if typ == f {
				t.Errorf("%s is a %s", path, typ)
				return
			}
		}
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			walk(path, typ.Elem())
		case reflect.Map:
			walk(path+"[key]", typ.Key())
			walk(path, typ.Elem())
		case reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer:
			if opaque[path] == "" {
				t.Errorf("%s is a %s: may it lead to a secret?", path, typ)
			}
			delete(opaque, path)
		case reflect.Struct:
			if typ == reflect.TypeFor[time.Time]() || seen[typ] {
				return
			}
			seen[typ] = true
			for f := range typ.Fields() {
				if f.Type.Kind() == reflect.String && strings.Contains(strings.ToLower(f.Name), "auth") {
					t.Errorf("%s.%s: a secret as a bare string?", path, f.Name)
				}
				walk(path+"."+f.Name, f.Type)
			}
		}
	}
	walk("refresh.View", reflect.TypeFor[refresh.View]())
	for path := range opaque {
		t.Errorf("%s is no more: take it off the list", path)
	}
}
