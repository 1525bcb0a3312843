package platform

import (
	"cmp"
	"fmt"
	"slices"
)

// reduce makes messages of the deck that are within the size. The order is that
// of the steps: first pictures lose quality, then dimensions; then optional parts
// go; then the content becomes several messages; then what does not fit is left
// out and a text is cut.
func (c *composer) reduce() error {
	for {
		fits, err := c.shrink(c.deck, 1, 1)
		if err != nil {
			return err
		}
		if fits {
			return c.finish([]*deck{c.deck})
		}
		if !c.dropOptional() {
			break
		}
	}
	decks, err := c.split()
	if err != nil {
		return err
	}
	for i, d := range decks {
		if fits, err := c.shrink(d, i+1, len(decks)); err != nil {
			return err
		} else if !fits {
			return tooLarge("a message of the class holds %d octets, and the content can't be made that small", c.size)
		}
		m, err := c.build(d, i+1, len(decks)) // before the next message shrinks a part that both show
		if err != nil {
			return err
		}
		c.messages = append(c.messages, m)
	}
	if len(decks) > 1 {
		c.note(Note{Split, "content", fmt.Sprintf("%d messages", len(decks))})
	}
	return nil
}

func (c *composer) finish(decks []*deck) error {
	for i, d := range decks {
		m, err := c.build(d, i+1, len(decks))
		if err != nil {
			return err
		}
		c.messages = append(c.messages, m)
	}
	return nil
}

// fixed gives the octets of a message beside its pictures.
func (c *composer) fixed(d *deck, n, of int) (int64, []*part, error) {
	m, err := c.build(d, n, of)
	if err != nil {
		return 0, nil, err
	}
	size, err := m.Size()
	if err != nil {
		return 0, nil, err
	}
	var pictures []*part
	for _, p := range d.parts() {
		if p.pic != nil {
			pictures = append(pictures, p)
			size -= int64(len(p.data))
		}
	}
	return size, pictures, nil
}

// least gives the octets of a message whose pictures are as small as they get.
func (c *composer) least(d *deck, n, of int) (int64, error) {
	size, pictures, err := c.fixed(d, n, of)
	if err != nil {
		return 0, err
	}
	for _, p := range pictures {
		if err := c.findFloor(p); err != nil {
			return 0, err
		}
		size += int64(len(p.floor.data))
	}
	return size + slack(pictures), nil
}

// slack is what lengths written before smaller pictures may differ by.
func slack(pictures []*part) int64 { return 4 * int64(len(pictures)) }

func (c *composer) findFloor(p *part) error {
	if p.floor.data != nil {
		return nil
	}
	e, err := p.pic.climb(c.ctx, c.slots, 0)
	if err != nil {
		return err
	}
	if len(e.data) >= len(p.top.data) {
		e = p.top
	}
	p.floor = e
	return nil
}

// shrink makes a message's pictures small enough, the largest first: no picture
// gets more room than another that needs it. It answers false, with the pictures
// as they were, if that is not enough.
func (c *composer) shrink(d *deck, n, of int) (bool, error) {
	for _, p := range d.parts() {
		if p.pic != nil {
			p.set(p.top)
		}
	}
	fixed, pictures, err := c.fixed(d, n, of)
	if err != nil {
		return false, err
	}
	room := c.size - fixed
	if total(pictures) <= room {
		return true, nil
	}
	if least, err := c.least(d, n, of); err != nil || least > c.size {
		return false, err
	}
	room -= slack(pictures)
	share, carry := shareOf(pictures, room), int64(0)
	for _, p := range pictures {
		if int64(len(p.top.data)) <= share {
			continue
		}
		mine := max(int64(len(p.floor.data)), share)
		e, err := p.pic.climb(c.ctx, c.slots, mine+carry)
		if err != nil {
			return false, err
		}
		if int64(len(e.data)) > mine+carry {
			e = p.floor
		}
		carry += mine - int64(len(e.data)) // what a picture leaves, the next may have
		p.set(e)
		c.noteRung(p, e)
	}
	return true, nil
}

func total(pictures []*part) (n int64) {
	for _, p := range pictures {
		n += int64(len(p.data))
	}
	return n
}

// shareOf finds the most that one picture may have so that all fit the room.
func shareOf(pictures []*part, room int64) int64 {
	low, high := int64(0), room
	for low < high {
		mid := (low + high + 1) / 2
		var sum int64
		for _, p := range pictures {
			sum += max(int64(len(p.floor.data)), min(int64(len(p.top.data)), mid))
		}
		if sum <= room {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low
}

func (c *composer) noteRung(p *part, e encoded) {
	if e.rung < 0 || e.rung == p.top.rung {
		return
	}
	r := ladder[e.rung]
	why := fmt.Sprintf("%d octets to %d, quality %d", len(p.top.data), len(e.data), r.quality)
	switch {
	case r.percent < 100:
		c.note(Note{Scaled, p.label, fmt.Sprintf("%s, %d%% of the dimensions", why, r.percent)})
	case p.pic.animated && p.top.rung < 0:
		c.note(Note{FirstFrame, p.label, why})
	default:
		c.note(Note{Quality, p.label, why})
	}
}

// dropOptional leaves out the last optional part, sounds and videos before what
// is read and seen, and never the last part of all.
func (c *composer) dropOptional() bool {
	parts := c.deck.parts()
	if len(parts) < 2 {
		return false
	}
	slices.Reverse(parts)
	slices.SortStableFunc(parts, func(a, b *part) int { return cmp.Compare(weight(a), weight(b)) })
	for _, p := range parts {
		if p.optional {
			c.deck.without(p)
			c.note(Note{Dropped, p.label, fmt.Sprintf("optional, %d octets", len(p.data))})
			return true
		}
	}
	return false
}

// weight orders parts by how soon they are missed.
func weight(p *part) int {
	switch p.kind {
	case kindImage:
		return 1
	case kindText:
		return 2
	}
	return 0
}
