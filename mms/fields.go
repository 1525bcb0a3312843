package mms

import (
	"fmt"
	"strings"
)

type form uint8

const (
	formOctet   form = iota // one octet out of a table
	formText                // Text-string
	formEncoded             // Encoded-string-value
	formFrom
	formDate
	formWhen    // absolute date or relative seconds
	formInteger // Integer-value, written long
	formShort   // Integer-value, written as short as it goes
	formClass   // an octet or a token
	formType
	formVersion
	formResponse // Response-Status; counted in (M-Mbox-)Delete.conf
	formRetrieve
	formStore
	formSentBy     // count and address
	formSentDate   // count and date
	formFlags      // add, remove or filter and a keyword
	formTotals     // messages or octets
	formAttribute  // the octet of a field
	formDescriptor // reference and parameters
	formContentType
)

// fields tells, by field, its name in OMA-MMS-ENC, the form of its value, the
// minor version of MMS 1.x it came with, and the words of its octets from 80 on.
var fields = [...]struct {
	name  string
	form  form
	since uint8
	words []string
}{
	0x01: {"Bcc", formEncoded, 0, nil},
	0x02: {"Cc", formEncoded, 0, nil},
	0x03: {"X-Mms-Content-Location", formText, 0, nil},
	0x04: {"Content-Type", formContentType, 0, nil},
	0x05: {"Date", formDate, 0, nil},
	0x06: {"X-Mms-Delivery-Report", formOctet, 0, yesNo},
	0x07: {"X-Mms-Delivery-Time", formWhen, 0, nil},
	0x08: {"X-Mms-Expiry", formWhen, 0, nil},
	0x09: {"From", formFrom, 0, nil},
	0x0A: {"X-Mms-Message-Class", formClass, 0, classWords},
	0x0B: {"Message-ID", formText, 0, nil},
	0x0C: {"X-Mms-Message-Type", formType, 0, nil},
	0x0D: {"X-Mms-MMS-Version", formVersion, 0, nil},
	0x0E: {"X-Mms-Message-Size", formInteger, 0, nil},
	0x0F: {"X-Mms-Priority", formOctet, 0, []string{"Low", "Normal", "High"}},
	0x10: {"X-Mms-Read-Report", formOctet, 0, yesNo},
	0x11: {"X-Mms-Report-Allowed", formOctet, 0, yesNo},
	0x12: {"X-Mms-Response-Status", formResponse, 0, nil},
	0x13: {"X-Mms-Response-Text", formEncoded, 0, nil},
	0x14: {"X-Mms-Sender-Visibility", formOctet, 0, []string{"Hide", "Show"}},
	0x15: {"X-Mms-Status", formOctet, 0, messageStatusWords[:]},
	0x16: {"Subject", formEncoded, 0, nil},
	0x17: {"To", formEncoded, 0, nil},
	0x18: {"X-Mms-Transaction-ID", formText, 0, nil},
	0x19: {"X-Mms-Retrieve-Status", formRetrieve, 1, nil},
	0x1A: {"X-Mms-Retrieve-Text", formEncoded, 1, nil},
	0x1B: {"X-Mms-Read-Status", formOctet, 1, []string{"Read", "Deleted-without-being-read"}},
	0x1C: {"X-Mms-Reply-Charging", formOctet, 1, []string{"Requested", "Requested-text-only", "Accepted", "Accepted-text-only"}},
	0x1D: {"X-Mms-Reply-Charging-Deadline", formWhen, 1, nil},
	0x1E: {"X-Mms-Reply-Charging-ID", formText, 1, nil},
	0x1F: {"X-Mms-Reply-Charging-Size", formInteger, 1, nil},
	0x20: {"X-Mms-Previously-Sent-By", formSentBy, 1, nil},
	0x21: {"X-Mms-Previously-Sent-Date", formSentDate, 1, nil},
	0x22: {"X-Mms-Store", formOctet, 2, yesNo},
	0x23: {"X-Mms-MM-State", formOctet, 2, []string{"Draft", "Sent", "New", "Retrieved", "Forwarded"}},
	0x24: {"X-Mms-MM-Flags", formFlags, 2, flagWords},
	0x25: {"X-Mms-Store-Status", formStore, 2, nil},
	0x26: {"X-Mms-Store-Status-Text", formEncoded, 2, nil},
	0x27: {"X-Mms-Stored", formOctet, 2, yesNo},
	0x28: {"X-Mms-Attributes", formAttribute, 2, nil},
	0x29: {"X-Mms-Totals", formOctet, 2, yesNo},
	0x2A: {"X-Mms-Mbox-Totals", formTotals, 2, totalWords},
	0x2B: {"X-Mms-Quotas", formOctet, 2, yesNo},
	0x2C: {"X-Mms-Mbox-Quotas", formTotals, 2, totalWords},
	0x2D: {"X-Mms-Message-Count", formShort, 2, nil},
	0x2E: {"Content", formOctet, 2, nil},
	0x2F: {"X-Mms-Start", formShort, 2, nil},
	0x30: {"Additional-headers", formOctet, 2, nil},
	0x31: {"X-Mms-Distribution-Indicator", formOctet, 2, yesNo},
	0x32: {"X-Mms-Element-Descriptor", formDescriptor, 2, nil},
	0x33: {"X-Mms-Limit", formShort, 2, nil},
	0x34: {"X-Mms-Recommended-Retrieval-Mode", formOctet, 3, []string{"Manual"}},
	0x35: {"X-Mms-Recommended-Retrieval-Mode-Text", formEncoded, 3, nil},
	0x36: {"X-Mms-Status-Text", formEncoded, 3, nil},
	0x37: {"X-Mms-Applic-ID", formText, 3, nil},
	0x38: {"X-Mms-Reply-Applic-ID", formText, 3, nil},
	0x39: {"X-Mms-Aux-Applic-Info", formText, 3, nil},
	0x3A: {"X-Mms-Content-Class", formOctet, 3, []string{"text", "image-basic", "image-rich", "video-basic", "video-rich", "megapixel", "content-basic", "content-rich"}},
	0x3B: {"X-Mms-DRM-Content", formOctet, 3, yesNo},
	0x3C: {"X-Mms-Adaptation-Allowed", formOctet, 3, yesNo},
	0x3D: {"X-Mms-Replace-ID", formText, 3, nil},
	0x3E: {"X-Mms-Cancel-ID", formText, 3, nil},
	0x3F: {"X-Mms-Cancel-Status", formOctet, 3, []string{"Request-successfully-received", "Request-corrupted"}},
}

