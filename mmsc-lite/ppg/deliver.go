package ppg

import (
	"context"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg/journal"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/carrier"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
)

const (
	attemptTime = 20 * time.Second // of one attempt, pauses of an SMSC included; less than the lease
	poll        = time.Second      // other nodes may have put work into the database
	resultShare = 4                // of the workers at most one in so many tells results
)

// deliver works on what is due until ctx ends and returns after the last attempt has ended.
func (p *PPG) deliver(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	send, tell := newPool(p.cfg.Workers), newPool(max(1, p.cfg.Workers/resultShare))
	timer := time.NewTimer(poll)
	defer timer.Stop()
	for ctx.Err() == nil {
		more := p.start(ctx, &wg, send, p.journal.Claim, p.one)
		more = p.start(ctx, &wg, tell, p.journal.ClaimResults, p.result) || more
		if more {
			continue
		}
		timer.Reset(p.pause(ctx))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.wakened:
		case <-send.freed: // a worker is free where there was none
		case <-tell.freed:
		}
	}
}

// pause says how long to wait for work.
func (p *PPG) pause(ctx context.Context) time.Duration {
	next, ok, err := p.journal.NextDue(ctx)
	if err != nil || !ok {
		return poll
	}
	return max(20*time.Millisecond, min(poll, time.Until(next)))
}

// pool counts workers.
type pool struct {
	tokens chan struct{}
	freed  chan struct{} // gets a token when a worker ends while all were busy
}

func newPool(n int) *pool {
	return &pool{make(chan struct{}, n), make(chan struct{}, 1)}
}

// take takes all free workers.
func (p *pool) take() (n int) {
	for {
		select {
		case p.tokens <- struct{}{}:
			n++
		default:
			return n
		}
	}
}

func (p *pool) give(n int) {
	full := len(p.tokens) == cap(p.tokens)
	for range n {
		<-p.tokens
	}
	if full {
		select {
		case p.freed <- struct{}{}:
		default:
		}
	}
}

// start claims work for all free workers and gives each its goroutine. It says whether there may be more at once.
func (p *PPG) start(ctx context.Context, wg *sync.WaitGroup, pool *pool, claim func(context.Context, int, time.Duration) ([]journal.Delivery, error), do func(context.Context, *journal.Delivery)) bool {
	n := pool.take()
	if n == 0 {
		return false
	}
	work, err := claim(ctx, n, p.lease())
	if err != nil && ctx.Err() == nil {
		p.log.Warn("look for due pushes", "err", err)
	}
	for i := range work {
		wg.Go(func() {
			defer pool.give(1)
			do(ctx, &work[i])
		})
	}
	if spare := n - len(work); spare > 0 {
		for range spare {
			<-pool.tokens
		}
	}
	return err == nil && len(work) > 0
}

// lease is longer than any attempt.
func (p *PPG) lease() time.Duration {
	return max(p.cfg.Lease, attemptTime+p.cfg.Results.Timeout+10*time.Second)
}

// one does what is due for a delivery. When the gateway ends, an attempt that has begun is brought to its end: what an SMSC has taken
// must be on record.
func (p *PPG) one(stop context.Context, d *journal.Delivery) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(stop), attemptTime)
	defer cancel()
	now := time.Now()
	switch {
	case d.State == journal.Waiting:
		p.finish(ctx, d, journal.TimedOut, pap.ServiceFailure, "no delivery receipt came")
	case !now.Before(d.Push.DeliverBefore):
		p.finish(ctx, d, journal.Expired, pap.ServiceFailure, "its time was over before a bearer had taken it; "+d.Detail)
	default:
		p.send(ctx, d)
	}
}

func (p *PPG) send(ctx context.Context, d *journal.Delivery) {
	bearer, sent, err := "sms", sms.Sent{}, error(nil)
	noted := p.noting(d)
	if d.Address.Kind == pap.PLMN {
		sent, err = p.sms.Send(ctx, sms.Message{To: d.Address.Value, Push: d.Push.Content, MaxSegments: p.cfg.MaxSegments, Validity: time.Until(d.Push.DeliverBefore),
			Priority: d.Push.Priority, Receipt: d.Push.Confirm, Noted: noted.note})
	} else {
		bearer, err = "udp", p.cfg.UDP.Send(ctx, d.Address.Value, d.Push.Content)
	}
	// What has happened is written down even if the attempt has used up its time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTime)
	defer cancel()
	switch {
	case err == nil:
		p.met.attempts.WithLabelValues(bearer, "taken").Inc()
		if bearer == "udp" {
			noted.note(sent)
		}
		p.taken(ctx, d, sent, noted)
	case carrier.IsFinal(err):
		p.met.attempts.WithLabelValues(bearer, "refused").Inc()
		p.finish(ctx, d, journal.Undeliverable, pap.ServiceFailure, err.Error())
	default:
		result := "failed"
		if carrier.IsUnknown(err) {
			result = "unknown"
		}
		p.met.attempts.WithLabelValues(bearer, result).Inc()
		p.again(ctx, d, err)
	}
}

