package test_test

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// raw sends octets and gives everything that comes back until the other side ends. Our side ends when an answer
// has begun to come, or after a while without one; now: at once.
func raw(addr string, octets []byte, limit time.Duration, now bool) ([]byte, error) {
	nc, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	c := nc.(*net.TCPConn)
	c.SetDeadline(time.Now().Add(limit))
	var ended sync.Once
	end := func() { ended.Do(func() { c.CloseWrite() }) } // it fails only when all is over
	quiet := time.AfterFunc(300*time.Millisecond, end)
	defer quiet.Stop()
	var got []byte
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if got = append(got, buf[:n]...); err != nil {
				done <- err
				return
			}
			end()
		}
	}()
	if _, err := c.Write(octets); err == nil && now {
		end()
	}
	err = <-done
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return got, fmt.Errorf("the connection did not end within %s", limit)
	}
	return got, nil // a reset after the answer is an end too
}

// statuses gives the statuses of the answers in a stream of them, interim ones left out.
func statuses(stream []byte) (list []int) {
	for len(stream) > 0 {
		head, rest, ok := bytes.Cut(stream, []byte("\r\n\r\n"))
		f := strings.Fields(string(head[:min(len(head), 40)]))
		if !ok || len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/1.") {
			return append(list, -1)
		}
		code, err := strconv.Atoi(f[1])
		if err != nil {
			return append(list, -1)
		}
		if stream = rest; code < 200 {
			continue
		}
		list = append(list, code)
		n := 0
		for _, l := range strings.Split(string(head), "\r\n") {
			if v, ok := strings.CutPrefix(strings.ToLower(l), "content-length:"); ok {
				n, _ = strconv.Atoi(strings.TrimSpace(v)) // not a number: what follows will not parse
			}
		}
		stream = stream[min(n, len(stream)):]
	}
	return list
}

func TestSmuggling(t *testing.T) {
	cases := smuggles()
	if len(cases) < 134 {
		t.Fatalf("%d cases, want at least 134", len(cases))
	}
	seen := map[string]bool{}
	mmsc := fake(t, "mmsc-a")
	r := appliance.Start(t, appliance.Setup{MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: mmsc.URL()}}, MM1: []string{"timeouts: {linger: 500ms}"}})
	mmscHost := strings.TrimSuffix(strings.TrimPrefix(mmsc.URL(), "http://"), "/")
	for _, c := range cases {
		if seen[c.name] {
			t.Fatalf("two cases are named %q", c.name)
		}
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			before, seenAlready := mmsc.Counts(), len(mmsc.Requests())
			text := strings.ReplaceAll(c.text, "http://MMSC/", "http://"+mmscHost+"/")
			if !c.noTail {
				text += tail
			}
			stream, err := raw(r.MM1, []byte(text), 5*time.Second, false)
			if err != nil {
				t.Errorf("%v; so far %q", err, stream[:min(len(stream), 200)])
			}
			got := statuses(stream)
			switch {
			case len(got) == 0 && c.silent:
			case len(got) != 1:
				t.Errorf("answers %v, want one refusal: %q", got, stream[:min(len(stream), 300)])
			case got[0] < 400 || got[0] > 599:
				t.Errorf("answered %d", got[0])
			}
			// An honest message behind it passes through the same router and MMSC: whatever was on its way is there now.
			h := handsets.New(handsets.Options{Addr: r.MM1, Timeout: 5 * time.Second})
			defer h.Close()
			a, err := h.Post(t.Context(), pdu.SendReq("honest", 300), handsets.Fast)
			if o, why := handsets.Judge("honest", a, err); o != handsets.Accepted {
				t.Fatalf("an honest message behind it: %s %s", o, why)
			}
			after := mmsc.Counts()
			if n := after.Stored - before.Stored; n != 1 {
				t.Errorf("%d messages reached the MMSC besides the honest one", n-1)
			}
			if n := after.Bad - before.Bad; n != 0 {
				t.Errorf("%d requests that are none reached the MMSC", n)
			}
			if n := after.Heads - before.Heads; n != 1 && !c.body {
				t.Errorf("%d requests reached the MMSC besides the honest one", n-1)
			}
			for _, q := range mmsc.Requests()[seenAlready:] {
				if strings.Contains(q.Target, "smuggled") {
					t.Errorf("the smuggled request reached the MMSC")
				}
			}
		})
	}
	t.Logf("%d cases", len(cases))
}

