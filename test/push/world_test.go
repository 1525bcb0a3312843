package push_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/phone"
)

// Alice's operator is A; Bob's is A too, or B.
const (
	alice, bob = "+46701740605", "+15551740606"
	msisdn     = "X-MSISDN"
	patience   = 30 * time.Second
)

// road is the way to a server whose address must be known before it runs: it passes connections on, unless it is closed.
type road struct {
	net.Listener
	mu    sync.Mutex
	to    string
	open  bool
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

func newRoad(t *testing.T) *road {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &road{Listener: l, open: true, conns: map[net.Conn]struct{}{}}
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.pass(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.block(true)
		r.wg.Wait()
	})
	return r
}

// enter notes a connection; false if the road is closed.
func (r *road) enter(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *road) leave(c net.Conn) {
	c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *road) pass(near net.Conn) {
	defer r.leave(near)
	r.mu.Lock()
	to := r.to
	r.mu.Unlock()
	if !r.enter(near) || to == "" {
		return
	}
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer r.leave(far)
	if !r.enter(far) {
		return
	}
	var wg sync.WaitGroup
	copyTo := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // a side that breaks ends both
		_ = to.(*net.TCPConn).CloseWrite()
	}
	wg.Go(func() { copyTo(far, near) })
	copyTo(near, far)
	wg.Wait()
}

// lead says where the road goes.
func (r *road) lead(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
}

// block closes the road, and what is on its way breaks; or opens it.
func (r *road) block(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = !yes
	if yes {
		for c := range r.conns {
			c.Close()
		}
	}
}

func (r *road) port() string {
	_, port, _ := net.SplitHostPort(r.Addr().String())
	return port
}

// phones is handsets and what happened to them.
type phones struct {
	t testing.TB
	*phone.Phones
	dir string
}

// newPhone starts a handset with an SMSC of its own in front and a port for pushes by UDP.
func newPhone(t *testing.T, number string, change func(*handset.Options)) *phones {
	t.Helper()
	dir := t.TempDir()
	o := handset.Options{Numbers: []string{number}, Dir: dir, SMPP: "127.0.0.1:0", UDP: []string{"127.0.0.1:0"}, Header: []string{msisdn + ": ##LINE1##"},
		Resolve: func(_ context.Context, host string) ([]string, error) {
			if host != "mms.example.net" && host != "localhost" {
				return nil, fmt.Errorf("there is no %s", host)
			}
			return []string{"127.0.0.1"}, nil
		},
		Retry: handset.Retry{Timeout: patience, Attempts: 3, Pause: 20 * time.Millisecond, Schedule: []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second}}}
	if change != nil {
		change(&o)
	}
	return &phones{t, phone.Start(t, o), dir}
}

// await waits for the n-th event of a kind.
func (p *phones) await(k handset.Kind, n int) handset.Event {
	p.t.Helper()
	return p.AwaitKind(p.t, k, n)
}

// operatorA is Alice's: a whole appliance with its embedded MMSC.
type operatorA struct {
	*appliance.Router
	road  *road
	url   string
	alice *phones
	grace time.Duration // fetched_grace
}

// newA prepares what others must know of A before it starts. host is how its locations name it.
func newA(t *testing.T, host string) *operatorA {
	t.Helper()
	a := &operatorA{road: newRoad(t), grace: time.Second}
	a.url = "http://" + net.JoinHostPort(host, a.road.port()) + "/"
	a.alice = newPhone(t, alice, func(o *handset.Options) { o.URL = a.url })
	return a
}

// smpp is a carrier that binds to an SMSC.
func smpp(name, address string) string {
	return fmt.Sprintf("{name: %s, type: smpp, smpp: {smscs: [{address: %q, system_id: %s, password: pw}], reconnect: 20ms}}", name, address, name)
}

