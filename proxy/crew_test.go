package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// TestClientsFollowOneAnother sends each message on a connection of its own, by goroutines that have served another client
// before: nothing of that one may be left.
func TestClientsFollowOneAnother(t *testing.T) {
	b := start(t, 1, func(c *proxy.Config, _ *proxy.Options) {
		c.ProxyProtocol = []string{"127.0.0.0/8"}
		c.Identity.Trusted = []string{"198.51.100.0/24"}
		c.AccessLog.Unmask = true
	})
	before := 0
	for i := range 200 {
		trusted := i%3 == 0
		from := fmt.Sprintf("203.0.113.%d", i%250)
		if trusted {
			from = fmt.Sprintf("198.51.100.%d", i%250)
		}
		nc, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		if i%7 == 6 { // one that ends before it said who it is
			if _, err := io.WriteString(nc, "PROXY nonsense\r\n"); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, nc) // until it is closed, politely or not
			nc.Close()
			continue
		}
		tid, number := fmt.Sprintf("f%06d", i), fmt.Sprintf("+467000%05d", i)
		body := pdu.SendReq(tid, 300+i*40)
		head := fmt.Sprintf("PROXY TCP4 %s 203.0.113.9 5555 80\r\nPOST / HTTP/1.1\r\nHost: mms.example.net\r\nX-WAP-Network-Client-MSISDN: %s\r\n"+
			"Content-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", from, number, pdu.ContentType, len(body))
		// octets behind the request are nobody's
		if _, err := nc.Write(append(append([]byte(head), body...), bytes.Repeat([]byte("x"), i%5)...)); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(nc) // octets left unread make the end a reset
		nc.Close()
		if !strings.HasPrefix(string(answer), "HTTP/1.1 200") || !strings.Contains(string(answer), tid) {
			t.Fatalf("message %d: %q", i, answer)
		}
		r := b.fate(tid, 1)[0]
		if r.Client != from || (r.Identity == number) != trusted || r.Octets != int64(len(body)) {
			t.Fatalf("message %d of %s, trusted %v: record %+v", i, from, trusted, r)
		}
		if i == 20 {
			before = runtime.NumGoroutine()
		}
	}
	if n := runtime.NumGoroutine(); n > before+20 {
		t.Errorf("%d goroutines after 20 connections, %d after 200", before, n)
	}
}
