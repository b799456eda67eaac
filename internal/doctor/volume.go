package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ecr-refresher/internal/fault"
	"ecr-refresher/internal/plain"
	"ecr-refresher/internal/textfile"
	"ecr-refresher/internal/writer"
)

func dirOf(o Output) string { return filepath.Dir(o.Path) }

// shareDir is how a task definition mounts the volume.
func shareDir(dir string) string {
	return `"volumes": [{"name": "ecr-auth"}]` + "\n" + `"mountPoints": [{"sourceVolume": "ecr-auth", "containerPath": "` + dir + `"}]`
}

// volumeCheck lets everything behind it skip the directories that are of no use.
func (e *exam) volumeCheck(ctx context.Context) []Result {
	results := onDisk((*exam).volume)(e, ctx)
	for _, r := range results {
		if r.Status == Fail {
			e.missing[dirOf(Output{Path: r.Of})] = true
		}
	}
	return results
}

func (e *exam) volume(o Output) Result {
	dir := dirOf(o)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return Result{Status: Fail, Seen: "its directory is not there", Cure: "mount the shared volume there, in this container and in its consumers\n" + shareDir(dir)}
	case err != nil:
		return Result{Status: Fail, Seen: "output_denied: " + err.Error(), Cure: "let the container's user pass through the directories above " + dir + "\nchmod a+x " + closedAbove(dir)}
	case !info.IsDir():
		return Result{Status: Fail, Seen: "what should be its directory is none", Cure: "mount a directory there, or choose another output\nREFRESHER_OUTPUTS=/run/ecr/config.json"}
	}
	return Result{Status: OK, Seen: "its directory is there"}
}

// closedAbove is the first directory on the way to dir that cannot be passed through: the one whose entry cannot be looked up.
func closedAbove(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if parent := filepath.Dir(at); parent == at {
			return at
		} else if _, err := os.Stat(parent); err == nil {
			return parent
		}
	}
}

// mountPoint is one line of mountinfo.
type mountPoint struct{ root, at, kind, device string }

// mounts reads a file such as /proc/self/mountinfo: proc_pid_mountinfo(5).
func mounts(file string) ([]mountPoint, error) {
	f, err := os.Open(file) //nolint:gosec // G304: /proc/self/mountinfo
	if err != nil {
		return nil, err
	}
	defer f.Close()
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var all []mountPoint
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, cut := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if cut && len(left) > 4 && len(right) > 1 {
			all = append(all, mountPoint{plain.Replace(left[3]), plain.Replace(left[4]), right[0], plain.Replace(right[1])})
		}
	}
	return all, lines.Err()
}

// mountOf is the mount that a path is on: the last of the longest mount points above it.
func mountOf(path string, all []mountPoint) (on mountPoint, found bool) {
	for _, m := range all {
		if (m.at == "/" || m.at == path || strings.HasPrefix(path, m.at+"/")) && len(m.at) >= len(on.at) {
			on, found = m, true
		}
	}
	return on, found
}

func (e *exam) mount(o Output) Result {
	dir := dirOf(o)
	all, err := mounts(e.MountInfo)
	if err != nil {
		return Result{Status: Skip, Seen: "skipped because the mounts are not known: " + err.Error()}
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	on, found := mountOf(dir, all)
	what := fmt.Sprintf("%s (%s %s)", on.at, on.kind, on.device)
	const cure = "mount one volume there, in this container and in its consumers\n"
	switch {
	case !found:
		return Result{Status: Skip, Seen: "skipped because no mount holds it"}
	case on.at == "/":
		return Result{Status: Warn, Seen: dir + " is on the container's own file system, which no other container sees", Cure: cure + shareDir(dir)}
	case on.kind == "tmpfs" && on.root == "/":
		return Result{Status: Warn, Seen: "it is on the mount " + what + ": a tmpfs belongs to one container, unless the host's is shared", Cure: cure + shareDir(dir)}
	case on.at != dir:
		return Result{Status: OK, Seen: "on the mount " + what}
	}
	return Result{Status: OK, Seen: "a mount of its own: " + what}
}

func (e *exam) fileMount(o Output) Result {
	all, err := mounts(e.MountInfo)
	if err != nil {
		return Result{Status: Skip, Seen: "skipped because the mounts are not known: " + err.Error()}
	}
	path := o.Path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if slices.ContainsFunc(all, func(m mountPoint) bool { return m.at == path }) {
		return Result{Status: Fail, Seen: "the file itself is a mount point: it cannot be replaced, and its readers would never see a new one",
			Cure: "share the directory instead\n" + shareDir(dirOf(o))}
	}
	return Result{Status: OK, Seen: "no: its directory is shared"}
}

// ownerOf is the id of a file's owner, -1 where the file system does not tell.
func ownerOf(info fs.FileInfo) int {
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(sys.Uid)
	}
	return -1
}

