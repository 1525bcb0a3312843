package proxy

import (
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mmsrouter/mmsrouter/mms"
)

// Attempt is one try at one MMSC, for the access log and for fate.
type Attempt struct {
	MMSC   string        `json:"mmsc"`
	Phase  string        `json:"phase"`  // how it ended, see Phase
	Result string        `json:"result"` // the status or the error in words
	Octets int64         `json:"octets"` // of the body, written to the MMSC
	Took   time.Duration `json:"took"`
}

// Record is one message's fate.
type Record struct {
	Time        time.Time     `json:"time"`
	Client      string        `json:"client"`
	Identity    string        `json:"identity"` // masked unless access_log.unmask
	PDU         string        `json:"pdu"`
	Transaction string        `json:"transaction"`
	MessageID   string        `json:"message_id,omitempty"` // from the MMSC's answer
	Target      string        `json:"target"`               // method and path
	Octets      int64         `json:"octets"`               // of the upload, as far as it was read
	Whole       bool          `json:"whole"`                // the upload came to its end
	Attempts    []Attempt     `json:"attempts"`
	Result      string        `json:"result"`
	Status      int           `json:"status"` // HTTP status sent to the client; 0: none
	Answer      string        `json:"answer"` // the answer in words
	Took        time.Duration `json:"took"`
}

// fates is a bounded ring of records. Writing is cheap; a look-up walks the ring.
type fates struct {
	mu   sync.Mutex
	ring []*Record
	next int
}

func newFates(n int) *fates { return &fates{ring: make([]*Record, n)} }

func (f *fates) add(r *Record) {
	f.mu.Lock()
	f.ring[f.next] = r
	f.next = (f.next + 1) % len(f.ring)
	f.mu.Unlock()
}

// find gives the records of a transaction or message id, the youngest first, at most 100.
func (f *fates) find(id string) []Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	id = strings.Trim(id, "<>")
	var out []Record
	for k := range f.ring {
		r := f.ring[(f.next-1-k+2*len(f.ring))%len(f.ring)]
		if r == nil || len(out) == 100 {
			break
		}
		if r.Transaction == id || r.MessageID != "" && r.MessageID == id {
			out = append(out, *r)
		}
	}
	return out
}

// appendJSON writes the access log line: one JSON object and a newline, without allocation.
func (r *Record) appendJSON(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = r.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","client":`...)
	b = appendString(b, r.Client)
	b = append(b, `,"identity":`...)
	b = appendString(b, r.Identity)
	b = append(b, `,"pdu":`...)
	b = appendString(b, r.PDU)
	b = append(b, `,"transaction":`...)
	b = appendString(b, r.Transaction)
	if r.MessageID != "" {
		b = append(b, `,"message_id":`...)
		b = appendString(b, r.MessageID)
	}
	b = append(b, `,"target":`...)
	b = appendString(b, r.Target)
	b = append(b, `,"octets":`...)
	b = strconv.AppendInt(b, r.Octets, 10)
	b = append(b, `,"whole":`...)
	b = strconv.AppendBool(b, r.Whole)
	b = append(b, `,"attempts":[`...)
	for i := range r.Attempts {
		a := &r.Attempts[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"mmsc":`...)
		b = appendString(b, a.MMSC)
		b = append(b, `,"phase":`...)
		b = appendString(b, a.Phase)
		b = append(b, `,"result":`...)
		b = appendString(b, a.Result)
		b = append(b, `,"octets":`...)
		b = strconv.AppendInt(b, a.Octets, 10)
		b = append(b, `,"ms":`...)
		b = appendMillis(b, a.Took)
		b = append(b, '}')
	}
	b = append(b, `],"result":`...)
	b = appendString(b, r.Result)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(b, `,"answer":`...)
	b = appendString(b, r.Answer)
	b = append(b, `,"ms":`...)
	b = appendMillis(b, r.Took)
	return append(b, '}', '\n')
}

func appendMillis(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d.Microseconds())/1000, 'f', 3, 64)
}

// appendString writes a JSON string; octets that are not UTF-8 become U+FFFD, controls are escaped.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
		case c < utf8.RuneSelf:
			b = append(b, c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(b, "\ufffd"...)
			} else {
				b = append(b, s[i:i+n]...)
			}
			i += n
		}
	}
	return append(b, '"')
}

// maskIdentity hides the middle of an identity for logs.
func maskIdentity(id string, unmask bool) string {
	if unmask {
		return id
	}
	return mms.Mask(id)
}
