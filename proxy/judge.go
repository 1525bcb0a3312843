package proxy

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
)

// mmsType is the media type of PDUs.
const mmsType = "application/vnd.wap.mms-message"

// judge is the phase table of the design for an answer that came whole (or goes on streaming): what the MMSC
// can have done, and so what we may do.
func (x *exchange) judge(a *answer) (Phase, string) {
	a.state = mms.Garbage
	if b := a.body(); len(b) > 0 && b[0] == byte(mms.FieldMessageType) {
		a.state = a.pdu.Peek(b, a.done)
	}
	if x.get {
		return x.judgeRetrieve(a)
	}
	if conf, ok := x.pdu.Type.Conf(); ok {
		return x.judgeConf(a, conf)
	}
	words := "HTTP " + strconv.Itoa(a.resp.Status)
	if x.pdu.Type.Indication() {
		return x.judgeIndication(a, words)
	}
	// not a PDU that we can read: what it got for an answer is the client's to judge
	switch s := a.resp.Status; {
	case refusedStatus(s):
		return PhaseRefused, words
	case s/100 == 3 || s >= 500 && s != 501:
		return PhaseAmbiguous, words
	}
	return PhaseAnswered, words
}

// refusedStatus: the server says that it did nothing, for now.
func refusedStatus(s int) bool {
	switch s {
	case 408, 421, 425, 429, 503:
		return true
	}
	return false
}

// absentStatus: what speaks HTTP there is not the MMSC's application.
func absentStatus(s int) bool {
	switch s {
	case 401, 403, 404, 405, 407, 501:
		return true
	}
	return false
}

// judgeConf judges the answer to a PDU that has a .conf.
func (x *exchange) judgeConf(a *answer, conf mms.Type) (Phase, string) {
	send := x.pdu.Type == mms.MSendReq
	ours := len(x.pdu.TransactionID) == 0 || bytes.Equal(a.pdu.TransactionID, x.pdu.TransactionID)
	// an MMSC that does not know the PDU answers M-Send.conf with Error-unsupported-message
	if a.done && a.state != mms.Garbage && ours && (a.pdu.Type == conf || a.pdu.Type == mms.MSendConf) && (a.pdu.HasResponse || a.pdu.HasStore) {
		status, class := a.pdu.Response, mms.ResponseClass(a.pdu.Response)
		words := status.String()
		if !a.pdu.HasResponse {
			class, words = mms.StoreClass(a.pdu.Store), a.pdu.Store.StoreString()
		}
		switch {
		case class == mms.Transient && !send && x.searching() && a.pdu.HasResponse && status == 0xC2:
			return PhaseNotFound, words
		case class == mms.Transient:
			return PhaseRefused, words
		case !send && x.searching() && (a.pdu.HasResponse && (status == 0xE4 || status == 0x85) || !a.pdu.HasResponse && a.pdu.Store == 0xE3):
			return PhaseNotFound, words
		}
		return PhaseAnswered, words
	}
	words := "HTTP " + strconv.Itoa(a.resp.Status)
	switch s := a.resp.Status; {
	case refusedStatus(s):
		return PhaseRefused, words
	case send && absentStatus(s):
		return PhaseAbsent, words
	case !send && x.searching() && (s == 404 || s == 410):
		return PhaseNotFound, words
	case s/100 == 4:
		return PhaseAnswered, words
	case !send && conf == mms.MMboxViewConf && s == 200 && !a.done:
		return PhaseAnswered, words // a mailbox view streams
	case s/100 == 2 && a.done && a.state != mms.Garbage && !ours:
		return PhaseAmbiguous, words + " with another transaction's answer"
	case s/100 == 2:
		return PhaseAmbiguous, words + " without a well-formed " + conf.String()
	}
	return PhaseAmbiguous, words
}

// judgeIndication judges the answer to a PDU that has no .conf.
func (x *exchange) judgeIndication(a *answer, words string) (Phase, string) {
	switch s := a.resp.Status; {
	case s/100 == 2:
		return PhaseAnswered, words
	case refusedStatus(s):
		return PhaseRefused, words
	case x.searching() && (s == 404 || s == 410):
		return PhaseNotFound, words
	case s/100 == 4 || s == 501:
		return PhaseAnswered, words
	}
	return PhaseAmbiguous, words
}

// judgeRetrieve judges the answer to a GET. A retrieval changes nothing at the MMSC, so nothing is ambiguous.
func (x *exchange) judgeRetrieve(a *answer) (Phase, string) {
	words := "HTTP " + strconv.Itoa(a.resp.Status)
	missing := a.resp.Status == 404 || a.resp.Status == 410
	if a.state != mms.Garbage && a.pdu.HasRetrieve {
		words = a.pdu.Retrieve.RetrieveString()
		missing = missing || a.pdu.Retrieve == 0xE2 || a.pdu.Retrieve == 0xC1 || a.pdu.Retrieve == 0x85
	}
	switch s := a.resp.Status; {
	case missing && x.searching():
		return PhaseNotFound, words
	case missing || s/100 == 2:
		return PhaseAnswered, words
	case s/100 == 4 && !refusedStatus(s) && !x.searching():
		return PhaseAnswered, words
	}
	return PhaseRefused, words // 3xx is never followed; 5xx says nothing about the message
}

// resultOf says what an answer means for the message.
func resultOf(a *answer) Result {
	switch {
	case a.state != mms.Garbage && a.pdu.HasResponse:
		switch mms.ResponseClass(a.pdu.Response) {
		case mms.Ok, mms.PartialSuccess:
			return Answered
		case mms.Transient:
			return Transient
		}
		return Permanent
	case a.resp.Status/100 == 2:
		return Answered
	case refusedStatus(a.resp.Status) || a.resp.Status >= 500:
		return Transient
	}
	return Permanent
}

// learn notes who holds a message, from the answer that names it.
func (x *exchange) learn(a *answer, name string) {
	if a.state == mms.Garbage || a.resp.Status != 200 {
		return
	}
	now := x.start
	if x.get && a.pdu.Type == mms.MRetrieveConf && (!a.pdu.HasRetrieve || mms.RetrieveClass(a.pdu.Retrieve) == mms.Ok) {
		x.p.shared.Learn(name, now, ownerKeys(x.route.Host, string(x.target), x.identity, a.pdu.TransactionID, a.pdu.MessageID)...)
	}
	if x.pdu.Type == mms.MSendReq && a.pdu.HasResponse && len(a.pdu.MessageID) > 0 {
		x.messageID = strings.Trim(string(a.pdu.MessageID), "<>")
	}
}
