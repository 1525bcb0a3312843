package mms_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
)

// unhex reads hex with spaces; a piece in quotes is text.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for i, piece := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, piece...)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(piece, " ", ""))
		if err != nil {
			t.Fatalf("hex %q: %v", piece, err)
		}
		out = append(out, b...)
	}
	return out
}

const sendReq = "8C80 98 'T1' 00 8D92 85 04 6553F100 89 01 81 97 '+46701234567/TYPE=PLMN' 00 97 0E EA 'anna@test.se' 00 82 '112' 00 " +
	"96 09 EA 'Gr' C3BC C39F 'e' 00 'X-Own' 00 'any' 00 8A80 84 1B B3 8A '<smil>' 00 89 'application/smil' 00"

func TestPeek(t *testing.T) {
	for _, tc := range []struct {
		name, pdu string
		final     bool
		want      mms.State
		check     func(*mms.Head) bool
	}{
		{"nothing yet", "", false, mms.Partial, nil},
		{"nothing at all", "", true, mms.Garbage, nil},
		{"text", "'This is no PDU'", false, mms.Garbage, nil},
		{"html", "'<html>'", true, mms.Garbage, nil},
		{"another field first", "98 'T' 00 8C80", true, mms.Garbage, nil},
		{"type as text", "8C 'x' 00", true, mms.Garbage, nil},
		{"name octet zero", "8C80 00 00", true, mms.Garbage, nil},
		{"code page shift", "8C80 7F 01", true, mms.Garbage, nil},
		{"value length overrun", "8C80 89 19 80", true, mms.Garbage, nil},
		{"value length to come", "8C80 89 19 80", false, mms.Partial, nil},
		{"uintvar too long", "8C80 89 1F FFFFFFFFFF7F", false, mms.Garbage, nil},
		{"open text, final", "8C80 98 'T1'", true, mms.Garbage, func(h *mms.Head) bool { return h.TransactionID == nil && h.Type == mms.MSendReq }},
		{"open text, more to come", "8C80 98 'T1'", false, mms.Partial, nil},
		{"send.req head", sendReq, false, mms.Complete, func(h *mms.Head) bool {
			return h.Type == mms.MSendReq && string(h.TransactionID) == "T1" && h.Version == mms.Version12 && h.FromInsert && h.From == nil &&
				h.Recipients == 3 && string(h.To[0]) == "+46701234567/TYPE=PLMN" && string(h.To[1]) == "anna@test.se" && string(h.To[2]) == "112" &&
				h.Headers == 12 && h.ContentType[1] == 0xB3
		}},
		{"send.conf", "8C81 98 'T18c3a1' 00 8D92 92 80 8B 'AbC123@mmsc.example.net' 00", true, mms.Complete, func(h *mms.Head) bool {
			return h.Type == mms.MSendConf && h.HasResponse && h.Response == mms.StatusOk && string(h.MessageID) == "AbC123@mmsc.example.net" && h.Size == 40
		}},
		{"send.conf cut at a field's end", "8C81 98 'T' 00 8D92", false, mms.Partial, func(h *mms.Head) bool { return h.Size == 0 && !h.HasResponse }},
		{"empty message id", "8C81 98 'T' 00 8D90 8B 00", true, mms.Complete, func(h *mms.Head) bool { return h.MessageID != nil && len(h.MessageID) == 0 }},
		{"from with charset and quote", "8C82 98 '#T' 00 8D92 89 0A 80 08 EA 7F D090 D091 '1' 00", true, mms.Complete, func(h *mms.Head) bool {
			return string(h.From) == "АБ1" && !h.FromInsert
		}},
		{"from empty", "8C82 98 'T' 00 8D92 89 00 83 'http://x/1' 00", true, mms.Complete, func(h *mms.Head) bool {
			return h.From == nil && !h.FromInsert && string(h.ContentLocation) == "http://x/1"
		}},
		{"duplicates keep the first", "8C80 98 'A' 00 98 'B' 00 8D92 8D90 8C81 84 83", true, mms.Complete, func(h *mms.Head) bool {
			return string(h.TransactionID) == "A" && h.Version == mms.Version12 && h.Type == mms.MSendReq
		}},
		{"unknown field is skipped", "8C83 FE 05 0102030405 FD 'text' 00 FC 80 98 'T' 00 95 83", true, mms.Complete, func(h *mms.Head) bool {
			return h.Message == mms.Deferred && string(h.TransactionID) == "T"
		}},
		{"counted status", "8C95 98 'T' 00 8D93 92 02 80 E4", true, mms.Complete, func(h *mms.Head) bool { return h.Response == 0xE4 }},
		{"unknown type", "8CB0 98 'T' 00 8D93", true, mms.Complete, func(h *mms.Head) bool { return h.Type.String() == "unknown" }},
		{"content type in the middle", "8C83 84 83 98 'T' 00 95 81", true, mms.Complete, func(h *mms.Head) bool { return h.Message == mms.Retrieved && h.Size == 9 }},
		{"content type in the middle, more to come", "8C83 84 83 98 'T' 00 95", false, mms.Complete, func(h *mms.Head) bool { return string(h.TransactionID) == "T" && h.Size == 4 }},
		{"a body where none belongs", "8C81 98 'T' 00 84 83 'no, more'", true, mms.Complete, func(h *mms.Head) bool { return h.Size == 7 }},
		{"cancel and replace", "8C96 98 'T' 00 8D93 BE 'id1' 00 BD 'id0' 00", true, mms.Complete, func(h *mms.Head) bool {
			return string(h.CancelID) == "id1" && string(h.ReplaceID) == "id0"
		}},
		{"retrieve status", "8C84 8D92 85 04 6553F100 99 E2 84 A3 00", true, mms.Complete, func(h *mms.Head) bool {
			return h.HasRetrieve && h.Retrieve == mms.RetrievePermanentMessageNotFound && h.TransactionID == nil && h.Size == 14
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var h mms.Head
			if got := h.Peek(unhex(t, tc.pdu), tc.final); got != tc.want {
				t.Errorf("state %v, want %v", got, tc.want)
			}
			if tc.check != nil && !tc.check(&h) {
				t.Errorf("head %+v", h)
			}
		})
	}
}

