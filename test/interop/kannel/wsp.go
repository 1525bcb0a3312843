package kannel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// WSP PDU types (WAP-230-WSP table 34) that a phone needs to post and to fetch.
const (
	wspConnect      = 0x01
	wspConnectReply = 0x02
	wspReply        = 0x04
	wspDisconnect   = 0x05
	wspGet          = 0x40
	wspPost         = 0x60
)

// mmsMessage is application/vnd.wap.mms-message as a Short-integer (WAP-230-WSP table 40).
const mmsMessage = 0xBE

// maxDatagram is the largest datagram that UDP carries over IPv4.
const maxDatagram = 65507

// Reply is what the gateway answers to a method.
type Reply struct {
	Status int    // as in HTTP
	Type   string // media type without parameters; a well-known one other than that of MMS as "0xNN"
	Body   []byte // the entity
}

// postPDU builds a Post (WAP-230-WSP 8.2.3.2).
func postPDU(uri string, body []byte) []byte {
	headers := []byte{mmsMessage, 0x80, mmsMessage} // the content type, then Accept (00) of the same type
	b := wsp.AppendUintvar([]byte{wspPost}, uint32(len(uri)))
	b = wsp.AppendUintvar(b, uint32(len(headers)))
	b = append(append(b, uri...), headers...)
	return append(b, body...)
}

// getPDU builds a Get (WAP-230-WSP 8.2.3.1).
func getPDU(uri string) []byte {
	b := wsp.AppendUintvar([]byte{wspGet}, uint32(len(uri)))
	return append(append(b, uri...), 0x80, mmsMessage) // Accept
}

// parseReply reads a Reply (WAP-230-WSP 8.2.3.3).
func parseReply(b []byte) (Reply, error) {
	if len(b) < 4 || b[0] != wspReply {
		return Reply{}, fmt.Errorf("no Reply PDU: % x", b[:min(len(b), 16)])
	}
	headers, n := wsp.Uintvar(b[2:])
	if n <= 0 || 2+n+int(headers) > len(b) || headers == 0 {
		return Reply{}, errors.New("a Reply whose headers do not fit")
	}
	r := Reply{Status: httpStatus(b[1]), Body: bytes.Clone(b[2+n+int(headers):])}
	r.Type = mediaType(b[2+n : 2+n+int(headers)])
	return r, nil
}

// mediaType reads a Content-Type value (WAP-230-WSP 8.4.2.24): well-known, as text (a session of an encoding
// version that does not know the number yet), or in the general form with its parameters.
func mediaType(v []byte) string {
	if _, n := wsp.ValueLength(v); v[0] <= 31 && n > 0 && n < len(v) {
		v = v[n:]
	}
	if v[0] == mmsMessage {
		return "application/vnd.wap.mms-message"
	}
	if v[0] >= 0x80 {
		return fmt.Sprintf("%#x", v[0]&0x7F)
	}
	text, _ := wsp.Text(v)
	return string(text)
}

// httpStatus turns a WSP status into that of HTTP (WAP-230-WSP table 36): 0x20 is 200, 0x44 is 404; the fifth
// hundred starts at 0x60.
func httpStatus(s byte) int {
	hundred := int(s >> 4)
	if hundred >= 6 {
		hundred--
	}
	return hundred*100 + int(s&0x0F)
}

// PostDatagram posts an MMS PDU by connectionless WSP (WAP-230-WSP 8.2.1): one datagram each way. Lost
// datagrams are the caller's affair: nothing is repeated.
func PostDatagram(ctx context.Context, gateway string, transaction byte, uri string, body []byte) (Reply, error) {
	conn, err := dialUDP(ctx, gateway)
	if err != nil {
		return Reply{}, err
	}
	defer conn.Close() // datagrams: nothing is pending
	pdu := append([]byte{transaction}, postPDU(uri, body)...)
	if len(pdu) > maxDatagram {
		return Reply{}, fmt.Errorf("a Post of %d octets does not fit a datagram", len(pdu))
	}
	if _, err := conn.Write(pdu); err != nil {
		return Reply{}, fmt.Errorf("post to %s: %w", gateway, err)
	}
	buf := make([]byte, maxDatagram)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return Reply{}, fmt.Errorf("wait for the reply of %s: %w", gateway, err)
		}
		if n > 1 && buf[0] == transaction {
			return parseReply(buf[1:n])
		}
	}
}

// dialUDP connects a socket whose reads and writes end with ctx's deadline.
func dialUDP(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	return conn, conn.SetDeadline(deadline)
}
