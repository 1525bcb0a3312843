package mms

// Status is an octet of Response-Status, Retrieve-Status or Store-Status
// (OMA-MMS-ENC 7.3.48, 7.3.50, 7.3.58). The three tables share Ok and the split
// between transient (C0-DF) and permanent (E0-FF); below that they differ.
type Status byte

// Statuses with one meaning in every table.
const (
	StatusOk               Status = 0x80
	StatusTransientFailure Status = 0xC0
	StatusPermanentFailure Status = 0xE0
)

// Response-Status of MMS 1.0. Only ErrorUnsupportedMessage lives on in later versions.
const (
	ErrorUnspecified              Status = 0x81
	ErrorServiceDenied            Status = 0x82
	ErrorMessageFormatCorrupt     Status = 0x83
	ErrorSendingAddressUnresolved Status = 0x84
	ErrorMessageNotFound          Status = 0x85
	ErrorNetworkProblem           Status = 0x86
	ErrorContentNotAccepted       Status = 0x87
	ErrorUnsupportedMessage       Status = 0x88
)

// Response-Status from MMS 1.1 on.
const (
	ErrorTransientAddressUnresolved   Status = 0xC1
	ErrorTransientMessageNotFound     Status = 0xC2
	ErrorTransientNetworkProblem      Status = 0xC3
	ErrorTransientPartialSuccess      Status = 0xC4
	ErrorPermanentServiceDenied       Status = 0xE1
	ErrorPermanentFormatCorrupt       Status = 0xE2
	ErrorPermanentAddressUnresolved   Status = 0xE3
	ErrorPermanentMessageNotFound     Status = 0xE4
	ErrorPermanentContentNotAccepted  Status = 0xE5
	ErrorReplyChargingLimitations     Status = 0xE6
	ErrorReplyChargingRequest         Status = 0xE7
	ErrorReplyChargingForwarding      Status = 0xE8
	ErrorReplyChargingNotSupported    Status = 0xE9
	ErrorAddressHidingNotSupported    Status = 0xEA
	ErrorPermanentLackOfPrepaid       Status = 0xEB
	RetrieveTransientMessageNotFound  Status = 0xC1
	RetrieveTransientNetworkProblem   Status = 0xC2
	RetrievePermanentServiceDenied    Status = 0xE1
	RetrievePermanentMessageNotFound  Status = 0xE2
	RetrievePermanentContentUnsupport Status = 0xE3
	StoreTransientNetworkProblem      Status = 0xC1
	StorePermanentServiceDenied       Status = 0xE1
	StorePermanentFormatCorrupt       Status = 0xE2
	StorePermanentMessageNotFound     Status = 0xE3
	StorePermanentMMBoxFull           Status = 0xE4
)

var responseWords = map[Status]string{
	0x80: "Ok", 0x81: "Error-unspecified", 0x82: "Error-service-denied", 0x83: "Error-message-format-corrupt",
	0x84: "Error-sending-address-unresolved", 0x85: "Error-message-not-found", 0x86: "Error-network-problem",
	0x87: "Error-content-not-accepted", 0x88: "Error-unsupported-message",
	0xC0: "Error-transient-failure", 0xC1: "Error-transient-sending-address-unresolved", 0xC2: "Error-transient-message-not-found",
	0xC3: "Error-transient-network-problem", 0xC4: "Error-transient-partial-success",
	0xE0: "Error-permanent-failure", 0xE1: "Error-permanent-service-denied", 0xE2: "Error-permanent-message-format-corrupt",
	0xE3: "Error-permanent-sending-address-unresolved", 0xE4: "Error-permanent-message-not-found",
	0xE5: "Error-permanent-content-not-accepted", 0xE6: "Error-permanent-reply-charging-limitations-not-met",
	0xE7: "Error-permanent-reply-charging-request-not-accepted", 0xE8: "Error-permanent-reply-charging-forwarding-denied",
	0xE9: "Error-permanent-reply-charging-not-supported", 0xEA: "Error-permanent-address-hiding-not-supported",
	0xEB: "Error-permanent-lack-of-prepaid",
}

var retrieveWords = map[Status]string{
	0x80: "Ok", 0xC0: "Error-transient-failure", 0xC1: "Error-transient-message-not-found", 0xC2: "Error-transient-network-problem",
	0xE0: "Error-permanent-failure", 0xE1: "Error-permanent-service-denied", 0xE2: "Error-permanent-message-not-found",
	0xE3: "Error-permanent-content-unsupported",
}

var storeWords = map[Status]string{
	0x80: "Success", 0xC0: "Error-transient-failure", 0xC1: "Error-transient-network-problem",
	0xE0: "Error-permanent-failure", 0xE1: "Error-permanent-service-denied", 0xE2: "Error-permanent-message-format-corrupt",
	0xE3: "Error-permanent-message-not-found", 0xE4: "Error-permanent-mmbox-full",
}

// String gives the words of a Response-Status, "Ok" or "Error-transient-failure".
// A reserved octet gives those of the status that it acts as.
func (s Status) String() string { return words(responseWords, s, ResponseClass(s)) }

// RetrieveString gives the words of a Retrieve-Status.
func (s Status) RetrieveString() string { return words(retrieveWords, s, RetrieveClass(s)) }

// StoreString gives the words of a Store-Status.
func (s Status) StoreString() string { return words(storeWords, s, StoreClass(s)) }

func words(table map[Status]string, s Status, c Class) string {
	if w, ok := table[s]; ok {
		return w
	}
	if c == Transient {
		return table[StatusTransientFailure]
	}
	return table[StatusPermanentFailure]
}

// Class says what a status means to one who may try again.
type Class uint8

// The classes.
const (
	Ok             Class = iota // done
	PartialSuccess              // C4: done for some; trying all again would double
	Transient                   // not done, may be tried again
	Permanent                   // not done, never to be tried again
)

// String gives "ok", "partial", "transient" or "permanent".
func (c Class) String() string {
	switch c {
	case Ok:
		return "ok"
	case PartialSuccess:
		return "partial"
	case Transient:
		return "transient"
	}
	return "permanent"
}

// ResponseClass sorts a Response-Status, reserved ranges included: C5-DF act as
// C0, whatever else is not in the table as E0. The network problem of MMS 1.0
// (86) is transient.
func ResponseClass(s Status) Class {
	switch {
	case s == StatusOk:
		return Ok
	case s == ErrorTransientPartialSuccess:
		return PartialSuccess
	case s == ErrorNetworkProblem, s >= 0xC0 && s <= 0xDF:
		return Transient
	}
	return Permanent
}

// RetrieveClass sorts a Retrieve-Status; it knows no partial success.
func RetrieveClass(s Status) Class {
	switch {
	case s == StatusOk:
		return Ok
	case s >= 0xC0 && s <= 0xDF:
		return Transient
	}
	return Permanent
}

// StoreClass sorts a Store-Status.
func StoreClass(s Status) Class { return RetrieveClass(s) }
