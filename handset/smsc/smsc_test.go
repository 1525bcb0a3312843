package smsc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/mmsrouter/mmsrouter/handset/smsc"
)

// pdu writing by hand, so that the one under test does not check itself.

func packet(command, sequence uint32, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(16+len(body)))
	b = binary.BigEndian.AppendUint32(b, command)
	b = binary.BigEndian.AppendUint32(b, 0)
	return append(binary.BigEndian.AppendUint32(b, sequence), body...)
}

const transceiver = "ppg\x00secret\x00\x00\x34\x00\x00\x00"

// submission is a submit_sm's body up to sm_length.
func submission(esm, registered string) string {
	return "WAP\x00\x05\x00MMSC\x00\x01\x01447700900456\x00" + esm + "\x00\x00\x00\x00" + registered + "\x00\xF5\x00"
}

func join(packets ...[]byte) []byte { return bytes.Join(packets, nil) }

// reply is one PDU of an answer.
type reply struct{ command, status, sequence uint32 }

func (r reply) String() string { return fmt.Sprintf("%08X/%02X#%d", r.command, r.status, r.sequence) }

func replies(t *testing.T, b []byte) []string {
	t.Helper()
	var out []string
	for len(b) > 0 {
		if len(b) < 16 || int(binary.BigEndian.Uint32(b)) > len(b) || binary.BigEndian.Uint32(b) < 16 {
			t.Fatalf("the SMSC wrote what is no PDU: %x", b)
		}
		out = append(out, reply{binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])}.String())
		b = b[binary.BigEndian.Uint32(b):]
	}
	return out
}

