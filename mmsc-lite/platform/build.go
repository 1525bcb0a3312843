package platform

import (
	"fmt"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Names of the presentation within its message.
const (
	smilID   = "smil"
	smilName = "presentation.smil"
)

// build makes message n of several out of a deck: multipart/related with the
// presentation first, or multipart/mixed where there are only attachments.
func (c *composer) build(d *deck, n, of int) (*Message, error) {
	m := &Message{Head: c.head(n, of)}
	taken := map[string]bool{smilID: true, smilName: true}
	parts := d.parts()
	for _, p := range parts {
		base := map[kind]string{kindText: "text", kindImage: "image", kindAudio: "audio", kindVideo: "video"}[p.kind]
		if base == "" {
			base = "part"
		}
		p.name = unique(taken, safeName(p.given, base, p.media))
	}
	m.Head.ContentType = wsp.Media(wsp.MultipartMixed)
	if len(d.slides) > 0 {
		m.Head.ContentType = wsp.Media(wsp.MultipartRelated, "start", "<"+smilID+">", "type", wsp.SMIL)
		one, err := mms.NewPart(wsp.Media(wsp.SMIL, "name", smilName, "charset", "utf-8"), smilID, smilName, writeSMIL(d, c.boxW, c.boxH))
		if err != nil {
			return nil, fmt.Errorf("presentation: %w", err)
		}
		m.Parts = append(m.Parts, one)
	}
	for _, p := range parts {
		one, err := mms.NewPart(p.contentType(), p.name, p.name, p.data)
		if err != nil {
			return nil, fmt.Errorf("part %s: %w", p.label, err)
		}
		m.Parts = append(m.Parts, one)
	}
	return m, nil
}

func (p *part) contentType() wsp.ContentType {
	if p.kind == kindText {
		return wsp.Media(p.media, "name", p.name, "charset", "utf-8")
	}
	t := wsp.Media(p.media, "name", p.name)
	for _, param := range p.params {
		if param.Name != "name" {
			t.Params = append(t.Params, param)
		}
	}
	return t
}
