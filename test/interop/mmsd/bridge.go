package mmsd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Message is a message as mmsd-tng shows it.
type Message struct {
	Path        string
	Status      string // draft, sent, received, read, expired, …
	Sender      string
	Recipients  []string
	Subject     string
	Attachments []Attachment
}

// Attachment is a part of a message that was received.
type Attachment struct {
	ID, Type string
	file     string
	at, size int64
}

// Data reads the part's octets, which stand in the file of the whole message.
func (a Attachment) Data() ([]byte, error) {
	f, err := os.Open(a.file)
	if err != nil {
		return nil, err
	}
	defer f.Close() // opened to read
	b := make([]byte, a.size)
	_, err = f.ReadAt(b, a.at)
	return b, err
}

// properties are those of org.ofono.mms.Message.
type properties struct {
	Status      string
	Sender      string
	Recipients  []string
	Subject     string
	Attachments [][]any // (sssuu): id, type, file, offset, length
}

func (m *Message) take(p properties) error {
	m.Status, m.Sender, m.Recipients, m.Subject = p.Status, p.Sender, p.Recipients, p.Subject
	m.Attachments = nil
	for _, a := range p.Attachments {
		if len(a) < 5 {
			return fmt.Errorf("an attachment of %d fields", len(a))
		}
		id, ok1 := a[0].(string)
		media, ok2 := a[1].(string)
		file, ok3 := a[2].(string)
		at, ok4 := a[3].(float64)
		size, ok5 := a[4].(float64)
		if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
			return fmt.Errorf("an attachment %v", a)
		}
		m.Attachments = append(m.Attachments, Attachment{id, media, file, int64(at), int64(size)})
	}
	return nil
}

// line is what the helper says.
type line struct {
	ID         int
	Result     json.RawMessage
	Error      *string
	Event      string
	Path       string
	Properties properties
	Name       string
	Value      json.RawMessage
}

// listen reads what the helper says to its end.
func (h *Handset) listen(out io.Reader) {
	s := bufio.NewScanner(out)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			l = line{Event: "fault", Name: fmt.Sprintf("%v: %s", err, s.Bytes())}
		}
		h.mu.Lock()
		h.heard(l)
		close(h.news)
		h.news = make(chan struct{})
		h.mu.Unlock()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = true
	for id, c := range h.answers {
		c <- answer{err: errGone}
		delete(h.answers, id)
	}
	close(h.news)
	h.news = make(chan struct{})
}

var errGone = errors.New("the modem has ended; its log tells why")

// heard needs the lock.
func (h *Handset) heard(l line) {
	switch l.Event {
	case "":
		c, ok := h.answers[l.ID]
		if !ok {
			return
		}
		delete(h.answers, l.ID)
		a := answer{result: l.Result}
		if l.Error != nil {
			a.err = fmt.Errorf("mmsd-tng: %s", *l.Error)
		}
		c <- a
	case "modem":
		h.service = modemOnly
	case "service":
		h.service = l.Path
	case "message":
		m := h.messages[l.Path]
		if m == nil {
			m = &Message{Path: l.Path}
			h.messages[l.Path] = m
			h.order = append(h.order, l.Path)
		}
		if err := m.take(l.Properties); err != nil {
			m.Status = "not understood: " + err.Error()
		}
	case "changed":
		m := h.messages[l.Path]
		if m == nil {
			m = &Message{Path: l.Path}
			h.messages[l.Path] = m
			h.order = append(h.order, l.Path)
		}
		var text string
		if l.Name == "status" && json.Unmarshal(l.Value, &text) == nil {
			m.Status = text
		}
	}
}

// ask sends a request and waits for its answer.
func (h *Handset) ask(ctx context.Context, request map[string]any) (json.RawMessage, error) {
	h.mu.Lock()
	if h.gone {
		h.mu.Unlock()
		return nil, errGone
	}
	h.next++
	request["id"] = h.next
	c := make(chan answer, 1)
	h.answers[h.next] = c
	h.mu.Unlock()
	b, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if _, err := h.in.Write(append(b, '\n')); err != nil {
		return nil, err
	}
	select {
	case a := <-c:
		return a.result, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// await waits until ok, which is called with the lock held.
func (h *Handset) await(ctx context.Context, what string, ok func() bool) error {
	for {
		h.mu.Lock()
		done, gone, news := ok(), h.gone, h.news
		h.mu.Unlock()
		switch {
		case done:
			return nil
		case gone:
			return errGone
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
}

// Await waits for a message that is as wanted.
func (h *Handset) Await(ctx context.Context, what string, want func(Message) bool) (Message, error) {
	var found Message
	err := h.await(ctx, what, func() bool {
		for _, path := range h.order {
			if m := h.messages[path]; want(*m) {
				found = *m
				return true
			}
		}
		return false
	})
	return found, err
}

// Messages gives all messages that the handset told of, in order.
func (h *Handset) Messages() []Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Message
	for _, path := range h.order {
		out = append(out, *h.messages[path])
	}
	return out
}
