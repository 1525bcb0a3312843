package sms_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/pdu"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/smpp"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/carrier"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

// quick is a configuration for SMSCs on loopback with short times.
func quick(servers ...*smsc.SMSC) sms.Config {
	c := sms.DefaultConfig()
	c.SMSCs = nil
	for i, s := range servers {
		c.SMSCs = append(c.SMSCs, sms.SMSCConfig{Name: fmt.Sprintf("smsc%d", i+1), Address: s.Address(), SystemID: "mmsrouter", Password: "secret"})
	}
	c.Timeout, c.Reconnect, c.ReconnectMax, c.Enquire, c.Wait = 2*time.Second, 10*time.Millisecond, 50*time.Millisecond, time.Minute, 5*time.Second
	return c
}

// run starts a client and ends it with the test.
func run(t *testing.T, opt sms.Options) *sms.Client {
	t.Helper()
	c, err := sms.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

func notification(url string) []byte {
	n := mms.Notification{TransactionID: "T1001", From: "+447700900123/TYPE=PLMN", Subject: "Holiday", Size: 24348, Expiry: mms.When{After: 48 * time.Hour}, ContentLocation: url}
	return wappush.AppendMMS(nil, 1, n.Append(nil))
}

var short, long = notification("http://mmsc.example.net/m/1"), notification("http://mmsc.example.net/m/" + strings.Repeat("x", 150))

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestSend(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*sms.Config)
		push   []byte
		n      int
		check  func(*smsc.Submit) string
	}{
		{"one segment", func(*sms.Config) {}, short, 1, func(s *smsc.Submit) string {
			if s.Source != "5/0:MMSC" || s.Message.EsmClass != 0x40 || s.Coding != 0xF5 || s.Message.ServiceType != "WAP" {
				return fmt.Sprintf("%s %+v", s.Source, s.Message)
			}
			if want := "0605040b8423f0" + hex.EncodeToString(short); hex.EncodeToString(s.Octets) != want {
				return hex.EncodeToString(s.Octets)
			}
			return ""
		}},
		{"two segments", func(*sms.Config) {}, long, 2, nil},
		{"references of 16 bits", func(c *sms.Config) { c.WideReference = true }, long, 2, nil},
		{"from a number, receipts, 04", func(c *sms.Config) {
			c.Source, c.Receipts, c.DataCoding, c.ServiceType = "+46700000001", "final", 4, ""
		}, short, 1, func(s *smsc.Submit) string {
			if s.Source != "1/1:46700000001" || s.Message.RegisteredDelivery != 1 || s.Coding != 4 {
				return fmt.Sprintf("%s %+v", s.Source, s.Message)
			}
			return ""
		}},
		{"segments as parameters", func(c *sms.Config) { c.Form = "sar" }, long, 2, func(s *smsc.Submit) string {
			o := s.Message.OptionalParameters
			port, total, seq := o[pdu.TagDestinationPort], o[pdu.TagSarTotalSegments], o[pdu.TagSarSegmentSeqnum]
			if s.Message.EsmClass != 0 || binary.BigEndian.Uint16(port.Data) != 2948 || total.Data[0] != 2 || seq.Data[0] != byte(s.Seq) {
				return fmt.Sprintf("%+v", s.Message)
			}
			return ""
		}},
		{"whole", func(c *sms.Config) { c.Form = "payload" }, long, 1, func(s *smsc.Submit) string {
			if f := s.Message.OptionalParameters[pdu.TagMessagePayload]; !bytes.Equal(f.Data, long) || len(s.Octets) != 0 {
				return fmt.Sprintf("%+v", s.Message)
			}
			return ""
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := smsc.New(t).Start()
			cfg := quick(server)
			tc.change(&cfg)
			c := run(t, sms.Options{Config: cfg})
			sent, err := c.Send(within(t, 10*time.Second), sms.Message{To: "+447700900456", Push: tc.push, Validity: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			got := server.Submits()
			if len(got) != tc.n || len(sent.IDs) != tc.n || sent.SMSC != "smsc1" || sent.IDs[0] != "1001" {
				t.Fatalf("%d submissions, %+v", len(got), sent)
			}
			for i := range got {
				if got[i].Number != "447700900456" || got[i].Message.DestAddr.Ton() != 1 || got[i].Message.ValidityPeriod != "000000010000000R" {
					t.Errorf("%+v", got[i].Message)
				}
				if tc.check != nil {
					if fault := tc.check(&got[i]); fault != "" {
						t.Error(fault)
					}
				}
			}
			if cfg.Form == "udh" {
				if m := server.Messages()["447700900456"]; len(m) != 1 || !bytes.Equal(m[0], tc.push) {
					t.Errorf("the phone puts together %x", m)
				}
			}
		})
	}
}

func TestStatuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		judge  func(smsc.Submit) smsc.Answer
		n      int    // submissions
		err    string // "" for none
		final  bool
		coding byte // of the last one
	}{
		{"throttled twice", func(s smsc.Submit) smsc.Answer { return smsc.Answer{Status: map[bool]uint32{true: 0x58}[s.Seq < 3]} }, 3, "", false, 0xF5},
		{"queue full", func(s smsc.Submit) smsc.Answer { return smsc.Answer{Status: map[bool]uint32{true: 0x14}[s.Seq < 2]} }, 2, "", false, 0xF5},
		{"no such destination", func(smsc.Submit) smsc.Answer { return smsc.Answer{Status: 0x0B} }, 1, "smsc1 refused: 0B destination address", true, 0xF5},
		{"system error", func(smsc.Submit) smsc.Answer { return smsc.Answer{Status: 0x08} }, 1, "smsc1 refused: 08 system error", false, 0xF5},
		{"vendor's error", func(smsc.Submit) smsc.Answer { return smsc.Answer{Status: 0x440} }, 1, "smsc1 refused: 440", false, 0xF5},
		{"other data coding wanted", func(s smsc.Submit) smsc.Answer { return smsc.Answer{Status: map[bool]uint32{true: 0x104}[s.Seq < 2]} }, 2, "", false, 4},
		{"no form is right", func(smsc.Submit) smsc.Answer { return smsc.Answer{Status: 0x43} }, 2, "smsc1 refused: 43 esm_class", true, 4},
		{"no answer", func(smsc.Submit) smsc.Answer { return smsc.Answer{Silent: true} }, 1, "submit to smsc1: no answer within 100ms", false, 0xF5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := smsc.New(t)
			server.Judge = tc.judge
			server.Start()
			cfg := quick(server)
			cfg.Timeout = 100 * time.Millisecond
			c := run(t, sms.Options{Config: cfg})
			_, err := c.Send(within(t, 10*time.Second), sms.Message{To: "+447700900456", Push: short})
			text := ""
			if err != nil {
				text = err.Error()
			}
			got := server.Submits()
			if text != tc.err || len(got) != tc.n || carrier.IsFinal(err) != tc.final {
				t.Fatalf("%v after %d submissions; final %v", err, len(got), carrier.IsFinal(err))
			}
			if code := got[len(got)-1].Coding; code != tc.coding {
				t.Errorf("data_coding %02X", code)
			}
			if strings.HasPrefix(tc.name, "no answer") && !carrier.IsUnknown(err) {
				t.Error("nobody knows what became of it, and the failure does not say so")
			}
		})
	}
}

