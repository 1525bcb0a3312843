package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

// notifications is small messages to the embedded MMSC; their notifications leave by direct SMPP.
func (b *bench) notifications() ([]*measure.Table, error) {
	senders, n := []int{1, 16, 64}, 10_000
	if b.Quick {
		n = 3000
	}
	cols := make([]string, len(senders))
	for i, k := range senders {
		cols[i] = fmt.Sprintf("%d senders", k)
	}
	cols[0] = "1 sender"
	rate := measure.NewTable("Notifications of the embedded MMSC: M-Send.req of 1 KB in, short message out by SMPP", "messages a second", "", cols...)
	cpu := measure.NewTable("of these, CPU of the router", "CPU s per 1,000 messages", "", cols...)
	count := measure.NewTable("of these, counted at the SMSC", "", "", "accepted", "lost", "doubled", "unreadable")
	tables := []*measure.Table{rate, cpu, count}
	for range b.Rounds {
		s, err := newSink()
		if err != nil {
			return tables, err
		}
		r, err := b.start(s.Addr, false)
		if err != nil {
			s.Stop()
			return tables, err
		}
		first := n / 10
		if err = s.Bound(r.Process); err == nil { // warm-up: connections, caches, memory
			s.expect(first)
			if err = submit(r, 0, first, 16, 1000); err == nil {
				s.await()
			}
		}
		for i := 0; i < len(senders) && err == nil; i++ {
			n := n
			if senders[i] == 1 {
				n /= 4
			}
			s.expect(n)
			before, began := measure.Total(r.Pid()), time.Now()
			if err = submit(r, first, n, senders[i], 1000); err != nil {
				break
			}
			posted := time.Since(began)
			last := s.await()
			rate.Add("accepted", cols[i], float64(n)/posted.Seconds())
			rate.Add("notified", cols[i], float64(n)/last.Sub(began).Seconds())
			cpu.Add("mmsrouter", cols[i], (measure.Total(r.Pid())-before).Seconds()*1000/float64(n))
			first += n
		}
		r.Remove()
		s.Stop()
		if err != nil {
			return tables, err
		}
		arrived, doubled, bad := s.tally()
		for i, v := range []int{first, first - arrived, doubled, bad} {
			count.Add("mmsrouter", []string{"accepted", "lost", "doubled", "unreadable"}[i], float64(v))
		}
	}
	return tables, nil
}

// phones is messages to thousands of phones in one process of their own, each of which is notified by SMS, fetches, stores and answers.
func (b *bench) phones() ([]*measure.Table, error) {
	const size = 30_000
	n, limit := 10_000, 10*time.Minute
	if b.Quick {
		n, limit = 500, 30*time.Second
	}
	cols := []string{"messages a second", "CPU s per 1,000, router", "CPU s per 1,000, phones", "stored", "answered", "peak memory, MB, router", "peak memory, MB, phones"}
	t := measure.NewTable(fmt.Sprintf("%d phones in one process, each notified by SMS, fetching %d KB and answering; from the first M-Send.req to the last message stored", n, size/1000),
		"", "", cols...)
	tables := []*measure.Table{t}
	var sent, stored, answered int
	for range min(b.Rounds, 2) {
		s, a, err := b.phoneRound(t, cols, n, size, limit)
		if err != nil {
			return tables, err
		}
		sent, stored, answered = sent+n, stored+s, answered+a
	}
	t.Note("mmsrouter", "stored", fmt.Sprintf("%d of %d", stored, sent))
	t.Note("mmsrouter", "answered", fmt.Sprintf("%d of %d", answered, sent))
	return tables, nil
}

// phoneRound gives how many messages the phones stored, and how many of them the MMSC knows about.
func (b *bench) phoneRound(t *measure.Table, cols []string, n, size int, limit time.Duration) (stored, answered int, err error) {
	smpp, err := measure.FreeAddr() // the phones' SMSC
	if err != nil {
		return 0, 0, err
	}
	dir, err := b.Folder()
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	r, err := b.start(smpp, false)
	if err != nil {
		return 0, 0, err
	}
	defer r.Remove()
	p, err := measure.Start(measure.Options{Dir: dir}, b.Program, "phone", "-c", r.File, "--number", "+"+number(0), "--count", strconv.Itoa(n), "--quiet",
		"--until", strconv.Itoa(n), "--dir", filepath.Join(dir, "phones"), "--smpp", smpp, "--udp", "", "--url", "http://"+r.MM1+"/", "--header", "X-MSISDN: ##LINE1##")
	if err != nil {
		return 0, 0, err
	}
	defer p.Stop()
	if err := p.WaitListening(smpp, 20*time.Second); err != nil {
		return 0, 0, err
	}
	if err := waitSession(r, 20*time.Second); err != nil {
		return 0, 0, err
	}
	phoneCPU := watch(p)
	before, idle, began := measure.Total(r.Pid()), measure.Total(p.Pid()), time.Now()
	if err := submit(r, 0, n, 16, size); err != nil {
		return 0, 0, err
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-p.Done():
	case <-late.C:
		p.Stop() // it says how far it has come
	}
	took, spent := time.Since(began), measure.Total(r.Pid())-before
	cpu, peak := phoneCPU()
	cpu -= idle // the start of the program
	stored, err = count(filepath.Join(dir, "phones"))
	if err != nil {
		return 0, 0, fmt.Errorf("%w; the phones said: %s", err, p.Output())
	}
	told, _, err := measure.Metric(r.Admin, "mmsrouter_mmsc_requests_total", `pdu="m-notifyresp-ind"`, `result="ok"`)
	if err != nil {
		return 0, 0, err
	}
	for i, v := range []float64{float64(stored) / took.Seconds(), spent.Seconds() * 1000 / float64(n), cpu.Seconds() * 1000 / float64(n)} {
		t.Add("mmsrouter", cols[i], v)
	}
	t.Add("mmsrouter", cols[5], float64(measure.Peak(r.Pid()))/1e6)
	t.Add("mmsrouter", cols[6], float64(peak)/1e6)
	return stored, int(told), nil
}

// waitSession waits until the embedded MMSC has bound to the phones.
func waitSession(r *measure.Router, limit time.Duration) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); time.Now().Before(end); <-tick.C {
		if n, _, err := measure.Metric(r.Admin, "mmsrouter_mmsc_sms_bound_sessions"); err == nil && n > 0 {
			return nil
		}
	}
	return fmt.Errorf("the router has not bound to the phones: %s", r.Output())
}

// watch samples a process that ends by itself; the function that it gives returns the last figures.
func watch(p *measure.Process) func() (cpu time.Duration, peak int64) {
	ended := make(chan struct{})
	var cpu time.Duration
	var peak int64
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			cpu, peak = max(cpu, measure.Total(p.Pid())), max(peak, measure.Peak(p.Pid()))
			select {
			case <-p.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() (time.Duration, int64) { <-ended; return cpu, peak }
}

// count gives how many messages lie in the phones' folders: one folder each, with the PDU in it.
func count(dir string) (n int, err error) {
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".mms") {
			n++
		}
		return err
	})
	return n, err
}
