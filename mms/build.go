package mms

import (
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// The types of this file are PDUs to be built. Append (AppendHead where a body
// follows) appends the wire form; empty values are left out; the zero Version is
// 1.2. Extra headers are put behind the others.

// SendReq is M-Send.req (OMA-MMS-ENC 6.1.1).
type SendReq struct {
	TransactionID         string
	Version               Version
	Date                  time.Time
	From                  string // empty: the insert-address token
	To, Cc, Bcc           []string
	Subject               string
	Class                 string // a word of the standard or one's own
	Expiry, DeliveryTime  *When
	Priority              Priority
	HideSender            bool
	DeliveryReport        Flag
	ReadReport            Flag
	ReplyCharging         byte // octet of X-Mms-Reply-Charging
	ReplyChargingDeadline *When
	ReplyChargingSize     uint64
	ReplyChargingID       string
	Store                 Flag
	ApplicID              string
	ReplyApplicID         string
	AuxApplicInfo         string
	ContentClass          byte
	DRMContent            Flag
	AdaptationAllowed     Flag
	Extra                 []Header
	ContentType           wsp.ContentType
}

// AppendHead appends the header block; the body follows it.
func (m SendReq) AppendHead(dst []byte) []byte {
	b := newBlock(dst, MSendReq, m.TransactionID, m.Version)
	b.date(FieldDate, m.Date)
	b.fromOrInsert(m.From)
	b.words(FieldTo, m.To...)
	b.words(FieldCc, m.Cc...)
	b.words(FieldBcc, m.Bcc...)
	b.words(FieldSubject, m.Subject)
	b.class(m.Class)
	b.when(FieldExpiry, m.Expiry)
	b.when(FieldDeliveryTime, m.DeliveryTime)
	b.octet(FieldPriority, byte(m.Priority))
	if m.HideSender {
		b.octet(FieldSenderVisibility, 0x80)
	}
	b.flag(FieldDeliveryReport, m.DeliveryReport)
	b.flag(FieldReadReport, m.ReadReport)
	if m.ReplyCharging != 0 {
		b.octet(FieldReplyCharging, m.ReplyCharging)
		b.when(FieldReplyChargingDeadline, m.ReplyChargingDeadline)
		if m.ReplyChargingSize > 0 {
			b.number(FieldReplyChargingSize, m.ReplyChargingSize)
		}
	}
	b.text(FieldReplyChargingID, m.ReplyChargingID)
	b.flag(FieldStore, m.Store)
	b.text(FieldApplicID, m.ApplicID)
	b.text(FieldReplyApplicID, m.ReplyApplicID)
	b.text(FieldAuxApplicInfo, m.AuxApplicInfo)
	b.octet(FieldContentClass, m.ContentClass)
	b.flag(FieldDRMContent, m.DRMContent)
	b.flag(FieldAdaptationAllowed, m.AdaptationAllowed)
	b.headers(m.Extra)
	b.contentType(m.ContentType)
	return b
}

// Notification is M-Notification.ind (OMA-MMS-ENC 6.2). Size is that of the
// M-Retrieve.conf to expect. From is left out of a hidden sender's.
type Notification struct {
	TransactionID         string
	Version               Version
	From                  string
	Subject               string
	Class                 string // empty: Personal
	Size                  uint64
	Expiry                When
	DeliveryReport        Flag
	Priority              Priority
	ReplyCharging         byte
	ReplyChargingDeadline *When
	ReplyChargingSize     uint64
	ReplyChargingID       string
	Distribution          Flag
	ApplicID              string
	ReplyApplicID         string
	AuxApplicInfo         string
	ContentClass          byte
	DRMContent            Flag
	ReplaceID             string
	Extra                 []Header
	ContentLocation       string // written last, as some handsets like it
}

// Append appends the PDU.
func (m Notification) Append(dst []byte) []byte {
	b := newBlock(dst, MNotificationInd, m.TransactionID, m.Version)
	b.from(m.From)
	b.words(FieldSubject, m.Subject)
	b.flag(FieldDeliveryReport, m.DeliveryReport)
	b.class(orPersonal(m.Class))
	b.octet(FieldPriority, byte(m.Priority))
	b.number(FieldMessageSize, m.Size)
	b.when(FieldExpiry, &m.Expiry)
	if m.ReplyCharging != 0 {
		b.octet(FieldReplyCharging, m.ReplyCharging)
		b.when(FieldReplyChargingDeadline, m.ReplyChargingDeadline)
		if m.ReplyChargingSize > 0 {
			b.number(FieldReplyChargingSize, m.ReplyChargingSize)
		}
	}
	b.text(FieldReplyChargingID, m.ReplyChargingID)
	b.flag(FieldDistributionIndicator, m.Distribution)
	b.text(FieldApplicID, m.ApplicID)
	b.text(FieldReplyApplicID, m.ReplyApplicID)
	b.text(FieldAuxApplicInfo, m.AuxApplicInfo)
	b.octet(FieldContentClass, m.ContentClass)
	b.flag(FieldDRMContent, m.DRMContent)
	b.text(FieldReplaceID, m.ReplaceID)
	b.headers(m.Extra)
	b.text(FieldContentLocation, m.ContentLocation)
	return b
}

func orPersonal(class string) string {
	if class == "" {
		return classWords[0]
	}
	return class
}

// NotifyResp is M-NotifyResp.ind (OMA-MMS-ENC 6.2): the transaction id is the
// notification's.
type NotifyResp struct {
	TransactionID string
	Version       Version
	Status        MessageStatus // Retrieved, Rejected, Deferred, Unrecognised
	ReportAllowed Flag
}

// Append appends the PDU.
func (m NotifyResp) Append(dst []byte) []byte {
	b := newBlock(dst, MNotifyRespInd, m.TransactionID, m.Version)
	b.octet(FieldStatus, byte(m.Status))
	b.flag(FieldReportAllowed, m.ReportAllowed)
	return b
}

// Retrieve is M-Retrieve.conf (OMA-MMS-ENC 6.3). The transaction id is what a
// handset that deferred acknowledges. RetrieveError builds one without a message.
type Retrieve struct {
	TransactionID  string
	Version        Version
	MessageID      string
	Date           time.Time
	From           string // empty: hidden
	To, Cc         []string
	Subject        string
	Class          string
	Priority       Priority
	DeliveryReport Flag
	ReadReport     Flag
	Status         Status // 0: left out
	StatusText     string
	PreviouslySent []PreviousHop
	Extra          []Header
	ContentType    wsp.ContentType
}

// AppendHead appends the header block; the body follows it.
func (m Retrieve) AppendHead(dst []byte) []byte {
	b := newBlock(dst, MRetrieveConf, m.TransactionID, m.Version)
	b.text(FieldMessageID, m.MessageID)
	b.date(FieldDate, m.Date)
	b.from(m.From)
	b.words(FieldTo, m.To...)
	b.words(FieldCc, m.Cc...)
	b.words(FieldSubject, m.Subject)
	b.class(m.Class)
	b.octet(FieldPriority, byte(m.Priority))
	b.flag(FieldDeliveryReport, m.DeliveryReport)
	b.flag(FieldReadReport, m.ReadReport)
	b.octet(FieldRetrieveStatus, byte(m.Status))
	b.words(FieldRetrieveText, m.StatusText)
	b.hops(m.PreviouslySent)
	b.headers(m.Extra)
	b.contentType(m.ContentType)
	return b
}

// Acknowledge is M-Acknowledge.ind (OMA-MMS-ENC 6.4): the transaction id is that
// of the M-Retrieve.conf.
type Acknowledge struct {
	TransactionID string
	Version       Version
	ReportAllowed Flag
}

// Append appends the PDU.
func (m Acknowledge) Append(dst []byte) []byte {
	b := newBlock(dst, MAcknowledgeInd, m.TransactionID, m.Version)
	b.flag(FieldReportAllowed, m.ReportAllowed)
	return b
}

// DeliveryReport is M-Delivery.ind (OMA-MMS-ENC 6.6): To is the recipient that
// the status speaks of.
type DeliveryReport struct {
	Version    Version
	MessageID  string
	To         string
	Date       time.Time
	Status     MessageStatus
	StatusText string // MMS 1.3
}

// Append appends the PDU.
func (m DeliveryReport) Append(dst []byte) []byte {
	b := newBlock(dst, MDeliveryInd, "", m.Version)
	b.text(FieldMessageID, m.MessageID)
	b.words(FieldTo, m.To)
	b.date(FieldDate, m.Date)
	b.octet(FieldStatus, byte(m.Status))
	b.words(FieldStatusText, m.StatusText)
	return b
}

// The octets of X-Mms-Read-Status.
const (
	Read          = 0x80
	DeletedUnread = 0x81
)

// ReadReport is M-Read-Rec.ind from the reader, or M-Read-Orig.ind to the
// originator (OMA-MMS-ENC 6.7). Type says which.
type ReadReport struct {
	Type      Type // MReadRecInd or MReadOrigInd
	Version   Version
	MessageID string
	To        string // the originator
	From      string // the reader; empty in M-Read-Rec.ind: the insert-address token
	Date      time.Time
	Status    byte // Read or DeletedUnread
}

// Append appends the PDU.
func (m ReadReport) Append(dst []byte) []byte {
	b := newBlock(dst, m.Type, "", m.Version)
	b.text(FieldMessageID, m.MessageID)
	b.words(FieldTo, m.To)
	if m.Type == MReadRecInd {
		b.fromOrInsert(m.From)
	} else {
		b.from(m.From)
	}
	b.date(FieldDate, m.Date)
	b.octet(FieldReadStatus, m.Status)
	return b
}

// ForwardReq is M-Forward.req (OMA-MMS-ENC 6.5.1).
type ForwardReq struct {
	TransactionID        string
	Version              Version
	Date                 time.Time
	From                 string // empty: the insert-address token
	To, Cc, Bcc          []string
	Expiry, DeliveryTime *When
	ReportAllowed        Flag
	DeliveryReport       Flag
	ReadReport           Flag
	Store                Flag
	State                MMState
	Flags                []MMFlag
	Extra                []Header
	ContentLocation      string
}

// Append appends the PDU.
func (m ForwardReq) Append(dst []byte) []byte {
	b := newBlock(dst, MForwardReq, m.TransactionID, m.Version)
	b.date(FieldDate, m.Date)
	b.fromOrInsert(m.From)
	b.words(FieldTo, m.To...)
	b.words(FieldCc, m.Cc...)
	b.words(FieldBcc, m.Bcc...)
	b.when(FieldExpiry, m.Expiry)
	b.when(FieldDeliveryTime, m.DeliveryTime)
	b.flag(FieldReportAllowed, m.ReportAllowed)
	b.flag(FieldDeliveryReport, m.DeliveryReport)
	b.flag(FieldReadReport, m.ReadReport)
	b.flag(FieldStore, m.Store)
	b.octet(FieldMMState, byte(m.State))
	b.flags(m.Flags)
	b.headers(m.Extra)
	b.text(FieldContentLocation, m.ContentLocation)
	return b
}