// Whatever prefix has arrived, Peek never calls a good PDU broken, and what it
// read it keeps.
func TestPeekPrefixes(t *testing.T) {
	pdu := unhex(t, sendReq)
	var h mms.Head
	for n := range len(pdu) {
		if s := h.Peek(pdu[:n], false); s != mms.Partial {
			t.Fatalf("%d octets: %v", n, s)
		}
		if n > 6 && string(h.TransactionID) != "T1" {
			t.Fatalf("%d octets: transaction %q", n, h.TransactionID)
		}
	}
}

func TestPeekBounds(t *testing.T) {
	var h mms.Head
	long := append(unhex(t, "8C80 98 'T' 00"), bytes.Repeat([]byte{0x8A, 0x80}, 40<<10)...)
	if s := h.Peek(long, false); s != mms.Garbage {
		t.Errorf("80 KiB of headers: %v", s)
	}
	if string(h.TransactionID) != "T" {
		t.Errorf("what was read is lost: %q", h.TransactionID)
	}
	many := unhex(t, "8C80 98 'T' 00 8D92")
	for range 100 {
		many = append(many, 0x97, '1', 0)
	}
	if s := h.Peek(many, true); s != mms.Complete || h.Recipients != 100 || len(h.Addresses()) != 16 {
		t.Errorf("%v, %d recipients, %d kept", s, h.Recipients, len(h.Addresses()))
	}
}

