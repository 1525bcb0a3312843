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

// router is one run of the program on a data folder of its own, bound to a sink, with providers.
type router struct {
	proc      *measure.Process
	dir, mm1  string
	sink      *sink
	providers *providers
	client    *http.Client
}

// services is how many there are: codes 7000 and on.
const services = 10

func (b *bench) start() (r *router, err error) {
	b.round++
	r = &router{dir: filepath.Join(b.dir, fmt.Sprint(b.round)), client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.stop())
		}
	}()
	if err = os.Mkdir(r.dir, 0o700); err != nil {
		return r, err
	}
	if r.sink, err = newSink(); err != nil {
		return r, err
	}
	if r.providers, err = newProviders(); err != nil {
		return r, err
	}
	if r.mm1, err = measure.FreeAddr(); err != nil {
		return r, err
	}
	admin, err := measure.FreeAddr()
	if err != nil {
		return r, err
	}
	var entries strings.Builder
	for i := range services {
		fmt.Fprintf(&entries, "- {name: s%d, match: {codes: [%q]}, provider: {url: \"http://%s/%d\", format: json, concurrency: 32}}\n", i, code(i), r.providers.addr, i)
	}
	list, file := filepath.Join(r.dir, "services.yaml"), filepath.Join(r.dir, "mmsrouter.yaml")
	text := fmt.Sprintf(`node: {name: bench, data: %q}
dns: {zones: []}
mm1: {listen: [%q], url: "http://%s/", hosts: [%q, mms.example.net], access_log: {path: "off"}}
admin: {listen: %q, token: ""}
log: {level: warn}
ppg: {listen: ""}
mmsc:
  enabled: true
  services: {enabled: true, codes: ["7"], import: [%q]}
  outgoing: {allow: ["127.0.0.1"]}
push:
  carriers: [{name: sms, type: smpp, smpp: {smscs: [{address: %q, system_id: bench}]}}]
  routes: [{carriers: [sms]}]
`, filepath.Join(r.dir, "data"), r.mm1, r.mm1, r.mm1, admin, list, r.sink.addr)
	if err = errors.Join(os.WriteFile(list, []byte(entries.String()), 0o600), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		return r, err
	}
	if r.proc, err = measure.Start(measure.Options{Dir: r.dir}, b.ours, "serve", "-c", file); err != nil {
		return r, err
	}
	if err = r.proc.WaitListening(r.mm1, 20*time.Second); err != nil {
		return r, err
	}
	return r, r.sink.waitBound(r.proc)
}

// stop ends the program and what belongs to it.
func (r *router) stop() (err error) {
	if r.proc != nil {
		r.proc.Stop()
	}
	if r.sink != nil {
		r.sink.stop()
	}
	if r.providers != nil {
		err = r.providers.stop()
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}

func code(i int) string { return fmt.Sprint(7000 + i) }

// number gives the k-th user, or person.
func number(k int) string { return fmt.Sprintf("46%09d", 700000000+k) }

// send posts a message of the k-th user, a kilobyte of text; it must be accepted.
func (r *router) send(k int, to string) error {
	q := mms.SendReq{TransactionID: fmt.Sprintf("t%d-%s", k, to), Version: mms.Version12, To: []string{mms.ParseAddress(to).String()}, ContentType: wsp.Media("text/plain")}
	pdu := append(q.AppendHead(nil), bytes.Repeat([]byte("x"), 1000)...)
	req, err := http.NewRequest(http.MethodPost, "http://"+r.mm1+"/", bytes.NewReader(pdu))
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
