package wire_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// status is the refusal in err: 0 for none, -1 for an error that is no refusal.
func status(err error) int {
	var we *wire.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &we):
		return we.Status
	}
	return -1
}

const host = "Host: mms.example.net\r\n"

func post(fields string) string { return "POST /mms HTTP/1.1\r\n" + host + fields + "\r\n" }

func TestParseRequest(t *testing.T) {
	for _, c := range []struct {
		name, in  string
		method    string
		target    string
		host      string
		length    int64
		chunked   bool
		keepAlive bool
		cont      bool
	}{
		{"least of 1.1", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET", "/", "", -1, false, true, false},
		{"least of 1.0", "GET / HTTP/1.0\r\n\r\n", "GET", "/", "", -1, false, false, false},
		{"with a length", post("Content-Length: 5\r\n"), "POST", "/mms", "mms.example.net", 5, false, true, false},
		{"length 0", post("Content-Length: 0\r\n"), "POST", "/mms", "mms.example.net", 0, false, true, false},
		{"a length with leading zeros", post("Content-Length: 0005\r\n"), "POST", "/mms", "mms.example.net", 5, false, true, false},
		{"the longest length", post("Content-Length: 999999999999999999\r\n"), "POST", "/mms", "mms.example.net", 999999999999999999, false, true, false},
		{"names in any case", "POST / HTTP/1.1\r\nhOST: x\r\ncONTENT-lENGTH: 7\r\ncONNECTION: cLOSE\r\n\r\n", "POST", "/", "x", 7, false, false, false},
		{"white space around the value", "POST / HTTP/1.1\r\nHost:\t x \t\r\nContent-Length: \t 7\t \r\n\r\n", "POST", "/", "x", 7, false, true, false},
		{"no white space", "POST / HTTP/1.1\r\nHost:x\r\nContent-Length:7\r\n\r\n", "POST", "/", "x", 7, false, true, false},
		{"chunked", post("Transfer-Encoding: Chunked\r\n"), "POST", "/mms", "mms.example.net", -1, true, true, false},
		{"close", post("Connection: close\r\n"), "POST", "/mms", "mms.example.net", -1, false, false, false},
		{"close in a list", post("Connection: foo, ,Close ,bar\r\n"), "POST", "/mms", "mms.example.net", -1, false, false, false},
		{"close goes before keep-alive", post("Connection: keep-alive\r\nConnection: close\r\n"), "POST", "/mms", "mms.example.net", -1, false, false, false},
		{"keep-alive of 1.0", "POST / HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n", "POST", "/", "", 1, false, true, false},
		{"close of 1.0", "POST / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n", "POST", "/", "", -1, false, false, false},
		{"expect", post("Expect: 100-Continue\r\n"), "POST", "/mms", "mms.example.net", -1, false, true, true},
		{"expect of 1.0 is nothing", "POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", "POST", "/", "", -1, false, false, false},
		{"absolute form", "GET http://mmsc.example/a?b HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "http://mmsc.example/a?b", "x", -1, false, true, false},
		{"any target of visible ASCII", "GET /!\"#$%&'()*+,;<=>?@[\\]^`{|}~ HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "/!\"#$%&'()*+,;<=>?@[\\]^`{|}~", "x", -1, false, true, false},
		{"an unknown method", "BREW-1! * HTTP/1.1\r\nHost: x\r\n\r\n", "BREW-1!", "*", "x", -1, false, true, false},
		{"UTF-8 in a value", "GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: \xc3\xa5\xff\r\n\r\n", "GET", "/", "x", -1, false, true, false},
		{"an empty value", "GET / HTTP/1.1\r\nHost: x\r\nX:\r\n\r\n", "GET", "/", "x", -1, false, true, false},
		{"names that only resemble framing", post("Content-Lengths: x\r\nX-Content-Length: y\r\nTransfer-Encodings: z\r\nTE: trailers\r\n"), "POST", "/mms", "mms.example.net", -1, false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r wire.Request
			in := []byte(c.in + "octets of the body\r\n\r\n")
			if err := wire.ParseRequest(in, &r, wire.Limits{}); err != nil {
				t.Fatal(err)
			}
			if string(r.Method) != c.method || string(r.Target) != c.target || string(r.Host) != c.host || r.Size != len(c.in) {
				t.Errorf("%s %s of %s, %d octets of head, want %s %s of %s, %d", r.Method, r.Target, r.Host, r.Size, c.method, c.target, c.host, len(c.in))
			}
			if r.Length != c.length || r.Chunked != c.chunked || r.KeepAlive != c.keepAlive || r.Continue != c.cont {
				t.Errorf("length %d chunked %v keep-alive %v continue %v", r.Length, r.Chunked, r.KeepAlive, r.Continue)
			}
			for i := range c.in { // each beginning of it asks for more
				var part wire.Request
				if err := wire.ParseRequest(in[:i:i], &part, wire.Limits{}); err != wire.ErrPartial {
					t.Fatalf("%q alone gives %v, want more to be asked for", in[:i], err)
				}
			}
		})
	}
}

// TestSmuggling has every way we know to make two readers disagree on where a request ends or whom it is for.
func TestSmuggling(t *testing.T) {
	for _, c := range []struct {
		name, in string
		status   int
	}{
		{"length and chunked", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400},
		{"chunked and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400},
		{"chunked and length 0", post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), 400},
		{"two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n"), 400},
		{"two equal lengths", post("Content-Length: 5\r\nContent-Length: 5\r\n"), 400},
		{"two lengths in one", post("Content-Length: 5, 5\r\n"), 400},
		{"length with a plus", post("Content-Length: +5\r\n"), 400},
		{"length below zero", post("Content-Length: -5\r\n"), 400},
		{"length in hexadecimal", post("Content-Length: 0x5\r\n"), 400},
		{"length with a fraction", post("Content-Length: 5.0\r\n"), 400},
		{"length with a space inside", post("Content-Length: 5 5\r\n"), 400},
		{"length with an underscore", post("Content-Length: 5_0\r\n"), 400},
		{"length in quotes", post("Content-Length: \"5\"\r\n"), 400},
		{"length in other digits", post("Content-Length: \xd9\xa5\r\n"), 400},
		{"no length", post("Content-Length:\r\n"), 400},
		{"length of 64 bits", post("Content-Length: 18446744073709551621\r\n"), 400},
		{"length that wraps 63 bits", post("Content-Length: 9223372036854775808\r\n"), 400},
		{"length with underscore in its name", post("Content_Length: 5\r\n"), 400},
		{"chunked with underscore in its name", post("Transfer_Encoding: chunked\r\n"), 400},
		{"chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400},
		{"chunked and identity", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), 400},
		{"chunked, chunked", post("Transfer-Encoding: chunked, chunked\r\n"), 501},
		{"gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n"), 501},
		{"chunked, identity", post("Transfer-Encoding: chunked, identity\r\n"), 501},
		{"identity", post("Transfer-Encoding: identity\r\n"), 501},
		{"gzip", post("Transfer-Encoding: gzip\r\n"), 501},
		{"no coding", post("Transfer-Encoding:\r\n"), 501},
		{"xchunked", post("Transfer-Encoding: xchunked\r\n"), 501},
		{"chunked with a parameter", post("Transfer-Encoding: chunked;a=b\r\n"), 501},
		{"chunked in quotes", post("Transfer-Encoding: \"chunked\"\r\n"), 501},
		{"chunked with a comma", post("Transfer-Encoding: chunked,\r\n"), 501},
		{"chunked behind a vertical tab", post("Transfer-Encoding: \vchunked\r\n"), 400},
		{"chunked behind a NUL", post("Transfer-Encoding: \x00chunked\r\n"), 400},
		{"chunked before a NUL", post("Transfer-Encoding: chunked\x00\r\n"), 400},
		{"chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"chunked on a folded line", post("Transfer-Encoding:\r\n chunked\r\n"), 501},
		{"a folded line", post("X: a\r\n b\r\n"), 400},
		{"a line folded by a tab", post("X: a\r\n\tb\r\n"), 400},
		{"a folded first line", "POST / HTTP/1.1\r\n Host: x\r\nHost: y\r\n\r\n", 400},
		{"space before the colon", post("Transfer-Encoding : chunked\r\n"), 400},
		{"tab before the colon", post("Content-Length\t: 5\r\n"), 400},
		{"space in a name", post("Content Length: 5\r\n"), 400},
		{"no colon", post("Content-Length 5\r\n"), 400},
		{"no name", post(": 5\r\n"), 400},
		{"control octet in a name", post("Content-Length\x0c: 5\r\n"), 400},
		{"NUL in a name", post("Content-Length\x00: 5\r\n"), 400},
		{"UTF-8 in a name", post("Content\xe2\x80\x90Length: 5\r\n"), 400},
		{"bracket in a name", post("(Content-Length): 5\r\n"), 400},
		{"NUL in a value", post("X: a\x00b\r\n"), 400},
		{"escape in a value", post("X: \x1b[0m\r\n"), 400},
		{"DEL in a value", post("X: \x7f\r\n"), 400},
		{"bare LF behind a field", "POST / HTTP/1.1\r\nHost: x\nContent-Length: 5\r\n\r\n", 400},
		{"bare LF behind the request line", "POST / HTTP/1.1\nHost: x\r\n\r\n", 400},
		{"bare LF at the end", "POST / HTTP/1.1\r\nHost: x\r\n\n", 400},
		{"bare CR in a value", post("X: a\rContent-Length: 5\r\n"), 400},
		{"bare CR in the request line", "POST /\rx HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"CR CR LF", post("X: a\r\r\n"), 400},
		{"CR before a name", post("\rContent-Length: 5\r\n"), 400},
		{"no Host", "POST / HTTP/1.1\r\n\r\n", 400},
		{"two Hosts", "POST / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		{"two equal Hosts", "POST / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n", 400},
		{"two Hosts in 1.0", "POST / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		{"HTTP/0.9", "GET /\r\n\r\n", 400},
		{"two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"a space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"a tab for a space", "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"a tab in the target", "GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"a space behind the version", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400},
		{"a space before the method", " GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"a NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"UTF-8 in the target", "GET /\xc3\xa5 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"a bracket in the method", "G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"no method", "/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"an empty line", "\r\n\r\n", 400},
		{"a version in small letters", "GET / http/1.1\r\nHost: x\r\n\r\n", 400},
		{"a version of two digits", "GET / HTTP/1.10\r\nHost: x\r\n\r\n", 400},
		{"a version without a point", "GET / HTTP/11\r\nHost: x\r\n\r\n", 400},
		{"another protocol", "GET / HTCPCP/1.0\r\nHost: x\r\n\r\n", 400},
		{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505},
		{"HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{"HTTP/0.9 with a version", "GET / HTTP/0.9\r\n\r\n", 505},
		{"another expectation", post("Expect: 200-ok\r\n"), 417},
		{"no expectation", post("Expect:\r\n"), 417},
		{"two expectations", post("Expect: 100-continue, x\r\n"), 417},
		{"TLS on the wrong port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r wire.Request
			err := wire.ParseRequest([]byte(c.in), &r, wire.Limits{})
			if status(err) != c.status {
				t.Fatalf("%q: %v, want status %d", c.in, err, c.status)
			}
			var whole wire.Request // more octets never make a refused head good
			if err := wire.ParseRequest([]byte(c.in+"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"), &whole, wire.Limits{}); status(err) != c.status {
				t.Fatalf("with more behind it: %v, want status %d", err, c.status)
			}
			for i := range c.in { // and no beginning of it is good alone
				if err := wire.ParseRequest([]byte(c.in[:i]), &whole, wire.Limits{}); err == nil {
					t.Fatalf("%q is taken", c.in[:i])
				}
			}
		})
	}
}

func TestLimits(t *testing.T) {
	many := func(n int) string { return "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", n-1) + "\r\n" }
	sized := func(n int) string {
		head := "GET / HTTP/1.1\r\nHost: x\r\nA: "
		return head + strings.Repeat("b", n-len(head)-4) + "\r\n\r\n"
	}
	for _, c := range []struct {
		name, in string
		limits   wire.Limits
		status   int
	}{
		{"as many fields as the default", many(100), wire.Limits{}, 0},
		{"one more", many(101), wire.Limits{}, 431},
		{"as many as told", many(3), wire.Limits{Fields: 3}, 0},
		{"one more than told", many(4), wire.Limits{Fields: 3}, 431},
		{"as long as the default", sized(16384), wire.Limits{}, 0},
		{"one octet more", sized(16385), wire.Limits{}, 431},
		{"as long as told", sized(1000), wire.Limits{Octets: 1000}, 0},
		{"one octet more than told", sized(1001), wire.Limits{Octets: 1000}, 431},
		{"not complete at the limit", sized(2000)[:1000], wire.Limits{Octets: 1000}, 431},
		{"a request line without end", "GET /" + strings.Repeat("a", 995), wire.Limits{Octets: 1000}, 431},
		{"below the limit it may go on", sized(2000)[:999], wire.Limits{Octets: 1000}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r wire.Request
			if err := wire.ParseRequest([]byte(c.in), &r, c.limits); status(err) != c.status {
				t.Fatalf("request: %v, want status %d", err, c.status)
			}
			var a wire.Response
			in := strings.Replace(c.in, "GET / HTTP/1.1", "HTTP/1.1 200 O", 1) // as long
			if err := wire.ParseResponse([]byte(in), &a, c.limits); status(err) != c.status && !strings.HasPrefix(c.name, "a request line") {
				t.Fatalf("response: %v, want status %d", err, c.status)
			}
		})
	}
}

func TestParseResponse(t *testing.T) {
	for _, c := range []struct {
		name, in  string
		code      int
		length    int64
		chunked   bool
		keepAlive bool
	}{
		{"with a length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 200, 3, false, true},
		{"without a reason", "HTTP/1.1 204 \r\n\r\n", 204, -1, false, true},
		{"without the space before it", "HTTP/1.1 204\r\n\r\n", 204, -1, false, true},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, -1, true, true},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", 200, -1, false, false},
		{"1.0", "HTTP/1.0 200 OK\r\n\r\n", 200, -1, false, false},
		{"1.0 kept alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 200, 0, false, true},
		{"100", "HTTP/1.1 100 Continue\r\n\r\n", 100, -1, false, true},
		{"a status nobody knows", "HTTP/1.1 799 What\r\n\r\n", 799, -1, false, true},
		{"a Host means nothing", "HTTP/1.1 200 OK\r\nHost: a\r\nHost: b\r\n\r\n", 200, -1, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r wire.Response
			in := []byte(c.in + "body")
			if err := wire.ParseResponse(in, &r, wire.Limits{}); err != nil {
				t.Fatal(err)
			}
			if r.Status != c.code || r.Length != c.length || r.Chunked != c.chunked || r.KeepAlive != c.keepAlive || r.Size != len(c.in) {
				t.Fatalf("%+v", r)
			}
			for i := range c.in {
				if err := wire.ParseResponse(in[:i], &r, wire.Limits{}); err != wire.ErrPartial {
					t.Fatalf("%q alone gives %v", in[:i], err)
				}
			}
		})
	}
	for _, c := range []struct {
		name, in string
		status   int
	}{
		{"length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400},
		{"gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
		{"chunked in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", 400},
		{"bare LF", "HTTP/1.1 200 OK\nX: a\n\n", 400},
		{"a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", 400},
		{"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", 400},
		{"a status below 100", "HTTP/1.1 099 OK\r\n\r\n", 400},
		{"a status with a sign", "HTTP/1.1 +20 OK\r\n\r\n", 400},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", 400},
		{"a tab for a space", "HTTP/1.1\t200 OK\r\n\r\n", 400},
		{"no status", "HTTP/1.1\r\n\r\n", 400},
		{"no version", "200 OK\r\n\r\n", 400},
		{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", 505},
		{"ICY", "ICY 200 OK\r\n\r\n", 400},
		{"no HTTP at all", "220 mmsc.example ESMTP\r\n", 400},
	} {
		t.Run("refused: "+c.name, func(t *testing.T) {
			var r wire.Response
			if err := wire.ParseResponse([]byte(c.in), &r, wire.Limits{}); status(err) != c.status {
				t.Fatalf("%v, want status %d", err, c.status)
			}
		})
	}
}

func TestHopByHop(t *testing.T) {
	for _, c := range []struct {
		name, fields string
		hop, end     []string
	}{
		{"the known ones", "", []string{"Connection", "keep-alive", "PROXY-CONNECTION", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer",
			"Transfer-Encoding", "Upgrade", "HTTP2-Settings"}, []string{"Host", "Content-Type", "X-Wap-Profile", "Close", "Trailers", ""}},
		{"only close and keep-alive", "Connection: close, keep-alive\r\n", []string{"Keep-Alive"}, []string{"Close", "X-A"}},
		{"named", "Connection: X-A ,, x-b\r\n", []string{"X-A", "x-a", "X-B"}, []string{"X-C", "X", "X-A ,, x-b"}},
		{"named in several", "Connection: close\r\nX-A: 1\r\nconnection: X-A\r\nConnection: X-B\r\n", []string{"X-A", "X-B"}, []string{"X-C"}},
		{"a name longer than 32 octets", "Connection: " + strings.Repeat("x", 50) + "\r\n", []string{strings.Repeat("X", 50)}, []string{strings.Repeat("X", 49)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r wire.Request
			if err := wire.ParseRequest([]byte(post(c.fields)), &r, wire.Limits{}); err != nil {
				t.Fatal(err)
			}
			for _, n := range c.hop {
				if !r.HopByHop([]byte(n)) {
					t.Errorf("%s is passed on", n)
				}
			}
			for _, n := range c.end {
				if r.HopByHop([]byte(n)) {
					t.Errorf("%s is kept back", n)
				}
			}
		})
	}
}

func TestGet(t *testing.T) {
	var r wire.Request
	if err := wire.ParseRequest([]byte(post("X-A: 1\r\nx-a: 2\r\nX-Empty: \r\n")), &r, wire.Limits{}); err != nil {
		t.Fatal(err)
	}
	if v := r.Get("x-A"); string(v) != "1" {
		t.Errorf("X-A is %q, want the first", v)
	}
	if v := r.Get("X-Empty"); v == nil || len(v) != 0 {
		t.Errorf("an empty field is %#v", v)
	}
	if v := r.Get("X-B"); v != nil {
		t.Errorf("an absent field is %#v", v)
	}
	if len(r.Fields) != 4 {
		t.Errorf("%d fields, want 4", len(r.Fields))
	}
}

// TestHeadReuse parses one head after the other into the same Request: nothing of one is left in the next.
func TestHeadReuse(t *testing.T) {
	heads := []string{post("Connection: X-A, close\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n"), "GET / HTTP/1.0\r\n\r\n", "broken\r\n", post("Content-Length: 3\r\nExpect: 100-continue\r\n"), "GET"}
	var reused wire.Request
	for i := range 4 * len(heads) {
		in := []byte(heads[i*i%len(heads)])
		var fresh wire.Request
		ferr, rerr := wire.ParseRequest(in, &fresh, wire.Limits{}), wire.ParseRequest(in, &reused, wire.Limits{})
		if fmt.Sprint(ferr) != fmt.Sprint(rerr) || fmt.Sprintf("%+v", fresh) != fmt.Sprintf("%+v", reused) {
			t.Fatalf("%q: fresh %+v (%v), reused %+v (%v)", in, fresh, ferr, reused, rerr)
		}
	}
}

func TestParseAllocates(t *testing.T) {
	in := []byte(post("Content-Length: 5\r\nConnection: close, X-A\r\nX-A: 1\r\nUser-Agent: x\r\nExpect: 100-continue\r\n"))
	answer := []byte("HTTP/1.1 200 OK\r\nConnection: X-A\r\nTransfer-Encoding: chunked\r\n\r\n")
	part := in[:len(in)-3]
	names := [][]byte{[]byte("X-A"), []byte("X-Longer-Than-Thirty-Two-Octets-In-All")}
	var r wire.Request
	var a wire.Response
	if n := testing.AllocsPerRun(100, func() {
		if err := wire.ParseRequest(part, &r, wire.Limits{}); err != wire.ErrPartial {
			t.Error(err)
		}
		if err := wire.ParseRequest(in, &r, wire.Limits{}); err != nil {
			t.Error(err)
		}
		if err := wire.ParseResponse(answer, &a, wire.Limits{}); err != nil {
			t.Error(err)
		}
		if !r.HopByHop(names[0]) || r.HopByHop(names[1]) {
			t.Error("wrong hop-by-hop")
		}
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
