package mmsc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// refusal is a request that is answered with a status; it is an error so that each step can give it.
type refusal struct {
	why  mms.Reason
	text string
}

func (r *refusal) Error() string { return r.text }

func refused(why mms.Reason, format string, args ...any) error {
	return &refusal{why, fmt.Sprintf(format, args...)}
}

// send answers an M-Send.req. Ok is written after Submit has returned, that is after the sync.
func (m *MMSC) send(w http.ResponseWriter, r *http.Request, u *upload) {
	who := m.identify(r)
	// The upload is whole: it is stored even if the client goes away now, since it may have seen our answer begin.
	ctx := context.WithoutCancel(r.Context())
	msg, err := m.compose(ctx, u, who)
	var done store.Submitted
	var after func() // what the client need not wait for
	if err == nil && len(msg.Marks.Codes) > 0 {
		done, after, err = m.sendToServices(ctx, r, u, msg)
	} else if err == nil {
		done, err = m.store.Submit(ctx, msg)
	}
	if err != nil {
		m.fail(w, &u.head, err)
		return
	}
	result := outcomeOk
	if done.Duplicate {
		result = outcomeDuplicate
	}
	m.met.answered(mms.MSendReq, result)
	m.versions.learn(msg.Sender, u.head.Version)
	conf := mms.SendConf{TransactionID: u.head.TransactionID, Version: u.head.Version, Status: mms.StatusOk, MessageID: m.messageID(done.Message)}
	m.keepSent(ctx, u, who, done, &conf)
	m.answer(w, conf.Append(nil))
	if after != nil {
		_ = http.NewResponseController(w).Flush() // a recorder in a test has no buffer; a client that is gone can't be told anything
		after()
	}
}

// fail answers a request that a step refused or the store could not serve.
func (m *MMSC) fail(w http.ResponseWriter, h *mms.Head, err error) {
	var no *refusal
	if !errors.As(err, &no) {
		m.unavailable(w, h, err)
		return
	}
	result := outcomeRefused
	if no.why.Transient() {
		result = outcomeTransient
	}
	m.met.answered(h.Type, result)
	m.refuseOr400(w, h, no.why, no.text)
}

// compose makes the message of an M-Send.req, or says why it is refused.
func (m *MMSC) compose(ctx context.Context, u *upload, who Identity) (*store.Message, error) {
	if u.head.TransactionID == nil {
		return nil, refused(mms.FormatCorrupt, "no transaction id")
	}
	if u.head.ContentType == nil {
		return nil, refused(mms.FormatCorrupt, "no content type")
	}
	req, err := parse(u.head, u.buf)
	if err != nil {
		return nil, refused(mms.FormatCorrupt, "%v", err)
	}
	now := time.Now()
	msg := &store.Message{Origin: store.FromMM1, TransactionID: readable(req.TransactionID), Version: byte(req.Version),
		Hidden: req.hidden, Class: req.class, Priority: req.priority, Subject: req.subject,
		DeliveryReport: req.deliveryReport, ReadReport: req.readReport, Head: req.carry,
		Upload: u.Upload, BodyAt: int64(u.head.Size), ContentType: u.head.ContentType,
		Dedupe: m.cfg.DedupeWindow > 0}
	if msg.Sender, err = m.sender(req, who); err != nil {
		return nil, err
	}
	msg.Subscriber = msg.Sender
	if who.own {
		msg.Origin, msg.Marks, msg.Dedupe, msg.ByTransaction = store.FromServer, req.marks, true, true
	} else if err := m.admit(ctx, msg.Sender); err != nil {
		return nil, err
	}
	if err := m.schedule(msg, req, now); err != nil {
		return nil, err
	}
	if err := m.address(msg, req); err != nil {
		return nil, err
	}
	msg.Size = u.Size() - msg.BodyAt + int64(len(msg.Head)+len(msg.ContentType)) + retrieveOverhead
	return msg, nil
}

// retrieveOverhead is about what an M-Retrieve.conf has besides carried fields and body.
const retrieveOverhead = 160

// sender decides whose message it is: what a trusted network says counts; else the From, if policy lets it.
func (m *MMSC) sender(req *request, who Identity) (string, error) {
	if who.Asserted {
		return who.Address, nil
	}
	if who.Peer != nil {
		return "", refused(mms.ServiceDenied, "another operator's server does not submit here")
	}
	if m.cfg.Identity.From == "refuse" {
		return "", refused(mms.ServiceDenied, "the sender is not known")
	}
	if len(req.From) == 0 {
		return "", nil
	}
	from := normal(string(req.From))
	if from == "" {
		return "", refused(mms.FormatCorrupt, "From can't be read")
	}
	return m.home(from), nil
}

// schedule sets when delivery begins and when the message expires.
func (m *MMSC) schedule(msg *store.Message, req *request, now time.Time) error {
	msg.DeliverAt = now
	if req.delivery.set {
		if at := req.delivery.from(now); at.After(now) {
			msg.DeliverAt = at
		}
	}
	msg.ExpiresAt = now.Add(m.cfg.Expiry.Default)
	if req.expiry.set {
		msg.ExpiresAt = req.expiry.from(now)
	}
	if limit := now.Add(m.cfg.Expiry.Max); msg.ExpiresAt.After(limit) {
		msg.ExpiresAt = limit
	}
	if !msg.ExpiresAt.After(now) {
		return refused(mms.PermanentFailure, "the message has expired already")
	}
	if !msg.DeliverAt.Before(msg.ExpiresAt) {
		return refused(mms.PermanentFailure, "delivery time lies behind the expiry, which is at most %s from now", m.cfg.Expiry.Max)
	}
	return nil
}

// address gives the message its recipients. One that is named twice gets it once.
func (m *MMSC) address(msg *store.Message, req *request) error {
	if len(req.to) == 0 {
		return refused(mms.AddressUnresolved, "no recipient")
	}
	if len(req.to) > m.cfg.MaxRecipients {
		return refused(mms.ServiceDenied, "%d recipients; at most %d", len(req.to), m.cfg.MaxRecipients)
	}
	seen := make(map[string]bool, len(req.to))
	for _, a := range req.to {
		addr := normal(a.text)
		if addr == "" {
			return refused(mms.AddressUnresolved, "a recipient can't be read")
		}
		if addr = m.home(addr); seen[addr] {
			continue
		}
		seen[addr] = true
		service := m.takes(addr)
		if err := m.reachable(addr, service); err != nil {
			return err
		}
		if service {
			msg.Marks.Codes = append(msg.Marks.Codes, addr)
		}
		msg.Recipients = append(msg.Recipients, store.Recipient{Kind: a.kind, Address: addr, Due: msg.DeliverAt})
	}
	return nil
}
