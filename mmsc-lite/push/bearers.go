package push

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/udp"
)

// messages is the carrier smpp.
type messages struct {
	p        *Pusher
	name     string
	client   *sms.Client
	receipts receipts
}

func newSMS(p *Pusher, k *CarrierConfig, at string, reg prometheus.Registerer) (*messages, error) {
	m := &messages{p: p, name: k.Name}
	if reg != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"client": k.Name}, reg)
	}
	var err error
	m.client, err = sms.New(sms.Options{Config: k.SMPP, At: at + ".smpp", Receipt: m.receipt, Metrics: reg, Log: p.log.With("carrier", k.Name)})
	return m, err
}

func (m *messages) run(ctx context.Context) error { return m.client.Run(ctx) }
func (m *messages) takes(c *parcel) bool          { return c.number != "" }

func (m *messages) send(ctx context.Context, c *parcel) error {
	validity := time.Until(c.ExpiresAt)
	if c.ExpiresAt.IsZero() {
		validity = 0
	}
	sent, err := m.client.Send(ctx, sms.Message{To: c.number, Push: m.p.fit(c), MaxSegments: m.p.cfg.MaxSegments, Validity: max(0, validity)})
	if err != nil {
		return err
	}
	for _, o := range m.receipts.sent(sent, Outcome{ID: c.ID, To: c.number, Carrier: m.name}) {
		m.p.tell(o)
	}
	return nil
}

// receipt is told by the session: whatever it means, it has arrived.
func (m *messages) receipt(r sms.Receipt) bool {
	if o, ok := m.receipts.came(r); ok {
		m.p.tell(o)
	}
	return true
}

// datagrams is the carrier udp.
type datagrams struct{ cfg udp.Config }

func (d *datagrams) run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (d *datagrams) takes(c *parcel) bool {
	if c.number == "" && !c.ip.IsValid() {
		return false
	}
	_, ok := d.cfg.Find(c.to())
	return ok
}

func (d *datagrams) send(ctx context.Context, c *parcel) error {
	return d.cfg.Send(ctx, c.to(), wappush.AppendMMS(nil, c.tid, c.PDU))
}
