package healthcheck

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/mmsrouter/mmsrouter/mms"
)

const mmsMessage = "application/vnd.wap.mms-message"

// mm1Prober posts an M-Send.req that no MMSC can deliver, since it has no recipients, and that a working
// one refuses for good (OMA-MMS-ENC 6.1.1, 7.3.48). So the MMS application behind the HTTP door is seen,
// and nothing is sent to anyone.
//
//	well-formed M-Send.conf, permanent status     up
//	well-formed M-Send.conf, Ok or partial        up, with a fault: it accepts what it must refuse
//	well-formed M-Send.conf, transient status     down
//	anything else                                 down
type mm1Prober struct {
	*exchange
	pdu         []byte // posted as it is; nil: ours, with a new transaction id each time
	transaction []byte // of pdu
	start       uint64 // random, so that transaction ids do not come again after a restart
	turn        atomic.Uint64
}

func newMM1Prober(d *door, p ProbeConfig) (*mm1Prober, error) {
	e, err := newExchange(d, p)
	if err != nil {
		return nil, err
	}
	m := &mm1Prober{exchange: e, start: rand.Uint64()}
	if p.File == "" {
		return m, nil
	}
	info, err := os.Stat(p.File)
	if err != nil {
		return nil, fmt.Errorf("probe.file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxAnswer {
		return nil, fmt.Errorf("probe.file: %s: want a file of at most %d octets", p.File, maxAnswer)
	}
	if m.pdu, err = os.ReadFile(p.File); err != nil {
		return nil, fmt.Errorf("probe.file: %w", err)
	}
	var h mms.Head
	if h.Peek(m.pdu, true) != mms.Complete || h.Type != mms.MSendReq || len(h.TransactionID) == 0 {
		return nil, fmt.Errorf("probe.file: %s: want an M-Send.req with a transaction id", p.File)
	}
	m.transaction = h.TransactionID
	return m, nil
}

// request gives the PDU to post and its transaction id.
func (p *mm1Prober) request() (pdu, transaction []byte) {
	if p.pdu != nil {
		return p.pdu, p.transaction
	}
	transaction = fmt.Appendf(nil, "probe-%x-%d", p.start, p.turn.Add(1))
	pdu = append(pdu, byte(mms.FieldMessageType), byte(mms.MSendReq), byte(mms.FieldTransactionID))
	pdu = append(append(pdu, transaction...), 0)
	pdu = append(pdu, byte(mms.FieldMMSVersion), byte(mms.Version12))
	pdu = append(pdu, byte(mms.FieldFrom), 1, 0x81)                      // insert-address-token
	return append(pdu, byte(mms.FieldContentType), 0xA3, 0), transaction // multipart/mixed without parts
}

func (p *mm1Prober) probe(ctx context.Context) Result {
	pdu, transaction := p.request()
	status, answer, whole, err := p.do(ctx, http.MethodPost, mmsMessage, pdu)
	if err != nil && status == 0 {
		return down("%v", err)
	}
	if err != nil {
		return down("answers HTTP %d and breaks off: %v", status, err)
	}
	if status >= 500 {
		return down("answers HTTP %d to an M-Send.req", status)
	}
	var h mms.Head
	switch state := h.Peek(answer, true); {
	case !whole || state != mms.Complete || h.Type != mms.MSendConf || h.TransactionID == nil || h.Version == 0 || !h.HasResponse:
		return down("answers HTTP %d without a well-formed M-Send.conf", status)
	case !bytes.Equal(h.TransactionID, transaction):
		return down("answers with the M-Send.conf of another transaction")
	}
	switch mms.ResponseClass(h.Response) {
	case mms.Permanent:
		return Result{Up: true, Why: fmt.Sprintf("refuses the probe as it should: %s", h.Response)}
	case mms.Transient:
		return down("answers M-Send.conf with %s", h.Response)
	}
	const ours = "accepts an M-Send.req without recipients"
	what := ours
	if p.pdu != nil {
		what = "accepts the M-Send.req of probe.file, which it should refuse for good"
	}
	return Result{Up: true, Why: fmt.Sprintf("answers M-Send.conf with %s", h.Response),
		Fault: fmt.Sprintf("%s (%s): it may deliver every probe", what, h.Response)}
}
