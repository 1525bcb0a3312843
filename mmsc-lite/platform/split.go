package platform

import (
	"fmt"
	"slices"
)

// unit is what stays together in one message: a page, or a part beside pages.
type unit struct {
	page  slide
	extra *part
}

func (u *unit) parts() []*part {
	if u.extra != nil {
		return []*part{u.extra}
	}
	return u.page.parts()
}

// with gives the deck with one unit more.
func (d *deck) with(u unit) *deck {
	out := &deck{d.layout, slices.Clone(d.slides), slices.Clone(d.extras)}
	if u.extra != nil {
		out.extras = append(out.extras, u.extra)
	} else {
		out.slides = append(out.slides, u.page)
	}
	return out
}

func (d *deck) empty() bool { return len(d.slides) == 0 && len(d.extras) == 0 }

// splitter fills one message after the other.
type splitter struct {
	*composer
	most    int // messages
	decks   []*deck
	current *deck
}

// split distributes the deck over as many messages as are allowed, pages and
// attachments in their order. What does not fit a message alone loses what can't
// be made smaller; a text goes on in the next message, and is cut in the last.
func (c *composer) split() ([]*deck, error) {
	s := &splitter{composer: c, most: c.cfg.MaxMessages, current: &deck{layout: c.deck.layout}}
	var pending []unit
	for _, page := range c.deck.slides {
		pending = append(pending, unit{page: page})
	}
	for _, p := range c.deck.extras {
		pending = append(pending, unit{extra: p})
	}
	for len(pending) > 0 {
		if err := c.ctx.Err(); err != nil {
			return nil, err
		}
		rest, err := s.place(pending[0])
		if err != nil {
			return nil, err
		}
		if pending = pending[1:]; rest != nil {
			pending = slices.Insert(pending, 0, *rest)
		}
	}
	s.next()
	if len(s.decks) == 0 {
		return nil, tooLarge("a message of the class holds %d octets, and nothing of the content can be made that small", c.size)
	}
	return s.decks, nil
}

// last says whether no further message may follow the current one.
func (s *splitter) last() bool { return len(s.decks)+1 >= s.most }

func (s *splitter) next() {
	if !s.current.empty() {
		s.decks = append(s.decks, s.current)
		s.current = &deck{layout: s.current.layout}
	}
}

func (s *splitter) fits(d *deck) (bool, error) {
	least, err := s.least(d, s.most, s.most)
	return least <= s.size, err
}

// place puts a unit into the current message or the next. What it gives back is
// to be placed again: the unit without a part, or what is left of a text.
func (s *splitter) place(u unit) (*unit, error) {
	if len(s.decks) >= s.most {
		return nil, s.leaveOut(u.parts(), "the messages are full")
	}
	for {
		fits, err := s.fits(s.current.with(u))
		if err != nil {
			return nil, err
		}
		if fits {
			s.current = s.current.with(u)
			return nil, nil
		}
		if s.current.empty() || s.last() {
			break
		}
		s.next()
	}
	return s.force(u)
}

// force handles a unit that does not fit an empty message, or the last one.
func (s *splitter) force(u unit) (*unit, error) {
	if t := u.page.text.part; t != nil && u.extra == nil {
		head, rest, err := s.shorten(u, t)
		if err != nil {
			return nil, err
		}
		if head != nil {
			s.current = s.current.with(*head)
			if rest == nil || !s.last() {
				s.next()
				return rest, nil
			}
			return nil, nil
		}
	}
	var worst *part
	for _, p := range u.parts() {
		if p.kind != kindText && (worst == nil || s.weigh(p) > s.weigh(worst)) {
			worst = p
		}
	}
	if worst == nil {
		return nil, s.leaveOut(u.parts(), "no room for even the beginning of it")
	}
	if err := s.leaveOut([]*part{worst}, fmt.Sprintf("%d octets can't be made to fit", s.weigh(worst))); err != nil {
		return nil, err
	}
	one := deck{slides: []slide{u.page}}
	if one.without(worst); u.extra != nil || len(one.slides) == 0 {
		return nil, nil
	}
	return &unit{page: one.slides[0]}, nil
}

// weigh gives the octets that a part can't go below.
func (s *splitter) weigh(p *part) int {
	if p.floor.data != nil {
		return len(p.floor.data)
	}
	return len(p.data)
}

// minText is the shortest beginning of a text that is worth a place.
const minText = 40

// shorten gives the unit with as much of its text as there is room for, and a
// page with the rest; in the last message the text is cut with an ellipsis
// instead. No head: there is no room.
func (s *splitter) shorten(u unit, t *part) (head, rest *unit, err error) {
	short := *t
	short.data = nil
	page := u.page
	page.text.part = &short
	least, err := s.least(s.current.with(unit{page: page}), s.most, s.most)
	if err != nil {
		return nil, nil, err
	}
	room := int(s.size-least) - 8 // its length takes up to four octets more, the page's duration some digits
	if room < minText {
		return nil, nil, nil
	}
	const ellipsis = "…"
	if s.last() {
		first, _ := cutText(string(t.data), room-len(ellipsis))
		short.data = []byte(first + ellipsis)
		s.note(Note{Cut, t.label, fmt.Sprintf("%d octets to %d", len(t.data), len(short.data))})
		return &unit{page: page}, nil, nil
	}
	first, remaining := cutText(string(t.data), room)
	short.data = []byte(first)
	if remaining == "" {
		return &unit{page: page}, nil, nil
	}
	more := *t
	more.data = []byte(remaining)
	return &unit{page: page}, &unit{page: slide{dur: u.page.dur, text: slot{part: &more}}}, nil
}

// leaveOut notes parts that go into no message. A protected one may not be lost.
func (s *splitter) leaveOut(parts []*part, why string) error {
	for _, p := range parts {
		if p.kind == kindDRM {
			return tooLarge("part %s: protected, and of %d octets too large for a message of the class", p.label, len(p.data))
		}
		s.note(Note{LeftOut, p.label, why})
	}
	return nil
}
