package writer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ecr-refresher/internal/plain"
)

// Obstacles is what in a document is not ours and gets in the way of the programs that read it. docs/consumers.md has the table
// of what each program does.
type Obstacles struct {
	Broken  []Obstacle // programs do not read the file because of it; the first mostObstacles
	Similar []Obstacle // a login or a helper for a host of ours under another key, which may be somebody's intention; the first mostObstacles

	// BrokenCount and SimilarCount are how many there are, those that are not listed included.
	BrokenCount, SimilarCount int
}

// Obstacle is one of them. Its texts are safe to print and hold no part of a login.
type Obstacle struct {
	Key     string // where it is: auths["KEY"], or the name of another member of the document
	Problem string // what is wrong with it, or what it is
	Readers string // which programs it concerns, and of what
}

// BrokenCure is what to do about an entry of somebody else that keeps programs from reading the file.
const BrokenCure = "remove or correct it, and let the program that wrote it use a DOCKER_CONFIG of its own"

// String is the obstacle in one line.
func (o Obstacle) String() string { return o.Key + ": " + o.Problem + "; " + o.Readers }

const (
	mostObstacles = 10  // a report is for a person
	mostKey       = 100 // bytes of a key that are shown
)

// Who does not read a file. Found out with the programs themselves or, for kaniko, with its library.
const (
	byDocker  = "docker, buildctl, crane and kaniko"
	andRegctl = "docker, buildctl, crane, kaniko and regctl"
	andOras   = "docker, buildctl, crane, kaniko, regctl, oras and helm"
	andPodman = "docker, buildctl, crane, kaniko, regctl, skopeo, podman and buildah"
	byAll     = "docker, buildctl, crane, kaniko, regctl, oras, helm, skopeo, podman and buildah"
	oldDocker = "docker before version 29, and programs built with its library"
)

// Obstacles finds what is in the way of the consumers of these hosts. What Merge replaces or removes is left out.
func (d Document) Obstacles(hosts []string) Obstacles {
	var o Obstacles
	p := d.get()
	ours := make(map[string]bool, len(hosts))
	for _, h := range hosts {
		ours[h] = true
	}
	for _, t := range p.typed {
		if !t.ok(p.b[t.from:t.to]) {
			o.broken(t.name, "its type is not the one that docker expects", t.readers)
		}
	}
	helpers, store := d.CredHelpers(), d.CredsStore()
	for _, key := range slices.Sorted(maps.Keys(helpers)) {
		helper := helpers[key]
		switch problem, _ := similar(key, ours); {
		case ours[key] && helper == "" && store != "":
			o.similar("credsStore", "a credential helper for every key that has none of its own",
				"crane, kaniko and others with go-containerregistry ask it for each repository of "+key+" before they read our entry")
		case strings.HasPrefix(problem, "a login for repositories of") && helper != "":
			o.similar(`credHelpers["`+plain.Text(key, mostKey)+`"]`, "a credential helper for a repository",
				"crane, kaniko and others with go-containerregistry ask it for that repository before they read our entry")
		}
	}
	p.each(func(key []byte, h *host, inUse bool) {
		if ours[string(key)] || ours[string(bareHost(key))] {
			return
		}
		if problem, readers := p.brokenAuth(h, inUse); problem != "" {
			o.broken(authsKey(key), problem, readers)
		}
		if problem, readers := similar(string(key), ours); problem != "" && inUse {
			o.similar(authsKey(key), problem, readers)
		}
	})
	return o
}

func (o *Obstacles) broken(key, problem, readers string) {
	o.BrokenCount++
	o.Broken = list(o.Broken, Obstacle{key, problem, readers + " do not read the file"})
}

func (o *Obstacles) similar(key, problem, readers string) {
	o.SimilarCount++
	o.Similar = list(o.Similar, Obstacle{key, problem, readers})
}

func list(all []Obstacle, one Obstacle) []Obstacle {
	if len(all) < mostObstacles && !slices.Contains(all, one) {
		return append(all, one)
	}
	return all
}

// authsKey shows a key of auths. What stands before an @ or after a ? may be a password and is left out.
func authsKey(key []byte) string {
	s := string(key)
	if before, _, cut := strings.Cut(s, "?"); cut {
		s = before + "?…"
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = "…" + s[i:]
	}
	return `auths["` + plain.Text(s, mostKey) + `"]`
}

