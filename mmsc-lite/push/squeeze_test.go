package push

import (
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
)

func TestSqueeze(t *testing.T) {
	build := func(subject string, url int) []byte {
		p, err := mms.Decode(mms.Notification{TransactionID: "T1", From: "+447700900123/TYPE=PLMN", Subject: subject, Size: 1000, ContentLocation: "http://m.example.net/" + strings.Repeat("x", url)}.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		h, err := mms.ParseHeader(mms.MNotificationInd, "X-Mms-Priority", "high")
		if err != nil {
			t.Fatal(err)
		}
		p.Add(h)
		return p.Append(nil)
	}
	for _, tc := range []struct {
		name    string
		pdu     []byte
		most    int
		fits    bool
		subject string
		from    bool
	}{
		{"fits as it is", build("Holiday picture", 10), 200, true, "Holiday picture", true},
		{"a shorter subject", build("Holiday pictures of us all", 10), 102, true, "Holiday pictures of", true},
		{"a subject of many octets", build("Ferienbilder für äöü und ñandúes", 10), 110, true, "Ferienbilder für äöü", true},
		{"no subject", build("Holiday pictures of us all", 20), 98, true, "", true},
		{"no sender", build("Holiday pictures of us all", 40), 90, true, "", false},
		{"what must stay is too long", build("Holiday", 200), 90, false, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, changed := squeeze(tc.pdu, tc.most)
			p, err := mms.Decode(out)
			if err != nil {
				t.Fatal(err)
			}
			if (len(out) <= tc.most) != tc.fits || changed != (len(tc.pdu) > tc.most) {
				t.Errorf("%d octets of %d, changed %v", len(out), len(tc.pdu), changed)
			}
			if p.Subject() != tc.subject || p.Has(mms.FieldFrom) != tc.from || p.ContentLocation() == "" || string(p.TransactionID()) != "T1" || !p.Has(mms.FieldMessageSize) || !p.Has(mms.FieldMessageClass) {
				t.Errorf("subject %q, from %v, %d octets", p.Subject(), p.Has(mms.FieldFrom), len(out))
			}
			if err := p.Check(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, pdu := range [][]byte{nil, []byte("garbage that is long"), mms.DeliveryReport{MessageID: "a@b", To: "+4670"}.Append(nil)} {
		if out, changed := squeeze(pdu, 5); changed || string(out) != string(pdu) {
			t.Errorf("%x becomes %x", pdu, out)
		}
	}
}

func TestReceiptsMatch(t *testing.T) {
	for _, tc := range []struct {
		name, submitted, receipt string
		found                    bool
	}{
		{"equal", "abc-1", "ABC-1", true},
		{"hexadecimal, then decimal", "1A2B", "6699", true},
		{"decimal, then hexadecimal", "0006699", "1a2b", true},
		{"another", "1A2B", "6700", false},
		{"none", "", "", false},
	} {
		for _, early := range []bool{false, true} {
			t.Run(tc.name+map[bool]string{true: ", before the answer was noted"}[early], func(t *testing.T) {
				var r receipts
				sent := func() []Outcome { return r.sent(sms.Sent{SMSC: "a", IDs: []string{tc.submitted}}, Outcome{ID: "p"}) }
				rec := sms.Receipt{SMSC: "a", ID: tc.receipt, State: smpp.Delivered}
				if early {
					if _, ok := r.came(rec); ok {
						t.Fatal("found before it was sent")
					}
					if got := sent(); (len(got) == 1) != tc.found || tc.found && (got[0].ID != "p" || got[0].State != smpp.Delivered) {
						t.Errorf("%+v", got)
					}
					return
				}
				sent()
				if _, ok := r.came(sms.Receipt{SMSC: "b", ID: tc.receipt}); ok {
					t.Error("the id of another SMSC")
				}
				if got, ok := r.came(rec); ok != tc.found || ok && (got.ID != "p" || got.State != smpp.Delivered) {
					t.Errorf("%+v, %v", got, ok)
				}
			})
		}
	}
	// Two ids that mean the same number in different ways: the text decides.
	var r receipts
	r.sent(sms.Sent{SMSC: "a", IDs: []string{"10"}}, Outcome{ID: "ten"})
	r.sent(sms.Sent{SMSC: "a", IDs: []string{"16"}}, Outcome{ID: "sixteen"})
	if got, ok := r.came(sms.Receipt{SMSC: "a", ID: "16"}); !ok || got.ID != "sixteen" {
		t.Errorf("%+v", got)
	}
}
