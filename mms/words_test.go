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
