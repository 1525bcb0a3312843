package platform

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

// Durations of a page that says none: long enough to be read, and never shorter
// than its sound.
const (
	pageTime    = 8 * time.Second
	letterTime  = 70 * time.Millisecond
	longestPage = 60 * time.Second
)

// writeSMIL writes the presentation of a deck by the rules of OMA-MMS-CONF: a
// root layout, at most the regions Image and Text, one par for each page with at
// most one picture or video, one text and one sound. Without document type and
// namespace, as handsets write it.
func writeSMIL(d *deck, width, height int) []byte {
	var visual, text bool
	for _, s := range d.slides {
		visual, text = visual || s.visual.part != nil, text || s.text.part != nil
	}
	g := d.layout
	if g == nil {
		g = &presentation{}
	}
	if width == 0 {
		width, height = 640, 480
	}
	image := region{cmp.Or(g.image.left, "0"), cmp.Or(g.image.top, "0"), cmp.Or(g.image.width, "100%"), cmp.Or(g.image.height, "70%"), cmp.Or(g.image.fit, "meet")}
	below := region{cmp.Or(g.text.left, "0"), cmp.Or(g.text.top, "70%"), cmp.Or(g.text.width, "100%"), cmp.Or(g.text.height, "30%"), cmp.Or(g.text.fit, "scroll")}
	if d.layout == nil && !text {
		image.height = "100%"
	}
	if d.layout == nil && !visual {
		below.top, below.height = "0", "100%"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<smil><head><layout><root-layout width="%s" height="%s"`, cmp.Or(g.width, fmt.Sprint(width)), cmp.Or(g.height, fmt.Sprint(height)))
	if g.background != "" {
		fmt.Fprintf(&b, ` background-color="%s"`, g.background)
	}
	b.WriteString("/>")
	if visual {
		writeRegion(&b, "Image", image)
	}
	if text {
		writeRegion(&b, "Text", below)
	}
	b.WriteString("</layout></head><body>")
	for _, s := range d.slides {
		fmt.Fprintf(&b, `<par dur="%dms">`, s.duration().Milliseconds())
		if s.visual.part != nil {
			tag := "img"
			if s.visual.kind == kindVideo {
				tag = "video"
			}
			s.visual.write(&b, tag, "Image")
		}
		if s.text.part != nil {
			s.text.write(&b, "text", "Text")
		}
		if s.audio.part != nil {
			s.audio.write(&b, "audio", "")
		}
		b.WriteString("</par>")
	}
	b.WriteString("</body></smil>")
	return []byte(b.String())
}

// writeRegion writes values that have been matched against their forms.
func writeRegion(b *strings.Builder, id string, r region) {
	fmt.Fprintf(b, `<region id="%s" left="%s" top="%s" width="%s" height="%s" fit="%s"/>`, id, r.left, r.top, r.width, r.height, r.fit)
}

func (s slot) write(b *strings.Builder, tag, region string) {
	fmt.Fprintf(b, `<%s src="`, tag)
	attribute := func(text string) {
		_ = xml.EscapeText(b, []byte(text)) // a strings.Builder never fails
		b.WriteByte('"')
	}
	attribute(s.name)
	if region != "" {
		fmt.Fprintf(b, ` region="%s"`, region)
	}
	for _, t := range []struct {
		name string
		at   time.Duration
	}{{"begin", s.begin}, {"end", s.end}} {
		if t.at > 0 {
			fmt.Fprintf(b, ` %s="%dms"`, t.name, t.at.Milliseconds())
		}
	}
	if s.alt != "" {
		b.WriteString(` alt="`)
		attribute(s.alt)
	}
	b.WriteString("/>")
}

// duration gives what the page says, or how long it takes to read or to hear.
func (s *slide) duration() time.Duration {
	if s.dur > 0 {
		return s.dur
	}
	d := pageTime
	if s.text.part != nil {
		d = max(d, min(time.Duration(len(s.text.data))*letterTime, longestPage))
	}
	if s.audio.part != nil {
		d = max(d, min(amrDuration(s.audio.data), 10*time.Minute))
	}
	return d
}