func TestWindow(t *testing.T) {
	const window, messages = 4, 40
	server := smsc.New(t)
	server.Judge = func(smsc.Submit) smsc.Answer { return smsc.Answer{After: 5 * time.Millisecond} }
	server.Start()
	most := 0
	cfg := quick(server)
	cfg.Window = window
	c := run(t, sms.Options{Config: cfg})
	var wg sync.WaitGroup
	errs := make(chan error, messages)
	for i := range messages {
		wg.Go(func() {
			_, err := c.Send(within(t, 20*time.Second), sms.Message{To: fmt.Sprintf("+4477009%05d", i), Push: long})
			errs <- err
		})
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		server.Wait(t, "all are answered", func() bool {
			open, done := 0, 0
			for _, s := range server.Submits() {
				if s.Answered {
					done++
				} else {
					open++
				}
			}
			most = max(most, open)
			return done == 2*messages
		})
	}()
	wg.Wait()
	<-watched
	for range messages {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if most > window {
		t.Errorf("%d submissions were under way, the window is %d", most, window)
	}
	if n := len(server.Messages()); n != messages {
		t.Errorf("%d phones got their message, want %d", n, messages)
	}
}

func TestReceipts(t *testing.T) {
	server := smsc.New(t)
	server.Judge = func(s smsc.Submit) smsc.Answer {
		return smsc.Answer{ID: "1A2B", Receipt: map[int]string{1: "DELIVRD", 2: "UNDELIV"}[s.Seq], ReceiptID: "6699"}
	}
	server.Start()
	got := make(chan sms.Receipt, 2)
	c := run(t, sms.Options{Config: quick(server), Receipt: func(r sms.Receipt) bool { got <- r; return true }})
	for _, want := range []smpp.State{smpp.Delivered, smpp.Undeliverable} {
		sent, err := c.Send(within(t, 10*time.Second), sms.Message{To: "+447700900456", Push: short, Receipt: true})
		if err != nil {
			t.Fatal(err)
		}
		r := <-got
		if r.State != want || r.SMSC != "smsc1" || !smpp.ParseID(sent.IDs[0]).Same(smpp.ParseID(r.ID)) {
			t.Errorf("%+v for %+v", r, sent)
		}
	}
	if s := server.Submits(); s[0].Message.RegisteredDelivery != 1 {
		t.Errorf("registered_delivery %d", s[0].Message.RegisteredDelivery)
	}
}

func TestConfig(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*sms.Config)
		want   string
	}{
		{"default", func(*sms.Config) {}, ""},
		{"no SMSC", func(c *sms.Config) { c.SMSCs = nil }, "x.smscs: 0 of them; allowed are 1 to 16"},
		{"twice the same", func(c *sms.Config) { c.SMSCs = append(c.SMSCs, c.SMSCs[0]) }, `x.smscs[1].name: "127.0.0.1:2775" is the name of another one too`},
		{"address", func(c *sms.Config) { c.SMSCs[0].Address = "smsc" }, `x.smscs[0].address: "smsc" is not host:port`},
		{"password", func(c *sms.Config) { c.SMSCs[0].Password = "123456789" }, "x.smscs[0].password: 9 characters; SMPP has room for 8"},
		{"source", func(c *sms.Config) { c.Source = "a word that is too long" }, `x.source: "a word that is too long" is neither a number nor a word of at most 11 characters`},
		{"form", func(c *sms.Config) { c.Form = "paper" }, `x.form: "paper"; allowed are udh, sar and payload`},
		{"coding", func(c *sms.Config) { c.DataCoding = 8 }, "x.data_coding: 8; allowed are 245 and 4"},
		{"receipts", func(c *sms.Config) { c.Receipts = "all" }, `x.receipts: "all"; allowed are none, failure and final`},
		{"window", func(c *sms.Config) { c.Window = 0 }, "x.window: 0; allowed are 1 to 1000"},
		{"TLS", func(c *sms.Config) { c.SMSCs[0].TLS.ServerName = "a" }, "x.smscs[0].tls: ca and server_name without enabled: true"},
		{"CA", func(c *sms.Config) { c.SMSCs[0].TLS = sms.TLSConfig{Enabled: true, CA: "none.pem"} }, "x.smscs[0].tls.ca: open none.pem: no such file or directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := sms.DefaultConfig()
			tc.change(&cfg)
			_, err := sms.New(sms.Options{Config: cfg, At: "x"})
			if got := fmt.Sprint(err); got != tc.want && !(err == nil && tc.want == "") {
				t.Errorf("%s", got)
			}
		})
	}
}

