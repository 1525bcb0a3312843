package mmsc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// Services takes messages whose recipient is a service; *dispatcher.Dispatcher does.
//
// A message for a service is accepted like any other: when it is committed here. It is handed over before its sender is
// answered, so that turns come in the order in which a handset sends them; if that fails, or a crash comes in between,
// delivery hands it over later, and a service takes a message twice as one.
type Services interface {
	Takes(address string) bool
	Check(ctx context.Context, s *dispatcher.Submission) error
	Accept(ctx context.Context, s *dispatcher.Submission) error
	Tell(ctx context.Context, r dispatcher.Report) error
}

const (
	// handOverTime bounds how long a sender waits for services.
	handOverTime = 5 * time.Second
	// handOverLater is when delivery does what the submission did not get done.
	handOverLater = 2 * handOverTime
)

func (m *MMSC) takes(addr string) bool { return m.services != nil && m.services.Takes(addr) }

// markPrefix begins the names of the fields by which the dispatcher marks what services send.
const markPrefix = "x-mmsrouter-"

// mark reads an application header that is a mark; false if it is none.
func (r *request) mark(f field) bool {
	name, n := wsp.Text(f.raw)
	if n <= 0 || len(name) < len(markPrefix) || !strings.EqualFold(string(name[:len(markPrefix)]), markPrefix) {
		return false
	}
	text, n := wsp.Text(f.value)
	if n <= 0 {
		return true
	}
	value := readable(text[:min(len(text), 200)])
	switch {
	case strings.EqualFold(string(name), dispatcher.MarkService):
		r.marks.Service = value
	case strings.EqualFold(string(name), dispatcher.MarkPrice):
		r.marks.Price = value
	case strings.EqualFold(string(name), dispatcher.MarkHops):
		var err error
		if r.marks.Hops, err = strconv.Atoi(value); err != nil || r.marks.Hops < 0 {
			r.marks.Hops = maxHops // beyond what any service allows
		}
	}
	return true
}

// sendToServices stores a message some of whose recipients are services, and hands it over to them. Once its sender is answered,
// after notes that it was.
func (m *MMSC) sendToServices(ctx context.Context, r *http.Request, u *upload, msg *store.Message) (done store.Submitted, after func(), err error) {
	msg.Marks.UserAgent, msg.Marks.Profile = device(r.Header)
	for i := range msg.Recipients {
		if rcpt := &msg.Recipients[i]; msg.Marks.Takes(rcpt.Address) && !rcpt.Due.After(time.Now()) {
			rcpt.Due = time.Now().Add(handOverLater)
		}
	}
	asked, err := m.checkServices(ctx, u, msg)
	var no *refusal
	if errors.As(err, &no) {
		// What had been accepted before stays accepted: the session that took it may be over by now.
		ref, there, bad := m.store.Earlier(ctx, msg)
		if bad == nil && there {
			return store.Submitted{Message: ref, Duplicate: true}, nil, nil
		}
		err = cmp.Or(bad, err)
	}
	if err != nil {
		return store.Submitted{}, nil, err
	}
	done, err = m.store.Submit(ctx, msg)
	if err != nil || done.Duplicate || msg.DeliverAt.After(time.Now()) {
		return done, nil, err
	}
	outcomes := map[store.ID]store.Outcome{}
	within, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	for i, rcpt := range msg.Recipients {
		s := asked[rcpt.Address]
		if s == nil {
			continue
		}
		s.MessageID = m.messageID(done.Message)
		outcome, err := m.handOver(within, s, done.Recipients[i], nil)
		if err != nil {
			m.log.Info("message not handed over to its service yet", "message", s.MessageID, "to", rcpt.Address, "err", err)
			continue
		}
		outcomes[done.Recipients[i].ID] = outcome
	}
	return done, func() {
		for id, outcome := range outcomes {
			if err := final(m.store.Finish(ctx, id, outcome)); err != nil {
				m.log.Debug("a hand-over is not noted; it is done again, as one", "message", m.messageID(done.Message), "err", err)
			}
		}
	}, nil
}

// checkServices asks the services among a message's recipients whether they would take it, and gives what each would, by its
// address; or a *refusal, or an error that may pass.
func (m *MMSC) checkServices(ctx context.Context, u *upload, msg *store.Message) (map[string]*dispatcher.Submission, error) {
	pdu := make([]byte, u.Size())
	if _, err := u.ReadAt(pdu, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, &store.Unavailable{Err: fmt.Errorf("read an upload: %w", err)}
	}
	read, err := dispatcher.Read(pdu)
	if err != nil {
		return nil, refused(mms.FormatCorrupt, "%v", err)
	}
	read.From, read.Received = msg.Sender, time.Now()
	markSubmission(read, &msg.Marks)
	for _, r := range msg.Recipients {
		if r.Kind != store.Bcc && !msg.Marks.Takes(r.Address) {
			read.Others = append(read.Others, r.Address)
		}
	}
	asked := make(map[string]*dispatcher.Submission, len(msg.Marks.Codes))
	for _, code := range msg.Marks.Codes {
		s := *read
		s.Code = code
		if err := m.services.Check(ctx, &s); err != nil {
			return nil, refusalOf(err)
		}
		asked[code] = &s
	}
	return asked, nil
}

