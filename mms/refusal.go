package mms

// Reason is why a server refuses a request. Each PDU has its own statuses, and
// MMS 1.0 has others than later versions; a Reason is turned into the right one
// when the answer is written.
type Reason uint8

// The reasons.
const (
	TransientFailure   Reason = iota // try later
	NetworkProblem                   // no MMSC can be reached, or overload: try later
	TransientAddress                 // the recipient can't be resolved now
	TransientNotFound                // the message is not at hand now
	PermanentFailure                 // never try again
	ServiceDenied                    // not provisioned, barred
	FormatCorrupt                    // the request could not be read
	AddressUnresolved                // no recipient is reachable from here
	MessageNotFound                  // no such message
	ContentNotAccepted               // type or class of the content
	TooLarge                         // size of the content
	UnsupportedMessage               // the server does not know this PDU
	HidingNotSupported               // sender visibility Hide can't be kept
	ForwardingDenied                 // a reply-charged message is not forwarded
	LackOfPrepaid                    // no credit
	MMBoxFull                        // only of the MMBox
)

// Statuses by reason: Response-Status, Response-Status for a 1.0 client, Store-Status.
var refusals = [...]struct{ response, old, store Status }{
	TransientFailure:   {StatusTransientFailure, ErrorNetworkProblem, StatusTransientFailure},
	NetworkProblem:     {ErrorTransientNetworkProblem, ErrorNetworkProblem, StoreTransientNetworkProblem},
	TransientAddress:   {ErrorTransientAddressUnresolved, ErrorNetworkProblem, StatusTransientFailure},
	TransientNotFound:  {ErrorTransientMessageNotFound, ErrorNetworkProblem, StatusTransientFailure},
	PermanentFailure:   {StatusPermanentFailure, ErrorUnspecified, StatusPermanentFailure},
	ServiceDenied:      {ErrorPermanentServiceDenied, ErrorServiceDenied, StorePermanentServiceDenied},
	FormatCorrupt:      {ErrorPermanentFormatCorrupt, ErrorMessageFormatCorrupt, StorePermanentFormatCorrupt},
	AddressUnresolved:  {ErrorPermanentAddressUnresolved, ErrorSendingAddressUnresolved, StatusPermanentFailure},
	MessageNotFound:    {ErrorPermanentMessageNotFound, ErrorMessageNotFound, StorePermanentMessageNotFound},
	ContentNotAccepted: {ErrorPermanentContentNotAccepted, ErrorContentNotAccepted, StatusPermanentFailure},
	TooLarge:           {ErrorPermanentContentNotAccepted, ErrorContentNotAccepted, StatusPermanentFailure},
	UnsupportedMessage: {ErrorUnsupportedMessage, ErrorUnsupportedMessage, StorePermanentServiceDenied},
	HidingNotSupported: {ErrorAddressHidingNotSupported, ErrorServiceDenied, StatusPermanentFailure},
	ForwardingDenied:   {ErrorReplyChargingForwarding, ErrorServiceDenied, StatusPermanentFailure},
	LackOfPrepaid:      {ErrorPermanentLackOfPrepaid, ErrorServiceDenied, StorePermanentServiceDenied},
	MMBoxFull:          {StatusPermanentFailure, ErrorUnspecified, StorePermanentMMBoxFull},
}

// ResponseStatus gives the Response-Status that says r to a client of version v:
// MMS 1.0 knows 81 to 88 only (OMA-MMS-ENC 7.3.48), EA and EB came with 1.2 and 1.3.
func (r Reason) ResponseStatus(v Version) Status {
	if int(r) >= len(refusals) {
		r = PermanentFailure
	}
	s := refusals[r].response
	switch {
	case v >= 0x80 && v.Major() == 1 && v.Minor() == 0:
		return refusals[r].old
	case s == ErrorPermanentLackOfPrepaid && v.Reply().Minor() < 3, s == ErrorAddressHidingNotSupported && v.Reply().Minor() < 2:
		return ErrorPermanentServiceDenied
	}
	return s
}

// StoreStatus gives the Store-Status that says r.
func (r Reason) StoreStatus() Status {
	if int(r) >= len(refusals) {
		r = PermanentFailure
	}
	return refusals[r].store
}

// Transient says whether the client may try again.
func (r Reason) Transient() bool { return r <= TransientNotFound }

// AppendRefusal appends the .conf that refuses the request h with the status
// that fits its type and the client's version, the same transaction id, and
// text for a person (may be empty). It answers false, with dst as it was, when
// no PDU can answer: an indication, or no transaction id was read. A type that
// nobody knows gets M-Send.conf with Error-unsupported-message (OMA-MMS-ENC 8).
func (h *Head) AppendRefusal(dst []byte, why Reason, text string) ([]byte, bool) {
	if h.TransactionID == nil || h.Type < 0x80 {
		return dst, false
	}
	response := why.ResponseStatus(h.Version)
	if !h.Type.Known() {
		return SendConf{TransactionID: h.TransactionID, Version: h.Version, Status: ErrorUnsupportedMessage, Text: text}.Append(dst), true
	}
	switch h.Type {
	case MSendReq:
		return SendConf{TransactionID: h.TransactionID, Version: h.Version, Status: response, Text: text}.Append(dst), true
	case MForwardReq:
		return ForwardConf{TransactionID: h.TransactionID, Version: h.Version, Status: response, Text: text}.Append(dst), true
	case MMboxStoreReq, MMboxUploadReq:
		return StoreConf{Type: h.Type + 1, TransactionID: h.TransactionID, Version: h.Version, Status: why.StoreStatus(), Text: text}.Append(dst), true
	case MMboxViewReq:
		return ViewError{TransactionID: h.TransactionID, Version: h.Version, Status: response, Text: text}.Append(dst), true
	case MMboxDeleteReq, MDeleteReq:
		return DeleteConf{Type: h.Type + 1, TransactionID: h.TransactionID, Version: h.Version,
			Results: []DeleteResult{{Status: response, Text: text}}}.Append(dst), true
	}
	return dst, false
}
