package platform_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

// TestOracle asks an independent reader whether the messages are sound, in one
// call, since it is slow to start.
func TestOracle(t *testing.T) {
	program := os.Getenv("MMSROUTER_ORACLE")
	if program == "" {
		t.Skip("MMSROUTER_ORACLE not set: no independent reader looks at the messages")
	}
	p := newPlatform(t, nil)
	picture := platform.Item{Name: "photo.jpg", Data: asJPEG(t, flat(900, 700), 80)}
	full := request("video-rich", picture, text("Grüße"), platform.Item{Name: "s.amr", Data: amr(20)},
		platform.Item{Name: "c.vcf", Data: []byte("BEGIN:VCARD\r\nEND:VCARD\r\n")})
	full.Subject, full.Version, full.DeliveryReport = "Ünicode", mms.Version13, true
	requests := map[string]platform.Request{
		"text": request("text", text("Hello")), "full": full, "split": request("text", text(strings.Repeat("many words ", 6000))),
		"drm":         request("image-rich", platform.Item{Type: "application/vnd.oma.drm.message; boundary=b", Data: []byte("--b\r\n\r\nx\r\n--b--")}),
		"page":        request("image-basic", platform.Item{Type: "text/html", Data: []byte("<title>T</title><p>Hi</p>")}, picture),
		"attachments": request("image-rich", platform.Item{Name: "c.vcf", Data: []byte("BEGIN:VCARD\r\nEND:VCARD\r\n")}),
	}
	dir := t.TempDir()
	var files []string
	parts := make(map[string]int)
	for name, r := range requests {
		res, err := p.Compose(context.Background(), r)
		if err != nil {
			t.Fatal(name, err)
		}
		for i, m := range res.Messages {
			pdu, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, fmt.Sprintf("%s-%d.mms", name, i))
			if err := os.WriteFile(file, pdu, 0o600); err != nil {
				t.Fatal(err)
			}
			files, parts[filepath.Base(file)] = append(files, file), len(m.Parts)
		}
	}
	out, err := exec.Command(program, files...).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for range files {
		var doc struct {
			Input, Verdict string
			Messages       []struct {
				Type     string
				Parts    []any
				Problems []struct{ Text string }
			}
		}
		if err := dec.Decode(&doc); err != nil {
			t.Fatalf("answer of the reader: %v; %v", err, exit)
		}
		if doc.Verdict != "ok" || len(doc.Messages) != 1 || doc.Messages[0].Type != "m-send-req" || len(doc.Messages[0].Parts) != parts[doc.Input] {
			t.Errorf("%s: %s, %+v; want %d parts", doc.Input, doc.Verdict, doc.Messages, parts[doc.Input])
		}
	}
}
