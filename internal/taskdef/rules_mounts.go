package taskdef

import (
	"fmt"
	pathpkg "path"
	"slices"
	"strings"
)

// mounted is what a container has at a directory: a volume, or a tmpfs.
type mounted struct {
	path     string // clean
	volume   string // empty for a tmpfs
	readOnly bool
	at       string // where the container says so, such as .mountPoints[0]
	from     string // the container that volumesFrom takes it from; empty for one of its own
}

// mounts returns all that a container has mounted: its own mount points, its tmpfs, and what it inherits.
func (d *definition) mounts(i int) []mounted {
	all := d.ownMounts(i)
	for j, t := range d.Containers[i].LinuxParameters.Tmpfs {
		if t.ContainerPath == "" {
			continue // reported as empty
		}
		all = append(all, mounted{
			path: pathpkg.Clean(t.ContainerPath), readOnly: slices.Contains(t.MountOptions, "ro"),
			at: fmt.Sprintf(".linuxParameters.tmpfs[%d]", j),
		})
	}
	return append(all, d.inherited(i, []string{d.Containers[i].Name})...)
}

func (d *definition) ownMounts(i int) (all []mounted) {
	for j, m := range d.Containers[i].MountPoints {
		if m.ContainerPath == "" {
			continue // reported as empty
		}
		all = append(all, mounted{
			path: pathpkg.Clean(m.ContainerPath), volume: m.SourceVolume, readOnly: m.ReadOnly,
			at: fmt.Sprintf(".mountPoints[%d]", j),
		})
	}
	return all
}

// inherited returns what volumesFrom brings: the mount points of the source, and what the source inherits
// itself. A tmpfs is not inherited. seen are the containers on the way, so that a circle ends.
func (d *definition) inherited(i int, seen []string) (all []mounted) {
	for j, v := range d.Containers[i].VolumesFrom {
		source := d.container(v.SourceContainer)
		if source < 0 || slices.Contains(seen, v.SourceContainer) {
			continue
		}
		theirs := slices.Concat(d.ownMounts(source), d.inherited(source, append(slices.Clone(seen), v.SourceContainer)))
		for _, m := range theirs {
			known := func(o mounted) bool { return o.path == m.path && o.volume == m.volume }
			if slices.ContainsFunc(all, known) {
				continue
			}
			m.readOnly = m.readOnly || v.ReadOnly
			m.at, m.from = fmt.Sprintf(".volumesFrom[%d]", j), v.SourceContainer
			all = append(all, m)
		}
	}
	return all
}

// mountProblem is a reason why a container with these mounts does not start, or does not work.
type mountProblem struct {
	at, what, cure string
	login          bool // it is about the mount of the login
}

// mountProblems judges all mounts of one container. login is the volume with the login; empty where there
// is none.
func mountProblems(all []mounted, login string) (problems []mountProblem) {
	ours := func(m mounted) bool { return login != "" && m.volume == login }
	for i, m := range all {
		if ours(m) && m.from == "" {
			if why := unfit(m.path, m.readOnly); why != "" {
				problems = append(problems,
					mountProblem{m.at, why, "Mount it at a directory of its own, such as /run/ecr.", true})
			}
		} else if m.from == "" && m.path == "/" {
			problems = append(problems,
				mountProblem{m.at, "nothing can be mounted at /", "Choose another directory.", false})
		}
		for _, o := range all[:i] {
			about := ours(m) || ours(o)
			switch {
			case m.path == o.path:
				if m.volume == o.volume && m.volume != "" && (m.from != "" || o.from != "") {
					continue // the same twice
				}
				what := fmt.Sprintf("%s and %s are both mounted at %s", o, m, m.path)
				problems = append(problems, mountProblem{m.at, what, "Give each a directory of its own.", about})
			case about && o.readOnly && inside(m.path, o.path):
				problems = append(problems, blocked(m, o))
			case about && m.readOnly && inside(o.path, m.path):
				problems = append(problems, blocked(o, m))
			}
		}
	}
	return problems
}

// blocked is the problem that a directory cannot be made inside a read-only mount: a container's directories are
// made one after another.
func blocked(below, above mounted) mountProblem {
	what := fmt.Sprintf("%s is mounted at %s, which cannot be made in %s, where %s is mounted read-only",
		below, below.path, above.path, above)
	return mountProblem{below.at, what, "Mount one of them elsewhere.", true}
}

// String names a mount in a sentence.
func (m mounted) String() string {
	name := fmt.Sprintf("the volume %q", m.volume)
	if m.volume == "" {
		name = "a tmpfs"
	}
	if m.from != "" {
		name += " of " + m.from
	}
	return name
}

// within reports whether a directory is at, or below, another.
func within(dir, at string) bool {
	return dir == at || strings.HasPrefix(dir, strings.TrimSuffix(at, "/")+"/")
}

