package handsets

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// Plan is a run of many handsets.
type Plan struct {
	Handset  Options
	Handsets int           // how many at the same time
	Messages int           // in all; 0: until the context ends (what is under way then is finished)
	Sizes    []int         // taken in turn
	Ways     []Way         // taken in turn; default Fast
	Think    time.Duration // pause of each handset after a message
	Prefix   string        // of the transaction ids, to tell runs apart
	Each     func(n int)   // called after the n-th exchange has ended
}

// Run sends and returns when every handset is done. Nobody retries: what fails, failed.
func Run(ctx context.Context, p Plan) *Ledger {
	if len(p.Ways) == 0 {
		p.Ways = []Way{Fast}
	}
	var l Ledger
	var next, done atomic.Int64
	var wg sync.WaitGroup
	for range p.Handsets {
		wg.Go(func() {
			h := New(p.Handset)
			defer h.Close()
			for {
				if p.Messages == 0 && ctx.Err() != nil {
					return
				}
				n := int(next.Add(1)) - 1
				if p.Messages > 0 && n >= p.Messages {
					return
				}
				tid := fmt.Sprintf("%s%06d", p.Prefix, n)
				body := pdu.SendReq(tid, p.Sizes[n%len(p.Sizes)])
				way := p.Ways[(n/len(p.Sizes))%len(p.Ways)]
				start := time.Now()
				// the exchange outlives ctx in an open-ended run: a message half sent says nothing about loss
				use := ctx
				if p.Messages == 0 {
					use = context.WithoutCancel(ctx)
				}
				a, err := h.Post(use, body, way)
				l.Note(tid, body, way, a, err, time.Since(start))
				if k := int(done.Add(1)); p.Each != nil {
					p.Each(k)
				}
				if p.Think > 0 {
					select {
					case <-time.After(p.Think):
					case <-ctx.Done():
					}
				}
			}
		})
	}
	wg.Wait()
	return &l
}
