package platform_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

func TestWrittenPresentation(t *testing.T) {
	p := newPlatform(t, nil)
	gif := platform.Item{Name: "p.gif", Data: animation(t, 20, 20, 2)}
	film := platform.Item{Name: "v.3gp", Type: "video/3gpp", Data: []byte("film")}
	sound := platform.Item{Name: "s.amr", Data: amr(750)} // 15 s
	tests := []struct {
		name  string
		pages []platform.Page
		items []platform.Item
		want  string // from the first region on
	}{
		{"text alone", nil, []platform.Item{text("Hi")}, `<region id="Text" left="0" top="0" width="100%" height="100%" fit="scroll"/></layout></head><body>` +
			`<par dur="8000ms"><text src="text.txt" region="Text"/></par></body></smil>`},
		{"picture alone", nil, []platform.Item{gif}, `<region id="Image" left="0" top="0" width="100%" height="100%" fit="meet"/></layout></head><body>` +
			`<par dur="8000ms"><img src="p.gif" region="Image"/></par></body></smil>`},
		{"all on one page", nil, []platform.Item{sound, gif, text("Hi")}, `<region id="Image" left="0" top="0" width="100%" height="70%" fit="meet"/>` +
			`<region id="Text" left="0" top="70%" width="100%" height="30%" fit="scroll"/></layout></head><body>` +
			`<par dur="15000ms"><img src="p.gif" region="Image"/><text src="text.txt" region="Text"/><audio src="s.amr"/></par></body></smil>`},
		{"loose ones are paired", nil, []platform.Item{gif, film, text("1"), text("2"), text("3")}, `<region id="Image" left="0" top="0" width="100%" height="70%" fit="meet"/>` +
			`<region id="Text" left="0" top="70%" width="100%" height="30%" fit="scroll"/></layout></head><body>` +
			`<par dur="8000ms"><img src="p.gif" region="Image"/><text src="text.txt" region="Text"/></par>` +
			`<par dur="8000ms"><video src="v.3gp" region="Image"/><text src="text-2.txt" region="Text"/></par>` +
			`<par dur="8000ms"><text src="text-3.txt" region="Text"/></par></body></smil>`},
		{"pages are kept", []platform.Page{{Items: []platform.Item{text("1"), gif, film}, Duration: 3 * time.Second}, {Items: []platform.Item{text(strings.Repeat("long ", 60))}}}, nil,
			`<region id="Image" left="0" top="0" width="100%" height="70%" fit="meet"/>` +
				`<region id="Text" left="0" top="70%" width="100%" height="30%" fit="scroll"/></layout></head><body>` +
				`<par dur="3000ms"><img src="p.gif" region="Image"/><text src="text.txt" region="Text"/></par>` +
				`<par dur="3000ms"><video src="v.3gp" region="Image"/></par>` +
				`<par dur="21000ms"><text src="text-2.txt" region="Text"/></par></body></smil>`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request("video-rich")
			r.Content.Pages, r.Content.Items = tt.pages, tt.items
			m := one(t, p, r)
			if want := `<smil><head><layout><root-layout width="640" height="480"/>` + tt.want; m.smil != want {
				t.Errorf("got  %s\nwant %s", m.smil, want)
			}
			if !m.pdu.ContentType.Is("application/vnd.wap.multipart.related") || m.pdu.ContentType.Param("start") != "<smil>" || m.pdu.ContentType.Param("type") != "application/smil" {
				t.Error(m.pdu.ContentType)
			}
		})
	}
	card := platform.Item{Name: "me.vcf", Data: []byte("BEGIN:VCARD\r\nEND:VCARD\r\n")}
	if m := one(t, p, request("image-rich", card)); m.smil != "" || !m.pdu.ContentType.Is("application/vnd.wap.multipart.mixed") {
		t.Error(m.names(), m.pdu.ContentType)
	}
}

