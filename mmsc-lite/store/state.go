package store

// State of a recipient. Queued, Notified, Deferred and Fetched are open, the others final: a recipient reaches exactly
// one of them and stays there.
//
//	Queued -> Notified -> Deferred | Fetched -> Retrieved
//	any open state -> Retrieved | Rejected | Expired | Forwarded | Unreachable | Indeterminate | Cancelled
type State int

// The states; their numbers stand in the database.
const (
	Queued        State = 1  // not yet notified
	Notified      State = 2  // a notification has been handed on
	Deferred      State = 3  // the handset will fetch later
	Fetched       State = 4  // a complete GET, not acknowledged
	Retrieved     State = 10 // acknowledged, or fetched and the grace is over
	Rejected      State = 11 // by the recipient
	Expired       State = 12
	Forwarded     State = 13 // the recipient forwarded it without fetching
	Unreachable   State = 14 // no way to the recipient
	Indeterminate State = 15 // handed to a network that reports nothing
	Cancelled     State = 16 // by the operator
)

var stateNames = map[State]string{Queued: "queued", Notified: "notified", Deferred: "deferred", Fetched: "fetched", Retrieved: "retrieved",
	Rejected: "rejected", Expired: "expired", Forwarded: "forwarded", Unreachable: "unreachable", Indeterminate: "indeterminate", Cancelled: "cancelled"}

// String gives a word, the same that the API and the CLI use.
func (s State) String() string {
	if n, ok := stateNames[s]; ok {
		return n
	}
	return "unknown"
}

// Final says whether the state is for good.
func (s State) Final() bool { return s >= Retrieved }

// ParseState is the inverse of String.
func ParseState(name string) (State, bool) {
	for s, n := range stateNames {
		if n == name {
			return s, true
		}
	}
	return 0, false
}

// States gives all states in their order.
func States() []State {
	return []State{Queued, Notified, Deferred, Fetched, Retrieved, Rejected, Expired, Forwarded, Unreachable, Indeterminate, Cancelled}
}
