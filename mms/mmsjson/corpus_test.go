package mmsjson_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/mmsjson"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

// expected is what an independent reader says of a captured PDU.
type expected struct {
	Messages []struct {
		Type        string
		Headers     []expectedHeader
		ContentType *expectedType `json:"content_type"`
		Parts       []expectedPart
		BodySize    int `json:"body_size"`
		Push        *struct {
			TID           string
			HeadersLength string          `json:"headers_length"`
			ContentType   string          `json:"content_type"`
			UDH           json.RawMessage `json:"udh"`
		}
	}
	Checked struct {
		HandVerdict string `json:"hand_verdict"`
	}
}

type expectedHeader struct {
	Name, Value, Hex string
	Charset          *struct {
		Text  *string
		Lossy string
	}
}

type expectedType struct {
	Value, Hex string
	Params     [][2]string
}

type expectedPart struct {
	ContentType expectedType `json:"content_type"`
	Headers     []expectedHeader
	HeadersLen  int `json:"headers_len"`
	Size        int64
	SHA256      string
}

func corpus(t testing.TB) string {
	dir := os.Getenv("MMSROUTER_CORPUS")
	if dir == "" {
		t.Skip("MMSROUTER_CORPUS not set: captured PDUs are not read")
	}
	return dir
}

// captured gives the PDU of a capture, out of SMS and push where it came so.
func captured(t testing.TB, file string) (pdu []byte, push *wappush.Push, err error) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".mms") {
		return b, nil, nil
	}
	r := wappush.NewReassembler(0, 0)
	for _, line := range strings.Split(string(b), "\n") {
		kind, digits, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		octets, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(digits), " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		switch kind {
		case "mms":
			return octets, nil, nil
		case "push":
			pdu = octets
		case "ud", "tpdu":
			if kind == "tpdu" {
				octets = userDataOf(t, octets)
			}
			whole, _, err := r.Add("", "", octets, time.Unix(0, 0))
			if err != nil {
				return nil, nil, err
			}
			if whole != nil {
				pdu = whole
			}
		}
	}
	if push, err = wappush.Decode(pdu); err != nil {
		return nil, nil, err
	}
	return push.Body, push, nil
}

// userDataOf takes the user data out of an SMS-DELIVER as a modem prints it,
// SMSC address first (3GPP TS 23.040 9.2.2.1).
func userDataOf(t testing.TB, tpdu []byte) []byte {
	t.Helper()
	at := 1 + int(tpdu[0])
	if tpdu[at]&3 != 0 || tpdu[at]&0x40 == 0 {
		t.Fatal("not an SMS-DELIVER with a user data header")
	}
	at += 3 + (int(tpdu[at+1])+1)/2 + 2 + 7
	return tpdu[at+1 : at+1+int(tpdu[at])]
}

// TestCorpus holds every captured PDU against what the independent reader says:
// names, octets and values of the headers, types, parameters, sizes and digests
// of the parts. What must be refused has to be, with one line.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus(t), "*.expected.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	for _, file := range files {
		base := strings.TrimSuffix(file, ".expected.json")
		t.Run(filepath.Base(base), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want expected
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
			input := base + ".mms"
			if _, err := os.Stat(input); err != nil {
				input = base + ".sms"
			}
			octets, push, err := captured(t, input)
			var pdu *mms.PDU
			if err == nil {
				pdu, err = mms.Decode(octets)
			}
			if want.Checked.HandVerdict != "sound" {
				if err == nil {
					t.Fatal("has to be refused")
				}
				if msg := err.Error(); msg == "" || strings.ContainsAny(msg, "\n\r") {
					t.Fatalf("refusal is not one line: %q", msg)
				}
				t.Log(err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			comparePush(t, push, &want)
			compare(t, pdu, octets, &want)
			roundTrip(t, pdu, octets)
		})
	}
}

