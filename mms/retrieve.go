package mms

import (
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// RetrieveOptions is what the M-Retrieve.conf of one recipient adds to the
// M-Send.req that was submitted.
type RetrieveOptions struct {
	TransactionID  string  // what a handset that deferred acknowledges
	Version        Version // of the recipient; newer fields are left out
	MessageID      string
	Date           time.Time
	From           string // as the server knows it; empty: hidden
	Status         Status // 0: left out
	StatusText     string
	PreviouslySent []PreviousHop
}

// retrieved says whether a field of a submission goes to the recipient. Bcc,
// Expiry, Delivery-Time, Sender-Visibility and what speaks to the server of the
// sender stay behind (OMA-MMS-ENC 6.3); what the options give anew does too.
func retrieved(f Field) bool {
	switch f {
	case FieldTo, FieldCc, FieldSubject, FieldMessageClass, FieldPriority, FieldDeliveryReport, FieldReadReport,
		FieldReplyCharging, FieldReplyChargingDeadline, FieldReplyChargingID, FieldReplyChargingSize,
		FieldApplicID, FieldReplyApplicID, FieldAuxApplicInfo, FieldContentClass, FieldDRMContent, FieldReplaceID,
		FieldDistributionIndicator, 0:
		return true
	}
	return false
}

// AppendRetrieve appends the header block of an M-Retrieve.conf that carries the
// message of p, an M-Send.req. The body is p's as it stands: who has it in a
// file streams it from BodyOffset on. Fields that the standard does not know are
// left out, since handsets take their values for fields; application headers
// stay. A text in a charset whose number handsets can't read becomes UTF-8.
func (p *PDU) AppendRetrieve(dst []byte, o RetrieveOptions) []byte {
	version := o.Version.Reply()
	b := newBlock(dst, MRetrieveConf, o.TransactionID, version)
	b.text(FieldMessageID, o.MessageID)
	b.date(FieldDate, o.Date)
	b.from(o.From)
	for _, h := range p.Headers {
		if !retrieved(h.Field) || h.Field.Since() > version.Minor() {
			continue
		}
		b = append(b, legible(h).Wire...)
	}
	if version.Minor() >= 1 {
		b.octet(FieldRetrieveStatus, byte(o.Status))
		b.words(FieldRetrieveText, o.StatusText)
		b.hops(o.PreviouslySent)
	}
	c := wsp.Media(wsp.MultipartMixed)
	if p.ContentType != nil {
		c = *p.ContentType
	}
	b.contentType(c)
	return b
}

// legible gives h with its text in UTF-8 if its charset has a number of more
// than one octet.
func legible(h Header) Header {
	if !h.Field.Known() || fields[h.Field&0x7F].form != formEncoded {
		return h
	}
	e, err := readEncoded(h.Value())
	if err != nil || !e.HasCharset || e.Charset < 0x80 {
		return h
	}
	return field(h.Field, appendEncodedRaw(nil, e.String())...)
}
