package doctor

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"testing"

	"golang.org/x/sys/unix"
)

// entry of an ACL: tag, permission, id.
type rawACL [][3]uint32

func (r rawACL) bytes() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range r {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

const none = 0xffffffff

// minimal is what every ACL has: the mode, and a mask.
func minimal(mask uint32, more ...[3]uint32) rawACL {
	return append(append(rawACL{{1, 7, none}}, more...), [3]uint32{4, 7, none}, [3]uint32{0x10, mask, none}, [3]uint32{0x20, 7, none})
}

func TestAccess(t *testing.T) {
	for _, test := range []struct {
		name  string
		mode  uint32
		acl   rawACL
		uid   int
		enter bool
	}{
		{"everybody", 0o755, nil, -1, true},
		{"closed to others", 0o700, nil, -1, false},
		{"closed to others, the owner", 0o700, nil, 1000, true},
		{"closed to others, another", 0o700, nil, 1001, false},
		{"closed to its group, another", 0o701, nil, 1001, true},
		{"not to be entered", 0o754, nil, -1, false},
		{"an ACL without names", 0o755, minimal(7), -1, true},
		{"a user who may not", 0o755, minimal(7, [3]uint32{2, 0, 4711}), -1, false},
		{"that user", 0o755, minimal(7, [3]uint32{2, 0, 4711}), 4711, false},
		{"another user", 0o755, minimal(7, [3]uint32{2, 0, 4711}), 4712, true},
		{"the owner is no other user", 0o755, minimal(7, [3]uint32{2, 0, 1000}), -1, true},
		{"a group that may not", 0o755, minimal(7, [3]uint32{8, 4, 4711}), -1, false},
		{"a group that may", 0o755, minimal(7, [3]uint32{8, 5, 4711}), -1, true},
		{"the mask takes it away", 0o745, minimal(4, [3]uint32{2, 5, 4711}), 4711, false},
		{"one user alone may", 0o750, minimal(7, [3]uint32{2, 5, 4711}), 4711, true},
		{"the others may not", 0o750, minimal(7, [3]uint32{2, 5, 4711}), -1, false},
	} {
		var raw []byte
		if test.acl != nil {
			raw = test.acl.bytes()
		}
		a := access{mode: fs.FileMode(test.mode), owner: 1000, acl: parseACL(raw)}
		if got := a.allows(test.uid, mayEnter); got != test.enter {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	for _, odd := range [][]byte{nil, {2}, {1, 0, 0, 0}, {2, 0, 0, 0, 2, 0, 0}} {
		if got := parseACL(odd); got != nil {
			t.Errorf("%v: %v", odd, got)
		}
	}
}

// An ACL that takes away what the mode gives is seen on a real file, with the cure for that.
func TestConsumerWithACL(t *testing.T) {
	for _, of := range []string{"directory", "file"} {
		cfg := inVolume(t, `{}`)
		path := cfg.Outputs[0].Path
		if of == "directory" {
			path = dirOf(cfg.Outputs[0])
		}
		raw := rawACL{{1, 7, none}, {2, 0, 4711}, {4, 5, none}, {0x10, 5, none}, {0x20, 5, none}}
		if err := unix.Setxattr(path, "system.posix_acl_access", raw.bytes(), 0); errors.Is(err, unix.ENOTSUP) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
		want(t, look(t, "consumer", cfg), Warn, "an ACL", "setfacl -b "+path)
		cfg.ConsumerUID = 4711
		want(t, look(t, "consumer", cfg), Fail, "uid 4711 cannot", "setfacl -b "+path)
	}
}
