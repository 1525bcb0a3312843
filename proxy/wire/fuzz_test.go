package wire_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"testing"

	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// The differential fuzz tests hold our readers against net/http's: where both take a message they must agree on what it is and
// where it ends. Ours is the stricter one, so it may refuse what net/http takes.

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /mms HTTP/1.1\r\nHost: mms.example.net\r\nContent-Length: 5\r\n\r\nhello",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 00\r\n\r\n",
		"POST http://y/ HTTP/1.1\r\nHost: x\r\nConnection: close, x-a\r\nX-A: b\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
		"POST / HTTP/1.1\nHost: x\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var r wire.Request
		err := wire.ParseRequest(in, &r, wire.Limits{})
		if err != nil {
			if st := status(err); err != wire.ErrPartial && (st < 400 || st > 599) {
				t.Fatalf("a refusal without a status: %v", err)
			}
			return
		}
		sane(t, in, &r.Head)
		if r.Size < 1 || len(r.Method) == 0 || len(r.Target) == 0 {
			t.Fatalf("%+v", r)
		}
		br := bufio.NewReader(bytes.NewReader(in))
		std, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if std.Method != string(r.Method) || std.RequestURI != string(r.Target) || std.ProtoMinor != r.Minor {
			t.Fatalf("net/http reads %s %s, we %s %s", std.Method, std.RequestURI, r.Method, r.Target)
		}
		chunked := len(std.TransferEncoding) > 0
		length := max(r.Length, 0)
		if chunked {
			length = -1
		}
		if chunked != r.Chunked || std.ContentLength != length {
			t.Fatalf("net/http: length %d %v; we: length %d chunked %v", std.ContentLength, std.TransferEncoding, r.Length, r.Chunked)
		}
		if std.Close == r.KeepAlive {
			t.Fatalf("net/http closes: %v; we keep alive: %v", std.Close, r.KeepAlive)
		}
		if std.URL.Host == "" && std.Host != string(r.Host) {
			t.Fatalf("net/http: for %q; we: for %q", std.Host, r.Host)
		}
	})
}

// sane holds what is true of every head that is taken.
func sane(t *testing.T, in []byte, h *wire.Head) {
	t.Helper()
	if h.Size > len(in) || h.Size > 16384 || !bytes.HasSuffix(in[:h.Size], []byte("\r\n\r\n")) {
		t.Fatalf("a head of %d octets of %d", h.Size, len(in))
	}
	if h.Chunked && h.Length >= 0 || h.Length < -1 || len(h.Fields) > 100 {
		t.Fatalf("%+v", h)
	}
	for _, f := range h.Fields {
		if len(f.Name) == 0 || bytes.ContainsAny(f.Name, " \t\r\n:\x00") || bytes.ContainsAny(f.Value, "\r\n\x00") {
			t.Fatalf("field %q: %q", f.Name, f.Value)
		}
		h.HopByHop(f.Name)
	}
}

func FuzzParseResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.0 200\r\nConnection: keep-alive\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var r wire.Response
		if err := wire.ParseResponse(in, &r, wire.Limits{}); err != nil {
			if st := status(err); err != wire.ErrPartial && (st < 400 || st > 599) {
				t.Fatalf("a refusal without a status: %v", err)
			}
			return
		}
		sane(t, in, &r.Head)
		std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), nil)
		if err != nil {
			return
		}
		if std.StatusCode != r.Status || std.ProtoMinor != r.Minor {
			t.Fatalf("net/http reads %d, we %d", std.StatusCode, r.Status)
		}
		if r.Status < 200 || r.Status == 204 || r.Status == 304 {
			return // no body, whatever the fields say
		}
		if chunked := len(std.TransferEncoding) > 0; chunked != r.Chunked || std.ContentLength != r.Length {
			t.Fatalf("net/http: length %d %v; we: length %d chunked %v", std.ContentLength, std.TransferEncoding, r.Length, r.Chunked)
		}
		// net/http closes behind a body that ends with the connection; that is the proxy's to see here
		if framed := r.Chunked || r.Length >= 0; framed && std.Close == r.KeepAlive {
			t.Fatalf("net/http closes: %v; we keep alive: %v", std.Close, r.KeepAlive)
		}
	})
}

func FuzzChunked(f *testing.F) {
	for _, s := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\nnext", "5;a=b\r\nhello\r\n00\r\nX: y\r\n\r\n", "A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n",
		"5 \r\nhello\r\n0\r\n\r\n", "5\nhello\n0\n\n", "fffffffffffffff\r\n", "-5\r\n",
	} {
		f.Add([]byte(s), byte(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, step byte) {
		data, used, done, err := decode(string(in))
		if used > len(in) || len(data) > used || done && err != nil {
			t.Fatalf("%d used, %d data of %d octets, done %v, %v", used, len(data), len(in), done, err)
		}
		if err != nil && status(err) != 400 {
			t.Fatalf("a refusal without a status: %v", err)
		}
		var cuts []int
		for i := int(step); step > 0 && i < len(in); i += int(step) {
			cuts = append(cuts, i)
		}
		if d2, u2, done2, err2 := decode(string(in), cuts...); d2 != data || u2 != used || done2 != done || status(err2) != status(err) {
			t.Fatalf("in one piece %q %d %v %v, in pieces %q %d %v %v", data, used, done, err, d2, u2, done2, err2)
		}
		if !done {
			return
		}
		std, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(in)))
		if err == nil && string(std) != data {
			t.Fatalf("net/http reads %q, we %q", std, data)
		}
	})
}
