package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/router"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// allocsPerMessage is what a forwarded message may allocate, fence, fate and metrics included. It is a guard: raise
// it only with a reason.
const allocsPerMessage = 12

// TestAllocationsPerMessage counts what the whole process allocates for one message; client and MMSC of this test
// allocate nothing.
func TestAllocationsPerMessage(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates on its own")
	}
	body := pdu.SendReq("T0000000", 30_000)
	at := bytes.Index(body, []byte("T0000000")) + 1
	conf := mms.SendConf{TransactionID: []byte("T0000000"), Version: 0x92, Status: 0x80, MessageID: "1@a"}.Append(nil)
	confAt := bytes.Index(conf, []byte("T0000000")) + 1
	answer := append([]byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.wap.mms-message\r\nContent-Length: %d\r\n\r\n", len(conf))), conf...)
	confAt += len(answer) - len(conf)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // the MMSC: the transaction id stands at the same place of each body
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				buf := make([]byte, 64<<10)
				for n := 0; ; n = 0 {
					for end := -1; end < 0 || n < end+4+len(body); {
						k, err := nc.Read(buf[n:])
						if err != nil {
							return
						}
						n += k
						end = bytes.Index(buf[:n], []byte("\r\n\r\n"))
					}
					copy(answer[confAt:], buf[n-len(body)+at:][:7])
					if _, err := nc.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	b := start(t, 0, func(_ *proxy.Config, o *proxy.Options) {
		o.Upstreams = []proxy.Upstream{{Name: "a", URL: "http://" + l.Addr().String()}}
		if err := o.Board.Configure([]router.Target{{Name: "a", Weight: 1}}, o.Board.Load().Zones, nil); err != nil {
			t.Fatal(err)
		}
	})
	b.verdict("a", true)

	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	request := append([]byte(fmt.Sprintf("POST / HTTP/1.1\r\nHost: mms.example.net\r\nX-MSISDN: +46701111111\r\n"+
		"Content-Type: application/vnd.wap.mms-message\r\nContent-Length: %d\r\n\r\n", len(body))), body...)
	place := at + len(request) - len(body)
	got := make([]byte, 4096)
	seq := 0
	one := func() {
		seq++
		id := strconv.AppendInt(request[place:place:place+7], int64(1_000_000+seq), 10)
		if _, err := nc.Write(request); err != nil {
			t.Fatal(err)
		}
		n := 0
		for !bytes.HasSuffix(got[:n], []byte("1@a\x00")) {
			k, err := nc.Read(got[n:])
			if err != nil {
				t.Fatalf("message %d: %v after %q; %+v", seq, err, got[:n], b.p.Fate(string(request[place-1:place+7])))
			}
			n += k
		}
		if !bytes.Contains(got[:n], id) {
			t.Fatalf("the answer is not of transaction %s", id)
		}
	}
	for range 20_000 { // fence and fate are bounded rings: fill them
		one()
	}
	n := testing.AllocsPerRun(5000, one)
	t.Logf("%.1f allocations a message", n)
	if n > allocsPerMessage {
		t.Errorf("%.1f allocations a message, want at most %d", n, allocsPerMessage)
	}
	if _, err := nc.Write([]byte("GET")); err != nil && err != io.EOF {
		t.Fatal(err)
	}
}
