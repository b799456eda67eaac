package doctor

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// The bits of a permission.
const (
	mayRead  fs.FileMode = 4
	mayEnter fs.FileMode = 1
)

func (e *exam) consumer(o Output) Result {
	dir, err := os.Stat(dirOf(o))
	if err != nil {
		return Result{Status: Fail, Seen: err.Error(), Cure: "see the check volume"}
	}
	way := access{dir.Mode(), ownerOf(dir), aclOf(dirOf(o))}
	target, what := access{mode: o.Mode, owner: os.Geteuid()}, "the file, once it is there,"
	if info, err := os.Stat(o.Path); err == nil {
		target, what = access{info.Mode(), ownerOf(info), aclOf(o.Path)}, "the file"
	}
	seen := fmt.Sprintf("%s is uid %d's with mode %04o%s, its directory uid %d's with mode %04o%s", what, target.owner, target.mode.Perm(), target.aclNote(),
		way.owner, way.mode.Perm(), way.aclNote())
	uid, who, bad := e.ConsumerUID, fmt.Sprintf("uid %d", e.ConsumerUID), Fail
	if uid < 0 {
		who, bad = "a consumer that runs as another user (--consumer-uid says which)", Warn
	}
	switch {
	case uid == 0:
		return Result{Status: OK, Seen: seen + ": uid 0 reads everything"}
	case !way.allows(uid, mayEnter):
		return Result{Status: bad, Seen: seen + ": " + who + " cannot enter the directory", Cure: way.cure(dirOf(o), mayEnter,
			"let others enter the directory\nchmod o+x "+dirOf(o))}
	case !target.allows(uid, mayRead):
		return Result{Status: bad, Seen: seen + ": " + who + " cannot read it", Cure: target.cure(o.Path, mayRead,
			"let others read: the image's default, as the task-private volume is the boundary\nREFRESHER_OUTPUT_MODE=0644")}
	case uid < 0:
		return Result{Status: OK, Seen: seen + ": every user reads it"}
	}
	return Result{Status: OK, Seen: seen + ": " + who + " reads it"}
}

// access is who may do what with a file, by its mode and its POSIX ACL.
type access struct {
	mode  fs.FileMode
	owner int
	acl   []aclEntry
}

// allows reports whether a user who is in no group of the owner's may do what bit says; uid < 0 is everybody.
func (a access) allows(uid int, bit fs.FileMode) bool {
	if uid >= 0 && uid == a.owner {
		return a.mode.Perm()&(bit<<6) != 0
	}
	everybody := uid < 0
	for _, e := range a.acl {
		has := e.perm&bit != 0
		switch {
		case e.tag == aclUser && uid >= 0 && uint32(uid) == e.id:
			return has
		case everybody && !has && (e.tag == aclUser && int64(e.id) != int64(a.owner) || e.tag == aclGroup):
			return false
		}
	}
	return a.mode.Perm()&bit != 0
}

// cure is otherwise, unless the ACL takes away what the mode gives.
func (a access) cure(path string, bit fs.FileMode, otherwise string) string {
	if len(a.acl) > 0 && a.mode.Perm()&bit != 0 {
		return "remove the ACL, which takes away what the mode allows\nsetfacl -b " + path
	}
	return otherwise
}

func (a access) aclNote() string {
	if len(a.acl) > 0 {
		return " and an ACL"
	}
	return ""
}

// aclEntry is an entry of a POSIX ACL for a user or a group, as far as the mask lets it through.
type aclEntry struct {
	tag  uint16
	id   uint32
	perm fs.FileMode
}

// The tags, by linux/posix_acl.h.
const (
	aclUser  = 0x02
	aclGroup = 0x08
	aclMask  = 0x10
)

// aclOf is the ACL of a file; none where there is none or the file system has none.
func aclOf(path string) []aclEntry {
	b := make([]byte, 4<<10)
	n, err := unix.Getxattr(path, "system.posix_acl_access", b)
	if err != nil {
		return nil
	}
	return parseACL(b[:n])
}

// parseACL reads linux/posix_acl_xattr.h: a version and entries of 8 bytes.
func parseACL(b []byte) (entries []aclEntry) {
	const header, size, version = 4, 8, 2
	if len(b) < header || binary.LittleEndian.Uint32(b) != version {
		return nil
	}
	mask := mayRead | 2 | mayEnter
	for b = b[header:]; len(b) >= size; b = b[size:] {
		e := aclEntry{binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint32(b[4:]), fs.FileMode(binary.LittleEndian.Uint16(b[2:]))}
		switch e.tag {
		case aclMask:
			mask = e.perm
		case aclUser, aclGroup:
			entries = append(entries, e)
		}
	}
	for i := range entries {
		entries[i].perm &= mask
	}
	return entries
}
