package ppg

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg/journal"
)

// push accepts a push-message, or says why not.
func (p *PPG) push(q *request, m *pap.PushMessage) answer {
	r := &pap.PushResponse{PushID: m.PushID, SenderAddress: p.cfg.URL, SenderName: p.cfg.Name, Code: pap.Accepted}
	note := func(stage string) {
		if m.ProgressNotes {
			r.Notes = append(r.Notes, pap.ProgressNote{Stage: stage, Time: time.Now()})
		}
	}
	note("received")
	push, fault := p.compose(q, m)
	if fault == nil {
		note("validated")
		if err := p.journal.Accept(q.ctx, push); errors.Is(err, journal.ErrDuplicate) {
			fault = &pap.Error{Code: pap.DuplicatePushID, Text: "this push-id has been used"}
		} else if err != nil {
			p.log.Warn("a push could not be kept", "initiator", q.initiator.Name, "err", err)
			fault = &pap.Error{Code: pap.InternalError, Text: "the push could not be kept; try again"}
		}
	}
	if fault != nil {
		r.Code, r.Description = fault.Code, fault.Text
		if fault.Fragment != "" {
			r.Description += ": " + fault.Fragment
		}
	} else {
		note("accepted")
		p.log.Debug("push accepted", "initiator", q.initiator.Name, "push", m.PushID, "addresses", len(push.Addresses))
	}
	r.ReplyTime = time.Now()
	return answer{message: r, code: r.Code}
}

// maxPushID bounds what the journal is asked to keep.
const maxPushID = 200

// compose checks a push-message and makes of it what the journal keeps.
func (p *PPG) compose(q *request, m *pap.PushMessage) (*journal.Push, *pap.Error) {
	bad := func(code pap.Code, format string, args ...any) (*journal.Push, *pap.Error) {
		return nil, &pap.Error{Code: code, Text: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(m.PushID) > maxPushID:
		return bad(pap.BadRequest, "push-id of %d octets, %d are allowed", len(m.PushID), maxPushID)
	case m.ReplaceID != "":
		return bad(pap.ReplacementNotSupported, "cancel %.100s and push anew", m.ReplaceID)
	case q.parts.Capabilities != nil:
		return bad(pap.MatchingNotSupported, "capabilities are not matched")
	}
	push := &journal.Push{Initiator: q.initiator.Name, PushID: m.PushID, Version: q.doc.Version, AcceptedAt: q.received, DeliverAfter: m.DeliverAfter, NotifyTo: m.NotifyTo, Remote: q.remote.String(), Priority: 1}
	if m.NotifyTo != "" {
		if _, err := outgoing.URL(m.NotifyTo); err != nil {
			return bad(pap.BadRequest, "ppg-notify-requested-to: %v", err)
		}
	}
	latest := q.received.Add(p.cfg.MaxExpiry)
	switch push.DeliverBefore = m.DeliverBefore; {
	case m.DeliverBefore.IsZero():
		from := q.received
		if m.DeliverAfter.After(from) {
			from = m.DeliverAfter
		}
		push.DeliverBefore = from.Add(p.cfg.Expiry)
	case !m.DeliverBefore.After(q.received):
		return bad(pap.BadRequest, "deliver-before-timestamp has passed")
	case !m.DeliverBefore.After(m.DeliverAfter):
		return bad(pap.BadRequest, "deliver-before-timestamp is not behind deliver-after-timestamp")
	}
	if m.DeliverAfter.After(latest) {
		return bad(pap.NotPossible, "deliver-after-timestamp is further away than %s (ppg.max_expiry)", p.cfg.MaxExpiry)
	}
	if push.DeliverBefore.After(latest) {
		push.DeliverBefore = latest
	}
	var fault *pap.Error
	if push.Content, fault = wspPush(q.parts.Content); fault != nil {
		return nil, fault
	}
	if push.Addresses, fault = p.addresses(q, m.Addresses, len(push.Content)); fault != nil {
		return nil, fault
	}
	if fault := p.quality(push, m.Quality); fault != nil {
		return nil, fault
	}
	return push, nil
}

// addresses checks all addresses; one that is wrong refuses the push, since nobody can be told about a part of it before it is accepted. One
// that stands twice counts once.
func (p *PPG) addresses(q *request, list []pap.Address, octets int) ([]journal.Address, *pap.Error) {
	seen := map[string]bool{}
	var out []journal.Address
	for _, item := range list {
		a, err := pap.ParseAddress(item.Value)
		var fault *pap.Error
		if errors.As(err, &fault) {
			return nil, fault
		}
		if fault := p.reachable(q, a, octets); fault != nil {
			fault.Fragment = item.Value
			return nil, fault
		}
		key := string(a.Kind) + " " + a.Value
		if seen[key] {
			continue
		}
		seen[key] = true
		out = append(out, journal.Address{Text: item.Value, Kind: a.Kind, Value: a.Value})
	}
	return out, nil
}

func (p *PPG) reachable(q *request, a pap.ClientAddress, octets int) *pap.Error {
	switch {
	case a.Kind == pap.User:
		return &pap.Error{Code: pap.AddressNotFound, Text: "there is no directory of users here"}
	case !q.initiator.may(a):
		return &pap.Error{Code: pap.Forbidden, Text: "this initiator may not push to this address"}
	case a.Kind == pap.PLMN:
		if n := p.sms.Segments(octets); p.cfg.SMPP.Form != "payload" && n > p.cfg.MaxSegments {
			return &pap.Error{Code: pap.TransformationFailure, Text: fmt.Sprintf("the push takes %d short messages, %d are allowed", n, p.cfg.MaxSegments)}
		}
	default:
		if ip, err := netip.ParseAddr(a.Value); err != nil || ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return &pap.Error{Code: pap.AddressError, Text: "not the address of one handset"}
		}
		if octets > p.cfg.UDP.Largest {
			return &pap.Error{Code: pap.TransformationFailure, Text: fmt.Sprintf("the push has %d octets, a datagram may have %d", octets, p.cfg.UDP.Largest)}
		}
	}
	return nil
}

