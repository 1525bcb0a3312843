package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// maxAnswer bounds what a client reads of an answer.
const maxAnswer = 64 << 10

const mmsType = "application/vnd.wap.mms-message"

// client is one WAP gateway: it posts message after message, as fast as the scenario's rate has it.
func (r *run) client(ctx context.Context, number int) {
	t := &r.s.Traffic
	sticky := number < t.Sticky
	g := &gateway{r: r, number: number, sticky: sticky}
	g.http = &http.Transport{DialContext: g.dial, TLSClientConfig: r.entry.TLS, DisableCompression: true, MaxIdleConns: 2}
	defer g.http.CloseIdleConnections()
	gap := time.Duration(float64(t.Clients) / t.Rate * float64(time.Second))
	next := r.began.Add(gap * time.Duration(number) / time.Duration(t.Clients)) // they do not march in step
	for n := 0; ; n++ {
		if !pause(ctx, time.Until(next)) || r.since(time.Now()) >= r.s.Length {
			return
		}
		g.message(ctx, n)
		// an upload that took long is not caught up with
		if next = next.Add(gap); time.Until(next) < 0 {
			next = time.Now()
		}
	}
}

// pause waits; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// gateway is a client at work.
type gateway struct {
	r      *run
	number int
	sticky bool
	http   *http.Transport
	stuck  string // sticky: the address it will always use
	turn   int
	target string // address of the try under way
	last   string // address of the connection that is kept
}

// dial connects to the address of the try, whatever name stands in the URL.
func (g *gateway) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, g.target)
}

// message posts one message until it is accepted or refused, or its tries are used up.
func (g *gateway) message(ctx context.Context, n int) {
	t := &g.r.s.Traffic
	seq := n*t.Clients + g.number
	size := int64(t.Sizes[seq%len(t.Sizes)])
	m := Message{Transaction: g.r.entry.Mark + "." + strconv.FormatInt(int64(seq), 36), Client: g.number, Sticky: g.sticky}
	pdu := compose(m.Transaction, g.r.entry.Numbers, seq, size)
	m.Size, m.Sum = int64(len(pdu)), xxhash.Sum64(pdu)
	g.r.mu.Lock()
	g.r.count.begun++
	g.r.mu.Unlock()
	for try := range t.Tries {
		if try > 0 && !pause(ctx, t.Pause) {
			break
		}
		m.Tries = append(m.Tries, g.post(ctx, m.Transaction, pdu))
		if o := m.Last().Outcome; o == Accepted || o == Permanent {
			break
		}
	}
	if ctx.Err() != nil {
		return // the drill was broken off: what it saw says nothing
	}
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	g.r.sent = append(g.r.sent, m)
	if m.Accepted() {
		g.r.count.accepted++
	} else {
		g.r.count.failed++
	}
}

// compose makes the M-Send.req. Its octets differ from message to message, so that a wrong one is found out.
func compose(transaction string, numbers []string, seq int, size int64) []byte {
	from, to := numbers[seq%len(numbers)], numbers[(seq+1)%len(numbers)]
	m := mms.SendReq{TransactionID: transaction, Version: mms.Version12, From: from + "/TYPE=PLMN", To: []string{to + "/TYPE=PLMN"},
		Subject: "mmsrouter drill", ContentType: wsp.Media("application/vnd.wap.multipart.mixed")}
	data := make([]byte, size)
	line := fmt.Appendf(nil, "%s test message of a failover drill\n", transaction)
	for at := 0; at < len(data); {
		at += copy(data[at:], line)
	}
	pdu, err := wsp.AppendParts(m.AppendHead(nil), []wsp.Part{{ContentType: wsp.Media("text/plain", "charset", "utf-8"), Data: data, Size: size}})
	if err != nil {
		panic(fmt.Sprintf("compose a test message: %v", err)) // its one part is ours
	}
	return pdu
}

// post makes one try.
func (g *gateway) post(ctx context.Context, transaction string, pdu []byte) Try {
	began := time.Now()
	try := Try{At: g.r.since(began), Outcome: Broken}
	ended := func(o Outcome, why string) Try {
		try.Outcome, try.Why, try.Took = o, why, time.Since(began)
		return try
	}
	ctx, cancel := context.WithTimeout(ctx, g.r.s.Traffic.Patience)
	defer cancel()
	if err := g.find(ctx); err != nil {
		return ended(Broken, err.Error())
	}
	if try.Address = g.target; g.last != g.target {
		g.http.CloseIdleConnections() // they are kept by the URL's name, and lead elsewhere
		g.last = g.target
	}
	e := &g.r.entry
	body := io.Reader(bytes.NewReader(pdu))
	if slow := g.r.s.Traffic.Slow; slow > 0 {
		body = &trickle{ctx: ctx, b: pdu, piece: len(pdu)/10 + 1, gap: slow / 10}
	}
	scheme := "http://"
	if e.TLS != nil {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+net.JoinHostPort(e.Host, e.Port)+e.Path, body)
	if err != nil {
		return ended(Broken, err.Error())
	}
	req.ContentLength = int64(len(pdu))
	req.Header.Set("Content-Type", mmsType)
	req.Header.Set("User-Agent", "mmsrouter-drill")
	resp, err := g.http.RoundTrip(req)
	if err != nil {
		return ended(Broken, plain(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return ended(Broken, "the answer broke off: "+plain(err))
	}
	return ended(judge(resp.StatusCode, answer, transaction))
}

// find chooses the address: a sticky client's first one for ever; the others ask, and take the addresses in turn.
func (g *gateway) find(ctx context.Context) error {
	if g.stuck != "" {
		g.target = g.stuck
		return nil
	}
	addrs, err := g.r.names.lookup(ctx)
	if err != nil {
		return err
	}
	at := addrs[(g.number+g.turn)%len(addrs)]
	g.turn++
	g.target = net.JoinHostPort(at, g.r.entry.Port)
	if g.sticky {
		g.stuck = g.target
	}
	return nil
}

// judge reads an answer as a handset would.
func judge(status int, answer []byte, transaction string) (Outcome, string) {
	if status == http.StatusServiceUnavailable {
		return Transient, "HTTP 503"
	}
	var h mms.Head
	if status != http.StatusOK || h.Peek(answer, true) != mms.Complete || h.Type != mms.MSendConf || !h.HasResponse {
		return Permanent, fmt.Sprintf("HTTP %d without an M-Send.conf", status)
	}
	if string(h.TransactionID) != transaction {
		return Permanent, "the M-Send.conf of another transaction"
	}
	switch mms.ResponseClass(h.Response) {
	case mms.Ok, mms.PartialSuccess:
		return Accepted, ""
	case mms.Transient:
		return Transient, h.Response.String()
	}
	return Permanent, h.Response.String()
}

// plain gives the heart of a network error: the addresses around it differ from try to try.
func plain(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// trickle gives a body in pieces with gaps between them.
type trickle struct {
	ctx   context.Context
	b     []byte
	piece int
	gap   time.Duration
}

func (t *trickle) Read(p []byte) (int, error) {
	if len(t.b) == 0 {
		return 0, io.EOF
	}
	if !pause(t.ctx, t.gap) {
		return 0, t.ctx.Err()
	}
	n := copy(p, t.b[:min(len(t.b), t.piece)])
	t.b = t.b[n:]
	return n, nil
}
