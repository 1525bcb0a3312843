package proxy

import (
	"strconv"

	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// appendRequestHead writes the head for an MMSC: the client's end-to-end fields in their order, without the identity
// fields of senders that are not trusted, with Via, X-Forwarded-For and our own framing.
func (x *exchange) appendRequestHead(b []byte, up *upstream) []byte {
	req := &x.cl.req
	b = append(b, req.Method...)
	b = append(b, ' ')
	switch {
	case x.relay:
		b = append(b, "http://"...)
		b = append(b, x.host...)
		b = append(b, x.target...)
	case up.path != "/" && up.path != "" && !x.get:
		b = append(b, up.path...) // a retrieval names its message by its own path, which is never replaced
	default:
		b = append(b, x.target...)
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	switch {
	case up.Host != "":
		b = append(b, up.Host...)
	case len(x.host) > 0:
		b = append(b, x.host...)
	default:
		b = append(b, up.address...)
	}
	b = append(b, crlf...)
	var forwarded []byte
	via := x.via[:0]
	for i := range req.Fields {
		f := &req.Fields[i]
		switch {
		case dropped(f.Name):
		case wire.EqualFold(f.Name, "Via"):
			via = appendList(via, f.Value)
		case wire.EqualFold(f.Name, "X-Forwarded-For") && x.cl.trusted:
			forwarded = appendList(forwarded, f.Value)
		case !x.cl.trusted && x.set.identityField(f.Name):
			x.p.m.stripped.Add(1)
		case req.HopByHop(f.Name):
		default:
			b = appendField(b, f.Name, f.Value)
		}
	}
	x.via = via
	b = x.appendVia(b, via, req.Minor)
	b = append(b, "X-Forwarded-For: "...)
	if len(forwarded) > 0 {
		b = append(b, forwarded...)
		b = append(b, ", "...)
	}
	b = append(b, x.cl.text...)
	b = append(b, crlf...)
	if x.mark > 1 {
		b = append(b, "X-Mmsrouter-Attempt: "...)
		b = strconv.AppendInt(b, int64(x.mark), 10)
		b = append(b, crlf...)
	}
	switch {
	case x.get:
	case x.framed:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	default:
		b = append(b, "Content-Length: "...)
		n := x.body.Size()
		if !x.body.Whole() {
			n = req.Length
		}
		b = strconv.AppendInt(b, n, 10)
		b = append(b, crlf...)
	}
	return append(b, crlf...)
}

// dropped are request fields that are ours to write, or that end here.
func dropped(name []byte) bool {
	switch len(name) {
	case 4:
		return wire.EqualFold(name, "Host")
	case 6:
		return wire.EqualFold(name, "Expect")
	case 14:
		return wire.EqualFold(name, "Content-Length")
	case 19:
		return wire.EqualFold(name, "X-Mmsrouter-Attempt")
	}
	return false
}

func appendField(b, name, value []byte) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, crlf...)
}

// appendList joins the values of a field that occurs more than once (RFC 9110 section 5.3).
func appendList(list, value []byte) []byte {
	if len(list) > 0 {
		list = append(list, ", "...)
	}
	return append(list, value...)
}

func (x *exchange) appendVia(b, via []byte, minor int) []byte {
	b = append(b, "Via: "...)
	if len(via) > 0 {
		b = append(b, via...)
		b = append(b, ", "...)
	}
	b = append(b, '1', '.', byte('0'+minor), ' ')
	b = append(b, x.p.opt.Node...)
	return append(b, crlf...)
}

// appendAnswerHead writes the head for the client: the MMSC's status and end-to-end fields, our framing.
// length is -1 for a body in chunks.
func (x *exchange) appendAnswerHead(b []byte, a *answer, length int64) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.resp.Status), 10)
	b = append(b, ' ')
	b = append(b, statusText(a.resp.Status)...)
	b = append(b, crlf...)
	via := x.via[:0]
	for i := range a.resp.Fields {
		f := &a.resp.Fields[i]
		switch {
		case wire.EqualFold(f.Name, "Content-Length"):
		case wire.EqualFold(f.Name, "Via"):
			via = appendList(via, f.Value)
		case a.resp.HopByHop(f.Name):
		default:
			b = appendField(b, f.Name, f.Value)
		}
	}
	x.via = via
	b = x.appendVia(b, via, a.resp.Minor)
	switch {
	case a.resp.Status == 204 || a.resp.Status == 304:
	case x.head:
		if a.resp.Length >= 0 {
			b = appendLength(b, a.resp.Length)
		}
	case length >= 0:
		b = appendLength(b, length)
	default:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	return append(x.appendConnection(b), crlf...)
}

func appendLength(b []byte, n int64) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, crlf...)
}

// appendConnection tells the client whether the connection goes on.
func (x *exchange) appendConnection(b []byte) []byte {
	if !x.alive || x.cl.closing() || x.p.handing.Load() && !x.cl.passable() {
		x.alive = false
		return append(b, "Connection: close\r\n"...)
	}
	if x.cl.req.Minor == 0 {
		return append(b, "Connection: keep-alive\r\n"...)
	}
	return b
}

// statusText is the reason phrase; the field's own texts are dropped on the way, as HTTP/2 does.
func statusText(status int) string {
	switch status {
	case 200:
		return "OK"
	case 204:
		return "No Content"
	case 400:
		return "Bad Request"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 410:
		return "Gone"
	case 411:
		return "Length Required"
	case 413:
		return "Content Too Large"
	case 417:
		return "Expectation Failed"
	case 431:
		return "Request Header Fields Too Large"
	case 501:
		return "Not Implemented"
	case 503:
		return "Service Unavailable"
	case 505:
		return "HTTP Version Not Supported"
	case 508:
		return "Loop Detected"
	}
	switch status / 100 {
	case 2:
		return "Success"
	case 3:
		return "Redirection"
	case 4:
		return "Client Error"
	}
	return "Server Error"
}
