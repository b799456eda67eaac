package httpd

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

type fakeConn struct {
	net.Conn
	id     int
	closed func()
}

func (c *fakeConn) Close() error { c.closed(); return nil }

// Each word of steps is one event: "+1" connection 1 comes, "1a" becomes active, "1w" writes, "1W" an
// answer of half the room, "1i" idle, "1x" ends. The result lists who was closed, in order.
func TestWhoIsClosed(t *testing.T) {
	for _, test := range []struct {
		name  string
		max   int
		steps string
		want  string
	}{
		{"room for all", 3, "+1 +2 +3", ""},
		{"one that ended makes room", 2, "+1 +2 1x +3", ""},
		{"one that ended in flight makes room", 4, "+1 1a +2 2a +3 3a 1x +4 4a +5 +6", "5"},
		{"the oldest that never sent a request", 4, "+1 +2 +3 +4 +5 +6", "1 2"},
		{"never a request before idle, groups equal", 4, "+1 1a 1i +2 2a 2i +3 +4 +5", "3"},
		{"the larger group: idle", 4, "+1 1a 1i +2 2a 2i +3 3a 3i +4 +5", "1"},
		{"the larger group: new", 4, "+1 1a 1i +2 +3 +4 +5 +6", "2 3"},
		{"idle by the time of the last request, not of the connection", 3, "+1 1a 1i +2 2a 2i 1a 1i +3 3a 3i +4", "2"},
		{"a request in flight is left alone", 4, "+1 1a +2 2a +3 3a +4 +5 +6", "4 5"},
		{"unless there is nothing else", 4, "+1 1a +2 2a +3 3a +4 4a +5", "1"},
		{"or they take more than three quarters", 5, "+1 1a +2 2a +3 3a +4 4a +5 +6", "1"},
		{"those that do not take their answers, where they are the most", 5, "+1 1a 1w +2 2a 2w +3 3a 3w +4 4a 4w +5 +6 +7", "1 2"},
		{"the third answer of half the room: the one that waits longest", 9, "+1 1a 1W +2 2a 2W +3 3a 3W", "1"},
		{"one that is taken makes room", 9, "+1 1a 1W 1i +2 2a 2W +3 3a 3W", ""},
		{"one that ended makes room", 9, "+1 1a 1W 1x +2 2a 2W +3 3a 3W", ""},
		{"small answers are not in the way", 9, "+1 1a 1w +2 2a 2W +3 3a 3W", ""},
		{"a single place", 1, "+1 +2 2a +3", "1 2"},
		{"a request that comes as its connection is closed takes no place", 2, "+1 +2 +3 1a 1i +4 1x", "1 2"},
		{"too many still ending: the newcomer", 1, "+1 +2 +3 +4 +5 +6 +7", "1 2 3 4 6 7"},
		{"until one of them has ended", 1, "+1 +2 +3 +4 +5 +6 1x +7", "1 2 3 4 6 5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conns, all := newConns(test.max), map[int]net.Conn{}
			var closed []string
			for step := range strings.FieldsSeq(test.steps) {
				var id int
				if n, _ := fmt.Sscanf(step, "+%d", &id); n == 1 {
					all[id] = &fakeConn{id: id, closed: func() { closed = append(closed, fmt.Sprint(id)) }}
					if c := conns.admit(all[id]); c != nil {
						closed = append(closed, fmt.Sprint(c.(*fakeConn).id))
					}
					continue
				}
				var what rune
				if _, err := fmt.Sscanf(step, "%d%c", &id, &what); err != nil {
					t.Fatal(err)
				}
				switch what {
				case 'W':
					conns.writing(all[id], mostHeld/2)
				default:
					conns.changed(all[id], map[rune]http.ConnState{'a': http.StateActive, 'w': stateWriting, 'i': http.StateIdle, 'x': http.StateClosed}[what])
				}
				active := 0
				for _, is := range conns.open {
					if is.state == http.StateActive {
						active++
					}
				}
				if active != conns.busy {
					t.Errorf("after %s %d are active, counted as %d", step, active, conns.busy)
				}
				if len(conns.open) > test.max {
					t.Errorf("after %s %d are open", step, len(conns.open))
				}
			}
			if got := strings.Join(closed, " "); got != test.want {
				t.Errorf("closed %q, want %q", got, test.want)
			}
		})
	}
}

// The server never hears of a newcomer that is turned away, so nothing is left of it.
func TestAcceptTurnsAway(t *testing.T) {
	conns, p := newConns(1), newPipes()
	for id := range 1 + 1 + maxCut {
		conns.admit(&fakeConn{id: id})
	}
	accepted := make(chan error, 1)
	go func() {
		_, err := listener{p, conns}.Accept()
		accepted <- err
	}()
	if _, err := p.dial().Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read %v, want EOF", err)
	}
	_ = p.Close()
	if err := <-accepted; err != net.ErrClosed {
		t.Errorf("Accept: %v, want that of the listener", err)
	}
}

// The first connections may have much of an answer in the kernel, those of a crowd little; and who has gone counts no longer.
func TestSendBuffer(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	l := listener{inner, newConns(4 * fewShare)}
	var accepted []net.Conn
	large := func() bool {
		client, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, c)
		raw, err := c.(*head).Conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		if err := raw.Control(func(fd uintptr) { size, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF) }); err != nil {
			t.Fatal(err)
		}
		if err != nil || size < smallSendBuffer || size > 2*largeSendBuffer { // Linux doubles it
			t.Fatalf("the send buffer has %d bytes: %v", size, err)
		}
		return size >= largeSendBuffer
	}
	for i := range 8 {
		if got, want := large(), i < 4; got != want {
			t.Errorf("connection %d: large is %t", i, got)
		}
	}
	for _, c := range accepted[:5] {
		l.conns.changed(c, http.StateClosed)
	}
	if !large() {
		t.Error("small, though few are left")
	}
}
