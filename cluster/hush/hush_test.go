package hush_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/cluster/hush"
)

func TestHush(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has filters on listening sockets")
	}
	tests := []struct {
		name, listen, dial string
		addresses          []string
		silent             bool
	}{
		{"the address itself", "127.0.0.1:0", "127.0.0.1", []string{"127.0.0.1"}, true},
		{"one of several", "127.0.0.1:0", "127.0.0.1", []string{"192.0.2.1", "2001:db8::1", "127.0.0.1", "192.0.2.2"}, true},
		{"other addresses", "127.0.0.1:0", "127.0.0.1", []string{"192.0.2.1", "2001:db8::1"}, false},
		{"all addresses, IPv4", "[::]:0", "127.0.0.1", []string{"::1", "127.0.0.1"}, true},
		{"all addresses, another", "[::]:0", "127.0.0.2", []string{"127.0.0.1", "::1"}, false},
		{"IPv6", "[::1]:0", "::1", []string{"2001:db8::1", "::1"}, true},
		{"IPv6, only the last word differs", "[::1]:0", "::1", []string{"::2", "::101"}, false},
		{"mapped", "127.0.0.1:0", "127.0.0.1", []string{"::ffff:127.0.0.1"}, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // each waits a second for a SYN to be sent again
			var lc net.ListenConfig
			lc.SetMultipathTCP(false) // such sockets take no filter
			l, err := lc.Listen(t.Context(), "tcp", tc.listen)
			if err != nil {
				t.Skipf("can't listen on %s: %v", tc.listen, err)
			}
			defer l.Close()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			at := net.JoinHostPort(tc.dial, port)
			old, err := net.Dial("tcp", at)
			if err != nil {
				t.Skipf("can't reach %s: %v", at, err)
			}
			defer old.Close()
			first, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer first.Close()

			var list []netip.Addr
			for _, s := range tc.addresses {
				list = append(list, netip.MustParseAddr(s))
			}
			if err := hush.Set(l, list); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
			if err == nil {
				nc.Close()
			}
			if silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded); silent != tc.silent {
				t.Errorf("a new connection: %v", err)
			}
			if _, err := old.Write([]byte("x")); err != nil {
				t.Errorf("an old connection: %v", err)
			}
			if _, err := first.Read(make([]byte, 1)); err != nil {
				t.Errorf("an old connection: %v", err)
			}

			// one that comes meanwhile is answered when its SYN is sent again
			came := make(chan error, 1)
			go func() {
				nc, err := net.DialTimeout("tcp", at, 20*time.Second)
				if err == nil {
					nc.Close()
				}
				came <- err
			}()
			if tc.silent {
				select {
				case err := <-came:
					t.Errorf("while it is hushed: %v", err)
				case <-time.After(100 * time.Millisecond):
				}
			}
			for range 2 { // twice is harmless
				if err := hush.Set(l, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-came; err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestNoSocket(t *testing.T) {
	if err := hush.Set(foreign{}, []netip.Addr{netip.MustParseAddr("127.0.0.1")}); err == nil {
		t.Error("a listener without a socket was hushed")
	}
}

type foreign struct{ net.Listener }
