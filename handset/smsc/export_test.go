package smsc

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"time"
)

// Play lets a session read these octets and gives what it answers.
func Play(in []byte, receive func(*Message) Status) (out []byte, err error) {
	conn := &tape{in: bytes.NewReader(in)}
	s := &SMSC{opt: Options{SystemID: "smsc", Receive: receive, Enquire: time.Minute}, log: slog.New(slog.DiscardHandler), sessions: map[*session]struct{}{}}
	err = newSession(s, conn).run()
	return conn.out.Bytes(), err
}

// tape is a connection to nobody.
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
