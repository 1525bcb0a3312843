package mmsc

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// maxHops bounds how often a message is forwarded: it carries a field for each.
const maxHops = 32

// forward answers an M-Forward.req: the stored message goes to others without a detour over the handset (OMA-MMS-ENC 6.5).
func (m *MMSC) forward(w http.ResponseWriter, r *http.Request, u *upload) {
	ctx := context.WithoutCancel(r.Context())
	msg, err := m.composeForward(ctx, u, m.identify(r))
	var done store.Submitted
	if err == nil {
		done, err = m.store.Submit(ctx, msg)
		if errors.Is(err, store.ErrNotFound) {
			err = refused(mms.MessageNotFound, "the message is no longer here")
		}
	}
	if err != nil {
		m.fail(w, &u.head, err)
		return
	}
	m.met.answered(mms.MForwardReq, outcomeOk)
	m.answer(w, mms.ForwardConf{TransactionID: u.head.TransactionID, Version: u.head.Version, Status: mms.StatusOk,
		MessageID: m.messageID(done.Message)}.Append(nil))
}

func (m *MMSC) composeForward(ctx context.Context, u *upload, who Identity) (*store.Message, error) {
	if u.head.TransactionID == nil {
		return nil, refused(mms.FormatCorrupt, "no transaction id")
	}
	req, err := parse(u.head, u.buf)
	if err != nil {
		return nil, refused(mms.FormatCorrupt, "%v", err)
	}
	old, err := m.locate(ctx, string(u.head.ContentLocation), who)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	msg := &store.Message{Origin: store.FromForward, TransactionID: readable(req.TransactionID), Version: byte(req.Version), Hidden: req.hidden,
		Class: old.Class, Priority: old.Priority, Subject: old.Subject, DeliveryReport: req.deliveryReport, ReadReport: req.readReport,
		Parent: old.Message.ID, Forwarder: old.Recipient.ID, ForwardQuiet: !req.reportAllowed}
	if msg.Sender, err = m.sender(req, who); err != nil {
		return nil, err
	}
	if msg.Sender == "" {
		msg.Sender = old.Address // whoever knows the location is, as far as anybody says, its recipient
	}
	if err := m.admit(ctx, msg.Sender); err != nil {
		return nil, err
	}
	if err := m.schedule(msg, req, now); err != nil {
		return nil, err
	}
	if err := m.address(msg, req); err != nil {
		return nil, err
	}
	if msg.Head, err = forwardHead(old, req); err != nil {
		return nil, err
	}
	msg.Size = old.Size + int64(len(msg.Head)+len(old.ContentType)) + retrieveOverhead
	return msg, nil
}

// locate finds the message behind a Content-Location that a PDU names, for a client who may fetch it.
func (m *MMSC) locate(ctx context.Context, location string, who Identity) (*store.Fetchable, error) {
	path := location
	if u, err := url.Parse(location); err == nil {
		path = u.Path
	}
	ref, ok := refOfPath(path)
	if !ok {
		return nil, refused(mms.MessageNotFound, "no such message")
	}
	old, err := m.store.Lookup(ctx, ref)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !time.Now().Before(old.ExpiresAt):
		return nil, refused(mms.MessageNotFound, "no such message")
	case err != nil:
		return nil, err
	case !m.mayFetch(old.Address, who):
		return nil, refused(mms.ServiceDenied, "this message is not for you")
	}
	return old, nil
}

// forwardHead gives the fields that travel on: those of the old message but its recipients and reports, those of the
// request, and the hop that the old one had (OMA-MMS-ENC 7.3.42, 7.3.43; hops count from 0).
func forwardHead(old *store.Fetchable, req *request) ([]byte, error) {
	var head []byte
	hops, charged := 0, false
	if err := walk(old.Head, func(f field) {
		switch f.code {
		case mms.FieldTo, mms.FieldCc, mms.FieldDeliveryReport, mms.FieldReadReport, mms.FieldDate:
			return
		case mms.FieldReplyCharging:
			charged = f.value[0] == 0x80 || f.value[0] == 0x81
		case mms.FieldPreviouslySentBy:
			hops++
		}
		head = append(head, f.raw...)
	}); err != nil {
		return nil, refused(mms.PermanentFailure, "the stored message can't be read")
	}
	switch {
	case charged:
		return nil, refused(mms.ForwardingDenied, "a reply-charged message is not forwarded")
	case hops >= maxHops:
		return nil, refused(mms.PermanentFailure, "forwarded %d times already", hops)
	}
	if old.Sender != "" && !old.Hidden {
		inner := mms.AppendEncoded(wsp.AppendInteger(nil, uint64(hops)), wire(old.Sender))
		head = append(wsp.AppendValueLength(append(head, byte(mms.FieldPreviouslySentBy)), len(inner)), inner...)
		inner = wsp.AppendLong(wsp.AppendInteger(nil, uint64(hops)), uint64(old.CreatedAt.Unix()))
		head = append(wsp.AppendValueLength(append(head, byte(mms.FieldPreviouslySentDate)), len(inner)), inner...)
	}
	head = append(head, req.carry...)
	if len(head) > mms.MaxHeaders/2 {
		return nil, refused(mms.PermanentFailure, "the header has grown too long")
	}
	return head, nil
}

// deleteReq answers an M-Delete.req: the recipient does not want messages it has not fetched (OMA-MMS-ENC 6.9), one result per location.
func (m *MMSC) deleteReq(w http.ResponseWriter, r *http.Request, u *upload) {
	ctx, who := context.WithoutCancel(r.Context()), m.identify(r)
	if u.head.TransactionID == nil {
		m.fail(w, &u.head, refused(mms.FormatCorrupt, "no transaction id"))
		return
	}
	m.deleteEach(w, u, func(location string) error {
		old, err := m.locate(ctx, location, who)
		if err != nil {
			return err
		}
		return final(m.finish(ctx, old.Recipient.ID, store.Rejected, "deleted by the recipient", true))
	})
}

// deleteEach runs one deletion per location and answers with all results.
func (m *MMSC) deleteEach(w http.ResponseWriter, u *upload, drop func(location string) error) {
	locations := u.locations()
	if len(locations) == 0 || len(locations) > maxLocations {
		m.fail(w, &u.head, refused(mms.FormatCorrupt, "%d locations; allowed are 1 to %d", len(locations), maxLocations))
		return
	}
	conf := mms.DeleteConf{Type: u.head.Type + 1, TransactionID: u.head.TransactionID, Version: u.head.Version}
	failed := 0
	for _, l := range locations {
		result := mms.DeleteResult{ContentLocation: l, Status: mms.StatusOk}
		if err := drop(l); err != nil {
			failed++
			why, text := mms.TransientFailure, "try again later"
			var no *refusal
			if errors.As(err, &no) {
				why, text = no.why, no.text
			}
			result.Status, result.Text = why.ResponseStatus(u.head.Version), text
		}
		conf.Results = append(conf.Results, result)
	}
	outcome := outcomeOk
	if failed == len(locations) {
		outcome = outcomeRefused
	}
	m.met.answered(u.head.Type, outcome)
	m.answer(w, conf.Append(nil))
}

// maxLocations bounds a delete request.
const maxLocations = 100

// locations gives all Content-Locations of a PDU.
func (u *upload) locations() (all []string) {
	// Peek has walked the header block already: an error can't come up.
	_ = walk(u.buf[:u.head.Size], func(f field) {
		if f.code == mms.FieldContentLocation {
			if text, n := wsp.Text(f.value); n > 0 && f.value[0] >= 0x20 {
				all = append(all, string(text))
			}
		}
	})
	return all
}
