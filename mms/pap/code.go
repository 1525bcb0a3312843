package pap

// Code is a result code (WAP-247-PAP 9.14).
type Code int

// The codes.
const (
	OK                          Code = 1000
	Accepted                    Code = 1001
	BadRequest                  Code = 2000
	Forbidden                   Code = 2001
	AddressError                Code = 2002
	AddressNotFound             Code = 2003
	PushIDNotFound              Code = 2004
	CapabilitiesMismatch        Code = 2005
	CapabilitiesNotSupported    Code = 2006
	DuplicatePushID             Code = 2007
	CancellationNotPossible     Code = 2008
	InternalError               Code = 3000
	NotImplemented              Code = 3001
	VersionNotSupported         Code = 3002
	NotPossible                 Code = 3003
	MatchingNotSupported        Code = 3004
	ManyAddressesNotSupported   Code = 3005
	TransformationFailure       Code = 3006
	DeliveryMethodNotPossible   Code = 3007
	CapabilitiesNotAvailable    Code = 3008
	NetworkNotAvailable         Code = 3009
	BearerNotAvailable          Code = 3010
	ReplacementNotSupported     Code = 3011
	ServiceFailure              Code = 4000
	ServiceUnavailable          Code = 4001
	ClientAborted               Code = 5000
	firstClientCode, lastClient Code = 5000, 5999
)

var codeTexts = map[Code]string{
	OK: "OK", Accepted: "Accepted for processing", BadRequest: "Bad request", Forbidden: "Forbidden", AddressError: "Address error",
	AddressNotFound: "Address not found", PushIDNotFound: "Push ID not found", CapabilitiesMismatch: "Capabilities mismatch",
	CapabilitiesNotSupported: "Required capabilities not supported", DuplicatePushID: "Duplicate push ID",
	CancellationNotPossible: "Cancellation not possible", InternalError: "Internal server error", NotImplemented: "Not implemented",
	VersionNotSupported: "Version not supported", NotPossible: "Not possible", MatchingNotSupported: "Capability matching not supported",
	ManyAddressesNotSupported: "Multiple addresses not supported", TransformationFailure: "Transformation failure",
	DeliveryMethodNotPossible: "Specified delivery method not possible", CapabilitiesNotAvailable: "Capabilities not available",
	NetworkNotAvailable: "Required network not available", BearerNotAvailable: "Required bearer not available",
	ReplacementNotSupported: "Replacement not supported", ServiceFailure: "Service failure", ServiceUnavailable: "Service unavailable",
	ClientAborted: "Client aborted",
}

// String gives the text of the standard, or a word for the code's class.
func (c Code) String() string {
	if text, ok := codeTexts[c]; ok {
		return text
	}
	switch c / 1000 {
	case 1:
		return "Success"
	case 2:
		return "Client error"
	case 3:
		return "Server error"
	case 4:
		return "Service error"
	case 5:
		return "Mobile client error"
	}
	return "Unknown"
}

// Success says whether the gateway has taken what was asked.
func (c Code) Success() bool { return c/1000 == 1 }

// Again says whether the same request may work later: an error of the server
// itself or of the service behind it. Networks and bearers come and go too.
func (c Code) Again() bool {
	return c == InternalError || c == NetworkNotAvailable || c == BearerNotAvailable || c/1000 == 4
}
