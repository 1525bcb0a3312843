package mms_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

var (
	date   = time.Unix(0x6553F100, 0).UTC()
	after  = mms.When{After: 48 * time.Hour}
	until  = mms.When{At: date}
	number = func(n uint64) *uint64 { return &n }
)

func parts(t testing.TB) []wsp.Part {
	t.Helper()
	smil, err := mms.NewPart(wsp.Media(wsp.SMIL, "charset", "utf-8", "name", "0.smil"), "smil", "0.smil", []byte("<smil/>"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := mms.NewPart(wsp.Media("text/plain", "name", "text0.txt", "charset", "utf-8"), "text0", "text0.txt", []byte("Grüße"))
	if err != nil {
		t.Fatal(err)
	}
	return []wsp.Part{smil, text}
}

func related() wsp.ContentType {
	return wsp.Media(wsp.MultipartRelated, "start", "<smil>", "type", wsp.SMIL)
}

// sample is a PDU of each type, built by this package. oracle says whether the
// independent reader knows the type and all its fields.
type sample struct {
	name   string
	pdu    []byte
	oracle bool
}

func samples(t testing.TB) []sample {
	t.Helper()
	with := func(head []byte) []byte {
		b, err := mms.Message(head, parts(t))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	view := mms.MboxDescr{ContentLocation: "http://m/1", MessageID: "id1", State: mms.StateNew}.AppendHead(nil)
	viewBody, err := mms.Message(mms.MboxViewConf{TransactionID: "T", Status: mms.StatusOk, Totals: []mms.MboxSize{{N: 3}, {Octets: true, N: 40000}},
		Quotas: []mms.MboxSize{{N: 100}}, Count: number(1)}.AppendHead(nil), []wsp.Part{{ContentType: wsp.Media(wsp.MMSMessage), Data: view}})
	if err != nil {
		t.Fatal(err)
	}
	upload := mms.MboxUploadReq{TransactionID: "T", State: mms.StateDraft, Flags: []mms.MMFlag{{mms.FlagAdd, "work"}}}.AppendHead(nil)
	c := related()
	return []sample{
		{"m-send-req", with(mms.SendReq{TransactionID: "T1", Date: date, To: []string{"+46701234567/TYPE=PLMN", "112"}, Cc: []string{"anna@example.net"},
			Bcc: []string{"+46701234568/TYPE=PLMN"}, Subject: "Grüße", Class: "Personal", Expiry: &after, DeliveryTime: &until, Priority: mms.High,
			HideSender: true, DeliveryReport: mms.Yes, ReadReport: mms.No, ContentType: related()}.AppendHead(nil)), true},
		{"m-send-req of 1.3", with(mms.SendReq{TransactionID: "T1", Version: mms.Version13, From: "+46701234567/TYPE=PLMN", To: []string{"+1/TYPE=PLMN"}, Class: "our-own",
			ReplyCharging: 0x80, ReplyChargingDeadline: &after, ReplyChargingSize: 5000, Store: mms.Yes, ApplicID: "app", ReplyApplicID: "rep", AuxApplicInfo: "aux",
			ContentClass: 0x81, DRMContent: mms.No, AdaptationAllowed: mms.Yes, ContentType: related()}.AppendHead(nil)), false},
		{"m-send-conf", mms.SendConf{TransactionID: []byte("T1"), Version: mms.Version12, Status: mms.StatusOk, Text: "fine", MessageID: "id@host",
			ContentLocation: "http://m/1", Store: mms.StatusOk, StoreText: "kept"}.Append(nil), true},
		{"m-notification-ind", mms.Notification{TransactionID: "T1001", From: "+447700900123/TYPE=PLMN", Subject: "тест", Size: 24348, Expiry: after,
			DeliveryReport: mms.Yes, Priority: mms.Normal, ContentLocation: "http://mmsc.example.net/m/AbC123"}.Append(nil), true},
		{"m-notification-ind of 1.3", mms.Notification{TransactionID: "T1001", Version: mms.Version13, Size: 1, Expiry: until, Distribution: mms.Yes, ApplicID: "app",
			ReplaceID: "old", ContentClass: 0x80, DRMContent: mms.Yes, ContentLocation: "http://x/1"}.Append(nil), false},
		{"m-notifyresp-ind", mms.NotifyResp{TransactionID: "T1001", Status: mms.Retrieved, ReportAllowed: mms.Yes}.Append(nil), true},
		{"m-retrieve-conf", with(mms.Retrieve{TransactionID: "T2", MessageID: "id", Date: date, From: "+46701234567/TYPE=PLMN", To: []string{"+1/TYPE=PLMN", "+2/TYPE=PLMN"},
			Cc: []string{"å@x"}, Subject: "s", Class: "Informational", Priority: mms.Low, DeliveryReport: mms.No, ReadReport: mms.Yes, Status: mms.StatusOk, StatusText: "ok",
			PreviouslySent: []mms.PreviousHop{{Count: 0, By: "+3/TYPE=PLMN", At: date}, {Count: 1, By: "+4/TYPE=PLMN"}}, ContentType: related()}.AppendHead(nil)), true},
		{"m-retrieve-conf of an error", mms.RetrieveError{Version: mms.Version12, Date: date, Status: 0xE2, Text: "gone"}.Append(nil), true},
		{"m-acknowledge-ind", mms.Acknowledge{TransactionID: "R2001", ReportAllowed: mms.Yes}.Append(nil), true},
		{"m-delivery-ind", mms.DeliveryReport{MessageID: "id", To: "+1/TYPE=PLMN", Date: date, Status: mms.Retrieved}.Append(nil), true},
		{"m-read-rec-ind", mms.ReadReport{Type: mms.MReadRecInd, MessageID: "id", To: "+1/TYPE=PLMN", Date: date, Status: mms.Read}.Append(nil), true},
		{"m-read-orig-ind", mms.ReadReport{Type: mms.MReadOrigInd, MessageID: "id", To: "+1/TYPE=PLMN", From: "+2/TYPE=PLMN", Date: date, Status: mms.DeletedUnread}.Append(nil), true},
		{"m-forward-req", mms.ForwardReq{TransactionID: "T", Date: date, To: []string{"+1/TYPE=PLMN"}, Expiry: &after, ReportAllowed: mms.Yes, DeliveryReport: mms.Yes,
			ReadReport: mms.No, Store: mms.Yes, State: mms.StateForwarded, Flags: []mms.MMFlag{{mms.FlagRemove, "x"}}, ContentLocation: "http://x/1"}.Append(nil), true},
		{"m-forward-conf", mms.ForwardConf{TransactionID: []byte("T"), Version: mms.Version12, Status: mms.StatusOk, MessageID: "id"}.Append(nil), true},
		{"m-mbox-store-req", mms.MboxStoreReq{TransactionID: "T", ContentLocation: "http://x/1", State: mms.StateSent, Flags: []mms.MMFlag{{mms.FlagAdd, "wörk"}}}.Append(nil), true},
		{"m-mbox-store-conf", mms.StoreConf{Type: mms.MMboxStoreConf, TransactionID: []byte("T"), Version: mms.Version12, Status: 0xE4, Text: "full"}.Append(nil), true},
		{"m-mbox-view-req", mms.MboxViewReq{TransactionID: "T", ContentLocations: []string{"http://x/1", "http://x/2"}, States: []mms.MMState{mms.StateNew},
			Flags: []mms.MMFlag{{mms.FlagFilter, "work"}}, Start: number(0), Limit: number(300), Attributes: []mms.Field{mms.FieldSubject, mms.FieldContent},
			Totals: mms.Yes, Quotas: mms.No}.Append(nil), true},
		{"m-mbox-view-conf", viewBody, true},
		{"m-mbox-upload-req", append(upload, with(mms.MboxDescr{ContentLocation: "http://x/1", ContentType: &c}.AppendHead(nil))...), true},
		{"m-mbox-upload-conf", mms.StoreConf{Type: mms.MMboxUploadConf, TransactionID: []byte("T"), Version: mms.Version12, Status: mms.StatusOk, ContentLocation: "http://x/9"}.Append(nil), true},
		{"m-mbox-delete-req", mms.DeleteReq{Type: mms.MMboxDeleteReq, TransactionID: "T", ContentLocations: []string{"http://x/1", "http://x/2"}}.Append(nil), true},
		{"m-mbox-delete-conf", mms.DeleteConf{Type: mms.MMboxDeleteConf, TransactionID: []byte("T"), Version: mms.Version12, Results: []mms.DeleteResult{
			{ContentLocation: "http://x/1", Status: mms.StatusOk}, {ContentLocation: "http://x/2", Status: 0xE4, Text: "gone"}}}.Append(nil), false},
		{"m-mbox-descr", with(mms.MboxDescr{ContentLocation: "http://x/1", MessageID: "id", State: mms.StateRetrieved, Flags: []mms.MMFlag{{mms.FlagAdd, "a"}}, ContentType: &c}.AppendHead(nil)), false},
		{"m-delete-req", mms.DeleteReq{Type: mms.MDeleteReq, TransactionID: "T", Version: mms.Version13, ContentLocations: []string{"http://x/1"}}.Append(nil), false},
		{"m-delete-conf", mms.DeleteConf{Type: mms.MDeleteConf, TransactionID: []byte("T"), Version: mms.Version13, Results: []mms.DeleteResult{{Status: 0xE4}}}.Append(nil), false},
		{"m-cancel-req", mms.CancelReq{TransactionID: "T", CancelID: "id"}.Append(nil), false},
		{"m-cancel-conf", mms.CancelConf{TransactionID: []byte("T"), Version: mms.Version13, Status: 0x80}.Append(nil), false},
	}
}

// Every PDU that is built can be peeked into and decoded, lacks nothing, has a
// text for each of its values, and is the same when it is built of those.
func TestBuilt(t *testing.T) {
	seen := make(map[mms.Type]bool)
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			p, err := mms.Decode(s.pdu)
			if err != nil {
				t.Fatal(err)
			}
			seen[p.Type] = true
			if err := p.Check(); err != nil {
				t.Error(err)
			}
			var h mms.Head
			if st := h.Peek(s.pdu, true); st != mms.Complete || h.Type != p.Type || int64(h.Size) != p.BodyOffset {
				t.Errorf("peek: %v, %v, %d octets of head, decode has %d", st, h.Type, h.Size, p.BodyOffset)
			}
			if !bytes.Equal(h.TransactionID, p.TransactionID()) || h.Version != p.Version() {
				t.Errorf("peek and decode differ: %q %v, %q %v", h.TransactionID, h.Version, p.TransactionID(), p.Version())
			}
			for _, h := range p.Headers {
				text, ok := h.Text()
				again, err := mms.ParseHeader(p.Type, h.Name(), text)
				if !ok || err != nil || !bytes.Equal(again.Wire, h.Wire) {
					t.Errorf("%s %q %v: %x, %x, %v", h.Name(), text, ok, h.Wire, again.Wire, err)
				}
			}
			if !bytes.Equal(p.Encode(), s.pdu) {
				t.Error("encode differs")
			}
		})
	}
	for _, typ := range mms.Types() {
		if !seen[typ] {
			t.Errorf("no sample of %v", typ)
		}
	}
}

