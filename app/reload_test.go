package app_test

import (
	"bufio"
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
	"github.com/mmsrouter/mmsrouter/app"
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
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	const clients = 8
	var sent atomic.Int64
	failed := make(chan error, clients)
	for n := range clients {
		wg.Go(func() {
			conn, err := net.Dial("tcp", a.Listening()["mm1.listen"][0])
			if err != nil {
				failed <- err
				return
			}
			defer conn.Close()
			answers := bufio.NewReader(conn)
			for i := 0; ctx.Err() == nil; i++ {
				if err := postOn(conn, answers, fmt.Sprintf("L%d-%d", n, i)); err != nil {
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
	if got := one.count() + two.count() + three.count(); int64(got) != sent.Load() {
		t.Errorf("%d messages were accepted, %d have arrived", sent.Load(), got)
	}
}

// What a reload says of a mistake in the syntax is what check says: the line, and what is wrong there.
func TestReloadTellsTheLine(t *testing.T) {
	a := start(t, "mmsc: {enabled: true}\n")
	a.write(t, head+"mmsc:\n  enabled: true\n   url: http://mms.example.net/\n")
	refused := a.Reload()
	_, checked := app.Check(a.file)
	if refused == nil || checked == nil || refused.Error() != checked.Error() {
		t.Fatalf("reload: %v\ncheck:  %v", refused, checked)
	}
	line := fmt.Sprintf("%s:%d: indented by 3, which differs from its neighbours", a.file, strings.Count(head, "\n")+3)
	if !strings.HasPrefix(refused.Error(), line) || !strings.Contains(a.log.String(), line) {
		t.Errorf("%v\nwant %s\n%s", refused, line, a.log)
	}
}

// postOn submits over a connection that is there, and wants an Ok and the connection kept.
func postOn(conn net.Conn, answers *bufio.Reader, id string) error {
	pdu := append(submission(id), 0)
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: mms.example.net\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", admin.PDUType, len(pdu), pdu); err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	var h mms.Head
	if h.Peek(b, true); resp.Close || !h.HasResponse || mms.ResponseClass(h.Response) != mms.Ok {
		return fmt.Errorf("%s: HTTP %d, close %v, %s %q", id, resp.StatusCode, resp.Close, h.Response, b)
	}
	return nil
}
