package mmsc_test

import (
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
)

func TestMbox(t *testing.T) {
	l := newLab(t, func(o *mmsc.Options) { o.Config.Mbox.Enabled, o.Config.Mbox.MaxMessages = true, 3 })
	post := func(who string, p []byte) []byte {
		t.Helper()
		var header []string
		if who != "" {
			header = []string{"X-MSISDN", who}
		}
		_, b := l.do("POST", "/", p, header...)
		return b
	}
	l.sent(0x97, bob, 0x96, "Hi")
	location := "http://mms.example.net" + l.location(l.pushed(mms.MNotificationInd))
	storeReq := pdu(0x8C, 0x8B, 0x98, "S", 0x8D, 0x92, 0x83, location, 0xA4, 5, 0x80, "red")
	if h := l.peek(post("", storeReq)); h.Store != mms.StorePermanentServiceDenied {
		t.Errorf("stored for nobody: %v", h.Store)
	}
	h := l.peek(post(bob, storeReq))
	if h.Type != mms.MMboxStoreConf || h.Store != mms.StatusOk {
		t.Fatalf("%+v", h)
	}
	kept := string(h.ContentLocation)
	upload := append(pdu(0x8C, 0x8F, 0x98, "U", 0x8D, 0x92, 0x84, 0xBE, 0x8C, 0x93, 0x8D, 0x92, 0x96, "Draft", 0x84, 0xA3), 0)
	if h := l.peek(post(bob, upload)); h.Type != mms.MMboxUploadConf || h.Store != mms.StatusOk {
		t.Fatalf("%+v", h)
	}
	_, b := l.do("POST", "/", sendReq("K", []byte{0}, 0x97, carol, 0xA2, 0x80), "X-MSISDN", bob)
	if h := l.peek(b); h.Response != mms.StatusOk || h.Store != mms.StatusOk || !strings.Contains(string(h.ContentLocation), "/b/") {
		t.Errorf("Store with a submission: %+v", h)
	}
	if h := l.peek(post(bob, storeReq)); h.Store != mms.StorePermanentMMBoxFull {
		t.Errorf("a fourth message: %v", h.Store)
	}
	view := func(fields ...any) *mms.PDU {
		t.Helper()
		p, err := mms.Decode(post(bob, append(pdu(0x8C, 0x8D, 0x98, "V", 0x8D, 0x92), pdu(fields...)...)))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		name   string
		fields []any
		want   int
	}{
		{"all", nil, 3},
		{"a state", []any{0xA3, 0x80}, 1},
		{"a keyword", []any{0xA4, 5, 0x82, "red"}, 1},
		{"no such keyword", []any{0xA4, 5, 0x82, "sea"}, 0},
		{"from the second, one", []any{0xAF, 0x81, 0xB3, 0x81}, 1},
		{"by location, with content and totals", []any{0x83, kept, 0xA8, 0xAE, 0xA8, 0x96, 0xA9, 0x80, 0xAB, 0x80}, 1},
	} {
		if p := view(c.fields...); len(p.Parts) != c.want {
			t.Errorf("%s: %d parts, want %d", c.name, len(p.Parts), c.want)
		}
	}
	if code, b := l.do("GET", strings.TrimPrefix(kept, "http://mms.example.net"), nil); code != 200 || l.peek(b).Type != mms.MRetrieveConf {
		t.Errorf("GET of a kept message: %d", code)
	}
	if code, _ := l.do("GET", strings.TrimPrefix(kept, "http://mms.example.net"), nil, "X-MSISDN", carol); code != 403 {
		t.Errorf("GET of another's message: %d", code)
	}
	del := pdu(0x8C, 0x91, 0x98, "D", 0x8D, 0x92, 0x83, kept)
	if h := l.peek(post(carol, del)); h.Response != mms.ErrorPermanentMessageNotFound {
		t.Errorf("deleted by somebody else: %v", h.Response)
	}
	if h := l.peek(post(bob, del)); h.Type != mms.MMboxDeleteConf || h.Response != mms.StatusOk {
		t.Errorf("%+v", h)
	}
	if p := view(); len(p.Parts) != 2 {
		t.Errorf("%d parts after the deletion", len(p.Parts))
	}
}
