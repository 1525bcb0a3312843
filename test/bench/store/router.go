package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

func fdatasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// router is one run of the program, on a data folder of its own.
type router struct {
	proc *measure.Process
	addr string
	dir  string
	next atomic.Int64

	hook      *http.Server
	locations chan string
}

// start runs the program. With notify, a hook takes the notifications; else messages are to be delivered tomorrow.
func (b *bench) start(notify bool) (*router, error) {
	b.round++
	r := &router{dir: filepath.Join(b.dir, strconv.Itoa(b.round)), locations: make(chan string, 1<<16)}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return nil, err
	}
	var at [2]string
	for i := range at {
		var err error
		if at[i], err = measure.FreeAddr(); err != nil {
			return nil, err
		}
	}
	r.addr = at[0]
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
	text := fmt.Sprintf(`node: {name: bench, data: %q}
dns: {zones: []}
mm1: {listen: [%q], url: "http://%s/", hosts: [%q, mms.example.net], access_log: {path: "off"}}
mmsc: {enabled: true}
push:
  carriers: [{name: hook, type: http, http: {url: %q}}]
  routes: [{carriers: [hook]}]
admin: {listen: %q, token: ""}
log: {level: warn}
`, filepath.Join(r.dir, "data"), r.addr, r.addr, r.addr, hook, at[1])
	file := filepath.Join(r.dir, "mmsrouter.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	var err error
	if r.proc, err = measure.Start(measure.Options{Dir: r.dir}, b.ours, "serve", "-c", file); err != nil {
		return nil, err
	}
	if err := r.proc.WaitListening(r.addr, 20*time.Second); err != nil {
		r.stop()
		return nil, fmt.Errorf("%w: %s", err, r.proc.Output())
	}
	return r, nil
}

func (r *router) stop() {
	r.proc.Stop()
	if r.hook != nil {
		_ = r.hook.Close() // the round is over
	}
	_ = os.RemoveAll(r.dir) // the bench's folder goes too
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

// message is a request whose transaction id and sender are patched in place.
type message struct {
	octets     []byte
	tid, ident int
}

const idDigits = 10

func newMessage(size int, later bool) message {
	zeros := "0000000000"
	q := mms.SendReq{TransactionID: zeros, Version: 0x92, To: []string{"+46709000001/TYPE=PLMN"}, ContentType: wsp.Media("text/plain")}
	if later {
		q.DeliveryTime = &mms.When{After: 24 * time.Hour}
		q.Expiry = &mms.When{After: 48 * time.Hour}
	}
	body := q.AppendHead(nil)
	body = append(body, bytes.Repeat([]byte("x"), max(0, size-len(body)))...)
	head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: mms.example.net\r\nX-MSISDN: +4670%s\r\nContent-Type: application/vnd.wap.mms-message\r\nContent-Length: %d\r\n\r\n", zeros, len(body))
	m := message{octets: append([]byte(head), body...)}
	m.ident = bytes.Index(m.octets, []byte("+4670")) + len("+4670")
	m.tid = len(head) + bytes.Index(body, []byte(zeros))
	return m
}

func (m *message) number(n int64) {
	for i := idDigits - 1; i >= 0; i-- {
		m.octets[m.tid+i] = '0' + byte(n%10)
		m.octets[m.ident+i] = m.octets[m.tid+i]
		n /= 10
	}
}

// post sends one message and wants Ok. What the load costs is not measured, but it shares the machine: it reads as
// little as it can.
func post(nc net.Conn, m *message, in []byte) error {
	if _, err := nc.Write(m.octets); err != nil {
		return err
	}
	return accepted(nc, m, in)
}

var (
	endOfHead = []byte("\r\n\r\n")
	lengthOf  = []byte("\r\nContent-Length: ")
)

// accepted reads one answer into in and wants an M-Send.conf Ok of this transaction.
func accepted(nc net.Conn, m *message, in []byte) error {
	for have := 0; ; {
		n, err := nc.Read(in[have:])
		have += n
		head := bytes.Index(in[:have], endOfHead)
		if head >= 0 {
			at := bytes.Index(in[:head+2], lengthOf)
			if at < 0 {
				return fmt.Errorf("answer without a length: %q", in[:head])
			}
			size := 0
			for _, d := range in[at+len(lengthOf) : head+2] {
				if d < '0' || d > '9' {
					break
				}
				size = size*10 + int(d-'0')
			}
			if have >= head+4+size {
				var h mms.Head
				if h.Peek(in[head+4:have], true) == mms.Garbage || h.Response != mms.StatusOk || !bytes.Equal(h.TransactionID, m.octets[m.tid:m.tid+idDigits]) {
					return fmt.Errorf("answer %q", in[:have])
				}
				return nil
			}
		}
		if err != nil {
			return err
		}
		if have == len(in) {
			return errors.New("an answer of more than 4 KiB")
		}
	}
}

// submit posts n messages by so many senders, and tells the time and the router's CPU time.
func (r *router) submit(n, senders, size int) (took, spent time.Duration, err error) {
	return r.work(n, senders, func() (func(int64) error, func(), error) {
		nc, err := net.Dial("tcp", r.addr)
		if err != nil {
			return nil, nil, err
		}
		m, in := newMessage(size, r.hook == nil), make([]byte, 4<<10)
		return func(k int64) error { m.number(k); return post(nc, &m, in) }, func() { nc.Close() }, nil
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
	base := r.next.Load()
	return r.work(n, handsets, func() (func(int64) error, func(), error) {
		nc, err := net.Dial("tcp", r.addr)
		if err != nil {
			return nil, nil, err
		}
		br := bufio.NewReaderSize(nc, 64<<10)
		fetch := func(k int64) error {
			if _, err := fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", paths[k-base-1], r.addr); err != nil {
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
func (r *router) work(n, workers int, make func() (do func(int64) error, end func(), err error)) (took, spent time.Duration, err error) {
	last := r.next.Load() + int64(n)
	before := measure.Total(r.proc.Pid())
	began := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			do, end, werr := make()
			if werr == nil {
				defer end()
			}
			for werr == nil {
				k := r.next.Add(1)
				if k > last {
					return
				}
				werr = do(k)
			}
			mu.Lock()
			defer mu.Unlock()
			err = errors.Join(err, werr)
		})
	}
	wg.Wait()
	took, spent = time.Since(began), measure.Total(r.proc.Pid())-before
	r.next.Store(last)
	return took, spent, err
}

// slow posts n messages at once, each at so many octets a second; it gives how many failed.
func (r *router) slow(n, size, rate int) int {
	var failed atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := r.slowOne(size, rate); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	return int(failed.Load())
}

func (r *router) slowOne(size, rate int) error {
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	m := newMessage(size, true)
	m.number(r.next.Add(1))
	const each = 100 * time.Millisecond
	step := rate / 10
	tick := time.NewTicker(each)
	defer tick.Stop()
	for at := 0; at < len(m.octets); at += step {
		if _, err := nc.Write(m.octets[at:min(at+step, len(m.octets))]); err != nil {
			return err
		}
		<-tick.C
	}
	return accepted(nc, &m, make([]byte, 4<<10))
}
