package dispatcher_test

import (
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
)

func TestRead(t *testing.T) {
	part := func(c wsp.ContentType, name string, data string) wsp.Part {
		p, err := mms.NewPart(c, name, name, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	var extra []mms.Header
	for name, value := range map[string]string{dispatcher.MarkService: "quiz", dispatcher.MarkHops: "2"} {
		h, err := mms.ParseHeader(mms.MSendReq, name, value)
		if err != nil {
			t.Fatal(err)
		}
		extra = append(extra, h)
	}
	head := mms.SendReq{TransactionID: "t1", From: "+46701234567/TYPE=PLMN", To: []string{"7000/TYPE=PLMN"}, Subject: "Ämne", Extra: extra,
		ContentType: wsp.Media(wsp.MultipartRelated, "start", "<smil>", "type", wsp.SMIL)}
	pdu, err := mms.Message(head.AppendHead(nil), []wsp.Part{
		part(wsp.Media(wsp.SMIL), "smil", "<smil/>"),
		part(wsp.Media("text/plain", "charset", "utf-16be"), "text.txt", "\x00B\x00\xe5"),
		part(wsp.Media("image/jpeg"), "a.jpg", "\xff\xd8"),
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := dispatcher.Read(pdu)
	if err != nil {
		t.Fatal(err)
	}
	if s.Subject != "Ämne" || !s.Reply || s.Hops != 2 || len(s.Parts) != 2 {
		t.Fatalf("%+v", s)
	}
	if string(s.Parts[0].Data) != "Bå" || s.Parts[0].Type != "text/plain; charset=utf-8" || s.Parts[1].Name != "a.jpg" || !strings.HasPrefix(s.Parts[1].Type, "image/jpeg") {
		t.Errorf("%+v", s.Parts)
	}
	for _, bad := range []string{"", "\x8c\x80", string(pdu[:40])} {
		if _, err := dispatcher.Read([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("\x8c\x80\x98t\x00\x8d\x92\x89\x01\x81\x84\x83hello"))
	f.Fuzz(func(t *testing.T, pdu []byte) {
		s, err := dispatcher.Read(pdu)
		if err != nil {
			return
		}
		for _, p := range s.Parts {
			if len(p.Data) > 4*len(pdu)+16 {
				t.Errorf("a part of %d octets out of %d", len(p.Data), len(pdu))
			}
		}
	})
}
