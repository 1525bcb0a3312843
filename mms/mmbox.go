package mms

import "github.com/mmsrouter/mmsrouter/mms/wsp"

// MMState is the octet of X-Mms-MM-State (OMA-MMS-ENC 7.3.33).
type MMState byte

// The states of a message in an MMBox.
const (
	StateDraft     MMState = 0x80
	StateSent      MMState = 0x81
	StateNew       MMState = 0x82
	StateRetrieved MMState = 0x83
	StateForwarded MMState = 0x84
)

// MMFlagVerb is what to do with a keyword of X-Mms-MM-Flags (OMA-MMS-ENC 7.3.32).
type MMFlagVerb byte

// The verbs.
const (
	FlagAdd    MMFlagVerb = 0x80
	FlagRemove MMFlagVerb = 0x81
	FlagFilter MMFlagVerb = 0x82
)

// MMFlag is a keyword of a message in an MMBox.
type MMFlag struct {
	Verb    MMFlagVerb
	Keyword string
}

// Flags gives all X-Mms-MM-Flags that can be read.
func (p *PDU) Flags() []MMFlag {
	var flags []MMFlag
	for _, h := range p.All(FieldMMFlags) {
		inner, ok := lengthed(h.Value())
		if !ok || len(inner) < 2 || inner[0] < byte(FlagAdd) || inner[0] > byte(FlagFilter) {
			continue
		}
		if e, err := readEncoded(inner[1:]); err == nil {
			flags = append(flags, MMFlag{MMFlagVerb(inner[0]), e.String()})
		}
	}
	return flags
}

// MboxStoreReq is M-Mbox-Store.req (OMA-MMS-ENC 6.8.1).
type MboxStoreReq struct {
	TransactionID   string
	Version         Version
	ContentLocation string
	State           MMState
	Flags           []MMFlag
}

// Append appends the PDU.
func (m MboxStoreReq) Append(dst []byte) []byte {
	b := newBlock(dst, MMboxStoreReq, m.TransactionID, m.Version)
	b.text(FieldContentLocation, m.ContentLocation)
	b.octet(FieldMMState, byte(m.State))
	b.flags(m.Flags)
	return b
}

// MboxViewReq is M-Mbox-View.req (OMA-MMS-ENC 6.8.3). Start and Limit are left
// out when nil.
type MboxViewReq struct {
	TransactionID    string
	Version          Version
	ContentLocations []string
	States           []MMState
	Flags            []MMFlag
	Start, Limit     *uint64
	Attributes       []Field
	Totals, Quotas   Flag
}

// Append appends the PDU.
func (m MboxViewReq) Append(dst []byte) []byte {
	b := newBlock(dst, MMboxViewReq, m.TransactionID, m.Version)
	b.text(FieldContentLocation, m.ContentLocations...)
	for _, s := range m.States {
		b.octet(FieldMMState, byte(s))
	}
	b.flags(m.Flags)
	b.count(FieldStart, m.Start)
	b.count(FieldLimit, m.Limit)
	for _, f := range m.Attributes {
		b.octet(FieldAttributes, byte(f))
	}
	b.flag(FieldTotals, m.Totals)
	b.flag(FieldQuotas, m.Quotas)
	return b
}

// MboxSize is a number of messages or of octets (X-Mms-Mbox-Totals, -Quotas).
type MboxSize struct {
	Octets bool // else messages
	N      uint64
}

func (b *block) sizes(f Field, list []MboxSize) {
	for _, s := range list {
		token := byte(0x80)
		if s.Octets {
			token = 0x81
		}
		*b = appendLengthed(*b, f, wsp.AppendInteger([]byte{token}, s.N))
	}
}

// MboxViewConf is M-Mbox-View.conf that shows messages (OMA-MMS-ENC 6.8.4): its
// body is a multipart/mixed of M-Mbox-Descr. ViewError builds a refusal.
type MboxViewConf struct {
	TransactionID  string
	Version        Version
	Status         Status
	Text           string
	Totals, Quotas []MboxSize
	Count          *uint64
	Extra          []Header // what the request asked for and is echoed
}

