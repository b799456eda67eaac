package sandbox

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// registries keep images apart by account and region: two accounts share no repositories.
type registries struct {
	mu    sync.Mutex
	store map[string]http.Handler
}

func (r *registries) at(name string) http.Handler {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.store[name]
	if h == nil {
		h = registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
		if r.store == nil {
			r.store = map[string]http.Handler{}
		}
		r.store[name] = h
	}
	return h
}

// registryCall is a request to a registry: authenticate, then let go-containerregistry answer. A host that is not AWS's is the task's
// own registry: a CNAME, or the listener's address.
func (s *Sandbox) registryCall(x *exchange) {
	if x.place.kind == anywhere {
		x.place.account, x.place.region = s.cfg.Account, s.cfg.Region
	}
	x.service, x.operation, x.region = "registry", x.r.URL.Path, x.place.region
	s.journal.count("registry:" + x.r.Method + " " + x.r.URL.Path)
	x.w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")

	kind, done := x.misbehave(x.target(), 0)
	if done {
		return
	}
	switch kind {
	case "":
	case Unauthorized:
		x.challenge("a fault of the sandbox")
		return
	case Forbidden:
		x.registryError(http.StatusForbidden, "DENIED", "User is not authorized (a fault of the sandbox)")
		return
	case Throttled429:
		x.registryError(http.StatusTooManyRequests, "TOOMANYREQUESTS", "Rate exceeded")
		return
	case Unavailable:
		x.registryError(http.StatusServiceUnavailable, "UNAVAILABLE", "the registry is unavailable (a fault of the sandbox)")
		return
	default:
		x.registryError(http.StatusInternalServerError, "UNKNOWN", "an internal error (a fault of the sandbox)")
		return
	}
	if !x.authorized(s.now()) {
		return
	}
	name := x.place.account + "/" + x.place.region
	if x.place.public {
		name = "public"
	}
	s.registry.at(name).ServeHTTP(x.w, x.r)
}

// authorized checks the token, and answers when it is refused. ECR's own answers to a token that it never issued vary (400, 401 and
// 403 have been seen); the sandbox says 401 always.
func (x *exchange) authorized(now time.Time) bool {
	user, password, ok := x.r.BasicAuth()
	if !ok {
		x.challenge("no basic auth credentials")
		return false
	}
	t, known := x.s.vault.token(password)
	switch {
	case user != "AWS" || !known:
		x.challenge("Not Authorized")
	case t.Revoked || !now.Before(t.Expires):
		x.registryError(http.StatusForbidden, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
	case t.Public != x.place.public:
		x.registryError(http.StatusForbidden, "DENIED", "The authorization token is of the other one of ECR and ECR Public.")
	case !t.Public && t.Region != x.place.region:
		x.registryError(http.StatusForbidden, "DENIED", "The authorization token is of region "+t.Region+".")
	default:
		return true
	}
	return false
}

func (x *exchange) challenge(message string) {
	x.w.Header().Set("Www-Authenticate", `Basic realm="https://`+x.r.Host+`/",service="ecr.amazonaws.com"`)
	x.registryError(http.StatusUnauthorized, "UNAUTHORIZED", message)
}

// registryError answers in the words of the distribution specification.
func (x *exchange) registryError(status int, code, message string) {
	x.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	x.w.WriteHeader(status)
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	_ = json.NewEncoder(x.w).Encode(map[string][]item{"errors": {{code, message}}}) // the client may be gone
}
