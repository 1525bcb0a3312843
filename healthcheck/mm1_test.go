package healthcheck_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmsrouter/mmsrouter/healthcheck"
	"github.com/mmsrouter/mmsrouter/mms"
)

func answers(s mms.Status) func(mms.Head) []byte {
	return func(h mms.Head) []byte {
		return mms.SendConf{TransactionID: h.TransactionID, Version: h.Version, Status: s, MessageID: "<m@a>"}.Append(nil)
	}
}

func TestMM1Probe(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(net.Conn)
		up    bool
		why   string
		fault string
	}{
		{"refused for good: unresolved", confirms("", answers(mms.ErrorPermanentAddressUnresolved)), true, "Error-permanent-sending-address-unresolved", ""},
		{"refused for good: corrupt", confirms("", answers(mms.ErrorPermanentFormatCorrupt)), true, "refuses the probe as it should", ""},
		{"refused for good by MMS 1.0", confirms("", answers(mms.ErrorMessageFormatCorrupt)), true, "Error-message-format-corrupt", ""},
		{"refused for good with HTTP 400", confirms("400 Bad Request", answers(mms.ErrorPermanentFormatCorrupt)), true, "", ""},
		{"refused for good with HTTP 500", confirms("500 Oops", answers(mms.ErrorPermanentFormatCorrupt)), false, "HTTP 500", ""},
		{"transient", confirms("", answers(mms.StatusTransientFailure)), false, "Error-transient-failure", ""},
		{"transient, reserved", confirms("", answers(0xD7)), false, "Error-transient-failure", ""},
		{"network problem of MMS 1.0", confirms("", answers(mms.ErrorNetworkProblem)), false, "Error-network-problem", ""},
		{"Ok", confirms("", answers(mms.StatusOk)), true, "Ok", "accepts an M-Send.req without recipients (Ok)"},
		{"partial success", confirms("", answers(mms.ErrorTransientPartialSuccess)), true, "partial", "accepts an M-Send.req without recipients"},
		{"another transaction", confirms("", func(h mms.Head) []byte {
			h.TransactionID = []byte("other")
			return answers(mms.ErrorPermanentFormatCorrupt)(h)
		}), false, "another transaction", ""},
		{"another PDU", confirms("", func(h mms.Head) []byte {
			return mms.ForwardConf{TransactionID: h.TransactionID, Version: h.Version, Status: 0xE0}.Append(nil)
		}), false, "without a well-formed M-Send.conf", ""},
		{"no status", confirms("", func(h mms.Head) []byte {
			return append(append([]byte{0x8C, 0x81, 0x98}, h.TransactionID...), 0, 0x8D, 0x92)
		}), false, "without a well-formed M-Send.conf", ""},
		{"cut PDU", confirms("", func(h mms.Head) []byte {
			b := answers(0xE0)(h)
			return append(b, 0x93, 'x') // a text that does not end
		}), false, "without a well-formed M-Send.conf", ""},
		{"empty 200", confirms("", func(mms.Head) []byte { return nil }), false, "without a well-formed M-Send.conf", ""},
		{"HTML", says("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>"), false, "without a well-formed M-Send.conf", ""},
		{"204", says("HTTP/1.1 204 No Content\r\n\r\n"), false, "HTTP 204 without", ""},
		{"404", says("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), false, "HTTP 404 without", ""},
		{"302 is not followed", says("HTTP/1.1 302 Found\r\nLocation: http://a:9000/\r\nContent-Length: 0\r\n\r\n"), false, "HTTP 302 without", ""},
		{"endless", floods("HTTP/1.1 200 OK\r\n\r\n", "\x8c\x81\x98probe\x00\x8d\x92\x92\xe0"), false, "without a well-formed M-Send.conf", ""},
		{"silence", takes, false, "no answer within 500ms", ""},
		{"refused", nil, false, "refused", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := once(t, healthcheck.ProbeConfig{Type: healthcheck.MM1}, c.serve)
				if r.Up != c.up || !strings.Contains(r.Why, c.why) || r.Why == "" {
					t.Errorf("got %+v, want up %v and %q", r, c.up, c.why)
				}
				if (c.fault == "") != (r.Fault == "") || !strings.Contains(r.Fault, c.fault) {
					t.Errorf("fault %q, want %q", r.Fault, c.fault)
				}
			})
		})
	}
}

func TestWhatTheMM1ProbePosts(t *testing.T) {
	var seen []string
	serve := confirms("", func(h mms.Head) []byte {
		seen = append(seen, string(h.TransactionID))
		if h.Type != mms.MSendReq || h.Recipients != 0 || !h.FromInsert || h.Version != mms.Version12 || h.ContentType == nil {
			t.Errorf("posts %+v", h)
		}
		return answers(0xE3)(h)
	})
	for range 2 {
		if r, _ := once(t, healthcheck.ProbeConfig{Type: healthcheck.MM1}, serve); !r.Up {
			t.Fatal(r)
		}
	}
	if seen[0] == seen[1] {
		t.Errorf("transaction id %q twice", seen[0])
	}
}

func TestTheMM1ProbeOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "probe.mms")
	pdu := "\x8c\x80\x98T77\x00\x8d\x90\x89\x01\x81\x97nobody/TYPE=PLMN\x00\x84\xa3\x00"
	if err := os.WriteFile(file, []byte(pdu), 0o600); err != nil {
		t.Fatal(err)
	}
	p := healthcheck.ProbeConfig{Type: healthcheck.MM1, File: file}
	var tid string
	r, _ := once(t, p, confirms("", func(h mms.Head) []byte { tid = string(h.TransactionID); return answers(0xE3)(h) }))
	if !r.Up || tid != "T77" {
		t.Errorf("%+v for transaction %q", r, tid)
	}
	if r, _ := once(t, p, confirms("", answers(mms.StatusOk))); !r.Up || !strings.Contains(r.Fault, "probe.file") {
		t.Errorf("Ok to the file: %+v", r)
	}
}

func TestAFaultIsOnTheBoard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := target("a")
		tg.Probe.Type = healthcheck.MM1
		r := newRig(t, steady(), tg)
		r.fakes.set("a:9000", confirms("", answers(mms.StatusOk)))
		r.start()
		synctest.Wait()
		if m := r.row("a"); !m.Up || m.Fault == "" {
			t.Errorf("%+v, want up with a fault", m.Verdict)
		}
		r.wantMetric(1, "mmsrouter_healthcheck_fault", "mmsc", "a")
		r.fakes.set("a:9000", confirms("", answers(mms.ErrorPermanentFormatCorrupt)))
		r.Trigger("a")
		time.Sleep(time.Second)
		synctest.Wait()
		if m := r.row("a"); !m.Up || m.Fault != "" {
			t.Errorf("%+v, want the fault gone", m.Verdict)
		}
		r.wantMetric(0, "mmsrouter_healthcheck_fault", "mmsc", "a")
		r.end()
	})
}
