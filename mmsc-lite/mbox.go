package mmsc

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/router"
)

// MboxConfig is the section `mmsc.mmbox`: what subscribers may keep in the network (OMA-MMS-ENC 6.8).
type MboxConfig struct {
	Enabled     bool        `yaml:"enabled"`
	MaxMessages int         `yaml:"max_messages"` // of one subscriber
	MaxSize     router.Size `yaml:"max_size"`     // of all of them
}

// boxPath is the path of locations in an MMBox.
const boxPath = "/b/"

func (m *MMSC) boxLocation(ref store.Ref) string { return m.base + boxPath + ref.String() }

func boxRefOfPath(path string) (store.Ref, bool) {
	i := strings.LastIndex(path, boxPath)
	if i < 0 {
		return store.Ref{}, false
	}
	return store.ParseRef(path[i+len(boxPath):])
}

// States of a message in an MMBox (OMA-MMS-ENC 7.3.33).
const (
	mmDraft byte = 0x80
	mmSent  byte = 0x81
	mmNew   byte = 0x82
)

// flagChange is an X-Mms-MM-Flags field: a keyword to add, to remove, or to look for.
type flagChange struct {
	how  byte // 80 add, 81 remove, 82 filter
	word string
}

// boxRequest is what the fields of an MMBox request ask.
type boxRequest struct {
	states       []byte
	flags        []flagChange
	attributes   []mms.Field
	start, limit uint64
	totals       bool
	quotas       bool
}

// maxFlags bounds the keywords of one message.
const maxFlags = 16

func (u *upload) box() (b boxRequest) {
	b.limit = 1 << 31
	// Peek has walked the header block already: an error can't come up.
	_ = walk(u.buf[:u.head.Size], func(f field) {
		switch f.code {
		case mms.FieldMMState:
			b.states = append(b.states, f.value[0])
		case mms.FieldMMFlags:
			if size, n := wsp.ValueLength(f.value); n > 0 && size > 1 && size <= len(f.value)-n && len(b.flags) < maxFlags {
				b.flags = append(b.flags, flagChange{f.value[n], encodedString(f.value[n+1 : n+size])})
			}
		case mms.FieldAttributes:
			b.attributes = append(b.attributes, mms.Field(f.value[0]))
		case mms.FieldStart:
			if v, n := wsp.Integer(f.value); n > 0 {
				b.start = v
			}
		case mms.FieldLimit:
			if v, n := wsp.Integer(f.value); n > 0 {
				b.limit = v
			}
		case mms.FieldTotals:
			b.totals = f.value[0] == 0x80
		case mms.FieldQuotas:
			b.quotas = f.value[0] == 0x80
		}
	})
	return b
}

// state gives the state that the request asks for, or otherwise.
func (b *boxRequest) state(otherwise byte) byte {
	if len(b.states) > 0 && b.states[0] >= mmDraft && b.states[0] <= 0x84 {
		return b.states[0]
	}
	return otherwise
}

// apply changes keywords as the request asks.
func (b *boxRequest) apply(words []string) []string {
	words = append([]string{}, words...)
	for _, f := range b.flags {
		i := slices.Index(words, f.word)
		switch {
		case f.how == 0x80 && i < 0 && f.word != "" && len(words) < maxFlags:
			words = append(words, f.word)
		case f.how == 0x81 && i >= 0:
			words = slices.Delete(words, i, i+1)
		}
	}
	return words
}

// chooses says whether a stored message is one that a view asks for.
func (b *boxRequest) chooses(msg *store.Boxed) bool {
	if len(b.states) > 0 && !slices.Contains(b.states, msg.MMState) {
		return false
	}
	filtered := false
	for _, f := range b.flags {
		if f.how != 0x82 {
			continue
		}
		if slices.Contains(msg.Flags, f.word) {
			return true
		}
		filtered = true
	}
	return !filtered
}

