package main

import (
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// letter is a message to compose.
type letter struct {
	from, subject string
	to, cc, bcc   []string
	texts, files  []string
	report        bool
}

// item is one part of a message.
type item struct {
	name, media string
	data        []byte
}

const smilType = "application/smil"

// compose makes the M-Send.req: several parts become a presentation (multipart/related with SMIL in front), a
// single one stands alone.
func (l *letter) compose() ([]byte, error) {
	if len(l.to)+len(l.cc)+len(l.bcc) == 0 {
		return nil, wrongUsage("send: give a recipient with --to")
	}
	items, err := l.items()
	if err != nil {
		return nil, err
	}
	m := mms.SendReq{TransactionID: rand.Text()[:16], Version: mms.Version12, Date: time.Now(), From: wireAddress(l.from), Subject: l.subject,
		To: wireAddresses(l.to), Cc: wireAddresses(l.cc), Bcc: wireAddresses(l.bcc)}
	if l.report {
		m.DeliveryReport = mms.Yes
	}
	m.ContentType = wsp.Media("application/vnd.wap.multipart.mixed")
	if len(items) > 1 {
		if items[0].media != smilType {
			items = append([]item{{"message.smil", smilType, presentation(items)}}, items...)
		}
		m.ContentType = wsp.Media("application/vnd.wap.multipart.related", "type", smilType, "start", "<"+items[0].name+">")
	}
	parts := make([]wsp.Part, len(items))
	for i, it := range items {
		if parts[i], err = it.part(); err != nil {
			return nil, fmt.Errorf("part %s: %w", it.name, err)
		}
	}
	return wsp.AppendParts(m.AppendHead(nil), parts)
}

func (it *item) part() (wsp.Part, error) {
	params := []string{"name", it.name}
	if strings.HasPrefix(it.media, "text/") || it.media == smilType {
		params = append([]string{"charset", "utf-8"}, params...)
	}
	p := wsp.Part{ContentType: wsp.Media(it.media, params...), Data: it.data, Size: int64(len(it.data))}
	for name, value := range map[string]string{"Content-ID": "<" + it.name + ">", "Content-Location": it.name} {
		h, err := wsp.NewHeader(name, value)
		if err != nil {
			return p, err
		}
		p.Headers = append(p.Headers, h)
	}
	return p, nil
}

// items gathers texts and files, a SMIL file first, each under a name of its own.
func (l *letter) items() ([]item, error) {
	var items []item
	taken := map[string]bool{"message.smil": true}
	add := func(name, media string, data []byte) {
		base, ext := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name)
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s-%d%s", base, n, ext)
		}
		taken[name] = true
		it := item{name, media, data}
		if media == smilType {
			items = append([]item{it}, items...)
			return
		}
		items = append(items, it)
	}
	for _, f := range l.files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		add(safeName(f), mediaType(f, b), b)
	}
	for _, t := range l.texts {
		add("text.txt", "text/plain", []byte(t))
	}
	if len(items) == 0 {
		return nil, wrongUsage("send: give --text or --file")
	}
	return items, nil
}

// safeName keeps of a path what every handset takes for a name.
func safeName(path string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, filepath.Base(path))
	if ext := filepath.Ext(name); len(name) > 40 {
		name = name[:40-min(len(ext), 20)] + ext[:min(len(ext), 20)]
	}
	return name
}

// byExtension holds what content does not tell, or tells too broadly.
var byExtension = map[string]string{
	".txt": "text/plain", ".smil": smilType, ".smi": smilType, ".vcf": "text/x-vcard", ".ics": "text/calendar", ".html": "text/html",
	".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".bmp": "image/bmp", ".webp": "image/webp",
	".wbmp": "image/vnd.wap.wbmp", ".heic": "image/heic", ".svg": "image/svg+xml",
	".amr": "audio/amr", ".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".aac": "audio/aac", ".wav": "audio/wav", ".ogg": "audio/ogg", ".mid": "audio/midi",
	".3gp": "video/3gpp", ".3g2": "video/3gpp2", ".mp4": "video/mp4", ".pdf": "application/pdf",
}

// mediaType believes a picture's content before its name, and the name where content says little.
func mediaType(path string, data []byte) string {
	sniffed, _, _ := strings.Cut(http.DetectContentType(data), ";")
	if strings.HasPrefix(sniffed, "image/") {
		return sniffed
	}
	if m := byExtension[strings.ToLower(filepath.Ext(path))]; m != "" {
		return m
	}
	return sniffed
}

// wireAddress gives a number its type; mail addresses and those that have a type stay.
func wireAddress(a string) string {
	if a == "" || strings.ContainsAny(a, "@/") {
		return a
	}
	return a + "/TYPE=PLMN"
}

func wireAddresses(list []string) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = wireAddress(strings.TrimSpace(a))
	}
	return out
}

// presentation writes a SMIL of pages as OMA-MMS-CONF has them: a picture or video with its sound and its text on
// one page, in the order given.
func presentation(items []item) []byte {
	type page struct{ visual, audio, text string }
	var pages []page
	on := func(slot func(*page) *string, name string) {
		for i := range pages {
			if s := slot(&pages[i]); *s == "" {
				*s = name
				return
			}
		}
		pages = append(pages, page{})
		*slot(&pages[len(pages)-1]) = name
	}
	tags := map[string]string{}
	for _, it := range items {
		kind, _, _ := strings.Cut(it.media, "/")
		switch kind {
		case "image":
			tags[it.name] = "img"
			on(func(p *page) *string { return &p.visual }, it.name)
		case "video":
			tags[it.name] = "video"
			on(func(p *page) *string { return &p.visual }, it.name)
		case "audio":
			tags[it.name] = "audio"
			on(func(p *page) *string { return &p.audio }, it.name)
		case "text":
			tags[it.name] = "text"
			on(func(p *page) *string { return &p.text }, it.name)
		}
	}
	var b strings.Builder
	b.WriteString(`<smil><head><layout><root-layout width="100%" height="100%"/>` +
		`<region id="Image" left="0" top="0" width="100%" height="70%" fit="meet"/>` +
		`<region id="Text" left="0" top="70%" width="100%" height="30%" fit="scroll"/></layout></head><body>`)
	for _, p := range pages {
		b.WriteString(`<par dur="8s">`)
		for _, m := range []struct{ name, region string }{{p.visual, "Image"}, {p.audio, ""}, {p.text, "Text"}} {
			if m.name == "" {
				continue
			}
			fmt.Fprintf(&b, `<%s src="`, tags[m.name])
			_ = xml.EscapeText(&b, []byte(m.name)) // a strings.Builder never fails
			b.WriteString(`"`)
			if m.region != "" {
				fmt.Fprintf(&b, ` region="%s"`, m.region)
			}
			b.WriteString("/>")
		}
		b.WriteString("</par>")
	}
	b.WriteString("</body></smil>")
	return []byte(b.String())
}
