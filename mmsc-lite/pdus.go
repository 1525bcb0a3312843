package mmsc

import (
	"context"
	"log/slog"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// composer makes the PDUs that are pushed to handsets.
type composer struct{ m *MMSC }

// pushVersion is spoken to handsets whose own version nobody has told us: what nearly all of them speak.
const pushVersion = mms.Version12

// notified are the fields of a message that an M-Notification.ind repeats (OMA-MMS-ENC 6.2): those that a handset needs before it
// decides whether to fetch. Each octet counts in an SMS.
var notified = map[mms.Field]bool{mms.FieldReplyCharging: true, mms.FieldReplyChargingDeadline: true, mms.FieldReplyChargingSize: true,
	mms.FieldReplyChargingID: true, mms.FieldDistributionIndicator: true, mms.FieldApplicID: true, mms.FieldReplyApplicID: true,
	mms.FieldAuxApplicInfo: true, mms.FieldContentClass: true, mms.FieldDRMContent: true, mms.FieldReplaceID: true}

// Notification makes an M-Notification.ind (OMA-MMS-ENC 6.2). Each one for a recipient has the same transaction id and
// location, so that a handset knows it again.
func (c composer) Notification(d *store.Due) *delivery.Push {
	location := c.m.location(d.Recipient)
	b := start(mms.MNotificationInd, transaction(d.Recipient), pushVersion)
	if d.Sender != "" && !d.Hidden {
		b = appendFrom(b, d.Sender)
	}
	if d.Subject != "" {
		b = mms.AppendEncoded(append(b, byte(mms.FieldSubject)), shorten(d.Subject))
	}
	b = appendClass(b, d.Class)
	if d.Priority != 1 {
		b = append(b, byte(mms.FieldPriority), byte(0x80+d.Priority))
	}
	b = wsp.AppendLong(append(b, byte(mms.FieldMessageSize)), uint64(d.Size))
	left := wsp.AppendLong([]byte{0x81}, uint64(max(1, time.Until(d.ExpiresAt)/time.Second)))
	b = append(wsp.AppendValueLength(append(b, byte(mms.FieldExpiry)), len(left)), left...)
	// The head was walked when the message came in: an error can't come up.
	_ = walk(d.Head, func(f field) {
		if notified[f.code] {
			b = append(b, f.raw...)
		}
	})
	b = wsp.AppendText(append(b, byte(mms.FieldContentLocation)), location) // last: field reports say that one maker wants it there
	return &delivery.Push{ID: transaction(d.Recipient), Kind: mms.MNotificationInd, To: d.Address, PDU: b, Message: c.m.messageID(d.Message),
		Location: location, ExpiresAt: d.ExpiresAt}
}

// Report makes an M-Delivery.ind, M-Read-Orig.ind or M-Cancel.req (OMA-MMS-ENC 6.6, 6.7.2, 6.10.1).
func (c composer) Report(r *store.Report) *delivery.Push {
	id := c.m.messageID(r.Message)
	// A report's row has no secret of its own; with the message's its id can't be guessed.
	tid := transaction(store.Ref{ID: r.ID, Secret: r.Message.Secret})
	p := &delivery.Push{ID: tid, To: r.Address, Message: id, ExpiresAt: r.ExpiresAt}
	var b []byte
	switch r.Kind {
	case store.ReadReport:
		p.Kind = mms.MReadOrigInd
		b = start(p.Kind, "", pushVersion)
		b = wsp.AppendText(append(b, byte(mms.FieldMessageID)), id)
		b = appendAddress(b, mms.FieldTo, r.Address)
		b = appendFrom(b, r.About)
		b = appendDate(b, r.At)
		b = append(b, byte(mms.FieldReadStatus), r.Status)
	case store.CancelRequest:
		p.Kind = mms.MCancelReq
		b = start(p.Kind, tid, mms.Version13)
		b = wsp.AppendText(append(b, byte(mms.FieldCancelID)), id)
	default:
		p.Kind = mms.MDeliveryInd
		b = start(p.Kind, "", pushVersion)
		b = wsp.AppendText(append(b, byte(mms.FieldMessageID)), id)
		b = appendAddress(b, mms.FieldTo, r.About)
		b = appendDate(b, r.At)
		b = append(b, byte(mms.FieldStatus), r.Status)
	}
	p.PDU = b
	return p
}

// start begins a PDU with the three fields that come first; an empty transaction id is left out.
func start(t mms.Type, transaction string, v mms.Version) []byte {
	b := append(make([]byte, 0, 256), byte(mms.FieldMessageType), byte(t))
	if transaction != "" {
		b = wsp.AppendText(append(b, byte(mms.FieldTransactionID)), transaction)
	}
	return append(b, byte(mms.FieldMMSVersion), byte(v.Reply()))
}

func appendAddress(b []byte, f mms.Field, addr string) []byte {
	return mms.AppendEncoded(append(b, byte(f)), wire(addr))
}

func appendFrom(b []byte, addr string) []byte {
	inner := mms.AppendEncoded([]byte{0x80}, wire(addr))
	return append(wsp.AppendValueLength(append(b, byte(mms.FieldFrom)), len(inner)), inner...)
}

func appendDate(b []byte, t time.Time) []byte {
	return wsp.AppendLong(append(b, byte(mms.FieldDate)), uint64(max(0, t.Unix())))
}

func appendClass(b []byte, class string) []byte {
	b = append(b, byte(mms.FieldMessageClass))
	for i, c := range classes {
		if c == class {
			return append(b, byte(0x80+i))
		}
	}
	return wsp.AppendText(b, class)
}

// shorten bounds a subject in a notification, which travels in SMS; the whole one is in the message.
func shorten(s string) string {
	const most = 40 // characters, what widespread handsets let one write
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i]
		}
	}
	return s
}

// LogNotifier says in the log what it would push, so that a lab without any carrier can try a location by hand.
type LogNotifier struct{ Log *slog.Logger }

// Push implements delivery.Notifier.
func (l LogNotifier) Push(_ context.Context, p *delivery.Push) error {
	if p.Kind == mms.MNotificationInd {
		l.Log.Info("message waits for its recipient", "message", p.Message, "to", mms.Mask(p.To), "location", p.Location)
	} else {
		l.Log.Info("report", "pdu", p.Kind.String(), "message", p.Message, "to", mms.Mask(p.To))
	}
	return nil
}
