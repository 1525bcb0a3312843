package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Mark stands in the fields of a message for the ten digits of its number.
const Mark = "##########"

// Message is a whole HTTP request with an M-Send.req, in which numbers are patched in place.
type Message struct {
	octets   []byte
	at       []int // where Mark stood
	tid, len int   // the transaction id
	in       []byte
}

// NewMessage makes a request of that host by that subscriber with an M-Send.req of so many octets. Every Mark in its fields, of which the
// transaction id has one, is a number's place.
func NewMessage(host, subscriber string, q mms.SendReq, size int) *Message {
	q.Version, q.ContentType = mms.Version12, wsp.Media("text/plain")
	body := q.AppendHead(nil)
	body = append(body, bytes.Repeat([]byte("x"), max(0, size-len(body)))...)
	head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nX-MSISDN: %s\r\nContent-Type: application/vnd.wap.mms-message\r\nContent-Length: %d\r\n\r\n", host, subscriber, len(body))
	m := &Message{octets: append([]byte(head), body...), len: len(q.TransactionID), in: make([]byte, 4<<10)}
	m.tid = len(head) + bytes.Index(body, []byte(q.TransactionID))
	for at := 0; ; at += len(Mark) {
		i := bytes.Index(m.octets[at:], []byte(Mark))
		if i < 0 {
			return m
		}
		at += i
		m.at = append(m.at, at)
	}
}

// Number writes a number's ten digits to its places.
func (m *Message) Number(n int64) {
	var digits [len(Mark)]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = '0' + byte(n%10)
		n /= 10
	}
	for _, at := range m.at {
		copy(m.octets[at:], digits[:])
	}
}

// Octets is the request as it is now; it is the message's own.
func (m *Message) Octets() []byte { return m.octets }

// Post sends it on a connection and wants its M-Send.conf to say Ok.
func (m *Message) Post(nc net.Conn) error {
	if _, err := nc.Write(m.octets); err != nil {
		return err
	}
	return m.Accepted(nc)
}

// Accepted reads one answer and wants an M-Send.conf Ok of this transaction.
func (m *Message) Accepted(nc net.Conn) error {
	for have := 0; ; {
		n, err := nc.Read(m.in[have:])
		have += n
		if head, body, ok := answer(m.in[:have]); ok {
			var h mms.Head
			if h.Peek(body, true) == mms.Garbage || h.Response != mms.StatusOk || !bytes.Equal(h.TransactionID, m.octets[m.tid:m.tid+m.len]) {
				status, _, _ := strings.Cut(string(head), "\r\n")
				return fmt.Errorf("M-Send.conf of %s: %s, %s", m.octets[m.tid:m.tid+m.len], status, h.Response)
			}
			return nil
		}
		if err != nil {
			return err
		}
		if have == len(m.in) {
			return errors.New("an answer of more than 4 KiB, or without a length")
		}
	}
}

var (
	endOfHead = []byte("\r\n\r\n")
	lengthOf  = []byte("\r\nContent-Length: ")
)

// answer divides an HTTP answer once it is whole by its length.
func answer(b []byte) (head, body []byte, whole bool) {
	i := bytes.Index(b, endOfHead)
	if i < 0 {
		return nil, nil, false
	}
	head, body = b[:i+2], b[i+4:]
	at := bytes.Index(head, lengthOf)
	if at < 0 {
		return nil, nil, false
	}
	size := 0
	for _, d := range head[at+len(lengthOf):] {
		if d < '0' || d > '9' {
			break
		}
		size = size*10 + int(d-'0')
	}
	if len(body) < size {
		return nil, nil, false
	}
	return head, body[:size], true
}