// brokenAuth says what is wrong with an entry, and who does not read the file because of it; nothing where it is sound. A type counts
// wherever it is, a login only where no later key overrides it.
func (d *document) brokenAuth(h *host, inUse bool) (problem, readers string) {
	b := d.b[h.val.from:h.val.to]
	auth := []byte(nil)
	switch {
	case h.auth.to > 0: // "auth", a string, and nothing else
		auth = text(d.b, h.auth)
	case b[0] != '{' && b[0] != 'n':
		return "it is not an object", andPodman
	default:
		// The fields of docker's types.AuthConfig. containers/image has the first two only.
		var login struct{ Auth, IdentityToken string }
		if json.Unmarshal(b, &login) != nil {
			return "auth or identitytoken is not a string", andPodman
		}
		if json.Unmarshal(b, new(struct{ Username, Password, ServerAddress, RegistryToken string })) != nil {
			return "username, password, serveraddress or registrytoken is not a string", andRegctl
		}
		if json.Unmarshal(b, new(struct{ Email string })) != nil {
			return "email is not a string", oldDocker
		}
		auth = []byte(login.Auth)
	}
	if !inUse || len(auth) == 0 {
		return "", ""
	}
	if user, ok := decode(auth); !ok || user == "" {
		return "its auth is not base64 of USER:PASSWORD", byDocker
	}
	return "", ""
}

// similar says whether a key stands for a host of ours without being one that Merge takes for it, and who obeys it.
func similar(key string, ours map[string]bool) (problem, readers string) {
	scheme, rest, isURL := strings.Cut(key, "://")
	if !isURL {
		rest, scheme = scheme, ""
	}
	authority, path, hasPath := strings.Cut(rest, "/")
	name := strings.ToLower(authority[strings.LastIndexByte(authority, '@')+1:])
	host, isOurs := name, ours[name]
	if !isOurs {
		var port string
		if host, port, _ = strings.Cut(name, ":"); strings.Trim(port, "0123456789") != "" {
			return "", ""
		}
		if host = strings.TrimSuffix(host, "."); !ours[host] {
			return "", ""
		}
	}
	switch {
	case scheme == "" && authority == host && hasPath && isRepository(path):
		path = plain.Text(path, mostKey)
		return "a login for repositories of " + host, fmt.Sprintf("skopeo, podman and buildah use it for %s and everything below, "+
			"crane, kaniko and others with go-containerregistry for %[1]s alone", path)
	case name != authority, isOurs, !strings.Contains(name, ":"):
		return "another spelling of " + host, "no program that was tried uses it beside our entry"
	}
	return "a login for " + host + " with a port", "no program that was tried uses it but for images whose names have the port"
}

// isRepository reports whether s may be the name of a repository, or the beginning of one: only such keys are looked up.
func isRepository(s string) bool {
	ok := func(r rune) bool {
		return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("._-/", r)
	}
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0 &&
		!strings.HasPrefix(s, "/") && !strings.HasSuffix(s, "/") && !strings.Contains(s, "//")
}

// known is a member of the document of which docker knows the type: another one makes it and its library refuse the file.
type known struct {
	name    string
	ok      func(value []byte) bool
	readers string // who does not read the file where the type is another one
}

// typed is one that is there.
type typed struct {
	*known
	span
}

// proxy is one of docker's ProxyConfig.
type proxy struct{ HTTPProxy, HTTPSProxy, NoProxy, FTPProxy, AllProxy string }

// knownMembers are the fields of docker's ConfigFile but auths. Those of the last row are gone since version 29.
var knownMembers = slices.Concat(
	[]known{
		{"credHelpers", is[map[string]string], byAll},
		{"credsStore", is[string], andOras},
		{"HttpHeaders", is[map[string]string], andRegctl},
		{"proxies", is[map[string]proxy], andRegctl},
		{"detachKeys", is[string], andRegctl},
		{"plugins", is[map[string]map[string]string], byDocker},
		{"features", is[map[string]string], byDocker},
		{"aliases", is[map[string]string], byDocker},
		{"pruneFilters", is[[]string], byDocker},
		{"cliPluginsExtraDirs", is[[]string], byDocker},
	},
	ofText(byDocker, "psFormat", "imagesFormat", "networksFormat", "pluginsFormat", "volumesFormat", "statsFormat",
		"serviceInspectFormat", "servicesFormat", "tasksFormat", "secretFormat", "configFormat", "nodesFormat", "currentContext"),
	ofText(oldDocker, "experimental"),
)

// is reports whether a value of strict JSON is what docker takes for a T.
func is[T any](value []byte) bool { return json.Unmarshal(value, new(T)) == nil }

func ofText(readers string, names ...string) []known {
	all := make([]known, len(names))
	for i, n := range names {
		all[i] = known{n, is[string], readers}
	}
	return all
}

// knownMember finds a member as encoding/json does: by its name in any case.
func knownMember(name []byte) *known {
	for i := range knownMembers {
		if bytes.EqualFold(name, []byte(knownMembers[i].name)) {
			return &knownMembers[i]
		}
	}
	return nil
}
