package handover_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/app/handover"
)

// pair gives two links that run until the test ends, after prepare has registered what each answers.
func pair(t *testing.T, prepare func(a, b *handover.Link)) (a, b *handover.Link) {
	t.Helper()
	a, f, err := handover.Pair()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = handover.Open(f); err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(a, b)
	}
	var wg sync.WaitGroup
	for _, l := range []*handover.Link{a, b} {
		wg.Go(func() {
			if err := l.Run(context.Background()); err != nil {
				t.Errorf("the link ended with %v", err)
			}
		})
	}
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
		wg.Wait()
	})
	return a, b
}

func TestCallsAndNotes(t *testing.T) {
	order := make(chan string, 3)
	a, b := pair(t, func(a, b *handover.Link) {
		b.Answer("echo", func(_ context.Context, p []byte) ([]byte, error) { return p, nil })
		b.Answer("refuse", func(context.Context, []byte) ([]byte, error) { return nil, errors.New("not today") })
		a.Answer("back", func(_ context.Context, p []byte) ([]byte, error) { return append(p, '!'), nil })
		b.Take("note", func(p []byte, _ []*os.File) { order <- string(p) })
	})
	large := bytes.Repeat([]byte("x"), handover.MaxPacket-100)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			want := fmt.Append(large[:i*1000:i*1000], i)
			if got, err := a.Call(t.Context(), "echo", want); err != nil || !bytes.Equal(got, want) {
				t.Errorf("call %d: %d octets, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
	if got, err := b.Call(t.Context(), "back", []byte("hey")); err != nil || string(got) != "hey!" {
		t.Errorf("the other direction: %q %v", got, err)
	}
	var failed *handover.Failed
	if _, err := a.Call(t.Context(), "refuse", nil); !errors.As(err, &failed) || failed.Text != "not today" {
		t.Errorf("a refusal: %v", err)
	}
	if _, err := a.Call(t.Context(), "nonsense", nil); !errors.As(err, &failed) {
		t.Errorf("an unknown call: %v", err)
	}
	if _, err := a.Call(t.Context(), "echo", append(large, large...)); err == nil {
		t.Error("a packet above the limit went out")
	}
	for _, s := range []string{"1", "2", "3"} {
		if err := a.Send("note", []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"1", "2", "3"} {
		if got := <-order; got != want {
			t.Errorf("note %q in the place of %q", got, want)
		}
	}
}

func TestListenersPass(t *testing.T) {
	got := make(chan net.Listener, 1)
	a, _ := pair(t, func(_, b *handover.Link) {
		b.Take("socket", func(_ []byte, files []*os.File) {
			for _, f := range files {
				ln, err := net.FileListener(f)
				if err != nil {
					t.Error(err)
				}
				f.Close()
				got <- ln
			}
		})
	})
	old, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// a connection that nobody has accepted yet must outlive the old listener
	c, err := net.Dial("tcp", old.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := a.Send("socket", nil, old.(syscall.Conn)); err != nil {
		t.Fatal(err)
	}
	ln := <-got
	defer ln.Close()
	old.Close()
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.RemoteAddr().String() != c.LocalAddr().String() {
		t.Errorf("accepted %s, not %s", s.RemoteAddr(), c.LocalAddr())
	}
}

func TestGone(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	a, b := pair(t, func(_, b *handover.Link) {
		b.Answer("hang", func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
	})
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := a.Call(short, "hang", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call out of time: %v", err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := a.Call(context.Background(), "hang", nil)
		ended <- err
	}()
	_ = b.Close()
	if err := <-ended; !errors.Is(err, handover.ErrGone) {
		t.Errorf("a call whose other side went: %v", err)
	}
	<-a.Gone()
	if _, err := a.Call(t.Context(), "hang", nil); !errors.Is(err, handover.ErrGone) {
		t.Errorf("a call after that: %v", err)
	}
}

// TestGarbage: a process of a foreign kind ends the link, nothing else.
func TestGarbage(t *testing.T) {
	for name, b := range map[string][]byte{"short": {1, 2}, "kind": append([]byte{9}, make([]byte, 20)...), "name beyond the end": {4, 0, 0, 0, 0, 0, 0, 0, 0, 200, 'x'}} {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET, 0)
		if err != nil {
			t.Fatal(err)
		}
		l, err := handover.Open(os.NewFile(uintptr(fds[0]), "ours"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := syscall.Write(fds[1], b); err != nil {
			t.Fatal(err)
		}
		if err := l.Run(t.Context()); err == nil {
			t.Errorf("%s: taken", name)
		}
		<-l.Gone()
		_ = syscall.Close(fds[1])
	}
}
