// Package smpp holds words of SMPP 3.4 that a client needs beside its PDUs: what a
// command_status asks of the submitter, the form of addresses and validity
// periods, what a delivery receipt says and which submission it belongs to.
//
// It does no I/O, holds no clock and has no state. What it is given can come from
// anybody; it refuses or takes it for unknown, and never panics.
package smpp

import (
	"fmt"
	"strings"
	"time"
)

// Port is where SMSCs usually listen.
const Port = 2775

// Status is a command_status (SMPP 3.4 5.1.3).
type Status uint32

// The statuses that this module gives or asks for by name.
const (
	Ok                 Status = 0x00
	InvalidLength      Status = 0x02
	InvalidCommand     Status = 0x03
	WrongState         Status = 0x04
	SystemError        Status = 0x08
	InvalidSource      Status = 0x0A
	InvalidDestination Status = 0x0B
	BindFailed         Status = 0x0D
	InvalidPassword    Status = 0x0E
	InvalidSystemID    Status = 0x0F
	QueueFull          Status = 0x14
	InvalidESMClass    Status = 0x43
	SubmitFailed       Status = 0x45
	Throttled          Status = 0x58
	InvalidCoding      Status = 0x104
)

var statusNames = map[Status]string{
	Ok: "ok", 0x01: "message length", InvalidLength: "command length", InvalidCommand: "command id", WrongState: "wrong bind state",
	0x05: "already bound", 0x06: "priority", 0x07: "registered_delivery", SystemError: "system error", InvalidSource: "source address",
	InvalidDestination: "destination address", 0x0C: "message id", BindFailed: "bind failed", InvalidPassword: "password",
	InvalidSystemID: "system id", 0x11: "cancel failed", 0x13: "replace failed", QueueFull: "queue full", 0x15: "service type",
	0x33: "number of destinations", InvalidESMClass: "esm_class", SubmitFailed: "submit failed", 0x48: "source ton", 0x49: "source npi",
	0x50: "destination ton", 0x51: "destination npi", 0x53: "system type", Throttled: "throttled", 0x61: "schedule time", 0x62: "validity period",
	0x64: "temporary error of the receiver", 0x65: "permanent error of the receiver", 0x66: "rejected by the receiver", 0xC0: "optional parameters",
	0xC1: "optional parameter not allowed", 0xC2: "length of an optional parameter", 0xC3: "optional parameter missing",
	0xC4: "value of an optional parameter", 0xFE: "delivery failure", 0xFF: "unknown error", InvalidCoding: "data_coding",
}

// String gives "58 throttled", or the number alone.
func (s Status) String() string {
	if name, ok := statusNames[s]; ok {
		return fmt.Sprintf("%02X %s", uint32(s), name)
	}
	return fmt.Sprintf("%02X", uint32(s))
}

// Class is what a status asks of the submitter.
type Class int

// The classes.
const (
	Done     Class = iota // it has been taken
	Slow                  // too much at once: pause, growing, and submit again
	Again                 // submit again after a while
	Rebind                // the session is not what we think: bind again
	Alarm                 // somebody has to change the configuration: bind again, seldom
	Refused               // final for this message
	Unsuited              // the SMSC does not take this form of message; final unless there is another form
)

// Class says what to do about a status of a bind or a submission.
func (s Status) Class() Class {
	switch s {
	case Ok:
		return Done
	case Throttled, QueueFull:
		return Slow
	case WrongState, BindFailed, 0x05:
		return Rebind
	case InvalidPassword, InvalidSystemID, 0x53:
		return Alarm
	case InvalidSource, InvalidDestination, 0x33, 0x48, 0x49, 0x50, 0x51, 0x62, 0x65, 0x66:
		return Refused
	case 0x01, InvalidESMClass, 0xC0, 0xC1, 0xC2, 0xC3, 0xC4, InvalidCoding, 0x07, 0x15:
		return Unsuited
	}
	return Again // 08, 45, 64, FE, FF, 400 to 4FF, and what nobody knows
}

// Types of number and numbering plans (SMPP 3.4 5.2.5, 5.2.6).
const (
	TONUnknown       = 0
	TONInternational = 1
	TONNetwork       = 3 // short codes
	TONWord          = 5
	NPIUnknown       = 0
	NPIE164          = 1
)

// Address is one end of a short message.
type Address struct {
	TON, NPI byte
	Text     string // at most 20 characters
}

// Number gives the address of a number: "+46701234567" is international; up to
// eight digits are a short code; other digits are left to the SMSC.
func Number(number string) (Address, error) {
	digits, plus := strings.CutPrefix(number, "+")
	if digits == "" || len(digits) > 20 || strings.Trim(digits, "0123456789") != "" {
		return Address{}, fmt.Errorf("%q is not a number of at most 20 digits", number)
	}
	switch {
	case plus:
		return Address{TONInternational, NPIE164, digits}, nil
	case len(digits) <= 8:
		return Address{TONNetwork, NPIUnknown, digits}, nil
	}
	return Address{TONUnknown, NPIE164, digits}, nil
}

// Source gives the address of a sender: a number, or a word of at most 11
// characters (3GPP TS 23.040 9.1.2.5).
func Source(text string) (Address, error) {
	if a, err := Number(text); err == nil {
		return a, nil
	}
	if text == "" || len(text) > 11 {
		return Address{}, fmt.Errorf("%q is neither a number nor a word of at most 11 characters", text)
	}
	for _, c := range []byte(text) {
		if c < 0x20 || c > 0x7E {
			return Address{}, fmt.Errorf("%q holds what is no ASCII character", text)
		}
	}
	return Address{TONWord, NPIUnknown, text}, nil
}

// MaxValidity is the longest validity period that Validity writes.
const MaxValidity = 30 * 24 * time.Hour

// Validity gives the relative form of validity_period (SMPP 3.4 7.1.1); "" for
// zero or less: the SMSC's own. It is rounded up to a second.
func Validity(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	s := int64((min(d, MaxValidity) + time.Second - 1) / time.Second)
	return fmt.Sprintf("0000%02d%02d%02d%02d000R", s/86400, s/3600%24, s/60%60, s%60)
}