// refusalOf tells a service's no, which is for good, from what may pass.
func refusalOf(err error) error {
	var no *dispatcher.Refusal
	if errors.As(err, &no) {
		return refused(no.Reason, "%s", no.Text)
	}
	return &store.Unavailable{Err: err}
}

// device reads what an HTTP request says of the handset.
func device(h http.Header) (agent, profile string) {
	const most = 500
	for _, name := range []string{"X-Wap-Profile", "Profile", "Wap-Profile"} {
		if profile = strings.Trim(h.Get(name), `" `); profile != "" {
			break
		}
	}
	agent = h.Get("User-Agent")
	return readable(agent[:min(len(agent), most)]), readable(profile[:min(len(profile), most)])
}

// serving does what delivery asks for services.
type serving struct{ m *MMSC }

// Serve implements delivery.Services.
func (s serving) Serve(ctx context.Context, d *store.Due) (store.Outcome, error) {
	return s.m.toService(ctx, d.Recipient)
}

// toService hands a stored message over to the service that is its recipient.
func (m *MMSC) toService(ctx context.Context, recipient store.Ref) (store.Outcome, error) {
	f, err := m.store.Lookup(ctx, recipient)
	if err != nil {
		return store.Outcome{}, err
	}
	s, err := m.stored(ctx, f)
	outcome, err := m.handOver(ctx, s, recipient, err)
	if err == nil || s == nil || time.Now().Before(f.ExpiresAt) {
		return outcome, err
	}
	m.log.Error("no service could take a message in time", "message", s.MessageID, "to", s.Code, "err", err)
	return store.Outcome{State: store.Expired}, m.notTaken(ctx, s, recipient, "it could not be handed over in time")
}

// handOver gives a message to its service, unless it could not be read, and says how that ends.
func (m *MMSC) handOver(ctx context.Context, s *dispatcher.Submission, recipient store.Ref, err error) (store.Outcome, error) {
	if err == nil {
		if err = m.services.Accept(ctx, s); err == nil {
			return store.Outcome{State: store.Retrieved, Detail: "taken by services"}, nil
		}
		err = refusalOf(err)
	}
	var no *refusal
	if !errors.As(err, &no) {
		return store.Outcome{}, err
	}
	// It was asked before the message was accepted; between then and now something has changed.
	if err := m.notTaken(ctx, s, recipient, no.text); err != nil {
		return store.Outcome{}, err
	}
	return store.Outcome{State: store.Rejected, Detail: no.text}, nil
}

// notTaken tells the sender of a message that was accepted why no service has it, unless that is a service.
func (m *MMSC) notTaken(ctx context.Context, s *dispatcher.Submission, recipient store.Ref, why string) error {
	if s.Reply || s.Class == "auto" || s.From == "" {
		return nil
	}
	_, err := m.submitOwn(ctx, own{to: s.From, subject: "Message not taken", class: "auto", contentType: []byte{0xA3},
		body: textBody(fmt.Sprintf("Your message to %s was not taken: %s.", s.Code, why)), key: "not taken " + recipient.String()})
	return err
}

// stored makes of a stored message what services take.
func (m *MMSC) stored(ctx context.Context, f *store.Fetchable) (*dispatcher.Submission, error) {
	var b bytes.Buffer
	head := start(mms.MSendReq, "stored", pushVersion)
	head = append(head, byte(mms.FieldFrom), 1, 0x81) // insert-address: who it is stands in the envelope
	head = append(append(append(head, f.Head...), byte(mms.FieldContentType)), f.ContentType...)
	b.Write(head)
	if err := f.WriteBody(ctx, &b); err != nil {
		return nil, fmt.Errorf("read a stored message: %w", err)
	}
	s, err := dispatcher.Read(b.Bytes())
	if err != nil {
		s, err = &dispatcher.Submission{Class: f.Class}, refused(mms.FormatCorrupt, "%v", err)
	}
	s.MessageID, s.From, s.Code, s.Received = m.messageID(f.Message), f.Sender, f.Address, f.CreatedAt
	markSubmission(s, &f.Marks)
	// The head was walked when the message came in: an error can't come up.
	_ = walk(f.Head, func(one field) {
		if one.code != mms.FieldTo && one.code != mms.FieldCc {
			return
		}
		if a := normal(encodedString(one.value)); a != "" {
			if a = m.home(a); a != f.Address && !f.Marks.Takes(a) {
				s.Others = append(s.Others, a)
			}
		}
	})
	return s, err
}

// markSubmission says what only the envelope knows: what a handset writes into a message does not count.
func markSubmission(s *dispatcher.Submission, marks *store.Marks) {
	s.Reply, s.Hops, s.UserAgent, s.Profile = marks.Service != "", marks.Hops, marks.UserAgent, marks.Profile
}

// Tell implements delivery.Services.
func (s serving) Tell(ctx context.Context, r *store.Report) error {
	status := ""
	if r.Kind == store.ReadReport {
		if status = "read"; r.Status == readDeleted {
			status = "deleted"
		}
	} else {
		status = store.Reported(r.Status)
	}
	return s.m.services.Tell(ctx, dispatcher.Report{Kind: r.Kind.String(), MessageID: s.m.messageID(r.Message), TransactionID: r.Submission,
		Recipient: r.About, Status: status, At: r.At})
}

// readDeleted is the X-Mms-Read-Status of a message that was deleted without being read (OMA-MMS-ENC 7.3.38).
const readDeleted = 0x81
