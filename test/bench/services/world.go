package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/handset/smsc"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

// sink is the SMSC of the bench: it takes each short message at once and notes when a number got its notification.
type sink struct {
	addr  string
	bound chan struct{} // closed by the first ESME
	stop  func()        // returns when nobody is served any more

	mu      sync.Mutex
	join    *wappush.Reassembler
	waiting map[string]chan time.Time // by number
	extra   int                       // notifications that nobody waits for
}

func newSink() (*sink, error) {
	addr, err := measure.FreeAddr()
	if err != nil {
		return nil, err
	}
	s := &sink{addr: addr, bound: make(chan struct{}), join: wappush.NewReassembler(1<<16, 0), waiting: map[string]chan time.Time{}}
	var once sync.Once
	server, err := smsc.New(smsc.Options{Listen: addr, Receive: s.receive, Bound: func(_, _ string, bound bool) {
		if bound {
			once.Do(func() { close(s.bound) })
		}
	}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Run(ctx) // what does not arrive is counted as lost
	}()
	s.stop = func() { cancel(); <-ended }
	return s, nil
}

func (s *sink) receive(m *smsc.Message) smsc.Status {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, _, err := s.join.Add(m.Source.Digits, m.Destination.Digits, m.UserData, now)
	if err != nil || whole == nil {
		return smsc.Ok // more segments to come, or one that is counted as lost
	}
	p, err := wappush.Decode(whole)
	var h mms.Head
	if err != nil || h.Peek(p.Body, true) == mms.Garbage || h.Type != mms.MNotificationInd {
		return smsc.Ok
	}
	c := s.waiting[m.Destination.Digits]
	if c == nil {
		s.extra++
		return smsc.Ok
	}
	delete(s.waiting, m.Destination.Digits)
	c <- now
	return smsc.Ok
}

// expect gives where the time of a number's next notification will be told.
func (s *sink) expect(number string) <-chan time.Time {
	c := make(chan time.Time, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[number] = c
	return c
}

func (s *sink) waitBound(p *measure.Process) error {
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

// providers is one HTTP server for all services: it answers at once, but the slow service when it is told to.
type providers struct {
	addr string
	srv  *http.Server
	done chan error
	slow atomic.Int64 // nanoseconds that the last service takes
}

// answer is a reply of a kilobyte.
var answer = []byte(`{"version":1,"subject":"Answer","state":"c3RhdGU=","text":"` + strings.Repeat("y", 1000) + `"}`)

func newProviders() (*providers, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &providers{addr: l.Addr().String(), done: make(chan error, 1)}
	p.srv = &http.Server{Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: time.Minute}
	go func() { p.done <- p.srv.Serve(l) }()
	return p, nil
}

func (p *providers) serve(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // a request that breaks is asked again
	if pause := time.Duration(p.slow.Load()); pause > 0 && r.URL.Path == "/"+strconv.Itoa(services-1) {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // so is an answer that does not arrive
}

func (p *providers) stop() error {
	err := p.srv.Close()
	if e := <-p.done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}
