package mmsc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// own is a message that this server itself sends.
type own struct {
	to, subject, class string
	contentType, body  []byte
	key                string // two with one key are one message
}

// submitOwn stores a message of this server.
func (m *MMSC) submitOwn(ctx context.Context, o own) (store.Submitted, error) {
	u := m.store.Upload(int64(m.cfg.MaxMessage))
	defer u.Close() // its file is unlinked; an error of close loses nothing
	if _, err := u.ReadFrom(bytes.NewReader(o.body)); err != nil {
		return store.Submitted{}, err
	}
	now := time.Now()
	head := mms.AppendEncoded([]byte{byte(mms.FieldSubject)}, o.subject)
	head = appendClass(appendAddress(head, mms.FieldTo, o.to), o.class)
	return m.store.Submit(ctx, &store.Message{Origin: store.FromServer, TransactionID: o.key, Version: byte(pushVersion), Class: o.class, Priority: 1,
		Subject: o.subject, DeliverAt: now, ExpiresAt: now.Add(m.cfg.Expiry.Default), Head: head, Size: int64(len(o.body)) + retrieveOverhead,
		Recipients: []store.Recipient{{Kind: store.To, Address: o.to, Due: now}}, Upload: u, ContentType: o.contentType,
		Dedupe: true, Subscriber: "this server"})
}

// textBody gives the body of a multipart/mixed of one text.
func textBody(text string) []byte {
	part := []byte{0x03, 0x83, 0x81, 0xEA} // length, text/plain, charset, UTF-8
	body := wsp.AppendUintvar(wsp.AppendUintvar([]byte{1}, uint32(len(part))), uint32(len(text)))
	return append(append(body, part...), text...)
}

// Submission is an M-Send.req from inside the house: the common service platform, a gateway.
type Submission struct {
	PDU io.Reader // M-Send.req
	Who Identity  // Asserted: Address is the sender; else From counts as for anybody
}

// SubmitError is a submission that was refused for what it says; Status is what an M-Send.conf would say.
type SubmitError struct {
	Status mms.Status
	Text   string
}

func (e *SubmitError) Error() string { return fmt.Sprintf("%s: %s", e.Status, e.Text) }

// Submit stores an M-Send.req and gives its Message-ID; when it returns nil the message is durable. Errors: *SubmitError,
// *store.Unavailable (try again), store.ErrTooLarge, or an error of the reader.
func (m *MMSC) Submit(ctx context.Context, s Submission) (messageID string, err error) {
	u := m.store.Upload(int64(m.cfg.MaxMessage))
	defer u.Close() // its file is unlinked; an error of close loses nothing
	if _, err := u.ReadFrom(s.PDU); err != nil {
		return "", err
	}
	buf, err := u.Head(mms.MaxHeaders)
	if err != nil {
		return "", err
	}
	up := &upload{Upload: u, buf: buf}
	if up.head.Peek(buf, int64(len(buf)) == u.Size()) != mms.Complete || up.head.Type != mms.MSendReq {
		return "", &SubmitError{mms.ErrorPermanentFormatCorrupt, "not an M-Send.req"}
	}
	msg, err := m.compose(ctx, up, s.Who)
	var done store.Submitted
	if err == nil && len(msg.Marks.Codes) > 0 {
		_, err = m.checkServices(ctx, up, msg)
	}
	if err == nil {
		done, err = m.store.Submit(ctx, msg)
	}
	var no *refusal
	if errors.As(err, &no) {
		return "", &SubmitError{no.why.ResponseStatus(up.head.Version), no.text}
	}
	if err != nil {
		return "", err
	}
	return m.messageID(done.Message), nil
}

// SubmitReply is Submit for a message of a service: its From is believed, its marks count, and two of one sender with one
// transaction id are one message, whatever they say, since a service that is asked again may answer something else.
func (m *MMSC) SubmitReply(ctx context.Context, pdu []byte) (messageID string, err error) {
	var head mms.Head
	head.Peek(pdu, true) // one that can't be read is refused by Submit
	return m.Submit(ctx, Submission{PDU: bytes.NewReader(pdu), Who: Identity{Address: m.home(normal(string(head.From))), Asserted: true, own: true}})
}

// List gives the newest messages that a filter chooses.
func (m *MMSC) List(ctx context.Context, f store.Filter) ([]store.Summary, error) {
	if f.Number != "" {
		f.Number = m.home(normal(f.Number))
	}
	return m.store.List(ctx, f)
}

// Show gives a message and its timeline by its Message-ID. store.ErrNotFound: there is none.
func (m *MMSC) Show(ctx context.Context, messageID string) (*store.Summary, []store.Event, error) {
	ref, ok := m.parseMessageID(messageID)
	if !ok {
		return nil, nil, store.ErrNotFound
	}
	return m.store.Show(ctx, ref.ID)
}

// Requeue lets delivery begin again for the open recipients of a message; it gives their number.
func (m *MMSC) Requeue(ctx context.Context, messageID string) (int, error) {
	return m.operate(ctx, messageID, m.store.Requeue)
}

// Cancel finishes the open recipients of a message; it gives their number.
func (m *MMSC) Cancel(ctx context.Context, messageID string) (int, error) {
	return m.operate(ctx, messageID, m.store.Cancel)
}

func (m *MMSC) operate(ctx context.Context, messageID string, do func(context.Context, store.ID) (int, error)) (int, error) {
	msg, _, err := m.Show(ctx, messageID)
	if err != nil {
		return 0, err
	}
	return do(ctx, msg.Message.ID)
}

// MessageID gives the text of a message's id.
func (m *MMSC) MessageID(ref store.Ref) string { return m.messageID(ref) }

// Location gives where a recipient fetches its message.
func (m *MMSC) Location(recipient store.Ref) string { return m.location(recipient) }
