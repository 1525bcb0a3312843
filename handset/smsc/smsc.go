// Package smsc is the side of SMPP 3.4 that an SMSC speaks, small and strict: PPGs bind to it and submit, and each short
// message goes to one function. It owns its listener and its sessions.
//
// Promises: every submit_sm is answered in its turn with what that function said, so a positive answer means that the
// receiver has the message. What is no SMPP gets a generic_nack and the session ends; memory of a session is bounded by
// the largest PDU. Delivery receipts go to the ESME that asked for them while it is bound; they are not kept for later.
//
// States: New has bound the listener, Run serves until its context ends, sends unbind to each ESME and closes.
package smsc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Options is what New needs.
type Options struct {
	Listen   string            // host:port
	SystemID string            // how we call ourselves, at most 15 characters; default "mmsrouter"
	Accounts map[string]string // passwords by system_id; nil: whoever comes may bind
	// Receive takes a short message. It is called from many goroutines, of one session in order, and its answer is the
	// submit_sm_resp's status: it should come at once. The message is the receiver's to keep.
	Receive func(*Message) Status
	// Bound is told when an ESME has bound and when it has gone; nil: nobody.
	Bound       func(systemID, remote string, bound bool)
	MaxSessions int           // default 64
	Enquire     time.Duration // silence after which an ESME is asked whether it lives; default 60s
	Log         *slog.Logger  // nil: none
}

// SMSC is a running or startable SMSC.
type SMSC struct {
	opt      Options
	listener net.Listener
	log      *slog.Logger
	ids      atomic.Uint64

	mu       sync.Mutex
	sessions map[*session]struct{}
}

// bindTime is how long a connection may take to bind, and answerTime how long an answer to enquire_link.
const (
	bindTime   = 10 * time.Second
	answerTime = 10 * time.Second
)

// New checks the options and binds the listener.
func New(opt Options) (*SMSC, error) {
	if opt.Receive == nil {
		return nil, errors.New("smsc: nobody receives")
	}
	if opt.SystemID == "" {
		opt.SystemID = "mmsrouter"
	}
	if len(opt.SystemID) > 15 {
		return nil, fmt.Errorf("smsc: system id %q has more than 15 characters", opt.SystemID)
	}
	if opt.MaxSessions <= 0 {
		opt.MaxSessions = 64
	}
	if opt.Enquire <= 0 {
		opt.Enquire = time.Minute
	}
	s := &SMSC{opt: opt, log: opt.Log, sessions: map[*session]struct{}{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ids.Store(uint64(time.Now().UnixMilli())) // message ids of two runs differ
	var err error
	if s.listener, err = net.Listen("tcp", opt.Listen); err != nil {
		return nil, fmt.Errorf("smsc: %w", err)
	}
	return s, nil
}

// Addr is where ESMEs bind.
func (s *SMSC) Addr() net.Addr { return s.listener.Addr() }

// Close frees the listener, for a caller that never calls Run.
func (s *SMSC) Close() error { return s.listener.Close() }

// Run serves until ctx ends and returns after the last session has ended.
func (s *SMSC) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { s.listener.Close() }) // Accept tells
	defer stop()
	for {
		conn, err := s.listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close() // it has sent nothing that we took
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("smsc: %w", err)
		case err != nil: // out of descriptors: go on when there are some
			s.log.Warn("accept", "err", err)
			if !pause(ctx, 100*time.Millisecond) {
				return nil
			}
			continue
		}
		if x := s.admit(conn); x != nil {
			wg.Go(func() { s.serve(ctx, x) })
		}
	}
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *SMSC) admit(conn net.Conn) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) >= s.opt.MaxSessions {
		s.log.Warn("too many sessions", "remote", conn.RemoteAddr(), "allowed", s.opt.MaxSessions)
		conn.Close() // it has not bound
		return nil
	}
	x := newSession(s, conn)
	s.sessions[x] = struct{}{}
	return x
}

func (s *SMSC) serve(ctx context.Context, x *session) {
	stop := context.AfterFunc(ctx, x.leave)
	err := x.run()
	stop()
	s.mu.Lock()
	delete(s.sessions, x)
	s.mu.Unlock()
	x.conn.Close() // what was answered has been written
	system, mode := x.binding()
	if err != nil {
		s.log.Info("SMPP session ended", "system_id", system, "remote", x.conn.RemoteAddr(), "err", err)
	}
	if mode != 0 && s.opt.Bound != nil {
		s.opt.Bound(system, x.conn.RemoteAddr().String(), false)
	}
}

// receiver finds a session that takes receipts for what from submitted: itself, or another of its system_id.
func (s *SMSC) receiver(from *session) *session {
	system, mode := from.binding()
	if mode == bindTransceiver {
		return from
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := range s.sessions {
		if other, mode := x.binding(); other == system && mode == bindReceiver {
			return x
		}
	}
	return nil
}

// permitted says the status with which a bind is answered.
func (s *SMSC) permitted(system, password string) Status {
	if s.opt.Accounts == nil {
		return Ok
	}
	want, ok := s.opt.Accounts[system]
	switch {
	case !ok:
		return InvalidSystemID
	case want != password:
		return InvalidPassword
	}
	return Ok
}