func comparePush(t *testing.T, got *wappush.Push, want *expected) {
	t.Helper()
	w := want.Messages[0].Push
	if (got == nil) != (w == nil) {
		t.Fatalf("push %v, want %v", got, w)
	}
	if got == nil {
		return
	}
	if fmt.Sprintf("0x%02x", got.TID) != w.TID || got.ContentType.Type != w.ContentType || !got.IsMMS() || got.ApplicationID() != wappush.MMSApplication {
		t.Errorf("push %+v, want %+v", got, w)
	}
	again, err := wappush.Decode(got.Append(nil))
	if err != nil || !bytes.Equal(again.Body, got.Body) || len(again.Headers) != len(got.Headers) {
		t.Errorf("push changed on the way: %v", err)
	}
}

func compare(t *testing.T, pdu *mms.PDU, octets []byte, want *expected) {
	t.Helper()
	m := want.Messages[0]
	dir := t.TempDir()
	doc, err := mmsjson.Describe(pdu, dir)
	if err != nil {
		t.Fatal(err)
	}
	if doc.Type != m.Type {
		t.Errorf("type %s, want %s", doc.Type, m.Type)
	}
	compareHeaders(t, "", doc.Headers, m.Headers)
	if (doc.ContentType == nil) != (m.ContentType == nil) {
		t.Fatalf("content type %v, want %v", doc.ContentType, m.ContentType)
	}
	if m.ContentType != nil {
		compareType(t, "", *doc.ContentType, *m.ContentType)
		if int(pdu.BodySize) != m.BodySize || int(pdu.BodyOffset)+m.BodySize != len(octets) {
			t.Errorf("body of %d octets, want %d", pdu.BodySize, m.BodySize)
		}
	}
	if len(doc.Parts) != len(m.Parts) {
		t.Fatalf("%d parts, want %d", len(doc.Parts), len(m.Parts))
	}
	for i, w := range m.Parts {
		got, where := doc.Parts[i], fmt.Sprintf("part %d: ", i+1)
		compareType(t, where, got.ContentType, w.ContentType)
		compareHeaders(t, where, got.Headers, w.Headers)
		if got.Size != w.Size || got.SHA256 != w.SHA256 || pdu.Parts[i].HeaderSize != w.HeadersLen {
			t.Errorf("%ssize %d, digest %s, headers %d; want %d, %s, %d", where, got.Size, got.SHA256, pdu.Parts[i].HeaderSize, w.Size, w.SHA256, w.HeadersLen)
		}
		if data, err := os.ReadFile(got.File); err != nil || int64(len(data)) != w.Size {
			t.Errorf("%sfile: %d octets, %v", where, len(data), err)
		}
	}
}

func compareHeaders(t *testing.T, where string, got []mmsjson.Header, want []expectedHeader) {
	t.Helper()
	var kept []expectedHeader
	for _, w := range want {
		if w.Name != "Header name" { // a caption of the reader's, not a header
			kept = append(kept, w)
		}
	}
	if len(got) != len(kept) {
		t.Fatalf("%s%d headers, want %d", where, len(got), len(kept))
	}
	for i, w := range kept {
		if plainName(got[i].Name) != plainName(w.Name) {
			t.Errorf("%sheader %d is %s, want %s", where, i, got[i].Name, w.Name)
		}
		if strings.TrimSuffix(w.Hex, "...") != got[i].Hex[:min(len(got[i].Hex), len(strings.TrimSuffix(w.Hex, "...")))] {
			t.Errorf("%s%s: hex %s, want %s", where, w.Name, got[i].Hex, w.Hex)
		}
		if got[i].Value == nil {
			t.Errorf("%s%s: no value", where, w.Name)
		} else if v, ok := wanted(w); ok && *got[i].Value != v {
			t.Errorf("%s%s: %q, want %q", where, w.Name, *got[i].Value, v)
		}
	}
}

func plainName(s string) string {
	s = strings.TrimPrefix(strings.ToLower(s), "x-mms-")
	return s
}

var (
	octetWord = regexp.MustCompile(`^(.*) \(0x[0-9a-f]{2}\)$`)
	counted   = regexp.MustCompile(`^(.*) \(Forwarded-count=(\d+)\)$`)
	span      = regexp.MustCompile(`^(\d+)\.0+ seconds$`)
)

