package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
)

const (
	pngHead  = "\x89PNG\r\n\x1a\n"
	jpegHead = "\xff\xd8\xff\xe0\x00\x10JFIF\x00"
)

func TestMediaType(t *testing.T) {
	tests := []struct{ name, file, data, want string }{
		{"a picture under its name", "a.jpg", jpegHead, "image/jpeg"},
		{"a picture under a wrong name", "a.jpg", pngHead, "image/png"},
		{"text", "a.txt", "hello", "text/plain"},
		{"a voice", "a.AMR", "#!AMR\n", "audio/amr"},
		{"a film", "a.3gp", "\x00\x00\x00\x18ftyp3gp4", "video/3gpp"},
		{"SMIL", "a.smil", "<smil/>", "application/smil"},
		{"a card", "a.vcf", "BEGIN:VCARD", "text/x-vcard"},
		{"nobody knows", "a.bin", "\x00\x01\x02", "application/octet-stream"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := mediaType(tc.file, []byte(tc.data)); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestSafeName(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "/home/a/beach.jpg", "beach.jpg"},
		{"blanks and umlauts", "a b/Grün 1.jpg", "Gr_n_1.jpg"},
		{"long", strings.Repeat("x", 100) + ".jpeg", strings.Repeat("x", 35) + ".jpeg"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := safeName(tc.in); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestWireAddress(t *testing.T) {
	for in, want := range map[string]string{"+46701740606": "+46701740606/TYPE=PLMN", "12345": "12345/TYPE=PLMN", "a@example.net": "a@example.net",
		"+1/TYPE=PLMN": "+1/TYPE=PLMN", "": ""} {
		if got := wireAddress(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func files(t *testing.T, named map[string]string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for _, n := range []string{"a.jpg", "b.png", "c.amr", "own.smil"} {
		if data, ok := named[n]; ok {
			p := filepath.Join(dir, n)
			if err := os.WriteFile(p, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, p)
		}
	}
	return paths
}

func TestCompose(t *testing.T) {
	media := map[string]string{"a.jpg": jpegHead + "1", "b.png": pngHead + "2", "c.amr": "#!AMR\n3"}
	tests := []struct {
		name  string
		texts []string
		files map[string]string
		top   string
		parts []string
		smil  string
	}{
		{"a text alone", []string{"Hello"}, nil, "application/vnd.wap.multipart.mixed", []string{"text/plain"}, ""},
		{"pages", []string{"one", "two"}, media, "application/vnd.wap.multipart.related",
			[]string{"application/smil", "image/jpeg", "image/png", "audio/amr", "text/plain", "text/plain"},
			`<par dur="8s"><img src="a.jpg" region="Image"/><audio src="c.amr"/><text src="text.txt" region="Text"/></par>` +
				`<par dur="8s"><img src="b.png" region="Image"/><text src="text-2.txt" region="Text"/></par>`},
		{"one's own presentation", []string{"x"}, map[string]string{"a.jpg": jpegHead, "own.smil": "<smil><body/></smil>"},
			"application/vnd.wap.multipart.related", []string{"application/smil", "image/jpeg", "text/plain"}, "<smil><body/></smil>"},
	}
	var written []string
	dir := t.TempDir()
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			l := letter{from: testSender, subject: "Grüße", to: []string{"+46701740606", "a@example.net"}, cc: []string{"12345"}, texts: tc.texts, files: files(t, tc.files), report: true}
			b, err := l.compose()
			if err != nil {
				t.Fatal(err)
			}
			p, err := mms.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Check(); err != nil {
				t.Error(err)
			}
			if from, _ := p.From(); p.Type != mms.MSendReq || from != testSender+"/TYPE=PLMN" || len(p.Recipients()) != 3 || p.ContentType.Type != tc.top {
				t.Errorf("%v %q %q %v", p.Type, from, p.Recipients(), p.ContentType)
			}
			var got []string
			for i := range p.Parts {
				got = append(got, p.Parts[i].ContentType.Type)
			}
			if strings.Join(got, " ") != strings.Join(tc.parts, " ") {
				t.Errorf("parts %q, want %q", got, tc.parts)
			}
			if tc.smil != "" {
				if !bytes.Contains(p.Parts[0].Data, []byte(tc.smil)) {
					t.Errorf("presentation %s", p.Parts[0].Data)
				}
				if start := strings.Trim(p.ContentType.Param("start"), "<>"); start != p.Parts[0].ContentID() {
					t.Errorf("start %q, the presentation is %q", start, p.Parts[0].ContentID())
				}
			}
			file := filepath.Join(dir, strings.ReplaceAll(tc.name, " ", "-")+".mms")
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			written = append(written, file)
		})
	}
	t.Run("an independent reader finds them sound", func(t *testing.T) {
		oracle := os.Getenv("MMSROUTER_ORACLE")
		if oracle == "" {
			t.Skip("MMSROUTER_ORACLE not set: no independent reader looks at what send composes")
		}
		out, err := exec.Command(oracle, written...).CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("MALFORMED")) {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
