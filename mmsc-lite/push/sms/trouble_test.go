package sms_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/carrier"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

// Half of a window gets no answer: those fail as unknown, the others are taken, and the link goes on.
func TestHalfAWindowIsLost(t *testing.T) {
	server := smsc.New(t)
	server.Judge = func(s smsc.Submit) smsc.Answer { return smsc.Answer{Silent: s.Seq <= 10 && s.Seq%2 == 0} }
	server.Start()
	cfg := quick(server)
	cfg.Timeout = 200 * time.Millisecond
	c := run(t, sms.Options{Config: cfg})
	var mu sync.Mutex
	var taken, unknown int
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			_, err := c.Send(within(t, 10*time.Second), sms.Message{To: fmt.Sprintf("+44770090000%d", i), Push: short})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				taken++
			} else if carrier.IsUnknown(err) {
				unknown++
			}
		})
	}
	wg.Wait()
	if taken != 5 || unknown != 5 {
		t.Errorf("%d taken, %d unknown", taken, unknown)
	}
	for range 20 { // a window that leaked its places would be full
		if _, err := c.Send(within(t, 10*time.Second), sms.Message{To: "+447700900999", Push: short}); err != nil {
			t.Fatal(err)
		}
	}
	if n := server.Counts().Binds; n != 1 {
		t.Errorf("%d binds", n)
	}
}

// sessions gives how many a client has bound, as it knows itself: an SMSC counts a bind before its answer has arrived.
func sessions(t *testing.T, reg *prometheus.Registry) (n int) {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "mmsrouter_mmsc_sms_bound_sessions" {
			for _, m := range f.GetMetric() {
				n += int(m.GetGauge().GetValue())
			}
		}
	}
	return n
}