// wanted puts the words of the independent reader into ours; false for statuses,
// whose words differ and whose octets were compared.
func wanted(w expectedHeader) (string, bool) {
	if w.Charset != nil {
		if w.Charset.Text != nil {
			return *w.Charset.Text, true
		}
		return w.Charset.Lossy, true
	}
	v := w.Value
	if m := counted.FindStringSubmatch(v); m != nil {
		date, _ := dateOf(m[1])
		return m[2] + " " + date, true
	}
	if m := span.FindStringSubmatch(v); m != nil {
		return m[1] + "s", true
	}
	if date, ok := dateOf(v); ok {
		return date, true
	}
	if m := octetWord.FindStringSubmatch(v); m != nil {
		if strings.Contains(m[1], ":") || strings.Contains(w.Name, "Response-Status") {
			return "", false
		}
		return m[1], true
	}
	if w.Name == "Content-Id" {
		return strings.Trim(v, `"`), true
	}
	if w.Name == "X-Mms-Content-Location" && strings.HasPrefix(w.Hex, "8320") {
		return " " + v, true // the reader trims a space that we keep
	}
	if w.Name == "Content-Disposition" {
		return "", false
	}
	return v, true
}

// dateOf gives a date of the reader in RFC 3339, anything else as it stands.
func dateOf(v string) (string, bool) {
	at, err := time.Parse("Jan _2, 2006 15:04:05.000000000 MST", v)
	if err != nil {
		return v, false
	}
	return at.UTC().Format(time.RFC3339), true
}

func compareType(t *testing.T, where string, got mmsjson.ContentType, want expectedType) {
	t.Helper()
	if got.Value != want.Value || got.Hex != want.Hex {
		t.Errorf("%scontent type %s %s, want %s %s", where, got.Value, got.Hex, want.Value, want.Hex)
	}
	if want.Params == nil {
		return
	}
	if len(got.Params) != len(want.Params) {
		t.Errorf("%sparameters %q, want %q", where, got.Params, want.Params)
		return
	}
	for i, w := range want.Params {
		if !strings.EqualFold(got.Params[i][0], w[0]) || !strings.EqualFold(got.Params[i][1], w[1]) {
			t.Errorf("%sparameter %q, want %q", where, got.Params[i], w)
		}
	}
}

// roundTrip: decode, encode and decode again is equal, in octets and in the
// document; and so is the PDU built anew of the values alone.
func roundTrip(t *testing.T, pdu *mms.PDU, octets []byte) {
	t.Helper()
	if !bytes.Equal(pdu.Encode(), octets) {
		t.Error("encode does not give the octets that were decoded")
	}
	dir := t.TempDir()
	first, err := mmsjson.Marshal(pdu, dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := mmsjson.Unmarshal(first, "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := mmsjson.Marshal(again, dir)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Errorf("the document changed:\n%s\n%s", first, second)
	}
	rebuilt := rebuild(t, pdu, dir)
	if a, b := values(t, pdu), values(t, rebuilt); a != b {
		t.Errorf("built of values alone it differs:\n%s\n%s", a, b)
	}
}

// rebuild makes a PDU of the values in the document, without the octets.
func rebuild(t *testing.T, pdu *mms.PDU, dir string) *mms.PDU {
	t.Helper()
	doc, err := mmsjson.Describe(pdu, dir)
	if err != nil {
		t.Fatal(err)
	}
	dropHex(doc)
	out, err := doc.PDU("")
	if err != nil {
		t.Fatalf("build of values: %v", err)
	}
	return out
}

func dropHex(doc *mmsjson.Document) {
	drop := func(list []mmsjson.Header) {
		for i := range list {
			if list[i].Value != nil {
				list[i].Hex = ""
			}
		}
	}
	drop(doc.Headers)
	if doc.ContentType != nil {
		doc.ContentType.Hex = ""
	}
	for i := range doc.Parts {
		doc.Parts[i].ContentType.Hex = ""
		drop(doc.Parts[i].Headers)
	}
}

// values gives the document without octets, for comparison.
func values(t *testing.T, pdu *mms.PDU) string {
	t.Helper()
	doc, err := mmsjson.Describe(pdu, "")
	if err != nil {
		t.Fatal(err)
	}
	dropHex(doc)
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