func (e *exam) owner(o Output) Result {
	dir := dirOf(o)
	info, err := os.Stat(dir)
	if err != nil {
		return Result{Status: Fail, Seen: err.Error(), Cure: "see the check volume"}
	}
	uid := ownerOf(info)
	return aboutOwner(dir, uid, os.Geteuid(), info.Mode())
}

// aboutOwner judges who owns a directory that we, too, use.
func aboutOwner(dir string, uid, us int, mode fs.FileMode) Result {
	seen := fmt.Sprintf("uid %d, mode %04o; we are uid %d", uid, mode.Perm(), us)
	switch {
	case mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0:
		return Result{Status: Warn, Seen: seen + ": everybody who mounts it writable may replace the file",
			Cure: "take the others' write bit away, and mount the volume read-only in the consumers\nchmod o-w " + dir}
	case uid != us && us != 0:
		return Result{Status: Warn, Seen: seen, Cure: "run as the owner: an ECS volume takes its owner from the image that declares VOLUME at exactly this path, as the refresher's does for /run/ecr\n" +
			fmt.Sprintf(`"user": "%d"`, uid)}
	}
	return Result{Status: OK, Seen: seen}
}

func (e *exam) writable(o Output) Result {
	if err := writer.New(writer.Options{Path: o.Path, Mode: o.Mode}).Probe(); err != nil {
		return failed(err, "")[0]
	}
	return Result{Status: OK, Seen: "a file was created, written, synced, renamed over another and removed, and the directory synced; the output itself can be replaced"}
}

// room is statfs(2) for whoever is not root. Where a file system does not count files, there is always one left.
func room(dir string) (bytes, files uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	if s.Files == 0 {
		s.Ffree = 1
	}
	return s.Bavail * uint64(s.Bsize), s.Ffree, nil
}

// A replacement is written beside the file: twice 64 KiB is more than most files need, and 10 MiB is none too much for others.
const (
	spaceLeast = 128 << 10
	spaceSmall = 10 << 20
)

func (e *exam) space(o Output) Result {
	dir := dirOf(o)
	bytes, files, err := e.Room(dir)
	var need uint64 = spaceLeast
	if info, err := os.Stat(o.Path); err == nil {
		need += uint64(info.Size()) // the old one stays until the new one is whole
	}
	seen := fmt.Sprintf("%s free", size(bytes))
	cure := "free space on the volume, or give the task more (ephemeralStorage on Fargate)\n" + `"ephemeralStorage": {"sizeInGiB": 50}`
	switch {
	case err != nil:
		return Result{Status: Fail, Seen: err.Error(), Cure: "see whether the volume is reachable"}
	case files == 0:
		return Result{Status: Fail, Seen: "output_full: no file can be made: the file system has no inode left", Cure: cure}
	case bytes < need:
		return Result{Status: Fail, Seen: "output_full: " + seen + ", and " + size(need) + " are needed", Cure: cure}
	case bytes < spaceSmall:
		return Result{Status: Warn, Seen: seen, Cure: cure}
	}
	return Result{Status: OK, Seen: seen}
}