// What is unusual but lawful passes, as one message, octet for octet.
func TestLawfulOddities(t *testing.T) {
	body := string(pdu.SendReq("odd", 300))
	n := len(body)
	cl := fmt.Sprintf("Content-Length: %d", n)
	chunk := func(sizes string, trailer string) string {
		return fmt.Sprintf("%s\r\n%s\r\n0\r\n%s\r\n", fmt.Sprintf(sizes, n), body, trailer)
	}
	var octets strings.Builder
	for i := range n {
		octets.WriteString("1\r\n" + body[i:i+1] + "\r\n")
	}
	octets.WriteString("0\r\n\r\n")
	var sixty strings.Builder
	for i := range 60 {
		fmt.Fprintf(&sixty, "X-Field-%d: value\r\n", i)
	}
	for _, c := range []struct {
		name, text string
		messages   int
	}{
		{"names in any case", "POST / HTTP/1.1\r\nhOST: mms.example.net\r\ncONTENT-lENGTH: " + strconv.Itoa(n) + "\r\n\r\n" + body, 1},
		{"no space after the colon", "POST / HTTP/1.1\r\nHost:mms.example.net\r\nContent-Length:" + strconv.Itoa(n) + "\r\n\r\n" + body, 1},
		{"spaces and tabs around values", "POST / HTTP/1.1\r\nHost: \t mms.example.net \t\r\nContent-Length:\t" + strconv.Itoa(n) + "  \r\n\r\n" + body, 1},
		{"absolute-form", "POST http://mms.example.net/ HTTP/1.1\r\nHost: mms.example.net\r\n" + cl + "\r\n\r\n" + body, 1},
		{"absolute-form in capitals", "POST HTTP://MMS.EXAMPLE.NET/ HTTP/1.1\r\nHost: mms.example.net\r\n" + cl + "\r\n\r\n" + body, 1},
		{"absolute-form without a path", "POST http://mms.example.net HTTP/1.1\r\nHost: mms.example.net\r\n" + cl + "\r\n\r\n" + body, 1},
		{"absolute-form wins over Host", "POST http://mms.example.net/ HTTP/1.1\r\nHost: evil.example\r\n" + cl + "\r\n\r\n" + body, 1},
		{"an empty line in front", "\r\nPOST / HTTP/1.1\r\nHost: mms.example.net\r\n" + cl + "\r\n\r\n" + body, 1},
		{"HTTP/1.0", "POST / HTTP/1.0\r\nHost: mms.example.net\r\n" + cl + "\r\n\r\n" + body, 1},
		{"HTTP/1.0 kept alive", "POST / HTTP/1.0\r\nHost: mms.example.net\r\nConnection: keep-alive\r\n" + cl + "\r\n\r\n" + body, 1},
		{"zeros in front of a length", post("Content-Length: 000"+strconv.Itoa(n), body), 1},
		{"Chunked in capitals", post("Transfer-Encoding: CHUNKED", chunk("%x", "")), 1},
		{"capital hex", post(chunked, chunk("%X", "")), 1},
		{"zeros in front of a chunk size", post(chunked, chunk("0000%x", "")), 1},
		{"chunk extension", post(chunked, chunk("%x;a=b", "")), 1},
		{"chunk extension, quoted", post(chunked, chunk(`%x;a="b;c"`, "")), 1},
		{"trailer", post(chunked, chunk("%x", "X-Checksum: 1\r\n")), 1},
		{"trailer that would change framing", post(chunked, chunk("%x", "Content-Length: 5\r\n")), 1},
		{"chunks of one octet", post(chunked, octets.String()), 1},
		{"octets above 7F in a value", post("X-A: caf\xe9\r\n"+cl, body), 1},
		{"empty value", post("X-A:\r\n"+cl, body), 1},
		{"a value of 8000 octets", post("X-A: "+strings.Repeat("a", 8000)+"\r\n"+cl, body), 1},
		{"sixty fields", post(sixty.String()+cl, body), 1},
		{"Connection names Content-Length", post("Connection: Content-Length\r\n"+cl, body), 1},
		{"Connection names Transfer-Encoding", post("Connection: Transfer-Encoding, close\r\n"+chunked, chunk("%x", "")), 1},
		{"Connection names Host", post("Connection: Host\r\n"+cl, body), 1},
		{"Upgrade to h2c", post("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"+cl, body), 1},
		{"Expect in capitals", post("Expect: 100-CONTINUE\r\n"+cl, body), 1},
		{"odd path and query", "POST //a/../b;c=d/%00?x=%2F&y=..// HTTP/1.1\r\nHost: mms.example.net\r\n" + cl + "\r\n\r\n" + body, 1},
		{"a field twice", post("Accept: */*\r\nAccept: application/vnd.wap.mms-message\r\n"+cl, body), 1},
		{"two in one write", post(cl, body) + post(cl, body), 2},
		{"chunked, then a length", post(chunked, chunk("%x", "")) + post(cl, body), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			mmsc := fake(t, "mmsc-a")
			r := appliance.Start(t, appliance.Setup{MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: mmsc.URL()}}})
			stream, err := raw(r.MM1, []byte(c.text), 5*time.Second, false)
			if err != nil {
				t.Error(err)
			}
			got := statuses(stream)
			if len(got) != c.messages {
				t.Fatalf("answers %v, want %d: %q", got, c.messages, stream[:min(len(stream), 300)])
			}
			for _, s := range got {
				if s != 200 {
					t.Errorf("answer %d: %q", s, stream[:min(len(stream), 300)])
				}
			}
			recs := mmsc.Records()
			if len(recs) != c.messages {
				t.Fatalf("%d messages at the MMSC, want %d", len(recs), c.messages)
			}
			for _, rec := range recs {
				if rec.Digest != digest([]byte(body)) || !rec.Stored {
					t.Errorf("the MMSC got %d octets that differ from ours", rec.Size)
				}
			}
			if k := mmsc.Counts(); k.Heads != c.messages || k.Bad != 0 {
				t.Errorf("the MMSC saw %+v", k)
			}
			for _, q := range mmsc.Requests() {
				for _, name := range []string{"Upgrade", "HTTP2-Settings", "Expect", "Proxy-Connection", "Keep-Alive", "TE", "Trailer"} {
					if v := q.All(name); len(v) > 0 {
						t.Errorf("hop-by-hop field %s: %q reached the MMSC", name, v)
					}
				}
			}
		})
	}
}

// A client may end its side of the connection right behind its request: what it sent is whole.
func TestHalfCloseBehindARequest(t *testing.T) {
	body := string(pdu.SendReq("half", 3000))
	for _, c := range []struct{ name, text string }{
		{"Content-Length", post(fmt.Sprintf("Content-Length: %d", len(body)), body)},
		{"chunked", post(chunked, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body))},
		{"retrieval", "GET /nothing HTTP/1.1\r\nHost: mms.example.net\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mmsc := fake(t, "mmsc-a")
			r := appliance.Start(t, appliance.Setup{MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: mmsc.URL()}}})
			stream, err := raw(r.MM1, []byte(c.text), 5*time.Second, true)
			if got := statuses(stream); err != nil || len(got) != 1 || got[0] != 200 && c.name != "retrieval" {
				t.Errorf("answers %v, %v", got, err)
			}
			if n := mmsc.Counts().Wholes; n != 1 {
				t.Errorf("%d requests at the MMSC, want 1", n)
			}
		})
	}
}
