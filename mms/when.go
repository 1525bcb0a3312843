package mms

import (
	"math"
	"time"
)

// When is a time that a PDU gives as a date or as seconds from its reception
// (X-Mms-Expiry, X-Mms-Delivery-Time, X-Mms-Reply-Charging-Deadline).
type When struct {
	At    time.Time     // zero: relative
	After time.Duration // from the reception of the PDU
}

// From gives the point in time, counted from the reception of the PDU.
func (w When) From(reception time.Time) time.Time {
	if w.At.IsZero() {
		return reception.Add(w.After)
	}
	return w.At
}

func (w When) append(dst []byte, f Field) []byte {
	dst = append(dst, byte(f))
	if w.At.IsZero() {
		return appendWhen(dst, tokenRelative, uint64(max(0, w.After/time.Second)))
	}
	return appendWhen(dst, tokenAbsolute, seconds(w.At))
}

// When reads the value of a field that is a date or a number of seconds; dates
// and spans too large for their types are cut to the largest.
func (h Header) When() (When, bool) {
	relative, n, ok := readWhen(h.Value())
	if !ok {
		return When{}, false
	}
	if relative {
		return When{After: time.Duration(min(n, math.MaxInt64/uint64(time.Second))) * time.Second}, true
	}
	return When{At: time.Unix(int64(min(n, lastDate)), 0).UTC()}, true
}
