package ppg

import (
	"context"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
)

// receipt is called by SMPP sessions and must not wait. When too many come at once, the SMSC is asked to send this one again.
func (p *PPG) receipt(r sms.Receipt) bool {
	if !r.State.Final() {
		return true
	}
	select {
	case p.receipts <- r:
		return true
	default:
		p.met.receipts.WithLabelValues("dropped").Inc()
		return false
	}
}

// earlyTries is how often a receipt that nobody waits for is looked up: it can be faster than our note of what was sent.
const (
	earlyTries = 5
	earlyPause = 300 * time.Millisecond
	maxEarly   = 10_000
)

type earlyReceipt struct {
	sms.Receipt
	tries int
}

// noteReceipts writes down what receipts say until ctx ends.
func (p *PPG) noteReceipts(ctx context.Context) {
	var early []earlyReceipt
	tick := time.NewTicker(earlyPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-p.receipts:
			if !p.noteReceipt(ctx, r) && len(early) < maxEarly {
				early = append(early, earlyReceipt{Receipt: r})
			}
		case <-tick.C:
			kept := early[:0]
			for _, e := range early {
				if e.tries++; p.noteReceipt(ctx, e.Receipt) {
					continue
				}
				if e.tries < earlyTries {
					kept = append(kept, e)
					continue
				}
				p.met.receipts.WithLabelValues("nobody").Inc()
			}
			early = kept
		}
	}
}

func (p *PPG) noteReceipt(ctx context.Context, r sms.Receipt) bool {
	detail := "the SMSC says: " + r.State.String()
	if r.Error != "" {
		detail += ", error " + r.Error
	}
	found, err := p.journal.Receipt(ctx, r.SMSC, r.ID, r.State, detail)
	if err != nil {
		p.log.Debug("a receipt can't be written down", "err", err)
		return false
	}
	if !found {
		return false
	}
	p.met.receipts.WithLabelValues("found").Inc()
	if r.State == smpp.Undeliverable || r.State == smpp.Rejected {
		p.log.Info("an SMSC could not deliver a push", "smsc", r.SMSC, "id", r.ID, "error", r.Error)
	}
	return true
}
