package smsc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// session is one connection of an ESME.
type session struct {
	smsc *SMSC
	conn net.Conn
	r    *bufio.Reader

	write    sync.Mutex // guards w and sequence
	w        *bufio.Writer
	sequence uint32

	bound  sync.Mutex // guards system and mode
	system string
	mode   uint32 // the bind command; 0: not bound

	gone atomic.Bool // asked to end
}

func newSession(s *SMSC, conn net.Conn) *session {
	return &session{smsc: s, conn: conn, r: bufio.NewReaderSize(conn, 16<<10), w: bufio.NewWriterSize(conn, 16<<10)}
}

func (x *session) binding() (system string, mode uint32) {
	x.bound.Lock()
	defer x.bound.Unlock()
	return x.system, x.mode
}

// errUnbound ends a session as it should end.
var errUnbound = errors.New("unbound")

// run serves the session; nil means that it ended as sessions end.
func (x *session) run() error {
	err := x.loop()
	if ferr := x.flush(); err == nil || errors.Is(err, errUnbound) {
		err = ferr
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (x *session) loop() error {
	var buf []byte
	for {
		h, err := x.head()
		if err != nil {
			return err
		}
		if h.length < headSize || h.length > maxPDU {
			return x.garbage(h, InvalidLength, fmt.Errorf("a PDU of %d octets", h.length))
		}
		n := int(h.length) - headSize
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		x.conn.SetReadDeadline(time.Now().Add(answerTime)) // fails only when closed; the read tells
		if _, err := io.ReadFull(x.r, buf[:n]); err != nil {
			return fmt.Errorf("read a PDU of %d octets: %w", h.length, err)
		}
		if err := x.handle(h, buf[:n]); err != nil {
			return err
		}
		if x.r.Buffered() < headSize { // answers to PDUs that came together go together
			if err := x.flush(); err != nil {
				return err
			}
		}
	}
}

// head waits for the next PDU's header. A bound ESME that is silent is asked whether it lives.
func (x *session) head() (head, error) {
	asked := false
	for {
		wait := x.smsc.opt.Enquire
		if _, mode := x.binding(); mode == 0 {
			wait = bindTime
		} else if asked {
			wait = answerTime
		}
		x.conn.SetReadDeadline(time.Now().Add(wait)) // fails only when closed; the read tells
		if x.gone.Load() {
			return head{}, errUnbound
		}
		b, err := x.r.Peek(headSize)
		switch {
		case err == nil:
			h := readHead(b)
			_, err = x.r.Discard(headSize)
			return h, err
		case !errors.Is(err, os.ErrDeadlineExceeded):
			if len(b) > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return head{}, err
		case x.gone.Load():
			return head{}, errUnbound
		}
		if _, mode := x.binding(); mode == 0 || asked || len(b) > 0 {
			return head{}, fmt.Errorf("silent for %s: %w", wait, err)
		}
		asked = true
		if err := x.request(enquireLink, nil); err != nil {
			return head{}, err
		}
	}
}

// garbage answers what is no SMPP and ends the session: where the next PDU begins nobody knows.
func (x *session) garbage(h head, status Status, why error) error {
	if err := x.answer(genericNack, status, h.sequence, nil); err != nil {
		return err
	}
	return fmt.Errorf("generic_nack, status %02X: %w", uint32(status), why)
}

func (x *session) handle(h head, body []byte) error {
	_, mode := x.binding()
	switch h.command {
	case bindReceiver, bindTransmitter, bindTransceiver:
		return x.bind(h, body)
	case enquireLink:
		return x.answer(enquireLink|response, Ok, h.sequence, nil)
	case unbind:
		if err := x.answer(unbind|response, Ok, h.sequence, nil); err != nil {
			return err
		}
		return errUnbound
	case submitSM, dataSM:
		if mode != bindTransmitter && mode != bindTransceiver {
			return x.answer(h.command|response, WrongState, h.sequence, nil)
		}
		return x.submit(h, body)
	case enquireLink | response, deliverSM | response, genericNack:
		return nil // receipts are not sent again, and who answers lives
	case unbind | response:
		return errUnbound
	}
	if h.command&^response == 0 || h.command&response != 0 || h.command > 0x1FF {
		return x.garbage(h, InvalidCommand, fmt.Errorf("command %08X", h.command))
	}
	return x.answer(genericNack, InvalidCommand, h.sequence, nil) // a command of SMPP that this SMSC does not offer
}

func (x *session) bind(h head, body []byte) error {
	r, err := readBind(body)
	if err != nil {
		return x.garbage(h, InvalidLength, fmt.Errorf("bind: %w", err))
	}
	name := append([]byte(x.smsc.opt.SystemID), 0)
	if _, mode := x.binding(); mode != 0 {
		return x.answer(h.command|response, AlreadyBound, h.sequence, name)
	}
	if status := x.smsc.permitted(r.system, r.password); status != Ok {
		if err := x.answer(h.command|response, status, h.sequence, name); err != nil {
			return err
		}
		return fmt.Errorf("bind of %q refused, status %02X", r.system, uint32(status))
	}
	x.bound.Lock()
	x.system, x.mode = r.system, h.command
	x.bound.Unlock()
	if r.version >= version34 {
		name = append(name, tagVersion>>8, tagVersion&0xFF, 0, 1, version34)
	}
	x.smsc.log.Info("ESME bound", "system_id", r.system, "remote", x.conn.RemoteAddr())
	if x.smsc.opt.Bound != nil {
		x.smsc.opt.Bound(r.system, x.conn.RemoteAddr().String(), true)
	}
	return x.answer(h.command|response, Ok, h.sequence, name)
}

func (x *session) submit(h head, body []byte) error {
	m, status, err := readSubmit(h.command, body)
	if err != nil {
		return x.garbage(h, InvalidLength, fmt.Errorf("submission: %w", err))
	}
	if status == Ok {
		m.System, _ = x.binding()
		status = x.smsc.opt.Receive(m)
	}
	if status != Ok {
		return x.answer(h.command|response, status, h.sequence, nil)
	}
	id := fmt.Sprintf("%X", x.smsc.ids.Add(1))
	if err := x.answer(h.command|response, Ok, h.sequence, append([]byte(id), 0)); err != nil {
		return err
	}
	if m.Registered&0x03 == 1 { // asks for a final receipt; one for failures only would never be due
		switch to := x.smsc.receiver(x); to {
		case nil:
		case x:
			return x.receipt(id, m)
		default:
			_ = to.receipt(id, m) // that session's own goroutine sees that it is broken
		}
	}
	return nil
}

// receipt tells that a message has been delivered (SMPP 3.4 5.2.12, appendix B).
func (x *session) receipt(id string, m *Message) error {
	now := time.Now().UTC().Format("0601021504")
	text := fmt.Sprintf("id:%s sub:001 dlvrd:001 submit date:%s done date:%s stat:DELIVRD err:000 text:", id, now, now)
	b := append([]byte(m.ServiceType), 0)
	for _, a := range []Address{m.Destination, m.Source} {
		b = append(append(append(b, a.TON, a.NPI), clip(a.Digits, 20)...), 0)
	}
	b = append(b, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(text)))
	b = append(b, text...)
	b = append(b, tagReceiptedID>>8, tagReceiptedID&0xFF, 0, byte(len(id)+1))
	b = append(append(b, id...), 0)
	b = append(b, tagState>>8, tagState&0xFF, 0, 1, 2)
	return x.request(deliverSM, b)
}

func clip(s string, n int) string { return s[:min(n, len(s))] }

func (x *session) request(command uint32, body []byte) error {
	x.write.Lock()
	x.sequence = x.sequence%0x7FFFFFFF + 1
	err := x.put(command, Ok, x.sequence, body)
	x.write.Unlock()
	if err != nil {
		return err
	}
	return x.flush() // another session's goroutine may have written it
}

func (x *session) answer(command uint32, status Status, sequence uint32, body []byte) error {
	x.write.Lock()
	defer x.write.Unlock()
	return x.put(command, status, sequence, body)
}

// put needs the lock.
func (x *session) put(command uint32, status Status, sequence uint32, body []byte) error {
	x.conn.SetWriteDeadline(time.Now().Add(answerTime)) // fails only when closed; the write tells
	_, err := x.w.Write(appendPDU(make([]byte, 0, headSize+len(body)), command, status, sequence, body))
	return err
}

func (x *session) flush() error {
	x.write.Lock()
	defer x.write.Unlock()
	x.conn.SetWriteDeadline(time.Now().Add(answerTime)) // fails only when closed; the write tells
	return x.w.Flush()
}

// leave says goodbye from another goroutine: what is being read is finished, nothing more is taken.
func (x *session) leave() {
	if _, mode := x.binding(); mode != 0 {
		_ = x.request(unbind, nil) // the ESME may be gone already
	}
	x.gone.Store(true)
	x.conn.SetReadDeadline(time.Unix(1, 0)) // fails only when closed
}
