package handsets

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// Outcome is what a handset makes of an answer to its M-Send.req.
type Outcome string

// The outcomes. Everything but Accepted is a failure that a subscriber sees, at once or after his phone's retries.
const (
	Accepted  Outcome = "accepted"  // M-Send.conf Ok (or partial success) of this transaction
	Refused   Outcome = "refused"   // M-Send.conf with a permanent status
	Transient Outcome = "transient" // M-Send.conf with a transient status, or 503 / 429: the phone tries again
	Failed    Outcome = "failed"    // anything else: no answer, no PDU, another transaction
)

// Judge gives the outcome of one exchange.
func Judge(transaction string, a Answer, err error) (Outcome, string) {
	switch {
	case err != nil:
		return Failed, err.Error()
	case a.Status == 503 || a.Status == 429:
		return Transient, fmt.Sprintf("HTTP %d", a.Status)
	case a.Status != 200:
		return Failed, fmt.Sprintf("HTTP %d", a.Status)
	case !a.IsPDU || a.PDU.Type != pdu.TypeSendConf:
		return Failed, fmt.Sprintf("200 without an M-Send.conf: %q", a.Body[:min(len(a.Body), 60)])
	case a.PDU.Transaction != transaction:
		return Failed, fmt.Sprintf("M-Send.conf of transaction %q", a.PDU.Transaction)
	case a.PDU.Response == pdu.Ok || a.PDU.Response == pdu.Partial:
		return Accepted, ""
	case a.PDU.Response == pdu.NetworkProblem || a.PDU.Response >= 0xC0 && a.PDU.Response <= 0xDF:
		return Transient, fmt.Sprintf("status %02X", a.PDU.Response)
	}
	return Refused, fmt.Sprintf("status %02X", a.PDU.Response)
}

// Sent is one message and its fate as its sender knows it.
type Sent struct {
	Transaction string
	Size        int
	Digest      uint64
	Way         string
	Outcome     Outcome
	Detail      string
	Took        time.Duration
}

// Ledger collects what was sent; safe for many goroutines.
type Ledger struct {
	mu   sync.Mutex
	sent []Sent
}

// Note enters one exchange.
func (l *Ledger) Note(transaction string, body []byte, way Way, a Answer, err error, took time.Duration) Sent {
	s := Sent{Transaction: transaction, Size: len(body), Digest: xxhash.Sum64(body), Way: way.Name, Took: took}
	s.Outcome, s.Detail = Judge(transaction, a, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, s)
	return s
}

// Sent gives all entries so far.
func (l *Ledger) Sent() []Sent {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Sent(nil), l.sent...)
}

// Balance is a ledger held against what the MMSCs stored: messages in = messages out.
type Balance struct {
	Sent, Accepted, Refused, Transient, Failed int

	Stored    int      // records in all stores
	Copies    int      // records beyond the first of a message
	Lost      []string // accepted, but in no store
	Corrupt   []string // stored with other octets than were sent
	Strangers []string // stored, but never sent
	Ghosts    []string // stored, but the sender was told otherwise
	Failures  []string // "transaction: detail" of whatever was not accepted
}

// Balance holds the ledger against the stores. Only stored records count.
func (l *Ledger) Balance(stores ...[]fakemmsc.Record) Balance {
	var b Balance
	sent := map[string]Sent{}
	for _, s := range l.Sent() {
		b.Sent++
		sent[s.Transaction] = s
		switch s.Outcome {
		case Accepted:
			b.Accepted++
			continue
		case Refused:
			b.Refused++
		case Transient:
			b.Transient++
		default:
			b.Failed++
		}
		b.Failures = append(b.Failures, fmt.Sprintf("%s (%d octets, %s): %s %s", s.Transaction, s.Size, s.Way, s.Outcome, s.Detail))
	}
	times := map[string]int{}
	for _, recs := range stores {
		for _, r := range recs {
			if !r.Stored {
				continue
			}
			b.Stored++
			times[r.Transaction]++
			s, ok := sent[r.Transaction]
			switch {
			case !ok:
				b.Strangers = append(b.Strangers, r.Transaction)
			case s.Size != r.Size || s.Digest != r.Digest:
				b.Corrupt = append(b.Corrupt, fmt.Sprintf("%s: sent %d octets, stored %d", r.Transaction, s.Size, r.Size))
			}
		}
	}
	for tid, s := range sent {
		n := times[tid]
		if n > 1 {
			b.Copies += n - 1
		}
		if s.Outcome == Accepted && n == 0 {
			b.Lost = append(b.Lost, tid)
		}
		if s.Outcome != Accepted && n > 0 {
			b.Ghosts = append(b.Ghosts, tid)
		}
	}
	sort.Strings(b.Lost)
	sort.Strings(b.Ghosts)
	return b
}

// Faults names what no run may have, whatever the MMSCs did: messages lost, altered or made up. "" is fine.
func (b Balance) Faults() string {
	var f []string
	for _, x := range []struct {
		what string
		list []string
	}{{"lost", b.Lost}, {"corrupt", b.Corrupt}, {"strangers", b.Strangers}} {
		if n := len(x.list); n > 0 {
			f = append(f, fmt.Sprintf("%d %s (%s)", n, x.what, strings.Join(x.list[:min(n, 5)], "; ")))
		}
	}
	return strings.Join(f, ", ")
}

func (b Balance) String() string {
	s := fmt.Sprintf("sent %d: accepted %d, refused %d, transient %d, failed %d; stored %d, copies %d, ghosts %d", b.Sent, b.Accepted, b.Refused,
		b.Transient, b.Failed, b.Stored, b.Copies, len(b.Ghosts))
	if f := b.Faults(); f != "" {
		s += "; " + f
	}
	if n := len(b.Failures); n > 0 {
		s += "; first failures: " + strings.Join(b.Failures[:min(n, 3)], " | ")
	}
	return s
}

// Join takes over another ledger's entries.
func (l *Ledger) Join(other *Ledger) {
	add := other.Sent()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, add...)
}
