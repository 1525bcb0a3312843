package mms

// Field is the octet that names a header field on the wire: the assigned number
// with its top bit set (OMA-MMS-ENC 7.4, table 24).
type Field byte

// The fields of OMA-MMS-ENC 1.0 to 1.3.
const (
	FieldBcc                      Field = 0x81
	FieldCc                       Field = 0x82
	FieldContentLocation          Field = 0x83
	FieldContentType              Field = 0x84
	FieldDate                     Field = 0x85
	FieldDeliveryReport           Field = 0x86
	FieldDeliveryTime             Field = 0x87
	FieldExpiry                   Field = 0x88
	FieldFrom                     Field = 0x89
	FieldMessageClass             Field = 0x8A
	FieldMessageID                Field = 0x8B
	FieldMessageType              Field = 0x8C
	FieldMMSVersion               Field = 0x8D
	FieldMessageSize              Field = 0x8E
	FieldPriority                 Field = 0x8F
	FieldReadReport               Field = 0x90
	FieldReportAllowed            Field = 0x91
	FieldResponseStatus           Field = 0x92
	FieldResponseText             Field = 0x93
	FieldSenderVisibility         Field = 0x94
	FieldStatus                   Field = 0x95
	FieldSubject                  Field = 0x96
	FieldTo                       Field = 0x97
	FieldTransactionID            Field = 0x98
	FieldRetrieveStatus           Field = 0x99
	FieldRetrieveText             Field = 0x9A
	FieldReadStatus               Field = 0x9B
	FieldReplyCharging            Field = 0x9C
	FieldReplyChargingDeadline    Field = 0x9D
	FieldReplyChargingID          Field = 0x9E
	FieldReplyChargingSize        Field = 0x9F
	FieldPreviouslySentBy         Field = 0xA0
	FieldPreviouslySentDate       Field = 0xA1
	FieldStore                    Field = 0xA2
	FieldMMState                  Field = 0xA3
	FieldMMFlags                  Field = 0xA4
	FieldStoreStatus              Field = 0xA5
	FieldStoreStatusText          Field = 0xA6
	FieldStored                   Field = 0xA7
	FieldAttributes               Field = 0xA8
	FieldTotals                   Field = 0xA9
	FieldMboxTotals               Field = 0xAA
	FieldQuotas                   Field = 0xAB
	FieldMboxQuotas               Field = 0xAC
	FieldMessageCount             Field = 0xAD
	FieldContent                  Field = 0xAE
	FieldStart                    Field = 0xAF
	FieldAdditionalHeaders        Field = 0xB0
	FieldDistributionIndicator    Field = 0xB1
	FieldElementDescriptor        Field = 0xB2
	FieldLimit                    Field = 0xB3
	FieldRecommendedRetrieval     Field = 0xB4
	FieldRecommendedRetrievalText Field = 0xB5
	FieldStatusText               Field = 0xB6
	FieldApplicID                 Field = 0xB7
	FieldReplyApplicID            Field = 0xB8
	FieldAuxApplicInfo            Field = 0xB9
	FieldContentClass             Field = 0xBA
	FieldDRMContent               Field = 0xBB
	FieldAdaptationAllowed        Field = 0xBC
	FieldReplaceID                Field = 0xBD
	FieldCancelID                 Field = 0xBE
	FieldCancelStatus             Field = 0xBF
)

// Tokens that say which of two forms of a value follows.
const (
	tokenAddressPresent = 0x80 // From
	tokenInsertAddress  = 0x81
	tokenAbsolute       = 0x80 // Expiry, Delivery-Time, Reply-Charging-Deadline
	tokenRelative       = 0x81
	tokenYes            = 0x80
	tokenNo             = 0x81
)

// MessageStatus is the octet of X-Mms-Status (OMA-MMS-ENC 7.3.54).
type MessageStatus byte

// The values of X-Mms-Status.
const (
	Expired       MessageStatus = 0x80
	Retrieved     MessageStatus = 0x81
	Rejected      MessageStatus = 0x82
	Deferred      MessageStatus = 0x83
	Unrecognised  MessageStatus = 0x84
	Indeterminate MessageStatus = 0x85
	Forwarded     MessageStatus = 0x86
	Unreachable   MessageStatus = 0x87
)

var messageStatusWords = [...]string{"Expired", "Retrieved", "Rejected", "Deferred", "Unrecognised", "Indeterminate", "Forwarded", "Unreachable"}

// String gives the word of the standard, or "unknown".
func (s MessageStatus) String() string {
	if s < Expired || s > Unreachable {
		return "unknown"
	}
	return messageStatusWords[s-Expired]
}
