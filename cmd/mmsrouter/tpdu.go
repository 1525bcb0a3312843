package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

// joinSMS gives the WSP push that SMS-DELIVERs carry, each as a modem gives it: the SMSC's address first
// (3GPP TS 23.040 9.2.2.1, 27.005 3.1).
func joinSMS(list [][]byte) ([]byte, error) {
	join := wappush.NewReassembler(1, 0)
	for i, b := range list {
		from, ud, err := deliver(b)
		if err != nil {
			return nil, fmt.Errorf("SMS %d: %w", i+1, err)
		}
		payload, _, err := join.Add(from, "", ud, time.Time{})
		if err != nil {
			return nil, fmt.Errorf("SMS %d: %w", i+1, err)
		}
		if payload != nil {
			return payload, nil
		}
	}
	return nil, errors.New("segments are missing")
}

// deliver takes sender and user data out of an SMS-DELIVER with a user data header in 8-bit coding.
func deliver(b []byte) (from string, ud []byte, err error) {
	cut := errors.New("is cut")
	if len(b) < 1 || len(b) < 1+int(b[0])+2 {
		return "", nil, cut
	}
	b = b[1+b[0]:]
	first, digits := b[0], int(b[1])
	if first&0x03 != 0 {
		return "", nil, fmt.Errorf("type %d is no SMS-DELIVER", first&0x03)
	}
	if first&0x40 == 0 {
		return "", nil, errors.New("has no user data header, so no port says what it carries")
	}
	address := 3 + (digits+1)/2 // first octet, length, type, digits
	const rest = 1 + 1 + 7 + 1  // protocol, coding, time, length of the user data
	if len(b) < address+rest {
		return "", nil, cut
	}
	from = string(b[2:address])
	b = b[address:]
	n := int(b[rest-1])
	if b = b[rest:]; len(b) < n {
		return "", nil, cut
	}
	return from, b[:n], nil
}
