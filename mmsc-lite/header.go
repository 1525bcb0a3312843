package mmsc

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// field is one header field as it stands on the wire.
type field struct {
	code  mms.Field // 0 for an application header
	value []byte
	raw   []byte // name and value
}

// errHeader is a header block that can't be walked.
var errHeader = errors.New("header block is broken")

// walk calls each for the fields of a header block that Peek found complete.
func walk(head []byte, each func(field)) error {
	for at := 0; at < len(head); {
		start, n := at, 1
		var f field
		if head[at] >= 0x80 {
			f.code = mms.Field(head[at])
		} else if _, n = wsp.Text(head[at:]); n <= 0 {
			return errHeader
		}
		size := wsp.Skip(head[at+n:])
		if size <= 0 {
			return errHeader
		}
		f.value = head[at+n : at+n+size]
		at += n + size
		f.raw = head[start:at]
		each(f)
	}
	return nil
}

// moment is a time that stood in a PDU, absolute or counted from its arrival.
type moment struct {
	set      bool
	absolute bool
	seconds  uint64
}

func (m moment) from(now time.Time) time.Time {
	const farAway = 100 * 366 * 24 * 3600 // seconds; keeps sums inside an int64
	if m.absolute {
		return time.Unix(int64(min(m.seconds, 1<<40)), 0)
	}
	return now.Add(time.Duration(min(m.seconds, farAway)) * time.Second)
}

// address is a recipient as the client wrote it.
type address struct {
	kind store.Kind
	text string
}

// request is the head of a PDU that a client posted.
type request struct {
	mms.Head
	to             []address
	date           time.Time
	expiry         moment
	delivery       moment
	class          string
	priority       int
	hidden         bool
	deliveryReport bool
	readReport     bool
	reportAllowed  bool
	readStatus     byte
	subject        string
	carry          []byte // fields that travel on to the recipients, as they stood
	marks          store.Marks
}

// parse reads what Peek has not. buf holds the whole header block.
func parse(head mms.Head, buf []byte) (*request, error) {
	r := &request{Head: head, class: "personal", priority: 1, reportAllowed: true}
	var bad error
	seen := map[mms.Field]bool{}
	err := walk(buf[:head.Size], func(f field) {
		first := f.code == 0 || !seen[f.code]
		seen[f.code] = true
		if err := r.take(f, first); err != nil && bad == nil {
			bad = err
		}
	})
	if err == nil {
		err = bad
	}
	return r, err
}

// take reads a field; of one that may stand only once the first counts.
func (r *request) take(f field, first bool) error {
	switch f.code {
	case mms.FieldTo, mms.FieldCc, mms.FieldBcc:
		text := encodedString(f.value)
		if text == "" {
			return fmt.Errorf("an address can't be read")
		}
		kind := map[mms.Field]store.Kind{mms.FieldTo: store.To, mms.FieldCc: store.Cc, mms.FieldBcc: store.Bcc}[f.code]
		r.to = append(r.to, address{kind, text})
		if kind == store.Bcc {
			return nil
		}
		r.carry = append(r.carry, f.raw...)
		return nil
	}
	if !first {
		return nil
	}
	switch f.code {
	case mms.FieldDate:
		if v, n := wsp.Long(f.value); n > 0 && v < 1<<40 {
			r.date = time.Unix(int64(v), 0)
		}
	case mms.FieldExpiry:
		r.expiry = momentOf(f.value)
	case mms.FieldDeliveryTime:
		r.delivery = momentOf(f.value)
	case mms.FieldMessageClass:
		r.class = classOf(f.value)
	case mms.FieldPriority:
		if f.value[0] >= 0x80 && f.value[0] <= 0x82 {
			r.priority = int(f.value[0] - 0x80)
		}
	case mms.FieldSenderVisibility:
		r.hidden = f.value[0] == 0x80
	case mms.FieldDeliveryReport:
		r.deliveryReport = f.value[0] == 0x80
	case mms.FieldReadReport:
		r.readReport = f.value[0] == 0x80
	case mms.FieldReportAllowed:
		r.reportAllowed = f.value[0] != 0x81
	case mms.FieldReadStatus:
		r.readStatus = f.value[0]
	case mms.FieldSubject:
		r.subject = encodedString(f.value)
	}
	if f.code == 0 && r.mark(f) {
		return nil // what services and this server say to each other is nobody else's
	}
	if travels(f.code) {
		r.carry = append(r.carry, f.raw...)
	}
	return nil
}

// travels says which fields of an M-Send.req stand in the M-Retrieve.conf as they came (OMA-MMS-ENC 6.3). What the
// server says itself, what is for the server alone, and codes no standard gives (a widespread handset loses the
// rest of the header behind one) do not; application headers do.
func travels(f mms.Field) bool {
	switch f {
	case mms.FieldMessageType, mms.FieldTransactionID, mms.FieldMMSVersion, mms.FieldMessageID, mms.FieldDate, mms.FieldFrom, mms.FieldBcc,
		mms.FieldExpiry, mms.FieldDeliveryTime, mms.FieldSenderVisibility, mms.FieldContentType, mms.FieldContentLocation,
		mms.FieldResponseStatus, mms.FieldResponseText, mms.FieldRetrieveStatus, mms.FieldRetrieveText, mms.FieldReportAllowed,
		mms.FieldStore, mms.FieldMMState, mms.FieldMMFlags, mms.FieldStoreStatus, mms.FieldStoreStatusText, mms.FieldStored,
		mms.FieldStatus, mms.FieldReadStatus, mms.FieldMessageSize, mms.FieldAdaptationAllowed, mms.FieldContent,
		mms.FieldAttributes, mms.FieldTotals, mms.FieldQuotas, mms.FieldStart, mms.FieldLimit:
		return false
	}
	return f <= mms.FieldCancelStatus
}

func momentOf(value []byte) moment {
	size, n := wsp.ValueLength(value)
	if n <= 0 || size < 2 || size > len(value)-n {
		return moment{}
	}
	value = value[n : n+size]
	v, used := wsp.Integer(value[1:])
	if used <= 0 {
		return moment{}
	}
	return moment{set: true, absolute: value[0] == 0x80, seconds: v}
}

var classes = [...]string{"personal", "advertisement", "informational", "auto"}

func classOf(value []byte) string {
	if value[0] >= 0x80 {
		if i := int(value[0] - 0x80); i < len(classes) {
			return classes[i]
		}
		return classes[0]
	}
	if text, n := wsp.Text(value); n > 0 && len(text) > 0 {
		return strings.ToLower(readable(text[:min(len(text), 40)]))
	}
	return classes[0]
}

// encodedString gives the text of an Encoded-string-value (OMA-MMS-ENC 7.3); "" if there is none.
func encodedString(value []byte) string {
	h, err := mms.RawHeader(mms.MSendReq, append([]byte{byte(mms.FieldSubject)}, value...))
	if err != nil {
		return ""
	}
	text, _ := h.Text()
	return readable(text)
}

// readable makes what a client sent fit for a database and for people: valid UTF-8 without zero octets. Identity of
// submissions does not hang on it, their digest covers the octets.
func readable[T ~string | ~[]byte](text T) string {
	return strings.ReplaceAll(strings.ToValidUTF8(string(text), "\uFFFD"), "\x00", "")
}
