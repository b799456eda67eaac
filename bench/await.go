package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const configFile = "config.json"

// watch tells when config.json in a directory is replaced. It sleeps in the kernel: both processors are the programs'.
type watch struct {
	fd     int
	path   string
	writes int // seen so far
}

func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &watch{fd: fd, path: filepath.Join(dir, configFile)}, nil
}

func (w *watch) close() { unix.Close(w.fd) }

var errSilent = errors.New("config.json was not written")

// next waits for the next replacement.
func (w *watch) next(within time.Duration) error {
	deadline := time.Now().Add(within)
	buf := make([]byte, 4096)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return errSilent
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n <= 0 {
			continue
		}
		got, err := unix.Read(w.fd, buf)
		if err != nil {
			return err
		}
		if found := countNames(buf[:got], configFile); found > 0 {
			w.writes += found
			return nil
		}
	}
}

// countNames counts the inotify events that are about a file of this name.
func countNames(events []byte, name string) int {
	found := 0
	for len(events) >= unix.SizeofInotifyEvent {
		length := int(uint32(events[12]) | uint32(events[13])<<8 | uint32(events[14])<<16 | uint32(events[15])<<24)
		if strings.TrimRight(string(events[16:16+length]), "\x00") == name {
			found++
		}
		events = events[16+length:]
	}
	return found
}

// usable counts the entries of a docker config with which a consumer could log in; any other entry is an error.
func usable(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var doc struct {
		Auths map[string]struct{ Auth string }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return 0, err
	}
	for host, entry := range doc.Auths {
		login, err := base64.StdEncoding.DecodeString(entry.Auth)
		if err != nil || !strings.HasPrefix(string(login), "AWS:") {
			return 0, fmt.Errorf("the entry of %s is no login", host)
		}
	}
	return len(doc.Auths), nil
}
