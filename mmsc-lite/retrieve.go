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
	Head      []byte // all header fields, Content-Type included
	Recipient store.ID
	size      int64
	write     func(context.Context, io.Writer) error
}

// Size gives the octets of the PDU.
func (r *Retrieval) Size() int64 { return int64(len(r.Head)) + r.size }

// Write writes the PDU. An error after the first octet means that the receiver must not take it for whole.
func (r *Retrieval) Write(ctx context.Context, w io.Writer) error {
	if _, err := w.Write(r.Head); err != nil {
		return err
	}
	return r.write(ctx, w)
}

// Errors of Retrieve.
var (
	ErrNoMessage = errors.New("no such message")
	ErrExpired   = errors.New("the message has expired")
	ErrNotYours  = errors.New("the message is for somebody else")
)

// Retrieve finds the message behind a Content-Location for a client. Who writes it out whole says so with Fetched.
// Errors: ErrNoMessage, ErrExpired, ErrNotYours, or *store.Unavailable.
func (m *MMSC) Retrieve(ctx context.Context, ref store.Ref, who Identity) (*Retrieval, error) {
	msg, err := m.store.Lookup(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNoMessage
	}
	if err != nil {
		return nil, err
	}
	switch {
	case !m.mayFetch(msg.Address, who):
		return nil, ErrNotYours
	case !time.Now().Before(msg.ExpiresAt), msg.State == store.Expired, msg.State == store.Cancelled, msg.State == store.Rejected:
		return nil, ErrExpired
	}
	return &Retrieval{Head: m.retrieveHead(msg), Recipient: msg.Recipient.ID, size: msg.Size, write: msg.WriteBody}, nil
}

// Fetched notes that a retrieval has been written out whole: nobody is notified of it again.
func (m *MMSC) Fetched(ctx context.Context, r *Retrieval) error {
	return final(m.store.Fetched(ctx, r.Recipient, time.Now().Add(m.cfg.Delivery.FetchedGrace)))
}

// mayFetch says whether a client may have what is for addr: an identity that the network asserts decides; a listed peer
// operator may fetch for its own; without either the unguessable location does, unless the configuration wants more.
func (m *MMSC) mayFetch(addr string, who Identity) bool {
	switch {
	case who.Peer != nil:
		return who.Peer.serves(addr)
	case who.Asserted:
		return who.Address == addr
	}
	return !m.cfg.Retrieve.RequireIdentity
}

// retrieveHead writes the header block of the M-Retrieve.conf (OMA-MMS-ENC 6.3).
func (m *MMSC) retrieveHead(msg *store.Fetchable) []byte {
	version := m.versions.of(msg.Address)
	speak := version
	if speak == 0 {
		speak = pushVersion
	}
	b := start(mms.MRetrieveConf, transaction(msg.Recipient), speak)
	b = wsp.AppendText(append(b, byte(mms.FieldMessageID)), m.messageID(msg.Message))
	b = appendDate(b, msg.CreatedAt)
	if msg.Sender != "" && !msg.Hidden {
		b = appendFrom(b, msg.Sender)
	}
	b = append(b, msg.Head...)
	if m.cfg.Retrieve.Status == "always" || m.cfg.Retrieve.Status == "auto" && version.Minor() >= 2 {
		b = append(b, byte(mms.FieldRetrieveStatus), byte(mms.StatusOk))
	}
	return appendBody(b, msg.ContentType, msg.Size)
}

// appendBody ends a header block with the Content-Type. A body that is no multipart becomes the one part of a
// multipart/mixed: widespread handsets drop an M-Retrieve.conf of any other type.
func appendBody(b, contentType []byte, size int64) []byte {
	b = append(b, byte(mms.FieldContentType))
	c, n, err := wsp.ReadContentType(contentType)
	if err != nil || n != len(contentType) || c.Multipart() || size > 1<<32-1 {
		return append(b, contentType...)
	}
	b = append(b, 0xA3, 1) // multipart/mixed of one part
	b = wsp.AppendUintvar(wsp.AppendUintvar(b, uint32(len(contentType))), uint32(size))
	return append(b, contentType...)
}

// retrieve answers a GET or HEAD of a Content-Location.
func (m *MMSC) retrieve(w http.ResponseWriter, r *http.Request, ref store.Ref) {
	got, err := m.Retrieve(r.Context(), ref, m.identify(r))
	if err != nil {
		m.notFetched(w, r, err)
		return
	}
	if !m.deliver(w, r, got) {
		return
	}
	// The client has it, whether it waits for us or not.
	if err := m.Fetched(context.WithoutCancel(r.Context()), got); err != nil {
		m.log.Info("retrieval not noted: the recipient may be notified again", "err", err)
	}
}

// deliver writes a retrieval out; true if all of it was.
func (m *MMSC) deliver(w http.ResponseWriter, r *http.Request, got *Retrieval) bool {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.FormatInt(got.Size(), 10))
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead {
		return false
	}
	err := got.Write(r.Context(), w)
	if err == nil {
		// What is still in the server's buffer has not left: only after this has the client's system taken it all.
		err = http.NewResponseController(w).Flush()
		if errors.Is(err, http.ErrNotSupported) {
			err = nil // a recorder in a test, or a door that has no buffer
		}
	}
	if err != nil {
		m.met.got(outcomeBroken)
		m.log.Info("retrieval broke", "recipient", int64(got.Recipient), "err", err)
		panic(http.ErrAbortHandler) // the connection is cut, so that nobody takes the message for whole
	}
	m.met.got(outcomeOk)
	return true
}

// notFetched answers a GET that gets nothing.
func (m *MMSC) notFetched(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, ErrNoMessage):
		m.met.got(outcomeRefused)
		m.missing(w, http.StatusNotFound, mms.RetrievePermanentMessageNotFound, "no such message")
	case errors.Is(err, ErrExpired):
		m.met.got(outcomeRefused)
		m.missing(w, http.StatusGone, mms.RetrievePermanentMessageNotFound, "the message has expired")
	case errors.Is(err, ErrNotYours):
		m.met.got(outcomeRefused)
		m.log.Warn("message refused to a client that is not its recipient", "client", r.RemoteAddr)
		m.missing(w, http.StatusForbidden, mms.RetrievePermanentServiceDenied, "this message is not for you")
	default:
		m.met.got(outcomeTransient)
		m.log.Debug("retrieval not served", "err", err)
		w.Header().Set("Retry-After", retryAfter)
		http.Error(w, "try again later", http.StatusServiceUnavailable)
	}
}

// missing answers by HTTP status, or by a PDU where handsets drop a message on 404.
func (m *MMSC) missing(w http.ResponseWriter, code int, status mms.Status, text string) {
	if m.cfg.Retrieve.NotFound == "pdu" {
		m.answer(w, mms.RetrieveError{Version: pushVersion, Date: time.Now(), Status: status, Text: text}.Append(nil))
		return
	}
	http.Error(w, text, code)
}
