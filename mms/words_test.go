package mms_test

import (
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
)

func TestTypes(t *testing.T) {
	if n := len(mms.Types()); n != 24 {
		t.Fatalf("%d types", n)
	}
	for _, typ := range mms.Types() {
		back, err := mms.ParseType(typ.String())
		if err != nil || back != typ {
			t.Errorf("%x %q: %x, %v", byte(typ), typ, byte(back), err)
		}
		if conf, ok := typ.Conf(); ok && (conf.FromHandset() != (conf == mms.MCancelConf) || typ.Indication()) {
			t.Errorf("%v is answered by %v", typ, conf)
		}
	}
	if _, err := mms.ParseType("unknown"); err == nil {
		t.Error("unknown is no type")
	}
	if mms.Type(0x98).String() != "unknown" || mms.Type(0).String() != "unknown" || mms.MCancelConf.String() != "m-cancel-conf" {
		t.Error("names")
	}
}

func TestVersion(t *testing.T) {
	for _, tc := range []struct {
		v, reply mms.Version
		s        string
	}{
		{0x90, 0x90, "1.0"}, {0x92, 0x92, "1.2"}, {0x93, 0x93, "1.3"}, {0x94, 0x93, "1.4"}, {0x9F, 0x90, "1"}, {0xA0, 0x93, "2.0"}, {0, 0x93, ""},
	} {
		if tc.v.String() != tc.s || tc.v.Reply() != tc.reply {
			t.Errorf("%x: %q, reply %x", byte(tc.v), tc.v, byte(tc.v.Reply()))
		}
		if back, err := mms.ParseVersion(tc.s); tc.v != 0 && (err != nil || back != tc.v) {
			t.Errorf("%q: %x, %v", tc.s, byte(back), err)
		}
	}
	for _, bad := range []string{"", "1.15", "8.0", "x", "1.", "1.2.3"} {
		if _, err := mms.ParseVersion(bad); err == nil {
			t.Errorf("%q is no version", bad)
		}
	}
}

func TestClasses(t *testing.T) {
	for _, tc := range []struct {
		s                  mms.Status
		response, retrieve mms.Class
		words              string
	}{
		{0x80, mms.Ok, mms.Ok, "Ok"},
		{0x81, mms.Permanent, mms.Permanent, "Error-unspecified"},
		{0x86, mms.Transient, mms.Permanent, "Error-network-problem"},
		{0x88, mms.Permanent, mms.Permanent, "Error-unsupported-message"},
		{0x89, mms.Permanent, mms.Permanent, "Error-permanent-failure"},
		{0xC0, mms.Transient, mms.Transient, "Error-transient-failure"},
		{0xC4, mms.PartialSuccess, mms.Transient, "Error-transient-partial-success"},
		{0xDF, mms.Transient, mms.Transient, "Error-transient-failure"},
		{0xE7, mms.Permanent, mms.Permanent, "Error-permanent-reply-charging-request-not-accepted"},
		{0xFF, mms.Permanent, mms.Permanent, "Error-permanent-failure"},
		{0x00, mms.Permanent, mms.Permanent, "Error-permanent-failure"},
	} {
		if mms.ResponseClass(tc.s) != tc.response || mms.RetrieveClass(tc.s) != tc.retrieve || tc.s.String() != tc.words {
			t.Errorf("%x: %v, %v, %q", byte(tc.s), mms.ResponseClass(tc.s), mms.RetrieveClass(tc.s), tc.s)
		}
	}
	if s := mms.Status(0xE2); s.RetrieveString() != "Error-permanent-message-not-found" || s.StoreString() != "Error-permanent-message-format-corrupt" {
		t.Error("the three tables differ")
	}
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct{ name, addr, number, mask string }{
		{"plain", "+46701234567/TYPE=PLMN", "+46701234567", "+4670…67"},
		{"separators", "+46 70-123.45.67/TYPE=PLMN", "+46701234567", "+4670…67"},
		{"small letters", "0701234567/type=plmn", "0701234567", "0701…67"},
		{"no type", "+46(0)701234567", "+460701234567", "+4607…67"},
		{"short code", "112", "112", "112"},
		{"longest short code", "725001/TYPE=PLMN", "725001", "725001"},
		{"short number with a plus", "+47991", "+47991", "+47…"},
		{"shorter", "+479", "+479", "+47…"},
		{"shortest", "+4", "+4", "+…"},
		{"of seven digits", "2345678", "2345678", "234…"},
		{"of eight digits", "+29812345/TYPE=PLMN", "+29812345", "+29…"},
		{"of nine digits", "+298123456", "+298123456", "+2981…56"},
		{"e-mail", "anna@example.net", "", "a…@example.net"},
		{"e-mail with name", "Anna <anna@example.net>", "", "A…@example.net"},
		{"IPv4", "10.1.2.3/TYPE=IPv4", "", "1…"},
		{"IPv4 bare", "10.1.2.3", "", "1…"},
		{"word", "Erotik", "", "E…"},
		{"empty", "", "", ""},
		{"only a plus", "+", "", "+…"},
		{"plus inside", "4+6", "", "4…"},
		{"too long", "123456789012345678901234567890123", "", "1…"},
		{"at first", "@x", "", "…@x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := mms.Number(tc.addr); got != tc.number {
				t.Errorf("number %q, want %q", got, tc.number)
			}
			if got := mms.Number([]byte(tc.addr)); got != tc.number {
				t.Errorf("number of octets %q", got)
			}
			if got := mms.Mask(tc.addr); got != tc.mask {
				t.Errorf("mask %q, want %q", got, tc.mask)
			}
		})
	}
}