// AppendHead appends the header block up to a Content-Type of multipart/mixed.
func (m MboxViewConf) AppendHead(dst []byte) []byte {
	b := newBlock(dst, MMboxViewConf, m.TransactionID, m.Version)
	b.octet(FieldResponseStatus, byte(m.Status))
	b.words(FieldResponseText, m.Text)
	b.sizes(FieldMboxTotals, m.Totals)
	b.sizes(FieldMboxQuotas, m.Quotas)
	b.count(FieldMessageCount, m.Count)
	b.headers(m.Extra)
	b.contentType(wsp.Media(wsp.MultipartMixed))
	return b
}

// MboxDescr is M-Mbox-Descr, a message of an MMBox within another PDU
// (OMA-MMS-ENC 6.8.9). Headers are those of the message that were asked for;
// without a ContentType it has no body.
type MboxDescr struct {
	Version         Version
	ContentLocation string
	MessageID       string
	State           MMState
	Flags           []MMFlag
	Headers         []Header
	ContentType     *wsp.ContentType
}

// AppendHead appends the header block.
func (m MboxDescr) AppendHead(dst []byte) []byte {
	b := newBlock(dst, MMboxDescr, "", m.Version)
	b.text(FieldContentLocation, m.ContentLocation)
	b.text(FieldMessageID, m.MessageID)
	b.octet(FieldMMState, byte(m.State))
	b.flags(m.Flags)
	b.headers(m.Headers)
	if m.ContentType != nil {
		b.contentType(*m.ContentType)
	}
	return b
}

// MboxUploadReq is M-Mbox-Upload.req (OMA-MMS-ENC 6.8.5); its body is one
// M-Mbox-Descr.
type MboxUploadReq struct {
	TransactionID string
	Version       Version
	State         MMState
	Flags         []MMFlag
}

// AppendHead appends the header block; an M-Mbox-Descr with its body follows.
func (m MboxUploadReq) AppendHead(dst []byte) []byte {
	b := newBlock(dst, MMboxUploadReq, m.TransactionID, m.Version)
	b.octet(FieldMMState, byte(m.State))
	b.flags(m.Flags)
	b.contentType(wsp.Media(wsp.MMSMessage))
	return b
}

// DeleteReq is M-Mbox-Delete.req or M-Delete.req, by Type (OMA-MMS-ENC 6.8.7, 6.9).
type DeleteReq struct {
	Type             Type
	TransactionID    string
	Version          Version
	ContentLocations []string
}

// Append appends the PDU.
func (m DeleteReq) Append(dst []byte) []byte {
	b := newBlock(dst, m.Type, m.TransactionID, m.Version)
	b.text(FieldContentLocation, m.ContentLocations...)
	return b
}

// CancelReq is M-Cancel.req (OMA-MMS-ENC 6.10). The zero Version is 1.3, which
// it came with.
type CancelReq struct {
	TransactionID string
	Version       Version
	CancelID      string
}

// Append appends the PDU.
func (m CancelReq) Append(dst []byte) []byte {
	if m.Version == 0 {
		m.Version = Version13
	}
	b := newBlock(dst, MCancelReq, m.TransactionID, m.Version)
	b.text(FieldCancelID, m.CancelID)
	return b
}

// Results reads the outcomes of M-Mbox-Delete.conf or M-Delete.conf, paired by
// their count.
func (p *PDU) Results() []DeleteResult {
	index := make(map[uint64]int)
	var results []DeleteResult
	at := func(count uint64) *DeleteResult {
		i, ok := index[count]
		if !ok {
			i = len(results)
			index[count] = i
			results = append(results, DeleteResult{})
		}
		return &results[i]
	}
	for _, h := range p.Headers {
		if !h.counted {
			continue
		}
		count, rest, ok := splitCount(h.Value())
		if !ok {
			count, rest = 0, h.Value()
		}
		switch h.Field {
		case FieldContentLocation:
			if text, ok := plainText(rest); ok {
				at(count).ContentLocation = text
			}
		case FieldResponseStatus:
			if len(rest) == 1 && rest[0] >= 0x80 {
				at(count).Status = Status(rest[0])
			}
		case FieldResponseText:
			if e, err := readEncoded(rest); err == nil {
				at(count).Text = e.String()
			}
		}
	}
	return results
}
