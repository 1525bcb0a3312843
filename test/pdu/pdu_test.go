package pdu_test

import (
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

func TestSendReqHasItsSize(t *testing.T) {
	for _, size := range []int{120, 200, 201, 1000, 1024, 30_000, 100_000, 300_000, 5 << 20} {
		b := pdu.SendReq("T-77", size)
		if len(b) != size {
			t.Errorf("size %d: got %d octets", size, len(b))
		}
		f, ok := pdu.Read(b)
		if !ok || f.Type != pdu.TypeSendReq || f.Transaction != "T-77" {
			t.Errorf("size %d: read %v, %v", size, f, ok)
		}
	}
}

// Both readers, this one and the product's, must see the same in what we build.
func TestReadAgreesWithPeek(t *testing.T) {
	for _, c := range []struct {
		name string
		body []byte
		want pdu.Facts
	}{
		{"send", pdu.SendReqFrom("a1", "+46701234567/TYPE=PLMN", 300), pdu.Facts{Type: 0x80, Transaction: "a1"}},
		{"send conf", pdu.SendConf("a2", pdu.Transient, "m@x"), pdu.Facts{Type: 0x81, Transaction: "a2", MessageID: "m@x", Response: 0xC0}},
		{"retrieve conf", pdu.RetrieveConf("a3", "m@x", 400), pdu.Facts{Type: 0x84, Transaction: "a3", MessageID: "m@x", Retrieve: 0x80}},
		{"retrieve error", pdu.RetrieveError("a4", pdu.NotFound), pdu.Facts{Type: 0x84, Transaction: "a4", Retrieve: 0xE2}},
		{"notify resp", pdu.NotifyResp("a5", pdu.Retrieved), pdu.Facts{Type: 0x83, Transaction: "a5"}},
		{"acknowledge", pdu.Acknowledge("a6"), pdu.Facts{Type: 0x85, Transaction: "a6"}},
		{"read rec", pdu.ReadRec("m@x"), pdu.Facts{Type: 0x87, MessageID: "m@x"}},
		{"forward", pdu.ForwardReq("a7", "http://mms/x"), pdu.Facts{Type: 0x89, Transaction: "a7", Location: "http://mms/x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := pdu.Read(c.body)
			if !ok || got != c.want {
				t.Errorf("read %v, %v; want %v", got, ok, c.want)
			}
			var h mms.Head
			if st := h.Peek(c.body, true); st != mms.Complete {
				t.Errorf("Peek says %v", st)
			}
			if byte(h.Type) != c.want.Type || string(h.TransactionID) != c.want.Transaction ||
				string(h.MessageID) != c.want.MessageID || string(h.ContentLocation) != c.want.Location {
				t.Errorf("Peek sees type %v transaction %q message-id %q location %q", h.Type, h.TransactionID, h.MessageID, h.ContentLocation)
			}
		})
	}
}

func TestReadCutsNeverPanic(t *testing.T) {
	whole := pdu.SendReqFrom("transaction", "+46701234567/TYPE=PLMN", 200)
	for i := range whole {
		pdu.Read(whole[:i])
	}
	if _, ok := pdu.Read([]byte("<html>")); ok {
		t.Error("HTML was taken for a PDU")
	}
}