var (
	yesNo      = []string{"Yes", "No"}
	classWords = []string{"Personal", "Advertisement", "Informational", "Auto"}
	flagWords  = []string{"add", "remove", "filter"}
	totalWords = []string{"message-count", "size"}
)

var fieldNames = indexFields()

func indexFields() map[string]Field {
	names := make(map[string]Field, len(fields)+8)
	for i := 1; i < len(fields); i++ {
		names[strings.ToLower(fields[i].name)] = Field(i) | 0x80
	}
	// Names that other programs and the older versions use.
	for alias, f := range map[string]Field{"x-mms-read-reply": FieldReadReport, "x-mms-message-id": FieldMessageID,
		"sender-visibility": FieldSenderVisibility, "response-status": FieldResponseStatus, "response-text": FieldResponseText,
		"status": FieldStatus, "x-mms-version": FieldMMSVersion} {
		names[alias] = f
	}
	return names
}

// Known says whether f is a field of OMA-MMS-ENC 1.0 to 1.3.
func (f Field) Known() bool { return f >= FieldBcc && f <= FieldCancelStatus }

// String gives the name of OMA-MMS-ENC; "0xC5" for a field that it does not have.
func (f Field) String() string {
	if f.Known() {
		return fields[f&0x7F].name
	}
	return fmt.Sprintf("0x%02X", byte(f))
}

// Since gives the minor version of MMS 1.x that f came with.
func (f Field) Since() int {
	if f.Known() {
		return int(fields[f&0x7F].since)
	}
	return 0
}

// ParseField finds a field by its name, without regard to case.
func ParseField(name string) (Field, bool) {
	f, ok := fieldNames[strings.ToLower(name)]
	return f, ok
}
