package ppg_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

// The database fails for a while: nothing is accepted that is not kept, nothing that was sent is sent again, and all goes on by itself.
func TestMemoryFails(t *testing.T) {
	server := smsc.New(t).Start()
	p, err := ppg.New(ppg.Options{Config: quick(server), DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	ill := map[string]int{"accept": 1, "claim": 2, "finish": 3, "status": 1, "cancel": 1}
	p.Sick(func(call string) error {
		mu.Lock()
		defer mu.Unlock()
		if ill[call] > 0 {
			ill[call]--
			return errors.New("disk full")
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	g := &gateway{PPG: p, url: "http://" + p.Addr().String() + "/"}
	m := &pap.PushMessage{PushID: "1", Addresses: []pap.Address{plmn("+4477")}}
	g.push(t, m, pap.InternalError)
	if got := g.states(t, "1"); got != "unknown/3000" {
		t.Errorf("%s", got)
	}
	if r := g.post(t, &pap.CancelMessage{PushID: "1"}, nil).(*pap.CancelResponse); r.Results[0].Code != pap.InternalError {
		t.Errorf("%+v", r)
	}
	g.push(t, m, pap.Accepted)
	g.wait(t, server, "1", "delivered/1000")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(server.Submits()); n != 1 {
		t.Errorf("%d submissions", n)
	}
}

// A push that was sent and can't be written down is due again; its note must not keep the file of such notes from being emptied.
func TestNoteOfAPushThatCannotBeWrittenDown(t *testing.T) {
	p, err := ppg.New(ppg.Options{Config: quick(smsc.New(t)), DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Sick(func(string) error { return errors.New("disk full") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if !p.GiveUp(ctx) {
		t.Error("the note stays")
	}
}

// BenchmarkPushes measures pushes from PAP to SMPP: accepted, sent, written down.
func BenchmarkPushes(b *testing.B) {
	server, err := smsc.Listen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	server.Start()
	cfg := quick(server)
	cfg.SMPP.Window = 50
	p, err := ppg.New(ppg.Options{Config: cfg, DataDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	defer func() { cancel(); <-done }()
	g := &gateway{PPG: p, url: "http://" + p.Addr().String() + "/"}
	next := make(chan int)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := range next {
				g.push(b, &pap.PushMessage{PushID: fmt.Sprint(i), Addresses: []pap.Address{plmn(fmt.Sprintf("+4477%07d", i))}}, pap.Accepted)
			}
		})
	}
	b.ResetTimer()
	began := time.Now()
	for i := range b.N {
		next <- i
	}
	close(next)
	wg.Wait()
	if err := server.Until(b.Context(), time.Minute, func() bool { return len(server.Submits()) >= b.N }); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "pushes/s")
}