func TestFailover(t *testing.T) {
	a, b := smsc.New(t), smsc.New(t)
	a.Start()
	b.Start()
	reg := prometheus.NewRegistry()
	c := run(t, sms.Options{Config: quick(a, b), Metrics: reg})
	send := func() string {
		t.Helper()
		ctx := within(t, 10*time.Second)
		for {
			sent, err := c.Send(ctx, sms.Message{To: "+447700900456", Push: short})
			if err == nil {
				return sent.SMSC
			}
			// a submission that leaves in the moment in which the link breaks is lost without a word: its sender decides
			if !carrier.IsUnknown(err) || ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	b.Wait(t, "both are bound", func() bool { return sessions(t, reg) == 2 })
	if got := send(); got != "smsc1" {
		t.Errorf("sent by %s, the first one is there", got)
	}
	a.Close()
	if got := send(); got != "smsc2" {
		t.Errorf("sent by %s, the first one is gone", got)
	}
	again, err := smsc.Listen(a.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Close)
	again.Start()
	again.Wait(t, "bound again", func() bool { return again.Counts().Sessions == 1 && send() == "smsc1" })
}

// The SMSC dies with a submission in its hands: the next one gets it.
func TestDiesWithASubmission(t *testing.T) {
	a, b := smsc.New(t), smsc.New(t)
	a.Judge = func(smsc.Submit) smsc.Answer { return smsc.Answer{Die: true} }
	a.Start()
	b.Start()
	reg := prometheus.NewRegistry()
	c := run(t, sms.Options{Config: quick(a, b), Metrics: reg})
	b.Wait(t, "both are bound", func() bool { return sessions(t, reg) == 2 })
	sent, err := c.Send(within(t, 10*time.Second), sms.Message{To: "+447700900456", Push: short})
	if err != nil || sent.SMSC != "smsc2" || len(a.Submits()) != 1 {
		t.Errorf("%+v, %v", sent, err)
	}
}

func TestNobodyBound(t *testing.T) {
	gone := smsc.New(t)
	cfg := quick(gone)
	gone.Close()
	cfg.Wait = 20 * time.Millisecond
	c := run(t, sms.Options{Config: cfg})
	_, err := c.Send(within(t, 10*time.Second), sms.Message{To: "+447700900456", Push: short})
	if err == nil || carrier.IsFinal(err) || err.Error() != "no SMSC is bound" || carrier.After(err) != cfg.Reconnect {
		t.Errorf("%v", err)
	}
	if _, err := c.Send(t.Context(), sms.Message{To: "nobody", Push: short}); !carrier.IsFinal(err) {
		t.Errorf("%v", err)
	}
}

func TestBindIsRefused(t *testing.T) {
	server := smsc.New(t)
	var mu sync.Mutex
	n := 0
	server.Bind = func(system, password string) uint32 {
		mu.Lock()
		defer mu.Unlock()
		if n++; n < 3 || system != "mmsrouter" || password != "secret" {
			return 0x0D
		}
		return 0
	}
	server.Start()
	c := run(t, sms.Options{Config: quick(server)})
	if _, err := c.Send(within(t, 10*time.Second), sms.Message{To: "+447700900456", Push: short}); err != nil {
		t.Fatal(err)
	}
	if got := server.Counts().Binds; got != 3 {
		t.Errorf("%d binds", got)
	}
}

func TestSilentSMSC(t *testing.T) {
	server := smsc.New(t).Start()
	cfg := quick(server)
	cfg.Enquire = 20 * time.Millisecond
	run(t, sms.Options{Config: cfg})
	server.Wait(t, "it is asked whether it lives", func() bool { return server.Counts().Enquires >= 2 && server.Counts().Binds == 1 })
	server.Mute(true)
	server.Wait(t, "the session is given up and made again", func() bool { return server.Counts().Binds >= 2 })
}

func TestGarbage(t *testing.T) {
	raw := func(length, command uint32, body string) []byte {
		b := binary.BigEndian.AppendUint32(nil, length)
		b = binary.BigEndian.AppendUint32(b, command)
		return append(append(b, 0, 0, 0, 0, 0, 0, 0, 7), body...)
	}
	for _, tc := range []struct {
		name   string
		octets []byte
		stays  bool
	}{
		{"HTTP", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), false},
		{"length of 3", raw(3, 5, ""), false},
		{"a deliver_sm that is cut", raw(20, 5, "WAP\x00"), false},
		{"a deliver_sm whose header runs past its end", raw(16+1+3+3+9+1+1, 5, "\x00\x01\x01\x00\x01\x01\x00\x40\x00\x00\x00\x00\x00\x00\x00\x00\x01\xFF"), false},
		{"unknown command", raw(16, 0x7777, ""), true},
		{"an answer to nothing", raw(17, 0x80000004, "\x00"), true},
		{"their generic_nack", raw(16, 0x80000000, ""), true},
		{"query_sm", raw(16, 3, ""), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := smsc.New(t).Start()
			c := run(t, sms.Options{Config: quick(server)})
			server.Wait(t, "bound", func() bool { return server.Counts().Sessions == 1 && c.Bound() })
			server.Send(tc.octets)
			if !tc.stays {
				server.Wait(t, "generic_nack, then another session", func() bool { n := server.Counts(); return n.Nacks == 1 && n.Binds == 2 })
			}
			if _, err := c.Send(within(t, 10*time.Second), sms.Message{To: "+447700900456", Push: short}); err != nil {
				t.Fatal(err)
			}
			if n := server.Counts().Binds; tc.stays && n != 1 {
				t.Errorf("%d binds", n)
			}
		})
	}
}

// At the end what is under way is answered, then the client unbinds.
func TestLeaves(t *testing.T) {
	server := smsc.New(t)
	server.Judge = func(smsc.Submit) smsc.Answer { return smsc.Answer{After: 50 * time.Millisecond} }
	server.Start()
	c, err := sms.New(sms.Options{Config: quick(server)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	sent := make(chan error, 1)
	go func() {
		_, err := c.Send(within(t, 10*time.Second), sms.Message{To: "+447700900456", Push: short})
		sent <- err
	}()
	server.Wait(t, "submitted", func() bool { return len(server.Submits()) == 1 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	server.Wait(t, "unbound", func() bool { return server.Counts().Unbinds == 1 })
}