func TestParseAddress(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		kind     mms.AddressKind
		value    string
		wire     string
	}{
		{"number", "+46 70-123 45 67/TYPE=PLMN", mms.AddressNumber, "+46701234567", "+46701234567/TYPE=PLMN"},
		{"number without type", "0701234567", mms.AddressNumber, "0701234567", "0701234567/TYPE=PLMN"},
		{"small letters", " 0701234567/type=plmn ", mms.AddressNumber, "0701234567", "0701234567/TYPE=PLMN"},
		{"short code", "112", mms.AddressCode, "112", "112"},
		{"short code with type", "1337/TYPE=PLMN", mms.AddressCode, "1337", "1337"},
		{"word", "Erotik", mms.AddressCode, "Erotik", "Erotik"},
		{"e-mail", "anna@example.net", mms.AddressEmail, "anna@example.net", "anna@example.net"},
		{"e-mail with name", "Anna B <anna@example.net>", mms.AddressEmail, "anna@example.net", "anna@example.net"},
		{"e-mail with a slash", "a/b@example.net", mms.AddressEmail, "a/b@example.net", "a/b@example.net"},
		{"IPv4", "10.1.2.3/TYPE=IPv4", mms.AddressIPv4, "10.1.2.3", "10.1.2.3/TYPE=IPv4"},
		{"IPv6", "2001:db8::1/TYPE=IPv6", mms.AddressIPv6, "2001:db8::1", "2001:db8::1/TYPE=IPv6"},
		{"unknown type", "x/TYPE=fax", mms.AddressOther, "x/TYPE=fax", "x/TYPE=fax"},
		{"free text", "made by Aristotelis", mms.AddressOther, "made by Aristotelis", "made by Aristotelis"},
		{"empty", "", mms.AddressOther, "", ""},
		{"IPv4 without type", "10.1.2.3", mms.AddressOther, "10.1.2.3", "10.1.2.3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := mms.ParseAddress(tc.in)
			if a.Kind != tc.kind || a.Value != tc.value || a.String() != tc.wire {
				t.Errorf("%v %q, on the wire %q", a.Kind, a.Value, a)
			}
			if again := mms.ParseAddress(a.String()); again != a {
				t.Errorf("read again %v %q", again.Kind, again.Value)
			}
		})
	}
}

func TestReasons(t *testing.T) {
	for why := mms.TransientFailure; why <= mms.MMBoxFull+1; why++ {
		for _, v := range []mms.Version{0, mms.Version10, mms.Version11, mms.Version12, mms.Version13, 0xA0} {
			s := why.ResponseStatus(v)
			if got := mms.ResponseClass(s) == mms.Transient; got != why.Transient() {
				t.Errorf("reason %d to %q: %v", why, v, s)
			}
			if old := s < 0xC0 && s != mms.ErrorUnsupportedMessage; old != (v == mms.Version10 && s != mms.ErrorUnsupportedMessage) {
				t.Errorf("reason %d to %q: %02x is of another version", why, v, byte(s))
			}
		}
		if got := mms.StoreClass(why.StoreStatus()) == mms.Transient; got != why.Transient() {
			t.Errorf("reason %d: store status %02x", why, byte(why.StoreStatus()))
		}
	}
}

func TestFields(t *testing.T) {
	for f := mms.FieldBcc; f <= mms.FieldCancelStatus; f++ {
		if back, ok := mms.ParseField(f.String()); !ok || back != f || !f.Known() {
			t.Errorf("%02x %s is read as %02x", byte(f), f, byte(back))
		}
	}
	if mms.Field(0xC5).String() != "0xC5" || mms.Field(0xC5).Known() || mms.FieldCancelID.Since() != 3 || mms.FieldTo.Since() != 0 {
		t.Error("fields beyond the standard, or versions")
	}
	if f, ok := mms.ParseField("X-Mms-Read-Reply"); !ok || f != mms.FieldReadReport {
		t.Error("the name of 1.0")
	}
}

func BenchmarkPeek(b *testing.B) {
	pdu := unhex(b, sendReq)
	var h mms.Head
	for b.Loop() {
		h.Peek(pdu, false)
	}
}

func BenchmarkDecode(b *testing.B) {
	pdu := samples(b)[0].pdu
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mms.Decode(pdu); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSendConf(b *testing.B) {
	var buf []byte
	id := []byte("T18c3a1")
	b.ReportAllocs()
	for b.Loop() {
		buf = mms.SendConf{TransactionID: id, Version: mms.Version12, Status: mms.StatusOk, MessageID: "AbC123@mmsc.example.net"}.Append(buf[:0])
	}
}

func TestAppendMask(t *testing.T) {
	for _, addr := range []string{"", "+", "+4670123456", "+467012345", "+46701234567", "+46701234567/TYPE=PLMN", "+46 70-123.45.67", "0701234567",
		"12345", "+1234567890123456789012345678901", "+12345678901234567890123456789012", "+123456789012345678901234567890123", "+4670123456x",
		"someone@example.net", "10.0.0.1", "+46701234å"} {
		if got, want := string(mms.AppendMask([]byte("is "), addr)), "is "+mms.Mask(addr); got != want {
			t.Errorf("%q: %q, want %q", addr, got, want)
		}
	}
}
