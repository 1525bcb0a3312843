package proxy

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mmsrouter/mmsrouter/mms"
)

// Attempt is one try at one MMSC.
type Attempt struct {
	MMSC   string  `json:"mmsc"`
	Phase  string  `json:"phase"`  // how it ended, see Phase
	Result string  `json:"result"` // the status or the error in words
	Octets int64   `json:"octets"` // of the body, written to the MMSC
	MS     float64 `json:"ms"`     // milliseconds
}

// Record is one message's fate: a line of the access log.
type Record struct {
	Time        time.Time `json:"time"`
	Client      string    `json:"client"`
	Identity    string    `json:"identity"` // masked unless access_log.unmask
	PDU         string    `json:"pdu"`
	Transaction string    `json:"transaction"`
	MessageID   string    `json:"message_id"` // from the MMSC's answer
	Target      string    `json:"target"`     // method and path
	Octets      int64     `json:"octets"`     // of the upload, as far as it was read
	Whole       bool      `json:"whole"`      // the upload came to its end
	Attempts    []Attempt `json:"attempts"`
	Result      string    `json:"result"`
	Status      int       `json:"status"` // HTTP status sent to the client; 0: none
	Answer      string    `json:"answer"` // the answer in words
	MS          float64   `json:"ms"`     // milliseconds
}

// fates is a bounded ring of access log lines, kept as octets: writing one costs a copy and no allocation once
// the ring is full, and the garbage collector has nothing to follow. A look-up reads them all.
type fates struct {
	mu   sync.Mutex
	ring [][]byte
	next int
}

func newFates(n int) *fates { return &fates{ring: make([][]byte, n)} }

func (f *fates) add(line []byte) {
	f.mu.Lock()
	f.ring[f.next] = append(f.ring[f.next][:0], line...)
	f.next = (f.next + 1) % len(f.ring)
	f.mu.Unlock()
}

// find gives the records of a transaction or message id, the youngest first, at most 100.
func (f *fates) find(id string) []Record {
	id = clipID(strings.Trim(id, "<>"))
	key := appendString(nil, id)
	id = string([]rune(id)) // as it stands in a line: each octet that is not UTF-8 is U+FFFD
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Record
	for k := range f.ring {
		line := f.ring[(f.next-1-k+2*len(f.ring))%len(f.ring)]
		if len(line) == 0 || len(out) == 100 {
			break
		}
		if !bytes.Contains(line, key) {
			continue
		}
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			continue // our own line: it can't fail
		}
		if id != "" && (r.Transaction == id || r.MessageID == id) {
			out = append(out, r)
		}
	}
	return out
}

// try is an attempt as the exchange notes it.
type try struct {
	mmsc   string
	phase  Phase
	result string
	octets int64
	took   time.Duration
}

// maxID bounds an id in a record, in octets. A handset may write as many as a PDU's head holds, and the records are kept.
const maxID = 256

func clipID[T ~string | ~[]byte](id T) T { return id[:min(len(id), maxID)] }

// appendRecord writes the access log line: one JSON object and a newline, without allocation.
func (x *exchange) appendRecord(b []byte, took time.Duration) []byte {
	cl := x.cl
	b = append(b, `{"time":"`...)
	b = appendTime(b, x.start)
	b = append(b, `","client":`...)
	b = appendString(b, cl.text)
	b = append(b, `,"identity":`...)
	if x.set.AccessLog.Unmask {
		b = appendString(b, x.identity)
	} else {
		var room [64]byte
		b = appendString(b, mms.AppendMask(room[:0], x.identity))
	}
	b = append(b, `,"pdu":`...)
	b = appendString(b, pduLabel(pduSlot(x.get, x.pdu.Type)))
	b = append(b, `,"transaction":`...)
	b = appendString(b, clipID(x.pdu.TransactionID))
	if x.messageID != "" {
		b = append(b, `,"message_id":`...)
		b = appendString(b, clipID(x.messageID))
	}
	b = append(b, `,"target":"`...)
	b = append(b, cl.req.Method...)
	b = append(b, ' ')
	b = appendEscaped(b, x.target[:min(len(x.target), 1024)])
	b = append(b, `","octets":`...)
	b = strconv.AppendInt(b, x.body.Size(), 10)
	b = append(b, `,"whole":`...)
	b = strconv.AppendBool(b, x.body.Whole())
	b = append(b, `,"attempts":[`...)
	for i := range x.attempts {
		a := &x.attempts[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"mmsc":`...)
		b = appendString(b, a.mmsc)
		b = append(b, `,"phase":`...)
		b = appendString(b, a.phase.String())
		b = append(b, `,"result":`...)
		b = appendString(b, a.result)
		b = append(b, `,"octets":`...)
		b = strconv.AppendInt(b, a.octets, 10)
		b = append(b, `,"ms":`...)
		b = appendMillis(b, a.took)
		b = append(b, '}')
	}
	b = append(b, `],"result":`...)
	b = appendString(b, x.result.String())
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(x.status), 10)
	b = append(b, `,"answer":`...)
	b = appendString(b, x.words)
	b = append(b, `,"ms":`...)
	b = appendMillis(b, took)
	return append(b, '}', '\n')
}

// appendTime writes a time of day in UTC to the millisecond (RFC 3339), as AppendFormat does at three times the cost.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = append(appendDigits(b, year, 4), '-')
	b = append(appendDigits(b, int(month), 2), '-')
	b = append(appendDigits(b, day, 2), 'T')
	b = append(appendDigits(b, hour, 2), ':')
	b = append(appendDigits(b, minute, 2), ':')
	b = append(appendDigits(b, second, 2), '.')
	return append(appendDigits(b, t.Nanosecond()/1e6, 3), 'Z')
}

// appendMillis writes milliseconds with three places.
func appendMillis(b []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = append(strconv.AppendInt(b, us/1000, 10), '.')
	return appendDigits(b, int(us%1000), 3)
}

// appendDigits writes the last width digits of n.
func appendDigits(b []byte, n, width int) []byte {
	at := len(b)
	for range width {
		b = append(b, '0')
	}
	for i := at + width - 1; i >= at; i-- {
		b[i] = '0' + byte(n%10)
		n /= 10
	}
	return b
}

// appendString writes a JSON string.
func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = append(b, '"')
	b = appendEscaped(b, s)
	return append(b, '"')
}

// appendEscaped writes what stands inside a JSON string: octets that are not UTF-8 become U+FFFD, controls are
// escaped.
func appendEscaped[T ~string | ~[]byte](b []byte, s T) []byte {
	const hex = "0123456789abcdef"
	for i := 0; i < len(s); {
		plain := i
		for plain < len(s) && 0x20 <= s[plain] && s[plain] < 0x7f && s[plain] != '"' && s[plain] != '\\' {
			plain++
		}
		if b = append(b, s[i:plain]...); plain == len(s) {
			break
		}
		i = plain
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
		default:
			r, n := utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
			if r == utf8.RuneError && n == 1 {
				b = append(b, "\ufffd"...)
			} else {
				b = append(b, s[i:i+n]...)
			}
			i += n
		}
	}
	return b
}
