package dispatcher

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
)

// fault is an error that says whether the same thing may work later.
type fault struct {
	retry bool
	after time.Duration // the provider's wish
	err   error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func forGood(err error) error { return &fault{err: err} }

// failed says what becomes of a job that failed.
func (d *Dispatcher) failed(ctx context.Context, j *job, err error) outcome {
	now := time.Now()
	if ctx.Err() != nil {
		return outcome{State: j.State, Again: now, Error: "interrupted"} // we are being stopped: the next one goes on at once
	}
	retry := true
	var f *fault
	if errors.As(err, &f) {
		retry = f.retry
	}
	d.log.Info("service did not work", "service", j.Service, "kind", j.Kind, "job", j.ID, "user", mms.Mask(j.User), "attempt", j.Attempts, "again", retry, "err", err)
	if retry && now.Before(j.GiveUp) {
		pause := j.pause()
		if f != nil && f.after > pause {
			pause = f.after
		}
		again := now.Add(pause)
		if again.After(j.GiveUp) {
			again = j.GiveUp
		}
		return outcome{State: jobDue, Again: again, Error: err.Error()}
	}
	if j.Kind == kindTurn {
		return outcome{State: jobFallback, Again: now, GiveUp: now.Add(noticeLife), Error: err.Error()}
	}
	return outcome{State: jobDead, Again: now, Error: err.Error()}
}

// pause gives the time before another attempt: it doubles, with a tenth more or less.
func (j *job) pause() time.Duration {
	r := DefaultService().Provider.Retry
	if j.entry != nil {
		r = j.entry.Provider.Retry
	}
	p := r.First << min(j.Attempts-1, 20)
	if p <= 0 || p > r.Max {
		p = r.Max
	}
	return p - p/10 + rand.N(p/5+1)
}
