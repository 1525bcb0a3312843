package mmsjson_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/mmsjson"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
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

func decode(t testing.TB, b []byte) *mms.PDU {
	t.Helper()
	p, err := mms.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func sample(t testing.TB) []byte {
	b := unhex(t, "8C80 98 'T1' 00 8D92 89 01 81 97 '+46701234567/TYPE=PLMN' 00 97 '112' 00 96 09 EA 'Gr' C3BC C39F 'e' 00 "+
		"'X-Own' 00 'any' 00 C5 02 0102 8A80 84 1B B3 8A '<smil>' 00 89 'application/smil' 00")
	smil, err := mms.NewPart(wsp.Media("application/smil"), "smil", "", []byte("<smil/>"))
	if err != nil {
		t.Fatal(err)
	}
	text := wsp.Part{ContentType: wsp.Media("text/plain", "charset", "utf-8", "name", "../../t.TXT"), Data: []byte("Grüße")}
	b, err = wsp.AppendParts(b, []wsp.Part{smil, text})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The form that scripts rely on.
func TestMarshal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parts")
	got, err := mmsjson.Marshal(decode(t, sample(t)), dir)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"m-send-req","version":"1.2","headers":[
		{"name":"X-Mms-Message-Type","value":"m-send-req","hex":"8c80"},
		{"name":"X-Mms-Transaction-ID","value":"T1","hex":"98543100"},
		{"name":"X-Mms-MMS-Version","value":"1.2","hex":"8d92"},
		{"name":"From","value":"<insert address>","hex":"890181"},
		{"name":"To","value":"+46701234567/TYPE=PLMN","hex":"972b34363730313233343536372f545950453d504c4d4e00"},
		{"name":"To","value":"112","hex":"9731313200"},
		{"name":"Subject","value":"Grüße","hex":"9609ea4772c3bcc39f6500"},
		{"name":"X-Own","value":"any","hex":"582d4f776e00616e7900"},
		{"name":"0xC5","hex":"c5020102"},
		{"name":"X-Mms-Message-Class","value":"Personal","hex":"8a80"}],
		"content_type":{"value":"application/vnd.wap.multipart.related","params":[["start","<smil>"],["type","application/smil"]],
			"hex":"1bb38a3c736d696c3e00896170706c69636174696f6e2f736d696c00"},
		"parts":[
		{"content_type":{"value":"application/smil","hex":"6170706c69636174696f6e2f736d696c00"},
			"headers":[{"name":"Content-ID","value":"<smil>","hex":"c0223c736d696c3e00"}],
			"size":7,"sha256":"7b8de8e0cbc3a4ff8c1d4d5e6b1d5d17","file":"part1.smil"},
		{"content_type":{"value":"text/plain","params":[["charset","utf-8"],["name","../../t.TXT"]],"hex":"108381ea852e2e2f2e2e2f742e54585400"},
			"headers":[],"size":7,"sha256":"","file":"part2.txt"}]}`
	var g, w map[string]any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	for i, p := range g["parts"].([]any) {
		part, wanted := p.(map[string]any), w["parts"].([]any)[i].(map[string]any)
		if data, err := os.ReadFile(part["file"].(string)); err != nil || len(data) != 7 {
			t.Errorf("part %d: %q, %v", i, data, err)
		}
		if dir != filepath.Dir(part["file"].(string)) {
			t.Errorf("part %d is written to %v", i, part["file"])
		}
		part["file"] = filepath.Base(part["file"].(string))
		if len(part["sha256"].(string)) != 64 {
			t.Errorf("part %d: digest %v", i, part["sha256"])
		}
		wanted["sha256"] = part["sha256"]
	}
	a, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("\n got %s\nwant %s", a, b)
	}
	if !strings.Contains(string(got), `"<insert address>"`) {
		t.Error("brackets are escaped")
	}
}

func TestBodies(t *testing.T) {
	for _, tc := range []struct{ name, pdu string }{
		{"a body that is no multipart", "8C84 8D92 84 83 'gone'"},
		{"no body", "8C84 8D92 84 A3"},
		{"an empty multipart", "8C84 8D92 84 A3 00"},
		{"no content type", "8C84 8D92"},
		{"unknown type", "8CB0 98 'T' 00 8D93"},
		{"nested", "8C80 84 B3 01 01 05 A6 01 01 01 83 'a'"},
		{"values that have no text", "8C82 88 00 8E 09 010203040506070809 85 01 05 8F 00 96 03 01 01 01"},
		{"texts that are no UTF-8", "8C80 98 'T' FF 00 'X-Own' 00 'v' FF 00 84 06 83 85 'a' FF 00 00 'x'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := unhex(t, tc.pdu)
			dir := t.TempDir()
			doc, err := mmsjson.Marshal(decode(t, b), dir)
			if err != nil {
				t.Fatal(err)
			}
			p, err := mmsjson.Unmarshal(doc, "")
			if err != nil {
				t.Fatalf("%v\n%s", err, doc)
			}
			if !bytes.Equal(p.Encode(), b) {
				t.Errorf("%x of\n%s", p.Encode(), doc)
			}
		})
	}
}

// Documents written by hand.
func TestUnmarshal(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.txt"), []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, doc, want string }{
		{"type and version put in the headers", `{"type":"m-notifyresp-ind","version":"1.2","headers":[{"name":"x-mms-transaction-id","value":"T"},{"name":"X-Mms-Status","value":"retrieved"}]}`,
			"8C83 98 'T' 00 8D92 9581"},
		{"value wins over hex", `{"type":"m-send-conf","headers":[{"name":"Subject","value":"b","hex":"966100"}]}`, "8C81 96 'b' 00"},
		{"hex that says the value is taken", `{"type":"m-send-conf","headers":[{"name":"Subject","value":"a","hex":"9603ea6100"}]}`, "8C81 96 03 EA 'a' 00"},
		{"name wins over hex", `{"type":"m-send-conf","headers":[{"name":"To","value":"a","hex":"9603ea6100"}]}`, "8C81 97 'a' 00"},
		{"hex alone", `{"type":"m-send-conf","headers":[{"name":"whatever","hex":"c5020102"}]}`, "8C81 C5020102"},
		{"octet and words", `{"type":"m-send-conf","headers":[{"name":"X-Mms-Response-Status","value":"0xE5"},{"name":"X-Mms-Response-Status","value":"Error-permanent-failure"}]}`, "8C81 92E5 92E0"},
		{"data, file and nested", `{"type":"m-send-req","headers":[],"content_type":{"value":"application/vnd.wap.multipart.mixed"},"parts":[
			{"content_type":{"value":"text/plain; charset=utf-8"},"headers":[{"name":"Content-Location","value":"a"}],"data":"YWJj"},
			{"content_type":{"value":"text/plain"},"headers":[],"file":"x.txt"},
			{"content_type":{"value":"application/vnd.wap.multipart.alternative"},"parts":[{"content_type":{"value":"text/plain"},"data":"YQ=="}]},
			{"content_type":{"value":"text/plain"}}]}`,
			"8C80 84 A3 04 07 03 03 83 81 EA 8E 'a' 00 'abc' 01 0B 83 'from a file' 01 05 A6 01 01 01 83 'a' 01 00 83"},
		{"an empty multipart", `{"type":"m-retrieve-conf","headers":[],"content_type":{"value":"application/vnd.wap.multipart.mixed"},"parts":[]}`, "8C84 84 A3 00"},
		{"type by hex alone", `{"type":"m-retrieve-conf","headers":[],"content_type":{"hex":"a3"},"parts":[]}`, "8C84 84 A3 00"},
		{"a body that is no multipart", `{"type":"m-retrieve-conf","headers":[],"content_type":{"value":"text/plain"},"body":{"data":"YWJj"}}`, "8C84 84 83 'abc'"},
		{"counts of a delete", `{"type":"m-mbox-delete-conf","headers":[{"name":"X-Mms-Response-Status","value":"0 Ok"},{"name":"X-Mms-Response-Text","value":"0 é"}]}`,
			"8C92 92 02 8080 93 07 80 05 EA 7F C3A9 00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := mmsjson.Unmarshal([]byte(tc.doc), dir)
			if err != nil {
				t.Fatal(err)
			}
			if want := unhex(t, tc.want); !bytes.Equal(p.Encode(), want) {
				t.Errorf("\n got %x\nwant %x", p.Encode(), want)
			}
		})
	}
	for _, tc := range []struct{ name, doc, want string }{
		{"no JSON", `{`, "read the document: unexpected EOF"},
		{"two documents", `{"type":"m-send-conf","headers":[]} {}`, "read the document: something stands behind its end"},
		{"unknown key", `{"typ":"m-send-conf"}`, `read the document: json: unknown field "typ"`},
		{"no type", `{"headers":[]}`, "type: is missing"},
		{"unknown type", `{"type":"m-sent-req","headers":[]}`, `type: message type "m-sent-req" is none of m-send-req … m-cancel-conf`},
		{"two types", `{"type":"m-send-req","headers":[{"name":"X-Mms-Message-Type","value":"m-send-conf"}]}`, "type: is m-send-req, though the header X-Mms-Message-Type is 81"},
		{"a bad version", `{"type":"m-send-req","version":"x","headers":[]}`, `version: X-Mms-MMS-Version: "x" is none of its words nor 0x80 to 0xFF`},
		{"neither value nor hex", `{"type":"m-send-req","headers":[{"name":"To"}]}`, `headers[0]: "To" has neither value nor hex`},
		{"bad hex", `{"type":"m-send-req","headers":[{"name":"To","hex":"9"}]}`, `headers[0]: "To": hex: encoding/hex: odd length hex string`},
		{"hex of two fields", `{"type":"m-send-req","headers":[{"name":"To","hex":"9731009732"}]}`, `headers[0]: To: 2 octets behind the field`},
		{"bad word", `{"type":"m-send-req","headers":[{"name":"X-Mms-Priority","value":"huge"}]}`, `headers[0]: X-Mms-Priority: "huge" is none of its words nor 0x80 to 0xFF`},
		{"bad date", `{"type":"m-send-req","headers":[{"name":"Date","value":"today"}]}`, `headers[0]: Date: "today" is no date in RFC 3339 from 1970 on, nor seconds since then`},
		{"content type among the headers", `{"type":"m-send-req","headers":[{"name":"Content-Type","value":"a/b"}],"content_type":{"value":"a/b"}}`,
			"headers[0]: the Content-Type belongs into content_type"},
		{"parts without a content type", `{"type":"m-send-req","headers":[],"parts":[{"content_type":{"value":"a/b"}}]}`, "content_type: is missing, though there is a body"},
		{"an empty content type", `{"type":"m-send-req","headers":[],"content_type":{"value":""}}`, `content_type: content type "" has no type`},
		{"bodies missing", `{"type":"m-send-req","headers":[],"content_type":{"value":"application/vnd.wap.multipart.mixed"},"parts":[{"content_type":{"value":"a/b"},"size":5}]}`,
			"parts[0]: has neither file nor data for its 5 octets"},
		{"file and data", `{"type":"m-send-req","headers":[],"content_type":{"value":"a/b"},"body":{"file":"x.txt","data":"YQ=="}}`,
			"body: has a file and data, only one of them is allowed"},
		{"body and parts", `{"type":"m-send-req","headers":[],"content_type":{"value":"a/b"},"body":{"data":"YQ=="},"parts":[]}`,
			"body: stands beside parts, only one of them is allowed"},
		{"a header that has no text form", `{"type":"m-send-req","headers":[],"content_type":{"value":"application/vnd.wap.multipart.mixed"},"parts":[{"content_type":{"value":"a/b"},"headers":[{"name":"Accept-Charset","value":"x"}]}]}`,
			"parts[0].headers[0]: Accept-Charset: this header has no text form, give its octets"},
		{"a multipart that is none", `{"type":"m-send-req","headers":[],"content_type":{"value":"application/vnd.wap.multipart.mixed"},"body":{"data":"BQ=="}}`,
			"the result is no PDU: octet 5: body: 5 parts are announced, none is there"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if p, err := mmsjson.Unmarshal([]byte(tc.doc), dir); err == nil || err.Error() != tc.want {
				t.Errorf("%v, %v", p, err)
			}
		})
	}
	if _, err := mmsjson.Unmarshal([]byte(`{"type":"m-send-req","headers":[],"content_type":{"value":"a/b"},"body":{"file":"none"}}`), dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestOracle lets an independent reader look at every capture that is built anew
// of the values in its document: all in one call, since it is slow to start.
func TestOracle(t *testing.T) {
	program := os.Getenv("MMSROUTER_ORACLE")
	if program == "" {
		t.Skip("MMSROUTER_ORACLE not set: no independent reader looks at what is built")
	}
	files, err := filepath.Glob(filepath.Join(corpus(t), "*.mms"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{"--no-hex"}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p, err := mms.Decode(b)
		if err != nil {
			continue // TestCorpus says which are to be refused
		}
		to := filepath.Join(dir, filepath.Base(f))
		if err := os.WriteFile(to, rebuild(t, p, filepath.Join(dir, "parts")).Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, to)
	}
	out, err := exec.Command(program, args...).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	for _, f := range args[1:] {
		var doc struct {
			Input, Verdict string
			Messages       []struct {
				Headers []struct{ Name, Value string }
				Parts   []struct {
					Size   int64
					SHA256 string
				}
			}
		}
		if err := dec.Decode(&doc); err != nil {
			t.Fatalf("answer of the reader: %v; %v", err, exit)
		}
		if doc.Verdict != "ok" || len(doc.Messages) != 1 {
			t.Errorf("%s: %s", doc.Input, doc.Verdict)
			continue
		}
		b, err := os.ReadFile(filepath.Join(corpus(t), strings.TrimSuffix(filepath.Base(f), ".mms")+".expected.json"))
		if err != nil {
			t.Fatal(err)
		}
		var want expected
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		m := want.Messages[0]
		if len(doc.Messages[0].Headers) != len(m.Headers) || len(doc.Messages[0].Parts) != len(m.Parts) {
			t.Errorf("%s: %d headers, %d parts; want %d, %d", doc.Input, len(doc.Messages[0].Headers), len(doc.Messages[0].Parts), len(m.Headers), len(m.Parts))
			continue
		}
		for i, h := range doc.Messages[0].Headers {
			if h.Name != m.Headers[i].Name || m.Headers[i].Charset == nil && h.Value != m.Headers[i].Value {
				t.Errorf("%s: %s %q, want %s %q", doc.Input, h.Name, h.Value, m.Headers[i].Name, m.Headers[i].Value)
			}
		}
		for i, p := range doc.Messages[0].Parts {
			if p.Size != m.Parts[i].Size || p.SHA256 != m.Parts[i].SHA256 {
				t.Errorf("%s: part %d differs", doc.Input, i+1)
			}
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add(sample(f))
	f.Add(unhex(f, "8C84 8D92 84 83 'gone'"))
	f.Add(unhex(f, "8C92 92 02 8080 93 07 80 05 EA 7F C3A9 00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := mms.Decode(b)
		if err != nil {
			return
		}
		doc, err := mmsjson.Describe(p, "")
		if err != nil {
			t.Fatal(err)
		}
		fill(doc, p)
		again, err := doc.PDU("")
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		second, err := mmsjson.Describe(again, "")
		if err != nil {
			t.Fatal(err)
		}
		fill(second, again)
		x, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		y, err := json.Marshal(second)
		if err != nil || !bytes.Equal(x, y) {
			t.Fatalf("%v\n%s\n%s", err, x, y)
		}
	})
}

// fill puts the bodies into a document as data.
func fill(doc *mmsjson.Document, p *mms.PDU) {
	if doc.Body != nil {
		doc.Body.Data = &p.Body
	}
	for i := range doc.Parts {
		doc.Parts[i].Data = &p.Parts[i].Data
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"type":"m-send-req","headers":[{"name":"To","value":"1"},{"name":"x","hex":"c5020102"}],"content_type":{"value":"a/b","params":[["x","y"]]},"parts":[{"content_type":{"value":"a/b"},"headers":[{"name":"Content-ID","value":"x"}],"data":"YQ=="}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Contains(b, []byte("file")) {
			return // no files are read for a fuzzer
		}
		p, err := mmsjson.Unmarshal(b, "")
		if err != nil {
			return
		}
		if _, err := mms.Decode(p.Encode()); err != nil {
			t.Fatalf("%s gives %x: %v", b, p.Encode(), err)
		}
	})
}
