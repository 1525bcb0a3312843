package mms_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

func TestDecodeRefuses(t *testing.T) {
	many := "8C80 98 'T' 00"
	for range mms.MaxRecipients + 1 {
		many += "97 '1' 00"
	}
	for _, tc := range []struct{ name, pdu, want string }{
		{"nothing", "", "octet 0: no octets, not a PDU"},
		{"text", "'This is'", "octet 0: not a PDU: X-Mms-Message-Type (8c) must come first, this is 54"},
		{"type alone", "8C", "octet 1: X-Mms-Message-Type has no octet of 80 or above"},
		{"type as text", "8C 'x' 00", "octet 1: X-Mms-Message-Type has no octet of 80 or above"},
		{"name octet zero", "8C80 00", "octet 2: octet 00 where the name of a header belongs"},
		{"open text", "8C80 98 'abc'", "octet 2: X-Mms-Transaction-ID: a text that does not end"},
		{"value missing", "8C80 98", "octet 2: X-Mms-Transaction-ID: its value is missing"},
		{"overrun", "8C82 89 19 80 'x' 00", "octet 2: From: a value of 25 octets runs past the end, 3 are left"},
		{"open name", "8C80 'X-Own'", "octet 2: the name of an application header does not end"},
		{"value of an application header missing", "8C80 'X-Own' 00", "octet 2: X-Own: its value is missing"},
		{"a name that would break a line", "8C80 'X' 0A 'Y' 00", `octet 2: "X\nY": its value is missing`},
		{"length of six octets", "8C80 88 1F 8080808080 01", "octet 2: X-Mms-Expiry: a length of more than five octets"},
		{"recipients", many, "more than 1024 recipients"},
		{"a long value", "8C80 96 '" + strings.Repeat("x", mms.MaxValue) + "' 00", "octet 2: Subject: 8194 octets, 8192 are allowed"},
		{"too many headers", "8C80" + strings.Repeat("8A80", 40<<10), "octet 65536: the headers are longer than 65536 octets"},
		{"content type overrun", "8C80 84 1B B3", "octet 2: Content-Type: content type runs past the end, 2 octets left"},
		{"content type empty", "8C80 84 00", "octet 2: Content-Type: content type is empty"},
		{"content type parameter cut", "8C80 84 02 B3 8A", "octet 2: Content-Type: parameter 1: start: its value is missing"},
		{"send.req without body", "8C80 84 B3", "octet 4: body: no number of parts in 0 octets"},
		{"parts announced, none there", "8C80 84 B3 02", "octet 5: body: 2 parts are announced, none is there"},
		{"a huge number of parts", "8C80 84 B3 8FFFFFFF7F 00", "octet 4: body: 4294967295 parts, 255 are allowed"},
		{"data cut", "8C80 84 B3 01 01 05 83 'abc'", "octet 5: body, part 1: 5 octets of data are announced, 3 are there"},
		{"part head cut", "8C80 84 B3 01 09 05 83", "octet 5: body, part 1: its head runs past the end, 3 octets left"},
		{"part without content type", "8C80 84 B3 01 00 01 'x'", "octet 5: body, part 1: it has no content type"},
		{"part headers too small for the content type", "8C80 84 B3 01 01 01 03 81 EA", "octet 5: body, part 1: content type runs past the end, 1 octets left"},
		{"part header overrun", "8C80 84 B3 01 04 00 83 AE 05 81", "octet 5: body, part 1: octet 0 of the headers: Content-Disposition: its value runs past the end, 2 octets left"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := unhex(t, tc.pdu)
			_, err := mms.Decode(b)
			if err == nil || !strings.HasSuffix(err.Error(), tc.want) {
				t.Fatalf("%v, want %s", err, tc.want)
			}
			var at *mms.Error
			if !errors.As(err, &at) || at.Offset > int64(len(b)) {
				t.Errorf("%#v", err)
			}
			if _, err := mms.OpenAt(bytes.NewReader(b), int64(len(b))); err == nil || !strings.HasSuffix(err.Error(), tc.want) {
				t.Errorf("from a file: %v", err)
			}
		})
	}
}

