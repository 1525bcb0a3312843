package ppg

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg/journal"
)

// result tells an initiator the outcome for one address, again until it answers with 2xx.
func (p *PPG) result(stop context.Context, d *journal.Delivery) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(stop), p.cfg.Results.Timeout+10*time.Second)
	defer cancel()
	err := p.tell(ctx, d)
	var next time.Time
	result := "told"
	if err != nil {
		result = "failed"
		next = time.Now().Add(backoff(p.cfg.Results.RetryFirst, p.cfg.Results.RetryMax, d.Attempts))
		if next.After(d.EventAt.Add(p.cfg.Results.GiveUp)) {
			next, result = time.Time{}, "given_up"
		}
		p.log.Info("a result could not be told", "initiator", d.Push.Initiator, "push", d.Push.PushID, "result", result, "err", err)
	}
	p.met.results.WithLabelValues(result).Inc()
	if err := p.journal.Told(ctx, d, next); err != nil {
		p.log.Debug("a result can't be written down; it is told again when its lease ends", "push", d.Push.PushID, "err", err)
	}
}

// tell posts one result notification. The address comes from the initiator, so it may only lead to where the initiator itself is, or to the
// networks of the configuration. Each has a client of its own, so that no connection is shared between initiators.
func (p *PPG) tell(ctx context.Context, d *journal.Delivery) error {
	own, _ := netip.ParseAddr(d.Push.Remote) // the zero address equals no other
	client := p.guard.Client(outgoing.ClientOptions{Timeout: p.cfg.Results.Timeout, Reach: func(ip netip.Addr) bool {
		return ip == own || len(p.cfg.Results.Networks) > 0 && inNetworks(p.cfg.Results.Networks, ip)
	}})
	defer client.Release()
	m := &pap.ResultNotification{PushID: d.Push.PushID, SenderAddress: p.cfg.URL, SenderName: p.cfg.Name, ReceivedTime: d.Push.AcceptedAt, EventTime: d.EventAt,
		State: d.State.PAP(), Code: d.Code, Description: d.Detail, Address: pap.Address{Value: d.Address.Text}, Quality: quality(d.Push.Quality)}
	body := (&pap.Document{Version: d.Push.Version, Product: "mmsrouter", Message: m}).Encode()
	resp, err := client.Do(ctx, outgoing.Request{Method: http.MethodPost, URL: d.Push.NotifyTo, Header: http.Header{"Content-Type": {"application/xml"}},
		Body: body, MaxBody: 64 << 10, StatusOnly: true})
	if err != nil {
		return fmt.Errorf("tell a result: %w", err)
	}
	if resp.Status/100 != 2 {
		return fmt.Errorf("tell a result: HTTP status %d", resp.Status)
	}
	return nil
}
