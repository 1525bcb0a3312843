package mmsc

import (
	"slices"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// States of a message in an MMBox (OMA-MMS-ENC 7.3.33).
const (
	mmDraft byte = 0x80
	mmSent  byte = 0x81
	mmNew   byte = 0x82
)

// flagChange is an X-Mms-MM-Flags field: a keyword to add, to remove, or to look for.
type flagChange struct {
	how  byte // 80 add, 81 remove, 82 filter
	word string
}

// boxRequest is what the fields of an MMBox request ask.
type boxRequest struct {
	states       []byte
	flags        []flagChange
	attributes   []mms.Field
	start, limit uint64
	totals       bool
	quotas       bool
}

// maxFlags bounds the keywords of one message.
const maxFlags = 16

func (u *upload) box() (b boxRequest) {
	b.limit = 1 << 31
	// Peek has walked the header block already: an error can't come up.
	_ = walk(u.buf[:u.head.Size], func(f field) {
		switch f.code {
		case mms.FieldMMState:
			b.states = append(b.states, f.value[0])
		case mms.FieldMMFlags:
			if size, n := wsp.ValueLength(f.value); n > 0 && size > 1 && size <= len(f.value)-n && len(b.flags) < maxFlags {
				b.flags = append(b.flags, flagChange{f.value[n], encodedString(f.value[n+1 : n+size])})
			}
		case mms.FieldAttributes:
			b.attributes = append(b.attributes, mms.Field(f.value[0]))
		case mms.FieldStart:
			if v, n := wsp.Integer(f.value); n > 0 {
				b.start = v
			}
		case mms.FieldLimit:
			if v, n := wsp.Integer(f.value); n > 0 {
				b.limit = v
			}
		case mms.FieldTotals:
			b.totals = f.value[0] == 0x80
		case mms.FieldQuotas:
			b.quotas = f.value[0] == 0x80
		}
	})
	return b
}

// state gives the state that the request asks for, or otherwise.
func (b *boxRequest) state(otherwise byte) byte {
	if len(b.states) > 0 && b.states[0] >= mmDraft && b.states[0] <= 0x84 {
		return b.states[0]
	}
	return otherwise
}

// apply changes keywords as the request asks.
func (b *boxRequest) apply(words []string) []string {
	words = append([]string{}, words...)
	for _, f := range b.flags {
		i := slices.Index(words, f.word)
		switch {
		case f.how == 0x80 && i < 0 && f.word != "" && len(words) < maxFlags:
			words = append(words, f.word)
		case f.how == 0x81 && i >= 0:
			words = slices.Delete(words, i, i+1)
		}
	}
	return words
}

// chooses says whether a stored message is one that a view asks for.
func (b *boxRequest) chooses(msg *store.Boxed) bool {
	if len(b.states) > 0 && !slices.Contains(b.states, msg.MMState) {
		return false
	}
	filtered := false
	for _, f := range b.flags {
		if f.how != 0x82 {
			continue
		}
		if slices.Contains(msg.Flags, f.word) {
			return true
		}
		filtered = true
	}
	return !filtered
}
