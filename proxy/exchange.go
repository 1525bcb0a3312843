package proxy

import (
	"errors"
	"net"
	"time"

	"github.com/mmsrouter/mmsrouter/fence"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/proxy/replay"
	"github.com/mmsrouter/mmsrouter/proxy/wire"
	"github.com/mmsrouter/mmsrouter/router"
)

// exchange is one request and everything that is done for it. It belongs to its client's goroutine and is
// used again for the next request.
type exchange struct {
	passing
	workspace
}

// passing is what one request must not leave to the next.
type passing struct {
	p     *Proxy
	cl    *client
	set   *settings
	start time.Time

	// the request
	get      bool // GET or HEAD
	head     bool // HEAD
	relay    bool // in absolute form, for a peer operator: the target goes on as it came
	host     []byte
	target   []byte // path and query
	pdu      mms.Head
	state    mms.State
	identity string // of the subscriber: trusted field or explicit From; "" if unknown
	sender   string // E.164
	asserted string // identity, if a trusted network names it
	counted  bool   // among the requests of asserted

	// the upload
	chunked   wire.Chunked
	left      int64 // of Content-Length
	broken    *uploadError
	waited    time.Duration
	continued bool

	// what is done about it
	route     router.Request
	deadline  time.Time // for all attempts together; zero while the upload is under way
	ticket    *fence.SharedTicket
	whole     bool // the fence has let the upload become whole
	ambiguous int  // attempts whose result is unknown
	mark      int  // number for X-Mmsrouter-Attempt
	keptBy    *upstream
	sent      int64     // octets of the body written in this attempt
	clock     time.Time // of the attempt under way: looked at behind everything that may have waited
	begunLast bool      // the write with the body's last octet has begun in this attempt
	idled     bool      // the client kept us waiting in this attempt, so the MMSC may have lost patience
	framed    bool      // this attempt sends chunks
	befallen  bool      // a drill's fault lies on this attempt

	// what came of it
	result    Result
	by        *targetStats
	status    int
	words     string
	messageID string
	noted     bool // the records are written
	alive     bool // the client connection may carry another request
}

// workspace is what a request takes over from the one before: capacity, no content.
type workspace struct {
	body      replay.Body
	dec       router.Decision
	recips    [16]string
	attempts  []try
	blamed    []blame
	headBuf   []byte // head to the MMSC or to the client
	bufs      [][]byte
	out       net.Buffers // what is being written
	few       [4][]byte
	scratch   [][]byte
	ans, kept answer
	line      []byte // for the access log
	via       []byte // Via as it came
	frame     []byte // chunk size line towards the MMSC
}

// run serves the request whose head is in cl.req. It says whether the connection may carry another.
func (x *exchange) run(cl *client, set *settings) bool {
	x.reset(cl, set)
	defer x.finish()
	if !x.admissible() {
		return false
	}
	if x.get {
		cl.later = append(cl.later[:0], cl.buf[cl.r:cl.w]...)
		if x.describe(); x.share() {
			x.retrieve()
		}
		return x.alive
	}
	if !x.gather() {
		return false
	}
	x.begin(x.p.fenced)
	x.look()
	if x.broken != nil {
		x.giveUp()
		return false
	}
	if x.relay && !x.pdu.Type.Indication() {
		x.p.m.foreign.Add(1)
		return x.reject(badHost, 403, "only retrievals and what answers them go to a peer operator")
	}
	x.describe()
	switch {
	case !x.share():
	case x.owned():
		x.settle()
	default:
		x.submit()
	}
	return x.alive && x.broken == nil
}

func (x *exchange) reset(cl *client, set *settings) {
	x.passing = passing{p: cl.p, cl: cl, set: set, start: time.Now(), by: cl.p.m.none, result: Rejected, alive: cl.req.KeepAlive}
	x.attempts, x.blamed, x.via, x.out = x.attempts[:0], x.blamed[:0], x.via[:0], nil
	cl.r += cl.req.Size
	x.body.Init(cl.p.store, int64(set.MaxMessage), false) // so that Free is always in order
}

// admissible checks method, framing, target and host. If it answers no, the client has been told.
func (x *exchange) admissible() bool {
	req := &x.cl.req
	switch string(req.Method) {
	case "GET":
		x.get = true
	case "HEAD":
		x.get, x.head = true, true
	case "POST":
	case "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH":
		return x.reject(badMethod, 405, "method not allowed")
	default:
		return x.reject(badMethod, 501, "unknown method")
	}
	if err := x.parseTarget(); err != nil {
		return x.reject(badHead, 400, err.Error())
	}
	if !x.ours() {
		x.p.m.foreign.Add(1)
		return x.reject(badHost, 403, "not a host of this router")
	}
	switch {
	case circles(req.Fields):
		return x.reject(badHead, 508, "the request has come through too many proxies: a circle?")
	case x.get && (req.Chunked || req.Length > 0):
		return x.reject(badHead, 400, "a retrieval with a body")
	case !x.get && !req.Chunked && req.Length < 0:
		return x.reject(badHead, 411, "Content-Length is missing")
	case !x.get && req.Length > int64(x.set.MaxMessage):
		return x.tooLarge()
	}
	x.identity = x.findIdentity()
	x.asserted = x.identity
	return true
}

// reject answers a request that is not routed, and says that the connection ends.
func (x *exchange) reject(reason, status int, why string) bool {
	x.p.m.badRequests[reason].Add(1)
	x.words = why
	x.result = Rejected
	x.status = status
	x.note()
	x.cl.plain(x.set, status, why, x.head)
	x.cl.linger(x.set)
	x.alive = false
	return false
}

