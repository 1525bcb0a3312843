// Package router is the decision: which MMSC a request may go to, in which order, and why.
//
// It owns three things: the words that every room shares (Target, Verdict, Drain, Address, Size),
// the Board (the one shared mutable thing, an atomic pointer to an immutable Snapshot), and the pure
// function Decide. It does no I/O, holds no clock and writes no log; times are handed in.
//
// On failure: a Config that can't work is refused by Compile with the key that is wrong; Decide never
// fails, it answers with an empty order and the reason.
package router

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Target is an MMSC as the configuration names it.
type Target struct {
	Name   string // unique, a label value of metrics
	URL    string // http:// or https://, as configured; empty for the embedded MMSC
	Weight int    // relative share, 0 to 1000; 0 receives nothing but owner-routed requests
	Tier   int    // 0 = primary, 1 = first backup, …: a tier is used when none above it qualifies
	Local  bool   // the embedded MMSC (mmsc-lite)
	Spare  bool   // reached only by a rule naming it or by when_all_down: local, never by balancing
}

// Verdict is what detection thinks of a target.
type Verdict struct {
	Known bool      // a first verdict has been reached
	Up    bool      // passes detection
	Why   string    // the observation that decided, in words
	Since time.Time // when Up last changed (or became known)
	// Ramp is the percentage of its weight that the target gets while it starts slowly after
	// a recovery: 1 to 100; 0 counts as 100.
	Ramp uint8
	// Ejected says that live traffic, not a probe, took it out.
	Ejected bool
	// Fault names a misconfiguration that detection saw (an mm1 probe answered Ok), else "".
	Fault string
}

// Drain takes a target out of balancing while what is in flight finishes.
type Drain struct {
	By     string // who asked
	Reason string
	Since  time.Time
}

// State is what status shows for a target.
type State string

// The states of the contract.
const (
	StateUp       State = "up"
	StateDown     State = "down"
	StateDraining State = "draining"
)

// MMSC is one row of the Board.
type MMSC struct {
	Target
	Verdict
	Drain *Drain // nil: not draining
}

// State folds drain and verdict into one word; a drain hides the verdict.
func (m *MMSC) State() State {
	switch {
	case m.Drain != nil:
		return StateDraining
	case m.Up:
		return StateUp
	}
	return StateDown
}

// Qualifies says whether the target may get new messages.
func (m *MMSC) Qualifies() bool { return m.Up && m.Drain == nil }

// Address is a router's own address as DNS hands it out: IPv4, IPv6, EUI-48 or EUI-64 (RFC 7043).
// It is comparable.
type Address struct {
	IP  netip.Addr // valid for IPv4 and IPv6
	EUI string     // 6 or 8 octets, else ""
}

// ParseAddress reads "192.0.2.1", "2001:db8::1", "00-00-5e-00-53-2a" or "00-00-5e-ef-10-00-00-2a"
// (an EUI-48 may use colons; eight groups with colons are an IPv6 address).
func ParseAddress(s string) (Address, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.Zone() != "" {
			return Address{}, fmt.Errorf("address %q: a zone index can't be told by DNS", s)
		}
		return Address{IP: ip.Unmap()}, nil
	}
	if eui, ok := parseEUI(s); ok {
		return Address{EUI: eui}, nil
	}
	return Address{}, fmt.Errorf("address %q: want IPv4, IPv6, EUI-48 (00-00-5e-00-53-2a) or EUI-64", s)
}

// parseEUI reads 6 or 8 pairs of hexadecimal digits with one kind of separator between them.
func parseEUI(s string) (string, bool) {
	if len(s) != 6*3-1 && len(s) != 8*3-1 || s[2] != '-' && s[2] != ':' {
		return "", false
	}
	for i := 5; i < len(s); i += 3 {
		if s[i] != s[2] {
			return "", false
		}
	}
	b := make([]byte, 0, 8)
	for i := 0; i < len(s); i += 3 {
		var err error
		if b, err = hex.AppendDecode(b, []byte(s[i:i+2])); err != nil {
			return "", false
		}
	}
	return string(b), true
}

// String gives the form that ParseAddress reads.
func (a Address) String() string {
	if a.EUI == "" {
		return a.IP.String()
	}
	var b strings.Builder
	for i := range len(a.EUI) {
		if i > 0 {
			b.WriteByte('-')
		}
		fmt.Fprintf(&b, "%02x", a.EUI[i])
	}
	return b.String()
}

// Zone is a DNS zone with the routers' addresses that answer for its apex.
type Zone struct {
	Name      string // lower case, no final dot
	Addresses []Address
}
