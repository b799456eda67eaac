package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// agentAddress is where the ECS agent serves credentials and metadata.
const agentAddress = "169.254.170.2"

const (
	region  = "us-west-2"
	account = "123456789012" // the task's
	apiHost = "api.ecr." + region + ".amazonaws.com"
)

// registryHosts are many, the task's own first.
func registryHosts(n int) []string {
	hosts := []string{account + ".dkr.ecr." + region + ".amazonaws.com"}
	for i := 1; i < n; i++ {
		hosts = append(hosts, fmt.Sprintf("%012d.dkr.ecr.%s.amazonaws.com", 200000000000+i, region))
	}
	return hosts
}

// world is where everything runs: a network that is a loopback device, on which AWS's host names lead to a sandbox, and the
// files of an image FROM scratch where it matters: /etc/ssl/certs holds one bundle, Debian's with the sandbox's root behind it.
type world struct {
	plan
	figures *figures
	errOut  io.Writer
	env     []string // of every program: what ECS gives to a container, and nothing of this machine
	ports   int
	dirs    int
}

func newWorld(p plan, errOut io.Writer) (*world, error) {
	w := &world{plan: p, figures: newFigures(), errOut: errOut, ports: 20000}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return nil, fmt.Errorf("mount /proc for the new process ids: %w", err)
	}
	if err := addresses("127.0.0.1", agentAddress); err != nil {
		return nil, fmt.Errorf("bring the loopback device up: %w", err)
	}
	if err := w.replace("/etc/hosts", hostsFile(1)); err != nil {
		return nil, err
	}
	if err := w.startSandbox(); err != nil {
		return nil, fmt.Errorf("the sandbox: %w", err)
	}
	return w, nil
}

// hostsFile leads AWS's names and those of so many registries to the loopback device. Go reads all of it for each name that it looks
// up: a task's has a few lines, and what starts is not to pay for a thousand.
func hostsFile(registries int) []byte {
	var text strings.Builder
	for _, h := range append([]string{"localhost", apiHost, "sts." + region + ".amazonaws.com"}, registryHosts(registries)...) {
		fmt.Fprintf(&text, "127.0.0.1 %s\n", h)
	}
	return []byte(text.String())
}

// manyHosts is for those stages that have many registries. The file in place of the machine's is ours to change.
func (w *world) manyHosts() error {
	return os.WriteFile("/etc/hosts", hostsFile(1000), 0o600)
}

func (w *world) say(format string, a ...any) {
	fmt.Fprintf(w.errOut, "bench %5.1fs %s\n", time.Since(w.Began).Seconds(), fmt.Sprintf(format, a...))
}

// addresses gives the loopback device of a new network namespace its addresses.
func addresses(addrs ...string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for i, addr := range addrs {
		name := "lo"
		if i > 0 {
			name = fmt.Sprintf("lo:%d", i)
		}
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := ifr.SetInet4Addr(net.ParseIP(addr).To4()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, ifr); err != nil {
			return fmt.Errorf("address %s: %w", addr, err)
		}
		if i == 0 {
			ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
			if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
				return err
			}
		}
	}
	return nil
}

// replace puts a file of ours in the place of one of the machine's, for the programs in these namespaces alone.
func (w *world) replace(path string, content []byte) error {
	own := filepath.Join(w.Scratch, filepath.Base(path))
	if err := os.WriteFile(own, content, 0o644); err != nil {
		return err
	}
	if err := unix.Mount(own, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}

const certificates = "/etc/ssl/certs"

// startSandbox starts the stand-in for AWS on AWS's ports, and makes the programs' environment and trust. It ends with this
// process.
func (w *world) startSandbox() error {
	cmd := exec.Command(w.Programs["sandbox"], "--addr", agentAddress+":80", "--tls-addr", "127.0.0.1:443", "--region", region, "--account", account, "--quiet")
	cmd.Stderr = w.errOut
	cmd.Env = []string{"TMPDIR=" + w.Scratch}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w.env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + w.Scratch, "AWS_REGION=" + region,
		"AWS_DEFAULT_REGION=" + region, "AWS_EXECUTION_ENV=AWS_ECS_FARGATE",
	}
	var ca string
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Stop with") {
		variable, _ := strings.CutPrefix(strings.TrimSpace(lines.Text()), "export ")
		switch name, value, _ := strings.Cut(variable, "="); name {
		case "AWS_CONTAINER_CREDENTIALS_FULL_URI": // on that address it is as good as the relative one that ECS gives
			w.env = append(w.env, variable)
		case "ECS_CONTAINER_METADATA_URI_V4":
			w.env = append(w.env, variable)
		case "SSL_CERT_FILE":
			ca = value
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	root, err := os.ReadFile(ca)
	if err != nil {
		return errors.Join(errors.New("it did not say where its root is"), err)
	}
	bundle, err := os.ReadFile(filepath.Join(certificates, "ca-certificates.crt"))
	if err != nil {
		return fmt.Errorf("install ca-certificates: %w", err)
	}
	own := filepath.Join(w.Scratch, "certs")
	if err := os.Mkdir(own, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(own, "ca-certificates.crt"), append(bundle, root...), 0o644); err != nil {
		return err
	}
	w.figures.add("world", "bundle", "roots", float64(strings.Count(string(bundle), "BEGIN CERTIFICATE")))
	if err := unix.Mount(own, certificates, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("replace %s: %w", certificates, err)
	}
	return nil
}