// mbox answers the MMBox requests. Who owns the box, only a trusted network can say.
func (m *MMSC) mbox(w http.ResponseWriter, r *http.Request, u *upload) {
	who := m.identify(r)
	var err error
	switch {
	case u.head.TransactionID == nil:
		err = refused(mms.FormatCorrupt, "no transaction id")
	case !m.cfg.Mbox.Enabled:
		err = refused(mms.UnsupportedMessage, "there is no MMBox service")
	case !who.Asserted:
		err = refused(mms.ServiceDenied, "the network does not say who you are")
	}
	ctx := context.WithoutCancel(r.Context())
	if err == nil {
		switch u.head.Type {
		case mms.MMboxStoreReq:
			err = m.boxStore(ctx, w, u, who)
		case mms.MMboxUploadReq:
			err = m.boxUpload(ctx, w, u, who)
		case mms.MMboxViewReq:
			err = m.boxView(r.Context(), w, u, who)
		case mms.MMboxDeleteReq:
			m.deleteEach(w, u, func(location string) error {
				b, err := m.ownBox(ctx, location, who)
				if err == nil {
					err = final(m.store.DropBox(ctx, b))
				}
				return err
			})
		}
	}
	if errors.Is(err, store.ErrFull) {
		err = refused(mms.MMBoxFull, "at most %d messages and %s", m.cfg.Mbox.MaxMessages, m.cfg.Mbox.MaxSize)
	} else if errors.Is(err, store.ErrNotFound) {
		err = refused(mms.MessageNotFound, "no such message")
	}
	if err != nil {
		m.fail(w, &u.head, err)
	}
}

// ownBox finds a message in the client's own MMBox.
func (m *MMSC) ownBox(ctx context.Context, location string, who Identity) (*store.Boxed, error) {
	path := location
	if u, err := url.Parse(location); err == nil {
		path = u.Path
	}
	ref, ok := boxRefOfPath(path)
	if !ok {
		return nil, refused(mms.MessageNotFound, "no such message in the MMBox")
	}
	b, err := m.store.LookupBox(ctx, ref)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && b.Owner != who.Address:
		return nil, refused(mms.MessageNotFound, "no such message in the MMBox")
	case err != nil:
		return nil, err
	}
	return b, nil
}

// boxStore keeps a message that the subscriber was notified of, or changes one that is kept.
func (m *MMSC) boxStore(ctx context.Context, w http.ResponseWriter, u *upload, who Identity) error {
	ask := u.box()
	location := string(u.head.ContentLocation)
	if b, err := m.ownBox(ctx, location, who); err == nil {
		if err := m.store.ChangeBox(ctx, b.Ref.ID, ask.state(0), ask.apply(b.Flags)); err != nil {
			return err
		}
	} else {
		old, err := m.locate(ctx, location, who)
		if err != nil {
			return err
		}
		head := old.Head
		if old.Sender != "" && !old.Hidden {
			head = appendFrom(slices.Clone(head), old.Sender)
		}
		ref, err := m.putBox(ctx, &store.Boxing{Owner: who.Address, MMState: ask.state(mmNew), Flags: ask.apply(nil), Head: head, From: old})
		if err != nil {
			return err
		}
		location = m.boxLocation(ref)
	}
	m.met.answered(u.head.Type, outcomeOk)
	m.answer(w, mms.StoreConf{Type: mms.MMboxStoreConf, TransactionID: u.head.TransactionID, Version: u.head.Version, Status: mms.StatusOk,
		ContentLocation: location}.Append(nil))
	return nil
}

func (m *MMSC) putBox(ctx context.Context, b *store.Boxing) (store.Ref, error) {
	b.MaxMessages, b.MaxOctets = m.cfg.Mbox.MaxMessages, int64(m.cfg.Mbox.MaxSize)
	return m.store.PutBox(ctx, b)
}

// boxUpload keeps a message that the subscriber sends along: an M-Mbox-Descr with its content.
func (m *MMSC) boxUpload(ctx context.Context, w http.ResponseWriter, u *upload, who Identity) error {
	ask := u.box()
	b := &store.Boxing{Owner: who.Address, MMState: ask.state(mmDraft), Flags: ask.apply(nil), Upload: u.Upload,
		BodyAt: int64(u.head.Size), ContentType: u.head.ContentType}
	if u.head.ContentType == nil {
		return refused(mms.FormatCorrupt, "nothing to store")
	}
	inner := make([]byte, min(mms.MaxHeaders, u.Size()-b.BodyAt))
	if n, err := u.ReadAt(inner, b.BodyAt); n < len(inner) {
		return &store.Unavailable{Err: err}
	}
	var descr mms.Head
	if state := descr.Peek(inner, true); state == mms.Complete && descr.Type == mms.MMboxDescr && descr.ContentType != nil {
		req, err := parse(descr, inner)
		if err != nil {
			return refused(mms.FormatCorrupt, "%v", err)
		}
		b.Head, b.BodyAt, b.ContentType = req.carry, b.BodyAt+int64(descr.Size), descr.ContentType
	}
	ref, err := m.putBox(ctx, b)
	if err != nil {
		return err
	}
	m.met.answered(u.head.Type, outcomeOk)
	m.answer(w, mms.StoreConf{Type: mms.MMboxUploadConf, TransactionID: u.head.TransactionID, Version: u.head.Version, Status: mms.StatusOk,
		ContentLocation: m.boxLocation(ref)}.Append(nil))
	return nil
}

