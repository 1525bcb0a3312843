package mmsc

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
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
