package platform_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

type file struct {
	name string
	data []byte
}

func zipped(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		w, err := z.Create(f.name)
		if err == nil {
			_, err = w.Write(f.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// mail makes a multipart of heads and bodies.
func mail(parts ...string) []byte {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--b\r\n" + p + "\r\n")
	}
	return []byte(b.String() + "--b--\r\n")
}

func TestMultipart(t *testing.T) {
	p := newPlatform(t, nil)
	picture := asJPEG(t, flat(100, 80), 80)
	b64 := base64.StdEncoding.EncodeToString(picture)
	smil := `<smil><body><par dur="5s"><img src="cid:pic@x"/><text src="words.txt"/></par></body></smil>`
	m := one(t, p, request("image-rich", platform.Item{Type: `multipart/related; boundary="b"`, Data: mail(
		"Content-Type: application/smil\r\n\r\n"+smil,
		"Content-Type: image/jpeg; name=\"../../etc/pass wd.jpg\"\r\nContent-ID: <pic@x>\r\nContent-Transfer-Encoding: BASE64\r\n\r\n"+b64,
		"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Location: words.txt\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe",
		"Content-Type: audio/amr\r\nX-Mmsrouter-Optional: yes\r\n\r\n"+string(amr(1)),
	)}))
	if got := m.part(t, "pass_wd.jpg"); !bytes.Equal(got.Data, picture) {
		t.Error(m.names())
	}
	if !strings.Contains(m.smil, `<par dur="5000ms"><img src="pass_wd.jpg" region="Image"/><text src="text.txt" region="Text"/></par>`) {
		t.Error(m.smil)
	}
	if got := m.part(t, "text.txt"); string(got.Data) != "Grüße" || got.ContentType.Param("charset") != "utf-8" {
		t.Errorf("%q %s", got.Data, got.ContentType)
	}
}

func TestFormData(t *testing.T) {
	m := one(t, newPlatform(t, nil), request("image-rich", platform.Item{Type: "multipart/form-data; boundary=b", Data: mail(
		"Content-Disposition: form-data; name=subject\r\n\r\nToday's question",
		"Content-Disposition: form-data; name=file; filename=a.gif\r\nContent-Type: application/octet-stream\r\n\r\n"+string(animation(t, 20, 20, 2)),
		"Content-Disposition: form-data; name=t\r\n\r\nHello",
	)}))
	if m.pdu.Subject() != "Today's question" || string(m.part(t, "text.txt").Data) != "Hello" || m.part(t, "a.gif").ContentType.Type != "image/gif" {
		t.Error(m.pdu.Subject(), m.names())
	}
}

func TestAlternatives(t *testing.T) {
	for name, parts := range map[string][]string{
		"plain and html": {"Content-Type: text/plain\r\n\r\nplain", "Content-Type: text/html\r\n\r\n<b>html</b>"},
		"html only":      {"Content-Type: text/html\r\n\r\n<b>plain</b>"},
		"nested":         {"Content-Type: text/html\r\n\r\n<b>html</b>", "Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: text/plain\r\n\r\nplain\r\n--c--\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m := one(t, newPlatform(t, nil), request("text", platform.Item{Type: "multipart/alternative; boundary=b", Data: mail(parts...)}))
			if len(m.pdu.Parts) != 2 || string(m.part(t, "text.txt").Data) != "plain" {
				t.Error(m.names())
			}
		})
	}
}

func TestZip(t *testing.T) {
	z := zipped(t, file{"site/index.smil", []byte(`<SMIL><BODY><PAR DUR="3s"><IMG SRC="img/a%20b.png"></IMG></PAR></BODY></SMIL>`)},
		file{"site/img/a b.png", asPNG(t, flat(300, 200))}, file{"__MACOSX/x.png", []byte("x")}, file{".DS_Store", []byte("x")}, file{"../../evil.txt", []byte("text")})
	m := one(t, newPlatform(t, nil), request("image-basic", platform.Item{Type: "application/zip", Data: z}))
	if !strings.Contains(m.smil, `<img src="a_b.jpg" region="Image"/>`) || string(m.part(t, "evil.txt").Data) != "text" || len(m.pdu.Parts) != 3 {
		t.Error(m.names(), m.smil)
	}
}

func TestMessageOfWAP(t *testing.T) {
	p := newPlatform(t, nil)
	res, err := p.Compose(context.Background(), request("image-rich", text("inner"), platform.Item{Name: "p.png", Data: asPNG(t, flat(30, 30))}))
	if err != nil {
		t.Fatal(err)
	}
	pdu, err := res.Messages[0].Encode()
	if err != nil {
		t.Fatal(err)
	}
	m := one(t, p, request("image-rich", platform.Item{Type: "application/vnd.wap.mms-message", Data: pdu}))
	if string(m.part(t, "text.txt").Data) != "inner" || !strings.Contains(m.smil, "p.") {
		t.Error(m.names(), m.smil)
	}
	body, err := wsp.AppendParts(nil, res.Messages[0].Parts)
	if err != nil {
		t.Fatal(err)
	}
	if m := one(t, p, request("image-rich", platform.Item{Type: wsp.MultipartMixed, Data: body})); len(m.pdu.Parts) != 3 {
		t.Error(m.names())
	}
}

// provider serves content; /redirect leads into a private network.
func provider(t *testing.T, picture []byte) *httptest.Server {
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/list":
			w.Header().Set("Content-Type", "text/uri-list")
			fmt.Fprintf(w, "# pages\r\n%s/pic?size=1\r\n\r\n%s/words\r\n", s.URL, s.URL)
		case "/pic":
			w.Header().Set("Content-Type", "text/plain") // wrong, as it happens
			w.Header().Set("Content-Disposition", `attachment; filename="shot.jpeg"`)
			_, _ = w.Write(picture)
		case "/words":
			w.Header().Set("Content-Type", "text/html; charset=windows-1251")
			_, _ = io.WriteString(w, "<title>Привет</title><p>\xcf\xf0\xe8\xe2\xe5\xf2")
		case "/loop":
			w.Header().Set("Content-Type", "text/uri-list")
			fmt.Fprintf(w, "%s/loop\r\n%s/loop\r\n", s.URL, s.URL)
		case "/redirect":
			http.Redirect(w, r, "http://10.0.0.1/", http.StatusFound)
		case "/large":
			_, _ = w.Write(make([]byte, 300<<10))
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func fetching(t *testing.T, change func(*platform.Config)) *platform.Platform {
	c := outgoing.DefaultConfig()
	c.Allow, c.Timeout, c.Connect = []string{"127.0.0.1"}, 10*time.Second, time.Second
	g, err := outgoing.New(outgoing.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return newPlatform(t, func(o *platform.Options) {
		o.Fetch = g.Client(outgoing.ClientOptions{})
		if change != nil {
			change(&o.Config)
		}
	})
}

func TestContentByURL(t *testing.T) {
	s := provider(t, asJPEG(t, flat(800, 600), 80))
	p := fetching(t, nil)
	m := one(t, p, request("image-rich", platform.Item{URL: s.URL + "/list"}))
	if string(m.part(t, "words.txt").Data) != "Привет" || !strings.Contains(m.smil, `<img src="shot.jpeg"`) {
		t.Error(m.names(), m.smil)
	}
	r := request("image-rich", platform.Item{URL: s.URL + "/pic"})
	r.Content.SMIL = []byte(`<smil><body><par><img src="` + s.URL + `/pic"/></par></body></smil>`)
	if m := one(t, p, r); m.noted(platform.NewSMIL) || m.noted(platform.Reference) {
		t.Error(m.notes)
	}
	if m := one(t, p, request("text", text("x"), platform.Item{URL: s.URL + "/gone", Optional: true})); !m.noted(platform.Dropped) {
		t.Error(m.notes)
	}
	for path, want := range map[string]struct {
		kind  platform.Kind
		retry bool
	}{"/loop": {platform.TooLarge, false}, "/redirect": {platform.Unobtainable, false}, "/gone": {platform.Unobtainable, false}, "/busy": {platform.Unobtainable, true}} {
		if e := refused(t, p, request("text", platform.Item{URL: s.URL + path}), want.kind); e.Retry != want.retry {
			t.Errorf("%s: %v, retry %v", path, e, e.Retry)
		}
	}
	for _, u := range []string{"file:///etc/passwd", "http://10.0.0.1/", "http://169.254.169.254/latest/meta-data", "http://localhost:1/x"} {
		refused(t, p, request("text", platform.Item{URL: u}), platform.Unobtainable)
	}
	refused(t, newPlatform(t, nil), request("text", platform.Item{URL: s.URL + "/pic"}), platform.Unobtainable)
	small := fetching(t, func(c *platform.Config) { c.Input.Size = 100 << 10 })
	refused(t, small, request("text", platform.Item{URL: s.URL + "/large"}), platform.TooLarge)
}

func TestHostileContent(t *testing.T) {
	p := newPlatform(t, nil)
	zeros := make([]byte, 8<<20)
	bomb := zipped(t, file{"a.txt", zeros})
	many := make([]file, 450)
	for i := range many {
		many[i] = file{fmt.Sprint(i), []byte("x")}
	}
	nested := []byte("deep")
	for range 6 {
		nested = zipped(t, file{"a.zip", nested})
	}
	encrypted := zipped(t, file{"a.txt", []byte("x")})
	for i := 0; i+10 < len(encrypted); i++ { // the flag of both headers
		switch string(encrypted[i : i+4]) {
		case "PK\x03\x04":
			encrypted[i+6] |= 1
		case "PK\x01\x02":
			encrypted[i+8] |= 1
		}
	}
	inner := "Content-Type: text/plain\r\n\r\nx"
	for i := range 6 {
		inner = fmt.Sprintf("Content-Type: multipart/mixed; boundary=in%d\r\n\r\n--in%d\r\n%s\r\n--in%d--", i, i, inner, i)
	}
	huge := asPNG(t, flat(8, 8))
	copy(huge[16:], []byte{0, 1, 0, 0, 0, 1, 0, 0}) // 65536 by 65536; the checksum is wrong now, too
	tests := []struct {
		name string
		item platform.Item
		kind platform.Kind
	}{
		{"zip bomb", platform.Item{Name: "a.zip", Data: bomb}, platform.TooLarge},
		{"zip of many", platform.Item{Name: "a.zip", Data: zipped(t, many...)}, platform.TooLarge},
		{"zip in zip", platform.Item{Name: "a.zip", Data: nested}, platform.TooLarge},
		{"encrypted zip", platform.Item{Name: "a.zip", Data: encrypted}, platform.Unusable},
		{"cut zip", platform.Item{Name: "a.zip", Data: encrypted[:40]}, platform.TooLarge},
		{"no zip", platform.Item{Type: "application/zip", Data: []byte("PK\x03\x04 nothing")}, platform.TooLarge},
		{"deep multipart", platform.Item{Type: "multipart/mixed; boundary=b", Data: mail(inner)}, platform.TooLarge},
		{"multipart of many", platform.Item{Type: "multipart/mixed; boundary=b", Data: mail(strings.Split(strings.Repeat("\r\nx|", 300), "|")...)}, platform.TooLarge},
		{"no boundary", platform.Item{Type: "multipart/mixed", Data: mail("\r\nx")}, platform.Unusable},
		{"cut multipart", platform.Item{Type: "multipart/mixed; boundary=b", Data: []byte("--b\r\n\r\nx")}, platform.Unusable},
		{"unknown encoding", platform.Item{Type: "multipart/mixed; boundary=b", Data: mail("Content-Transfer-Encoding: x-uu\r\n\r\nx")}, platform.Unusable},
		{"broken base64", platform.Item{Type: "multipart/mixed; boundary=b", Data: mail("Content-Transfer-Encoding: base64\r\n\r\n!!!")}, platform.Unusable},
		{"no WAP multipart", platform.Item{Type: "application/vnd.wap.multipart.mixed", Data: []byte{5, 200, 200}}, platform.Unusable},
		{"no message", platform.Item{Type: "application/vnd.wap.mms-message", Data: []byte("hello")}, platform.Unusable},
		{"picture of 4 gigapixels", platform.Item{Data: huge}, platform.Unusable},
		{"cut picture", platform.Item{Data: asJPEG(t, noise(100, 100), 80)[:2000]}, platform.Unusable},
		{"TIFF", platform.Item{Type: "image/tiff", Data: []byte("II*\x00\x08\x00\x00\x00")}, platform.Unusable},
		{"only a head", platform.Item{Data: []byte("GIF89a")}, platform.Unusable},
		{"nothing", platform.Item{}, platform.Unusable},
		{"empty page", platform.Item{Type: "text/html", Data: []byte("<script>alert(1)</script>")}, platform.Unusable},
		{"not of the class", platform.Item{Type: "application/java-archive", Data: []byte("PK")}, platform.Unusable},
		{"too much", platform.Item{Type: "text/plain", Data: make([]byte, 11<<20)}, platform.TooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { refused(t, p, request("image-rich", tt.item), tt.kind) })
	}
	t.Run("one broken among others", func(t *testing.T) {
		m := one(t, p, request("image-rich", text("x"), platform.Item{Data: huge}))
		if !m.noted(platform.Broken) {
			t.Error(m.notes)
		}
	})
	t.Run("too many", func(t *testing.T) {
		refused(t, p, request("image-rich", make([]platform.Item, 101)...), platform.TooLarge)
	})
}

func TestZipLinksAreNotFollowed(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	h := &zip.FileHeader{Name: "link.txt"}
	h.SetMode(fs.ModeSymlink | 0o777)
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = io.WriteString(w, "/etc/passwd")
	}
	if err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	refused(t, newPlatform(t, nil), request("text", platform.Item{Name: "a.zip", Data: b.Bytes()}), platform.Unusable)
}
