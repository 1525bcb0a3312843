package test_test

import (
	"fmt"
	"strings"
)

// smuggle is one request that a router must not pass on. The text is sent as it stands, then the tail: a
// request that would be seen by itself if anybody took the body's end for another place than we do.
type smuggle struct {
	name string
	text string
	// body: the head is in order and the fault lies in the body, so an attempt may have begun when it is found; no
	// whole message may reach the MMSC
	body bool
	// noTail: the request's framing is in order (it is refused for what it asks), so what follows is an honest
	// second request
	noTail bool
	// silent: closing without an answer is fine (nothing that looks like HTTP/1 was sent)
	silent bool
}

const tail = "GET /smuggled HTTP/1.1\r\nHost: mms.example.net\r\n\r\n"

// post makes a POST with these field lines between Host and the empty line.
func post(fields string, body string) string {
	if fields != "" {
		fields += "\r\n"
	}
	return "POST / HTTP/1.1\r\nHost: mms.example.net\r\nContent-Type: application/vnd.wap.mms-message\r\n" + fields + "\r\n" + body
}

// line makes a POST with this request line and a sound rest.
func line(requestLine string) string {
	return requestLine + "\r\nHost: mms.example.net\r\nContent-Length: 5\r\n\r\nhello"
}

func host(fields string) string {
	return "POST / HTTP/1.1\r\n" + fields + "Content-Length: 5\r\n\r\nhello"
}

const chunked = "Transfer-Encoding: chunked"

func chunks(body string) string { return post(chunked, body) }

