package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

// router is one run of the program, bound to a sink, with providers.
type router struct {
	*measure.Router
	sink      *sink
	providers *providers
	client    *http.Client
}

// services is how many there are: codes 7000 and on.
const services = 10

func (b *bench) start() (r *router, err error) {
	r = &router{client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.stop())
		}
	}()
	if r.sink, err = newSink(); err != nil {
		return r, err
	}
	if r.providers, err = newProviders(); err != nil {
		return r, err
	}
	var entries strings.Builder
	for i := range services {
		fmt.Fprintf(&entries, "- {name: s%d, match: {codes: [%q]}, provider: {url: \"http://%s/%d\", format: json, concurrency: 32}}\n", i, code(i), r.providers.addr, i)
	}
	list := filepath.Join(b.Dir, "services.yaml")
	if err = os.WriteFile(list, []byte(entries.String()), 0o600); err != nil {
		return r, err
	}
	if r.Router, err = b.Router(measure.RouterOptions{Config: func(m *measure.Router) string {
		return m.MM1Alone() + fmt.Sprintf(`ppg: {listen: ""}
mmsc:
  enabled: true
  services: {enabled: true, codes: ["7"], import: [%q]}
  outgoing: {allow: ["127.0.0.1"]}
push:
  carriers: [{name: sms, type: smpp, smpp: {smscs: [{address: %q, system_id: bench}]}}]
  routes: [{carriers: [sms]}]
`, list, r.sink.Addr)
	}}); err != nil {
		return r, err
	}
	return r, r.sink.Bound(r.Process)
}

// stop ends the program and what belongs to it.
func (r *router) stop() error {
	if r.Router != nil {
		r.Remove()
	}
	if r.sink != nil {
		r.sink.Stop()
	}
	if r.providers != nil {
		return r.providers.stop()
	}
	return nil
}

func code(i int) string { return fmt.Sprint(7000 + i) }

// number gives the k-th user, or person.
func number(k int) string { return fmt.Sprintf("46%09d", 700000000+k) }

// send posts a message of the k-th user, a kilobyte of text; it must be accepted.
func (r *router) send(k int, to string) error {
	q := mms.SendReq{TransactionID: fmt.Sprintf("t%d-%s", k, to), Version: mms.Version12, To: []string{mms.ParseAddress(to).String()}, ContentType: wsp.Media("text/plain")}
	pdu := append(q.AppendHead(nil), bytes.Repeat([]byte("x"), 1000)...)
	req, err := http.NewRequest(http.MethodPost, "http://"+r.MM1+"/", bytes.NewReader(pdu))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/vnd.wap.mms-message")
	req.Header.Set("X-MSISDN", "+"+number(k))
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return err
	}
	var h mms.Head
	if h.Peek(answer, true) == mms.Garbage || h.Response != mms.StatusOk {
		return fmt.Errorf("M-Send.conf: HTTP %d, %s", resp.StatusCode, h.Response)
	}
	return nil
}