// The samples that stand in the notes on the standard, octet by octet.
func TestBuiltOctets(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		got        []byte
	}{
		{"send.conf", "8C81 98 'T18c3a1' 00 8D92 9280 8B 'AbC123@mmsc.example.net' 00",
			mms.SendConf{TransactionID: []byte("T18c3a1"), Version: mms.Version12, Status: mms.StatusOk, MessageID: "AbC123@mmsc.example.net"}.Append(nil)},
		{"notifyresp", "8C83 98 'T1001' 00 8D92 9581 9180", mms.NotifyResp{TransactionID: "T1001", Status: mms.Retrieved, ReportAllowed: mms.Yes}.Append(nil)},
		{"acknowledge", "8C85 98 'R2001' 00 8D92 9180", mms.Acknowledge{TransactionID: "R2001", ReportAllowed: mms.Yes}.Append(nil)},
		{"delivery", "8C86 8D92 8B 'id' 00 97 '+1' 00 85 04 6553F22C 9581",
			mms.DeliveryReport{MessageID: "id", To: "+1", Date: time.Unix(0x6553F22C, 0), Status: mms.Retrieved}.Append(nil)},
		{"read.rec", "8C87 8D92 8B 'id' 00 97 '+1' 00 89 01 81 85 04 6553F484 9B80",
			mms.ReadReport{Type: mms.MReadRecInd, MessageID: "id", To: "+1", Date: time.Unix(0x6553F484, 0), Status: mms.Read}.Append(nil)},
		{"notification", "8C82 98 'T1001' 00 8D92 89 19 80 '+447700900123/TYPE=PLMN' 00 8A80 8E 02 5F1C 88 05 81 03 02A300 83 'http://mmsc.example.net/m/AbC123' 00",
			mms.Notification{TransactionID: "T1001", From: "+447700900123/TYPE=PLMN", Size: 24348, Expiry: after, ContentLocation: "http://mmsc.example.net/m/AbC123"}.Append(nil)},
		{"a content type with SMIL", "8C80 98 'T' 00 8D92 89 01 81 97 '1' 00 84 1B B3 8A '<smil>' 00 89 'application/smil' 00",
			mms.SendReq{TransactionID: "T", To: []string{"1"}, ContentType: related()}.AppendHead(nil)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if want := unhex(t, tc.want); !bytes.Equal(tc.got, want) {
				t.Errorf("\n got %x\nwant %x", tc.got, want)
			}
		})
	}
}

