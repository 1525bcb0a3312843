package drill

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Outcome is how a try or a message ended for its client.
type Outcome string

// The outcomes.
const (
	Accepted  Outcome = "accepted"  // M-Send.conf Ok of this transaction
	Transient Outcome = "transient" // told to come again later
	Permanent Outcome = "permanent" // refused for good, or an answer that is none
	Broken    Outcome = "broken"    // no answer: the connection was refused, broke, or the client lost patience
)

// Try is one post of a message.
type Try struct {
	At      time.Duration // after the beginning
	Took    time.Duration
	Address string // of the router
	Outcome Outcome
	Why     string // in words, for what is not accepted
}

// Message is a marked message and what its client saw.
type Message struct {
	Transaction string
	Client      int
	Sticky      bool
	Size        int64
	Sum         uint64 // of its octets
	Tries       []Try
}

// Last is the try that settled it.
func (m *Message) Last() *Try { return &m.Tries[len(m.Tries)-1] }

// Begun is when the client posted it first, Took how long it had no answer.
func (m *Message) Begun() time.Duration { return m.Tries[0].At }

// Took is the time from the first post to the last answer.
func (m *Message) Took() time.Duration { l := m.Last(); return l.At + l.Took - m.Begun() }

// Accepted tells whether the client was told Ok.
func (m *Message) Accepted() bool { return m.Last().Outcome == Accepted }

// Copy is one message as an MMSC has it.
type Copy struct {
	Transaction string
	MMSC        string
	Size        int64
	Sum         uint64        // 0: not known
	At          time.Duration // after the beginning
	Unsure      bool          // the router got no answer: it may not be there
}

// Doubling is a message of which there is more than one copy.
type Doubling struct {
	Transaction string
	MMSCs       []string
	Unsure      bool // the extra copies are only possible
}

// Balance is the ledger's account: what clients were told against what MMSCs have.
type Balance struct {
	Messages, Accepted, Failed int
	Tries, Broken              int
	Lost                       []string   // accepted, and nowhere
	Damaged                    []string   // stored with other octets than were sent
	Doubled                    []Doubling // sorted by transaction
	Copies                     int        // extra ones
	Stray                      int        // stored, though the client was told otherwise: it may send again as new
	Foreign                    int        // copies of messages that nobody sent
	Served                     map[string]int
}

// Account draws the balance.
func Account(sent []Message, copies []Copy) Balance {
	b := Balance{Messages: len(sent), Served: map[string]int{}}
	at := map[string][]Copy{}
	for _, c := range copies {
		at[c.Transaction] = append(at[c.Transaction], c)
		b.Served[c.MMSC]++
	}
	for i := range sent {
		m := &sent[i]
		b.Tries += len(m.Tries)
		for _, t := range m.Tries {
			if t.Outcome == Broken {
				b.Broken++
			}
		}
		have := at[m.Transaction]
		delete(at, m.Transaction)
		sure := 0
		for _, c := range have {
			if !c.Unsure {
				sure++
			}
			if c.Size != m.Size && c.Size > 0 || c.Sum != 0 && c.Sum != m.Sum {
				b.Damaged = append(b.Damaged, m.Transaction)
			}
		}
		switch {
		case m.Accepted():
			b.Accepted++
			if sure == 0 {
				b.Lost = append(b.Lost, m.Transaction)
			}
		default:
			b.Failed++
			if sure > 0 {
				b.Stray++
			}
		}
		if len(have) > 1 {
			d := Doubling{Transaction: m.Transaction, Unsure: sure < 2}
			for _, c := range have {
				d.MMSCs = append(d.MMSCs, c.MMSC)
			}
			b.Doubled = append(b.Doubled, d)
			b.Copies += len(have) - 1
		}
	}
	for _, rest := range at {
		b.Foreign += len(rest)
	}
	slices.SortFunc(b.Doubled, func(a, c Doubling) int { return cmp.Compare(a.Transaction, c.Transaction) })
	return b
}

// Where says between which MMSCs messages were doubled, and how many each.
func (b *Balance) Where() string {
	n := map[string]int{}
	for _, d := range b.Doubled {
		n[strings.Join(d.MMSCs, " and ")]++
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("%d at %s", n[k], k))
	}
	return strings.Join(parts, ", ")
}
