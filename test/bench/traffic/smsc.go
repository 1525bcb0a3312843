package traffic

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/handset/smsc"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

// SMSC takes each short message at once and puts pushes together.
type SMSC struct {
	Addr  string
	bound chan struct{} // closed by the first ESME
	end   context.CancelFunc
	ended chan struct{}

	mu   sync.Mutex // held while take runs
	join *wappush.Reassembler
	take func(p Push)
}

// Push is what a number got.
type Push struct {
	Number string // without +
	At     time.Time
	Head   mms.Head // of the notification; its slices are valid within the call
	Bad    bool     // it is none, or can't be read
}

// NewSMSC runs one. take gets what arrives, one at a time.
func NewSMSC(take func(Push)) (*SMSC, error) {
	addr, err := measure.FreeAddr()
	if err != nil {
		return nil, err
	}
	s := &SMSC{Addr: addr, bound: make(chan struct{}), ended: make(chan struct{}), join: wappush.NewReassembler(1<<16, 0), take: take}
	var once sync.Once
	server, err := smsc.New(smsc.Options{Listen: addr, Receive: s.receive, Bound: func(_, _ string, bound bool) {
		if bound {
			once.Do(func() { close(s.bound) })
		}
	}})
	if err != nil {
		return nil, err
	}
	var ctx context.Context
	ctx, s.end = context.WithCancel(context.Background())
	go func() {
		defer close(s.ended)
		_ = server.Run(ctx) // what does not arrive is counted as lost
	}()
	return s, nil
}

// Stop returns when nobody is served any more.
func (s *SMSC) Stop() { s.end(); <-s.ended }

func (s *SMSC) receive(m *smsc.Message) smsc.Status {
	p := Push{Number: m.Destination.Digits, At: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, _, err := s.join.Add(m.Source.Digits, m.Destination.Digits, m.UserData, p.At)
	if err == nil && whole == nil {
		return smsc.Ok // more segments to come
	}
	p.Bad = true
	if err == nil {
		if d, err := wappush.Decode(whole); err == nil && d.IsMMS() && d.ApplicationID() == wappush.MMSApplication {
			p.Bad = p.Head.Peek(d.Body, true) == mms.Garbage || p.Head.Type != mms.MNotificationInd
		}
	}
	s.take(p)
	return smsc.Ok
}

// Bound waits until that program can submit.
func (s *SMSC) Bound(p *measure.Process) error {
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case <-s.bound:
		return nil
	case <-p.Done():
		return fmt.Errorf("it ended (%w): %s", p.Err(), p.Output())
	case <-limit.C:
		return fmt.Errorf("it has not bound to the SMSC: %s", p.Output())
	}
}
