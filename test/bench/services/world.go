package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/traffic"
)

// sink is the SMSC of the bench: it notes when a number got its notification.
type sink struct {
	*traffic.SMSC

	mu      sync.Mutex
	waiting map[string]chan time.Time // by number
	extra   int                       // notifications that nobody waits for
}

func newSink() (s *sink, err error) {
	s = &sink{waiting: map[string]chan time.Time{}}
	s.SMSC, err = traffic.NewSMSC(s.take)
	return s, err
}

func (s *sink) take(p traffic.Push) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c := s.waiting[p.Number]; {
	case p.Bad: // it is counted as lost
	case c == nil:
		s.extra++
	default:
		delete(s.waiting, p.Number)
		c <- p.At
	}
}

// expect gives where the time of a number's next notification will be told.
func (s *sink) expect(number string) <-chan time.Time {
	c := make(chan time.Time, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[number] = c
	return c
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
