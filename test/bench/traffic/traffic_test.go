package traffic_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/test/bench/traffic"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

func TestMessage(t *testing.T) {
	m := traffic.NewMessage("mms.example.net", "+467"+traffic.Mark, mms.SendReq{TransactionID: "t" + traffic.Mark, To: []string{"+4" + traffic.Mark + "/TYPE=PLMN"}}, 500)
	for _, n := range []int64{0, 42, 6_700_000_001} {
		m.Number(n)
		q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(m.Octets())))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(q.Body)
		if err != nil || len(body) != 500 {
			t.Fatalf("%d octets, %v", len(body), err)
		}
		digits := fmt.Sprintf("%010d", n)
		var h mms.Head
		if state := h.Peek(body, true); state == mms.Garbage || string(h.TransactionID) != "t"+digits {
			t.Errorf("%d: state %v, transaction %q", n, state, h.TransactionID)
		}
		if got := q.Header.Get("X-MSISDN"); got != "+467"+digits {
			t.Errorf("%d: subscriber %q", n, got)
		}
		if !bytes.Contains(body, []byte("+4"+digits+"/TYPE=PLMN")) || bytes.Contains(m.Octets(), []byte("#")) {
			t.Errorf("%d: %q", n, m.Octets()[:300])
		}
	}
}

func TestPost(t *testing.T) {
	answer := func(head string, body []byte) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\n%s: %d\r\n\r\n%s", head, len(body), body)
	}
	ok := pdu.SendConf("0000000007", pdu.Ok, "m1@example.net")
	for _, c := range []struct {
		name, answer, want string
	}{
		{"accepted", answer("Content-Length", ok), ""},
		{"another message's", answer("Content-Length", pdu.SendConf("0000000008", pdu.Ok, "m1@example.net")), "0000000007"},
		{"refused", answer("Content-Length", pdu.SendConf("0000000007", pdu.TransientNet, "")), "transient"},
		{"no PDU", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "503"},
		{"cut", answer("Content-Length", ok)[:60], "EOF"},
		{"without a length", answer("X", ok) + strings.Repeat(" ", 4096), "4 KiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := traffic.NewMessage("mms.example.net", "+46700000001", mms.SendReq{TransactionID: traffic.Mark, To: []string{"+46709000001/TYPE=PLMN"}}, 200)
			m.Number(7)
			ours, theirs := net.Pipe()
			defer ours.Close()
			go func() {
				defer theirs.Close()
				if _, err := io.ReadFull(theirs, make([]byte, len(m.Octets()))); err == nil {
					_, _ = io.WriteString(theirs, c.answer) // it is read or not: that is the test
				}
			}()
			err := m.Post(ours)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}

func TestEach(t *testing.T) {
	var done [100]atomic.Int32
	if err := traffic.Each(len(done), 7, traffic.Simply(func(k int) error { done[k].Add(1); return nil })); err != nil {
		t.Fatal(err)
	}
	for k := range done {
		if n := done[k].Load(); n != 1 {
			t.Errorf("%d was done %d times", k, n)
		}
	}
	fault := errors.New("a fault")
	if err := traffic.Each(10, 2, traffic.Simply(func(k int) error { return fault })); !errors.Is(err, fault) {
		t.Error(err)
	}
}