func TestSession(t *testing.T) {
	bind := packet(9, 1, transceiver)
	ud := "\x06\x05\x04\x0B\x84\x23\xF0hello"
	good := packet(4, 2, submission("\x40", "\x00")+string(rune(len(ud)))+ud)
	unbind := packet(6, 9, "")
	ports := "\x02\x0A\x00\x02\x23\xF0\x02\x0B\x00\x02\x0B\x84"
	sar := "\x02\x0C\x00\x02\x01\x02\x02\x0E\x00\x01\x03\x02\x0F\x00\x01\x02"
	cases := []struct {
		name string
		in   []byte
		out  string
		ud   string // of the one message received; "-": none
		ends string // how the session ends: part of its error, "" for nil
	}{
		{"bind, submit, unbind", join(bind, good, unbind), "80000009/00#1 80000004/00#2 80000006/00#9", ud, ""},
		{"end without unbind", join(bind, good), "80000009/00#1 80000004/00#2", ud, ""},
		{"as transmitter", join(packet(2, 1, transceiver), good), "80000002/00#1 80000004/00#2", ud, ""},
		{"enquire_link, bound or not", join(packet(0x15, 7, ""), bind, packet(0x15, 8, "")), "80000015/00#7 80000009/00#1 80000015/00#8", "-", ""},
		{"submit before bind", join(good, bind), "80000004/04#2 80000009/00#1", "-", ""},
		{"submit as receiver", join(packet(1, 1, transceiver), good), "80000001/00#1 80000004/04#2", "-", ""},
		{"bind twice", join(bind, packet(2, 3, transceiver)), "80000009/00#1 80000002/05#3", "-", ""},
		{"ports and segments as parameters", join(bind, packet(4, 2, submission("\x00", "\x00")+"\x02hi"+ports+sar)), "80000009/00#1 80000004/00#2",
			"\x0C\x05\x04\x0B\x84\x23\xF0\x08\x04\x01\x02\x03\x02hi", ""},
		{"whole in message_payload", join(bind, packet(4, 2, submission("\x40", "\x00")+"\x00\x04\x24\x00\x0C"+ud)), "80000009/00#1 80000004/00#2", ud, ""},
		{"data_sm", join(bind, packet(0x103, 2, "WAP\x00\x05\x00MMSC\x00\x01\x01447700900456\x00\x40\x00\xF5\x04\x24\x00\x0C"+ud)), "80000009/00#1 80000103/00#2", ud, ""},
		{"payload and short message", join(bind, packet(4, 2, submission("\x40", "\x00")+"\x0C"+ud+"\x04\x24\x00\x01x")), "80000009/00#1 80000004/C1#2", "-", ""},
		{"ports twice", join(bind, packet(4, 2, submission("\x40", "\x00")+"\x0C"+ud+ports)), "80000009/00#1 80000004/C1#2", "-", ""},
		{"a port of three octets", join(bind, packet(4, 2, submission("\x00", "\x00")+"\x02hi\x02\x0B\x00\x03abc")), "80000009/00#1 80000004/C2#2", "-", ""},
		{"255 octets", join(bind, packet(4, 2, submission("\x40", "\x00")+"\xFF"+strings.Repeat("x", 255))), "80000009/00#1 80000004/01#2", "-", ""},
		{"receipt asked for", join(bind, packet(4, 2, submission("\x40", "\x01")+"\x0C"+ud)), "80000009/00#1 80000004/00#2 00000005/00#1", ud, ""},
		{"receipt of failure asked for", join(bind, packet(4, 2, submission("\x40", "\x02")+"\x0C"+ud)), "80000009/00#1 80000004/00#2", ud, ""},
		{"query_sm is not offered", join(bind, packet(3, 5, "x\x00\x00\x00\x00"), good), "80000009/00#1 80000000/03#5 80000004/00#2", ud, ""},
		{"their generic_nack", join(bind, packet(0x80000000, 5, ""), good), "80000009/00#1 80000004/00#2", ud, ""},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "80000000/02#" + fmt.Sprint(binary.BigEndian.Uint32([]byte(".1\r\n"))), "-", "a PDU of 1195725856 octets"},
		{"a length of 15", append([]byte{0, 0, 0, 15}, make([]byte, 20)...), "80000000/02#0", "-", "a PDU of 15 octets"},
		{"an unknown command", join(bind, packet(0x7777, 3, ""), good), "80000009/00#1 80000000/03#3", "-", "command 00007777"},
		{"an answer to nothing", join(bind, packet(0x80000004, 3, ""), good), "80000009/00#1 80000000/03#3", "-", "command 80000004"},
		{"a bind that is cut", packet(9, 3, "ppg"), "80000000/02#3", "-", "bind: the body is cut"},
		{"a system_id too long", packet(9, 3, strings.Repeat("p", 16)+"\x00secret\x00\x00\x34\x00\x00\x00"), "80000000/02#3", "-", "system_id has more than 15 characters"},
		{"a submission that is cut", join(bind, packet(4, 3, submission("\x40", "\x00")+"\x20short"), good), "80000009/00#1 80000000/02#3", "-", "submission: the body is cut"},
		{"a parameter that is cut", join(bind, packet(4, 3, submission("\x40", "\x00")+"\x00\x04\x24\x00"), good), "80000009/00#1 80000000/02#3", "-", "submission: the body is cut"},
		{"a PDU that never ends", join(bind, good[:40]), "80000009/00#1", "-", "unexpected EOF"},
		{"half a header", join(bind, good[:7]), "80000009/00#1", "-", "unexpected EOF"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var got []*smsc.Message
			out, err := smsc.Play(tc.in, func(m *smsc.Message) smsc.Status { got = append(got, m); return smsc.Ok })
			if r := strings.Join(replies(t, out), " "); r != tc.out {
				t.Errorf("answers %s\nwant    %s", r, tc.out)
			}
			switch {
			case tc.ud == "-" && len(got) > 0:
				t.Errorf("received %x", got[0].UserData)
			case tc.ud != "-" && (len(got) != 1 || string(got[0].UserData) != tc.ud || !got[0].Header):
				t.Errorf("received %d messages, want one of %x", len(got), tc.ud)
			case tc.ud != "-" && (got[0].Destination != smsc.Address{TON: 1, NPI: 1, Digits: "447700900456"} || got[0].Source.Digits != "MMSC" || got[0].Coding != 0xF5 || got[0].System != "ppg"):
				t.Errorf("received %+v", got[0])
			}
			if tc.ends == "" && err != nil || tc.ends != "" && (err == nil || !strings.Contains(err.Error(), tc.ends)) {
				t.Errorf("the session ended with %v, want %q", err, tc.ends)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	in := join(packet(9, 1, transceiver), packet(4, 2, submission("\x00", "\x01")+"\x02hi"))
	for _, status := range []smsc.Status{smsc.QueueFull, smsc.InvalidDestination, smsc.Throttled} {
		out, err := smsc.Play(in, func(*smsc.Message) smsc.Status { return status })
		want := fmt.Sprintf("80000009/00#1 80000004/%02X#2", uint32(status))
		if r := strings.Join(replies(t, out), " "); r != want || err != nil {
			t.Errorf("answers %s, %v; want %s and no receipt", r, err, want)
		}
	}
}

// esme is a client made of gosmpp's PDUs.
type esme struct {
	t testing.TB
	net.Conn
}

func (e esme) ask(p pdu.PDU) pdu.PDU {
	e.t.Helper()
	e.send(p)
	return e.read()
}

func (e esme) send(p pdu.PDU) {
	e.t.Helper()
	b := pdu.NewBuffer(nil)
	p.Marshal(b)
	if _, err := e.Write(b.Bytes()); err != nil {
		e.t.Fatal(err)
	}
}

func (e esme) read() pdu.PDU {
	e.t.Helper()
	e.SetReadDeadline(time.Now().Add(10 * time.Second))
	p, err := pdu.Parse(e.Conn)
	if err != nil {
		e.t.Fatal(err)
	}
	return p
}

func bindPDU(kind pdu.BindingType, system, password string) *pdu.BindRequest {
	b := pdu.NewBindRequest(kind)
	b.SystemID, b.Password = system, password
	return b
}

func start(t testing.TB, opt smsc.Options) *smsc.SMSC {
	t.Helper()
	opt.Listen = "127.0.0.1:0"
	s, err := smsc.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s
}

func dial(t testing.TB, s *smsc.SMSC) esme {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return esme{t, c}
}

// TestOtherImplementation binds with the PDUs of another implementation over a socket, as transmitter and as receiver of
// the receipts.
func TestOtherImplementation(t *testing.T) {
	messages := make(chan *smsc.Message, 10)
	bound := make(chan string, 10)
	s := start(t, smsc.Options{SystemID: "lab", Accounts: map[string]string{"ppg": "secret"},
		Receive: func(m *smsc.Message) smsc.Status { messages <- m; return smsc.Ok },
		Bound:   func(system, _ string, is bool) { bound <- fmt.Sprint(system, " ", is) }})
	for _, tc := range []struct {
		name, system, password string
		status                 data.CommandStatusType
	}{{"wrong password", "ppg", "guess", data.ESME_RINVPASWD}, {"unknown system_id", "nobody", "secret", data.ESME_RINVSYSID}} {
		e := dial(t, s)
		if r := e.ask(bindPDU(pdu.Transceiver, tc.system, tc.password)).(*pdu.BindResp); r.CommandStatus != tc.status {
			t.Errorf("%s: status %v", tc.name, r.CommandStatus)
		}
		if _, err := e.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: the session goes on: %v", tc.name, err)
		}
	}
	tx, rx := dial(t, s), dial(t, s)
	for e, kind := range map[esme]pdu.BindingType{tx: pdu.Transmitter, rx: pdu.Receiver} {
		if r := e.ask(bindPDU(kind, "ppg", "secret")).(*pdu.BindResp); !r.IsOk() || r.SystemID != "lab" {
			t.Fatalf("bind: %+v", r)
		}
		if b := <-bound; b != "ppg true" {
			t.Errorf("bound says %q", b)
		}
	}
	sm := pdu.NewSubmitSM().(*pdu.SubmitSM)
	sm.DestAddr.SetTon(1)
	sm.DestAddr.SetNpi(1)
	if err := sm.DestAddr.SetAddress("46701740606"); err != nil {
		t.Fatal(err)
	}
	sm.EsmClass, sm.RegisteredDelivery = 0x40, 1
	payload, _ := hex.DecodeString("0605040b8423f0010603beaf84")
	if err := sm.Message.SetMessageDataWithEncoding(payload, data.BINARY8BIT2); err != nil {
		t.Fatal(err)
	}
	r := tx.ask(sm).(*pdu.SubmitSMResp)
	if !r.IsOk() || r.MessageID == "" {
		t.Fatalf("submit_sm_resp: %+v", r)
	}
	if m := <-messages; !bytes.Equal(m.UserData, payload) || m.Destination.Digits != "46701740606" {
		t.Errorf("received %+v", m)
	}
	receipt := rx.read().(*pdu.DeliverSM)
	text, err := receipt.Message.GetMessage()
	if err != nil || !strings.HasPrefix(text, "id:"+r.MessageID+" ") || !strings.Contains(text, "stat:DELIVRD") || receipt.EsmClass != 4 ||
		receipt.SourceAddr.Address() != "46701740606" {
		t.Errorf("receipt %q, %v, %+v", text, err, receipt)
	}
	rx.send(receipt.GetResponse())
	if r := rx.ask(pdu.NewUnbind()); !r.IsOk() {
		t.Errorf("unbind: %+v", r)
	}
	if b := <-bound; b != "ppg false" {
		t.Errorf("bound says %q", b)
	}
}

func TestEnd(t *testing.T) {
	s, err := smsc.New(smsc.Options{Listen: "127.0.0.1:0", Receive: func(*smsc.Message) smsc.Status { return smsc.Ok }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	e := dial(t, s)
	e.ask(bindPDU(pdu.Transceiver, "ppg", ""))
	cancel()
	if _, ok := e.read().(*pdu.Unbind); !ok {
		t.Error("the ESME is not told")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSilence(t *testing.T) {
	s := start(t, smsc.Options{Enquire: 10 * time.Millisecond, Receive: func(*smsc.Message) smsc.Status { return smsc.Ok }})
	e := dial(t, s)
	e.ask(bindPDU(pdu.Transceiver, "ppg", ""))
	for range 3 {
		p, ok := e.read().(*pdu.EnquireLink)
		if !ok {
			t.Fatal("silence is not asked about")
		}
		e.send(p.GetResponse())
	}
}

func TestTooMany(t *testing.T) {
	s := start(t, smsc.Options{MaxSessions: 1, Receive: func(*smsc.Message) smsc.Status { return smsc.Ok }})
	first := dial(t, s)
	first.ask(bindPDU(pdu.Transceiver, "ppg", ""))
	second := dial(t, s)
	if n, err := second.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("a second session is served")
	}
}

func TestOptions(t *testing.T) {
	ok := func(*smsc.Message) smsc.Status { return smsc.Ok }
	for name, opt := range map[string]smsc.Options{
		"nobody receives": {Listen: "127.0.0.1:0"},
		"a long name":     {Listen: "127.0.0.1:0", SystemID: "sixteen letters!", Receive: ok},
		"no address":      {Listen: "nowhere", Receive: ok},
	} {
		if s, err := smsc.New(opt); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzSession: whatever comes, the answers are PDUs, and what is received fits into what came.
func FuzzSession(f *testing.F) {
	bind := packet(9, 1, transceiver)
	f.Add(join(bind, packet(4, 2, submission("\x40", "\x01")+"\x0C\x06\x05\x04\x0B\x84\x23\xF0hello"), packet(6, 3, "")))
	f.Add(join(bind, packet(4, 2, submission("\x00", "\x00")+"\x02hi\x02\x0B\x00\x02\x0B\x84\x02\x0C\x00\x02\x01\x02")))
	f.Add(join(bind, packet(0x103, 2, "\x00\x00\x00\x00\x01\x01447700900456\x00\x00\x00\x04")))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, _ := smsc.Play(in, func(m *smsc.Message) smsc.Status {
			if len(m.UserData) > len(in)+16 || len(m.Destination.Digits) > 64 {
				t.Errorf("%d octets of user data out of %d", len(m.UserData), len(in))
			}
			return smsc.Ok
		})
		replies(t, out)
	})
}