// start starts A; bob is the carrier that notifies Bob.
func (a *operatorA) start(t *testing.T, bobs string) {
	t.Helper()
	mmsc := []string{"mmsc:", "  enabled: true", fmt.Sprintf("  delivery: {retry_first: 50ms, retry_max: 200ms, renotify: [1s], fetched_grace: %s, jitter: 0}", a.grace)}
	a.Router = appliance.Start(t, appliance.Setup{
		MM1: []string{"url: " + a.url, fmt.Sprintf("identity: {trusted: [\"127.0.0.0/8\"], headers: [%s]}", msisdn)},
		Top: append(mmsc, "push:", "  carriers:", "    - "+smpp("alice", a.alice.SMPPAddr().String()), "    - "+bobs,
			"  routes:", "    - {prefix: \"+46\", carriers: [alice]}", "    - {prefix: \"+1\", carriers: [bob]}")})
	a.road.lead(a.MM1)
}

// send lets Alice send Bob a text and a picture, with a report; it gives the Message-ID.
func (a *operatorA) send(t *testing.T) string {
	t.Helper()
	conf, err := a.alice.Send(t.Context(), alice, handset.Letter{To: []string{bob}, Subject: "Hello", DeliveryReport: true, Parts: []handset.Part{
		{Name: "a.txt", Type: "text/plain", Data: []byte("Hello, Bob")}, {Name: "b.jpg", Type: "image/jpeg", Data: picture}}})
	if err != nil {
		t.Fatal(err)
	}
	return conf.MessageID()
}

var picture = bytes.Repeat([]byte("\xFF\xD8 picture "), 10_000)

// stored waits until Bob's phone has stored the message, whole.
func stored(t *testing.T, p *phones, messageID string) handset.Event {
	t.Helper()
	e := p.await(handset.Stored, 1)
	if e.MessageID != messageID || e.From != alice+"/TYPE=PLMN" || e.Subject != "Hello" || e.Parts != 2 {
		t.Errorf("stored %s", e)
	}
	for name, want := range map[string]string{"a.txt": "Hello, Bob", "b.jpg": string(picture)} {
		found := false
		list, err := os.ReadDir(e.Folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			b, err := os.ReadFile(filepath.Join(e.Folder, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(f.Name(), name) && string(b) == want
		}
		if !found {
			t.Errorf("%s is not in %s: %v", name, e.Folder, list)
		}
	}
	return e
}

// reported waits until Alice has been told.
func (a *operatorA) reported(t *testing.T, messageID string, status mms.MessageStatus) {
	t.Helper()
	if e := a.alice.await(handset.DeliveryReport, 1); e.MessageID != messageID || e.Status != status.String() || e.From != bob+"/TYPE=PLMN" {
		t.Errorf("reported: %s", e)
	}
}

// operatorB is Bob's own: a whole appliance whose embedded MMSC fetches from A.
type operatorB struct {
	*appliance.Router
	url string
}

// newB starts B. A must be named localhost, which every machine can resolve. peers are further lines of that section.
func newB(t *testing.T, a *operatorA, peers ...string) *operatorB {
	t.Helper()
	top := []string{"mmsc: {enabled: true}",
		"push: {carriers: [{name: none, type: udp}], routes: [{prefix: \"+999\", carriers: [none]}]}", // B notifies nobody in these stories
		"peers:", fmt.Sprintf("  operators: [{name: a, hosts: [\"localhost:%s\"], networks: [127.0.0.1/32], paths: [/m/]}]", a.road.port()),
		"  pause: 10ms", "  indications: {retry_first: 20ms}"}
	for _, l := range peers {
		top = append(top, "  "+l)
	}
	b := &operatorB{Router: appliance.Start(t, appliance.Setup{Name: "b", Top: top,
		MM1: []string{fmt.Sprintf("identity: {trusted: [\"127.0.0.0/8\"], headers: [%s]}", msisdn)}})}
	b.url = "http://" + b.MM1
	return b
}

// relayed checks what B did: so many messages fetched, so many answers passed back.
func (b *operatorB) relayed(t *testing.T, fetched, passed float64) {
	t.Helper()
	if n := b.Metric("mmsrouter_mmsc_peer_retrievals_total", `result="fetched"`); n != fetched {
		t.Errorf("B fetched %v messages, want %v", n, fetched)
	}
	b.Await("answer to be noted as passed back", func() bool {
		return b.Metric("mmsrouter_mmsc_peer_indications_total", `result="passed"`) >= passed
	})
	if n := b.Metric("mmsrouter_mmsc_peer_indications_total", `result="passed"`); n != passed {
		t.Errorf("B passed %v answers back, want %v", n, passed)
	}
}
