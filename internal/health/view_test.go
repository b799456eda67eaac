package health

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"ecr-refresher/internal/health/healthtest"
	"ecr-refresher/internal/refresh"
	"ecr-refresher/internal/secret"
	"ecr-refresher/internal/token"
	"ecr-refresher/internal/writer"
)

// The views of these tests are healthtest's.
const (
	taskHost, otherHost, aliasHost = healthtest.TaskHost, healthtest.OtherHost, healthtest.AliasHost
	primary, second                = healthtest.Primary, healthtest.Second
)

var (
	now, pasted, namespaced           = healthtest.Now, healthtest.Pasted, healthtest.Namespaced
	sum, goodView, denied, unwritable = healthtest.Sum, healthtest.View, healthtest.Denied, healthtest.Unwritable
)

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
