package platform

import (
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// part is one part of the message to be.
type part struct {
	kind     kind
	media    string      // without parameters
	params   []wsp.Param // of a protected part, kept as they came
	given    string      // the provider's name for it
	label    string      // what notes call it
	name     string      // safe and unique in the message that is being built
	data     []byte
	names    []string // what a presentation may call it by
	optional bool
	pic      *picture // of a picture that can be made smaller
	top      encoded  // that picture as it is before anything has to be saved
	floor    encoded  // that picture as small as it gets; no data: not known yet
}

// slot is a part on a page.
type slot struct {
	*part
	begin, end time.Duration
	alt        string
}

// slide is a page.
type slide struct {
	dur                 time.Duration
	visual, text, audio slot
}

// deck is a message: pages, and parts that stand beside them.
type deck struct {
	layout *presentation // of a given presentation; nil: ours
	slides []slide
	extras []*part
}

// slot gives the place of a kind on a page, nil for what is not shown on pages.
func (s *slide) slot(k kind) *slot {
	switch k {
	case kindImage, kindVideo:
		return &s.visual
	case kindText:
		return &s.text
	case kindAudio:
		return &s.audio
	}
	return nil
}

func (s *slide) empty() bool {
	return s.visual.part == nil && s.text.part == nil && s.audio.part == nil
}

// parts gives the parts of a page.
func (s *slide) parts() []*part {
	var out []*part
	for _, p := range []*part{s.visual.part, s.text.part, s.audio.part} {
		if p != nil {
			out = append(out, p)
		}
	}
	return out
}

// parts gives every part once, in the order in which they are shown.
func (d *deck) parts() []*part {
	var out []*part
	add := func(p *part) {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for i := range d.slides {
		for _, p := range d.slides[i].parts() {
			add(p)
		}
	}
	for _, p := range d.extras {
		add(p)
	}
	return out
}

// without takes a part out, and pages that it leaves empty.
func (d *deck) without(p *part) {
	for i := range d.slides {
		s := &d.slides[i]
		for _, in := range []*slot{&s.visual, &s.text, &s.audio} {
			if in.part == p {
				*in = slot{}
			}
		}
	}
	d.slides = slices.DeleteFunc(d.slides, func(s slide) bool { return s.empty() })
	d.extras = slices.DeleteFunc(d.extras, func(other *part) bool { return other == p })
}

// addPage shows parts together. What finds its place taken goes to a page behind.
func (d *deck) addPage(parts []*part, dur time.Duration) {
	pages := []slide{{dur: dur}}
	for _, p := range parts {
		d.put(&pages, 0, slot{part: p}, dur)
	}
	for _, s := range pages {
		if !s.empty() {
			d.slides = append(d.slides, s)
		}
	}
}

// addLoose pairs parts that have no pages: the first of each kind together.
func (d *deck) addLoose(parts []*part) {
	var pages []slide
	for _, p := range parts {
		d.put(&pages, 0, slot{part: p}, 0)
	}
	d.slides = append(d.slides, pages...)
}

// put puts a slot on the first of pages from one on where its place is free.
func (d *deck) put(pages *[]slide, from int, s slot, dur time.Duration) {
	if (&slide{}).slot(s.kind) == nil {
		d.extras = append(d.extras, s.part)
		return
	}
	for i := from; i < len(*pages); i++ {
		if in := (*pages)[i].slot(s.kind); in.part == nil {
			*in = s
			return
		}
	}
	*pages = append(*pages, slide{dur: dur})
	*(*pages)[len(*pages)-1].slot(s.kind) = s
}

// arrange makes the deck of a presentation and the parts it refers to. Parts it
// does not name stand beside the pages. lost tells of references to nothing.
func arrange(p *presentation, parts []*part, lost func(src string)) *deck {
	d := &deck{layout: p}
	shown := make(map[*part]bool)
	for _, s := range p.slides {
		pages := []slide{{dur: s.dur}}
		for _, m := range s.media {
			found := resolve(parts, m.src)
			if found == nil {
				lost(m.src)
				continue
			}
			if (&slide{}).slot(found.kind) == nil {
				continue // an attachment is no media of a page
			}
			shown[found] = true
			d.put(&pages, 0, slot{found, clockValue(m.begin), clockValue(m.end), m.alt}, s.dur)
		}
		for _, page := range pages {
			if !page.empty() {
				d.slides = append(d.slides, page)
			}
		}
	}
	for _, p := range parts {
		if !shown[p] {
			d.extras = append(d.extras, p)
		}
	}
	return d
}

// resolve finds the part that a reference means: by Content-ID, Content-Location
// or file name, with regard to case first.
func resolve(parts []*part, src string) *part {
	id, byID := strings.CutPrefix(src, "cid:")
	want := []string{src}
	if byID {
		want = []string{id}
	}
	if plain, err := url.PathUnescape(want[0]); err == nil && plain != want[0] {
		want = append(want, plain)
	}
	if !byID {
		want = append(want, path.Base(src))
	}
	for _, equal := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		for _, w := range want {
			for _, p := range parts {
				if w != "" && slices.ContainsFunc(p.names, func(n string) bool { return equal(n, w) }) {
					return p
				}
			}
		}
	}
	return nil
}