func smuggles() (all []smuggle) {
	add := func(name, text string) { all = append(all, smuggle{name: name, text: text}) }
	group := func(prefix string, list [][2]string, make func(v string) string) {
		for _, x := range list {
			add(prefix+": "+x[0], make(x[1]))
		}
	}
	const five = "5\r\nhello\r\n0\r\n\r\n"

	// Content-Length together with Transfer-Encoding (RFC 9112 section 6.1): never both
	add("CL+TE: CL first", post("Content-Length: 5\r\n"+chunked, five))
	add("CL+TE: TE first", post(chunked+"\r\nContent-Length: 5", five))
	add("CL+TE: CL 0", post("Content-Length: 0\r\n"+chunked, five))
	add("CL+TE: CL of the whole chunked body", post("Content-Length: 15\r\n"+chunked, five))
	add("CL+TE: CL of one chunk line", post("Content-Length: 4\r\n"+chunked, five))
	add("CL+TE: CL beyond", post("Content-Length: 9999\r\n"+chunked, five))
	add("CL+TE: TE between two CL", post("Content-Length: 5\r\n"+chunked+"\r\nContent-Length: 5", five))
	add("CL+TE: identity", post("Content-Length: 5\r\nTransfer-Encoding: identity", "hello"))
	add("CL+TE: empty TE", post("Content-Length: 5\r\nTransfer-Encoding:", "hello"))
	add("CL+TE: HTTP/1.0", strings.Replace(post("Content-Length: 5\r\n"+chunked, five), "HTTP/1.1", "HTTP/1.0", 1))
	add("TE in HTTP/1.0", strings.Replace(post(chunked, five), "HTTP/1.1", "HTTP/1.0", 1))

	// Transfer-Encoding that only some take for chunked
	te := [][2]string{
		{"x in front", "xchunked"}, {"x behind", "chunkedx"}, {"two, chunked last", "identity, chunked"}, {"two, chunked first", "chunked, identity"},
		{"chunked twice", "chunked, chunked"}, {"gzip, chunked", "gzip, chunked"}, {"gzip", "gzip"}, {"identity", "identity"}, {"unknown", "cow"},
		{"empty", ""}, {"only a comma", ","}, {"parameter", "chunked;q=1"}, {"quoted", `"chunked"`}, {"quoted apostrophe", "'chunked'"},
		{"space inside", "chun ked"}, {"NUL behind", "chunked\x00"}, {"NUL in front", "\x00chunked"}, {"VT in front", "\x0bchunked"},
		{"VT behind", "chunked\x0b"}, {"FF behind", "chunked\x0c"}, {"no-break space", "\xa0chunked"}, {"NEL", "\x85chunked"},
		{"CR inside", "chunk\red"}, {"CR behind", "chunked\r"}, {"DEL", "chunked\x7f"}, {"semicolon", "chunked;"}, {"two words", "chunked chunked"},
		{"full-width letters", "ｃhunked"}, {"folded", "\r\n chunked"}, {"folded with tab", "\r\n\tchunked"}, {"folded behind", "chunked\r\n , identity"},
		{"equals", "=chunked"}, {"bracket", "{chunked}"},
	}
	group("TE", te, func(v string) string { return post("Transfer-Encoding: "+v, five) })
	// the same spellings beside a length are worse: another reader may fall back to it
	group("TE+CL", te, func(v string) string { return post("Content-Length: 5\r\nTransfer-Encoding: "+v, five) })
	add("TE twice", post(chunked+"\r\n"+chunked, five))
	add("TE then identity", post(chunked+"\r\nTransfer-Encoding: identity", five))
	add("identity then TE", post("Transfer-Encoding: identity\r\n"+chunked, five))
	add("TE then another spelling of the name", post(chunked+"\r\ntransfer-encoding: cow", five))

	// the name spelled so that some readers know it and some don't
	for _, n := range []string{"Transfer-Encoding", "Content-Length"} {
		v := map[string]string{"Transfer-Encoding": "chunked", "Content-Length": "5"}[n]
		body := map[string]string{"Transfer-Encoding": five, "Content-Length": "hello"}[n]
		for _, x := range [][2]string{
			{"space before the colon", n + " : " + v}, {"tab before the colon", n + "\t: " + v}, {"NUL before the colon", n + "\x00: " + v},
			{"VT before the colon", n + "\x0b: " + v}, {"CR before the colon", n + "\r: " + v}, {"line break before the colon", n + "\r\n : " + v},
			{"space in front", " " + n + ": " + v}, {"tab in front", "\t" + n + ": " + v}, {"NUL in front", "\x00" + n + ": " + v},
			{"CR in front", "\r" + n + ": " + v}, {"space inside", strings.Replace(n, "-", " ", 1) + ": " + v},
			{"behind a bare LF", "X-A: b\n" + n + ": " + v}, {"behind a bare CR", "X-A: b\r" + n + ": " + v},
			{"in a folded line", "X-A: b\r\n " + n + ": " + v}, {"no colon", n + " " + v}, {"equals for colon", n + "= " + v},
			{"quoted name", `"` + n + `": ` + v}, {"no-break space", n + "\xa0: " + v},
		} {
			add(n+": "+x[0], post(x[1], body))
		}
	}

	// Content-Length that readers count differently
	group("CL", [][2]string{
		{"empty", ""}, {"plus", "+5"}, {"minus", "-5"}, {"minus zero", "-0"}, {"hex", "0x5"}, {"octal", "0o5"}, {"binary", "0b101"},
		{"underscore", "0_5"}, {"exponent", "5e0"}, {"point", "5.0"}, {"letter behind", "5a"}, {"letter in front", "a5"}, {"two numbers", "5 5"},
		{"list, equal", "5, 5"}, {"list, different", "5, 6"}, {"list, comma behind", "5,"}, {"list, comma in front", ",5"}, {"semicolon", "5;"},
		{"quoted", `"5"`}, {"NUL behind", "5\x00"}, {"NUL inside", "5\x000"}, {"VT in front", "\x0b5"}, {"FF behind", "5\x0c"}, {"CR behind", "5\r"},
		{"CR inside", "5\r0"}, {"no-break space", "\xa05"}, {"Arabic digit", "\u0665"}, {"full-width digit", "５"},
		{"2^63", "9223372036854775808"}, {"2^64", "18446744073709551616"}, {"2^64+5", "18446744073709551621"},
		{"thirty digits", "100000000000000000000000000005"}, {"folded", "\r\n 5"}, {"folded behind", "5\r\n 6"}, {"folded behind with tab", "5\r\n\t0"},
	}, func(v string) string { return post("Content-Length: "+v, "hello") })
	add("CL twice, different", post("Content-Length: 5\r\nContent-Length: 6", "hello!"))
	add("CL twice, zero first", post("Content-Length: 0\r\nContent-Length: 5", "hello"))
	add("CL twice, equal", post("Content-Length: 5\r\nContent-Length: 5", "hello"))
	add("CL twice, another spelling", post("Content-Length: 5\r\ncontent-length: 6", "hello!"))

	// line ends
	add("LF: after the request line", "POST / HTTP/1.1\nHost: mms.example.net\r\nContent-Length: 5\r\n\r\nhello")
	add("LF: after a field", "POST / HTTP/1.1\r\nHost: mms.example.net\nContent-Length: 5\r\n\r\nhello")
	add("LF: all lines", "POST / HTTP/1.1\nHost: mms.example.net\nContent-Length: 5\n\nhello")
	add("LF: the empty line", "POST / HTTP/1.1\r\nHost: mms.example.net\r\nContent-Length: 5\r\n\nhello")
	add("LF: before the empty line", "POST / HTTP/1.1\r\nHost: mms.example.net\r\nContent-Length: 5\n\r\nhello")
	add("CR: in a value", post("X-A: b\rc\r\nContent-Length: 5", "hello"))
	add("CR: in the request line", line("POST /\r HTTP/1.1"))
	add("CR: doubled", "POST / HTTP/1.1\r\r\nHost: mms.example.net\r\nContent-Length: 5\r\n\r\nhello")
	add("CR: only", "POST / HTTP/1.1\rHost: mms.example.net\rContent-Length: 5\r\rhello\r\n\r\n")

	// field lines that are none
	group("field", [][2]string{
		{"no colon", "nonsense"}, {"empty name", ": x"}, {"space in the name", "X A: b"}, {"space before the colon", "X-A : b"}, {"NUL in the name", "X\x00A: b"},
		{"control in the name", "X\x01A: b"}, {"DEL in the name", "X\x7fA: b"}, {"octet above 7F in the name", "X\xc3\xa9: b"}, {"bracket", "X(A: b"},
		{"at sign", "X@A: b"}, {"quote", `X"A: b`}, {"slash", "X/A: b"}, {"brace", "X{A}: b"}, {"backslash", `X\A: b`}, {"comma", "X,A: b"}, {"semicolon", "X;A: b"},
		{"NUL in the value", "X-A: b\x00c"}, {"control in the value", "X-A: b\x01c"}, {"backspace in the value", "X-A: b\x08c"}, {"DEL in the value", "X-A: b\x7fc"},
		{"folded", "X-A: b\r\n c"}, {"folded with tab", "X-A: b\r\n\tc"}, {"folded empty", "X-A: b\r\n "},
	}, func(v string) string { return post(v+"\r\nContent-Length: 5", "hello") })
	add("field: folded before the first", "POST / HTTP/1.1\r\n Host: mms.example.net\r\nContent-Length: 5\r\n\r\nhello")

	// request lines
	for _, x := range []smuggle{
		{name: "two spaces", text: line("POST  / HTTP/1.1")}, {name: "tab", text: line("POST\t/\tHTTP/1.1")}, {name: "space at the end", text: line("POST / HTTP/1.1 ")},
		{name: "space in front", text: line(" POST / HTTP/1.1")}, {name: "four words", text: line("POST / / HTTP/1.1")}, {name: "space in the target", text: line("POST /a b HTTP/1.1")},
		{name: "no version", text: line("POST /"), silent: true}, {name: "only a method", text: line("POST"), silent: true}, {name: "empty target", text: line("POST  HTTP/1.1")},
		{name: "no method", text: line("/ HTTP/1.1")}, {name: "NUL in the target", text: line("POST /\x00 HTTP/1.1")}, {name: "control in the target", text: line("POST /\x01 HTTP/1.1")},
		{name: "DEL in the target", text: line("POST /\x7f HTTP/1.1")}, {name: "octet above 7F in the target", text: line("POST /\xe9 HTTP/1.1")},
		{name: "control in the method", text: line("PO\x01ST / HTTP/1.1")}, {name: "colon in the method", text: line("PO:ST / HTTP/1.1")},
		{name: "HTTP/2.0", text: line("POST / HTTP/2.0")}, {name: "HTTP/0.9", text: line("POST / HTTP/0.9")}, {name: "HTTP/11", text: line("POST / HTTP/11")},
		{name: "HTTP/1.10", text: line("POST / HTTP/1.10")}, {name: "HTTP/01.1", text: line("POST / HTTP/01.1")}, {name: "HTTP/1", text: line("POST / HTTP/1")},
		{name: "HTTP/1.x", text: line("POST / HTTP/1.x")}, {name: "HTTP/1,1", text: line("POST / HTTP/1,1")}, {name: "http in small letters", text: line("POST / http/1.1")},
		{name: "HTTPS/1.1", text: line("POST / HTTPS/1.1")}, {name: "HTTP/+1.1", text: line("POST / HTTP/+1.1")}, {name: "a slash too many", text: line("POST / HTTP//1.1")},
		{name: "HTTP/2 preface", text: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}, {name: "fragment", text: line("POST /#x HTTP/1.1")},
		{name: "relative target", text: line("POST smuggled HTTP/1.1")}, {name: "asterisk", text: line("POST * HTTP/1.1")},
		{name: "authority form", text: line("POST mms.example.net:80 HTTP/1.1")}, {name: "CONNECT", text: line("CONNECT mms.example.net:80 HTTP/1.1")},
		{name: "CONNECT elsewhere", text: "CONNECT evil.example:25 HTTP/1.1\r\nHost: evil.example:25\r\n\r\n"},
		{name: "TRACE", text: "TRACE / HTTP/1.1\r\nHost: mms.example.net\r\n\r\n", noTail: true}, {name: "small letters", text: line("post / HTTP/1.1"), noTail: true},
		{name: "unknown method", text: line("SMUGGLE / HTTP/1.1"), noTail: true}, {name: "TLS hello", text: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", silent: true},
	} {
		x.name = "line: " + x.name
		all = append(all, x)
	}

	// absolute-form targets and Host: never to where the client says
	for _, x := range [][2]string{
		{"another host", "http://evil.example/"}, {"a host that ends in ours", "http://xmms.example.net/"}, {"a host that begins with ours", "http://mms.example.net.evil.example/"},
		{"user info, ours behind", "http://evil.example@mms.example.net/"}, {"user info, ours in front", "http://mms.example.net@evil.example/"},
		{"user info with password", "http://mms.example.net:80@evil.example/"}, {"another port", "http://mms.example.net:22/"}, {"the MMSC itself", "http://MMSC/"},
		{"metadata address", "http://169.254.169.254/latest"}, {"backslash", `http://mms.example.net\@evil.example/`}, {"no host", "http:///"}, {"nothing", "http://"},
		{"no slashes", "http:mms.example.net/"}, {"one slash", "http:/mms.example.net/"}, {"ftp", "ftp://mms.example.net/"}, {"file", "file:///etc/passwd"},
		{"gopher", "gopher://mms.example.net/"}, {"port too large", "http://mms.example.net:99999/"}, {"negative port", "http://mms.example.net:-1/"},
		{"two ports", "http://mms.example.net:80:80/"}, {"letters for a port", "http://mms.example.net:http/"}, {"open bracket", "http://[::1/"},
		{"percent in the host", "http://mms%2eexample%2enet/"}, {"decimal address", "http://2130706433/"}, {"hidden in the query", "http://evil.example/?http://mms.example.net/"},
		{"hidden in the fragment", "http://evil.example/#mms.example.net"}, {"question mark for a path", "http://evil.example?@mms.example.net/"},
	} {
		all = append(all, smuggle{name: "absolute: " + x[0], text: line("POST " + x[1] + " HTTP/1.1"), noTail: true})
	}
	for _, x := range [][2]string{
		{"none", ""}, {"two, different", "Host: mms.example.net\r\nHost: evil.example\r\n"}, {"two, equal", "Host: mms.example.net\r\nHost: mms.example.net\r\n"},
		{"two, ours last", "Host: evil.example\r\nHost: mms.example.net\r\n"}, {"empty", "Host:\r\n"}, {"a list", "Host: mms.example.net, evil.example\r\n"},
		{"with a path", "Host: mms.example.net/x\r\n"}, {"with user info", "Host: evil.example@mms.example.net\r\n"}, {"with a space", "Host: mms.example.net evil.example\r\n"},
		{"two ports", "Host: mms.example.net:80:80\r\n"}, {"NUL", "Host: mms.example.net\x00\r\n"}, {"folded", "Host: mms.example.net\r\n evil.example\r\n"},
		{"space before the colon", "Host : mms.example.net\r\n"}, {"open bracket", "Host: [::1\r\n"},
		{"absolute and two Hosts", "ABS"},
	} {
		text := host(x[1])
		if x[1] == "ABS" {
			text = "POST http://mms.example.net/ HTTP/1.1\r\nHost: mms.example.net\r\nHost: evil.example\r\nContent-Length: 5\r\n\r\nhello"
		}
		add("host: "+x[0], text)
	}
	for _, x := range [][2]string{{"another", "evil.example"}, {"another port", "mms.example.net:22"}, {"metadata address", "169.254.169.254"}} {
		all = append(all, smuggle{name: "host: " + x[0], text: host("Host: " + x[1] + "\r\n"), noTail: true})
	}

	// chunks
	for _, x := range [][2]string{
		{"0x in front", "0x5\r\nhello\r\n0\r\n\r\n"}, {"plus", "+5\r\nhello\r\n0\r\n\r\n"}, {"minus", "-5\r\nhello\r\n0\r\n\r\n"}, {"space in front", " 5\r\nhello\r\n0\r\n\r\n"},
		{"space behind", "5 \r\nhello\r\n0\r\n\r\n"}, {"tab behind", "5\t\r\nhello\r\n0\r\n\r\n"}, {"no hex digit", "g\r\nhello\r\n0\r\n\r\n"}, {"empty size", "\r\nhello\r\n0\r\n\r\n"},
		{"only an extension", ";a=b\r\nhello\r\n0\r\n\r\n"}, {"underscore", "0_5\r\nhello\r\n0\r\n\r\n"}, {"comma", "5,5\r\nhello\r\n0\r\n\r\n"}, {"point", "5.\r\nhello\r\n0\r\n\r\n"},
		{"2^64+5", "10000000000000005\r\nhello\r\n0\r\n\r\n"}, {"2^63", "8000000000000000\r\nhello\r\n0\r\n\r\n"}, {"sixteen F", "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"},
		{"forty zeros and more", strings.Repeat("0", 40) + "5\r\nhello\r\n" + strings.Repeat("F", 30) + "\r\n\r\n"},
		{"LF after the size", "5\nhello\r\n0\r\n\r\n"}, {"CR after the size", "5\rhello\r\n0\r\n\r\n"}, {"CR CR LF", "5\r\r\nhello\r\n0\r\n\r\n"}, {"NUL after the size", "5\x00\r\nhello\r\n0\r\n\r\n"},
		{"LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"}, {"CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"}, {"NUL in an extension", "5;a\x00\r\nhello\r\n0\r\n\r\n"},
		{"endless extension", "5;" + strings.Repeat("a", 100_000) + "\r\nhello\r\n0\r\n\r\n"}, {"data longer than its size", "5\r\nhello!\r\n0\r\n\r\n"},
		{"data without its end", "5\r\nhello0\r\n\r\n"}, {"LF after data", "5\r\nhello\n0\r\n\r\n"}, {"CR after data", "5\r\nhello\r0\r\n\r\n"}, {"data shorter than its size", "6\r\nhello\r\n0\r\n\r\n"},
		{"LF after the last chunk", "5\r\nhello\r\n0\n\r\n"}, {"LF ends the trailer", "5\r\nhello\r\n0\r\n\n"},
		{"trailer ends in LF", "5\r\nhello\r\n0\r\nX: a\n\r\n"},
		{"trailer without colon", "5\r\nhello\r\n0\r\nnonsense\r\n\r\n"}, {"trailer with a space in its name", "5\r\nhello\r\n0\r\nX A: b\r\n\r\n"},
		{"folded trailer", "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"}, {"NUL in a trailer", "5\r\nhello\r\n0\r\nX: a\x00\r\n\r\n"}, {"endless trailer", "5\r\nhello\r\n0\r\n" + strings.Repeat("X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 4000) + "\r\n"},
		{"Arabic digit", "\u0665\r\nhello\r\n0\r\n\r\n"}, {"quoted size", "\"5\"\r\nhello\r\n0\r\n\r\n"}, {"second size broken", "5\r\nhello\r\nx\r\n\r\n"},
	} {
		all = append(all, smuggle{name: "chunk: " + x[0], text: chunks(x[1]), body: true})
	}

	// names that a CGI-like reader takes for the real ones
	add("imitation: Content_Length", post("Content_Length: 99\r\nContent-Length: 5", "hello"))
	add("imitation: Transfer_Encoding", post("Transfer_Encoding: chunked\r\nContent-Length: 5", "hello"))

	// too much of anything
	add("bounds: long target", line("POST /"+strings.Repeat("a", 100_000)+" HTTP/1.1"))
	add("bounds: long method", line(strings.Repeat("P", 100_000)+" / HTTP/1.1"))
	add("bounds: long value", post("X-A: "+strings.Repeat("a", 100_000)+"\r\nContent-Length: 5", "hello"))
	add("bounds: long name", post(strings.Repeat("a", 100_000)+": x\r\nContent-Length: 5", "hello"))
	var many strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&many, "X-%d: a\r\n", i)
	}
	add("bounds: two thousand fields", post(many.String()+"Content-Length: 5", "hello"))
	all = append(all,
		smuggle{name: "bounds: empty lines without end", text: strings.Repeat("\r\n", 50_000) + post("Content-Length: 5", "hello")},
		smuggle{name: "expect: unknown", text: post("Expect: 200-maybe\r\nContent-Length: 5", "hello")},
		smuggle{name: "expect: two", text: post("Expect: 100-continue, x\r\nContent-Length: 5", "hello")},
	)
	return all
}
