package app_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/mms"
)

// Configurations come and go under load: MMSCs are added, removed, moved to another address under their name. No message
// fails and no client's connection is dropped.
func TestReloadsUnderLoad(t *testing.T) {
	one, two, three := newMMSC(t), newMMSC(t), newMMSC(t)
	probe := "detection: {probe: {interval: 50ms, timeout: 5s, rise: 1, fall: 3}, slow_start: 0s}\n"
	variants := []string{
		mmscs(probe, one, two),
		mmscs(probe, one),
		mmscs(probe, one, three), // mmsc-b has moved
		mmscs(probe+"routing: {balance: least-outstanding}\n", one, two, three),
	}
	a := start(t, variants[0])
	var dials atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	const clients = 8
	var sent atomic.Int64
	failed := make(chan error, clients)
	for n := range clients {
		wg.Go(func() {
			tr := &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				dials.Add(1)
				var d net.Dialer
				return d.DialContext(ctx, network, addr)
			}}
			defer tr.CloseIdleConnections()
			for i := 0; ctx.Err() == nil; i++ {
				if err := a.postOn(tr, fmt.Sprintf("L%d-%d", n, i)); err != nil {
					failed <- err
					return
				}
				sent.Add(1)
			}
		})
	}
	for i := range 24 {
		a.write(t, head+variants[i%len(variants)])
		if err := a.Reload(); err != nil {
			t.Error(err)
		}
		before := sent.Load()
		waitFor(t, func() error { // some messages go through each configuration
			if len(failed) == 0 && sent.Load() < before+clients {
				return fmt.Errorf("%d messages under configuration %d", sent.Load()-before, i)
			}
			return nil
		})
	}
	stop()
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	if t.Failed() {
		t.Log(a.log)
	}
	if n := dials.Load(); n != clients {
		t.Errorf("%d clients made %d connections: some were dropped", clients, n)
	}
	if got := one.count() + two.count() + three.count(); int64(got) != sent.Load() {
		t.Errorf("%d messages were accepted, %d have arrived", sent.Load(), got)
	}
}

// postOn submits over a client's own transport and wants an Ok.
func (a *appliance) postOn(tr *http.Transport, id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.Listening()["mm1.listen"][0]+"/", bytes.NewReader(append(submission(id), 0)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", admin.PDUType)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	var h mms.Head
	if h.Peek(b, true); !h.HasResponse || mms.ResponseClass(h.Response) != mms.Ok {
		return fmt.Errorf("%s: HTTP %d, %s %s", id, resp.StatusCode, h.Response, strings.ToValidUTF8(string(b), "?"))
	}
	return nil
}