func size(n uint64) string {
	switch {
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 1<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}

// hosts are all keys that are ours, with whether their registry is optional.
func (e *exam) hosts() map[string]bool {
	all := map[string]bool{}
	for _, s := range e.specs {
		for _, h := range s.Hosts() {
			all[h] = s.Optional
		}
	}
	return all
}

// view is what a reader of an output finds now.
func (e *exam) view(o Output) (writer.View, error) {
	if o.Look != nil {
		return o.Look()
	}
	f := e.files[o.Path]
	if f == nil { // one for all checks: the same content is parsed once
		f = writer.New(writer.Options{Path: o.Path, Mode: o.Mode, Hosts: slices.Collect(maps.Keys(e.hosts())), Parsing: &e.parsing})
		e.files[o.Path] = f
	}
	return f.Look()
}

func (e *exam) document(o Output) Result {
	view, err := e.view(o)
	if err != nil {
		paste := ""
		if class, _ := fault.ClassOf(err); class == fault.OutputInvalid && !errors.Is(err, syscall.EISDIR) {
			paste = "rm " + o.Path
		}
		if syntax := (*writer.SyntaxError)(nil); errors.As(err, &syntax) && syntax.Encoding != "" {
			paste = recode(syntax.Encoding, o.Path)
		}
		return failed(err, paste)[0]
	}
	if !view.Exists {
		return Result{Status: OK, Seen: "there is none yet: the refresher makes it"}
	}
	return Result{Status: OK, Seen: fmt.Sprintf("valid; auths: %d in all, %d of our %d", view.Logins, len(view.Sums), len(e.hosts()))}
}

// recode is a command that makes UTF-8 of a file, and keeps its owner and mode.
func recode(from textfile.Encoding, path string) string {
	with := "iconv -f " + string(from) + " -t UTF-8 "
	if from == textfile.UTF8BOM {
		with = "tail -c +4 " // the mark has three bytes
	}
	return with + path + " > /tmp/c && cat /tmp/c > " + path
}

func (e *exam) helpers(o Output) Result {
	view, err := e.view(o)
	if err != nil {
		return Result{Status: Skip, Seen: "skipped because the file cannot be read (document)"}
	}
	store, helpers := view.CredsStore, view.CredHelpers
	var hidden, members []string
	status := Warn
	for h, optional := range e.hosts() {
		helper, listed := helpers[h]
		if helper == "" && (listed || store == "") { // "credHelpers": {"host": ""} is docker's way to say: read the file
			continue
		}
		if helper == "" {
			helper = store
		}
		hidden = append(hidden, fmt.Sprintf("%s by docker-credential-%s", h, plain.Text(helper, 100)))
		members = append(members, fmt.Sprintf("%q: \"\"", h))
		if !optional {
			status = Fail
		}
	}
	if len(hidden) == 0 {
		return Result{Status: OK, Seen: "no credsStore and no credHelpers hide an entry of ours"}
	}
	slices.Sort(hidden)
	slices.Sort(members)
	return Result{Status: status, Seen: "docker does not read our entries: a helper is asked instead, for " + strings.Join(hidden, ", "),
		Cure: "remove credsStore or credHelpers from the file; where they have to stay, an empty helper for our hosts makes docker and " +
			"buildctl read the file, does nothing for oras and helm, and breaks skopeo, podman and buildah\n" +
			"\"credHelpers\": {" + strings.Join(members, ", ") + "}"}
}

func (e *exam) foreignAuths(o Output) Result {
	view, err := e.view(o)
	if err != nil {
		return Result{Status: Skip, Seen: "skipped because the file cannot be read (document)"}
	}
	found := view.Obstacles
	switch {
	case found.BrokenCount > 0:
		cure := writer.BrokenCure
		if program, ok := deletion(found.Broken); ok {
			cure += "\njq '" + program + "' " + o.Path + " > /tmp/c && cat /tmp/c > " + o.Path
		}
		return Result{Status: Fail, Seen: told("entries that are not ours keep programs from reading the file", found.Broken, found.BrokenCount), Cure: cure}
	case found.SimilarCount > 0:
		return Result{Status: Warn, Seen: told("other logins for our registries are in the file", found.Similar, found.SimilarCount),
			Cure: "remove them unless somebody means them: the refresher does not renew them"}
	}
	return Result{Status: OK, Seen: "every program can read the file, and no other login is for a host of ours"}
}

func told(what string, found []writer.Obstacle, count int) string {
	words := make([]string, len(found))
	for i, f := range found {
		words[i] = f.String()
	}
	if more := count - len(found); more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("%s (%d): %s", what, count, strings.Join(words, ". "))
}

// deletion is a program for jq that removes what is named; not ok where a name is not shown as it is, or could end the shell's quotes.
func deletion(found []writer.Obstacle) (program string, ok bool) {
	var dels []string
	for _, f := range found {
		name := strings.TrimSuffix(strings.TrimPrefix(f.Key, `auths["`), `"]`)
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/_-") != "" {
			return "", false
		}
		dels = append(dels, "del(."+f.Key+")")
	}
	return strings.Join(dels, " | "), true
}

func (e *exam) writers(o Output) Result {
	info, err := os.Stat(o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return Result{Status: OK, Seen: "nobody yet"}
	}
	if err != nil {
		return Result{Status: Fail, Seen: err.Error(), Cure: "see the check volume"}
	}
	uid := ownerOf(info)
	seen := fmt.Sprintf("written by uid %d, %s ago", uid, time.Since(info.ModTime()).Round(time.Second))
	if us := os.Geteuid(); uid != us {
		return Result{Status: Warn, Seen: fmt.Sprintf("%s; we are uid %d: another program made the file", seen, us),
			Cure: writer.ContestedCure + "\n" +
				`"mountPoints": [{"sourceVolume": "ecr-auth", "containerPath": "` + dirOf(o) + `", "readOnly": true}]`}
	}
	return Result{Status: OK, Seen: seen}
}