func TestGetters(t *testing.T) {
	byName := make(map[string]*mms.PDU)
	for _, s := range samples(t) {
		p, err := mms.Decode(s.pdu)
		if err != nil {
			t.Fatal(err)
		}
		byName[s.name] = p
	}
	send := byName["m-send-req"]
	if _, insert := send.From(); !insert {
		t.Error("the sender asks for its address to be inserted")
	}
	if got := send.Recipients(); !slices.Equal(got, []string{"+46701234567/TYPE=PLMN", "112", "anna@example.net", "+46701234568/TYPE=PLMN"}) {
		t.Errorf("recipients %q", got)
	}
	if w, ok := send.When(mms.FieldExpiry); !ok || w.From(date) != date.Add(48*time.Hour) {
		t.Errorf("expiry %v %v", w, ok)
	}
	if w, ok := send.When(mms.FieldDeliveryTime); !ok || w.From(time.Time{}) != date {
		t.Errorf("delivery time %v %v", w, ok)
	}
	if send.Subject() != "Grüße" || send.Priority() != mms.High || !send.HideSender() || !send.Flag(mms.FieldDeliveryReport, false) || send.Flag(mms.FieldReadReport, true) {
		t.Error("subject, priority, visibility or reports")
	}
	if at, ok := send.Date(); !ok || at != date {
		t.Errorf("date %v", at)
	}
	if p := byName["m-send-req of 1.3"]; p.Class() != "our-own" || p.Text(mms.FieldContentClass) != "image-basic" {
		t.Error("class or content class")
	}
	if n, ok := byName["m-notification-ind"].Number(mms.FieldMessageSize); !ok || n != 24348 {
		t.Errorf("size %d", n)
	}
	retrieved := byName["m-retrieve-conf"]
	want := []mms.PreviousHop{{Count: 0, By: "+3/TYPE=PLMN", At: date}, {Count: 1, By: "+4/TYPE=PLMN"}}
	if got := retrieved.PreviouslySent(); !slices.Equal(got, want) {
		t.Errorf("hops %v", got)
	}
	if got := byName["m-mbox-delete-conf"].Results(); !slices.Equal(got, []mms.DeleteResult{{ContentLocation: "http://x/1", Status: 0x80}, {ContentLocation: "http://x/2", Status: 0xE4, Text: "gone"}}) {
		t.Errorf("results %v", got)
	}
	if got := byName["m-mbox-store-req"].Flags(); !slices.Equal(got, []mms.MMFlag{{mms.FlagAdd, "wörk"}}) {
		t.Errorf("flags %v", got)
	}
	if got := byName["m-notifyresp-ind"]; got.Status() != mms.Retrieved || got.HideSender() || got.Priority() != mms.Normal || got.Class() != "Personal" {
		t.Error("status or defaults")
	}
}

