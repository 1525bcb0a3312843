package peer

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
)

// mediaType is what MM1 bodies are called.
const mediaType = "application/vnd.wap.mms-message"

// retryAfter is what a client is told while the store can't be asked, in seconds.
const retryAfter = "10"

// Handler takes what concerns messages on peers' servers and hands everything else to next, the MM1 door. It takes retrievals
// and indications whose target is a listed operator's location, in absolute form or by PATH?location=; requests for
// any other location that way get 403. Of what is posted to ourselves it takes the indications that belong to
// messages it has fetched.
func (x *Relay) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		set := x.set.Load()
		if !x.expected(set, r) {
			http.Error(w, "the token is missing or wrong", http.StatusForbidden)
			return
		}
		raw, named, err := target(set, r)
		if err != nil {
			x.unlisted(w, r, err)
			return
		}
		if own, ok := x.own(raw); named && ok {
			r2 := r.Clone(r.Context())
			r2.URL, r2.RequestURI = own, own.RequestURI()
			next.ServeHTTP(w, r2)
			return
		}
		at, err := set.find(raw)
		switch {
		case raw == "", !named && errors.Is(err, errNotListed):
			at = nil // for us
		case err != nil:
			x.unlisted(w, r, err)
			return
		}
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			if at == nil {
				next.ServeHTTP(w, r)
				return
			}
			x.retrieve(w, r, set, at)
		case http.MethodPost:
			x.post(w, r, set, at, next)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// target gives the URL that a request names: by PATH?location= (named), or by an absolute-form target; "" if it names none.
func target(set *settings, r *http.Request) (raw string, named bool, err error) {
	if r.URL.Path == set.Path {
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil || len(q["location"]) != 1 || q.Get("location") == "" {
			return "", false, errors.New("want one location=URL")
		}
		return q.Get("location"), true, nil
	}
	if r.URL.Host == "" {
		return "", false, nil
	}
	return r.URL.String(), false, nil
}

// own takes a location of ours that a handset names by PATH?location=.
func (x *Relay) own(raw string) (*url.URL, bool) {
	if x.opt.URL == "" || !strings.HasPrefix(raw, x.opt.URL+"/") {
		return nil, false
	}
	u, err := parseLocation(raw)
	if err != nil {
		return nil, false
	}
	return &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}, true
}

