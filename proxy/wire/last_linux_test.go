package wire_test

import (
	"bytes"
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWriteLast: the octets and the end arrive, over TCP in one segment.
func TestWriteLast(t *testing.T) {
	for _, network := range []string{"tcp", "own", "unix"} {
		t.Run(network, func(t *testing.T) {
			c, far := pair(t, network)
			before, counts := segments(t, far)
			if n, err := c.WriteLast(&net.Buffers{[]byte("head, "), []byte("body")}, patience); n != 10 || err != nil {
				t.Fatalf("%d octets: %v", n, err)
			}
			got, err := io.ReadAll(far)
			if err != nil || string(got) != "head, body" {
				t.Fatalf("%q, %v", got, err)
			}
			if after, _ := segments(t, far); counts && after != before+1 {
				t.Errorf("it took %d segments", after-before)
			}
			if err := c.NC.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("more than the socket takes", func(t *testing.T) {
		c, far := pair(t, "own")
		want := bytes.Repeat([]byte("0123456789"), 1<<19)
		got := make(chan []byte)
		go func() {
			b, err := io.ReadAll(far)
			if err != nil {
				t.Error(err)
			}
			got <- b
		}()
		if n, err := c.WriteLast(&net.Buffers{want}, patience); n != int64(len(want)) || err != nil {
			t.Fatalf("%d octets: %v", n, err)
		}
		if b := <-got; !bytes.Equal(b, want) {
			t.Errorf("%d octets of %d arrived", len(b), len(want))
		}
	})
}

// segments is how many segments have come in, where the system counts them.
func segments(t *testing.T, nc net.Conn) (n uint32, ok bool) {
	t.Helper()
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return 0, false
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	if cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return info.Segs_in, true
}
