package pap

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"time"
)

var doctypes = map[Version][2]string{
	Version10: {"-//WAPFORUM//DTD PAP 1.0//EN", "http://www.wapforum.org/DTD/pap_1.0.dtd"},
	Version20: {"-//WAPFORUM//DTD PAP 2.0//EN", "http://www.wapforum.org/DTD/pap_2.0.dtd"},
	Version21: {"-//WAPFORUM//DTD PAP 2.1//EN", "http://www.openmobilealliance.org/tech/DTD/pap_2.1.dtd"},
}

// writer writes elements.
type writer struct{ bytes.Buffer }

// attr writes an attribute unless its value is empty.
func (w *writer) attr(name, value string) {
	if value == "" {
		return
	}
	w.must(name, value)
}

// must writes an attribute that the DTD requires, even if it is empty. EscapeText also puts what XML can't hold into a form
// that it can.
func (w *writer) must(name, value string) {
	w.WriteByte(' ')
	w.WriteString(name)
	w.WriteString(`="`)
	_ = xml.EscapeText(&w.Buffer, []byte(value)) // a buffer takes everything
	w.WriteByte('"')
}

func (w *writer) time(name string, t time.Time) {
	if !t.IsZero() {
		w.must(name, t.UTC().Format(timeForm))
	}
}

func (w *writer) code(c Code, description string) {
	w.must("code", strconv.Itoa(int(c)))
	if description == "" {
		description = c.String()
	}
	w.must("desc", description)
}

// element writes an element; inside may be nil.
func (w *writer) element(name string, attrs func(), inside func()) {
	w.WriteByte('<')
	w.WriteString(name)
	if attrs != nil {
		attrs()
	}
	if inside == nil {
		w.WriteString("/>")
		return
	}
	w.WriteByte('>')
	inside()
	w.WriteString("</" + name + ">")
}

func (w *writer) addresses(list []Address) {
	for _, a := range list {
		w.element("address", func() { w.must("address-value", a.Value) }, nil)
	}
}

func (w *writer) quality(q *QualityOfService) {
	if q == nil {
		return
	}
	w.element("quality-of-service", func() {
		w.attr("priority", q.Priority)
		w.attr("delivery-method", q.DeliveryMethod)
		w.attr("network", q.Network)
		if q.NetworkRequired {
			w.must("network-required", "true")
		}
		w.attr("bearer", q.Bearer)
		if q.BearerRequired {
			w.must("bearer-required", "true")
		}
	}, nil)
}

// Encode gives the document in UTF-8.
func (d *Document) Encode() []byte {
	w := &writer{}
	w.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	v := d.Version
	if _, ok := doctypes[v]; !ok {
		v = Version20
	}
	w.WriteString(`<!DOCTYPE pap PUBLIC "` + doctypes[v][0] + `" "` + doctypes[v][1] + `">` + "\n")
	w.element("pap", func() { w.attr("product-name", d.Product) }, func() { d.Message.write(w) })
	w.WriteByte('\n')
	return w.Bytes()
}

func (m *PushMessage) write(w *writer) {
	w.element(m.Element(), func() {
		w.must("push-id", m.PushID)
		w.attr("replace-push-id", m.ReplaceID)
		w.attr("replace-method", m.ReplaceMethod)
		w.time("deliver-before-timestamp", m.DeliverBefore)
		w.time("deliver-after-timestamp", m.DeliverAfter)
		w.attr("source-reference", m.SourceReference)
		if m.ProgressNotes {
			w.must("progress-notes-requested", "true")
		}
		w.attr("ppg-notify-requested-to", m.NotifyTo)
	}, func() {
		w.addresses(m.Addresses)
		w.quality(m.Quality)
	})
}

func (m *PushResponse) write(w *writer) {
	w.element(m.Element(), func() {
		w.must("push-id", m.PushID)
		w.attr("sender-address", m.SenderAddress)
		w.attr("sender-name", m.SenderName)
		w.time("reply-time", m.ReplyTime)
	}, func() {
		for _, n := range m.Notes {
			w.element("progress-note", func() {
				w.must("stage", n.Stage)
				w.attr("note", n.Note)
				w.time("time", n.Time)
			}, nil)
		}
		w.element("response-result", func() { w.code(m.Code, m.Description) }, nil)
	})
}

func (m *CancelMessage) write(w *writer) {
	w.element(m.Element(), func() { w.must("push-id", m.PushID) }, func() { w.addresses(m.Addresses) })
}

func (m *CancelResponse) write(w *writer) {
	w.element(m.Element(), func() { w.must("push-id", m.PushID) }, func() {
		for _, r := range m.Results {
			w.element("cancel-result", func() { w.code(r.Code, r.Description) }, func() { w.addresses(r.Addresses) })
		}
	})
}

func (m *ResultNotification) write(w *writer) {
	w.element(m.Element(), func() {
		w.must("push-id", m.PushID)
		w.attr("sender-address", m.SenderAddress)
		w.attr("sender-name", m.SenderName)
		w.time("received-time", m.ReceivedTime)
		w.time("event-time", m.EventTime)
		w.must("message-state", string(m.State))
		w.code(m.Code, m.Description)
	}, func() {
		w.addresses([]Address{m.Address})
		w.quality(m.Quality)
	})
}

func (m *ResultNotificationResponse) write(w *writer) {
	w.element(m.Element(), func() {
		w.must("push-id", m.PushID)
		w.code(m.Code, m.Description)
	}, func() { w.addresses([]Address{m.Address}) })
}

func (m *StatusQuery) write(w *writer) {
	w.element(m.Element(), func() { w.must("push-id", m.PushID) }, func() { w.addresses(m.Addresses) })
}

func (m *StatusQueryResponse) write(w *writer) {
	w.element(m.Element(), func() { w.must("push-id", m.PushID) }, func() {
		for _, r := range m.Results {
			w.element("statusquery-result", func() {
				w.time("event-time", r.EventTime)
				w.must("message-state", string(r.State))
				w.code(r.Code, r.Description)
			}, func() {
				w.addresses(r.Addresses)
				w.quality(r.Quality)
			})
		}
	})
}

func (m *CapabilityQuery) write(w *writer) {
	w.element(m.Element(), func() {
		w.attr("query-id", m.QueryID)
		w.attr("app-id", m.AppID)
	}, func() { w.addresses([]Address{m.Address}) })
}

func (m *CapabilityResponse) write(w *writer) {
	w.element(m.Element(), func() {
		w.attr("query-id", m.QueryID)
		w.code(m.Code, m.Description)
	}, func() { w.addresses([]Address{m.Address}) })
}

func (m *BadMessage) write(w *writer) {
	w.element(m.Element(), func() {
		w.code(m.Code, m.Description)
		w.attr("bad-message-fragment", m.Fragment)
	}, nil)
}
