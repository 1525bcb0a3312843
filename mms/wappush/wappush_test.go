package wappush_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wappush"
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

func TestPush(t *testing.T) {
	b := wappush.AppendMMS(nil, 1, []byte("pdu"))
	if want := unhex(t, "01 06 03 BE AF84 'pdu'"); !bytes.Equal(b, want) || len(b) != wappush.Overhead+3 {
		t.Fatalf("%x", b)
	}
	for _, tc := range []struct {
		name, octets string
		check        func(*wappush.Push) bool
	}{
		{"the shortest", "01 06 03 BE AF84 'pdu'", func(p *wappush.Push) bool { return p.IsMMS() && p.TID == 1 && len(p.Headers) == 1 }},
		{"type as text", "00 06 22 'application/vnd.wap.mms-message' 00 AF84 'pdu'", func(p *wappush.Push) bool { return p.IsMMS() }},
		{"type with a length", "00 06 05 02 BE 00 AF84 'pdu'", func(p *wappush.Push) bool { return p.IsMMS() }},
		{"confirmed", "FF 07 03 BE AF84 'pdu'", func(p *wappush.Push) bool { return p.Type == wappush.TypeConfirmedPush }},
		{"more headers", "00 06 0A BE 8D83 AF84 B482 D5 01FF 'pdu'", func(p *wappush.Push) bool { return len(p.Headers) == 4 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := unhex(t, tc.octets)
			p, err := wappush.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if !tc.check(p) || string(p.Body) != "pdu" || p.ApplicationID() != wappush.MMSApplication {
				t.Errorf("%+v", p)
			}
			if !bytes.Equal(p.Append(nil), b) {
				t.Errorf("append gives %x", p.Append(nil))
			}
		})
	}
	for _, tc := range []struct{ name, octets, want string }{
		{"nothing", "", "push of 0 octets, 3 are the least"},
		{"another PDU", "00 05 07 BE AF84 8DDBB481", "octet 1: PDU type 05 is no push (06 or 07)"},
		{"headers cut", "00 06 08 BE AF84 8DDB B481", "octet 2: headers of 8 octets are announced, 7 octets are there"},
		{"length is no uintvar", "00 06 FFFFFFFFFF00", "octet 2: the length of the headers is no uintvar"},
		{"no content type", "00 06 00 'pdu'", "octet 3: content type runs past the end, 0 octets left"},
		{"header cut", "00 06 02 BE AF", "octet 4: octet 0 of the headers: X-Wap-Application-Id: its value runs past the end, 0 octets left"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if p, err := wappush.Decode(unhex(t, tc.octets)); err == nil || err.Error() != tc.want {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

func TestSegment(t *testing.T) {
	payload := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i)
		}
		return b
	}
	for _, tc := range []struct {
		name   string
		s      wappush.Segmentation
		octets int
		heads  []string
		last   int // octets of the last SMS
	}{
		{"fits into one", wappush.Segmentation{}, 133, []string{"06 0504 0B84 23F0"}, 140},
		{"one octet more", wappush.Segmentation{Reference: 0x2A}, 134, []string{"0B 0504 0B84 23F0 0003 2A 02 01", "0B 0504 0B84 23F0 0003 2A 02 02"}, 18},
		{"references of 16 bits", wappush.Segmentation{Reference: 0x9F8E, WideReference: true}, 254, []string{"0C 0504 0B84 23F0 0804 9F8E 02 01", "0C 0504 0B84 23F0 0804 9F8E 02 02"}, 140},
		{"other ports", wappush.Segmentation{Destination: 2949, Source: 9202}, 1, []string{"06 0504 0B85 23F2"}, 8},
		{"nothing", wappush.Segmentation{}, 0, []string{"06 0504 0B84 23F0"}, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			whole := payload(tc.octets)
			got, err := tc.s.Segment(whole)
			if err != nil || len(got) != len(tc.heads) {
				t.Fatalf("%d segments, %v", len(got), err)
			}
			r := wappush.NewReassembler(0, 0)
			for i, ud := range got {
				if len(ud) > wappush.MaxUserData || !bytes.HasPrefix(ud, unhex(t, tc.heads[i])) {
					t.Errorf("segment %d: %x", i, ud)
				}
				back, u, err := r.Add("a", "b", ud, time.Time{})
				if err != nil || !u.HasPorts || (back != nil) != (i == len(got)-1) {
					t.Fatalf("segment %d: %v %v", i, back, err)
				}
				if back != nil && !bytes.Equal(back, whole) {
					t.Errorf("put together %x", back)
				}
			}
			if n := len(got[len(got)-1]); n != tc.last {
				t.Errorf("last SMS of %d octets", n)
			}
		})
	}
	if _, err := (wappush.Segmentation{MaxSegments: 3}).Segment(payload(3*128 + 1)); err == nil {
		t.Error("four segments where three are allowed")
	}
	if _, err := (wappush.Segmentation{}).Segment(payload(255*128 + 1)); err == nil {
		t.Error("256 segments")
	}
}

