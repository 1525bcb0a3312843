package platform

import (
	"fmt"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// prepare turns the request's content into a deck of parts that are of the class,
// before any thought of size.
func (c *composer) prepare() error {
	u := &unpacker{in: c.cfg.Input, fetch: c.fetch, note: c.note, left: int64(c.cfg.Input.Size), smil: c.r.Content.SMIL}
	type page struct {
		parts []*part
		dur   time.Duration
	}
	gather := func(items []Item) ([]*part, error) {
		var out []*part
		for _, it := range items {
			plain, err := u.open(c.ctx, it, 0, nil)
			if err != nil {
				return nil, err
			}
			for i := range plain {
				p, err := c.part(&plain[i])
				if err != nil {
					return nil, err
				}
				if p != nil {
					out = append(out, p)
				}
			}
		}
		return out, nil
	}
	if len(c.r.Content.Pages) > c.cfg.Input.Items {
		return tooLarge("more than %d pages", c.cfg.Input.Items)
	}
	var pages []page
	for _, given := range c.r.Content.Pages {
		parts, err := gather(given.Items)
		if err != nil {
			return err
		}
		pages = append(pages, page{parts, max(0, min(given.Duration, time.Hour))})
		c.parts = append(c.parts, parts...)
	}
	loose, err := gather(c.r.Content.Items)
	if err != nil {
		return err
	}
	c.parts = append(c.parts, loose...)
	if len(c.parts) == 0 {
		return unusable("nothing in the content can be shown: %d pieces, %s", u.leaves, c.why())
	}
	c.title(u.subject)
	if u.smil != nil && c.present(u.smil) {
		return nil
	}
	c.deck = &deck{}
	for _, p := range pages {
		c.deck.addPage(p.parts, p.dur)
	}
	c.deck.addLoose(loose)
	return nil
}

// title chooses the subject: the request's, the content's, the first page's.
func (c *composer) title(found string) {
	for _, s := range []string{c.r.Subject, c.r.Content.Subject, found, c.subject} {
		if s = oneLine(strings.ToValidUTF8(s, "\uFFFD"), c.cfg.Subject); s != "" {
			c.subject = s
			return
		}
	}
}

// present lays the parts out by a given presentation, if it can be used.
func (c *composer) present(smil []byte) bool {
	p, err := parseSMIL(smil, c.cfg.Input)
	if err != nil {
		c.note(Note{NewSMIL, "presentation", err.Error()})
		return false
	}
	d := arrange(p, c.parts, func(src string) {
		c.note(Note{Reference, oneLine(src, 80), "no part has this name"})
	})
	if len(d.slides) == 0 {
		c.note(Note{NewSMIL, "presentation", "no reference leads to a part"})
		return false
	}
	c.deck = d
	return true
}

// why gives the last reason for a part that is not there.
func (c *composer) why() string {
	if len(c.notes) == 0 {
		return "all empty"
	}
	return c.notes[len(c.notes)-1].String()
}

// part makes a part of a plain item; nil if it can't be one of the class.
func (c *composer) part(it *Item) (*part, error) {
	k, media := identify(it)
	label := oneLine(it.Name, 60)
	if label == "" {
		label = media
	}
	out := func(s Step, format string, args ...any) (*part, error) {
		c.note(Note{s, label, fmt.Sprintf(format, args...)})
		return nil, nil
	}
	if len(it.Data) == 0 {
		return out(Broken, "it is empty")
	}
	p := &part{kind: k, media: media, given: it.Name, label: label, data: it.Data, names: it.named(), optional: it.Optional}
	switch k {
	case kindText, kindHTML:
		if p.text(it, c); len(p.data) == 0 {
			return out(Broken, "there is no text in it")
		}
		if p.media != media {
			c.note(Note{Converted, label, media + " to " + p.media})
		}
	case kindImage:
		if !c.class.takes(jpegType) {
			return out(Refused, "pictures are not of the class")
		}
		if err := c.picture(p, label); err != nil {
			if c.ctx.Err() != nil {
				return nil, err
			}
			if !c.class.free() {
				return out(Broken, "%v", err)
			}
			if _, known := codecOf(media); known {
				return out(Broken, "%v", err)
			}
		}
	case kindDRM:
		c.drm = true
		if full, err := wsp.ParseContentType(it.Type); err == nil {
			p.params = full.Params
		}
	default:
		if !c.class.takes(media) || media == "" {
			return out(Refused, "%q is not of the class", media)
		}
	}
	return p, nil
}

// text makes UTF-8 of a text or a page.
func (p *part) text(it *Item, c *composer) {
	_, params := splitType(it.Type)
	var s string
	if p.kind == kindHTML {
		var title string
		s, title = HTMLText(decodeHTML(it.Data, it.Type))
		if c.subject == "" {
			c.subject = title
		}
	} else {
		s = strings.Trim(decodeText(it.Data, params["charset"]), "\n")
	}
	p.kind, p.media, p.data = kindText, textType, []byte(s)
}

// picture fits a picture to the class's dimensions.
func (c *composer) picture(p *part, label string) error {
	pic, err := openPicture(p.data, p.media, c.class, c.boxW, c.boxH, c.cfg.Input)
	if err != nil {
		return err
	}
	if p.top, err = pic.first(c.ctx, c.slots); err != nil {
		return err
	}
	if p.top.rung >= 0 {
		why := fmt.Sprintf("%s of %d by %d to %s", p.media, pic.width, pic.height, p.top.media)
		step := Converted
		if pic.animated {
			step, why = FirstFrame, "the animation is not of the class's dimensions or bounds; "+why
		}
		c.note(Note{step, label, why})
	}
	p.pic = pic
	p.set(p.top)
	return nil
}

// set puts an encoded picture into the part.
func (p *part) set(e encoded) {
	p.data, p.media = e.data, e.media
}
