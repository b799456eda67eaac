package writer

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The system refuses without saying why. What there is to know is gathered first, as facts, and judged by obstacleCure, which is pure.

// process is who asks: this process, as the kernel sees it.
type process struct {
	uid       int
	groups    []int
	overrides bool // has CAP_DAC_OVERRIDE: modes do not count for it
	owns      bool // has CAP_FOWNER: it counts as the owner of every file
}

// node is a file or a directory. The zero value is one that does not exist, or that cannot be looked at.
type node struct {
	path     string
	exists   bool
	uid, gid int
	mode     fs.FileMode // permission bits and fs.ModeSticky
	foreign  bool        // its owner or group is not mapped into our user namespace: our capabilities do not reach it

	immutable, appendOnly, acl bool
}

// place is where the file is: the directories above that lead there, its own directory, and the file.
type place struct {
	above     []node
	dir, file node
}

// may reports whether the mode gives all of some bits (4 read, 2 write, 1 search).
func (p process) may(n node, bits fs.FileMode) bool {
	shift := 0
	switch {
	case p.overrides && !n.foreign:
		return true
	case p.uid == n.uid && !n.foreign:
		shift = 6
	case slices.Contains(p.groups, n.gid):
		shift = 3
	}
	return n.mode.Perm()>>shift&bits == bits
}

// obstacleCure says what keeps a process from reading the file, or from replacing it, and what to do about it. It is empty where
// the facts allow it.
func obstacleCure(p process, at place, reading bool) (cure string) {
	for _, n := range at.above {
		if !p.may(n, 1) {
			cure = fmt.Sprintf("let uid %d pass through %s, whose mode is %#o: chmod a+x %s", p.uid, n.path, n.mode.Perm(), n.path)
			return cure
		}
	}
	needed := fs.FileMode(4 | 1) // it is opened, and names in it are looked up
	if !reading {
		needed |= 2
	}
	switch {
	case !reading && at.dir.locked() != "":
		return lockedCure(at.dir)
	case at.dir.exists && !p.may(at.dir, needed):
		return closedDirCure(p, at.dir)
	case at.file.exists && !p.may(at.file, 4): // it is read before it is replaced, too
		return closedFileCure(p, at.file)
	}
	if !reading {
		cure = replaceCure(p, at)
	}
	if cure == "" && !p.overrides { // the modes allow it, and an ACL may take away what they give
		switch {
		case !reading && at.dir.acl && at.dir.uid != p.uid:
			return closedDirCure(p, at.dir)
		case at.file.acl && at.file.uid != p.uid:
			return closedFileCure(p, at.file)
		}
	}
	return cure
}

// replaceCure is obstacleCure for the file alone: what keeps it from being replaced in a directory in which other files can.
func replaceCure(p process, at place) (cure string) {
	sticky := at.dir.mode&fs.ModeSticky != 0 && p.uid != at.file.uid && p.uid != at.dir.uid
	switch {
	case at.file.locked() != "":
		return lockedCure(at.file)
	case at.file.exists && sticky && (!p.owns || at.file.foreign):
		cure = fmt.Sprintf("%s has the sticky bit (mode %#o), so that only the owner of %s, uid %d, can replace it, "+
			"and we run as uid %d: delete the file as its owner, or take the bit off: chmod -t %s",
			at.dir.path, 0o1000|at.dir.mode.Perm(), at.file.path, at.file.uid, p.uid, at.dir.path)
	}
	return cure
}

// locked is the attribute that keeps even root from replacing a file, or any file of a directory; empty where there is none.
func (n node) locked() string {
	switch {
	case n.immutable:
		return "immutable"
	case n.appendOnly:
		return "append-only"
	}
	return ""
}

func lockedCure(n node) (cure string) {
	cure = fmt.Sprintf("%s has the attribute %s, so that nobody can replace the file: chattr -%s %s, as root on the host",
		n.path, n.locked(), n.locked()[:1], n.path)
	return cure
}

// closedDirCure names the rule by which ECS decides who owns a volume only where the owner is what is wrong.
func closedDirCure(p process, n node) (cure string) {
	switch {
	case n.foreign:
		cure = fmt.Sprintf("%s belongs to a user or group that the user namespace of this container does not map: "+
			"give it, on the host, to one that is mapped", n.path)
	case n.uid == p.uid:
		cure = fmt.Sprintf("%s is our own (uid %d), and its mode %#o does not let us write: chmod u+rwx %s",
			n.path, n.uid, n.mode.Perm(), n.path)
	case n.acl:
		cure = fmt.Sprintf("%s belongs to uid %d and has an access control list that does not let uid %d write: setfacl -m u:%d:rwx %s",
			n.path, n.uid, p.uid, p.uid, n.path)
	case p.uid == 0:
		cure = fmt.Sprintf(`%s belongs to uid %d and we run as uid 0 without the capability DAC_OVERRIDE: `+
			`run as its owner ("user": "%d"), or keep the capability`, n.path, n.uid, n.uid)
	default:
		cure = fmt.Sprintf("%s belongs to uid %d and we run as uid %d: "+
			"the volume takes its owner from an image that declares VOLUME at exactly this path, "+
			"as the refresher's does for /run/ecr; keep the image's user, or mount the volume there", n.path, n.uid, p.uid)
	}
	return cure
}

