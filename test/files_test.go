package test_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// A process with few descriptors takes no more clients than it can serve: those who say nothing must keep nobody's message from an MMSC,
// no probe from seeing one, and no operator from looking.
func TestFewDescriptors(t *testing.T) {
	mmsc := fake(t, "mmsc-a")
	s := serve(t, "", mmsc.URL())
	few := filepath.Join(t.TempDir(), "few")
	if err := os.WriteFile(few, fmt.Appendf(nil, "#!/bin/sh\nulimit -n 512 || exit 1\nexec '%s' \"$@\"\n", s.bin), 0o700); err != nil {
		t.Fatal(err)
	}
	s.bin = few
	s.start()
	h := handsets.New(handsets.Options{Addr: s.mm1, Timeout: 10 * time.Second})
	defer h.Close()
	post := func(tid string) {
		t.Helper()
		if a, err := h.Post(context.Background(), pdu.SendReq(tid, 30_000), handsets.Fast); err != nil || a.PDU.Response != pdu.Ok {
			t.Fatalf("%s: %d %+v, %v", tid, a.Status, a.PDU, err)
		}
	}
	post("before")
	for i := range 600 {
		nc, err := net.Dial("tcp", s.mm1)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer nc.Close()
	}
	admin := &http.Client{Timeout: 2 * time.Second}
	refused := regexp.MustCompile(`(?m)^mmsrouter_proxy_connections_refused_total [1-9]`)
	for end := time.Now().Add(10 * time.Second); ; {
		var b []byte
		res, err := admin.Get("http://" + s.admin + "/metrics")
		if err == nil {
			b, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if refused.Match(b) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the router takes all that come, and can't be looked at: %v", err)
		}
	}
	post("during")
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := s.end(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.log)
	}
	if !regexp.MustCompile(`mm1.limits.connections: 20000: this process may open 512 files`).Match(s.log.Bytes()) {
		t.Errorf("nobody was told: %s", s.log)
	}
}
