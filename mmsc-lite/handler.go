package mmsc

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// mediaType is what MM1 bodies are called, both ways.
const mediaType = "application/vnd.wap.mms-message"

// retryAfter is what a client is told when the store is not available, in seconds.
const retryAfter = "10"

// serve is the MM1 door (OMA-MMS-CTR, HTTP binding): the method decides, since handsets post their indications to the
// MMSC's URL or to the Content-Location.
func (m *MMSC) serve(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		m.post(w, r)
	case http.MethodGet, http.MethodHead:
		m.get(w, r)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "MM1 knows GET and POST", http.StatusMethodNotAllowed)
	}
}

// post takes a PDU.
func (m *MMSC) post(w http.ResponseWriter, r *http.Request) {
	u := m.store.Upload(int64(m.cfg.MaxMessage))
	defer u.Close() // its file is unlinked; an error of close loses nothing
	var err error
	if r.ContentLength > int64(m.cfg.MaxMessage) {
		// The head is read for the sake of a proper answer; nobody waits for the rest.
		_, err = u.ReadFrom(io.LimitReader(r.Body, mms.MaxHeaders))
		if err == nil {
			err = store.ErrTooLarge
		}
	} else {
		_, err = u.ReadFrom(r.Body)
	}
	var head mms.Head
	buf, headErr := u.Head(mms.MaxHeaders)
	if headErr != nil {
		m.unavailable(w, &head, headErr)
		return
	}
	state := head.Peek(buf, u.Size() == int64(len(buf)) && err == nil)
	var down *store.Unavailable
	switch {
	case errors.Is(err, store.ErrTooLarge):
		m.met.answered(head.Type, outcomeRefused)
		w.Header().Set("Connection", "close")
		if !m.refuse(w, &head, mms.TooLarge, "message too large: at most "+m.cfg.MaxMessage.String()) {
			http.Error(w, "at most "+m.cfg.MaxMessage.String(), http.StatusRequestEntityTooLarge)
		}
		return
	case errors.As(err, &down):
		m.unavailable(w, &head, err)
		return
	case err != nil:
		m.met.answered(head.Type, outcomeBroken)
		w.Header().Set("Connection", "close")
		http.Error(w, "the body ended early", http.StatusBadRequest)
		return
	case state != mms.Complete:
		m.met.answered(head.Type, outcomeRefused)
		if !m.refuse(w, &head, mms.FormatCorrupt, "the message could not be read") {
			http.Error(w, "not an MMS PDU", http.StatusBadRequest)
		}
		return
	}
	m.dispatch(w, r, &upload{Upload: u, buf: buf, head: head})
}

// upload is a PDU that has arrived whole.
type upload struct {
	*store.Upload
	buf  []byte // the first octets, at least the header block
	head mms.Head
}

// dispatch hands a PDU to the function for its type.
func (m *MMSC) dispatch(w http.ResponseWriter, r *http.Request, u *upload) {
	switch {
	case u.head.Version.Major() > 1 && u.head.Version != 0:
		m.met.answered(u.head.Type, outcomeRefused)
		m.refuseOr400(w, &u.head, mms.UnsupportedMessage, "this server speaks MMS 1.0 to 1.3")
	case u.head.Type == mms.MSendReq:
		m.send(w, r, u)
	case u.head.Type == mms.MNotifyRespInd, u.head.Type == mms.MAcknowledgeInd:
		m.indicate(w, r, u)
	case u.head.Type == mms.MReadRecInd:
		m.readRec(w, r, u)
	case u.head.Type == mms.MForwardReq:
		m.forward(w, r, u)
	case u.head.Type == mms.MDeleteReq:
		m.deleteReq(w, r, u)
	case u.head.Type == mms.MMboxStoreReq, u.head.Type == mms.MMboxViewReq, u.head.Type == mms.MMboxUploadReq, u.head.Type == mms.MMboxDeleteReq:
		m.mbox(w, r, u)
	case u.head.Type == mms.MCancelConf:
		m.cancelConf(w, u)
	default:
		m.met.answered(u.head.Type, outcomeRefused)
		m.refuseOr400(w, &u.head, mms.UnsupportedMessage, "this server does not know the PDU")
	}
}

// answer writes a PDU.
func (m *MMSC) answer(w http.ResponseWriter, pdu []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(pdu)))
	w.Write(pdu) // a client that is gone can't be told anything
}

// refuse answers with the PDU's own .conf; false if it has none.
func (m *MMSC) refuse(w http.ResponseWriter, h *mms.Head, why mms.Reason, text string) bool {
	pdu, ok := h.AppendRefusal(nil, why, text)
	if ok {
		m.answer(w, pdu)
	}
	return ok
}

func (m *MMSC) refuseOr400(w http.ResponseWriter, h *mms.Head, why mms.Reason, text string) {
	if !m.refuse(w, h, why, text) {
		http.Error(w, text, http.StatusBadRequest)
	}
}

// unavailable answers a request that the store could not serve: a transient status, or 503 where no PDU can answer.
func (m *MMSC) unavailable(w http.ResponseWriter, h *mms.Head, err error) {
	m.met.answered(h.Type, outcomeTransient)
	m.log.Debug("request not served", "pdu", h.Type, "err", err) // the store logs when it stops and starts taking writes
	if !m.refuse(w, h, mms.TransientFailure, "try again later") {
		w.Header().Set("Retry-After", retryAfter)
		http.Error(w, "try again later", http.StatusServiceUnavailable)
	}
}

// get serves a Content-Location.
func (m *MMSC) get(w http.ResponseWriter, r *http.Request) {
	if ref, ok := refOfPath(r.URL.Path); ok {
		m.retrieve(w, r, ref)
		return
	}
	if ref, ok := boxRefOfPath(r.URL.Path); ok {
		m.retrieveBox(w, r, ref)
		return
	}
	m.notFetched(w, r, ErrNoMessage)
}

// refOfPath reads the reference at the end of a path that ends in /m/REF, whatever stands before: a base URL may have a path.
func refOfPath(path string) (store.Ref, bool) {
	i := strings.LastIndex(path, locationPath)
	if i < 0 {
		return store.Ref{}, false
	}
	return store.ParseRef(path[i+len(locationPath):])
}
