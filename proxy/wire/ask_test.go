package wire_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

func TestAsk(t *testing.T) {
	request := func() *net.Buffers { return &net.Buffers{[]byte("he"), nil, []byte("llo")} }
	t.Run("an answer that comes later", func(t *testing.T) {
		for _, network := range []string{"tcp", "unix", "own"} {
			c, far := pair(t, network)
			go func() {
				got := make([]byte, 5)
				for range 300 {
					if _, err := io.ReadFull(far, got); err != nil || string(got) != "hello" {
						t.Errorf("the peer read %q, %v", got, err)
						return
					}
					if _, err := io.WriteString(far, "world"); err != nil {
						t.Error(err)
						return
					}
				}
			}()
			p := make([]byte, 99)
			for range 300 { // the answer comes before the wait now and then
				bufs := request()
				asked, n, err := c.Ask(bufs, p)
				if asked != wire.AskedWhole || err != nil || string(p[:n]) != "world" || len(*bufs) != 0 {
					t.Fatalf("%s: %v, %q, %v, %d buffers left", network, asked, p[:n], err, len(*bufs))
				}
			}
		}
	})
	t.Run("allocates nothing", func(t *testing.T) {
		c, far := pair(t, "tcp")
		go io.Copy(far, far) // until the test ends
		p, req := make([]byte, 8), []byte("ping")
		bufs := make(net.Buffers, 0, 1)
		if n := testing.AllocsPerRun(100, func() {
			bufs = append(bufs[:0], req)
			if asked, _, err := c.Ask(&bufs, p); asked != wire.AskedWhole || err != nil {
				t.Error(asked, err)
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
	for _, c := range []struct {
		name string
		do   func(t *testing.T, far net.Conn)
		left string // what Read finds afterwards
	}{
		{"closed meanwhile", func(t *testing.T, far net.Conn) { far.Close() }, ""},
		{"said something unasked", func(t *testing.T, far net.Conn) { send(t, far, "408") }, "408"},
	} {
		t.Run(c.name, func(t *testing.T) {
			near, far := pair(t, "tcp")
			c.do(t, far)
			readable(t, near.NC)
			bufs := request()
			if asked, n, err := near.Ask(bufs, make([]byte, 9)); asked != wire.AskedStale || n != 0 || err != nil || len(*bufs) != 3 {
				t.Fatalf("%v %d %v, %d buffers left", asked, n, err, len(*bufs))
			}
			p := make([]byte, 9)
			if n, _ := near.Read(p); string(p[:n]) != c.left {
				t.Fatalf("left %q, want %q", p[:n], c.left)
			}
		})
	}
	t.Run("more than the socket takes", func(t *testing.T) {
		c, far := pair(t, "tcp")
		all := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
		bufs := net.Buffers{all[:3], all[3:]}
		asked, n, err := c.Ask(&bufs, make([]byte, 9))
		left := 0
		for _, b := range bufs {
			left += len(b)
		}
		if asked != wire.AskedPart || n != 0 || err != nil || left == 0 || left == len(all) {
			t.Fatalf("%v %d %v: %d of %d left", asked, n, err, left, len(all))
		}
		got := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(far) // short: the comparison tells
			got <- b
		}()
		if _, err := c.Write(&bufs, patience); err != nil {
			t.Fatal(err)
		}
		if err := c.NC.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(<-got, all) {
			t.Fatal("what arrived differs")
		}
	})
	t.Run("no answer in time", func(t *testing.T) {
		c, far := pair(t, "tcp")
		c.ReadBy(time.Now(), 20*time.Millisecond)
		asked, n, err := c.Ask(request(), make([]byte, 9))
		if asked != wire.AskedWhole || n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%v %d %v", asked, n, err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(far, got); err != nil || string(got) != "hello" {
			t.Fatalf("%q %v", got, err)
		}
	})
	t.Run("closed instead of an answer", func(t *testing.T) {
		c, far := pair(t, "tcp")
		go func() {
			_, _ = io.ReadFull(far, make([]byte, 5)) // the request's outcome tells
			far.Close()
		}()
		if asked, n, err := c.Ask(request(), make([]byte, 9)); asked != wire.AskedWhole || n != 0 || err != io.EOF {
			t.Fatalf("%v %d %v", asked, n, err)
		}
	})
	t.Run("a deadline that is over", func(t *testing.T) {
		c, _ := pair(t, "tcp")
		if err := c.NC.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if asked, _, err := c.Ask(request(), make([]byte, 9)); asked != wire.AskedNothing || err != nil {
			t.Fatalf("%v %v", asked, err)
		}
	})
	t.Run("more pieces than one call takes", func(t *testing.T) {
		c, _ := pair(t, "tcp")
		bufs := make(net.Buffers, 100)
		for i := range bufs {
			bufs[i] = []byte("x")
		}
		if asked, _, err := c.Ask(&bufs, make([]byte, 9)); asked != wire.AskedNothing || err != nil || len(bufs) != 100 {
			t.Fatalf("%v %v, %d buffers left", asked, err, len(bufs))
		}
	})
	t.Run("TLS", func(t *testing.T) {
		c, _ := tlsPair(t, 0)
		if asked, _, err := c.Ask(request(), make([]byte, 9)); asked != wire.AskedNothing || err != nil {
			t.Fatalf("%v %v", asked, err)
		}
	})
}
