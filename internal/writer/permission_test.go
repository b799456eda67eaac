package writer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ecr-refresher/internal/fault"
)

// The cause that is there, from the facts alone.
func TestObstacleCure(t *testing.T) {
	const d, f = "/run/ecr", "/run/ecr/config.json"
	var (
		us    = process{uid: 65532, groups: []int{65532}}
		root  = process{uid: 0, groups: []int{0}, overrides: true, owns: true}
		bare  = process{uid: 0, groups: []int{0}} // root that dropped all capabilities
		group = process{uid: 1000, groups: []int{1000, 65532}}
	)
	dir := func(uid int, mode fs.FileMode) node {
		return node{path: d, exists: true, uid: uid, gid: uid, mode: mode}
	}
	file := func(uid int, mode fs.FileMode) node {
		return node{path: f, exists: true, uid: uid, gid: uid, mode: mode}
	}
	with := func(n node, change func(*node)) node { change(&n); return n }
	immutable := func(n *node) { n.immutable = true }
	appendOnly := func(n *node) { n.appendOnly = true }
	acl := func(n *node) { n.acl = true }
	foreign := func(n *node) { n.foreign = true }
	sticky := func(uid int) node { return dir(uid, 0o777|fs.ModeSticky) }
	for _, r := range []struct {
		name      string
		who       process
		dir, file node
		cure      string // of a write; empty: nothing is in the way
		read      string // of a read; "-": the same
	}{
		{"all is well", us, dir(65532, 0o755), file(65532, 0o600), "", "-"},
		{"no file yet", us, dir(65532, 0o755), node{path: f}, "", "-"},
		{"nothing is known", us, node{path: d}, node{path: f}, "", "-"},
		{"our own, closed to writing", us, dir(65532, 0o555), file(65532, 0o644), d + " is our own (uid 65532), and its mode 0555", ""},
		{"our own, closed", us, dir(65532, 0), node{}, d + " is our own (uid 65532), and its mode 0", "-"},
		{"the owner's bits count for the owner", us, dir(65532, 0o077), node{}, d + " is our own", "-"},
		{"root's", us, dir(0, 0o755), file(65532, 0o600), d + " belongs to uid 0 and we run as uid 65532: the volume takes its owner", ""},
		{"somebody's", us, dir(1000, 0o755), node{}, d + " belongs to uid 1000 and we run as uid 65532", ""},
		{"the group's", group, dir(65532, 0o775), node{}, "", "-"},
		{"the group's, closed to writing", group, dir(65532, 0o755), node{}, d + " belongs to uid 65532 and we run as uid 1000", ""},
		{"everybody's", us, dir(0, 0o777), node{}, "", "-"},
		{"everybody's, and an ACL", us, with(dir(0, 0o777), acl), node{}, d + " belongs to uid 0 and has an access control list", ""},
		{"our own, and an ACL", us, with(dir(65532, 0o755), acl), node{}, "", "-"},
		{"a file for everybody, and an ACL", us, dir(65532, 0o755), with(file(0, 0o666), acl), f + " belongs to uid 0 and has an access control list", "-"},
		{"not to be searched", us, dir(0, 0o766), node{}, d + " belongs to uid 0", "-"},
		{"not to be listed", us, dir(0, 0o773), node{}, d + " belongs to uid 0", "-"},
		{"root anywhere", root, dir(1000, 0), file(1000, 0), "", "-"},
		{"root without capabilities", bare, dir(65532, 0o755), node{}, `uid 0 without the capability DAC_OVERRIDE: run as its owner ("user": "65532")`, ""},
		{"root without capabilities, at home", bare, dir(0, 0o755), node{}, "", "-"},
		{"an ACL", us, with(dir(0, 0o775), acl), node{}, "access control list that does not let uid 65532 write: setfacl -m u:65532:rwx " + d, ""},
		{"an ACL, and our own", us, with(dir(65532, 0o555), acl), node{}, "is our own", ""},
		{"not mapped", root, with(dir(65534, 0o755), foreign), node{}, "user namespace of this container does not map", ""},
		{"not mapped, open to all", root, with(dir(65534, 0o777), foreign), node{}, "", "-"},
		{"immutable directory", root, with(dir(0, 0o755), immutable), node{}, d + " has the attribute immutable, so that nobody can replace the file: chattr -i " + d, ""},
		{"append-only directory", root, with(dir(0, 0o755), appendOnly), node{}, "chattr -a " + d, ""},
		{"immutable file", root, dir(0, 0o755), with(file(0, 0o644), immutable), "chattr -i " + f, ""},
		{"append-only file", us, dir(65532, 0o755), with(file(65532, 0o644), appendOnly), "chattr -a " + f, ""},
		{"sticky, a foreign file", us, sticky(0), file(1000, 0o644), d + " has the sticky bit (mode 01777), so that only the owner of " + f + ", uid 1000, can replace it, and we run as uid 65532", ""},
		{"sticky, our file", us, sticky(0), file(65532, 0o644), "", "-"},
		{"sticky, our directory", us, sticky(65532), file(1000, 0o644), "", "-"},
		{"sticky, no file", us, sticky(0), node{path: f}, "", "-"},
		{"sticky, root", root, sticky(1000), file(65532, 0o644), "", "-"},
		{"sticky, root without capabilities", bare, sticky(1000), file(65532, 0o644), "sticky bit", ""},
		{"sticky, root, not mapped", root, with(sticky(65534), foreign), with(file(65534, 0o644), foreign), "sticky bit", ""},
		{"a closed file", us, dir(65532, 0o755), file(0, 0o600), f + " belongs to uid 0 with mode 0600 and we run as uid 65532: give it to us or delete it", "-"},
		{"a closed file of ours", us, dir(65532, 0o755), file(65532, 0o200), f + " is our own (uid 65532), and its mode 0200 does not let us read it", "-"},
		{"a closed file with an ACL", us, dir(65532, 0o755), with(file(0, 0o640), acl), "setfacl -m u:65532:r " + f, "-"},
	} {
		at := place{above: []node{{path: "/", exists: true, mode: 0o755}}, dir: r.dir, file: r.file}
		if r.read == "-" {
			r.read = r.cure
		}
		for reading, want := range map[bool]string{false: r.cure, true: r.read} {
			if got := obstacleCure(r.who, at, reading); (got == "") != (want == "") || !strings.Contains(got, want) {
				t.Errorf("%s, reading %v: %q, want %q", r.name, reading, got, want)
			}
		}
	}
	above := place{above: []node{{path: "/", mode: 0o755}, {path: "/srv", mode: 0o700}}, dir: dir(65532, 0o755)}
	if got := obstacleCure(us, above, true); !strings.Contains(got, "pass through /srv, whose mode is 0700") {
		t.Errorf("a closed parent: %q", got)
	}
}

