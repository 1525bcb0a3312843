package npmsmpp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
)

type line struct {
	Command, To, UDH, Text string
	SystemID               string `json:"system_id"`
	ESM, Coding            int
}

func TestServer(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not here: no SMPP server of others to bind to")
	}
	if out, err := exec.Command(node, "-e", "require('smpp')").CombinedOutput(); err != nil {
		t.Skipf("the npm package smpp is not here (npm i -g smpp, and NODE_PATH): %.60s", strings.ReplaceAll(string(out), "\n", " "))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "testdata/server.js")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the server did not start")
	}
	cfg := sms.DefaultConfig()
	cfg.SMSCs[0].Address = "127.0.0.1:" + lines.Text()
	cfg.Wait, cfg.Receipts = 10*time.Second, "final"
	receipts := make(chan sms.Receipt, 10)
	client, err := sms.New(sms.Options{Config: cfg, Receipt: func(r sms.Receipt) bool { receipts <- r; return true }})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- client.Run(run) }()
	push := wappush.AppendMMS(nil, 1, bytes.Repeat([]byte{0x8C, 0x82, 0xFF}, 60))
	for _, number := range []string{"+447700900007", "+447700900008"} { // the second one is throttled
		sent, err := client.Send(ctx, sms.Message{To: number, Push: push, Validity: time.Hour})
		if err != nil || len(sent.IDs) != 2 {
			t.Fatalf("%+v, %v", sent, err)
		}
		// A segment that was taken while its neighbour was throttled has a receipt too, which means nothing to us.
		for open := len(sent.IDs); open > 0; {
			select {
			case r := <-receipts:
				for _, id := range sent.IDs {
					if smpp.ParseID(id).Same(smpp.ParseID(r.ID)) && r.State == smpp.Delivered {
						open--
					}
				}
			case <-ctx.Done():
				t.Fatalf("%d receipts did not come", open)
			}
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	phones := wappush.NewReassembler(0, 0)
	got, unbound := map[string]int{}, false
	for !unbound && lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		switch l.Command {
		case "bind_transceiver":
			if l.SystemID != "mmsrouter" {
				t.Errorf("bound as %s", l.SystemID)
			}
		case "submit_sm":
			ud, err := hex.DecodeString(l.UDH + l.Text)
			if err != nil || l.ESM != 0x40 || l.Coding != 0xF5 {
				t.Errorf("%+v: %v", l, err)
			}
			whole, _, err := phones.Add("us", l.To, ud, time.Now())
			if err != nil {
				t.Errorf("%+v: %v", l, err)
			}
			if whole != nil && bytes.Equal(whole, push) {
				got[l.To]++
			}
		case "unbind":
			unbound = true
		}
	}
	if !unbound || got["447700900007"] != 1 || got["447700900008"] < 1 {
		t.Errorf("unbound %v, phones got %v", unbound, got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed by us
}