// boxPart is one M-Mbox-Descr of a view.
type boxPart struct {
	head []byte
	msg  *store.Boxed // nil: without content
}

func (p *boxPart) size() int64 {
	if p.msg == nil {
		return int64(len(p.head))
	}
	return int64(len(p.head)) + p.msg.Size
}

// boxView shows what is in the MMBox (OMA-MMS-ENC 6.8.4): a multipart of M-Mbox-Descr, with contents where Content is asked for.
func (m *MMSC) boxView(ctx context.Context, w http.ResponseWriter, u *upload, who Identity) error {
	ask := u.box()
	all, err := m.store.Box(ctx, who.Address)
	if err != nil {
		return err
	}
	wanted := u.locations()
	var octets int64
	var parts []boxPart
	seen := uint64(0)
	for i := range all {
		octets += all[i].Size
		if len(wanted) > 0 && !slices.Contains(wanted, m.boxLocation(all[i].Ref)) || len(wanted) == 0 && !ask.chooses(&all[i]) {
			continue
		}
		if seen++; seen > ask.start && uint64(len(parts)) < ask.limit {
			parts = append(parts, m.describe(&all[i], ask.attributes))
		}
	}
	head := start(mms.MMboxViewConf, string(u.head.TransactionID), u.head.Version)
	head = append(head, byte(mms.FieldResponseStatus), byte(mms.StatusOk))
	head = wsp.AppendInteger(append(head, byte(mms.FieldMessageCount)), uint64(len(parts)))
	if ask.totals {
		head = appendCounts(head, mms.FieldMboxTotals, uint64(len(all)), uint64(octets))
	}
	if ask.quotas {
		head = appendCounts(head, mms.FieldMboxQuotas, uint64(m.cfg.Mbox.MaxMessages), uint64(m.cfg.Mbox.MaxSize))
	}
	head = append(head, byte(mms.FieldContentType), 0xA3)
	head = wsp.AppendUintvar(head, uint32(len(parts)))
	return m.writeView(ctx, w, head, parts)
}

