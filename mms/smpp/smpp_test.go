package smpp_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
)

func TestStatus(t *testing.T) {
	for _, tc := range []struct {
		name  string
		s     smpp.Status
		class smpp.Class
		text  string
	}{
		{"ok", 0, smpp.Done, "00 ok"},
		{"throttled", 0x58, smpp.Slow, "58 throttled"},
		{"queue full", 0x14, smpp.Slow, "14 queue full"},
		{"system error", 0x08, smpp.Again, "08 system error"},
		{"vendor", 0x401, smpp.Again, "401"},
		{"bind failed", 0x0D, smpp.Rebind, "0D bind failed"},
		{"password", 0x0E, smpp.Alarm, "0E password"},
		{"destination", 0x0B, smpp.Refused, "0B destination address"},
		{"rejected", 0x66, smpp.Refused, "66 rejected by the receiver"},
		{"data coding", 0x104, smpp.Unsuited, "104 data_coding"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if c := tc.s.Class(); c != tc.class || tc.s.String() != tc.text {
				t.Errorf("class %d, %q; want %d, %q", c, tc.s, tc.class, tc.text)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct{ name, in, number, source string }{
		{"international", "+46701234567", "1/1 46701234567", "1/1 46701234567"},
		{"short code", "7777", "3/0 7777", "3/0 7777"},
		{"national", "0701234567", "0/1 0701234567", "0/1 0701234567"},
		{"word", "MMSC", "", "5/0 MMSC"},
		{"word too long", "Twelve chars", "", ""},
		{"too many digits", "+123456789012345678901", "", ""},
		{"nothing", "", "", ""},
		{"plus alone", "+", "", "5/0 +"},
		{"not ASCII", "Åsa", "", ""},
		{"control character", "a\x00b", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			show := func(a smpp.Address, err error) string {
				if err != nil {
					return ""
				}
				return fmt.Sprintf("%d/%d %s", a.TON, a.NPI, a.Text)
			}
			if got := show(smpp.Number(tc.in)); got != tc.number {
				t.Errorf("number %q, want %q", got, tc.number)
			}
			if got := show(smpp.Source(tc.in)); got != tc.source {
				t.Errorf("source %q, want %q", got, tc.source)
			}
		})
	}
}

func TestValidity(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{{0, ""}, {-time.Second, ""}, {time.Millisecond, "000000000001000R"}, {49*time.Hour + 2*time.Minute + 3*time.Second, "000002010203000R"},
		{400 * 24 * time.Hour, "000030000000000R"}} {
		if got := smpp.Validity(tc.d); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.d, got, tc.want)
		}
	}
}

func TestReceipt(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       smpp.Receipt
	}{
		{"usual", "id:1A2B sub:001 dlvrd:001 submit date:2611221200 done date:2611221201 stat:DELIVRD err:000 text:hello", smpp.Receipt{ID: "1A2B", State: smpp.Delivered, Error: "000"}},
		{"undeliverable", "id:77 stat:UNDELIV err:034", smpp.Receipt{ID: "77", State: smpp.Undeliverable, Error: "034"}},
		{"a text that looks like a receipt", "id:77 stat:REJECTD text:id:78 stat:DELIVRD", smpp.Receipt{ID: "77", State: smpp.Rejected}},
		{"other case, other order", "Stat:EXPIRED Id: 9", smpp.Receipt{ID: "9", State: smpp.Expired}},
		{"a state that nobody knows", "id:1 stat:FINE", smpp.Receipt{ID: "1", State: smpp.Unknown}},
		{"no receipt", "hello", smpp.Receipt{}},
		{"a word that ends alike", "grid:5 id:6", smpp.Receipt{ID: "6"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := smpp.ParseReceipt(tc.text); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
	for _, tc := range []struct {
		esm  byte
		want bool
	}{{0x04, true}, {0x44, true}, {0x00, false}, {0x40, false}, {0x08, false}, {0x20, false}} {
		if smpp.IsReceipt(tc.esm) != tc.want {
			t.Errorf("esm_class %02x", tc.esm)
		}
	}
}

func TestID(t *testing.T) {
	for _, tc := range []struct {
		name, submitted, receipt string
		same                     bool
	}{
		{"equal", "id17", "id17", true},
		{"case", "1a2b", "1A2B", true},
		{"hexadecimal, then decimal", "1A2B", "6699", true},
		{"decimal, then hexadecimal", "6699", "1a2b", true},
		{"zeros in front", "0000001A2B", "0000006699", true},
		{"large", "FFFFFFFFFFFFFFFFFFFF", "1208925819614629174706175", true},
		{"other", "17", "18", false},
		{"other as words", "id17", "id18", false},
		{"empty", "", "", false},
		{"signs are no numbers", "-1", "+1", false},
		{"zero", "0", "000", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := smpp.ParseID(tc.submitted).Same(smpp.ParseID(tc.receipt)); got != tc.same {
				t.Errorf("%v", got)
			}
		})
	}
}

func FuzzReceipt(f *testing.F) {
	f.Add("id:1A2B sub:001 dlvrd:001 stat:DELIVRD err:000 text:hello", "1A2B")
	f.Add("id:", "-")
	f.Fuzz(func(t *testing.T, text, id string) {
		r := smpp.ParseReceipt(text)
		if len(r.ID) > 65 || len(r.Error) > 16 {
			t.Errorf("%+v", r)
		}
		x := smpp.ParseID(id)
		if x.Text != "" && !x.Same(x) {
			t.Errorf("%q is not the same as itself", id)
		}
		x.Same(smpp.ParseID(r.ID))
	})
}