// packetBearers carry datagrams.
var packetBearers = []string{"", "Any", "GPRS", "Packet Data", "CSD", "CDPD"}

// quality checks what quality of service is asked for against what there is.
func (p *PPG) quality(push *journal.Push, q *pap.QualityOfService) *pap.Error {
	if q == nil {
		return nil
	}
	text, err := json.Marshal(q)
	if err != nil {
		return &pap.Error{Code: pap.InternalError, Text: err.Error()}
	}
	push.Quality = string(text)
	push.Priority = map[string]byte{"high": 2, "low": 0}[q.Priority]
	if q.Priority == "" || q.Priority == "medium" {
		push.Priority = 1
	}
	numbers, hosts := false, false
	for _, a := range push.Addresses {
		if a.Kind == pap.PLMN {
			numbers = true
		} else {
			hosts = true
		}
	}
	if q.NetworkRequired && !oneOf(q.Network, append([]string{""}, p.cfg.Networks...)) {
		return &pap.Error{Code: pap.NetworkNotAvailable, Text: "network", Fragment: q.Network}
	}
	if q.BearerRequired && (numbers && !oneOf(q.Bearer, []string{"", "Any", "SMS"}) || hosts && !oneOf(q.Bearer, packetBearers)) {
		return &pap.Error{Code: pap.BearerNotAvailable, Text: "bearer", Fragment: q.Bearer}
	}
	switch q.DeliveryMethod {
	case "confirmed":
		if hosts || !p.cfg.Confirm {
			return &pap.Error{Code: pap.DeliveryMethodNotPossible, Text: "nothing confirms a push here but the receipts of SMSCs"}
		}
		push.Confirm = true
	case "preferconfirmed":
		push.Confirm = p.cfg.Confirm && !hosts
	}
	return nil
}

func oneOf(s string, list []string) bool {
	for _, x := range list {
		if strings.EqualFold(s, x) {
			return true
		}
	}
	return false
}
