package push

import (
	"sync"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
)

// receipts finds which push a delivery receipt means. It is a memory of convenience: bounded by two generations, gone after a restart. A
// receipt can come before the submission has been noted, so those that mean nothing yet are kept for a while too.
type receipts struct {
	mu         sync.Mutex
	young, old map[receiptKey]*Outcome
	early      map[receiptKey]sms.Receipt
}

// receiptKey is an SMSC and an id in one of its forms: "t" as text, "d" the value of a decimal, "h" of a hexadecimal number.
type receiptKey struct {
	smsc, form, id string
}

const receiptGeneration = 50_000

// keys gives the forms of an id, the surest first.
func keys(smsc string, id smpp.ID) []receiptKey {
	list := []receiptKey{{smsc, "t", id.Text}}
	if id.Decimal != "" {
		list = append(list, receiptKey{smsc, "d", id.Decimal})
	}
	if id.Hex != "" {
		list = append(list, receiptKey{smsc, "h", id.Hex})
	}
	return list
}

// mirrored gives the keys under which the other side of an id may stand: equal text, or hexadecimal for decimal and the other way round.
func mirrored(smsc string, id smpp.ID) []receiptKey {
	list := keys(smsc, id)
	for i := range list {
		switch list[i].form {
		case "d":
			list[i].form = "h"
		case "h":
			list[i].form = "d"
		}
	}
	return list
}

// sent notes the ids of a push, and gives receipts for it that came early.
func (r *receipts) sent(s sms.Sent, o Outcome) []Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	var done []Outcome
	for _, text := range s.IDs {
		id := smpp.ParseID(text)
		if id.Text == "" {
			continue
		}
		if early, ok := r.takeEarly(s.SMSC, id); ok {
			out := o
			out.State, out.Error = early.State, early.Error
			done = append(done, out)
			if early.State.Final() {
				continue
			}
		}
		if r.young == nil || len(r.young) >= receiptGeneration {
			r.old, r.young = r.young, make(map[receiptKey]*Outcome)
		}
		for _, k := range keys(s.SMSC, id) {
			r.young[k] = &o
		}
	}
	return done
}

func (r *receipts) takeEarly(smsc string, id smpp.ID) (sms.Receipt, bool) {
	for _, k := range mirrored(smsc, id) {
		if e, ok := r.early[k]; ok {
			for _, k := range keys(smsc, smpp.ParseID(e.ID)) {
				delete(r.early, k)
			}
			return e, true
		}
	}
	return sms.Receipt{}, false
}

// came finds the push of a receipt.
func (r *receipts) came(rec sms.Receipt) (Outcome, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := smpp.ParseID(rec.ID)
	if id.Text == "" {
		return Outcome{}, false
	}
	for _, k := range mirrored(rec.SMSC, id) {
		for _, generation := range []map[receiptKey]*Outcome{r.young, r.old} {
			if o, ok := generation[k]; ok {
				out := *o
				out.State, out.Error = rec.State, rec.Error
				return out, true
			}
		}
	}
	if len(r.early) > 1000 {
		r.early = nil // these belong to nobody
	}
	if r.early == nil {
		r.early = make(map[receiptKey]sms.Receipt)
	}
	for _, k := range keys(rec.SMSC, id) {
		r.early[k] = rec
	}
	return Outcome{}, false
}
