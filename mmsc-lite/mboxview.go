package mmsc

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

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