func closedFileCure(p process, n node) (cure string) {
	switch {
	case n.uid == p.uid && !n.foreign:
		cure = fmt.Sprintf("%s is our own (uid %d), and its mode %#o does not let us read it: chmod u+r %s",
			n.path, n.uid, n.mode.Perm(), n.path)
	case n.acl:
		cure = fmt.Sprintf("%s belongs to uid %d and has an access control list that does not let uid %d read it: setfacl -m u:%d:r %s",
			n.path, n.uid, p.uid, p.uid, n.path)
	default:
		cure = fmt.Sprintf("%s belongs to uid %d with mode %#o and we run as uid %d: give it to us or delete it",
			n.path, n.uid, n.mode.Perm(), p.uid)
	}
	return cure
}

// permissionCure is for an error of permission. What owners, modes and attributes do not explain is decided elsewhere.
func (f *File) permissionCure(d dir, reading bool) string {
	if cure := obstacleCure(ourselves(), f.place(d), reading); cure != "" {
		return cure
	}
	return fmt.Sprintf("the owner and the mode of %s allow it: look for a denial by SELinux or AppArmor in the audit log of the host, "+
		"or by the server of the volume if it is on NFS or EFS (root squash, access point, file system policy)", f.dir)
}

// place looks at all that decides whether the file can be replaced. It needs no permission but to pass through.
func (f *File) place(d dir) place {
	dir, name := f.dir, f.base
	if d != nil { // as far as a link leads
		if names, _, err := follow(d, f.base); err == nil {
			name = names[len(names)-1]
			dir = filepath.Join(f.dir, filepath.Dir(name))
			name = filepath.Base(name)
		}
	}
	var at place
	if abs, err := filepath.Abs(dir); err == nil {
		for up := filepath.Dir(abs); ; up = filepath.Dir(up) {
			if n := nodeAt(up, true); n.exists {
				at.above = append(at.above, n)
			}
			if up == filepath.Dir(up) {
				break
			}
		}
		slices.Reverse(at.above)
	}
	at.dir, at.file = nodeAt(dir, true), nodeAt(filepath.Join(dir, name), false)
	return at
}

// nodeAt is what is at a path, or at what a link there leads to.
func nodeAt(path string, follow bool) node {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if follow {
		flags = 0
	}
	var s unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_BASIC_STATS, &s); err != nil {
		return node{path: path}
	}
	n := node{path: path, exists: true, uid: int(s.Uid), gid: int(s.Gid), mode: fs.FileMode(s.Mode & 0o777)}
	if s.Mode&unix.S_ISVTX != 0 {
		n.mode |= fs.ModeSticky
	}
	n.immutable = s.Attributes&unix.STATX_ATTR_IMMUTABLE != 0
	n.appendOnly = s.Attributes&unix.STATX_ATTR_APPEND != 0
	n.foreign = !mapped("uid", n.uid) || !mapped("gid", n.gid)
	size, err := unix.Lgetxattr(path, "system.posix_acl_access", nil)
	n.acl = err == nil && size > 0
	return n
}

// ourselves is this process.
func ourselves() process {
	p := process{uid: os.Geteuid(), groups: []int{os.Getegid()}}
	if more, err := os.Getgroups(); err == nil {
		p.groups = append(p.groups, more...)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err == nil {
		p.overrides = sets[0].Effective&(1<<unix.CAP_DAC_OVERRIDE) != 0
		p.owns = sets[0].Effective&(1<<unix.CAP_FOWNER) != 0
	}
	return p
}

// mapped reports whether our user namespace has an id. The kernel shows those that it has not as 65534.
func mapped(kind string, id int) bool {
	const nobody = 65534
	if id != nobody {
		return true
	}
	ranges, err := os.ReadFile("/proc/self/" + kind + "_map") //nolint:gosec // G304: kind is uid or gid
	return err != nil || inRanges(string(ranges), id)
}

// inRanges reads lines of first id inside, first id outside, count: user_namespaces(7).
func inRanges(lines string, id int) bool {
	for line := range strings.Lines(lines) {
		var inside, outside, count int
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 && id >= inside && id-inside < count {
			return true
		}
	}
	return false
}