func TestEditHeaders(t *testing.T) {
	p, err := mms.Decode(unhex(t, "8C80 98 'T' 00 8D92 97 '1' 00 96 'a' 00 97 '2' 00"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := mms.ParseHeader(p.Type, "to", "3")
	if err != nil {
		t.Fatal(err)
	}
	p.Set(h)
	if got := p.To(); !slices.Equal(got, []string{"3"}) {
		t.Errorf("set: %q", got)
	}
	p.Remove(mms.FieldSubject, mms.FieldTransactionID)
	own, err := mms.ParseHeader(p.Type, "X-Own", "é")
	if err != nil {
		t.Fatal(err)
	}
	p.Add(own)
	if want := unhex(t, "8C80 8D92 97 '3' 00 'X-Own' 00 7F C3A9 00"); !bytes.Equal(p.Encode(), want) {
		t.Errorf("%x", p.Encode())
	}
}

// A submission becomes what a recipient retrieves: what is not the recipient's
// to see is gone, the body is untouched.
func TestAppendRetrieve(t *testing.T) {
	head := unhex(t, "8C80 98 'T1' 00 8D92 89 01 81 97 '+1/TYPE=PLMN' 00 81 '+2/TYPE=PLMN' 00 88 05 81 03 02A300 87 05 81 03 02A300 9480 8F82 9080 8680 A280 C5 80 "+
		"96 09 0203E8 0041 00 E5 00 00 'X-Own' 00 'v' 00 BA 81 84 B3")
	pdu, err := mms.Message(head, parts(t))
	if err != nil {
		t.Fatal(err)
	}
	p, err := mms.Decode(pdu)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		o    mms.RetrieveOptions
		want string
	}{
		{"a modern handset", mms.RetrieveOptions{TransactionID: "R1", Version: mms.Version13, MessageID: "id", Date: date, From: "+9/TYPE=PLMN", Status: mms.StatusOk},
			"8C84 98 'R1' 00 8D93 8B 'id' 00 85 04 6553F100 89 0E 80 '+9/TYPE=PLMN' 00 97 '+1/TYPE=PLMN' 00 8F82 9080 8680 96 05 EA 'A' C3A5 00 'X-Own' 00 'v' 00 BA81 9980 84 B3"},
		{"one of MMS 1.0, sender hidden", mms.RetrieveOptions{Version: mms.Version10, MessageID: "id", Date: date, Status: mms.StatusOk},
			"8C84 8D90 8B 'id' 00 85 04 6553F100 97 '+1/TYPE=PLMN' 00 8F82 9080 8680 96 05 EA 'A' C3A5 00 'X-Own' 00 'v' 00 84 B3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := p.AppendRetrieve(nil, tc.o)
			if want := unhex(t, tc.want); !bytes.Equal(got, want) {
				t.Errorf("\n got %x\nwant %x", got, want)
			}
			out, err := mms.Decode(append(got, p.Body...))
			if err != nil {
				t.Fatal(err)
			}
			if err := out.Check(); err != nil || !bytes.Equal(out.Body, p.Body) || len(out.Parts) != 2 {
				t.Errorf("%v, %d parts", err, len(out.Parts))
			}
		})
	}
}
