package smpp

import (
	"math/big"
	"strings"
)

// State is a message_state (SMPP 3.4 5.2.28).
type State byte

// The states.
const (
	Enroute       State = 1
	Delivered     State = 2
	Expired       State = 3
	Deleted       State = 4
	Undeliverable State = 5
	Accepted      State = 6
	Unknown       State = 7
	Rejected      State = 8
)

var stateWords = map[string]State{"ENROUTE": Enroute, "DELIVRD": Delivered, "EXPIRED": Expired, "DELETED": Deleted,
	"UNDELIV": Undeliverable, "ACCEPTD": Accepted, "UNKNOWN": Unknown, "REJECTD": Rejected}

// String gives a word of a closed set, fit for a label: "delivered", "unknown" …
func (s State) String() string {
	switch s {
	case Enroute:
		return "enroute"
	case Delivered:
		return "delivered"
	case Expired:
		return "expired"
	case Deleted:
		return "deleted"
	case Undeliverable:
		return "undeliverable"
	case Accepted:
		return "accepted"
	case Rejected:
		return "rejected"
	}
	return "unknown"
}

// Final says whether no other state follows.
func (s State) Final() bool {
	return s == Delivered || s == Expired || s == Deleted || s == Undeliverable || s == Rejected
}

// ESM class bits of a deliver_sm (SMPP 3.4 5.2.12).
const (
	ClassUDHI    = 0x40
	ClassReceipt = 0x04
	classKind    = 0x3C
)

// IsReceipt says whether a deliver_sm of this esm_class carries a delivery
// receipt of the SMSC, and not a message.
func IsReceipt(esmClass byte) bool { return esmClass&classKind == ClassReceipt }

// Receipt is what a delivery receipt says.
type Receipt struct {
	ID    string // as the SMSC wrote it; "" if it did not
	State State  // 0 if it did not say
	Error string // err: of the text, at most 16 characters
}

// ParseReceipt reads the text of a receipt in the usual form (SMPP 3.4 appendix
// B): "id:… sub:… dlvrd:… submit date:… done date:… stat:DELIVRD err:000 text:…".
// Optional parameters, where the SMSC gives them, are to be preferred.
func ParseReceipt(text string) Receipt {
	var r Receipt
	if i := indexFold(text, "text:"); i >= 0 {
		text = text[:i] // a part of the message itself: no more words of the SMSC
	}
	word := func(name string, most int) string {
		i := indexFold(text, name+":")
		if i < 0 {
			return ""
		}
		v := strings.TrimLeft(text[i+len(name)+1:], " ")
		if end := strings.IndexAny(v, " \r\n\t\x00"); end >= 0 {
			v = v[:end]
		}
		if len(v) > most {
			return ""
		}
		return v
	}
	r.ID, r.Error = word("id", 65), word("err", 16)
	if stat := strings.ToUpper(word("stat", 10)); stat != "" {
		if s, ok := stateWords[stat]; ok {
			r.State = s
		} else {
			r.State = Unknown
		}
	}
	return r
}

// indexFold finds name where a word begins, without regard to case.
func indexFold(text, name string) int {
	for i := 0; i+len(name) <= len(text); i++ {
		if strings.EqualFold(text[i:i+len(name)], name) && (i == 0 || text[i-1] == ' ') {
			return i
		}
	}
	return -1
}

// ID is a message id in the forms in which an SMSC may write it: it can stand in
// hexadecimal in the answer to a submission and in decimal in the receipt, or the
// other way round, with or without zeros in front.
type ID struct {
	Text    string // in lower case, without zeros in front
	Decimal string // its value in decimal, read as decimal; "" if it can't be
	Hex     string // its value in decimal, read as hexadecimal; "" if it can't be
}

// ParseID takes an id apart.
func ParseID(text string) ID {
	text = strings.ToLower(strings.TrimSpace(text))
	if trimmed := strings.TrimLeft(text, "0"); trimmed != "" {
		text = trimmed
	}
	id := ID{Text: text}
	if text == "" || len(text) > 40 {
		return id
	}
	if n, ok := new(big.Int).SetString(text, 10); ok && text[0] != '-' && text[0] != '+' {
		id.Decimal = n.String()
	}
	if n, ok := new(big.Int).SetString(text, 16); ok && text[0] != '-' && text[0] != '+' {
		id.Hex = n.String()
	}
	return id
}

// Same says whether a receipt's id can mean a submission's: equal as text, or one
// in hexadecimal and the other in decimal.
func (id ID) Same(receipt ID) bool {
	if id.Text == "" || receipt.Text == "" {
		return false
	}
	return id.Text == receipt.Text || id.Hex != "" && id.Hex == receipt.Decimal || id.Decimal != "" && id.Decimal == receipt.Hex
}
