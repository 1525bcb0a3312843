package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
	"github.com/mmsrouter/mmsrouter/test/bench/traffic"
)

// tidPrefix begins the transaction ids of the bench's own notifications; the number follows.
const tidPrefix = "p"

// ppg is a gateway under measurement.
type ppg struct {
	name           string
	url            string
	user, password string
	pids           []int
	stop           func()
}

func (g *ppg) cpu() (sum time.Duration) {
	for _, pid := range g.pids {
		sum += measure.Total(pid)
	}
	return sum
}

func (g *ppg) peak() (sum int64) {
	for _, pid := range g.pids {
		sum += measure.Peak(pid)
	}
	return sum
}

// startPPG runs our gateway.
func (b *bench) startPPG(s *sink) (*ppg, error) {
	r, err := b.start(s.Addr, true)
	if err != nil {
		return nil, err
	}
	if err := s.Bound(r.Process); err != nil {
		r.Remove()
		return nil, err
	}
	return &ppg{name: "mmsrouter", url: "http://" + r.PPG + "/", pids: []int{r.Pid()}, stop: r.Remove}, nil
}

// gateways is pushes through our gateway and through Kannel's, in turns.
func (b *bench) gateways() ([]*measure.Table, error) {
	initiators, n := []int{1, 16, 64}, 10_000
	if b.Quick {
		n = 3000
	}
	cols := make([]string, len(initiators))
	for i, k := range initiators {
		cols[i] = fmt.Sprintf("%d initiators", k)
	}
	cols[0] = "1 initiator"
	rate := measure.NewTable("Pushes from PAP to the SMSC, each a short message to a number of its own", "pushes a second", "Kannel", cols...)
	cpu := measure.NewTable("of these, CPU of the gateway", "CPU s per 1,000 pushes", "Kannel", cols...)
	count := measure.NewTable("of these, counted at the SMSC", "", "", "accepted", "lost", "doubled", "unreadable", "peak memory, MB")
	tables := []*measure.Table{rate, cpu, count}
	makers := []func(*sink) (*ppg, error){b.startPPG}
	if err := kannelHere(); err != nil {
		fmt.Printf("Kannel's rows are left out: %v\n", err)
	} else {
		makers = append([]func(*sink) (*ppg, error){b.startKannel}, makers...)
	}
	for range b.Rounds {
		for _, start := range makers {
			s, err := newSink()
			if err != nil {
				return tables, err
			}
			g, err := start(s)
			var missing *notStarted
			if errors.As(err, &missing) {
				fmt.Printf("Kannel's rows are left out: %v\n", err)
				s.Stop()
				continue
			}
			if err != nil {
				s.Stop()
				return tables, err
			}
			err = b.pushes(g, s, initiators, cols, n, rate, cpu, count)
			s.Stop()
			if err != nil {
				return tables, fmt.Errorf("%s: %w", g.name, err)
			}
		}
	}
	return tables, nil
}

// pushes measures one gateway, and stops it.
func (b *bench) pushes(g *ppg, s *sink, initiators []int, cols []string, n int, rate, cpu, count *measure.Table) error {
	first := n / 10
	s.expect(first)
	if err := g.post(0, first, 16); err != nil { // warm-up: connections, caches, memory
		g.stop()
		return err
	}
	s.await()
	for i, k := range initiators {
		n := n
		if k == 1 {
			n /= 4
		}
		s.expect(n)
		before, began := g.cpu(), time.Now()
		if err := g.post(first, n, k); err != nil {
			g.stop()
			return err
		}
		last := s.await()
		rate.Add(g.name, cols[i], float64(n)/last.Sub(began).Seconds())
		cpu.Add(g.name, cols[i], (g.cpu()-before).Seconds()*1000/float64(n))
		first += n
	}
	peak := g.peak()
	g.stop() // what it still holds goes out now
	arrived, doubled, bad := s.tally()
	for i, v := range []float64{float64(first), float64(first - arrived), float64(doubled), float64(bad), float64(peak) / 1e6} {
		count.Add(g.name, []string{"accepted", "lost", "doubled", "unreadable", "peak memory, MB"}[i], v)
	}
	return nil
}

// post pushes to n numbers from the first on, over so many connections. Each must be answered with 1001, or 1000.
func (g *ppg) post(first, n, initiators int) error {
	return traffic.Each(n, initiators, func() (func(int) error, func(), error) {
		t := &http.Transport{MaxConnsPerHost: 1}
		c := &http.Client{Transport: t, Timeout: time.Minute}
		return func(k int) error { return g.push(c, number(first+k)) }, t.CloseIdleConnections, nil
	})
}

func (g *ppg) push(c *http.Client, to string) error {
	contentType, body := papRequest(to)
	q, err := http.NewRequest(http.MethodPost, g.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", contentType)
	q.Header.Set("User-Agent", "bench") // Kannel copies what it gets into the push
	if g.user != "" {
		q.SetBasicAuth(g.user, g.password)
	}
	a, err := c.Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	if err != nil {
		return err
	}
	r, err := pap.ReadRequest(a.Header.Get("Content-Type"), text)
	if err != nil {
		return fmt.Errorf("HTTP %d: %w", a.StatusCode, err)
	}
	d, err := pap.Decode(r.Control, pap.Limits{})
	if err != nil {
		return fmt.Errorf("HTTP %d: %w", a.StatusCode, err)
	}
	if m, ok := d.Message.(*pap.PushResponse); !ok || !m.Code.Success() {
		return fmt.Errorf("push-response: %.300s", r.Control)
	}
	return nil
}

// papRequest is a notification of a message to a number, as an MMSC pushes it.
func papRequest(to string) (contentType string, body []byte) {
	pdu := mms.Notification{TransactionID: tidPrefix + to, From: "+46690000001/TYPE=PLMN", Size: 30_000, Expiry: mms.When{After: 24 * time.Hour},
		ContentLocation: "http://mms.example.net/" + to}.Append(nil)
	m := &pap.PushMessage{PushID: to + "@bench.example.net", DeliverBefore: time.Now().Add(time.Hour).UTC().Truncate(time.Second),
		Addresses: []pap.Address{{Value: pap.ClientAddress{Kind: pap.PLMN, Value: "+" + to, Host: "ppg.example.net"}.String()}},
		Quality:   &pap.QualityOfService{DeliveryMethod: "unconfirmed", Network: "GSM", Bearer: "SMS"}}
	q := pap.Request{Control: (&pap.Document{Version: "2.0", Product: "bench", Message: m}).Encode(),
		Content: &pap.Entity{Header: textproto.MIMEHeader{"Content-Type": {wsp.MMSMessage}, "X-Wap-Application-Id": {wappush.MMSApplication}}, Body: pdu}}
	return q.Encode()
}
