package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/mms"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/proxy"
)

// hold gives the proxy the embedded MMSC's store for messages that no MMSC can take now.
func (a *App) hold(ctx context.Context, h proxy.Held) ([]byte, error) {
	req := mmsc.HoldRequest{Target: h.Path, Host: h.Host, Header: http.Header{}, Body: h.Body, Who: mmsc.Identity{Address: h.Subscriber}}
	for _, f := range h.Header {
		req.Header.Add(f[0], f[1])
	}
	for _, name := range a.cfg.Load().MM1.Identity.Headers {
		// the proxy has stripped these from everybody who is not trusted
		req.Who.Asserted = req.Who.Asserted || req.Header.Get(name) != ""
	}
	answer, err := a.mmsc.Hold(ctx, req)
	if err != nil {
		return nil, err
	}
	return answer.PDU, nil
}

// forwardHeld is what the embedded MMSC calls when a held message is due.
func (a *App) forwardHeld(ctx context.Context, h *mmsc.HeldMessage) (*mmsc.ForwardResult, error) {
	name, conf, err := a.forwarder.forward(ctx, &message{id: h.ID, target: h.Target, host: h.Host, header: h.Header, size: h.Size, again: h.Attempt > 0, write: h.Write})
	if err != nil {
		return nil, err
	}
	return &mmsc.ForwardResult{MMSC: name, PDU: conf}, nil
}

// watchHeld makes held messages due as soon as an MMSC is back; without it they wait for their back-off.
func (a *App) watchHeld(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	were := true
	var seen uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s := a.board.Load()
		if s.Generation == seen {
			continue
		}
		seen = s.Generation
		are := false
		for i := range s.MMSCs {
			are = are || !s.MMSCs[i].Local && s.MMSCs[i].Qualifies()
		}
		if are && !were {
			if err := a.mmsc.ForwardNow(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("held messages wait for their next turn", "err", err)
			}
		}
		were = are
	}
}

// heldFates tells of held messages, in the admin room's words: the router's answer, and the MMSC's.
func (a *App) heldFates(id string) []admin.Fate {
	if a.mmsc == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	held, err := a.mmsc.Held(ctx, id)
	if err != nil {
		a.log.Warn("look for held messages", "err", err)
		return nil
	}
	var out []admin.Fate
	for i := range held {
		h := &held[i]
		f := admin.Fate{Time: h.CreatedAt, TransactionID: h.TransactionID, MessageID: a.mmsc.MessageID(h.Ref), Subscriber: mms.Mask(h.Subscriber),
			PDU: mms.Type(h.PDU).String(), Octets: h.Size, Whole: true, Result: "held: " + h.State.String(), Attempts: []admin.Attempt{}, Answer: h.LastError}
		f.Client, f.Target = origin(h.Request)
		for _, r := range a.mm1.Fate(f.MessageID) { // as long as the proxy remembers whose connection it was
			f.Client = r.Client
		}
		f.Attempts = append(f.Attempts, a.forwarder.trails.of(f.MessageID)...)
		for _, one := range f.Attempts {
			f.Octets = max(f.Octets, one.Octets) // the store has let go of what is done with
		}
		if h.Target != "" {
			result := h.LastError
			if h.Status != 0 {
				result = mms.Status(h.Status).String()
			}
			if h.UpstreamID != "" {
				result += ", message " + h.UpstreamID
			}
			if len(f.Attempts) == 0 { // another process, or long ago: the store knows the last alone
				f.Attempts = append(f.Attempts, admin.Attempt{MMSC: h.Target, Phase: "answered", Result: result, Octets: h.Size})
			}
			f.Answer = result
		}
		if !h.FinalAt.IsZero() {
			f.Milliseconds = float64(h.FinalAt.Sub(h.CreatedAt).Milliseconds())
		}
		out = append(out, f)
	}
	return out
}

// pduHead is what forwarding wants to know of a message.
type pduHead struct {
	transaction string
	version     mms.Version
	sender      string
	recipients  []string
}

// sendConf makes an M-Send.conf of ours.
func (h *pduHead) sendConf(s mms.Status, text string) []byte {
	return mms.SendConf{TransactionID: []byte(h.transaction), Version: h.version, Status: s, Text: text}.Append(nil)
}

var errEnough = errors.New("enough was read")

// firstOctets keeps the first octets that are written to it, then stops the writer.
type firstOctets struct{ b []byte }

func (f *firstOctets) Write(p []byte) (int, error) {
	f.b = append(f.b, p[:min(len(p), mms.MaxHeaders-len(f.b))]...)
	if len(f.b) == mms.MaxHeaders {
		return 0, errEnough
	}
	return len(p), nil
}

// head reads the PDU's head.
func (m *message) head(ctx context.Context) (pduHead, error) {
	var first firstOctets
	if err := m.write(ctx, &first); err != nil && !errors.Is(err, errEnough) {
		return pduHead{}, err
	}
	var h mms.Head
	h.Peek(first.b, int64(len(first.b)) == m.size)
	out := pduHead{transaction: string(h.TransactionID), version: h.Version, sender: mms.Number(h.From)}
	for _, to := range h.Addresses() {
		if n := mms.Number(to); n != "" {
			out.recipients = append(out.recipients, n)
		}
	}
	return out, nil
}

// heldBody reads a message from its first octet and notes when its last has been handed on.
type heldBody struct {
	*io.PipeReader
	left  int64
	read  atomic.Int64
	whole atomic.Bool
}

// Read implements io.Reader; the Transport alone calls it.
func (b *heldBody) Read(p []byte) (int, error) {
	n, err := b.PipeReader.Read(p)
	b.read.Add(int64(n))
	if b.left -= int64(n); b.left <= 0 {
		b.whole.Store(true)
	}
	return n, err
}

// body gives a fresh reader; stop ends its writer and waits for it.
func (m *message) body(ctx context.Context) (b *heldBody, stop func()) {
	r, w := io.Pipe()
	b = &heldBody{PipeReader: r, left: m.size}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.CloseWithError(m.write(ctx, w)) // CloseWithError always returns nil
	}()
	return b, func() {
		_ = r.Close() // always nil; the writer ends
		<-done
	}
}