func TestGivenPresentation(t *testing.T) {
	p := newPlatform(t, nil)
	items := []platform.Item{
		{Name: "A picture.gif", ID: "<pic>", Data: animation(t, 20, 20, 2)}, {Name: "b.txt", Type: "text/plain", Data: []byte("words")},
		{Name: "c.amr", Location: "sounds/c.amr", Data: amr(10)},
	}
	body := func(s string) string { i := strings.Index(s, "<body>"); return s[max(i, 0):] }
	tests := []struct{ name, smil, want string }{
		{"as handsets write it", `<smil><head><layout><root-layout width="160px" height="200" background-color="#fff"/><region id="Text" left="0" top="50%" width="100%" height="50%" fit="hidden"/>` +
			`<region id="Image" top="0" left="0" width="160" height="100" fit="fill"/></layout></head><body><par dur="2000ms"><img src="cid:pic" region="Image" begin="350ms" end="2s"/><text src="b.txt" region="Text" alt="a&lt;b"/></par></body></smil>`,
			`<par dur="2000ms"><img src="A_picture.gif" region="Image" begin="350ms" end="2000ms"/><text src="b.txt" region="Text" alt="a&lt;b"/></par>`},
		{"other case and forms", "\xef\xbb\xbf<?xml version='1.0' encoding='ISO-8859-1'?><!DOCTYPE smil PUBLIC \"-//W3C//DTD SMIL 2.0//EN\" \"http://www.w3.org/2001/SMIL20/SMIL20.dtd\"><SMIL><BODY><PAR DUR=5><IMG SRC='a%20picture.GIF'></IMG><AUDIO SRC=\"c.amr\"></PAR></BODY></SMIL>",
			`<par dur="5000ms"><img src="A_picture.gif" region="Image"/><audio src="c.amr"/></par>`},
		{"sequence and no page", `<smil><body><seq><par dur="1.5s"><ref src="pic"/></par><text src="b.txt" dur="00:03"/></seq></body></smil>`,
			`<par dur="1500ms"><img src="A_picture.gif" region="Image"/></par><par dur="3000ms"><text src="b.txt" region="Text"/></par>`},
		{"two pictures on a page", `<smil><body><par dur="9s"><img src="pic"/><img src="pic"/><text src="b.txt"/></par></body></smil>`,
			`<par dur="9000ms"><img src="A_picture.gif" region="Image"/><text src="b.txt" region="Text"/></par><par dur="9000ms"><img src="A_picture.gif" region="Image"/></par>`},
		{"strange values", `<smil><head><layout><root-layout width="9&quot;/>&lt;x" background-color="url(http://x)"/></layout></head><body><par dur="-5s" onload="x"><img src="pic" region="&quot;&gt;" begin="1e99s"/><script>x</script></par></body></smil>`,
			`<par dur="8000ms"><img src="A_picture.gif" region="Image"/></par>`},
		{"never closed", `<smil><body><par dur="2s"><img src="pic"><text src="b.txt">`,
			`<par dur="2000ms"><img src="A_picture.gif" region="Image"/><text src="b.txt" region="Text"/></par>`},
		{"a reference to nothing", `<smil><body><par dur="2s"><img src="pic"/><text src="http://10.0.0.1/x"/></par></body></smil>`,
			`<par dur="2000ms"><img src="A_picture.gif" region="Image"/></par>`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request("video-rich", items...)
			r.Content.SMIL = []byte(tt.smil)
			m := one(t, p, r)
			if got := body(m.smil); got != "<body>"+tt.want+"</body></smil>" || m.noted(platform.NewSMIL) {
				t.Errorf("got  %s\nwant %s\n%v", got, tt.want, m.notes)
			}
			if len(m.pdu.Parts) != 4 {
				t.Errorf("what is not shown has to stay beside: %s", m.names())
			}
		})
	}
	r := request("video-rich", items...)
	r.Content.SMIL = []byte(tests[0].smil)
	if head, _, _ := strings.Cut(one(t, p, r).smil, "<body>"); head != `<smil><head><layout><root-layout width="160px" height="200" background-color="#fff"/>`+
		`<region id="Image" left="0" top="0" width="160" height="100" fit="fill"/><region id="Text" left="0" top="50%" width="100%" height="50%" fit="hidden"/></layout></head>` {
		t.Error(head)
	}
}

func TestPresentationThatCantBeUsed(t *testing.T) {
	p := newPlatform(t, nil)
	for name, smil := range map[string]string{
		"empty": " ", "no smil": "<html><body><par><text src='b.txt'/></par></body></html>", "no pages": "<smil><body/></smil>", "text": "hello",
		"entities":    `<!DOCTYPE smil [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><smil><body><par><text src="b.txt" alt="&b;"/></par></body></smil>`,
		"outside":     `<!DOCTYPE smil [<!ENTITY x SYSTEM "file:///etc/passwd">]><smil><body><par><text src="b.txt"/></par></body></smil>`,
		"deep":        "<smil><body>" + strings.Repeat("<seq>", 50) + `<text src="b.txt"/>`,
		"many":        "<smil><body>" + strings.Repeat(`<par><text src="b.txt"/></par>`, 600) + "</body></smil>",
		"large":       "<smil><body><par><text src='b.txt'/>" + strings.Repeat(" ", 70000) + "</par></body></smil>",
		"all dangle":  `<smil><body><par><img src="nothing.gif"/></par></body></smil>`,
		"broken tags": "<smil><body><par><text src=\"b.txt",
	} {
		t.Run(name, func(t *testing.T) {
			r := request("text", platform.Item{Name: "b.txt", Type: "text/plain", Data: []byte("words")})
			r.Content.SMIL = []byte(smil)
			m := one(t, p, r)
			if !m.noted(platform.NewSMIL) || !strings.Contains(m.smil, `<par dur="8000ms"><text src="b.txt" region="Text"/></par>`) || strings.Contains(m.smil, "aaaa") {
				t.Error(m.smil, m.notes)
			}
		})
	}
}

func TestNames(t *testing.T) {
	p := newPlatform(t, nil)
	given := []string{"a.txt", "A.TXT", "../a.txt", `C:\docs\b.txt`, "", "..", "smil", "presentation.smil", strings.Repeat("x", 100) + ".txt", "ß€.txt", "a\r\nb.txt", "x.exe"}
	want := []string{"a.txt", "A-2.TXT", "a-3.txt", "b.txt", "text.txt", "text-2.txt", "smil.txt", "presentation.txt", strings.Repeat("x", 36) + ".txt", "text-3.txt", "a_b.txt", "x.txt"}
	r := request("text")
	for _, name := range given {
		r.Content.Items = append(r.Content.Items, platform.Item{Name: name, Type: "text/plain", Data: []byte("x")})
	}
	m := one(t, p, r)
	for i, w := range want {
		if got := m.pdu.Parts[i+1].FileName(); got != w {
			t.Errorf("%q became %q, want %q", given[i], got, w)
		}
	}
}
