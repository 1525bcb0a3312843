package fakemmsc

import (
	"fmt"
	"net/http"
	"time"

	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// Break is how a request or connection is ended.
type Break int

// The ways to end.
const (
	NoBreak Break = iota
	FIN           // close: the peer reads an end
	RST           // close with a reset
	Stall         // say nothing, read nothing, until the peer goes away or the server goes down
)

func (b Break) String() string { return [...]string{"none", "close", "reset", "stall"}[b] }

// Point is where a Break happens.
type Point int

// The points in the order in which a request passes them.
const (
	AtHead   Point = iota // the head has been read, no octet of the body (but for what came with it)
	AtBody                // After octets of the body have been read
	AtWhole               // the body has been read whole; stored if Store says so
	AtAnswer              // After octets of the answer have been written
)

func (p Point) String() string { return [...]string{"head", "body", "whole", "answer"}[p] }

// Behaviour is what happens to one request.
type Behaviour struct {
	Break Break
	At    Point
	After int // octets, for AtBody and AtAnswer

	Store   bool   // commit the message when it is whole
	Answer  Answer // nil: what a well-behaved MMSC says
	Early   bool   // answer after EarlyAt octets of the body, then read on (or Break, with AtAnswer)
	EarlyAt int

	Hold     <-chan struct{} // wait for this before the answer
	HoldHead <-chan struct{} // wait for this before the body is read
	Pace     time.Duration   // between the octets (pieces) of the answer
	Piece    int             // octets of a piece; default 1 when Pace is set
	Sip      int             // read the body in pieces of at most this size …
	SipEvery time.Duration   // … with a pause after each
	Close    bool            // "Connection: close" and close after the answer
	HangUp   bool            // close after the answer without having said so
}

// Reply is an answer as it goes out.
type Reply struct {
	Status   int
	Header   [][2]string // beyond Content-Type and framing
	Type     string      // Content-Type; "" leaves it out
	Body     []byte
	Chunked  bool   // instead of Content-Length
	ToClose  bool   // neither: delimited by the end of the connection
	Announce int    // Content-Length to announce when it is to be wrong; 0: the right one
	Raw      []byte // sent as it is, instead of all this
}

// Answer makes the reply to a request; r.Body is whole unless the answer is early.
type Answer func(r *Request) Reply

// Accept is the well-behaved MMSC.
func Accept() Behaviour { return Behaviour{Store: true} }

// Die breaks after n octets of the body; a shorter message is accepted.
func Die(how Break, n int) Behaviour {
	return Behaviour{Break: how, At: AtBody, After: n, Store: true}
}

// SwallowAndDie reads all, stores nothing, breaks.
func SwallowAndDie(how Break) Behaviour { return Behaviour{Break: how, At: AtWhole} }

// StoreAndDie reads all, stores it, breaks without an answer: the ambiguous end.
func StoreAndDie(how Break) Behaviour { return Behaviour{Break: how, At: AtWhole, Store: true} }

// CutAnswer stores, and breaks after n octets of the answer.
func CutAnswer(how Break, n int) Behaviour {
	return Behaviour{Break: how, At: AtAnswer, After: n, Store: true}
}

// Refuse answers with this HTTP status and a page, and stores nothing.
func Refuse(status int) Behaviour { return Behaviour{Answer: Status(status)} }

// Say answers an M-Send.conf with this status; Ok and partial success are stored.
func Say(status byte) Behaviour {
	return Behaviour{Answer: Conf(status), Store: status == pdu.Ok || status == pdu.Partial}
}

// Status answers with an HTTP status and an HTML page (204 and 304 have none).
func Status(status int) Answer {
	return func(*Request) Reply {
		r := Reply{Status: status, Type: "text/html"}
		if status != 204 && status != 304 {
			r.Body = fmt.Appendf(nil, "<html><body>%d %s</body></html>", status, http.StatusText(status))
		}
		if status/100 == 3 {
			r.Header = append(r.Header, [2]string{"Location", "http://127.0.0.1:1/elsewhere"})
		}
		return r
	}
}

// Conf answers the PDU's own .conf with this status, and 200 to what has none.
func Conf(status byte) Answer {
	return func(r *Request) Reply {
		out := Reply{Status: 200, Type: pdu.ContentType}
		switch r.PDU.Type {
		case pdu.TypeSendReq:
			id := ""
			if status == pdu.Ok || status == pdu.Partial {
				id = fmt.Sprintf("%d@%s", r.N, r.server)
			}
			out.Body = pdu.SendConf(r.PDU.Transaction, status, id)
		case pdu.TypeForwardReq:
			out.Body = pdu.ForwardConf(r.PDU.Transaction, status)
		default:
			out.Type = ""
		}
		return out
	}
}

// Bytes answers 200 with this type and body.
func Bytes(contentType string, body []byte) Answer {
	return func(*Request) Reply { return Reply{Status: 200, Type: contentType, Body: body} }
}

// HTML is a portal's page where a PDU belongs.
func HTML() Answer { return Bytes("text/html", []byte("<html><body>welcome</body></html>")) }

// Empty is 200 with nothing.
func Empty() Answer { return Bytes(pdu.ContentType, nil) }

// WrongTransaction is an M-Send.conf Ok for somebody else's message.
func WrongTransaction() Answer {
	return func(r *Request) Reply {
		return Reply{Status: 200, Type: pdu.ContentType, Body: pdu.SendConf("not-"+r.PDU.Transaction, pdu.Ok, "1@x")}
	}
}

// BrokenConf is an M-Send.conf that ends inside a field.
func BrokenConf() Answer {
	return func(r *Request) Reply {
		b := pdu.SendConf(r.PDU.Transaction, pdu.Ok, "1@x")
		return Reply{Status: 200, Type: pdu.ContentType, Body: b[:5]}
	}
}

// Raw sends these octets instead of an answer and closes.
func Raw(octets string) Answer { return func(*Request) Reply { return Reply{Raw: []byte(octets)} } }

// Chunked is the right answer in chunks.
func Chunked() Answer { return change(func(r *Reply) { r.Chunked = true }) }

// ToClose is the right answer delimited by the end of the connection.
func ToClose() Answer { return change(func(r *Reply) { r.ToClose = true }) }

// Interim is the right answer after n interim ones (103).
func Interim(n int) Answer {
	return func(r *Request) Reply {
		out := Conf(pdu.Ok)(r)
		var raw []byte
		for range n {
			raw = append(raw, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"...)
		}
		raw = fmt.Appendf(raw, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", out.Type, len(out.Body))
		return Reply{Raw: append(raw, out.Body...)}
	}
}

func change(f func(r *Reply)) Answer {
	return func(r *Request) Reply {
		out := Conf(pdu.Ok)(r)
		f(&out)
		return out
	}
}
