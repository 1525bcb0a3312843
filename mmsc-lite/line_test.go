package mmsc

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

// TestLineIsAConnection holds a line to what net.Conn promises, both ways round.
func TestLineIsAConnection(t *testing.T) {
	for _, name := range []string{"asker first", "answerer first"} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				a, b := newLine()
				stop := func() { a.Close(); b.Close() }
				if name == "asker first" {
					return a, b, stop, nil
				}
				return b, a, stop, nil
			})
		})
	}
}

// TestLineBounds: what nobody reads makes its writer wait, and an early answer does not wait for a request that is still being written.
func TestLineBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asker, answerer := newLine()
		request, answer := bytes.Repeat([]byte("q"), 300_000), bytes.Repeat([]byte("a"), answerRoom)
		wrote := make(chan error, 1)
		var n int
		go func() {
			var err error
			n, err = asker.Write(request)
			wrote <- err
		}()
		synctest.Wait()
		if _, err := answerer.Write(answer); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(answerer, make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case err := <-wrote:
			t.Fatalf("the writer waits for nobody: %v", err)
		default:
		}
		if err := answerer.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-wrote; !errors.Is(err, syscall.EPIPE) || n != 100_000 {
			t.Errorf("%d octets written, %v", n, err)
		}
		if got, err := io.ReadAll(asker); err != nil || !bytes.Equal(got, answer) {
			t.Errorf("of the answer before the close %d octets came, %v", len(got), err)
		}
	})
}

// TestLineEnds: each way to end a line, and what the other end sees of it.
func TestLineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asker, answerer := newLine()
		if _, err := asker.Write([]byte("head")); err != nil {
			t.Fatal(err)
		}
		if err := asker.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(answerer); err != nil || string(got) != "head" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := answerer.Write([]byte("late answer")); err != nil {
			t.Errorf("a half-closed line takes no answer: %v", err)
		}
		if err := asker.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := answerer.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("a write to who is gone: %v", err)
		}
		if _, err := asker.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read behind Close: %v", err)
		}

		asker, answerer = newLine()
		defer answerer.Close()
		defer asker.Close()
		began := time.Now()
		// A later deadline behind an earlier one, which has set the timer: it is the later one that counts.
		for _, d := range []time.Duration{time.Second, 3 * time.Second} {
			if err := asker.SetReadDeadline(began.Add(d)); err != nil {
				t.Fatal(err)
			}
			if d == time.Second {
				go func() {
					time.Sleep(500 * time.Millisecond)
					answerer.Write([]byte("1"))
				}()
				if _, err := asker.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := asker.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if err := asker.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go answerer.Write([]byte("2"))
		if _, err := asker.Read(make([]byte, 1)); err != nil {
			t.Errorf("without a deadline: %v", err)
		}
	})
}
