package wire

import "bytes"

// Limits of one head. Zero means the default in brackets.
type Limits struct {
	Octets int // [16384]
	Fields int // [100]
}

func (l Limits) octets() int {
	if l.Octets <= 0 {
		return 16 << 10
	}
	return l.Octets
}

func (l Limits) fields() int {
	if l.Fields <= 0 {
		return 100
	}
	return l.Fields
}

// line cuts the next line off b. It is complete only with CRLF; a bare LF or a bare CR is refused as soon
// as it is seen.
func line(b []byte) (l, rest []byte, err error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		if j := bytes.IndexByte(b, '\r'); j >= 0 && j != len(b)-1 {
			return nil, nil, bad("bare CR in head")
		}
		return nil, nil, ErrPartial
	}
	if i == 0 || b[i-1] != '\r' {
		return nil, nil, bad("line ends in bare LF")
	}
	if bytes.IndexByte(b[:i-1], '\r') >= 0 {
		return nil, nil, bad("bare CR in head")
	}
	return b[:i-1], b[i+1:], nil
}

// ParseRequest reads a request head from the start of b. ErrPartial: give more. Any other error is an
// *Error. Fields of r are reused.
func ParseRequest(b []byte, r *Request, l Limits) error {
	*r = Request{Head: Head{Fields: r.Fields[:0]}}
	start, rest, err := line(b)
	if err != nil {
		return sized(err, b, l)
	}
	m := bytes.IndexByte(start, ' ')
	v := bytes.LastIndexByte(start, ' ')
	if m <= 0 || v == m || !all(start[:m], isToken) {
		return bad("malformed request line")
	}
	r.Method, r.Target = start[:m], start[m+1:v]
	if len(r.Target) == 0 || !all(r.Target, isTarget) {
		return bad("request target has octets that are not allowed")
	}
	if err := version(start[v+1:], &r.Head); err != nil {
		return err
	}
	if err := fields(b, rest, &r.Head, l); err != nil {
		return err
	}
	return r.check()
}

