package wire_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestWrite writes gather lists of all shapes past what a socket takes, with a peer that reads when it likes.
func TestWrite(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, network := range []string{"tcp", "unix", "own"} {
		t.Run(network, func(t *testing.T) {
			c, far := pair(t, network)
			var want bytes.Buffer
			lists := make([]net.Buffers, 10)
			for i := range lists {
				for range rnd.IntN(60) {
					b := make([]byte, []int{0, 1, 7, 1000, 70000}[rnd.IntN(5)])
					for k := range b {
						b[k] = byte(rnd.Uint32())
					}
					lists[i] = append(lists[i], b)
					want.Write(b)
				}
			}
			got := make(chan []byte)
			go func() {
				b, err := io.ReadAll(far)
				if err != nil {
					t.Error(err)
				}
				got <- b
			}()
			var total int64
			for _, l := range lists {
				n, err := c.Write(&l, patience)
				if err != nil || len(l) != 0 {
					t.Fatalf("%v, %d buffers left", err, len(l))
				}
				total += n
			}
			if err := c.NC.Close(); err != nil {
				t.Fatal(err)
			}
			if b := <-got; !bytes.Equal(b, want.Bytes()) || total != int64(want.Len()) {
				t.Fatalf("%d octets of %d arrived, %d were counted", len(b), want.Len(), total)
			}
		})
	}
	t.Run("goes on behind a time-out", func(t *testing.T) {
		c, far := pair(t, "tcp")
		if !c.Resumes() {
			t.Fatal("a plain connection says that it can't go on")
		}
		all := make([]byte, 16<<20) // more than two sockets hold
		for i := range all {
			all[i] = byte(i * 7 / 3)
		}
		bufs := net.Buffers{all[:10], nil, all[10 : 8<<20], all[8<<20:]}
		n, err := c.Write(&bufs, 20*time.Millisecond)
		left := int64(0)
		for _, b := range bufs {
			left += int64(len(b))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n+left != int64(len(all)) {
			t.Fatalf("%v: %d written, %d left of %d", err, n, left, len(all))
		}
		got := make(chan []byte)
		go func() {
			b := make([]byte, len(all))
			if _, err := io.ReadFull(far, b); err != nil {
				t.Error(err)
			}
			got <- b
		}()
		more, err := c.Write(&bufs, patience)
		if err != nil || n+more != int64(len(all)) {
			t.Fatalf("%v: %d and %d octets of %d", err, n, more, len(all))
		}
		if b := <-got; !bytes.Equal(b, all) {
			t.Fatal("what arrived is not what was written")
		}
	})
	t.Run("the peer resets", func(t *testing.T) {
		c, far := pair(t, "tcp")
		reset(t, far)
		var err error
		for end := time.Now().Add(patience); err == nil && time.Now().Before(end); { // it may not have come yet
			bufs := net.Buffers{make([]byte, 1<<16)}
			_, err = c.Write(&bufs, patience)
		}
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Fatal(err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		c, _ := pair(t, "tcp")
		if err := c.NC.Close(); err != nil {
			t.Fatal(err)
		}
		bufs := net.Buffers{[]byte("x")}
		if n, err := c.Write(&bufs, patience); n != 0 || !errors.Is(err, net.ErrClosed) || len(bufs) != 1 {
			t.Fatalf("%d %v %q", n, err, bufs)
		}
	})
	t.Run("allocates nothing", func(t *testing.T) {
		c, far := pair(t, "tcp")
		list := make([][]byte, 3)
		bufs := net.Buffers(list)
		in := make([]byte, 16)
		a, b := []byte("head"), []byte("body")
		if n := testing.AllocsPerRun(100, func() {
			list[0], list[1], list[2] = a, nil, b
			bufs = list
			if _, err := c.Write(&bufs, patience); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(far, in[:8]); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%g allocations", n)
		}
	})
}
