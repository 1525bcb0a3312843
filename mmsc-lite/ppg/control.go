package ppg

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg/journal"
)

// chosen makes a choice of addresses, all if none is named. missing gives those that were named and never asked for.
func chosen(list []pap.Address) (want func(journal.Address) bool, missing func() []pap.Address, fault *pap.Error) {
	if len(list) == 0 {
		return func(journal.Address) bool { return true }, func() []pap.Address { return nil }, nil
	}
	open := map[string]pap.Address{}
	order := make([]string, 0, len(list))
	for _, item := range list {
		a, err := pap.ParseAddress(item.Value)
		if errors.As(err, &fault) {
			return nil, nil, fault
		}
		key := string(a.Kind) + " " + a.Value
		open[key] = item
		order = append(order, key)
	}
	met := map[string]bool{}
	want = func(a journal.Address) bool {
		key := string(a.Kind) + " " + a.Value
		_, ok := open[key]
		met[key] = met[key] || ok
		return ok
	}
	return want, func() []pap.Address {
		var out []pap.Address
		for _, key := range order {
			if !met[key] {
				out = append(out, open[key])
				met[key] = true
			}
		}
		return out
	}, nil
}

// cancel takes a push back where it has not been sent.
func (p *PPG) cancel(q *request, m *pap.CancelMessage) answer {
	r := &pap.CancelResponse{PushID: m.PushID}
	result := func(code pap.Code, text string, list ...pap.Address) {
		for i := range r.Results {
			if r.Results[i].Code == code && r.Results[i].Description == text {
				r.Results[i].Addresses = append(r.Results[i].Addresses, list...)
				return
			}
		}
		r.Results = append(r.Results, pap.CancelResult{Code: code, Description: text, Addresses: list})
	}
	want, missing, fault := chosen(m.Addresses)
	if fault != nil {
		result(fault.Code, fault.Text)
		return answer{message: r, code: fault.Code}
	}
	all, cancelled, err := p.journal.Cancel(q.ctx, q.initiator.Name, m.PushID, want)
	if err != nil {
		code, text := p.trouble(err)
		result(code, text)
		return answer{message: r, code: code}
	}
	for i := range all {
		a := pap.Address{Value: all[i].Address.Text}
		switch {
		case cancelled[i]:
			p.met.ended(journal.Cancelled)
			result(pap.OK, "cancelled", a)
		case all[i].State == journal.Cancelled:
			result(pap.OK, "cancelled before", a)
		case all[i].State.Final():
			result(pap.CancellationNotPossible, "it has ended: "+string(all[i].State.PAP()), a)
		default:
			result(pap.CancellationNotPossible, "it is on its way", a)
		}
	}
	if list := missing(); len(list) > 0 {
		result(pap.AddressNotFound, "the push has no such address", list...)
	}
	return answer{message: r, code: r.Results[0].Code}
}

// trouble gives the code for an error of the journal.
func (p *PPG) trouble(err error) (pap.Code, string) {
	if errors.Is(err, journal.ErrNotFound) {
		return pap.PushIDNotFound, "this initiator has no such push"
	}
	p.log.Warn("the push journal does not answer", "err", err)
	return pap.InternalError, "the gateway's memory does not answer; try again"
}

// status tells how far a push is.
func (p *PPG) status(q *request, m *pap.StatusQuery) answer {
	r := &pap.StatusQueryResponse{PushID: m.PushID}
	want, missing, fault := chosen(m.Addresses)
	if fault != nil {
		r.Results = []pap.StatusResult{{State: pap.UnknownState, Code: fault.Code, Description: fault.Text}}
		return answer{message: r, code: fault.Code}
	}
	all, err := p.journal.Status(q.ctx, q.initiator.Name, m.PushID)
	if err != nil {
		code, text := p.trouble(err)
		r.Results = []pap.StatusResult{{State: pap.UnknownState, Code: code, Description: text, Addresses: m.Addresses}}
		return answer{message: r, code: code}
	}
	for i := range all {
		d := &all[i]
		if want(d.Address) {
			r.Results = append(r.Results, pap.StatusResult{EventTime: d.EventAt, State: d.State.PAP(), Code: d.Code, Description: d.Detail,
				Addresses: []pap.Address{{Value: d.Address.Text}}, Quality: quality(d.Push.Quality)})
		}
	}
	if list := missing(); len(list) > 0 {
		r.Results = append(r.Results, pap.StatusResult{EventTime: time.Now(), State: pap.UnknownState, Code: pap.AddressNotFound, Addresses: list})
	}
	return answer{message: r, code: pap.OK}
}

// quality reads back what the journal keeps; nil if nothing was asked for.
func quality(text string) *pap.QualityOfService {
	if text == "" {
		return nil
	}
	var q pap.QualityOfService
	if err := json.Unmarshal([]byte(text), &q); err != nil {
		return nil // only we write it; an answer without it is an answer
	}
	return &q
}