// ParseResponse reads a response head from the start of b, as ParseRequest does.
func ParseResponse(b []byte, r *Response, l Limits) error {
	*r = Response{Head: Head{Fields: r.Fields[:0]}}
	start, rest, err := line(b)
	if err != nil {
		return sized(err, b, l)
	}
	if len(start) < 12 || start[8] != ' ' || len(start) > 12 && start[12] != ' ' {
		return bad("malformed status line")
	}
	if err := version(start[:8], &r.Head); err != nil {
		return err
	}
	for _, c := range start[9:12] {
		if c < '0' || c > '9' {
			return bad("malformed status code")
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 {
		return bad("malformed status code")
	}
	return fields(b, rest, &r.Head, l)
}

func version(v []byte, h *Head) error {
	if len(v) != 8 || string(v[:5]) != "HTTP/" || v[6] != '.' || v[5] < '0' || v[5] > '9' || v[7] < '0' || v[7] > '9' {
		return bad("malformed HTTP version")
	}
	if v[5] != '1' || v[7] > '1' {
		return &Error{Status: 505, Reason: "only HTTP/1.0 and HTTP/1.1 are spoken here"}
	}
	h.Minor = int(v[7] - '0')
	h.KeepAlive = h.Minor == 1
	return nil
}

// sized turns "give more" into a refusal once the limit is reached.
func sized(err error, b []byte, l Limits) error {
	if err == ErrPartial && len(b) >= l.octets() {
		return &Error{Status: 431, Reason: "head is longer than the limit"}
	}
	return err
}

// fields reads the header section and what it says about framing.
func fields(all_, b []byte, h *Head, l Limits) error {
	h.Length = -1
	for {
		ln, rest, err := line(b)
		if err != nil {
			return sized(err, all_, l)
		}
		b = rest
		if len(ln) == 0 {
			break
		}
		if len(h.Fields) == l.fields() {
			return &Error{Status: 431, Reason: "more header fields than the limit"}
		}
		colon := bytes.IndexByte(ln, ':')
		if colon <= 0 || !all(ln[:colon], isToken) {
			return bad("malformed header field") // obs-fold and space before the colon end here too
		}
		f := Field{Name: ln[:colon], Value: trim(ln[colon+1:])}
		if !all(f.Value, isValue) {
			return bad("header value has control octets")
		}
		h.Fields = append(h.Fields, f)
		if err := h.frame(f); err != nil {
			return err
		}
	}
	h.Size = len(all_) - len(b)
	if h.Size > l.octets() {
		return &Error{Status: 431, Reason: "head is longer than the limit"}
	}
	if h.Chunked && h.Length >= 0 {
		return bad("both Content-Length and Transfer-Encoding")
	}
	if h.Chunked && h.Minor == 0 {
		return bad("Transfer-Encoding in HTTP/1.0")
	}
	h.KeepAlive = !h.close && (h.KeepAlive || h.keep)
	return nil
}

// frame notes the fields that say where the body ends and whether the connection lives on.
func (h *Head) frame(f Field) error {
	switch len(f.Name) {
	case 4:
		if EqualFold(f.Name, "Host") {
			h.hosts++
		}
	case 10:
		if EqualFold(f.Name, "Connection") {
			eachToken(f.Value, func(t []byte) {
				switch {
				case EqualFold(t, "close"):
					h.close = true
				case EqualFold(t, "keep-alive"):
					h.keep = true
				default:
					h.connection = true
				}
			})
		}
	case 14:
		if EqualFold(f.Name, "Content-Length") {
			n, ok := number(f.Value)
			if !ok {
				return bad("malformed Content-Length")
			}
			if h.Length >= 0 {
				return bad("more than one Content-Length")
			}
			h.Length = n
		} else if underscored(f.Name, "Content-Length") {
			return bad("a header name that imitates Content-Length")
		}
	case 17:
		if EqualFold(f.Name, "Transfer-Encoding") {
			if h.Chunked {
				return bad("more than one Transfer-Encoding")
			}
			if !EqualFold(f.Value, "chunked") {
				return &Error{Status: 501, Reason: "a transfer coding other than chunked"}
			}
			h.Chunked = true
		} else if underscored(f.Name, "Transfer-Encoding") {
			return bad("a header name that imitates Transfer-Encoding")
		}
	}
	return nil
}

// underscored says whether name is like with '_' or another octet for '-': servers behind CGI-like
// interfaces take Content_Length for Content-Length.
func underscored(name []byte, like string) bool {
	for i := range len(like) {
		if lower(name[i]) != lower(like[i]) && like[i] != '-' {
			return false
		}
	}
	return true
}

// number reads 1*DIGIT that fits in 62 bits.
func number(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// eachToken calls f for each element of a comma-separated list.
func eachToken(v []byte, f func(t []byte)) {
	for len(v) > 0 {
		t := v
		if i := bytes.IndexByte(v, ','); i >= 0 {
			t, v = v[:i], v[i+1:]
		} else {
			v = nil
		}
		if t = trim(t); len(t) > 0 {
			f(t)
		}
	}
}

// check holds what only requests must satisfy.
func (r *Request) check() error {
	if r.hosts > 1 {
		return bad("more than one Host")
	}
	if r.hosts == 0 && r.Minor == 1 {
		return bad("no Host")
	}
	r.Host = r.Get("Host")
	if e := r.Get("Expect"); e != nil {
		if !EqualFold(e, "100-continue") {
			return &Error{Status: 417, Reason: "an expectation other than 100-continue"}
		}
		r.Continue = r.Minor == 1
	}
	return nil
}

// HopByHop says whether a field concerns this connection only and is not passed on (RFC 9110 section
// 7.6.1): the known ones, and those that Connection names.
func (h *Head) HopByHop(name []byte) bool {
	for _, n := range hopByHop {
		if EqualFold(name, n) {
			return true
		}
	}
	if !h.connection {
		return false
	}
	for i := range h.Fields {
		if !EqualFold(h.Fields[i].Name, "Connection") {
			continue
		}
		named := false
		eachToken(h.Fields[i].Value, func(t []byte) { named = named || sameFold(t, name) })
		if named {
			return true
		}
	}
	return false
}

var hopByHop = [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings"}
