package proxy_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/proxy/replay"
	"github.com/mmsrouter/mmsrouter/router"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// memory is what the proxy says that its buffers take.
func memory(t *testing.T, reg *prometheus.Registry) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "mmsrouter_proxy_replay_memory_bytes" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no metric of the buffers")
	return 0
}

// A head that comes in two pieces and just fits a small buffer leaves no room there for the PDU's own head, by which the
// request is routed: an M-Acknowledge.ind that is not known as one would be confirmed by an MMSC that does not hold the message.
func TestAHeadThatFillsItsBuffer(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := start(t, 2, func(c *proxy.Config, o *proxy.Options) { c.Unreadable, o.Metrics = "refuse", reg })
	for _, room := range []int{0, 1, 2, 9, 40} {
		t.Run(fmt.Sprintf("%d octets of room", room), func(t *testing.T) {
			nc, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			tid := fmt.Sprintf("t%d", room)
			body := pdu.SendReq(tid, 3000)
			head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: mms.example.net\r\nConnection: close\r\nContent-Length: %d\r\nX-Long: ", len(body))
			head += strings.Repeat("x", replay.Small-room-len(head)-4) + "\r\n\r\n"
			if _, err := nc.Write([]byte(head[:1000])); err != nil {
				t.Fatal(err)
			}
			await(t, "the first piece stands in a small buffer", func() bool { return memory(t, reg) == replay.Small })
			if _, err := nc.Write(append([]byte(head[1000:]), body...)); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(nc)
			if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200 ") {
				t.Fatalf("answer %.200q, %v", got, err)
			}
			if f := b.fate(tid, 1); f[0].PDU != "m-send-req" || f[0].Result != "answered" {
				t.Fatalf("fate %+v", f)
			}
			await(t, "all buffers are back", func() bool { return memory(t, reg) == 0 })
		})
	}
}

// The embedded MMSC that takes a message over behind an ambiguous result gets an extra copy: it is marked and counted like any.
func TestLocalBehindAnAmbiguousResultIsMarked(t *testing.T) {
	b := start(t, 2, func(c *proxy.Config, o *proxy.Options) {
		c.WhenAllDown = "local"
		o.Upstreams[1].Name = router.LocalName
	})
	b.mmscs[0].Behave(fakemmsc.StoreAndDie(fakemmsc.RST))
	if a := b.post(b.handset(), pdu.SendReq("t1", 500)); a.PDU.Response != pdu.Ok {
		t.Fatalf("answer %+v", a)
	}
	got := b.mmscs[1].Records()
	if len(got) != 1 || got[0].Attempt != "3" {
		t.Fatalf("the embedded MMSC got %+v", got)
	}
}

// What a handset makes up is kept in the fence and in the records; a few thousand odd messages must not fill the memory.
func TestLongNamesAreNotKept(t *testing.T) {
	b := start(t, 1, nil)
	h := b.handset()
	tid := strings.Repeat("t", 7000)
	if a := b.post(h, pdu.SendReq(tid, 20_000)); a.PDU.Response != pdu.Ok {
		t.Fatalf("answer %+v", a)
	}
	if f := b.fate(tid, 1); f[0].Transaction != tid[:256] {
		t.Fatalf("%d octets of the transaction id are kept", len(f[0].Transaction))
	}
	if a := b.post(h, pdu.SendReqFrom("t2", strings.Repeat("x", 7000)+"@example.com", 20_000)); a.PDU.Response != pdu.Ok {
		t.Fatalf("answer %+v", a)
	}
	if f := b.fate("t2", 1); f[0].Identity != "" || b.p.Shared().Len() != 0 {
		t.Fatalf("%d octets of identity in the record, %d entries in the fence", len(f[0].Identity), b.p.Shared().Len())
	}
	if a := b.post(h, pdu.SendReqFrom("t3", "x@example.com", 20_000)); a.PDU.Response != pdu.Ok || b.p.Shared().Len() != 1 {
		t.Fatalf("answer %+v, %d entries in the fence", a, b.p.Shared().Len())
	}
}
