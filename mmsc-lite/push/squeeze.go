package push

import (
	"strings"
	"unicode/utf8"

	"github.com/mmsrouter/mmsrouter/mms"
)

// squeezed is the order in which fields leave a notification that is too long; the subject goes first, but is shortened before. What a
// handset needs to fetch and to tell messages apart (transaction id, class, size, expiry, location, replace id) stays.
var squeezed = []mms.Field{mms.FieldSubject, mms.FieldElementDescriptor, mms.FieldAuxApplicInfo, mms.FieldReplyApplicID, mms.FieldRecommendedRetrievalText,
	mms.FieldContentClass, mms.FieldDRMContent, mms.FieldDistributionIndicator, mms.FieldReplyChargingDeadline, mms.FieldReplyChargingSize,
	mms.FieldReplyChargingID, mms.FieldReplyCharging, mms.FieldDeliveryReport, mms.FieldPriority, mms.FieldStored, mms.FieldFrom}

// leastSubject is how many characters of a subject are worth keeping.
const leastSubject = 8

// squeeze makes a notification fit into most octets if fields can be left out for it. It gives the PDU as short as it could be made, and
// what was done. Other PDUs, and ones that it can't read, stay as they are.
func squeeze(pdu []byte, most int) (short []byte, changed bool) {
	if len(pdu) <= most {
		return pdu, false
	}
	p, err := mms.Decode(pdu)
	if err != nil || p.Type != mms.MNotificationInd {
		return pdu, false
	}
	if out, ok := shortenSubject(p, most); ok {
		return out, true
	}
	out := pdu
	for _, f := range squeezed {
		if !p.Has(f) {
			continue
		}
		p.Remove(f)
		changed = true
		if out = p.Append(nil); len(out) <= most {
			break
		}
	}
	return out, changed
}

// shortenSubject takes characters off the subject's end until the PDU fits, if enough of it can stay.
func shortenSubject(p *mms.PDU, most int) ([]byte, bool) {
	whole, ok := p.Get(mms.FieldSubject)
	if !ok {
		return nil, false
	}
	for text := p.Subject(); utf8.RuneCountInString(text) > leastSubject; {
		_, last := utf8.DecodeLastRuneInString(text)
		text = strings.TrimRight(text[:len(text)-last], " ")
		h, err := mms.ParseHeader(mms.MNotificationInd, whole.Name(), text)
		if err != nil {
			break
		}
		p.Set(h)
		if out := p.Append(nil); len(out) <= most {
			return out, true
		}
	}
	return nil, false
}
