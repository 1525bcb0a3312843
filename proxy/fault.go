package proxy

import (
	"context"
	"net"

	"github.com/mmsrouter/mmsrouter/mms"
)

// Attempted is an attempt that is about to be made, as a drill looks at it.
type Attempted struct {
	MMSC        string
	PDU         mms.Type
	Transaction []byte   // valid during the call
	Sender      string   // in international form, the network's word before the phone's; "" unknown
	Recipients  []string // in international form; valid during the call
	All         bool     // there are no other recipients
}

// Befall makes a connection to an MMSC as a drill wants it, by way of dial or not at all.
type Befall = func(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error)

// Faults are what drills break. Attempts on which a fault lies tell detection nothing, and their connections are kept
// for nobody else.
type Faults interface {
	// Active says whether there is anything to ask for. It is asked for every attempt.
	Active() bool
	// Befall says what befalls an attempt; nil: nothing.
	Befall(a *Attempted) Befall
}

// befall asks what befalls the attempt at an MMSC; nil, mostly, is nothing.
func (x *exchange) befall(mmsc string) Befall {
	f := x.p.opt.Faults
	if f == nil || !f.Active() || x.get {
		return nil
	}
	r := x.route.Recipients
	return f.Befall(&Attempted{MMSC: mmsc, PDU: x.pdu.Type, Transaction: x.pdu.TransactionID, Sender: x.sender, Recipients: r, All: len(r) == x.pdu.Recipients})
}