func (m *MMSC) writeView(ctx context.Context, w http.ResponseWriter, head []byte, parts []boxPart) error {
	const mmsMessage = 0xBE // application/vnd.wap.mms-message
	size := int64(len(head))
	heads := make([][]byte, len(parts))
	for i := range parts {
		heads[i] = append(wsp.AppendUintvar(wsp.AppendUintvar(nil, 1), uint32(parts[i].size())), mmsMessage)
		size += int64(len(heads[i])) + parts[i].size()
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	write := func(b []byte) {
		if _, err := w.Write(b); err != nil {
			m.met.answered(mms.MMboxViewReq, outcomeBroken)
			panic(http.ErrAbortHandler) // the connection is gone or cut, so that nobody takes the view for whole
		}
	}
	write(head)
	for i := range parts {
		write(heads[i])
		write(parts[i].head)
		if parts[i].msg == nil {
			continue
		}
		if err := parts[i].msg.Write(ctx, w); err != nil {
			m.met.answered(mms.MMboxViewReq, outcomeBroken)
			panic(http.ErrAbortHandler)
		}
	}
	m.met.answered(mms.MMboxViewReq, outcomeOk)
	return nil
}

// describe makes an M-Mbox-Descr: what names the message, then the fields asked for, or all when none is.
func (m *MMSC) describe(b *store.Boxed, attributes []mms.Field) boxPart {
	d := []byte{byte(mms.FieldMessageType), byte(mms.MMboxDescr), byte(mms.FieldMMSVersion), byte(pushVersion)}
	d = wsp.AppendText(append(d, byte(mms.FieldContentLocation)), m.boxLocation(b.Ref))
	if b.Message.ID != 0 {
		d = wsp.AppendText(append(d, byte(mms.FieldMessageID)), m.messageID(b.Message))
	}
	d = append(d, byte(mms.FieldMMState), b.MMState)
	for _, word := range b.Flags {
		inner := mms.AppendEncoded([]byte{0x80}, word)
		d = append(wsp.AppendValueLength(append(d, byte(mms.FieldMMFlags)), len(inner)), inner...)
	}
	wants := func(f mms.Field) bool { return len(attributes) == 0 || slices.Contains(attributes, f) }
	if wants(mms.FieldDate) {
		d = appendDate(d, b.StoredAt)
	}
	if wants(mms.FieldMessageSize) {
		d = wsp.AppendLong(append(d, byte(mms.FieldMessageSize)), uint64(b.Size))
	}
	// The head was walked when the message came in: an error can't come up.
	_ = walk(b.Head, func(f field) {
		if f.code == 0 && wants(mms.FieldAdditionalHeaders) || f.code != 0 && wants(f.code) {
			d = append(d, f.raw...)
		}
	})
	if !slices.Contains(attributes, mms.FieldContent) {
		return boxPart{head: d}
	}
	return boxPart{head: append(append(d, byte(mms.FieldContentType)), b.ContentType...), msg: b}
}

// appendCounts writes X-Mms-Mbox-Totals or -Quotas: messages and octets, a field each.
func appendCounts(b []byte, f mms.Field, messages, octets uint64) []byte {
	for i, v := range []uint64{messages, octets} {
		inner := wsp.AppendInteger([]byte{byte(0x80 + i)}, v)
		b = append(wsp.AppendValueLength(append(b, byte(f)), len(inner)), inner...)
	}
	return b
}

// keepSent puts a copy of what a subscriber sent into its MMBox when the M-Send.req asks for it (X-Mms-Store). The message
// itself has been accepted: that the copy could not be kept is said in the Store-Status alone.
func (m *MMSC) keepSent(ctx context.Context, u *upload, sender Identity, done store.Submitted, conf *mms.SendConf) {
	if !u.wantsStore() {
		return
	}
	conf.Store, conf.StoreText = mms.StorePermanentServiceDenied, ""
	if !m.cfg.Mbox.Enabled || !sender.Asserted || done.Duplicate || len(done.Recipients) == 0 {
		return
	}
	ask := u.box()
	f, err := m.store.Lookup(ctx, done.Recipients[0])
	var ref store.Ref
	if err == nil {
		ref, err = m.putBox(ctx, &store.Boxing{Owner: sender.Address, MMState: ask.state(mmSent), Flags: ask.apply(nil), Head: f.Head, From: f})
	}
	switch {
	case errors.Is(err, store.ErrFull):
		conf.Store = mms.StorePermanentMMBoxFull
	case err != nil:
		conf.Store = mms.StatusTransientFailure
	default:
		conf.Store, conf.ContentLocation = mms.StatusOk, m.boxLocation(ref)
	}
}

func (u *upload) wantsStore() (yes bool) {
	// Peek has walked the header block already: an error can't come up.
	_ = walk(u.buf[:u.head.Size], func(f field) {
		yes = yes || f.code == mms.FieldStore && f.value[0] == 0x80
	})
	return yes
}

// retrieveBox answers a GET of a location in an MMBox.
func (m *MMSC) retrieveBox(w http.ResponseWriter, r *http.Request, ref store.Ref) {
	b, err := m.store.LookupBox(r.Context(), ref)
	who := m.identify(r)
	switch {
	case errors.Is(err, store.ErrNotFound):
		m.notFetched(w, r, ErrNoMessage)
		return
	case err != nil:
		m.notFetched(w, r, err)
		return
	case !m.mayFetch(b.Owner, who):
		m.notFetched(w, r, ErrNotYours)
		return
	}
	head := start(mms.MRetrieveConf, transaction(b.Ref), pushVersion)
	if b.Message.ID != 0 {
		head = wsp.AppendText(append(head, byte(mms.FieldMessageID)), m.messageID(b.Message))
	}
	head = append(appendDate(head, b.StoredAt), b.Head...)
	head = append(head, byte(mms.FieldMMState), b.MMState)
	m.deliver(w, r, &Retrieval{Head: appendBody(head, b.ContentType, b.Size), size: b.Size, write: b.Write})
}
