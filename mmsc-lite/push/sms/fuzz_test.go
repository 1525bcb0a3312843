package sms

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
)

// tape is a connection to an SMSC that has said all it will ever say.
type tape struct {
	in  io.Reader
	out bytes.Buffer
}

func (t *tape) Read(p []byte) (int, error)       { return t.in.Read(p) }
func (t *tape) Write(p []byte) (int, error)      { return t.out.Write(p) }
func (t *tape) Close() error                     { return nil }
func (t *tape) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (t *tape) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (t *tape) SetDeadline(time.Time) error      { return nil }
func (t *tape) SetReadDeadline(time.Time) error  { return nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }

// FuzzSession throws octets at a bound session with one submission under way.
func FuzzSession(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x15\x80\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x011001\x00"))
	f.Add([]byte("\x00\x00\x00\x10\x00\x00\x00\x15\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x10\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x0a"))
	receipt := "\x00\x01\x014670\x00\x05\x00MMSC\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x16id:12 stat:DELIVRD err\x00\x1e\x00\x0212\x04\x27\x00\x01\x02"
	f.Add(append([]byte{0, 0, 0, byte(16 + len(receipt)), 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 3}, receipt...))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		cfg := DefaultConfig()
		c := &Client{opt: Options{Config: cfg}, log: slog.New(slog.DiscardHandler)}
		l := &link{client: c, name: "smsc"}
		c.links = []*link{l}
		var err error
		if c.met, err = newMetrics(nil, c); err != nil {
			t.Fatal(err)
		}
		conn := &tape{in: bytes.NewReader(in)}
		s := newSession(l, conn)
		ch := make(chan answer, 1)
		s.window <- struct{}{}
		s.pending[s.next()] = submission{ch: ch}
		s.end(s.receive())
		select {
		case a := <-ch:
			if a.err == nil && len(a.id) > 64 {
				t.Errorf("%+v", a)
			}
		default:
			t.Error("the submission has no answer, not even that there is none")
		}
		for b := conn.out.Bytes(); len(b) > 0; { // whatever came, we speak SMPP
			if len(b) < headSize || int(readHead(b).length) > len(b) || readHead(b).length < headSize {
				t.Fatalf("%x", conn.out.Bytes())
			}
			b = b[readHead(b).length:]
		}
	})
}

func TestReadDelivery(t *testing.T) {
	head := func(body string) []byte {
		return append([]byte{0, 0, 0, byte(16 + len(body)), 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 3}, body...)
	}
	const to = "\x00\x01\x014670\x00\x05\x00MMSC\x00"
	for _, tc := range []struct {
		name string
		in   []byte
		want delivery
		bad  bool
	}{
		{"text", head(to + "\x04\x00\x00\x00\x00\x00\x00\x00\x00\x13id:12 stat:UNDELIV "), delivery{receipt: true, id: "12", state: smpp.Undeliverable}, false},
		{"parameters count more", head(to + "\x04\x00\x00\x00\x00\x00\x00\x00\x00\x13id:12 stat:UNDELIV \x00\x1e\x00\x03ab\x00\x04\x27\x00\x01\x02"), delivery{receipt: true, id: "ab", state: smpp.Delivered}, false},
		{"text as payload", head(to + "\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x24\x00\x12id:12 stat:EXPIRED"), delivery{receipt: true, id: "12", state: smpp.Expired}, false},
		{"a message from a phone", head(to + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02hi"), delivery{}, false},
		{"cut", head("\x00\x01"), delivery{}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := readDelivery(tc.in)
			if got != tc.want || (err != nil) != tc.bad {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestThrottling(t *testing.T) {
	cfg := DefaultConfig()
	c, err := New(Options{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	l, now := c.links[0], time.Now()
	for i, want := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
		if got := l.slow(now); got != want {
			t.Errorf("complaint %d: pause %s, want %s", i, got, want)
		}
		if got := l.slow(now.Add(time.Millisecond)); got >= want {
			t.Errorf("the same complaint again makes it %s", got)
		}
		now = now.Add(want + time.Millisecond)
	}
	for range 20 {
		l.slow(now)
		now = now.Add(maxPause + time.Millisecond)
	}
	if l.pause != maxPause {
		t.Errorf("pause %s", l.pause)
	}
	before := l.pace.Limit()
	for range 100 {
		l.took(now, 0xF5)
	}
	if after := l.pace.Limit(); after <= before {
		t.Errorf("the pace does not grow: %v, then %v", before, after)
	}
	l.took(now.Add(2*calmTime), 0xF5)
	if l.pause != 0 || l.pace.Limit() != l.most() {
		t.Errorf("after a calm time: pause %s, pace %v", l.pause, l.pace.Limit())
	}
}

func TestEndKeepsTheFirstReason(t *testing.T) {
	c, err := New(Options{Config: DefaultConfig()})
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(c.links[0], &tape{in: bytes.NewReader(nil)})
	first := errors.New("first")
	s.end(first)
	s.end(errors.New("second"))
	if s.ended != first {
		t.Errorf("%v", s.ended)
	}
	if _, _, err := s.start(t.Context(), nil, false); !errors.Is(err, errNotSent) {
		t.Errorf("%v", err)
	}
}