func TestPeekAllocatesNothing(t *testing.T) {
	pdu := unhex(t, sendReq)
	var h mms.Head
	if n := testing.AllocsPerRun(100, func() { h.Peek(pdu, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAppendRefusal(t *testing.T) {
	for _, tc := range []struct {
		name, pdu string
		why       mms.Reason
		text      string
		want      string // hex, "" for none
	}{
		{"send, transient", "8C80 98 'T1' 00 8D92", mms.TransientFailure, "try later", "8C81 98 'T1' 00 8D92 92C0 93 'try later' 00"},
		{"send, 1.0 client", "8C80 98 'T1' 00 8D90", mms.FormatCorrupt, "", "8C81 98 'T1' 00 8D90 9283"},
		{"send, 1.0 client, transient", "8C80 98 'T1' 00 8D90", mms.NetworkProblem, "", "8C81 98 'T1' 00 8D90 9286"},
		{"send, too large", "8C80 98 'T1' 00 8D91", mms.TooLarge, "", "8C81 98 'T1' 00 8D91 92E5"},
		{"send, no version", "8C80 98 'T1' 00", mms.TooLarge, "", "8C81 98 'T1' 00 8D93 92E5"},
		{"send, other major", "8C80 98 'T1' 00 8DA0", mms.UnsupportedMessage, "", "8C81 98 'T1' 00 8D93 9288"},
		{"prepaid before 1.3", "8C80 98 'T1' 00 8D92", mms.LackOfPrepaid, "", "8C81 98 'T1' 00 8D92 92E1"},
		{"quoted transaction id", "8C80 98 7FFF 00 8D92", mms.TransientFailure, "", "8C81 98 7FFF 00 8D92 92C0"},
		{"text beyond ASCII, controls", "8C80 98 'T' 00 8D92", mms.ServiceDenied, "nej\r\nå", "8C81 98 'T' 00 8D92 92E1 93 09 EA 'nej  ' C3A5 00"},
		{"forward", "8C89 98 'T' 00 8D92", mms.MessageNotFound, "", "8C8A 98 'T' 00 8D92 92E4"},
		{"mbox store", "8C8B 98 'T' 00 8D92", mms.MMBoxFull, "full", "8C8C 98 'T' 00 8D92 A5E4 A6 'full' 00"},
		{"mbox view", "8C8D 98 'T' 00 8D92", mms.NetworkProblem, "", "8C8E 98 'T' 00 8D92 92C3 84A300"},
		{"mbox upload", "8C8F 98 'T' 00 8D92", mms.UnsupportedMessage, "", "8C90 98 'T' 00 8D92 A5E1"},
		{"mbox delete", "8C91 98 'T' 00 8D92", mms.MessageNotFound, "gone", "8C92 98 'T' 00 8D92 92 02 80E4 93 06 80 'gone' 00"},
		{"delete", "8C94 98 'T' 00 8D93", mms.NetworkProblem, "", "8C95 98 'T' 00 8D93 92 02 80C3"},
		{"unknown type", "8CB0 98 'T' 00 8D93", mms.TransientFailure, "", "8C81 98 'T' 00 8D93 9288"},
		{"an indication", "8C83 98 'T' 00 8D93", mms.TransientFailure, "", ""},
		{"a confirmation", "8C81 98 'T' 00 8D93", mms.TransientFailure, "", ""},
		{"no transaction id", "8C80 8D93", mms.TransientFailure, "", ""},
		{"nothing read", "00", mms.TransientFailure, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var h mms.Head
			h.Peek(unhex(t, tc.pdu), false)
			got, ok := h.AppendRefusal(nil, tc.why, tc.text)
			if want := unhex(t, tc.want); !bytes.Equal(got, want) || ok != (len(want) > 0) {
				t.Errorf("%v\n got %x\nwant %x", ok, got, want)
			}
		})
	}
}

func TestRetrieveError(t *testing.T) {
	got := mms.RetrieveError{Version: mms.Version12, Date: time.Unix(0x6553F100, 0), Status: 0xE2, Text: "Message expired"}.Append(nil)
	if want := unhex(t, "8C 84 8D 92 85 04 6553F100 99 E2 9A 'Message expired' 00 84 A3 00"); !bytes.Equal(got, want) {
		t.Errorf("%x", got)
	}
}

func FuzzPeek(f *testing.F) {
	f.Add(unhex(f, sendReq), true)
	f.Add(unhex(f, "8C95 98 'T' 00 8D93 92 02 80 E4"), false)
	f.Add(unhex(f, "8C82 98 '#T' 00 8D92 89 0A 80 08 EA 7F D090 D091 '1' 00"), true)
	f.Fuzz(func(t *testing.T, b []byte, final bool) {
		var h, again mms.Head
		s := h.Peek(b, final)
		if s == mms.Partial && final {
			t.Fatal("partial though final")
		}
		if s == mms.Complete && (h.Size == 0 || h.Size > len(b)) {
			t.Fatalf("size %d of %d", h.Size, len(b))
		}
		if s == mms.Complete && h.ContentType != nil && again.Peek(b[:h.Size], false) != mms.Complete {
			t.Fatal("the header block alone is not complete")
		}
		if pdu, ok := h.AppendRefusal(nil, mms.TransientFailure, "later"); ok {
			if again.Peek(pdu, true) != mms.Complete || !bytes.Equal(again.TransactionID, h.TransactionID) {
				t.Fatalf("refusal %x of %x", pdu, b)
			}
		}
		for _, a := range h.Addresses() {
			mms.Number(a)
			mms.Mask(string(a))
		}
	})
}
