package main

import (
	"fmt"
	"net"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
	"github.com/mmsrouter/mmsrouter/test/bench/traffic"
)

// start runs the program, bound to an SMSC: one ESME at a time, by its gateway without the embedded MMSC or the other way round.
func (b *bench) start(smsc string, gateway bool) (*measure.Router, error) {
	if gateway {
		return b.Router(measure.RouterOptions{Door: func(r *measure.Router) string { return r.PPG }, Config: func(r *measure.Router) string {
			return r.MM1Alone() + fmt.Sprintf("ppg: {listen: %q, smpp: {smscs: [{address: %q, system_id: bench}]}}\nmmscs: [{name: none, url: \"http://127.0.0.1:9/\"}]\n", r.PPG, smsc)
		}})
	}
	return b.Router(measure.RouterOptions{Config: func(r *measure.Router) string {
		return r.MM1Alone() + fmt.Sprintf(`ppg: {listen: ""}
mmsc: {enabled: true}
push:
  carriers: [{name: sms, type: smpp, smpp: {smscs: [{address: %q, system_id: bench}]}}]
  routes: [{carriers: [sms]}]
`, smsc)
	}})
}

// number gives the k-th recipient, without +.
func number(k int) string { return fmt.Sprintf("4%010d", numbered(k)) }

func numbered(k int) int64 { return 6_700_000_000 + int64(k) }

// submit posts messages of so many octets to n numbers from the first on; each must be accepted.
func submit(r *measure.Router, first, n, senders, size int) error {
	return traffic.Each(n, senders, func() (func(int) error, func(), error) {
		c, err := net.Dial("tcp", r.MM1)
		if err != nil {
			return nil, nil, err
		}
		m := traffic.NewMessage(r.MM1, "+46690000001", mms.SendReq{TransactionID: "t" + traffic.Mark, To: []string{"+4" + traffic.Mark + "/TYPE=PLMN"}}, size)
		return func(k int) error { m.Number(numbered(first + k)); return m.Post(c) }, func() { c.Close() }, nil
	})
}