func TestInRanges(t *testing.T) {
	const some = "         0       1000          1\n         1     100000      65536\n"
	for _, r := range []struct {
		lines string
		id    int
		want  bool
	}{
		{"         0          0 4294967295\n", 65534, true}, {some, 0, true}, {some, 65534, true}, {some, 65536, true}, {some, 65537, false},
		{"0 0 1\n", 65534, false}, {"", 65534, false}, {"x", 0, false},
	} {
		if got := inRanges(r.lines, r.id); got != r.want {
			t.Errorf("%q has %d: %v", r.lines, r.id, got)
		}
	}
}

// probeChild syncs a file and probes it, and prints what is said of both.
func probeChild(args []string) {
	f := newFile(args[0])
	_, err := f.Sync(wants(hostA, "new"))
	probed := f.Probe()
	for what, err := range map[string]error{"sync": err, "probe": probed} {
		class, _ := fault.ClassOf(err)
		fmt.Printf("%s class=%s cure=%s err=%v\n", what, class, fault.CureOf(err), err)
	}
}

// FS_IMMUTABLE_FL and FS_APPEND_FL of ioctl_iflags(2).
const immutableFlag, appendFlag = 0x10, 0x20

// The kernel's own refusals, each with its cause. What a Sync meets, a Probe says before.
func TestDeniedForReal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away; TestObstacleCure has the rules")
	}
	attribute := func(path string, flags int) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		now, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		if err != nil {
			return err
		}
		now = now&^(immutableFlag|appendFlag) | flags
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, now)
	}
	const us = 65532
	for _, r := range []struct {
		name    string
		prepare func(dir, file string) error
		root    bool // run as root, with all capabilities
		cure    string
	}{
		{"own directory 0555", func(dir, _ string) error { return errors.Join(os.Chown(dir, us, us), os.Chmod(dir, 0o555)) }, false, "DIR is our own (uid 65532), and its mode 0555"},
		{"another's directory", func(dir, _ string) error { return os.Chown(dir, 1000, 1000) }, false, "DIR belongs to uid 1000 and we run as uid 65532"},
		{"a sticky directory with another's file", func(dir, file string) error {
			return errors.Join(os.Chmod(dir, 0o777|fs.ModeSticky), os.WriteFile(file, []byte("{}"), 0o644))
		}, false, "DIR has the sticky bit (mode 01777), so that only the owner of DIR/config.json, uid 0"},
		{"an immutable file", func(dir, file string) error {
			return errors.Join(os.Chown(dir, us, us), os.WriteFile(file, []byte("{}"), 0o644), attribute(file, immutableFlag))
		}, false, "DIR/config.json has the attribute immutable"},
		{"an immutable file, as root", func(_, file string) error {
			return errors.Join(os.WriteFile(file, []byte("{}"), 0o644), attribute(file, immutableFlag))
		}, true, "chattr -i DIR/config.json"},
		{"an append-only file", func(_, file string) error {
			return errors.Join(os.WriteFile(file, []byte("{}"), 0o644), attribute(file, appendFlag))
		}, true, "chattr -a DIR/config.json"},
		{"an immutable directory", func(dir, _ string) error { return attribute(dir, immutableFlag) }, true, "DIR has the attribute immutable"},
		{"an append-only directory", func(dir, _ string) error { return attribute(dir, appendFlag) }, true, "chattr -a DIR,"},
		{"a closed parent", func(dir, _ string) error {
			return errors.Join(os.Chown(dir, us, us), os.Chmod(filepath.Dir(dir), 0o700))
		}, false, "let uid 65532 pass through"},
	} {
		t.Run(r.name, func(t *testing.T) {
			above, _ := sharedDir(t)
			at := filepath.Join(above, "volume")
			path := filepath.Join(at, "config.json")
			if err := os.Mkdir(at, 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := stranger(t, "probe", path)
			if r.root {
				cmd = child(t, "probe", path)
			}
			t.Cleanup(func() { _ = errors.Join(attribute(at, 0), attribute(path, 0)) })
			if err := r.prepare(at, path); errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, fs.ErrPermission) {
				t.Skipf("the file system has no attributes: %v", err)
			} else if err != nil {
				t.Fatal(err)
			}
			wantDenied(t, cmd, at, r.cure)
		})
	}
	t.Run("an ACL", func(t *testing.T) {
		at, path := sharedDir(t)
		acl := []byte{2, 0, 0, 0} // the version; then tag, permissions and id of each entry: acl(5)
		for _, e := range []struct{ tag, perm uint16 }{{0x01, 7}, {0x02, 5}, {0x04, 5}, {0x10, 7}, {0x20, 5}} {
			id := uint32(0xffffffff)
			if e.tag == 0x02 { // a user by name
				id = us
			}
			acl = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(acl, e.tag), e.perm), id)
		}
		if err := unix.Setxattr(at, "system.posix_acl_access", acl, 0); err != nil {
			t.Skipf("no ACLs here: %v; TestObstacleCure has the rule", err)
		}
		wantDenied(t, stranger(t, "probe", path), at, "setfacl -m u:65532:rwx DIR")
	})
	t.Run("root without capabilities", func(t *testing.T) {
		at, path := sharedDir(t)
		if err := os.Chown(at, us, us); err != nil {
			t.Fatal(err)
		}
		if _, err := exec.LookPath("setpriv"); err != nil {
			t.Skip("no setpriv; TestObstacleCure has the rule")
		}
		self := stranger(t, "probe", path)
		cmd := exec.CommandContext(t.Context(), "setpriv", "--bounding-set=-all", "--inh-caps=-all", self.Path, path)
		cmd.Env = self.Env
		wantDenied(t, cmd, at, `without the capability DAC_OVERRIDE: run as its owner ("user": "65532")`)
	})
	t.Run("a user namespace without the owner", func(t *testing.T) {
		at, path := sharedDir(t)
		if err := os.Chown(at, 1000, 1000); err != nil {
			t.Fatal(err)
		}
		cmd := child(t, "probe", path)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		}
		wantDenied(t, cmd, at, "user namespace of this container does not map")
	})
}

func wantDenied(t *testing.T, cmd *exec.Cmd, at, cure string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Skipf("it cannot be started here: %v", err)
	}
	said := strings.ReplaceAll(string(out), at, "DIR")
	for _, what := range []string{"sync", "probe"} {
		met := false
		for line := range strings.Lines(said) {
			met = met || strings.HasPrefix(line, what+" class=output_denied") && strings.Contains(line, cure)
		}
		if !met {
			t.Errorf("%s does not say %q: %v\n%s", what, cure, err, said)
		}
	}
	if s := strays(t, at); s != nil && !strings.Contains(cure, "chattr -a DIR,") { // from there nothing can be removed
		t.Error(s)
	}
}