func TestDecodeAccepts(t *testing.T) {
	for _, tc := range []struct {
		name, pdu string
		check     func(*mms.PDU) bool
	}{
		{"no content type", "8C84 8D92", func(p *mms.PDU) bool { return p.ContentType == nil && p.BodySize == 0 }},
		{"error with empty multipart", "8C84 8D92 84 A3 00", func(p *mms.PDU) bool { return p.Parts != nil && len(p.Parts) == 0 && p.BodySize == 1 }},
		{"error with nothing behind the type", "8C84 8D92 84 A3", func(p *mms.PDU) bool { return p.Parts == nil && p.BodySize == 0 }},
		{"text body", "8C84 84 83 'gone'", func(p *mms.PDU) bool { return string(p.Body) == "gone" && p.ContentType.Type == "text/plain" }},
		{"unknown type", "8CB0 98 'T' 00", func(p *mms.PDU) bool { return p.Type == 0xB0 && string(p.TransactionID()) == "T" }},
		{"unknown fields", "8C83 FE 03 010203 D5 'x' 00 95 81", func(p *mms.PDU) bool { return len(p.Headers) == 4 && p.Status() == mms.Retrieved }},
		{"content type in the middle of a PDU without body", "8C83 84 83 95 81", func(p *mms.PDU) bool { return p.ContentType == nil && p.Status() == mms.Retrieved }},
		{"a body where none belongs", "8C81 98 'T' 00 84 83 'no, more'", func(p *mms.PDU) bool { return string(p.Body) == "no, more" && len(p.Headers) == 2 }},
		{"more parts announced than there", "8C80 84 B3 03 01 01 83 'a'", func(p *mms.PDU) bool { return len(p.Parts) == 1 }},
		{"fewer parts announced than there", "8C80 84 B3 01 01 01 83 'a' 01 01 83 'b'", func(p *mms.PDU) bool { return len(p.Parts) == 1 }},
		{"padding behind part headers", "8C80 84 B3 01 03 01 83 0000 'a'", func(p *mms.PDU) bool { return len(p.Parts) == 1 && len(p.Parts[0].Headers) == 0 }},
		{"part header without terminator", "8C80 84 B3 01 04 01 83 8E 'xy' 'a'", func(p *mms.PDU) bool { return p.Parts[0].ContentLocation() == "xy" }},
		{"non-minimal lengths", "8C80 84 B3 8001 8001 808001 83 'a'", func(p *mms.PDU) bool { return string(p.Parts[0].Data) == "a" }},
		{"multipart within multipart", "8C80 84 B3 01 01 05 A6 01 01 01 83 'a'", func(p *mms.PDU) bool {
			inner := p.Parts[0].Parts
			return len(inner) == 1 && string(inner[0].Data) == "a" && inner[0].Offset == 12
		}},
		{"a nested one that can't be read stays opaque", "8C80 84 B3 01 01 03 A6 050101", func(p *mms.PDU) bool { return p.Parts[0].Parts == nil && p.Parts[0].Size == 3 }},
		{"subject with the name of a charset", "8C80 96 0C 'utf-8' 00 C3A5 'b' 00 00 00", func(p *mms.PDU) bool { return p.Subject() == "åb" }},
		{"subject in Latin-1 without charset", "8C80 96 'x' E5 00", func(p *mms.PDU) bool { return p.Subject() == "xå" }},
		{"subject in an unknown charset", "8C80 96 06 02 7530 E5 'b' 00", func(p *mms.PDU) bool { return p.Subject() == "åb" }},
		{"subject cut within a character", "8C80 96 04 EA 'a' D0 00", func(p *mms.PDU) bool { return p.Subject() == "a\uFFFD" }},
		{"subject in Shift_JIS", "8C80 96 06 91 93FA 967B 00", func(p *mms.PDU) bool { return p.Subject() == "日本" }},
		{"subject in GB 2312", "8C80 96 08 0207E9 D6D0 CEC4 00", func(p *mms.PDU) bool { return p.Subject() == "中文" }},
		{"subject in Big5", "8C80 96 08 0207EA A4A4 A4E5 00", func(p *mms.PDU) bool { return p.Subject() == "中文" }},
		{"subject in EUC-KR", "8C80 96 06 A6 C7D1 B1B9 00", func(p *mms.PDU) bool { return p.Subject() == "한국" }},
		{"subject in UTF-16 with a mark", "8C80 96 0A 0203F7 FFFE 4100 E500 00", func(p *mms.PDU) bool { return p.Subject() == "Aå" }},
		{"subject in windows-1251", "8C80 96 07 0208CB CFE8 'x' 00", func(p *mms.PDU) bool { return p.Subject() == "Пиx" }},
		{"short integers", "8C82 8E 85 88 02 81 85", func(p *mms.PDU) bool {
			n, ok := p.Number(mms.FieldMessageSize)
			w, _ := p.When(mms.FieldExpiry)
			return ok && n == 5 && w.After.Seconds() == 5
		}},
		{"expiry of zero octets is no expiry", "8C82 88 00", func(p *mms.PDU) bool { _, ok := p.When(mms.FieldExpiry); return !ok }},
		{"number of zero octets is zero", "8C82 8E 00", func(p *mms.PDU) bool { n, ok := p.Number(mms.FieldMessageSize); return ok && n == 0 }},
		{"octet outside its table", "8C82 8F 9F", func(p *mms.PDU) bool { return p.Priority() == mms.Normal && p.Text(mms.FieldPriority) == "0x9F" }},
		{"message id in brackets", "8C81 8B '<a@b>' 00", func(p *mms.PDU) bool { return p.MessageID() == "a@b" }},
		{"location with a space", "8C82 83 ' http://x' 00", func(p *mms.PDU) bool { return p.ContentLocation() == "http://x" }},
		{"delivery time of 600 years", "8C82 88 07 81 05 FFFFFFFFFF", func(p *mms.PDU) bool { w, ok := p.When(mms.FieldExpiry); return ok && w.After > 0 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := unhex(t, tc.pdu)
			p, err := mms.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if !tc.check(p) {
				t.Errorf("%+v", p)
			}
			if got := p.Encode(); !bytes.Equal(got, b) {
				t.Errorf("encode gives %x", got)
			}
			if len(p.Parts) == 0 || p.Parts[0].Size > 0 {
				readThreeWays(t, b)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct{ name, pdu, want string }{
		{"empty send.req", "8C80", "m-send-req without X-Mms-Transaction-ID, X-Mms-MMS-Version, From, Content-Type, To, Cc or Bcc"},
		{"only bcc, no parts", "8C80 98 'T' 00 8D92 89 01 81 81 '1' 00 84 83", "m-send-req without body"},
		{"notification", "8C82 98 'T' 00 8D92 8A80 8E 01 05 83 'x' 00", "m-notification-ind without X-Mms-Expiry"},
		{"unknown type", "8CB0", "message type b0 is none of OMA-MMS-ENC"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := mms.Decode(unhex(t, tc.pdu))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Check(); err == nil || err.Error() != tc.want {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
}

// A PDU reads the same in memory, from a file and off a stream that comes octet
// by octet.
func TestThreeWaysOfReading(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) { readThreeWays(t, s.pdu) })
	}
	for name, b := range captures(t) {
		if _, err := mms.Decode(b); err == nil {
			t.Run(name, func(t *testing.T) { readThreeWays(t, b) })
		}
	}
}

// captures gives captured PDUs by name, none where MMSROUTER_CORPUS is not set:
// what they are used for here is a second helping beside our own samples.
func captures(t testing.TB) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	dir := os.Getenv("MMSROUTER_CORPUS")
	if dir == "" {
		return all
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.mms"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if all[filepath.Base(f)], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func readThreeWays(t *testing.T, b []byte) {
	whole, err := mms.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	file := bytes.NewReader(b)
	opened, err := mms.OpenAt(file, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(whole.AppendHead(nil), opened.AppendHead(nil)) || whole.BodyOffset != opened.BodyOffset || whole.BodySize != opened.BodySize || len(whole.Parts) != len(opened.Parts) {
		t.Fatalf("from a file: %+v", opened)
	}
	for i := range whole.Parts {
		data, err := io.ReadAll(opened.Parts[i].Open(file))
		if err != nil || !bytes.Equal(data, whole.Parts[i].Data) || opened.Parts[i].Offset != whole.Parts[i].Offset || opened.Parts[i].Data != nil {
			t.Fatalf("part %d from a file: %v", i, err)
		}
		if !reflect.DeepEqual(opened.Parts[i].Headers, whole.Parts[i].Headers) {
			t.Fatalf("part %d: headers differ", i)
		}
	}
	body, err := io.ReadAll(opened.OpenBody(file))
	if err != nil || !bytes.Equal(body, whole.Body) {
		t.Fatalf("body from a file: %v", err)
	}
	head, rest, err := mms.ReadHead(iotest.OneByteReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(head.AppendHead(nil), whole.AppendHead(nil)) {
		t.Fatal("head off a stream differs")
	}
	if whole.Parts == nil {
		if got, err := io.ReadAll(rest); err != nil || !bytes.Equal(got, whole.Body) {
			t.Fatalf("body off a stream: %v", err)
		}
		return
	}
	r := wsp.NewReader(rest)
	for i := range whole.Parts {
		p, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(r); err != nil || !bytes.Equal(data, whole.Parts[i].Data) || p.Offset+whole.BodyOffset != whole.Parts[i].Offset {
			t.Fatalf("part %d off a stream: %v", i, err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Fatalf("behind the last part: %v", err)
	}
}

func TestReadHeadFails(t *testing.T) {
	if _, _, err := mms.ReadHead(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
	long := append(unhex(t, "8C80"), bytes.Repeat([]byte{0x8A, 0x80}, 40<<10)...)
	var at *mms.Error
	if _, _, err := mms.ReadHead(bytes.NewReader(long)); !errors.As(err, &at) {
		t.Errorf("%v", err)
	}
	if _, err := mms.OpenAt(bytes.NewReader(long[:10]), 20); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that is cut: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.pdu)
	}
	f.Add(unhex(f, "8C80 84 B3 01 01 05 A6 01 01 01 83 'a'"))
	for _, b := range captures(f) {
		if len(b) < 4<<10 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := mms.Decode(b)
		opened, openErr := mms.OpenAt(bytes.NewReader(b), int64(len(b)))
		if (err == nil) != (openErr == nil) {
			t.Fatalf("in memory %v, from a file %v", err, openErr)
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("more than one line: %q", err)
			}
			return
		}
		if len(opened.Parts) != len(p.Parts) {
			t.Fatalf("%d parts in memory, %d from a file", len(p.Parts), len(opened.Parts))
		}
		if !bytes.Equal(p.Encode(), b) {
			t.Fatalf("encode gives %x of %x", p.Encode(), b)
		}
		var h mms.Head
		if s := h.Peek(b, true); s != mms.Complete {
			t.Fatalf("decode takes what peek calls %v", s)
		}
		for _, h := range p.Headers {
			text, ok := h.Text()
			if !ok {
				continue
			}
			again, err := mms.ParseHeader(p.Type, h.Name(), text)
			if err != nil && h.Field != 0 {
				t.Fatalf("%s %q: %v", h.Name(), text, err)
			}
			if back, ok := again.Text(); err == nil && (!ok || back != text) {
				t.Fatalf("%s %q (%x) becomes %q (%x)", h.Name(), text, h.Wire, back, again.Wire)
			}
		}
		_ = p.Check()
		p.Recipients()
		p.PreviouslySent()
		p.Results()
		p.Flags()
		p.AppendRetrieve(nil, mms.RetrieveOptions{Version: mms.Version10})
	})
}
