package handset

import (
	"fmt"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
)

// Kind is what happened.
type Kind uint8

// The kinds of events.
const (
	Bound          Kind = iota // an ESME has bound to the SMSC
	Unbound                    // … and gone
	Ignored                    // a short message or push that is for nobody here: text, another port, another application
	Malformed                  // a push that can't be read
	Notified                   // M-Notification.ind taken
	Duplicate                  // … dropped, since it was there before
	Postponed                  // the message waits to be fetched
	Refused                    // the message is refused
	Retrying                   // an attempt failed; another follows
	Stored                     // the message was fetched and is in its folder
	Failed                     // it could not be fetched
	Indicated                  // an indication to the MMSC: PDU says which, Err whether it failed
	DeliveryReport             // M-Delivery.ind has come
	ReadReport                 // M-Read-Orig.ind has come
	Cancelled                  // M-Cancel.req has come
	Sent                       // M-Send.conf Ok
	SendFailed
	Settled // all that a notification led to is done, also the answer
	kinds
)

var kindNames = [kinds]string{"bound", "unbound", "ignored", "malformed", "notified", "duplicate", "deferred", "rejected", "retrying", "stored",
	"failed", "indicated", "delivery-report", "read-report", "cancelled", "sent", "send-failed", "settled"}

// String gives one word, of a closed set.
func (k Kind) String() string { return kindNames[min(k, kinds-1)] }

// Kinds gives all kinds, in their order.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// Event is something that happened to a phone. Fields that an event has nothing to say of are zero.
type Event struct {
	Time        time.Time
	Kind        Kind
	Number      string // of the phone
	Transaction string // X-Mms-Transaction-ID
	Location    string // where the message lies
	MessageID   string
	From        string // the other side: sender of a message, recipient that a report speaks of, recipients of one sent
	Subject     string
	PDU         mms.Type // what was pushed, fetched or sent
	Status      string   // in the words of the standard
	Size        int64    // octets: announced, or of what was fetched
	Parts       int
	Folder      string        // where the message was stored
	Message     *mms.PDU      // Stored: the M-Retrieve.conf
	After       time.Duration // Retrying: the pause before the next attempt
	Note        string
	Err         error
}

// String gives the event on one line, fit for a terminal.
func (e Event) String() string {
	var b strings.Builder
	b.WriteString(e.Kind.String())
	add := func(format string, a ...any) { b.WriteByte(' '); fmt.Fprintf(&b, format, a...) }
	if e.PDU != 0 {
		add("%s", e.PDU)
	}
	if e.Status != "" {
		add("%s", e.Status)
	}
	if e.From != "" {
		word := "from"
		if e.Kind == Sent || e.Kind == SendFailed || e.Kind == DeliveryReport {
			word = "to"
		}
		add("%s %s", word, e.From)
	}
	if e.Subject != "" {
		add("%q", e.Subject)
	}
	if e.Size > 0 {
		add("%d octets", e.Size)
	}
	if e.Parts > 0 {
		add("%d parts", e.Parts)
	}
	if e.Transaction != "" {
		add("transaction %s", e.Transaction)
	}
	if e.MessageID != "" {
		add("message %s", e.MessageID)
	}
	switch {
	case e.Folder != "":
		add("in %s", e.Folder)
	case e.Location != "" && (e.Kind == Notified || e.Kind == Failed):
		add("at %s", e.Location)
	}
	if e.Note != "" {
		add("%s", e.Note)
	}
	if e.Err != nil {
		add("(%v)", e.Err)
	}
	if e.Kind == Retrying {
		add("again in %s", e.After)
	}
	return plain(b.String())
}

// plain keeps a peer's text on one line and its controls away from the terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7F && r < 0xA0 {
			return '?'
		}
		return r
	}, s)
}

func (x *Phones) tell(e Event) {
	x.counts[e.Kind].Add(1)
	x.met.events[e.Kind].Inc()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if x.opt.Observe != nil {
		x.opt.Observe(e)
	}
}
