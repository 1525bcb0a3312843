package proxy

import (
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

// mostCandidates bounds the MMSCs that one indication or one search goes to.
const mostCandidates = 16

// searching says that the MMSC that holds the message is not known.
func (x *exchange) searching() bool { return x.dec.Kind == router.Search || x.dec.Kind == router.All }

// retrieve serves a GET or HEAD: at the owner, or by asking the MMSCs in turn.
func (x *exchange) retrieve() {
	x.deadline = x.start.Add(x.set.Deadline)
	x.settle()
}

// settle serves what belongs to the MMSC that holds the message.
func (x *exchange) settle() {
	ups := *x.p.ups.Load()
	if x.relay {
		// The peer's name stays in the request line: our own MMSC fetches from it, or passes the answer on to it.
		if up := ups[router.LocalName]; up != nil && x.p.opt.Relay {
			x.dec.Kind = router.Owned
			x.atOwner([]*upstream{up})
			return
		}
		x.route.PDU, x.route.Get, x.route.Location, x.route.MessageID, x.route.Learned = mms.MSendReq, false, "", "", ""
		x.route.Path, x.route.Query = "/", ""
	}
	snap := x.decide()
	order := make([]*upstream, 0, 4)
	for _, i := range x.dec.Order {
		if up := ups[snap.MMSCs[i].Name]; up != nil && len(order) < mostCandidates {
			order = append(order, up)
		}
	}
	switch x.dec.Kind {
	case router.Owned:
		x.atOwner(order)
	case router.All:
		x.atAll(order)
	default:
		x.inTurn(order, snap)
	}
}

// atOwner makes one attempt at the owner, and for PDUs whose policy is retry a second one after an ambiguous
// result. While the owner is away the answer is "later", never "not found".
func (x *exchange) atOwner(order []*upstream) {
	if len(order) == 0 {
		x.later("the MMSC that holds the message is down")
		return
	}
	up := order[0]
	phase := x.attempt(up)
	if phase == PhaseAmbiguous {
		if !x.retryAmbiguous(up) {
			return
		}
		if x.sameAgain(up.Name) {
			phase = x.attemptAgain(up)
		}
	}
	switch phase {
	case PhaseAnswered, PhaseNotFound:
		x.deliver(&x.ans, up)
	case PhaseRefused:
		if x.ans.done && !x.get {
			x.deliver(&x.ans, up)
			return
		}
		x.later("the MMSC that holds the message refuses for now: " + x.attempts[len(x.attempts)-1].result)
	case PhaseCancelled:
		x.giveUp()
	default:
		x.later("the MMSC that holds the message does not answer")
	}
}

// inTurn asks one MMSC after the other. "Not found" is passed on only if every MMSC that could hold the message is
// up and has said so.
func (x *exchange) inTurn(order []*upstream, snap *router.Snapshot) {
	unsure := len(x.dec.Missing) > 0
	var said *upstream
	denied := false
	for _, up := range order {
		phase := x.attemptAgain(up)
		switch phase {
		case PhaseAnswered:
			x.deliver(&x.ans, up)
			return
		case PhaseNotFound:
			if said = up; !denied {
				x.keep(up)
			}
			continue
		case PhaseRefused:
			if s := x.ans.resp.Status; x.get && x.ans.done && s/100 == 4 && !refusedStatus(s) {
				// 403: this one will not give it to this handset; unless another one does, that is the answer
				said, denied = up, true
				x.keep(up)
				continue
			}
		case PhaseCancelled:
			x.giveUp()
			return
		case PhaseAmbiguous:
			if !x.retryAmbiguous(up) {
				return
			}
		}
		unsure = true
		if x.late() {
			break
		}
	}
	if said == nil || unsure {
		text := "no MMSC has said that it holds the message, and not all have said that they don't"
		if len(x.dec.Missing) > 0 {
			names := make([]string, 0, len(x.dec.Missing))
			for _, i := range x.dec.Missing {
				names = append(names, snap.MMSCs[i].Name)
			}
			text += "; down: " + strings.Join(names, ", ")
		}
		x.later(text)
		return
	}
	if x.kept.buf == nil { // what it said was too long to keep
		x.by, x.result = said.stats, Permanent
		x.refuse(mms.MessageNotFound, 404, "no such message")
		return
	}
	x.ans, x.kept = x.kept, x.ans
	x.deliver(&x.ans, x.keptBy)
}

// atAll sends an indication to every candidate and confirms it once each that is up has answered.
func (x *exchange) atAll(order []*upstream) {
	var good *upstream
	var other *upstream
	for _, up := range order {
		phase := x.attempt(up)
		if phase == PhaseAmbiguous {
			if !x.retryAmbiguous(up) {
				return
			}
			if x.sameAgain(up.Name) {
				phase = x.attemptAgain(up)
			}
			x.ambiguous, x.mark = 0, 0 // the next MMSC gets its first copy
		}
		switch phase {
		case PhaseAnswered:
			if x.ans.resp.Status/100 == 2 {
				if good == nil {
					good = up
					x.keep(up)
				}
				continue
			}
			fallthrough
		case PhaseNotFound:
			if good == nil {
				other = up
				x.keep(up)
			}
		case PhaseCancelled:
			x.giveUp()
			return
		default:
			if x.stillUp(up.Name) {
				x.later("an MMSC that may hold the message does not answer")
				return
			}
		}
		if x.late() {
			x.later("the MMSCs take too long")
			return
		}
	}
	switch {
	case good == nil && other == nil, good == nil && len(x.dec.Missing) > 0:
		x.later("no MMSC that may hold the message is up")
		return
	case x.kept.buf == nil: // it did not come whole: the handset only needs to know that it arrived
		up := good
		if up == nil {
			up = other
		}
		x.by, x.result, x.status, x.words = up.stats, Answered, 200, "confirmed"
		x.sendPDU(nil)
		return
	}
	x.ans, x.kept = x.kept, x.ans
	x.deliver(&x.ans, x.keptBy)
}

func (x *exchange) stillUp(name string) bool {
	snap := x.p.opt.Board.Load()
	i := snap.Index(name)
	return i >= 0 && snap.MMSCs[i].Up
}

// later refuses for now: 503 with Retry-After, or the PDU's own .conf with a transient status. The upload is read to
// its end first. why goes to the records; the handset learns nothing of our MMSCs.
func (x *exchange) later(why string) {
	if !x.get && (x.broken != nil || !x.drain()) {
		x.giveUp()
		return
	}
	x.result, x.words = Refused, why
	x.refuse(mms.NetworkProblem, 503, "the message can't be reached now, try again later")
}
