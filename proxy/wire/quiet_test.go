package wire_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// serverConfig is a TLS server's with a certificate made for this run.
func serverConfig(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mmsc.example"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// tlsPair is a TLS connection whose near side has done nothing but the handshake; most is the newest version spoken.
func tlsPair(t *testing.T, most uint16) (*wire.Conn, *tls.Conn) {
	t.Helper()
	c, far := pair(t, "tcp")
	server := tls.Server(far, serverConfig(t))
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	// a client that keeps sessions is sent tickets for them
	client := tls.Client(c.NC, &tls.Config{InsecureSkipVerify: true, MaxVersion: most, ServerName: "mmsc.example", ClientSessionCache: tls.NewLRUClientSessionCache(1)})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return wire.NewConn(client), server
}

func TestQuiet(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "own"} {
		t.Run(network, func(t *testing.T) {
			c, far := pair(t, network)
			if !c.Quiet() {
				t.Fatal("open and silent, but not quiet")
			}
			if err := c.NC.SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if !c.Quiet() {
				t.Fatal("a deadline makes it unquiet")
			}
			if err := c.NC.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			send(t, far, "ab")
			readable(t, c.NC)
			if c.Quiet() || c.Quiet() {
				t.Fatal("quiet with octets waiting")
			}
			buf := make([]byte, 8)
			if n, err := c.Read(buf); err != nil || string(buf[:n]) != "ab" {
				t.Fatalf("a look has changed what is read: %q %v", buf[:n], err)
			}
			if !c.Quiet() {
				t.Fatal("not quiet behind the read")
			}
			if err := far.Close(); err != nil {
				t.Fatal(err)
			}
			readable(t, c.NC)
			if c.Quiet() {
				t.Fatal("quiet though the peer has closed")
			}
			if err := c.NC.Close(); err != nil {
				t.Fatal(err)
			}
			if c.Quiet() {
				t.Fatal("quiet though closed")
			}
		})
	}
	t.Run("reset", func(t *testing.T) {
		c, far := pair(t, "tcp")
		reset(t, far)
		for end := time.Now().Add(patience); c.Quiet(); runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatal("quiet though the peer has reset it")
			}
		}
		if c.Quiet() {
			t.Fatal("the second look calls it quiet")
		}
	})
	t.Run("without a descriptor", func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		if !wire.NewConn(near).Quiet() {
			t.Fatal("nothing is known against it")
		}
	})
}

