package mmsc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// Retrieval is an M-Retrieve.conf ready to be sent: its header block, then the body as it is stored.
type Retrieval struct {
	Head []byte // all header fields, Content-Type included
	msg  *store.Fetchable
}

// Size gives the octets of the PDU.
func (r *Retrieval) Size() int64 { return int64(len(r.Head)) + r.msg.Size }

// WriteTo writes the PDU. An error after the first octet means that the receiver must not take it for whole.
func (r *Retrieval) Write(ctx context.Context, w io.Writer) error {
	if _, err := w.Write(r.Head); err != nil {
		return err
	}
	return r.msg.WriteBody(ctx, w)
}

// Errors of Retrieve.
var (
	ErrNoMessage = errors.New("no such message")
	ErrExpired   = errors.New("the message has expired")
	ErrNotYours  = errors.New("the message is for somebody else")
)

// Retrieve finds the message behind a Content-Location for a client. version is the one it speaks, 0 if it did not say.
// Errors: ErrNoMessage, ErrExpired, ErrNotYours, or *store.Unavailable.
func (m *MMSC) Retrieve(ctx context.Context, ref store.Ref, who Identity, version mms.Version) (*Retrieval, error) {
	msg, err := m.store.Lookup(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNoMessage
	}
	if err != nil {
		return nil, err
	}
	switch {
	case who.Asserted && who.Address != msg.Address, !who.Asserted && m.cfg.Retrieve.RequireIdentity:
		return nil, ErrNotYours
	case !time.Now().Before(msg.ExpiresAt):
		return nil, ErrExpired
	}
	return &Retrieval{Head: m.retrieveHead(msg, version), msg: msg}, nil
}

// retrieveHead writes the header block of the M-Retrieve.conf (OMA-MMS-ENC 6.3).
func (m *MMSC) retrieveHead(msg *store.Fetchable, version mms.Version) []byte {
	b := make([]byte, 0, len(msg.Head)+len(msg.ContentType)+256)
	speak := version
	if speak == 0 {
		speak = mms.Version12 // what nearly every handset speaks
	}
	b = append(b, byte(mms.FieldMessageType), byte(mms.MRetrieveConf))
	b = wsp.AppendText(append(b, byte(mms.FieldTransactionID)), transaction(msg.Recipient))
	b = append(b, byte(mms.FieldMMSVersion), byte(speak.Reply()))
	b = wsp.AppendText(append(b, byte(mms.FieldMessageID)), m.messageID(msg.Message))
	b = wsp.AppendLong(append(b, byte(mms.FieldDate)), uint64(msg.CreatedAt.Unix()))
	if msg.Sender != "" && !msg.Hidden {
		inner := mms.AppendEncoded([]byte{0x80}, wire(msg.Sender))
		b = append(wsp.AppendValueLength(append(b, byte(mms.FieldFrom)), len(inner)), inner...)
	}
	b = append(b, msg.Head...)
	if m.cfg.Retrieve.Status == "always" || m.cfg.Retrieve.Status == "auto" && version >= mms.Version12 {
		b = append(b, byte(mms.FieldRetrieveStatus), byte(mms.StatusOk))
	}
	b = append(b, byte(mms.FieldContentType))
	return append(b, msg.ContentType...)
}

// retrieve answers a GET or HEAD of a Content-Location.
func (m *MMSC) retrieve(w http.ResponseWriter, r *http.Request, ref store.Ref) {
	got, err := m.Retrieve(r.Context(), ref, m.identify(r), 0)
	switch {
	case errors.Is(err, ErrNoMessage):
		m.met.got(outcomeRefused)
		m.missing(w, http.StatusNotFound, mms.RetrievePermanentMessageNotFound, "no such message")
		return
	case errors.Is(err, ErrExpired):
		m.met.got(outcomeRefused)
		m.missing(w, http.StatusGone, mms.RetrievePermanentMessageNotFound, "the message has expired")
		return
	case errors.Is(err, ErrNotYours):
		m.met.got(outcomeRefused)
		m.log.Warn("message refused to a client that is not its recipient", "client", r.RemoteAddr)
		m.missing(w, http.StatusForbidden, mms.RetrievePermanentServiceDenied, "this message is not for you")
		return
	case err != nil:
		m.met.got(outcomeTransient)
		m.log.Debug("retrieval not served", "err", err)
		w.Header().Set("Retry-After", retryAfter)
		http.Error(w, "try again later", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.FormatInt(got.Size(), 10))
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead {
		return
	}
	if err := got.Write(r.Context(), w); err != nil {
		m.met.got(outcomeBroken)
		m.log.Info("retrieval broke", "message", m.messageID(got.msg.Message), "err", err)
		panic(http.ErrAbortHandler) // the connection is cut, so that nobody takes the message for whole
	}
	m.met.got(outcomeOk)
}

// missing answers a GET that finds nothing: by HTTP status, or by a PDU where handsets drop a message on 404.
func (m *MMSC) missing(w http.ResponseWriter, code int, status mms.Status, text string) {
	if m.cfg.Retrieve.NotFound == "pdu" {
		m.answer(w, mms.RetrieveError{Version: mms.Own, Date: time.Now(), Status: status, Text: text}.Append(nil))
		return
	}
	http.Error(w, text, code)
}