// An independent reader finds the link sound, and the notifications in it.
func TestOracle(t *testing.T) {
	program := os.Getenv("MMSROUTER_ORACLE")
	if program == "" {
		t.Skip("MMSROUTER_ORACLE not set: no independent reader looks at the SMPP link")
	}
	for _, form := range []string{"udh", "sar"} {
		t.Run(form, func(t *testing.T) {
			server := smsc.New(t)
			server.Judge = func(s smsc.Submit) smsc.Answer { return smsc.Answer{Receipt: "DELIVRD"} }
			server.Start()
			cfg := quick(server)
			cfg.Form, cfg.Receipts = form, "final"
			got := make(chan sms.Receipt, 10)
			c, err := sms.New(sms.Options{Config: cfg, Receipt: func(r sms.Receipt) bool { got <- r; return true }})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			for _, push := range [][]byte{short, long} {
				if _, err := c.Send(within(t, 10*time.Second), sms.Message{To: "+447700900456", Push: push, Validity: time.Hour}); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				<-got
			}
			cancel()
			<-done
			server.Wait(t, "unbound", func() bool { return server.Counts().Unbinds == 1 })
			file := filepath.Join(t.TempDir(), "link.pcap")
			port, err := server.WriteCapture(file)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(program, "--pcap", file, "--port", fmt.Sprint(port)).Output()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var doc struct {
				Verdict  string
				Messages []struct {
					Type    string
					Headers []struct{ Name, Value string }
				}
			}
			if err := json.Unmarshal(out, &doc); err != nil {
				t.Fatal(err)
			}
			if doc.Verdict != "ok" || len(doc.Messages) != 2 {
				t.Fatalf("%s", out)
			}
			for i, m := range doc.Messages {
				last := m.Headers[len(m.Headers)-1]
				if m.Type != "m-notification-ind" || last.Name != "X-Mms-Content-Location" || !strings.HasSuffix(last.Value, []string{"/1", "xxx"}[i]) {
					t.Errorf("%+v", m)
				}
			}
		})
	}
}
