package mmsc

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// ErrUnknownTransaction says that an indication belongs to nothing we know, or to somebody else.
var ErrUnknownTransaction = errors.New("no such transaction")

// Answer is what a handset says of a message: an M-NotifyResp.ind, or an M-Acknowledge.ind (Retrieved).
type Answer struct {
	TransactionID []byte
	Status        mms.MessageStatus
	ReportAllowed bool
	Who           Identity
}

// Acknowledge takes a handset's answer. The transaction id names the recipient, and nobody else can know it; where a trusted
// network names the client it must be that recipient too. A repeated answer is fine. Errors: ErrUnknownTransaction,
// *store.Unavailable.
func (m *MMSC) Acknowledge(ctx context.Context, a Answer) error {
	id, ok := recipientOf(a.TransactionID)
	if !ok {
		return ErrUnknownTransaction
	}
	r, _, err := m.store.Recipient(ctx, id, 0, "")
	if errors.Is(err, store.ErrNotFound) {
		return ErrUnknownTransaction
	}
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(transaction(r.Ref)), a.TransactionID) != 1 || a.Who.Asserted && a.Who.Address != r.Address {
		return ErrUnknownTransaction
	}
	switch a.Status {
	case mms.Deferred:
		// Nothing is pushed before the message is about to expire; the store caps the moment at the expiry.
		f, err := m.store.Lookup(ctx, r.Ref)
		if err != nil {
			return final(err)
		}
		resume := m.cfg.Delivery.Resume(f.ExpiresAt)
		if !resume.After(time.Now()) {
			resume = f.ExpiresAt
		}
		return final(m.store.Defer(ctx, id, resume, a.ReportAllowed))
	case mms.Rejected:
		err = m.finish(ctx, id, store.Rejected, "", a.ReportAllowed)
	case mms.Unrecognised:
		err = m.finish(ctx, id, store.Unreachable, "the handset does not recognise the notification or the message", a.ReportAllowed)
	default:
		err = m.finish(ctx, id, store.Retrieved, "", a.ReportAllowed)
	}
	return final(err)
}

func (m *MMSC) finish(ctx context.Context, id store.ID, state store.State, detail string, allowed bool) error {
	return m.store.Finish(ctx, id, store.Outcome{State: state, Detail: detail, SuppressReport: !allowed})
}

// final takes a refusal of the store for what it is to a handset: its answer came too late or again, which is no error.
func final(err error) error {
	var no store.Refusal
	if errors.As(err, &no) {
		return nil
	}
	return err
}

// indicate answers an M-NotifyResp.ind or M-Acknowledge.ind. One that nobody knows is confirmed all the same: the
// handset could do nothing about it but try for ever (OMA-MMS-CTR).
func (m *MMSC) indicate(w http.ResponseWriter, r *http.Request, u *upload) {
	a := Answer{TransactionID: u.head.TransactionID, Status: mms.Retrieved, ReportAllowed: true, Who: m.identify(r)}
	if u.head.Type == mms.MNotifyRespInd {
		a.Status = u.head.Message
	}
	req, err := parse(u.head, u.buf)
	if err == nil {
		a.ReportAllowed = req.reportAllowed
		err = m.Acknowledge(context.WithoutCancel(r.Context()), a)
	}
	m.confirm(w, &u.head, err)
}

// confirm answers a PDU that has no .conf.
func (m *MMSC) confirm(w http.ResponseWriter, h *mms.Head, err error) {
	var down *store.Unavailable
	switch {
	case errors.As(err, &down):
		m.unavailable(w, h, err)
		return
	case err != nil:
		m.met.answered(h.Type, outcomeUnknown)
		m.log.Info("indication belongs to nothing", "pdu", h.Type.String(), "err", err)
	default:
		m.met.answered(h.Type, outcomeOk)
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// readRec takes an M-Read-Rec.ind and has an M-Read-Orig.ind sent if the sender asked for one (OMA-MMS-ENC 6.7).
func (m *MMSC) readRec(w http.ResponseWriter, r *http.Request, u *upload) {
	req, err := parse(u.head, u.buf)
	if err == nil {
		err = m.read(context.WithoutCancel(r.Context()), req, m.identify(r))
	}
	m.confirm(w, &u.head, err)
}

func (m *MMSC) read(ctx context.Context, req *request, who Identity) error {
	ref, ok := m.parseMessageID(string(req.MessageID))
	if !ok {
		return ErrUnknownTransaction
	}
	msg, _, err := m.store.Show(ctx, ref.ID)
	if errors.Is(err, store.ErrNotFound) {
		return ErrUnknownTransaction
	}
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(msg.Message.Secret[:], ref.Secret[:]) != 1 {
		return ErrUnknownTransaction
	}
	reader := who.Address
	if reader == "" && len(req.From) > 0 {
		reader = m.home(normal(string(req.From)))
	}
	for _, rcpt := range msg.Recipients {
		// Without any word of who reads, one recipient is the reader; of several it could be each.
		if rcpt.Address == reader || reader == "" && len(msg.Recipients) == 1 {
			return final(m.store.Read(ctx, rcpt.Ref.ID, req.readStatus))
		}
	}
	return ErrUnknownTransaction
}

// parseMessageID reads a Message-ID of ours, with or without < >.
func (m *MMSC) parseMessageID(id string) (store.Ref, bool) {
	id = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(id), "<"), ">")
	local, host, _ := strings.Cut(id, "@")
	if host != m.host {
		return store.Ref{}, false
	}
	return store.ParseRef(local)
}

// cancelConf notes a handset's answer to an M-Cancel.req; there is nothing to be done about it.
func (m *MMSC) cancelConf(w http.ResponseWriter, u *upload) { m.confirm(w, &u.head, nil) }