func TestParseUserData(t *testing.T) {
	for _, tc := range []struct{ name, octets, want string }{
		{"ports of 8 bits", "04 0402 F0F1 'x'", "ports 240 241, 1 of 1 ref 0 false, skipped 0, x"},
		{"concatenation first", "0C 0804 9F8E 02 01 0504 0B84 23F0 'x'", "ports 2948 9200, 1 of 2 ref 40846 true, skipped 0, x"},
		{"unknown element", "09 7003 010203 0402 0102 'x'", "ports 1 2, 1 of 1 ref 0 false, skipped 5, x"},
		{"empty header", "00 'x'", "ports 0 0, 1 of 1 ref 0 false, skipped 0, x"},
		{"nothing", "", "user data: no octets"},
		{"header cut", "06 0504 0B84", "user data: a header of 6 octets is announced, 4 octets are there"},
		{"element without length", "01 05", "user data: octet 1: an element without its length"},
		{"element cut", "03 0504 0B 84", "user data: octet 1: element 05 of 4 octets runs past the header"},
		{"element of a wrong length", "05 0503 010203", "user data: octet 1: element 05 has 3 octets, it takes 4"},
		{"segment 0", "05 0003 01 02 00", "user data: octet 1: segment 0 of 2"},
		{"segment beyond the last", "05 0003 01 02 03", "user data: octet 1: segment 3 of 2"},
		{"none of none", "05 0003 01 00 00", "user data: octet 1: segment 0 of 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u, err := wappush.ParseUserData(unhex(t, tc.octets))
			got := fmt.Sprintf("ports %d %d, %d of %d ref %d %v, skipped %d, %s", u.Destination, u.Source, u.Sequence, u.Total, u.Reference, u.WideReference, u.Skipped, u.Payload)
			if err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("%s", got)
			}
		})
	}
}

func TestReassembler(t *testing.T) {
	at := time.Unix(1000, 0)
	two := func(ref uint16, text string) [][]byte {
		segments, err := wappush.Segmentation{Reference: ref}.Segment([]byte(strings.Repeat(text, 150)))
		if err != nil || len(segments) != 2 {
			t.Fatalf("%d segments, %v", len(segments), err)
		}
		return segments
	}
	a, b := two(1, "a"), two(1, "b")
	add := func(t *testing.T, r *wappush.Reassembler, from string, ud []byte, at time.Time) string {
		t.Helper()
		whole, _, err := r.Add(from, "me", ud, at)
		if err != nil {
			t.Fatal(err)
		}
		return string(whole)
	}
	t.Run("out of order, twice, and mixed with another sender's", func(t *testing.T) {
		r := wappush.NewReassembler(0, 0)
		for i, step := range []struct {
			from string
			ud   []byte
			done string
		}{{"x", a[1], ""}, {"y", b[0], ""}, {"x", a[1], ""}, {"y", b[1], "b"}, {"x", a[0], "a"}} {
			if got := add(t, r, step.from, step.ud, at); got != strings.Repeat(step.done, 150) {
				t.Errorf("step %d: %q", i, got)
			}
		}
		if r.Open() != 0 || r.Dropped() != 0 {
			t.Errorf("%d open, %d dropped", r.Open(), r.Dropped())
		}
	})
	t.Run("one of one", func(t *testing.T) {
		r := wappush.NewReassembler(0, 0)
		if got := add(t, r, "x", unhex(t, "0B 0504 0B84 23F0 0003 90 01 01 'x'"), at); got != "x" || r.Open() != 0 {
			t.Errorf("%q", got)
		}
	})
	t.Run("too old", func(t *testing.T) {
		r := wappush.NewReassembler(0, time.Minute)
		add(t, r, "x", a[0], at)
		if got := add(t, r, "x", a[1], at.Add(time.Minute+time.Second)); got != "" || r.Open() != 1 || r.Dropped() != 1 {
			t.Errorf("%q, %d open, %d dropped", got, r.Open(), r.Dropped())
		}
	})
	t.Run("too many", func(t *testing.T) {
		r := wappush.NewReassembler(2, 0)
		add(t, r, "1", a[0], at)
		add(t, r, "2", a[0], at)
		add(t, r, "3", a[0], at)
		if got := add(t, r, "1", a[1], at); got != "" || r.Open() != 2 || r.Dropped() != 2 {
			t.Errorf("%q, %d open, %d dropped", got, r.Open(), r.Dropped())
		}
		if got := add(t, r, "3", a[1], at); got != strings.Repeat("a", 150) {
			t.Errorf("%q", got)
		}
	})
	t.Run("a segment that no SMS can hold", func(t *testing.T) {
		r := wappush.NewReassembler(0, 0)
		if _, _, err := r.Add("x", "me", append(unhex(t, "05 0003 01 02 01"), make([]byte, 141)...), at); err == nil || r.Open() != 0 {
			t.Errorf("%v, %d open", err, r.Open())
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(unhex(f, "01 06 03 BE AF84 'pdu'"))
	f.Add(unhex(f, "00 06 0A BE 8D83 AF84 B482 D5 01FF 'pdu'"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := wappush.Decode(b)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("more than one line: %q", err)
			}
			return
		}
		p.ApplicationID()
		again, err := wappush.Decode(p.Append(nil))
		if err != nil || !bytes.Equal(again.Body, p.Body) || len(again.Headers) != len(p.Headers) || again.ContentType.String() != p.ContentType.String() {
			t.Fatalf("%x becomes %x: %v", b, p.Append(nil), err)
		}
	})
}

func FuzzReassembler(f *testing.F) {
	f.Add(unhex(f, "0B 0504 0B84 23F0 0003 2A 02 01 'x'"), unhex(f, "0B 0504 0B84 23F0 0003 2A 02 02 'y'"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		r := wappush.NewReassembler(1, 0)
		for _, ud := range [][]byte{a, b, a} {
			whole, u, err := r.Add("x", "y", ud, time.Time{})
			if err == nil && whole == nil && u.Total < 2 {
				t.Fatal("one of one is whole at once")
			}
			if r.Open() > 1 {
				t.Fatalf("%d open", r.Open())
			}
		}
	})
}