// TestQuietTLS holds that session tickets behind the handshake are no answer, and that a look loses nothing.
func TestQuietTLS(t *testing.T) {
	for _, v := range []struct {
		name string
		most uint16
	}{{"1.2", tls.VersionTLS12}, {"1.3", tls.VersionTLS13}} {
		t.Run(v.name, func(t *testing.T) {
			c, far := tlsPair(t, v.most)
			if v.most == tls.VersionTLS13 {
				readable(t, c.NC) // the tickets
			}
			if !c.Quiet() || !c.Quiet() {
				t.Fatal("not quiet behind the handshake")
			}
			if n, err := c.TryRead(make([]byte, 1)); n != 0 || err != wire.ErrWouldBlock {
				t.Fatalf("TryRead: %d %v", n, err)
			}
			send(t, far, "answer")
			readable(t, c.NC)
			if c.Quiet() || c.Quiet() {
				t.Fatal("quiet with an answer waiting")
			}
			got := make([]byte, 6)
			if _, err := io.ReadFull(readerFunc(c.Read), got); err != nil || string(got) != "answer" {
				t.Fatalf("the looks have changed what is read: %q %v", got, err)
			}
			if !c.Quiet() {
				t.Fatal("not quiet behind the answer")
			}
			send(t, far, "next")
			readable(t, c.NC)
			if c.Quiet() {
				t.Fatal("quiet with more waiting")
			}
			p := newPool()
			buf, n, err := c.ReadWith(p)
			if err != nil || n != 1 || buf[0] != 'n' || p.out.Load() != 1 {
				t.Fatalf("ReadWith: %q %v", buf[:n], err)
			}
			if c.Quiet() {
				t.Fatal("quiet with decrypted octets waiting")
			}
			rest := make([]byte, 3)
			if _, err := io.ReadFull(readerFunc(c.Read), rest); err != nil || string(rest) != "ext" {
				t.Fatalf("the rest: %q %v", rest, err)
			}
			if err := far.Close(); err != nil {
				t.Fatal(err)
			}
			readable(t, c.NC)
			if c.Quiet() {
				t.Fatal("quiet though the peer has closed")
			}
		})
	}
	t.Run("half a record", func(t *testing.T) {
		c, far := tlsPair(t, tls.VersionTLS12)
		if _, err := far.NetConn().Write([]byte{23, 3, 3}); err != nil {
			t.Fatal(err)
		}
		readable(t, c.NC)
		if !c.Quiet() {
			t.Fatal("three octets of a record are no answer yet")
		}
	})
	t.Run("reset", func(t *testing.T) {
		c, far := tlsPair(t, tls.VersionTLS12)
		reset(t, far.NetConn())
		for end := time.Now().Add(patience); c.Quiet(); runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatal("quiet though the peer has reset it")
			}
		}
	})
	t.Run("writes don't resume", func(t *testing.T) {
		if c, _ := tlsPair(t, tls.VersionTLS13); c.Resumes() {
			t.Fatal("TLS says that it can go on behind a time-out")
		}
	})
	t.Run("ReadWith waits without a buffer", func(t *testing.T) {
		c, far := tlsPair(t, tls.VersionTLS13)
		p := newPool()
		if err := c.NC.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if buf, n, err := c.ReadWith(p); buf != nil || n != 0 || err == nil || p.got.Load() != 0 {
			t.Fatalf("%q %d %v, %d buffers", buf, n, err, p.got.Load())
		}
		if err := c.NC.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		send(t, far, "x")
		if buf, n, err := c.ReadWith(p); err != nil || string(buf[:n]) != "x" {
			t.Fatalf("%q %v", buf[:n], err)
		}
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestAbort holds that no peer takes an aborted message for a whole one.
func TestAbort(t *testing.T) {
	t.Run("tcp", func(t *testing.T) {
		c, far := pair(t, "tcp")
		bufs := net.Buffers{[]byte("half a message")}
		if _, err := c.Write(&bufs, patience); err != nil {
			t.Fatal(err)
		}
		c.Abort()
		c.Abort() // twice is harmless
		if b, err := io.ReadAll(far); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("the peer reads %q and %v, want a reset", b, err)
		}
	})
	t.Run("from another goroutine, while it reads", func(t *testing.T) {
		c, _ := pair(t, "tcp")
		done := make(chan error)
		go func() { _, err := c.Read(make([]byte, 1)); done <- err }()
		c.Abort()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
	})
	t.Run("tls", func(t *testing.T) {
		c, far := tlsPair(t, tls.VersionTLS13)
		bufs := net.Buffers{[]byte("half a message")}
		if _, err := c.Write(&bufs, patience); err != nil {
			t.Fatal(err)
		}
		c.Abort()
		if b, err := io.ReadAll(far); err == nil {
			t.Fatalf("the peer reads %q and a polite end", b)
		}
	})
	t.Run("unix", func(t *testing.T) {
		c, far := pair(t, "unix")
		c.Abort()
		if _, err := io.ReadAll(far); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLinger holds that a client that still sends reads its answer whole, and that patience with it is bounded.
func TestLinger(t *testing.T) {
	answer := strings.Repeat("answer ", 100)
	begin := func(t *testing.T) (*wire.Conn, net.Conn) {
		c, far := pair(t, "tcp")
		bufs := net.Buffers{[]byte(answer)}
		if _, err := c.Write(&bufs, patience); err != nil {
			t.Fatal(err)
		}
		return c, far
	}
	t.Run("to the client's end", func(t *testing.T) {
		c, far := begin(t)
		done := make(chan struct{})
		go func() { c.Linger(make([]byte, 512), 1<<30, patience); close(done) }()
		for range 64 { // the upload goes on
			send(t, far, strings.Repeat("upload ", 1000))
		}
		if b, err := io.ReadAll(far); err != nil || string(b) != answer {
			t.Fatalf("the client reads %d octets and %v, want the answer and the end", len(b), err)
		}
		if err := far.Close(); err != nil {
			t.Fatal(err)
		}
		<-done
	})
	t.Run("for so many octets", func(t *testing.T) {
		c, far := begin(t)
		done := make(chan struct{})
		go func() { c.Linger(make([]byte, 512), 10000, patience); close(done) }()
		var err error
		sent := 0
		for err == nil && sent < 64<<20 {
			var n int
			n, err = far.Write(make([]byte, 4096))
			sent += n
		}
		<-done
		if err == nil {
			t.Fatalf("it took %d octets, 10000 were to be the most", sent)
		}
	})
	t.Run("for so long", func(t *testing.T) {
		c, far := begin(t)
		begun := time.Now()
		c.Linger(make([]byte, 512), 1<<30, 30*time.Millisecond) // the client neither sends nor closes
		if took := time.Since(begun); took > patience/2 {
			t.Fatalf("it waited for %s", took)
		}
		if b, err := io.ReadAll(far); err != nil || string(b) != answer {
			t.Fatalf("the client reads %d octets and %v", len(b), err)
		}
		if !errors.Is(c.NC.SetDeadline(time.Time{}), net.ErrClosed) {
			t.Fatal("the connection is still open")
		}
	})
	t.Run("closed already", func(t *testing.T) {
		c, _ := pair(t, "tcp")
		if err := c.NC.Close(); err != nil {
			t.Fatal(err)
		}
		c.Linger(make([]byte, 512), 1<<30, patience)
	})
	t.Run("tls", func(t *testing.T) {
		c, far := tlsPair(t, tls.VersionTLS13)
		bufs := net.Buffers{[]byte(answer)}
		if _, err := c.Write(&bufs, patience); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { c.Linger(make([]byte, 512), 1<<30, patience); close(done) }()
		send(t, far, strings.Repeat("upload ", 1000))
		if b, err := io.ReadAll(far); err != nil || string(b) != answer {
			t.Fatalf("the client reads %d octets and %v", len(b), err)
		}
		if err := far.Close(); err != nil {
			t.Fatal(err)
		}
		<-done
	})
}
