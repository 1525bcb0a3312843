package dispatcher_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

// mmscDoor is where the platform submits.
type mmscDoor chan []byte

func (d mmscDoor) Submit(_ context.Context, pdu []byte) (string, error) {
	d <- pdu
	return fmt.Sprintf("id-%d", len(d)), nil
}

func picture(t *testing.T) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 900, 700))
	for y := range 700 {
		for x := range 900 {
			img.Set(x, y, color.RGBA{uint8(x), uint8(y), uint8(x * y), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestWholeMessages has the platform make the messages: content given inside XML and JSON, raw, and named by URL.
func TestWholeMessages(t *testing.T) {
	pic := picture(t)
	media := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		if _, err := w.Write(pic); err != nil {
			t.Log(err)
		}
	}))
	defer media.Close()
	inXML := `<service-reply xmlns="urn:mmsrouter:service:1" version="1"><subject>Fråga</subject><page duration="5"><text>Vilken flagga?</text>%s</page></service-reply>`
	for _, tc := range []struct{ name, format, contentType, body string }{
		{"xml, picture inside", "xml", "application/xml", fmt.Sprintf(inXML, `<part type="image/png" name="flag.png">`+base64.StdEncoding.EncodeToString(pic)+`</part>`)},
		{"xml, picture by URL", "xml", "application/xml", fmt.Sprintf(inXML, `<part type="image/png" name="flag.png" url="`+media.URL+`"/>`)},
		{"json, picture by URL", "json", "application/json", `{"version":1,"text":"Vilken flagga?","parts":[{"type":"image/png","url":"` + media.URL + `"}]}`},
		{"http, raw picture", "http", "image/png", string(pic)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tc.contentType)
				fmt.Fprint(w, tc.body)
			}))
			defer srv.Close()
			gc := outgoing.DefaultConfig()
			gc.Allow = []string{"127.0.0.1"}
			guard, err := outgoing.New(outgoing.Options{Config: gc})
			if err != nil {
				t.Fatal(err)
			}
			defer guard.Close()
			door := make(mmscDoor, 10)
			plat, err := platform.New(platform.Options{Config: platform.DefaultConfig(), Fetch: guard.Client(outgoing.ClientOptions{}), Submit: door})
			if err != nil {
				t.Fatal(err)
			}
			n := start(t, plat, setup{})
			enter(t, n, fmt.Sprintf(`{name: quiz, match: {codes: ["7000"]}, provider: {url: "%s/", format: %s, max_answer: 20MiB}}`, srv.URL, tc.format))
			say(t, n, "7000", "quiz")
			var pdu []byte
			select {
			case pdu = <-door:
			case <-time.After(30 * time.Second):
				t.Fatal("no message")
			}
			m, err := mms.Decode(pdu)
			if err != nil {
				t.Fatal(err)
			}
			var seen bool
			for i := range m.Parts {
				cfg, err := jpeg.DecodeConfig(bytes.NewReader(m.Parts[i].Data))
				if err != nil {
					continue
				}
				seen = true
				if cfg.Width > 640 || cfg.Height > 480 {
					t.Errorf("picture of %d by %d", cfg.Width, cfg.Height)
				}
			}
			if !seen || len(pdu) > 300<<10 {
				t.Errorf("picture: %v, %d octets", seen, len(pdu))
			}
			oracle(t, pdu)
		})
	}
}

// oracle has the independent reader look at a PDU.
func oracle(t *testing.T, pdu []byte) {
	t.Helper()
	program := os.Getenv("MMSROUTER_ORACLE")
	if program == "" {
		t.Skip("MMSROUTER_ORACLE not set: no independent reader looks at the messages")
	}
	file := filepath.Join(t.TempDir(), "reply.mms")
	if err := os.WriteFile(file, pdu, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, file).Output()
	var doc struct{ Verdict string }
	if e := json.Unmarshal(out, &doc); e != nil || doc.Verdict != "ok" {
		t.Errorf("the independent reader: %v, %s\n%s", err, doc.Verdict, out)
	}
}