// tooLarge refuses an upload by its announced length, before it is read: with the PDU's own .conf if its
// head is there, else 413.
func (x *exchange) tooLarge() bool {
	cl := x.cl
	x.left = 1 << 62
	if cl.r == cl.w && !cl.req.Continue {
		// the head of the PDU is needed to answer it
		cl.c.ReadBy(time.Now(), x.set.Timeouts.Linger)
		if n, err := cl.c.Read(cl.room()); err == nil {
			cl.w += n
		}
	}
	x.state = x.pdu.Peek(cl.buf[cl.r:cl.w], false)
	x.p.m.badRequests[badSize].Add(1)
	x.result, x.alive = Rejected, false
	x.refuse(mms.TooLarge, 413, "message is larger than "+x.set.MaxMessage.String())
	cl.linger(x.set)
	return false
}

// gather lets the body come as far as it is there already, so that most messages stand in one buffer; an upload
// that comes slowly moves to a small one.
func (x *exchange) gather() bool {
	cl := x.cl
	if !cl.req.Chunked && int64(cl.w-cl.r) >= cl.req.Length || cl.w == cap(cl.buf) {
		return true
	}
	if room := cap(cl.buf) - cl.w; room < replay.Small/2 && int64(room) < cl.req.Length {
		cl.c.Doubt() // the rest would only fill this buffer up: it comes with the next ones
		return true
	}
	n, err := cl.c.TryRead(cl.buf[cl.w:cap(cl.buf)])
	if err == nil {
		cl.w += n
	}
	if err != wire.ErrWouldBlock {
		return true // at an end or an error a chunked body may be whole all the same; reading on tells
	}
	// The head aliases the buffer: go back to its start, move, and parse again.
	cl.r -= cl.req.Size
	relay := x.relay
	moved := cl.shrink()
	if moved {
		if err := wire.ParseRequest(cl.buf[cl.r:cl.w], &cl.req, wire.Limits{Octets: int(x.set.Limits.Header), Fields: x.set.Limits.Fields}); err != nil {
			return false // it was parsed a moment ago: it can't fail
		}
		if x.parseTarget() != nil { // likewise
			return false
		}
		x.relay = x.relay && relay // a peer's, as was found
	}
	cl.r += cl.req.Size
	return true
}

// becomeWhole is called before the write that carries the upload's last octet. False: a newer post of the
// same transaction has taken over.
func (x *exchange) becomeWhole() bool {
	if x.whole {
		return true
	}
	if x.ticket != nil && !x.ticket.Whole(x.body.Size(), x.body.Digest()) {
		_ = x.superseded()
		return false
	}
	x.whole = true
	if x.deadline.IsZero() {
		x.deadline = x.clock.Add(x.set.Deadline)
	}
	return true
}

// giveUp ends a request whose upload broke off: an answer if anybody can still hear it.
func (x *exchange) giveUp() {
	x.alive = false
	switch {
	case errors.Is(x.broken, errSuperseded):
		x.result, x.words = Superseded, x.broken.Error()
	case x.broken.status == 0:
		x.result, x.words = ClientGone, x.broken.Error()
	case x.broken.status == 413:
		x.p.m.badRequests[badSize].Add(1)
		x.result = Rejected
		x.refuse(mms.TooLarge, 413, "message is larger than "+x.set.MaxMessage.String())
		x.cl.linger(x.set)
	case x.broken.status == 503:
		if n, ok := x.p.spoilt.pass(time.Now()); ok { // each stands in the access log
			x.p.log.Error("upload refused", "err", x.broken.why, "unsaid", n)
		}
		x.result = Refused
		x.refuse(mms.TransientFailure, 503, "storage trouble, try again later")
		x.cl.linger(x.set)
	default:
		reason := badBody
		if x.broken.status == 408 {
			reason = badTimeout
		}
		text := x.broken.Error()
		if we := (*wire.Error)(nil); errors.As(x.broken, &we) {
			text = we.Reason
		}
		x.reject(reason, x.broken.status, text)
	}
}

// finish settles the fence, frees everything and writes the records.
func (x *exchange) finish() {
	cl := x.cl
	if x.ticket != nil {
		x.ticket.Drop() // after an Answer it does nothing
	}
	x.unshare()
	x.note()
	x.free()
	// octets that came behind the request are the beginning of the next
	cl.release()
	if len(cl.later) > 0 && x.alive {
		cl.buf = x.p.store.Get()
		cl.w = copy(cl.buf, cl.later)
		cl.later = cl.later[:0]
	}
	if cap(cl.later) > replay.Small {
		cl.later = nil // the connection may be idle for long, and thousands are
	}
}

// note writes the records, once. It comes before the octets of an answer that is complete, so that whoever has the
// answer finds the record.
func (x *exchange) note() {
	if x.noted {
		return
	}
	x.noted = true
	took := time.Since(x.start)
	x.line = x.appendRecord(x.line[:0], took)
	x.p.fates.add(x.line)
	if x.p.access != nil {
		x.p.access.add(x.line)
	}
	x.by.messages[pduSlot(x.get, x.pdu.Type)][x.result].Add(1)
	x.p.m.seconds.Observe(took.Seconds())
}

// free gives back the upload and the answers.
func (x *exchange) free() {
	x.body.Free()
	x.ans.free(x.p.store)
	x.kept.free(x.p.store)
}

// abandon is finish after a fault of the program: nothing is written, everything is given back.
func (x *exchange) abandon() {
	if x.p == nil {
		return
	}
	if x.ticket != nil {
		x.ticket.Drop()
	}
	x.unshare()
	x.ans.discard()
	x.kept.discard()
	x.free()
}