// commitPause is how long after a commit that failed it is tried again.
const commitPause = 200 * time.Millisecond

// noting writes down in a file, at once, that a bearer has a push; committed ends that when the database has it.
type noting struct {
	p         *PPG
	d         *journal.Delivery
	until     time.Time
	committed func()
}

func (p *PPG) noting(d *journal.Delivery) *noting {
	return &noting{p: p, d: d, committed: func() {}}
}

func (n *noting) note(sent sms.Sent) {
	n.until = time.Now().Add(n.p.cfg.ConfirmWait)
	committed, err := n.p.journal.Note(n.d, sent.SMSC, sent.IDs, n.until)
	if err != nil {
		n.p.log.Warn("note what was sent", "push", n.d.Push.PushID, "err", err)
		return
	}
	n.committed = committed
}

// taken writes what was noted into the database. Where that does not answer it is asked again for as long
// as the lease lasts, since after it the push would be sent once more.
func (p *PPG) taken(ctx context.Context, d *journal.Delivery, sent sms.Sent, noted *noting) {
	until, err := noted.until, error(nil)
	retry := time.NewTicker(commitPause)
	defer retry.Stop()
	for {
		if d.Push.Confirm {
			err = p.journal.Await(ctx, d, sent.SMSC, sent.IDs, until)
		} else {
			err = p.journal.Finish(ctx, d, journal.Delivered, pap.OK, "taken by the bearer")
		}
		if err == nil {
			noted.committed()
			if !d.Push.Confirm {
				p.met.ended(journal.Delivered)
			}
			return
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			p.log.Warn("a push is sent and that can't be written down; it is sent again when its lease ends", "push", d.Push.PushID, "err", err)
			noted.committed() // its file must not wait for it: it would grow for as long as the process lives
			return
		}
	}
}

func (p *PPG) finish(ctx context.Context, d *journal.Delivery, s journal.State, code pap.Code, detail string) {
	if err := p.journal.Finish(ctx, d, s, code, detail); err != nil {
		p.log.Warn("the end of a push can't be written down; it is due again when its lease ends", "push", d.Push.PushID, "state", string(s.PAP()), "err", err)
		return
	}
	p.met.ended(s)
	p.log.Info("push ended", "initiator", d.Push.Initiator, "push", d.Push.PushID, "to", mms.Mask(d.Address.Value), "state", string(s.PAP()), "detail", detail)
}

// again schedules the next attempt.
func (p *PPG) again(ctx context.Context, d *journal.Delivery, why error) {
	pause := max(backoff(p.cfg.RetryFirst, p.cfg.RetryMax, d.Attempts), carrier.After(why))
	next := time.Now().Add(pause)
	if next.After(d.Push.DeliverBefore) {
		next = d.Push.DeliverBefore
	}
	p.log.Debug("push not taken", "push", d.Push.PushID, "to", mms.Mask(d.Address.Value), "again_in", pause, "err", why)
	if err := p.journal.Retry(ctx, d, next, pap.Accepted, why.Error()); err != nil {
		p.log.Warn("an attempt can't be written down; the push is due again when its lease ends", "push", d.Push.PushID, "err", err)
	}
}

// backoff doubles from first up to most.
func backoff(first, most time.Duration, attempts int) time.Duration {
	for range attempts {
		if first *= 2; first >= most {
			return most
		}
	}
	return min(first, most)
}

// sweepEvery is how often what is old is looked for.
const sweepEvery = time.Minute

// sweep forgets pushes whose time of being known is over.
func (p *PPG) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for {
			n, err := p.journal.Sweep(ctx, time.Now().Add(-p.cfg.MaxExpiry-p.cfg.Keep))
			if err != nil && ctx.Err() == nil {
				p.log.Warn("sweep the push journal", "err", err)
			}
			if err != nil || n == 0 {
				break
			}
		}
	}
}