// expected says whether a request that comes from a peer's networks carries the token that it should.
func (x *Relay) expected(set *settings, r *http.Request) bool {
	o := set.from(x.opt.Client(r))
	if o == nil || o.Expect == "" {
		return true
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if ok && subtle.ConstantTimeCompare([]byte(token), []byte(o.Expect)) == 1 {
		return true
	}
	x.log.Warn("request from a peer's network without its token", "operator", o.Name)
	return false
}

// unlisted refuses a request for a location that nobody may ask for through us.
func (x *Relay) unlisted(w http.ResponseWriter, r *http.Request, err error) {
	x.met.got(resultUnlisted)
	x.log.Warn("request for a location that is no peer's", "client", r.RemoteAddr, "method", r.Method, "err", err)
	http.Error(w, "not the location of a listed operator", http.StatusForbidden)
}

// unavailable answers while the store can't be asked.
func (x *Relay) unavailable(w http.ResponseWriter, err error) {
	x.log.Warn("messages of peers are not available", "err", err)
	w.Header().Set("Retry-After", retryAfter)
	http.Error(w, "try again later", http.StatusServiceUnavailable)
}

var errNotRunning = errors.New("not running")

// retrieve serves a message that lies on a peer's server.
func (x *Relay) retrieve(w http.ResponseWriter, r *http.Request, set *settings, at *location) {
	subscriber := x.opt.Identify(r)
	if subscriber == "" && set.RequireIdentity {
		x.met.got(resultDenied)
		x.log.Warn("nobody says who asks for a message (peers.require_identity)", "client", r.RemoteAddr)
		http.Error(w, "the subscriber is not known", http.StatusForbidden)
		return
	}
	if !x.enter() {
		x.met.got(resultUnavailable)
		x.unavailable(w, errNotRunning)
		return
	}
	defer x.leave()
	key := KeyOf(at.url, subscriber)
	m, err := x.store.Find(r.Context(), key)
	got := outcome{message: m, result: resultStored}
	switch {
	case errors.Is(err, ErrNotFound) && r.Method == http.MethodHead:
		// It is not fetched for somebody who does not take it: the sender's server would think that it was.
		w.Header().Set("Content-Type", mediaType)
		return
	case errors.Is(err, ErrNotFound):
		got = x.fetch(r.Context(), set, at, key, subscriber)
	case err != nil:
		got.err = err
	}
	if got.err != nil {
		x.met.got(resultUnavailable)
		x.unavailable(w, got.err)
		return
	}
	x.serve(w, r, got)
}

// serve writes the answer out. A message that was not written whole must not be taken for whole: the connection is cut.
func (x *Relay) serve(w http.ResponseWriter, r *http.Request, got outcome) {
	size := int64(len(got.pdu))
	if got.message != nil {
		size = got.message.Size
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead {
		return
	}
	out := &heldBack{w: w}
	var err error
	if got.pdu != nil {
		_, err = out.Write(got.pdu)
	} else {
		err = x.store.Write(r.Context(), got.message, out)
	}
	if err == nil && got.message != nil {
		// before the last octet: a handset may answer the moment it has the message
		if err := x.store.Served(context.WithoutCancel(r.Context()), got.message.Key); err != nil {
			x.log.Warn("retrieval not noted", "err", err) // it only helps to match an acknowledgement
		}
	}
	if err == nil {
		err = out.end()
	}
	if err == nil {
		if err = http.NewResponseController(w).Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil // a recorder in a test, or a door that has no buffer
		}
	}
	if err != nil {
		x.met.got(resultBroken)
		x.log.Info("message of a peer not served whole", "err", err)
		panic(http.ErrAbortHandler)
	}
	x.met.got(got.result)
}

// heldBack keeps the last octet of what is written until end.
type heldBack struct {
	w    io.Writer
	last [1]byte
	have bool
}

// Write implements io.Writer.
func (h *heldBack) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if h.have {
		if _, err := h.w.Write(h.last[:]); err != nil {
			return 0, err
		}
	}
	h.last[0], h.have = p[len(p)-1], true
	if n, err := h.w.Write(p[:len(p)-1]); err != nil {
		return n, err
	}
	return len(p), nil
}

func (h *heldBack) end() error {
	if !h.have {
		return nil
	}
	_, err := h.w.Write(h.last[:])
	return err
}

// maxIndication bounds an indication, in octets.
const maxIndication = mms.MaxHeaders

// post takes indications. at is the location they were posted to; nil: to ourselves.
func (x *Relay) post(w http.ResponseWriter, r *http.Request, set *settings, at *location, next http.Handler) {
	var first [2]byte
	n, err := io.ReadFull(r.Body, first[:])
	t := mms.Type(first[1])
	// Every PDU begins with its type (OMA-MMS-ENC 6): a message is not read here.
	if err != nil || mms.Field(first[0]) != mms.FieldMessageType || t != mms.MNotifyRespInd && t != mms.MAcknowledgeInd && t != mms.MReadRecInd {
		if at != nil {
			drain(r)
			x.unlisted(w, r, errors.New("only indications are passed on to a peer"))
			return
		}
		next.ServeHTTP(w, withBody(r, first[:n]))
		return
	}
	pdu, err := io.ReadAll(io.LimitReader(r.Body, maxIndication-2))
	pdu = append(first[:], pdu...)
	var h mms.Head
	whole := err == nil && len(pdu) < maxIndication && h.Peek(pdu, true) == mms.Complete
	switch {
	case whole && x.take(w, r, set, at, &h, pdu):
	case at != nil:
		drain(r)
		http.Error(w, "not an indication", http.StatusBadRequest)
	default:
		next.ServeHTTP(w, withBody(r, pdu))
	}
}

// maxDrained bounds the octets of a refused upload that are read.
const maxDrained = 8 << 20

// drain reads a refused upload to its end, so that the refusal does not meet a client that still sends.
func drain(r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, maxDrained) // its end, or its break, is all the same to the refusal
}

// withBody gives a request whose first octets have been read back to it.
func withBody(r *http.Request, read []byte) *http.Request {
	r2 := r.WithContext(r.Context())
	r2.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), r.Body), r.Body}
	return r2
}