// inside is within as the kernel sees it: nearly every image has /var/run as a link to /run.
func inside(dir, at string) bool { return within(linked(dir), linked(at)) }

func linked(dir string) string {
	if within(dir, "/var/run") {
		return strings.TrimPrefix(dir, "/var")
	}
	return dir
}

var (
	// kernels are directories that the container runtime fills.
	kernels = []string{"/dev", "/proc", "/sys"}
	// programs are directories without whose content no program starts.
	programs = []string{
		"/bin", "/boot", "/etc", "/etc/pki", "/etc/ssl", "/etc/ssl/certs", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/sbin",
		"/usr", "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/libexec", "/usr/sbin",
		"/usr/share", "/var", "/var/lib",
	}
	// scratch are directories that programs write to.
	scratch = []string{"/home", "/root", "/run", "/run/lock", "/tmp", "/var/cache", "/var/lock", "/var/log",
		"/var/run", "/var/spool", "/var/tmp"}
)

// unfit says why the login cannot be mounted at a directory; it is empty where it can.
func unfit(dir string, readOnly bool) string {
	switch {
	case dir == "/":
		return "nothing can be mounted at /"
	case slices.ContainsFunc(kernels, func(k string) bool { return within(dir, k) }):
		return dir + " belongs to the kernel"
	case slices.Contains(programs, dir):
		return "a volume at " + dir + " hides what the image has there"
	case readOnly && slices.Contains(scratch, dir):
		return dir + " would be read-only, and programs write there"
	}
	return ""
}

// canWrite reports whether a container can make files in a directory: the mount there decides, else the
// root file system.
func canWrite(k container, all []mounted, dir string) bool {
	best := mounted{path: "/", readOnly: k.ReadonlyRootFilesystem && !inside(dir, "/dev/shm")}
	for _, m := range all {
		if inside(dir, m.path) && len(linked(m.path)) >= len(linked(best.path)) {
			best = m
		}
	}
	return !best.readOnly
}

// anyMounts reports the mounts that are wrong whatever they are for.
func (c *checker) anyMounts(i int, k container) {
	if _, sign := c.windows(); sign != "" {
		return // its paths are others
	}
	for j, m := range k.MountPoints {
		at := path(i, fmt.Sprintf(".mountPoints[%d].containerPath", j))
		c.absolute(at, m.ContainerPath)
		if pathpkg.IsAbs(m.ContainerPath) { // else one finding is enough
			c.noColon(at, m.ContainerPath)
		}
	}
	for j, t := range k.LinuxParameters.Tmpfs {
		c.absolute(path(i, fmt.Sprintf(".linuxParameters.tmpfs[%d].containerPath", j)), t.ContainerPath)
	}
	for _, p := range mountProblems(c.mounts(i), "") {
		c.fail(path(i, p.at), p.what, p.cure)
	}
}

func (c *checker) absolute(at, dir string) {
	if dir == "" || strings.ContainsAny(dir[:1], "$<{") { // a placeholder may be anything
		return
	}
	if !pathpkg.IsAbs(dir) {
		c.fail(at, fmt.Sprintf("%q is not an absolute path", dir), "Begin it with a slash.")
	}
}

// noColon: the agent gives docker a mount as source:destination:ro, and so neither path can have a colon.
func (c *checker) noColon(at, dir string) {
	if strings.Contains(dir, ":") && !strings.ContainsAny(dir, "$<{") { // a placeholder may be anything
		c.fail(at, fmt.Sprintf("%q has a colon in it, and docker cannot mount that", dir),
			"Choose a directory without one.")
	}
}

// hostPaths reports the directories of the host that cannot be mounted.
func (c *checker) hostPaths() {
	if _, sign := c.windows(); sign != "" {
		return // its paths are others
	}
	for j, v := range c.Volumes {
		c.noColon(fmt.Sprintf(".volumes[%d].host.sourcePath", j), v.Host.SourcePath)
	}
}

// loginMounts reports what is wrong with the mounts of the login in a container.
func (c *checker) loginMounts(i int, k container, login string) {
	all := c.mounts(i)
	for _, p := range mountProblems(all, login) {
		known := func(f Finding) bool { return f.Where == c.where(path(i, p.at)) && f.What == p.what }
		if p.login && !slices.ContainsFunc(c.findings, known) {
			c.fail(path(i, p.at), p.what, p.cure)
		}
	}
	dir, at := k.env(buildxConfig)
	consumer := slices.ContainsFunc(all, func(m mounted) bool { return m.volume == login })
	if at >= 0 && consumer && !canWrite(k, all, pathpkg.Clean(dir)) {
		c.warn(path(i, fmt.Sprintf(".environment[%d].value", at)),
			fmt.Sprintf("%s cannot write to %s=%s, which is on a read-only file system", k.Name, buildxConfig, dir),
			"If it runs docker buildx, mount a volume or a tmpfs there, or above it.")
	}
}
