package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
	"github.com/mmsrouter/mmsrouter/test/bench/traffic"
)

func fdatasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// router is one run of the program.
type router struct {
	*measure.Router
	next int64 // messages that were begun

	hook      *http.Server
	locations chan string
}

// start runs the program. With notify, a hook takes the notifications; else messages are to be delivered tomorrow.
func (b *bench) start(notify bool) (*router, error) {
	r := &router{locations: make(chan string, 1<<16)}
	hook := "http://127.0.0.1:65535/" // never asked: nothing is due
	if notify {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		hook = "http://" + l.Addr().String() + "/"
		r.hook = &http.Server{Handler: http.HandlerFunc(r.notified)}
		go func() { _ = r.hook.Serve(l) }() // it ends with the round
	}
	var err error
	r.Router, err = b.Router(measure.RouterOptions{Config: func(m *measure.Router) string {
		return m.MM1Alone() + fmt.Sprintf(`mmsc: {enabled: true}
push:
  carriers: [{name: hook, type: http, http: {url: %q}}]
  routes: [{carriers: [hook]}]
`, hook)
	}})
	if err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *router) stop() {
	if r.Router != nil {
		r.Remove()
	}
	if r.hook != nil {
		_ = r.hook.Close() // the round is over
	}
}

// notified is the hook's end.
func (r *router) notified(w http.ResponseWriter, q *http.Request) {
	var p struct {
		Location string `json:"location"`
	}
	if err := json.NewDecoder(io.LimitReader(q.Body, 1<<20)).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case r.locations <- p.Location:
	default: // a notification again: its first one is there
	}
}

// message is one of a sender of its own, for now or to be delivered tomorrow.
func message(size int, later bool) *traffic.Message {
	q := mms.SendReq{TransactionID: traffic.Mark, To: []string{"+46709000001/TYPE=PLMN"}}
	if later {
		q.DeliveryTime = &mms.When{After: 24 * time.Hour}
		q.Expiry = &mms.When{After: 48 * time.Hour}
	}
	return traffic.NewMessage("mms.example.net", "+4670"+traffic.Mark, q, size)
}

// submit posts n messages by so many senders, and tells the time and the router's CPU time.
func (r *router) submit(n, senders, size int) (took, spent time.Duration, err error) {
	return r.work(n, senders, func() (func(int) error, func(), error) {
		nc, err := net.Dial("tcp", r.MM1)
		if err != nil {
			return nil, nil, err
		}
		m, first := message(size, r.hook == nil), r.next
		return func(k int) error { m.Number(first + int64(k)); return m.Post(nc) }, func() { nc.Close() }, nil
	})
}

// retrieve stores n messages and then fetches each once.
func (r *router) retrieve(n, handsets, size int) (took, spent time.Duration, err error) {
	if _, _, err := r.submit(n, 16, size); err != nil {
		return 0, 0, err
	}
	var paths []string
	limit := time.NewTimer(60 * time.Second)
	defer limit.Stop()
	for len(paths) < n {
		select {
		case l := <-r.locations:
			u, err := url.Parse(l)
			if err != nil {
				return 0, 0, err
			}
			paths = append(paths, u.RequestURI())
		case <-limit.C:
			return 0, 0, fmt.Errorf("only %d of %d notifications within a minute", len(paths), n)
		}
	}
	return r.work(n, handsets, func() (func(int) error, func(), error) {
		nc, err := net.Dial("tcp", r.MM1)
		if err != nil {
			return nil, nil, err
		}
		br := bufio.NewReaderSize(nc, 64<<10)
		fetch := func(k int) error {
			if _, err := fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", paths[k], r.MM1); err != nil {
				return err
			}
			a, err := http.ReadResponse(br, nil)
			if err != nil {
				return err
			}
			defer a.Body.Close()
			got, err := io.Copy(io.Discard, a.Body)
			if err == nil && (a.StatusCode != 200 || got < int64(size)/2) {
				err = fmt.Errorf("HTTP %d with %d octets", a.StatusCode, got)
			}
			return err
		}
		return fetch, func() { nc.Close() }, nil
	})
}

// work does n things by so many workers; each worker makes its own tools.
func (r *router) work(n, workers int, tool func() (do func(int) error, end func(), err error)) (took, spent time.Duration, err error) {
	before, began := measure.Total(r.Pid()), time.Now()
	err = traffic.Each(n, workers, tool)
	took, spent = time.Since(began), measure.Total(r.Pid())-before
	r.next += int64(n)
	return took, spent, err
}

// slow posts n messages at once, each at so many octets a second; it gives how many failed.
func (r *router) slow(n, size, rate int) int {
	var failed atomic.Int64
	var wg sync.WaitGroup
	for k := range n {
		wg.Go(func() {
			if err := r.slowOne(r.next+int64(k), size, rate); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	r.next += int64(n)
	return int(failed.Load())
}

func (r *router) slowOne(number int64, size, rate int) error {
	nc, err := net.Dial("tcp", r.MM1)
	if err != nil {
		return err
	}
	defer nc.Close()
	m := message(size, true)
	m.Number(number)
	octets := m.Octets()
	const each = 100 * time.Millisecond
	step := rate / 10
	tick := time.NewTicker(each)
	defer tick.Stop()
	for at := 0; at < len(octets); at += step {
		if _, err := nc.Write(octets[at:min(at+step, len(octets))]); err != nil {
			return err
		}
		<-tick.C
	}
	return m.Accepted(nc)
}
