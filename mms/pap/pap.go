// Package pap holds the words of the Push Access Protocol (WAP-247-PAP): the
// documents that a push initiator and a push proxy gateway exchange over HTTP,
// the multipart/related around them, addresses and result codes.
//
// It does no I/O, holds no clock and has no state. Readers are strict and
// bounded: entities are refused, a DTD is never fetched, depth, counts and sizes
// have limits; what they refuse, they refuse with an [Error] that carries the
// result code and one line that names the fault.
package pap

import (
	"fmt"
	"time"
)

// Version is a version of PAP, told apart by the DTD.
type Version string

// The versions.
const (
	Version10 Version = "1.0"
	Version20 Version = "2.0"
	Version21 Version = "2.1"
)

// Document is a `pap` document: exactly one message.
type Document struct {
	Version Version // of the DOCTYPE; 2.0 where there is none
	Product string  // product-name
	Message Message
}

// Message is one of the elements that a document may hold.
type Message interface {
	// Element gives the name, such as "push-message".
	Element() string
	write(w *writer)
}

// Address is an address element.
type Address struct{ Value string }

// QualityOfService is a quality-of-service element; empty strings are the defaults.
type QualityOfService struct {
	Priority        string // high, medium, low
	DeliveryMethod  string // confirmed, preferconfirmed, unconfirmed, notspecified
	Network         string
	NetworkRequired bool
	Bearer          string
	BearerRequired  bool
}

// PushMessage asks for a push.
type PushMessage struct {
	PushID          string
	DeliverBefore   time.Time // zero: not said
	DeliverAfter    time.Time
	SourceReference string
	ProgressNotes   bool
	NotifyTo        string // ppg-notify-requested-to
	ReplaceID       string // replace-push-id
	ReplaceMethod   string // all, pending-only
	Addresses       []Address
	Quality         *QualityOfService
}

// ProgressNote says how far the gateway has got.
type ProgressNote struct {
	Stage, Note string
	Time        time.Time
}

// PushResponse answers a push.
type PushResponse struct {
	PushID                    string
	SenderAddress, SenderName string
	ReplyTime                 time.Time
	Notes                     []ProgressNote
	Code                      Code
	Description               string
}

// CancelMessage takes a push back, for all its addresses if it names none.
type CancelMessage struct {
	PushID    string
	Addresses []Address
}

// CancelResult is the outcome for some addresses.
type CancelResult struct {
	Code        Code
	Description string
	Addresses   []Address
}

// CancelResponse answers a CancelMessage.
type CancelResponse struct {
	PushID  string
	Results []CancelResult
}

// State is a message-state.
type State string

// The states.
const (
	Rejected      State = "rejected"
	Pending       State = "pending"
	Delivered     State = "delivered"
	Undeliverable State = "undeliverable"
	Expired       State = "expired"
	Aborted       State = "aborted"
	TimedOut      State = "timeout"
	Cancelled     State = "cancelled"
	UnknownState  State = "unknown"
)

// Known says whether s is a state of PAP.
func (s State) Known() bool {
	switch s {
	case Rejected, Pending, Delivered, Undeliverable, Expired, Aborted, TimedOut, Cancelled, UnknownState:
		return true
	}
	return false
}

// ResultNotification tells an initiator the outcome for one address.
type ResultNotification struct {
	PushID                    string
	SenderAddress, SenderName string
	ReceivedTime, EventTime   time.Time
	State                     State
	Code                      Code
	Description               string
	Address                   Address
	Quality                   *QualityOfService
}

// ResultNotificationResponse answers a ResultNotification.
type ResultNotificationResponse struct {
	PushID      string
	Code        Code
	Description string
	Address     Address
}

// StatusQuery asks how far a push is, for all its addresses if it names none.
type StatusQuery struct {
	PushID    string
	Addresses []Address
}

// StatusResult is the answer for some addresses.
type StatusResult struct {
	EventTime   time.Time
	State       State
	Code        Code
	Description string
	Addresses   []Address
	Quality     *QualityOfService
}

// StatusQueryResponse answers a StatusQuery.
type StatusQueryResponse struct {
	PushID  string
	Results []StatusResult
}

// CapabilityQuery is a ccq-message: what can this client do?
type CapabilityQuery struct {
	QueryID, AppID string
	Address        Address
}

// CapabilityResponse is a ccq-response; the capabilities themselves are another part.
type CapabilityResponse struct {
	QueryID     string
	Code        Code
	Description string
	Address     Address
}

// BadMessage answers what could not be read.
type BadMessage struct {
	Code        Code
	Description string
	Fragment    string // bad-message-fragment
}

// Element gives "push-message".
func (*PushMessage) Element() string { return "push-message" }

// Element gives "push-response".
func (*PushResponse) Element() string { return "push-response" }

// Element gives "cancel-message".
func (*CancelMessage) Element() string { return "cancel-message" }

// Element gives "cancel-response".
func (*CancelResponse) Element() string { return "cancel-response" }

// Element gives "resultnotification-message".
func (*ResultNotification) Element() string { return "resultnotification-message" }

// Element gives "resultnotification-response".
func (*ResultNotificationResponse) Element() string { return "resultnotification-response" }

// Element gives "statusquery-message".
func (*StatusQuery) Element() string { return "statusquery-message" }

// Element gives "statusquery-response".
func (*StatusQueryResponse) Element() string { return "statusquery-response" }

// Element gives "ccq-message".
func (*CapabilityQuery) Element() string { return "ccq-message" }

// Element gives "ccq-response".
func (*CapabilityResponse) Element() string { return "ccq-response" }

// Element gives "badmessage-response".
func (*BadMessage) Element() string { return "badmessage-response" }

// Error is a fault in what was read, with the result code that answers it.
type Error struct {
	Code     Code
	Text     string // one line
	Fragment string // what was wrong, if it can be shown: at most 80 characters
}

// Error gives code and text.
func (e *Error) Error() string { return fmt.Sprintf("%d: %s", int(e.Code), e.Text) }

func bad(format string, args ...any) *Error {
	return &Error{Code: BadRequest, Text: fmt.Sprintf(format, args...)}
}

// timeForm is the form of timestamps, always in UTC.
const timeForm = "2006-01-02T15:04:05Z"
