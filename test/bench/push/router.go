package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

// router is one run of the program, on a data folder of its own.
type router struct {
	proc  *measure.Process
	dir   string
	file  string // its configuration
	mm1   string
	ppg   string
	admin string
}

// start runs the program, bound to an SMSC by its gateway and by the embedded MMSC.
func (b *bench) start(smsc string, gateway bool) (*router, error) {
	dir, err := b.folder()
	if err != nil {
		return nil, err
	}
	r := &router{dir: dir, file: filepath.Join(dir, "mmsrouter.yaml")}
	for _, at := range []*string{&r.mm1, &r.ppg, &r.admin} {
		if *at, err = measure.FreeAddr(); err != nil {
			return nil, err
		}
	}
	// one ESME at a time: with a gateway the embedded MMSC is off, else the other way round
	text := fmt.Sprintf(`node: {name: bench, data: %q}
dns: {zones: []}
mm1: {listen: [%q], url: "http://%s/", hosts: [%q, mms.example.net], access_log: {path: "off"}}
admin: {listen: %q, token: ""}
log: {level: warn}
`, filepath.Join(dir, "data"), r.mm1, r.mm1, r.mm1, r.admin)
	if gateway {
		text += fmt.Sprintf("ppg: {listen: %q, smpp: {smscs: [{address: %q, system_id: bench}]}}\nmmscs: [{name: none, url: \"http://127.0.0.1:9/\"}]\n", r.ppg, smsc)
	} else {
		text += fmt.Sprintf(`ppg: {listen: ""}
mmsc: {enabled: true}
push:
  carriers: [{name: sms, type: smpp, smpp: {smscs: [{address: %q, system_id: bench}]}}]
  routes: [{carriers: [sms]}]
`, smsc)
	}
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if r.proc, err = measure.Start(measure.Options{Dir: dir}, b.ours, "serve", "-c", r.file); err != nil {
		return nil, err
	}
	door := r.mm1
	if gateway {
		door = r.ppg
	}
	if err := r.proc.WaitListening(door, 20*time.Second); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *router) stop() {
	r.proc.Stop()
	_ = os.RemoveAll(r.dir) // the bench's folder goes too
}

// counter gives the sum of a metric's samples whose labels hold all these texts.
func (r *router) counter(name string, labels ...string) (sum float64, err error) {
	resp, err := http.Get("http://" + r.admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return 0, err
	}
lines:
	for l := range strings.Lines(string(text)) {
		head, value, ok := strings.Cut(strings.TrimSpace(l), "} ")
		if !ok || !strings.HasPrefix(head, name+"{") {
			continue
		}
		for _, want := range labels {
			if !strings.Contains(head, want) {
				continue lines
			}
		}
		var v float64
		if _, err := fmt.Sscan(value, &v); err != nil {
			return 0, fmt.Errorf("metric %s: %w", l, err)
		}
		sum += v
	}
	return sum, nil
}

// each does n things by so many workers; a worker makes its own tool and goes on with the next thing. It returns the first
// error of each worker.
func each(n, workers int, tool func() (do func(k int) error, end func(), err error)) error {
	var next atomic.Int64
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			do, end, err := tool()
			if err != nil {
				errs[w] = err
				return
			}
			defer end()
			for k := int(next.Add(1)) - 1; k < n && errs[w] == nil; k = int(next.Add(1)) - 1 {
				errs[w] = do(k)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// numberDigits is how the bench's numbers look: +46 and nine digits.
const numberDigits = 9

func number(k int) string { return fmt.Sprintf("46%0*d", numberDigits, 700000000+k) }

// submission is a whole HTTP request with an M-Send.req, in which transaction id and recipient are patched in place.
type submission struct {
	octets  []byte
	tid, to int
}

func newSubmission(host string, size int) submission {
	mark := strings.Repeat("0", numberDigits)
	q := mms.SendReq{TransactionID: "t" + mark, Version: 0x92, To: []string{"+46" + mark + "/TYPE=PLMN"}, ContentType: wsp.Media("text/plain")}
	body := q.AppendHead(nil)
	body = append(body, bytes.Repeat([]byte("x"), max(0, size-len(body)))...)
	head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nX-MSISDN: +46690000001\r\nContent-Type: application/vnd.wap.mms-message\r\nContent-Length: %d\r\n\r\n", host, len(body))
	return submission{octets: append([]byte(head), body...), tid: len(head) + bytes.Index(body, []byte("t"+mark)) + 1,
		to: len(head) + bytes.Index(body, []byte("+46"+mark)) + len("+46")}
}

func (s *submission) patch(k int) {
	digits := number(k)[2:]
	copy(s.octets[s.tid:], digits)
	copy(s.octets[s.to:], digits)
}

// submit posts messages of so many octets to n numbers from the first on; each must be accepted.
func (r *router) submit(first, n, senders, size int) error {
	return each(n, senders, func() (func(int) error, func(), error) {
		c, err := net.Dial("tcp", r.mm1)
		if err != nil {
			return nil, nil, err
		}
		s, br := newSubmission(r.mm1, size), bufio.NewReader(c)
		do := func(k int) error {
			s.patch(first + k)
			if _, err := c.Write(s.octets); err != nil {
				return err
			}
			a, err := http.ReadResponse(br, nil)
			if err != nil {
				return err
			}
			defer a.Body.Close()
			pdu, err := io.ReadAll(io.LimitReader(a.Body, 1<<16))
			if err != nil {
				return err
			}
			var h mms.Head
			if h.Peek(pdu, true) == mms.Garbage || h.Response != mms.StatusOk || !bytes.Equal(h.TransactionID, s.octets[s.tid-1:s.tid+numberDigits]) {
				return fmt.Errorf("M-Send.conf: HTTP %d, %s", a.StatusCode, h.Response)
			}
			return nil
		}
		return do, func() { c.Close() }, nil
	})
}
