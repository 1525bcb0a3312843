package fake_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/drill/fake"
	"github.com/mmsrouter/mmsrouter/mms"
)

// start runs an MMSC until the test ends.
func start(t *testing.T) (m *fake.MMSC, ledger string) {
	t.Helper()
	ledger = filepath.Join(t.TempDir(), "ledger")
	m, err := fake.New(fake.Options{Name: "m", Listen: "127.0.0.1:0", Ledger: ledger})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return m, ledger
}

// post sends a message; ok: it was answered with an M-Send.conf Ok of its transaction.
func post(m *fake.MMSC, transaction string, within time.Duration) (ok bool, err error) {
	pdu := mms.SendReq{TransactionID: transaction, From: "+46701740601/TYPE=PLMN", To: []string{"+46701740602/TYPE=PLMN"}}.AppendHead(nil)
	client := http.Client{Timeout: within, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post("http://"+m.Addr()+"/", "application/vnd.wap.mms-message", bytes.NewReader(append(pdu, make([]byte, 50_000)...)))
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	var h mms.Head
	return err == nil && h.Peek(b, true) == mms.Complete && h.Type == mms.MSendConf && h.Response == mms.StatusOk && string(h.TransactionID) == transaction, err
}

func TestBehaviours(t *testing.T) {
	tests := []struct {
		name   string
		b      fake.Behaviour
		ok     bool
		stored bool
	}{
		{"well", fake.Behaviour{}, true, true},
		{"slow", fake.Behaviour{Kind: "slow", Delay: 30 * time.Millisecond}, true, true},
		{"refuses", fake.Behaviour{Kind: "refuse"}, false, false},
		{"cuts the upload", fake.Behaviour{Kind: "cut", After: 10_000}, false, false},
		{"loses the answer", fake.Behaviour{Kind: "cut_answer"}, false, true},
		{"cuts the answer", fake.Behaviour{Kind: "cut_answer", After: 40}, false, true},
		{"black hole", fake.Behaviour{Kind: "blackhole"}, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, ledger := start(t)
			if err := m.Break(tt.b); err != nil {
				t.Fatal(err)
			}
			patience := 500 * time.Millisecond
			if tt.ok {
				patience = 10 * time.Second
			}
			if ok, err := post(m, "T1", patience); ok != tt.ok {
				t.Errorf("answered: %v, %v; want %v", ok, err, tt.ok)
			}
			all, err := fake.ReadLedger(ledger)
			if err != nil || len(all) > 0 != tt.stored {
				t.Errorf("stored: %+v, %v; want %v", all, err, tt.stored)
			}
			if err := m.Break(fake.Behaviour{}); err != nil {
				t.Fatal(err)
			}
			if ok, err := post(m, "T2", 15*time.Second); !ok {
				t.Errorf("it has not healed: %v", err)
			}
		})
	}
}

// In a black hole a connection is neither made nor refused.
func TestBlackHoleSwallowsConnections(t *testing.T) {
	m, _ := start(t)
	if err := m.Break(fake.Behaviour{Kind: "blackhole"}); err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTimeout("tcp", m.Addr(), 200*time.Millisecond)
	if c != nil {
		c.Close()
	}
	if late := net.Error(nil); !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("got %v; want a time-out", err)
	}
}

func TestUnknownBehaviour(t *testing.T) {
	m, _ := start(t)
	if err := m.Break(fake.Behaviour{Kind: "explode"}); err == nil {
		t.Error("it knows how to explode")
	}
	if ok, err := post(m, "T1", 5*time.Second); !ok {
		t.Errorf("it does not go on: %v", err)
	}
}

// A garbled upload is refused, and is not in the ledger.
func TestGarbage(t *testing.T) {
	m, ledger := start(t)
	resp, err := http.Post("http://"+m.Addr()+"/", "application/vnd.wap.mms-message", bytes.NewReader([]byte("<html>")))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if all, err := fake.ReadLedger(ledger); resp.StatusCode != http.StatusBadRequest || len(all) > 0 || err != nil {
		t.Errorf("HTTP %d, %v, %v", resp.StatusCode, all, err)
	}
}

func TestReadLedger(t *testing.T) {
	good := `{"at":"2026-11-22T12:00:00Z","transaction":"T1","size":3,"sum":4}` + "\n"
	tests := []struct {
		name, text string
		n          int
		bad        bool
	}{
		{"empty", "", 0, false},
		{"two", good + good, 2, false},
		{"last one cut off", good + good[:20], 1, false},
		{"one in the middle is none", good[:20] + "\n" + good, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ledger")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			all, err := fake.ReadLedger(file)
			if len(all) != tt.n || err != nil != tt.bad {
				t.Errorf("%v, %v", all, err)
			}
		})
	}
}

// FuzzReadLedger: a ledger that was cut anywhere is read, or said to be none; what is read was written so.
func FuzzReadLedger(f *testing.F) {
	line := `{"at":"2026-11-22T12:00:00Z","transaction":"T1","size":3,"sum":4}` + "\n"
	f.Add([]byte(line + line))
	f.Add([]byte(line + line[:30]))
	f.Fuzz(func(t *testing.T, b []byte) {
		file := filepath.Join(t.TempDir(), "ledger")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := fake.ReadLedger(file)
		if err == nil && len(all) > bytes.Count(b, []byte("\n"))+1 {
			t.Fatalf("%d entries in %d lines", len(all), bytes.Count(b, []byte("\n")))
		}
	})
}
